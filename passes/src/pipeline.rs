//! Pipelines as text: `fold-conv-bn,legalize-width{multiple=16},fixpoint{max=4}(fuse-activation,drop-dead),@simplify`.
//! Parsing and printing are inverse.

use std::collections::BTreeMap;
use std::fmt;

use spaceevo_ir::{Diagnostic, Loc};

use crate::pass::{OptionInfo, OptionKind};
use crate::registry::Registry;

/// A sequence of steps.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Pipeline {
    /// In order.
    pub steps: Vec<Step>,
}

/// One step of a pipeline.
#[derive(Clone, PartialEq, Debug)]
pub enum Step {
    /// A pass with the options given.
    Pass {
        /// Registered name.
        name: String,
        /// Options by name, as text.
        options: BTreeMap<String, String>,
    },
    /// Repeats until nothing changes, at most `max` times.
    Fixpoint {
        /// Bound of rounds.
        max: u32,
        /// What is repeated.
        body: Pipeline,
    },
    /// A named pipeline.
    Named(String),
}

/// Rounds of a `fixpoint` that names no bound.
pub const DEFAULT_ROUNDS: u32 = 8;
/// Deepest nesting of `fixpoint` and named pipelines.
const MAX_DEPTH: usize = 16;

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.steps.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{step}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Named(name) => write!(f, "@{name}"),
            Step::Fixpoint { max, body } if *max == DEFAULT_ROUNDS => write!(f, "fixpoint({body})"),
            Step::Fixpoint { max, body } => write!(f, "fixpoint{{max={max}}}({body})"),
            Step::Pass { name, options } if options.is_empty() => f.write_str(name),
            Step::Pass { name, options } => {
                let list: Vec<String> = options.iter().map(|(k, v)| format!("{k}={v}")).collect();
                write!(f, "{name}{{{}}}", list.join(","))
            }
        }
    }
}

impl Pipeline {
    /// Parses pipeline text and checks every name and option against the registry.
    pub fn parse(text: &str, registry: &Registry) -> Result<Pipeline, Diagnostic> {
        let mut parser = Parser { text, at: 0, registry };
        let pipeline = parser.pipeline(0)?;
        match parser.peek() {
            None => Ok(pipeline),
            Some(c) => Err(parser.error(format!("unexpected '{c}'"), "steps are separated by ','")),
        }
    }

    /// Names of all passes that it runs, named pipelines opened, in order.
    pub fn passes(&self, registry: &Registry) -> Vec<String> {
        let mut names = Vec::new();
        for step in &self.steps {
            match step {
                Step::Pass { name, .. } => names.push(name.clone()),
                Step::Fixpoint { body, .. } => names.extend(body.passes(registry)),
                Step::Named(name) => {
                    let body = registry.pipeline(name).and_then(|t| Pipeline::parse(t, registry).ok());
                    names.extend(body.map(|b| b.passes(registry)).unwrap_or_default());
                }
            }
        }
        names
    }

    /// The same without these passes; named pipelines that have one of them are written out.
    pub fn without(&self, skipped: &[String], registry: &Registry) -> Pipeline {
        let mut steps = Vec::new();
        for step in &self.steps {
            match step {
                Step::Pass { name, .. } if skipped.contains(name) => {}
                Step::Pass { .. } => steps.push(step.clone()),
                Step::Fixpoint { max, body } => {
                    let body = body.without(skipped, registry);
                    if !body.steps.is_empty() {
                        steps.push(Step::Fixpoint { max: *max, body });
                    }
                }
                Step::Named(name) => {
                    let body = registry.pipeline(name).and_then(|t| Pipeline::parse(t, registry).ok());
                    match body.filter(|body| body.passes(registry).iter().any(|pass| skipped.contains(pass))) {
                        Some(body) => steps.extend(body.without(skipped, registry).steps),
                        None => steps.push(step.clone()),
                    }
                }
            }
        }
        Pipeline { steps }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    registry: &'a Registry,
}

impl<'a> Parser<'a> {
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.text[self.at..].chars().next()
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn expect(&mut self, wanted: char, why: &str) -> Result<(), Diagnostic> {
        if self.eat(wanted) { Ok(()) } else { Err(self.error(format!("expected '{wanted}'"), why)) }
    }

    fn error(&self, message: String, help: &str) -> Diagnostic {
        let caret = format!("{}^", " ".repeat(self.text[..self.at].chars().count()));
        Diagnostic::error("pipeline-syntax", Loc::Unknown, message).note(self.text.to_owned()).note(caret).note(help)
    }

    fn word(&mut self) -> Result<&'a str, Diagnostic> {
        self.peek();
        let rest = &self.text[self.at..];
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.')).unwrap_or(rest.len());
        if end == 0 {
            return Err(self.error("expected a name".into(), "a step is a pass name, '@pipeline', or 'fixpoint(...)'"));
        }
        self.at += end;
        Ok(&rest[..end])
    }

    fn pipeline(&mut self, depth: usize) -> Result<Pipeline, Diagnostic> {
        if depth > MAX_DEPTH {
            return Err(self.error("pipelines are nested too deeply".into(), "use fewer 'fixpoint(...)' around each other"));
        }
        let mut steps = Vec::new();
        if matches!(self.peek(), None | Some(')')) {
            return Ok(Pipeline { steps });
        }
        loop {
            steps.push(self.step(depth)?);
            if !self.eat(',') {
                return Ok(Pipeline { steps });
            }
        }
    }

    fn step(&mut self, depth: usize) -> Result<Step, Diagnostic> {
        if self.eat('@') {
            let start = self.at;
            let name = self.word()?;
            if self.registry.pipeline(name).is_none() {
                self.at = start;
                let known = self.registry.pipelines().map(|(n, _)| n).collect::<Vec<_>>();
                return Err(self.error(format!("unknown pipeline '@{name}'"), &suggest(name, &known)));
            }
            return Ok(Step::Named(name.to_owned()));
        }
        self.peek();
        let start = self.at;
        let name = self.word()?;
        if name == "fixpoint" {
            let mut max = DEFAULT_ROUNDS;
            for (option, value) in self.options()? {
                match (option.as_str(), value.parse()) {
                    ("max", Ok(n)) if n > 0 && n <= 1000 => max = n,
                    _ => {
                        return Err(
                            self.error(format!("bad option '{option}={value}' of fixpoint"), "write fixpoint{max=N}(...)")
                        );
                    }
                }
            }
            self.expect('(', "write fixpoint(pass,pass)")?;
            let body = self.pipeline(depth + 1)?;
            self.expect(')', "every '(' needs its ')'")?;
            return Ok(Step::Fixpoint { max, body });
        }
        let Some(pass) = self.registry.pass(name) else {
            self.at = start;
            let known = self.registry.passes().map(|p| p.info().name).collect::<Vec<_>>();
            return Err(self.error(format!("unknown pass '{name}'"), &suggest(name, &known)));
        };
        let options = self.options()?;
        for (option, value) in &options {
            self.check(pass.info().options, option, value)?;
        }
        Ok(Step::Pass { name: name.to_owned(), options })
    }

    fn check(&self, known: &[OptionInfo], option: &str, value: &str) -> Result<(), Diagnostic> {
        let Some(info) = known.iter().find(|o| o.name == option) else {
            let names = known.iter().map(|o| o.name).collect::<Vec<_>>();
            return Err(self.error(format!("unknown option '{option}'"), &suggest(option, &names)));
        };
        let (good, kind) = match info.kind {
            OptionKind::Int => (value.parse::<i64>().is_ok(), "an integer".to_owned()),
            OptionKind::Float => (value.parse::<f64>().is_ok_and(f64::is_finite), "a number".to_owned()),
            OptionKind::Flag => (matches!(value, "true" | "false"), "true or false".to_owned()),
            OptionKind::Word(words) => (words.contains(&value), format!("one of {}", words.join(", "))),
            OptionKind::Text => (true, String::new()),
        };
        if good { Ok(()) } else { Err(self.error(format!("option '{option}' is '{value}'"), &format!("it must be {kind}"))) }
    }

    fn options(&mut self) -> Result<BTreeMap<String, String>, Diagnostic> {
        let mut options = BTreeMap::new();
        if !self.eat('{') {
            return Ok(options);
        }
        while !self.eat('}') {
            let name = self.word()?.to_owned();
            let value = if self.eat('=') {
                self.peek();
                let rest = &self.text[self.at..];
                let end = rest.find([',', '}']).unwrap_or(rest.len());
                self.at += end;
                rest[..end].trim_end().to_owned()
            } else {
                "true".to_owned()
            };
            if options.insert(name.clone(), value).is_some() {
                return Err(self.error(format!("option '{name}' is given twice"), "keep one of them"));
            }
            if !self.eat(',') && self.peek() != Some('}') {
                return Err(self.error("expected ',' or '}'".into(), "options look like {name=value,flag}"));
            }
        }
        Ok(options)
    }
}

/// "did you mean" with the nearest known name, else the list of them.
pub fn suggest(name: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|k| (distance(name, k), *k)).min();
    match nearest {
        Some((d, k)) if d <= 2 + name.len() / 4 => format!("did you mean '{k}'?"),
        _ if known.is_empty() => "there are none".to_owned(),
        _ => format!("known: {}", known.join(", ")),
    }
}

/// Edit distance (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let next = (diagonal + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = row[j + 1];
            row[j + 1] = next;
        }
    }
    row[b.len()]
}
