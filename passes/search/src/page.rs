//! A hyperspace as it is written, `onnxw.seir`: which of its parameters is the depth, the widths, the kernels of which stage. That
//! is how a text such as `onnxw-151122-023231` becomes `bind` lines, and how `bind` lines become such a text.
//!
//! Stages are the ops of the graph's body that call or repeat a block and have an attribute `width`; `kernel`, `expand`, `stride`
//! and `count` are the other words that have a meaning here. Those in front of the first stage that is searched are the stem,
//! those behind the last the head.

use std::collections::{BTreeMap, BTreeSet};

use spaceevo_ir::space::{Bind, Domain, Expr, Item, SpaceTable};
use spaceevo_ir::{Attr, Diagnostic, Dim, Graph, Loc, Op, SPACE, Symbol};

use crate::encoding::{BlockChoice, Subnet};
use crate::hyperspace::{Block, Choice, Expand, Hyperspace, Stage};

/// A hyperspace and the parameters that say what is chosen of it.
#[derive(Clone, Debug)]
pub struct Page {
    /// The hyperspace as plain data.
    pub hyperspace: Hyperspace,
    /// The graph without its ops: parameters, named domains, blocks.
    pub table: SpaceTable,
    /// Stem and searched stages, in the order of [`Subnet::depths`].
    stages: Vec<Slots>,
    /// The parameter that the extents of the picture are.
    resolution: Option<Symbol>,
}

/// Parameters of one stage.
#[derive(Clone, Debug)]
struct Slots {
    block: Slot,
    window: Option<Symbol>,
    depth: Slot,
    width: Slot,
    kernel: Slot,
    expand: Slot,
}

/// What stands behind a word of a stage.
#[derive(Clone, PartialEq, Debug)]
enum Slot {
    /// A number or word that is not chosen.
    Fixed(Item),
    /// One parameter for all rounds.
    One(Symbol),
    /// One value of a list for each round.
    List(Symbol),
}

/// A `bind` line: parameter and value.
pub type Line = (Symbol, Item);

impl Page {
    /// Reads the stages of a space.
    ///
    /// # Errors
    /// `space-shape`: the graph has no stages, or says of one what encodings have no word for.
    pub fn read(graph: &Graph) -> Result<Page, Vec<Diagnostic>> {
        let table = graph.space.clone();
        let mut found = Vec::new();
        let mut all = Vec::new();
        let mut places: BTreeMap<String, Loc> = BTreeMap::new();
        for id in graph.ops_in(graph.body()) {
            let op = graph.op(id);
            let calls = &*op.name().domain == SPACE && matches!(&*op.name().op, "Call" | "Repeat");
            if !calls || !op.attrs().contains_key("width") {
                continue;
            }
            let name = op.results().first().map(|&value| graph.value(value).name().to_string()).unwrap_or_default();
            places.insert(name.clone(), op.loc().clone());
            match stage(&table, op, name) {
                Ok(read) => all.push(read),
                Err(why) => found.push(Diagnostic::error("space-shape", op.loc().clone(), why)),
            }
        }
        let (resolution, resolutions) = resolutions(graph).unwrap_or_else(|why| {
            found.push(Diagnostic::error("space-shape", Loc::Unknown, format!("the extents of the picture: {why}")));
            (None, Vec::new())
        });
        if !found.is_empty() {
            return Err(found);
        }
        let chosen = |(stage, slots): &(Stage, Slots)| {
            stage.blocks.len() > 1 || stage.windows() > 1 || matches!(slots.block, Slot::One(_))
        };
        let elastic = |(stage, _): &(Stage, Slots)| stage.blocks.iter().any(|b| b.kernels.len() > 1 || b.expands.len() > 1);
        let searched: &dyn Fn(&(Stage, Slots)) -> bool = if all.iter().any(chosen) { &chosen } else { &elastic };
        let first = all.iter().position(searched).unwrap_or(0);
        let last = all.iter().rposition(searched).map_or(all.len(), |last| last + 1);
        let (mut stages, mut slots): (Vec<Stage>, Vec<Slots>) = all.into_iter().unzip();
        slots.truncate(last);
        let head = stages.split_off(last.min(stages.len()));
        let searched = stages.split_off(first.min(stages.len()));
        let name = graph.region(graph.body()).name().to_string();
        let hyperspace = Hyperspace { name, resolutions, stem: stages, stages: searched, head };
        hyperspace.validate_at(&|stage| places.get(stage).cloned().unwrap_or(Loc::Unknown))?;
        Ok(Page { hyperspace, table, stages: slots, resolution })
    }

    /// The lines that choose a space: block types and windows.
    ///
    /// # Errors
    /// `space-choice`: the hyperspace has no such choice.
    pub fn lines_of_choice(&self, choice: &Choice) -> Result<Vec<Line>, Diagnostic> {
        self.hyperspace.check(choice)?;
        let mut lines = Vec::new();
        let searched = self.stages.iter().skip(self.hyperspace.stem.len()).zip(&self.hyperspace.stages);
        for ((slots, stage), (&block, &window)) in searched.zip(choice.blocks.iter().zip(&choice.windows)) {
            if let (Slot::One(param), Some(block)) = (&slots.block, stage.blocks.get(usize::from(block))) {
                lines.push((param.clone(), Item::Word(block.name.as_str().into())));
            }
            lines.extend(slots.window.iter().map(|param| (param.clone(), Item::Int(window.into()))));
        }
        Ok(lines)
    }

    /// The lines that choose a subnet of a space, those of the space among them.
    ///
    /// # Errors
    /// `space-choice` and `space-subnet`: the hyperspace does not have it.
    pub fn lines_of_subnet(&self, choice: &Choice, subnet: &Subnet) -> Result<Vec<Line>, Vec<Diagnostic>> {
        self.hyperspace.check_subnet(choice, subnet)?;
        let mut lines = self.lines_of_choice(choice).map_err(|found| vec![found])?;
        for (slots, blocks) in self.stages.iter().zip(subnet.stages()) {
            let mut put = |slot: &Slot, values: Vec<Item>, what: &str| {
                match slot {
                    Slot::Fixed(_) => {}
                    Slot::List(param) => lines.push((param.clone(), Item::List(values))),
                    Slot::One(param) => match values.split_first() {
                        Some((first, rest)) if rest.iter().all(|other| other.same(first)) => {
                            lines.push((param.clone(), first.clone()));
                        }
                        _ => return Err(format!("${param} is one {what} for all blocks of a stage")),
                    },
                }
                Ok(())
            };
            let put_all = [
                put(&slots.depth, vec![Item::Int(blocks.len() as i64)], "depth"),
                put(&slots.width, blocks.iter().map(|b| Item::Int(b.width.into())).collect(), "width"),
                put(&slots.kernel, blocks.iter().map(|b| Item::Int(b.kernel.into())).collect(), "kernel"),
                put(&slots.expand, blocks.iter().map(|b| item_of(b.expand)).collect(), "expansion"),
            ];
            for put in put_all {
                put.map_err(|why| vec![Diagnostic::error("space-subnet", Loc::Unknown, why)])?;
            }
        }
        lines.extend(self.resolution.iter().map(|param| (param.clone(), Item::Int(subnet.resolution.into()))));
        Ok(lines)
    }

    /// The space that the `bind` lines of a table choose; `None` when a block type or window is not bound.
    pub fn choice(&self, table: &SpaceTable) -> Option<Choice> {
        let mut choice = Choice { blocks: Vec::new(), windows: Vec::new() };
        for (slots, stage) in self.stages.iter().skip(self.hyperspace.stem.len()).zip(&self.hyperspace.stages) {
            let block = match &slots.block {
                Slot::One(param) => {
                    let name = table.binds.get(param)?.value.text();
                    stage.blocks.iter().position(|block| block.name == *name)?
                }
                _ => 0,
            };
            let window = match &slots.window {
                Some(param) => u8::try_from(integer(&table.binds.get(param)?.value)?).ok()?,
                None => 0,
            };
            choice.blocks.push(block as u8);
            choice.windows.push(window);
        }
        self.hyperspace.check(&choice).is_ok().then_some(choice)
    }

    /// The subnet that the `bind` lines of a table choose; `None` when something is not bound.
    pub fn subnet(&self, table: &SpaceTable) -> Option<Subnet> {
        let value = |slot: &Slot, round: usize| match slot {
            Slot::Fixed(item) => Some(item.clone()),
            Slot::One(param) => Some(table.binds.get(param)?.value.clone()),
            Slot::List(param) => match &table.binds.get(param)?.value {
                Item::List(items) => items.get(round).cloned(),
                _ => None,
            },
        };
        let resolution = match &self.resolution {
            Some(param) => u32::try_from(integer(&table.binds.get(param)?.value)?).ok()?,
            None => *self.hyperspace.resolutions.first()?,
        };
        let mut subnet = Subnet { depths: Vec::new(), blocks: Vec::new(), resolution };
        for slots in &self.stages {
            let depth = u32::try_from(integer(&value(&slots.depth, 0)?)?).ok().filter(|&depth| depth <= 64)?;
            subnet.depths.push(depth);
            for round in 0..depth as usize {
                let whole = |slot: &Slot| u32::try_from(integer(&value(slot, round)?)?).ok();
                let expand = expand_of(&value(&slots.expand, round)?).ok()?;
                subnet.blocks.push(BlockChoice { kernel: whole(&slots.kernel)?, width: whole(&slots.width)?, expand });
            }
        }
        Some(subnet)
    }
}

/// Binds parameters of a graph.
pub fn bind(table: &mut SpaceTable, lines: Vec<Line>) {
    table.binds.extend(lines.into_iter().map(|(param, value)| (param, Bind { value, loc: Loc::Unknown })));
}

/// One stage and its parameters.
fn stage(table: &SpaceTable, op: &Op, name: String) -> Result<(Stage, Slots), String> {
    let fault = |word: &str, what: String| format!("{name}: {word}: {what}");
    let block = slot(op.attrs().get("block")).map_err(|why| fault("block", why))?;
    let block = block.ok_or_else(|| fault("block", "there is none".into()))?;
    let names: Vec<Symbol> = match &block {
        Slot::Fixed(item) => vec![item.text()],
        Slot::One(param) => {
            let domain = &table.param(param).ok_or_else(|| fault("block", format!("${param} is not declared")))?.domain;
            table.values(domain).map_err(|why| fault("block", why.to_string()))?.iter().map(Item::text).collect()
        }
        Slot::List(_) => return Err(fault("block", "all blocks of a stage are of one type".into())),
    };
    if let Some(unknown) = names.iter().find(|name| table.block(name).is_none()) {
        let known = table.blocks.iter().map(|block| &*block.name);
        let near = spaceevo_ir::nearest::nearest(unknown, known).map(|near| format!(": did you mean {near}?"));
        return Err(fault("block", format!("there is no block {unknown}{}", near.unwrap_or_default())));
    }
    // What the op does not say, the block may.
    let given = |word: &str| -> Result<Slot, String> {
        match slot(op.attrs().get(word)).map_err(|why| fault(word, why))? {
            Some(slot) => Ok(slot),
            None => {
                let block = names.first().and_then(|name| table.block(name));
                let default = block.and_then(|block| block.params.iter().find(|(param, _)| &**param == word));
                Ok(Slot::Fixed(match default {
                    Some((_, Some(Expr::Int(n)))) => Item::Int(*n),
                    Some((_, Some(Expr::Float(x)))) => Item::Float(*x),
                    _ => Item::Int(0),
                }))
            }
        }
    };
    let slots = Slots {
        window: None,
        depth: slot(op.attrs().get("count")).map_err(|why| fault("count", why))?.unwrap_or(Slot::Fixed(Item::Int(1))),
        width: given("width")?,
        kernel: given("kernel")?,
        expand: given("expand")?,
        block,
    };
    let (widths, window, at) = widths(table, &slots.width).map_err(|why| fault("width", why))?;
    let slots = Slots { window: at, ..slots };
    let depths =
        whole(values(table, &slots.depth).map_err(|why| fault("count", why))?).map_err(|why| fault("count", why))?;
    let (Some(&least), Some(&most)) = (depths.iter().min(), depths.iter().max()) else {
        return Err(fault("count", "there is no value to take".into()));
    };
    let mut blocks = Vec::new();
    for block in &names {
        let mut bound = table.clone();
        if let Slot::One(param) = &slots.block {
            bind(&mut bound, vec![(param.clone(), Item::Word(block.clone()))]);
        }
        let kernels = values(&bound, &slots.kernel).map_err(|why| fault("kernel", why))?;
        let expands = values(&bound, &slots.expand).map_err(|why| fault("expand", why))?;
        let decimals = expands.iter().any(|item| matches!(item, Item::Float(_)));
        let expands = expands.iter().map(|item| expand_of(item).map_err(|why| fault("expand", why)));
        let expands = expands.filter_map(Result::transpose).collect::<Result<Vec<Expand>, String>>()?;
        blocks.push(Block {
            name: block.to_string(),
            kernels: whole(kernels).map_err(|why| fault("kernel", why))?,
            expands: expands.into_iter().map(|e| if decimals { e.with_decimals() } else { e }).collect(),
        });
    }
    let stride = stride(op).map_err(|why| fault("stride", why))?;
    Ok((Stage { name, widths, window, depths: (least, most), stride, blocks }, slots))
}

/// Width list, how many of it a space keeps, and the parameter that says which.
fn widths(table: &SpaceTable, slot: &Slot) -> Result<(Vec<u32>, usize, Option<Symbol>), String> {
    let domain = match slot {
        Slot::One(param) | Slot::List(param) => table.param(param).map(|param| &param.domain),
        Slot::Fixed(_) => None,
    };
    if let Some(Domain::Window { of, size, at }) = domain {
        let all = whole(table.values(of).map_err(|why| why.to_string())?)?;
        let start = table.param(at).ok_or_else(|| format!("${at} is not declared"))?;
        let starts = whole(table.values(&start.domain).map_err(|why| why.to_string())?)?;
        let wanted: BTreeSet<u32> = (0..=(all.len() as u32).saturating_sub(*size)).collect();
        if starts.iter().copied().collect::<BTreeSet<u32>>() != wanted {
            return Err(format!(
                "${at} must be in 0..{}, where windows of {size} can begin",
                wanted.len().saturating_sub(1)
            ));
        }
        return Ok((all, *size as usize, Some(at.clone())));
    }
    let all = whole(values(table, slot)?)?;
    let window = all.len();
    Ok((all, window, None))
}

fn slot(attr: Option<&Attr>) -> Result<Option<Slot>, String> {
    Ok(Some(match attr {
        None => return Ok(None),
        Some(Attr::Int(n)) => Slot::Fixed(Item::Int(*n)),
        Some(Attr::Float(x)) => Slot::Fixed(Item::from_text(&format!("{x:?}"))),
        Some(Attr::Word(word)) => Slot::Fixed(Item::Word(word.clone())),
        Some(Attr::Str(bytes)) => Slot::Fixed(Item::Word(String::from_utf8_lossy(bytes).into())),
        Some(Attr::Expr(Expr::Param(param))) => Slot::One(param.clone()),
        Some(Attr::Expr(Expr::Element(param, index))) if **index == Expr::Param("i".into()) => Slot::List(param.clone()),
        Some(other) => return Err(format!("{other} is neither a number nor a parameter: encodings have no word for it")),
    }))
}

fn values(table: &SpaceTable, slot: &Slot) -> Result<Vec<Item>, String> {
    match slot {
        Slot::Fixed(item) => Ok(vec![item.clone()]),
        Slot::One(param) | Slot::List(param) => {
            let param = table.param(param).ok_or_else(|| format!("${param} is not declared"))?;
            table.values(&param.domain).map_err(|why| why.to_string())
        }
    }
}

fn whole(items: Vec<Item>) -> Result<Vec<u32>, String> {
    let number = |item: &Item| integer(item).and_then(|n| u32::try_from(n).ok());
    items.iter().map(|item| number(item).ok_or_else(|| format!("{item} is no whole number"))).collect()
}

fn integer(item: &Item) -> Option<i64> {
    match item {
        Item::Int(n) => Some(*n),
        Item::Float(x) if x.fract() == 0.0 && x.abs() < 1e15 => Some(*x as i64),
        _ => None,
    }
}

/// An expansion; 0 is none.
fn expand_of(item: &Item) -> Result<Option<Expand>, String> {
    if integer(item) == Some(0) {
        return Ok(None);
    }
    let text = match item {
        Item::Float(x) => format!("{x:?}"),
        other => other.to_string(),
    };
    Expand::parse(&text).map(Some).ok_or_else(|| format!("{item} is no ratio"))
}

fn item_of(expand: Option<Expand>) -> Item {
    match expand {
        None => Item::Int(0),
        Some(expand) if expand.thousandths() % 1000 == 0 => Item::Int((expand.thousandths() / 1000).into()),
        Some(expand) => Item::Float(expand.ratio()),
    }
}

/// The stride of the first round.
fn stride(op: &Op) -> Result<u32, String> {
    let first = match op.attrs().get("stride") {
        None => return Ok(1),
        Some(Attr::Int(n)) => *n,
        Some(Attr::Expr(expr)) => match expr.in_round(0) {
            Expr::Int(n) => n,
            other => return Err(format!("{other} is no number")),
        },
        Some(other) => return Err(format!("{other} is no number")),
    };
    u32::try_from(first).map_err(|_| format!("{first} is no stride"))
}

/// Picture sizes, and the parameter that chooses one.
fn resolutions(graph: &Graph) -> Result<(Option<Symbol>, Vec<u32>), String> {
    let input = graph.region(graph.body()).inputs().first().ok_or("the space has no input")?;
    let ty = graph.value(*input).ty();
    let dims = ty.tensor().and_then(|t| t.shape.as_deref()).unwrap_or_default();
    match dims {
        [_, _, Dim::Known(h), Dim::Known(w)] if h == w => Ok((None, vec![u32::try_from(*h).unwrap_or(0)])),
        [_, _, Dim::Expr(h), Dim::Expr(w)] if h == w => match &**h {
            Expr::Param(param) => {
                let declared = graph.space.param(param).ok_or_else(|| format!("${param} is not declared"))?;
                let all = graph.space.values(&declared.domain).map_err(|why| why.to_string())?;
                Ok((Some(param.clone()), whole(all)?))
            }
            other => Err(format!("the extent {other} of the picture is neither a number nor a parameter")),
        },
        _ => Err(format!("the input is {ty}, not a square picture such as f32[1,3,$res,$res]")),
    }
}
