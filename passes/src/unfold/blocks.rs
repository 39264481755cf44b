//! Calls and repetitions of blocks.

use std::rc::Rc;

use spaceevo_ir::block::{Block, BlockOp, Guard, Step};
use spaceevo_ir::nearest::nearest;
use spaceevo_ir::space::Expr;
use spaceevo_ir::{Attr, Attrs, Diagnostic, Symbol, Tensor, ValueId};

use super::{MAX_CALLS, MAX_ROUNDS, Made, Names, Site, Unfolder};

/// What a block is called with.
struct Arguments<'a> {
    names: &'a Names,
    operands: &'a [ValueId],
    /// A block may be given what it does not ask for: the blocks of one stage take different parameters.
    loosely: bool,
}

impl Unfolder<'_> {
    /// `@conv %x {out = 16}`, `space.Call %x {block = $s1.block, width = 16}`
    pub(super) fn call(&mut self, attrs: &Attrs, operands: &[ValueId], names: &Names, at: &Site) -> Made<ValueId> {
        let Some(block) = attrs.get("block") else {
            return Err(at.error("space-block", format!("{}: nothing says which block is called", at.path)));
        };
        let loosely = !matches!(block, Attr::Word(word) if !names.contains_key(word)) && block.as_str().is_none();
        let block = match block.as_str() {
            // `@name` is that block, whatever else may have its name.
            Some(name) => Expr::Name(name.into()),
            None => self.argument(block, names, at)?,
        };
        let mut arguments = Names::new();
        for (name, attr) in attrs.iter().filter(|(name, _)| &***name != "block") {
            arguments.insert(name.clone(), self.argument(attr, names, at)?);
        }
        self.call_any(&block, &Arguments { names: &arguments, operands, loosely }, at)
    }

    /// A call of the block that an expression names: where that is open, a choice between all.
    fn call_any(&mut self, block: &Expr, arguments: &Arguments<'_>, at: &Site) -> Made<ValueId> {
        let param = match block {
            Expr::Name(name) => return self.call_one(name, arguments, at),
            Expr::Param(name) | Expr::Element(name, _) => self.table.param(name),
            _ => None,
        };
        let Some(param) = param else {
            return Err(at.error("space-block", format!("{}: {block} does not name a block", at.path)));
        };
        let labels: Vec<Symbol> =
            self.table.possible(&param.domain).map_err(|why| at.value(why))?.iter().map(|item| item.text()).collect();
        let (result, built) = self.choose(block.clone(), &labels, at, |work, index, site| {
            work.call_one(&labels[index], arguments, &site.named(&labels[index]))
        })?;
        let all: Vec<Option<Expr>> = built.iter().map(|&value| self.channels(value)).collect();
        if let Some(Some(channels)) = all.first().filter(|first| all.iter().all(|other| other == *first)) {
            self.channels.insert(result, channels.clone());
        }
        Ok(result)
    }

    fn call_one(&mut self, name: &Symbol, arguments: &Arguments<'_>, at: &Site) -> Made<ValueId> {
        self.count(at)?;
        let Some(block) = self.blocks.get(name).map(Rc::clone) else {
            let mut diagnostic = at.error("space-block", format!("{}: there is no block @{name}", at.path));
            if let Some(near) = nearest(name, self.blocks.keys().map(|name| &**name)) {
                diagnostic = diagnostic.note(format!("did you mean @{near}?"));
            }
            return Err(diagnostic);
        };
        if at.calls >= MAX_CALLS {
            let circle: Vec<String> = self.seen.iter().rev().take(4).rev().map(|name| format!("@{name}")).collect();
            let message = format!("blocks call each other more than {MAX_CALLS} deep: … {}, @{name}", circle.join(", "));
            return Err(at.error("space-block", message));
        }
        self.seen.push(name.clone());
        let made = self.body(&block, arguments, &Site { calls: at.calls + 1, ..at.clone() });
        self.seen.pop();
        // Inside a block that was written by somebody else, what counts is who called it.
        made.map_err(|found| within(found, at, name))
    }

    fn body(&mut self, block: &Block, arguments: &Arguments<'_>, at: &Site) -> Made<ValueId> {
        let name = &block.name;
        if arguments.operands.len() != block.inputs.len() {
            let (given, wanted) = (arguments.operands.len(), block.inputs.len());
            return Err(at.error("space-block", format!("@{name} takes {wanted} values, not {given}")));
        }
        let mut names = Names::new();
        for (param, default) in &block.params {
            let value = match (arguments.names.get(param), default) {
                (Some(given), _) => given.clone(),
                (None, Some(default)) => self.fold(default, &names, at)?,
                (None, None) => return Err(at.error("space-block", format!("@{name} needs {param}"))),
            };
            names.insert(param.clone(), value);
        }
        let unknown = arguments.names.keys().find(|given| !block.params.iter().any(|(param, _)| param == *given));
        if let Some(unknown) = unknown.filter(|_| !arguments.loosely) {
            let near = nearest(unknown, block.params.iter().map(|(param, _)| &**param));
            let diagnostic = at.error("space-block", format!("@{name} takes no {unknown}"));
            return Err(near.map_or(diagnostic.clone(), |near| diagnostic.note(format!("did you mean {near}?"))));
        }
        for (extent, input, axis) in block.extents() {
            if axis == 1
                && let Some(channels) = self.channels(arguments.operands[input])
            {
                names.insert(extent.clone(), channels);
            }
        }
        let inputs = block.inputs.iter().map(|(name, _)| name.clone());
        let mut values: Vec<(Symbol, ValueId)> = inputs.zip(arguments.operands.iter().copied()).collect();
        for step in &block.steps {
            match step {
                Step::Let { name, value } => {
                    let value = self.fold(value, &names, at)?;
                    names.insert(name.clone(), value);
                }
                Step::Const { result, value } => {
                    let site = at.named(result);
                    let region = self.region(&site);
                    let value = self.graph.add_const(region, site.path.as_str(), Tensor::scalar(*value));
                    values.push((result.clone(), value));
                }
                Step::Op(op) => {
                    let made = self.step(op, &names, &values, &at.named(&op.result))?;
                    values.push((op.result.clone(), made));
                }
            }
        }
        value_of(&values, &block.result).ok_or_else(|| at.error("space-block", format!("@{name} yields nothing")))
    }

    /// An op of a block, if its guard lets it happen.
    fn step(&mut self, op: &BlockOp, names: &Names, values: &[(Symbol, ValueId)], at: &Site) -> Made<ValueId> {
        let operands: Option<Vec<ValueId>> = op.operands.iter().map(|name| value_of(values, name)).collect();
        let operands = operands.ok_or_else(|| at.error("space-block", format!("{}: an operand is unknown", op.name)))?;
        let Some(guard) = &op.guard else { return self.op(&op.name, &op.attrs, operands, names, at) };
        let Some(&instead) = operands.first() else {
            return Err(at.error("space-block", format!("{}: what has no operand cannot be left out", op.name)));
        };
        let (holds, pairs) = self.holds(guard, names, at)?;
        match holds {
            Expr::Int(holds) if (holds == 1) != guard.unless => self.op(&op.name, &op.attrs, operands, names, at),
            Expr::Int(_) => Ok(instead),
            open => {
                let happens = usize::from(guard.unless);
                let labels: [Symbol; 2] = ["1".into(), "0".into()];
                let (result, built) = self.choose(open.clone(), &labels, at, |work, index, site| {
                    if index == happens { work.op(&op.name, &op.attrs, operands.clone(), names, site) } else { Ok(instead) }
                })?;
                let (yes, no) = (self.channels(built[0]), self.channels(built[1]));
                if let (Some(yes), Some(no)) = (yes, no) {
                    let alike = pairs.iter().any(|(a, b)| (a, b) == (&yes, &no) || (b, a) == (&yes, &no));
                    let channels = match () {
                        () if yes == no => yes,
                        // Where the guard says that both are equal, the one for when it does not hold is right for both.
                        () if alike => no,
                        () => Expr::Call("select".into(), vec![open, no, yes]),
                    };
                    self.channels.insert(result, channels);
                }
                Ok(result)
            }
        }
    }

    /// Whether a guard's equations hold, as 1, 0 or an expression; and those that are open.
    fn holds(&self, guard: &Guard, names: &Names, at: &Site) -> Made<(Expr, Vec<(Expr, Expr)>)> {
        let mut open = Vec::new();
        for (left, right) in &guard.equal {
            let (left, right) = (self.fold(left, names, at)?, self.fold(right, names, at)?);
            match self.table.equal(&left, &right).map_err(|why| at.value(why))? {
                Some(true) => {}
                Some(false) => return Ok((Expr::Int(0), Vec::new())),
                None => open.push((left, right)),
            }
        }
        let equations = open.iter().map(|(a, b)| Expr::Call("equal".into(), vec![a.clone(), b.clone()]));
        let all = equations.reduce(|a, b| Expr::Call("mul".into(), vec![a, b]));
        Ok((all.unwrap_or(Expr::Int(1)), open))
    }

    /// `space.Repeat %x {block = $s1.block, count = $s1.depth, width = $s1.w[$i], stride = first(2, 1)}`
    pub(super) fn repeat(&mut self, attrs: &Attrs, operands: &[ValueId], names: &Names, at: &Site) -> Made<ValueId> {
        let (Some(count), Some(_), &[x]) = (attrs.get("count"), attrs.get("block"), operands) else {
            let message = format!("{}: space.Repeat takes one value, a block and a count", at.path);
            return Err(at.error("space-block", message));
        };
        let count = self.argument(count, names, at)?;
        let (low, high) = self.table.bounds(&count).map_err(|why| at.value(why))?;
        if low < 0.0 || high > f64::from(MAX_ROUNDS) || low.fract() != 0.0 || high.fract() != 0.0 {
            let message = format!("{}: {count} rounds ({low} to {high}); at most {MAX_ROUNDS} are written out", at.path);
            return Err(at.error("space-size", message));
        }
        let rounds = Rounds { attrs, names, count, low: low as u32, high: high as u32 };
        let mut outs = vec![x];
        let result = self.round(&rounds, 0, x, &mut outs, at)?;
        if let Some(channels) = self.channels_of_rounds(&rounds, &outs) {
            self.channels.insert(result, channels);
        }
        Ok(result)
    }

    /// The rounds from `round` on; `outs` gets what each makes.
    fn round(&mut self, of: &Rounds<'_>, round: u32, x: ValueId, outs: &mut Vec<ValueId>, at: &Site) -> Made<ValueId> {
        if round == of.high {
            return Ok(x);
        }
        if round < of.low {
            let y = self.one_round(of, round, x, at)?;
            outs.push(y);
            return self.round(of, round + 1, y, outs, at);
        }
        let left = Expr::Call("sub".into(), vec![of.count.clone(), Expr::Int(round.into())]);
        let left = self.table.fold(&left).map_err(|why| at.value(why))?;
        let pick = if of.high == round + 1 { left } else { Expr::Call("min".into(), vec![left, Expr::Int(1)]) };
        let (result, _) = self.choose(pick, &["1".into(), "0".into()], at, |work, index, site| {
            if index == 1 {
                return Ok(x);
            }
            let y = work.one_round(of, round, x, site)?;
            outs.push(y);
            work.round(of, round + 1, y, outs, site)
        })?;
        Ok(result)
    }

    fn one_round(&mut self, of: &Rounds<'_>, round: u32, x: ValueId, at: &Site) -> Made<ValueId> {
        let mut attrs = Attrs::new();
        for (name, attr) in of.attrs.iter().filter(|(name, _)| &***name != "count") {
            let attr = match attr {
                Attr::Expr(expr) => Attr::Expr(expr.in_round(round)),
                other => other.clone(),
            };
            attrs.insert(name.clone(), attr);
        }
        // A block that a parameter names is part of the name, so that weights are called alike in a supernet and in its subnets.
        let site = match attrs.get("block").map(|block| self.argument(block, of.names, at)).transpose()? {
            Some(Expr::Name(block)) if matches!(attrs.get("block"), Some(Attr::Expr(_))) => {
                at.named(&round.to_string()).named(&block)
            }
            _ => at.named(&round.to_string()),
        };
        self.call(&attrs, &[x], of.names, &site)
    }

    /// The channels behind a repetition: those behind its last round.
    fn channels_of_rounds(&self, of: &Rounds<'_>, outs: &[ValueId]) -> Option<Expr> {
        let all = outs.iter().skip(of.low as usize).map(|&v| self.channels(v)).collect::<Option<Vec<Expr>>>()?;
        let first = all.first()?;
        if all.iter().all(|other| other == first) {
            return Some(first.clone());
        }
        // `$w[0]` behind the first round, `$w[1]` behind the second, …: `$w[$depth - 1]`
        let list = |(index, expr): (usize, &Expr)| match expr {
            Expr::Element(name, at) if **at == Expr::Int(of.low as i64 + index as i64 - 1) => Some(name.clone()),
            _ => None,
        };
        let lists: Option<Vec<Symbol>> = all.iter().enumerate().map(list).collect();
        let channels = match lists {
            Some(lists) if lists.iter().all(|name| *name == lists[0]) => {
                let last = Expr::Call("sub".into(), vec![of.count.clone(), Expr::Int(1)]);
                Expr::Element(lists[0].clone(), Box::new(last))
            }
            _ => {
                let which = Expr::Call("sub".into(), vec![of.count.clone(), Expr::Int(of.low.into())]);
                Expr::Call("select".into(), std::iter::once(which).chain(all).collect())
            }
        };
        self.table.fold(&channels).ok()
    }
}

/// A repetition on its way.
struct Rounds<'a> {
    attrs: &'a Attrs,
    names: &'a Names,
    count: Expr,
    /// Rounds that there are at least.
    low: u32,
    /// Rounds that there are at most.
    high: u32,
}

fn value_of(values: &[(Symbol, ValueId)], name: &Symbol) -> Option<ValueId> {
    values.iter().rev().find(|(known, _)| known == name).map(|(_, value)| *value)
}

/// A diagnostic of a block, with the call that led there.
fn within(found: Diagnostic, at: &Site, name: &Symbol) -> Diagnostic {
    if found.notes.len() >= 3 {
        return found;
    }
    found.note(format!("in @{name}, called for {}", at.path))
}
