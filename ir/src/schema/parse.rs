//! Reads one block of the table: everything the table says about one operator version.

use super::elements::TypeSet;
use super::op::{Arity, AttrDefault, AttrKind, AttrSpec, OpSchema, Port, PortType, TypeConstraint};

/// Named type sets, sorted by name.
pub(super) type NamedSets = Vec<(&'static str, TypeSet)>;

/// What is wrong with a line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: &'static str,
    pub(super) reason: &'static str,
}

/// The head of a block: `op NAME SINCE [deprecated]`, without the word `op`.
pub(super) struct Head {
    pub(super) name: &'static str,
    pub(super) since: u64,
    pub(super) deprecated: bool,
}

pub(super) fn head(text: &'static str) -> Option<Head> {
    let mut words = text.split_whitespace();
    let (name, since) = (words.next()?, words.next()?.parse().ok()?);
    let deprecated = match words.next() {
        None => false,
        Some("deprecated") => true,
        Some(_) => return None,
    };
    words.next().is_none().then_some(Head { name, since, deprecated })
}

/// Reads the lines below a block's head.
pub(super) fn block(domain: &'static str, head: &Head, body: &'static str, sets: &NamedSets) -> Result<OpSchema, Fault> {
    let &Head { name, since, deprecated } = head;
    let (inputs, outputs, attrs, types) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut op = OpSchema { domain, name, since, deprecated, inputs, outputs, attrs, types };
    for line in body.lines().filter(|line| !line.is_empty()) {
        let fault = |reason| Fault { line, reason };
        let (word, rest) = line.trim_start().split_once(' ').ok_or(fault("nothing after the first word"))?;
        match word {
            "in" => op.inputs = ports(rest).map_err(fault)?,
            "out" => op.outputs = ports(rest).map_err(fault)?,
            "attr" => op.attrs = rest.split(' ').map(attr).collect::<Option<_>>().ok_or(fault("bad attribute"))?,
            "type" => {
                let (name, types) = rest.split_once(" = ").ok_or(fault("`type` without ` = `"))?;
                let allowed = type_set(types, sets).ok_or(fault("bad type set"))?;
                op.types.push(TypeConstraint { name, allowed });
            }
            _ => return Err(fault("unknown first word")),
        }
    }
    resolve(&mut op).map_err(|reason| Fault { line: body.lines().next().unwrap_or(name), reason })?;
    Ok(op)
}

/// A port's type is a variable of its operator if there is one of that name, and else a type of its own.
fn resolve(op: &mut OpSchema) -> Result<(), &'static str> {
    for port in op.inputs.iter_mut().chain(&mut op.outputs) {
        if let PortType::Variable(name) = port.types
            && !op.types.iter().any(|constraint| constraint.name == name)
        {
            let types = type_set(name, &Vec::new()).ok_or("a port's type is neither a variable nor a type")?;
            port.types = PortType::Concrete(types);
        }
    }
    Ok(())
}

fn ports(text: &'static str) -> Result<Vec<Port>, &'static str> {
    let ports = text.split(' ').map(port).collect::<Option<Vec<_>>>().ok_or("bad port")?;
    match ports.split_last() {
        Some((_, first)) if first.iter().any(Port::is_variadic) => Err("a variadic port before the last"),
        _ => Ok(ports),
    }
}

fn port(word: &'static str) -> Option<Port> {
    let (formal, types) = word.split_once(':')?;
    let (formal, homogeneous) = match formal.strip_suffix('~') {
        Some(formal) => (formal, false),
        None => (formal, true),
    };
    let (name, arity) = if let Some((name, min)) = formal.split_once('*') {
        (name, Arity::Variadic { min: min.parse().ok()? })
    } else if let Some(name) = formal.strip_suffix('?') {
        (name, Arity::Optional)
    } else {
        (formal, Arity::Required)
    };
    let mixed_single = !homogeneous && !matches!(arity, Arity::Variadic { .. });
    let bad = name.is_empty() || types.is_empty() || mixed_single;
    (!bad).then_some(Port { name, arity, homogeneous, types: PortType::Variable(types) })
}

fn attr(word: &'static str) -> Option<AttrSpec> {
    let (name, rest) = word.split_once(':')?;
    let (name, required) = match name.strip_suffix('!') {
        Some(name) => (name, true),
        None => (name, false),
    };
    let (kind, default) = match rest.split_once('=') {
        Some((kind, default)) => (attr_kind(kind)?, Some(default)),
        None => (attr_kind(rest)?, None),
    };
    let default = match default {
        None => AttrDefault::Absent,
        Some(_) if required => return None,
        Some("?") => AttrDefault::Unrecorded,
        Some(text) => attr_default(kind, text)?,
    };
    (!name.is_empty()).then_some(AttrSpec { name, kind, required, default })
}

fn attr_kind(word: &str) -> Option<AttrKind> {
    Some(match word {
        "int" => AttrKind::Int,
        "float" => AttrKind::Float,
        "str" => AttrKind::Str,
        "tensor" => AttrKind::Tensor,
        "graph" => AttrKind::Graph,
        "sparse" => AttrKind::SparseTensor,
        "type" => AttrKind::Type,
        "ints" => AttrKind::Ints,
        "floats" => AttrKind::Floats,
        "strs" => AttrKind::Strs,
        "tensors" => AttrKind::Tensors,
        "graphs" => AttrKind::Graphs,
        "sparses" => AttrKind::SparseTensors,
        "types" => AttrKind::Types,
        _ => return None,
    })
}

fn attr_default(kind: AttrKind, text: &'static str) -> Option<AttrDefault> {
    Some(match kind {
        AttrKind::Int => AttrDefault::Int(text.parse().ok()?),
        AttrKind::Float => AttrDefault::Float(text.parse().ok()?),
        AttrKind::Str => AttrDefault::Str(quoted(text)?),
        AttrKind::Ints => AttrDefault::Ints(listed(text, |item| item.parse().ok())?),
        AttrKind::Floats => AttrDefault::Floats(listed(text, |item| item.parse().ok())?),
        AttrKind::Strs => AttrDefault::Strs(listed(text, quoted)?),
        _ => return None,
    })
}

fn quoted(text: &'static str) -> Option<&'static str> {
    text.strip_prefix('"')?.strip_suffix('"')
}

fn listed<T>(text: &'static str, item: impl Fn(&'static str) -> Option<T>) -> Option<Vec<T>> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    if inner.is_empty() { Some(Vec::new()) } else { inner.split(',').map(item).collect() }
}

/// Reads `@NAME`, or words such as `f32 i8 seq(f32 str) map(i64,f32)`.
pub(super) fn type_set(text: &'static str, sets: &NamedSets) -> Option<TypeSet> {
    if text.starts_with('@') {
        let found = sets.binary_search_by_key(&text, |(name, _)| name).ok()?;
        return Some(sets[found].1.clone());
    }
    let mut types = TypeSet::default();
    let mut wrapper = "";
    for word in text.split(' ') {
        if is_map(word) {
            types.other.push(word);
            continue;
        }
        let word = match word.split_once('(') {
            Some((name, first)) if wrapper.is_empty() && !name.is_empty() => {
                wrapper = name;
                first
            }
            Some(_) => return None,
            None => word,
        };
        let (element, closes) = match word.strip_suffix(')') {
            Some(element) => (element, true),
            None => (word, false),
        };
        if !types.group_mut(wrapper)?.insert(element) || (closes && wrapper.is_empty()) {
            return None;
        }
        if closes {
            wrapper = "";
        }
    }
    wrapper.is_empty().then_some(types)
}

fn is_map(word: &str) -> bool {
    let word = word.strip_prefix("seq(").and_then(|inner| inner.strip_suffix(')')).unwrap_or(word);
    let pair = word.strip_prefix("map(").and_then(|inner| inner.strip_suffix(')'));
    pair.and_then(|pair| pair.split_once(','))
        .is_some_and(|(key, value)| [key, value].iter().all(|name| super::elements::ELEMENTS.contains(name)))
}
