//! Which values a domain holds: named ones looked up, windows cut out, and of those that depend on a parameter the one that its
//! value says.

use crate::bind::{Unresolved, whole};
use crate::space::{Domain, Item, Param, SpaceTable};
use crate::types::Symbol;

/// Values that a window or a listing goes through at most: no width list is longer, and a file cannot ask for more.
pub const MAX_VALUES: usize = 4096;
/// Domains that refer to each other at most.
const MAX_DEPTH: u32 = 16;

type Resolved<T> = Result<T, Unresolved>;

fn failed<T>(why: impl Into<String>) -> Resolved<T> {
    Err(Unresolved::Failed(why.into()))
}

impl SpaceTable {
    /// True when the value may be chosen; `1` and `1.0` are the same value.
    ///
    /// # Errors
    /// The domain depends on a parameter without value, or on what is not declared.
    pub fn holds(&self, domain: &Domain, item: &Item) -> Resolved<bool> {
        Ok(match self.plain(domain)? {
            Domain::Range { low, high, step } => whole(item).is_some_and(|n| {
                step > 0 && low <= n && n <= high && (i128::from(n) - i128::from(low)) % i128::from(step) == 0
            }),
            Domain::Set(items) => items.iter().any(|known| known.same(item)),
            _ => false,
        })
    }

    /// The values that a domain holds now, in order.
    ///
    /// # Errors
    /// As [`SpaceTable::holds`]; or there are more than [`MAX_VALUES`].
    pub fn values(&self, domain: &Domain) -> Resolved<Vec<Item>> {
        match self.plain(domain)? {
            Domain::Set(items) => Ok(items),
            Domain::Range { low, high, step } => {
                let count = (i128::from(high) - i128::from(low)) / i128::from(step.max(1)) + 1;
                if count > MAX_VALUES as i128 {
                    return failed(format!("{low}..{high} has more than {MAX_VALUES} values: a step makes them fewer"));
                }
                // Steps may be as long as the range is, which may be longer than an integer.
                let at = |i: i128| (i128::from(low) + i * i128::from(step.max(1))) as i64;
                Ok((0..count.max(0)).map(|i| Item::Int(at(i))).collect())
            }
            other => failed(format!("{other} is no list of values")),
        }
    }

    /// The domain as a range or a set.
    fn plain(&self, domain: &Domain) -> Resolved<Domain> {
        self.plain_at(domain, MAX_DEPTH, true)
    }

    /// `closed`: windows and cases are decided by what is bound; otherwise the result holds all that they could let through.
    fn plain_at(&self, domain: &Domain, left: u32, closed: bool) -> Resolved<Domain> {
        let Some(left) = left.checked_sub(1) else { return failed("domains refer to each other without end") };
        match domain {
            Domain::Range { .. } | Domain::Set(_) => Ok(domain.clone()),
            Domain::Named(name) => match self.named(name) {
                Some(named) => self.plain_at(named, left, closed),
                None => failed(format!("no `let` is called {name}")),
            },
            Domain::Window { of, size, at } => {
                let whole_list = self.plain_at(of, left, closed)?;
                let start = match self.binds.get(at) {
                    Some(bind) => whole(&bind.value).and_then(|n| usize::try_from(n).ok()),
                    None if !closed => return Ok(whole_list),
                    None => return Err(Unresolved::Unbound(at.clone())),
                };
                let list = self.values(&whole_list)?;
                match start.and_then(|start| list.get(start..start.checked_add(*size as usize)?)) {
                    Some(window) => Ok(Domain::Set(window.to_vec())),
                    None => failed(format!("{size} of {} values do not begin where ${at} says", list.len())),
                }
            }
            Domain::By { param, of } => {
                let cases = self.cases(of, left)?;
                match self.binds.get(param).map(|bind| bind.value.text()) {
                    Some(value) => match cases.iter().find(|(case, _)| *case == value) {
                        Some((_, domain)) => self.plain_at(domain, left, closed),
                        None => failed(format!("there is no case for ${param} = {value}")),
                    },
                    None if !closed => {
                        let mut all: Vec<Item> = Vec::new();
                        for (_, domain) in cases {
                            let some = self.plain_at(domain, left, closed)?;
                            let fresh: Vec<Item> =
                                self.values(&some)?.into_iter().filter(|v| !all.iter().any(|a| a.same(v))).collect();
                            all.extend(fresh);
                        }
                        Ok(Domain::Set(all))
                    }
                    None => Err(Unresolved::Unbound(param.clone())),
                }
            }
            Domain::Cases(_) => failed("domains by case stand behind `by $parameter`"),
        }
    }

    fn cases<'a>(&'a self, of: &'a Domain, left: u32) -> Resolved<&'a [(Symbol, Domain)]> {
        let Some(left) = left.checked_sub(1) else { return failed("domains refer to each other without end") };
        match of {
            Domain::Cases(cases) => Ok(cases),
            Domain::Named(name) => match self.named(name) {
                Some(named) => self.cases(named, left),
                None => failed(format!("no `let` is called {name}")),
            },
            other => failed(format!("{other} has no cases")),
        }
    }

    /// Why a domain can have no meaning, whatever is bound; `None` when it has one.
    pub fn fault(&self, domain: &Domain) -> Option<String> {
        let mut at = domain;
        for _ in 0..MAX_DEPTH {
            let depends = match at {
                Domain::Named(name) => match self.named(name) {
                    Some(named) => {
                        at = named;
                        continue;
                    }
                    None => return Some(format!("no `let` is called {name}")),
                },
                Domain::Window { at, .. } => Some(at),
                Domain::By { param, .. } => Some(param),
                _ => None,
            };
            if let Some(name) = depends {
                match self.param(name) {
                    None => return Some(format!("it depends on ${name}, which is not declared")),
                    Some(param) if param.count.is_some() => return Some(format!("it depends on ${name}, which is a list")),
                    Some(param) => {
                        if matches!(param.domain, Domain::Window { .. } | Domain::By { .. }) {
                            return Some(format!("it depends on ${name}, whose domain depends on a parameter itself"));
                        }
                    }
                }
            }
            break;
        }
        match self.plain_at(domain, MAX_DEPTH, false) {
            Ok(Domain::Range { low, high, step }) if low > high || step <= 0 => Some("there is no value to take".into()),
            Ok(Domain::Set(items)) if items.is_empty() => Some("there is no value to take".into()),
            Ok(_) => None,
            Err(why) => Some(why.to_string()),
        }
    }

    /// All values that a parameter could have, whatever those are that its domain depends on.
    ///
    /// # Errors
    /// As [`SpaceTable::values`].
    pub fn possible(&self, domain: &Domain) -> Resolved<Vec<Item>> {
        let open = self.plain_at(domain, MAX_DEPTH, false)?;
        self.values(&open)
    }

    /// Smallest and largest number that a domain could hold, whatever the parameters are that it depends on.
    ///
    /// # Errors
    /// It holds words, nothing, or what is not declared.
    pub fn bounds_of(&self, domain: &Domain) -> Resolved<(f64, f64)> {
        let items = match self.plain_at(domain, MAX_DEPTH, false)? {
            Domain::Range { low, high, step } => {
                let steps = (i128::from(high) - i128::from(low)) / i128::from(step.max(1));
                return Ok((low as f64, (i128::from(low) + steps * i128::from(step)) as f64));
            }
            Domain::Set(items) => items,
            other => return failed(format!("{other} is no list of values")),
        };
        let mut bounds: Option<(f64, f64)> = None;
        for item in &items {
            let Some(x) = item.number() else { return failed(format!("{item} is no number")) };
            let (low, high) = bounds.unwrap_or((x, x));
            bounds = Some((low.min(x), high.max(x)));
        }
        bounds.ok_or_else(|| Unresolved::Failed("there is no value to take".into()))
    }

    /// Why a parameter cannot have this value; `None` when it can.
    ///
    /// # Errors
    /// As [`SpaceTable::holds`].
    pub fn misfit(&self, param: &Param, value: &Item) -> Resolved<Option<String>> {
        let name = &param.name;
        let outside = |item: &Item, what: String| -> Resolved<Option<String>> {
            let held = self.holds(&param.domain, item)?;
            Ok((!held).then(|| format!("{what} is bound to {item}, which its domain does not hold")))
        };
        match (param.count, value) {
            (None, Item::List(_)) => Ok(Some(format!("${name} is bound to a list, but it is one value"))),
            (None, item) => outside(item, format!("${name}")),
            (Some(count), Item::List(items)) if items.len() <= count as usize => {
                for (index, item) in items.iter().enumerate() {
                    if let Some(why) = outside(item, format!("${name}[{index}]"))? {
                        return Ok(Some(why));
                    }
                }
                Ok(None)
            }
            (Some(count), Item::List(items)) => {
                Ok(Some(format!("${name} is bound to {} values, but it has {count}", items.len())))
            }
            (Some(_), item) => Ok(Some(format!("${name} is bound to {item}, but it is a list: write [{item}]"))),
        }
    }
}
