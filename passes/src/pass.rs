//! What a pass is: its record, its context, its outcome.

use std::collections::BTreeMap;

use spaceevo_ir::verify::Form;
use spaceevo_ir::{Diagnostic, Graph, Loc, OpId, Severity, ValueId};

use crate::quantize::moments::Measured;
use crate::target::Target;

/// What a pass or a rule may do to the numbers. The most important word in the project.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Effect {
    /// Bit for bit the same.
    Exact,
    /// The same real function, in another order of rounding.
    Rounding,
    /// Within a stated tolerance (quantization).
    Approximate,
    /// Another function: the network must be trained again.
    Retrain,
}

impl Effect {
    /// The word of the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Effect::Exact => "exact",
            Effect::Rounding => "rounding",
            Effect::Approximate => "approximate",
            Effect::Retrain => "retrain",
        }
    }

    /// Inverse of [`Effect::word`].
    pub fn from_word(word: &str) -> Option<Effect> {
        [Effect::Exact, Effect::Rounding, Effect::Approximate, Effect::Retrain].into_iter().find(|e| e.word() == word)
    }
}

/// Kind of an option's value.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum OptionKind {
    /// An integer.
    Int,
    /// A number.
    Float,
    /// `true` or `false`; the bare name means `true`.
    Flag,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Any text without `,` and `}`; lists are separated by `+`.
    Text,
}

/// An option of a pass.
#[derive(Clone, Copy, Debug)]
pub struct OptionInfo {
    /// Name in the pipeline text.
    pub name: &'static str,
    /// Kind of its value.
    pub kind: OptionKind,
    /// Value when it is not given, in pipeline text; empty for "none".
    pub default: &'static str,
    /// One line of help.
    pub help: &'static str,
}

/// The option `samples`, which [`PassContext::observe`] goes by.
pub const fn samples(default: &'static str) -> OptionInfo {
    let help = "samples that are looked at, evenly spaced among those given";
    OptionInfo { name: "samples", kind: OptionKind::Int, default, help }
}

/// Everything that help, documentation, completion and the pipeline parser need: written once, beside the code.
#[derive(Clone, Copy, Debug)]
pub struct PassInfo {
    /// Command-line name; the file has the same stem.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// The manual page: before and after, equations, when it declines.
    pub doc: &'static str,
    /// What it may do to the numbers.
    pub effect: Effect,
    /// Form of graphs that it can be given.
    pub accepts: Form,
    /// Form that it leaves, when that is more than it was given.
    pub leaves: Form,
    /// Options.
    pub options: &'static [OptionInfo],
}

impl PassInfo {
    /// A pass without options that keeps every bit and takes and leaves graphs of any form.
    pub const fn exact(name: &'static str, summary: &'static str) -> PassInfo {
        PassInfo { name, summary, doc: summary, effect: Effect::Exact, accepts: Form::Any, leaves: Form::Any, options: &[] }
    }
}

/// A transformation of a graph.
pub trait Pass: Send + Sync {
    /// Its record.
    fn info(&self) -> &'static PassInfo;
    /// Rewrites `graph`. Leaves it valid in the form promised, or reports why not.
    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Outcome, Aborted>;
}

/// What a pass did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The graph is as it was.
    Unchanged,
    /// It is another.
    Changed,
}

impl Outcome {
    /// `Changed` when `changed`.
    pub fn from(changed: bool) -> Self {
        if changed { Outcome::Changed } else { Outcome::Unchanged }
    }
}

/// Proof that an error has been reported. Only [`PassContext::error`] makes one, so that nothing fails silently.
#[must_use]
#[derive(Debug)]
pub struct Aborted(());

/// At most `most` of the indices `0..len`, evenly spaced.
pub fn evenly_spaced(len: usize, most: usize) -> Vec<usize> {
    let count = len.min(most);
    (0..count).map(|i| i * len / count).collect()
}

/// Source of real activations for passes that need them (calibration, bias correction, sensitivity).
pub trait Observer {
    /// Number of samples.
    fn samples(&self) -> usize;
    /// Extents of the first sample: a list for each input without a default, in their order. `None`: not known before a run.
    fn extents(&self) -> Option<Vec<Vec<usize>>> {
        None
    }
    /// Runs the graph, whose body's inputs are those of the imported model, on those samples, and calls
    /// `see(sample, slot, numbers)` for each and every one of `values` (`slot` is the position there): once each, from any
    /// thread, in any order.
    fn observe(
        &mut self,
        graph: &Graph,
        values: &[ValueId],
        samples: &[usize],
        see: &(dyn Fn(usize, usize, &[f32]) + Sync),
    ) -> Result<(), Diagnostic>;
}

/// A rewrite that happened, or almost did.
#[derive(Clone, PartialEq, Debug)]
pub struct Event {
    /// Pass or rule.
    pub pass: &'static str,
    /// The value that the op makes, as `%name`.
    pub at: String,
    /// Where the op came from.
    pub loc: Loc,
    /// What happened, or why it did not.
    pub text: String,
}

/// What a pass sees beside the graph.
pub struct PassContext<'a> {
    /// The target.
    pub target: &'a Target,
    /// Real activations, when the pipeline was given samples.
    pub observer: Option<&'a mut dyn Observer>,
    pub(crate) pass: &'static PassInfo,
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) log: &'a mut Log,
}

/// What passes reported so far.
#[derive(Default, Debug, Clone)]
pub struct Log {
    /// Errors, warnings, notes.
    pub diagnostics: Vec<Diagnostic>,
    /// Rewrites done.
    pub rewrites: Vec<Event>,
    /// Rewrites that almost happened.
    pub declines: Vec<Event>,
    /// Counters by pass and name.
    pub statistics: BTreeMap<(&'static str, &'static str), u64>,
    /// Rewrites still allowed (`--bisect-limit`); `None`: no limit.
    pub budget: Option<u64>,
    /// What a pass measured on samples for those behind it.
    pub measured: Option<Measured>,
}

impl<'a> PassContext<'a> {
    /// A context for running one pass by hand; the manager makes its own.
    pub fn new(
        pass: &'static PassInfo,
        options: BTreeMap<String, String>,
        target: &'a Target,
        observer: Option<&'a mut dyn Observer>,
        log: &'a mut Log,
    ) -> Self {
        PassContext { target, observer, pass, options, log }
    }

    /// Reports an error; return its result.
    pub fn error(&mut self, diagnostic: Diagnostic) -> Aborted {
        self.log.diagnostics.push(Diagnostic { severity: Severity::Error, ..diagnostic });
        Aborted(())
    }

    /// Reports a warning or note.
    pub fn warn(&mut self, diagnostic: Diagnostic) {
        self.log.diagnostics.push(diagnostic);
    }

    /// Asks whether a rewrite of `op` may happen, and records it when so. False when `--bisect-limit` is used up: the
    /// rewrite must then not happen. Call it once all conditions hold, right before the first edit.
    pub fn rewrite(&mut self, graph: &Graph, op: OpId, what: impl Into<String>) -> bool {
        match &mut self.log.budget {
            Some(0) => return false,
            Some(left) => *left -= 1,
            None => {}
        }
        let event = self.event(graph, op, what.into());
        self.log.rewrites.push(event);
        true
    }

    /// Records why a rewrite that almost happened did not.
    pub fn declined(&mut self, graph: &Graph, op: OpId, why: impl Into<String>) {
        let event = self.event(graph, op, why.into());
        self.log.declines.push(event);
    }

    fn event(&self, graph: &Graph, op: OpId, text: String) -> Event {
        let op = graph.op(op);
        let at = op.results().first().map_or_else(|| op.name().to_string(), |&v| graph.label(v));
        Event { pass: self.pass.name, at, loc: op.loc().clone(), text }
    }

    /// The samples to look at: all, or as many as the option [`samples`] says if the pass has it. That there are none is an
    /// error.
    pub fn samples(&mut self) -> Result<Vec<usize>, Aborted> {
        let most = self.int("samples").and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX).max(1);
        let samples = self.observer.as_ref().map_or(0, |o| o.samples());
        if samples == 0 {
            let message = format!("'{}' needs samples, and none were given", self.pass.name);
            let missing = Diagnostic::error("no-samples", Loc::Unknown, message);
            return Err(self.error(missing.note("pass --calibrate with a folder of images, an .npy or an .npz file")));
        }
        Ok(evenly_spaced(samples, most))
    }

    /// Runs the graph on samples ([`Observer::observe`]); what the observer reports is an error.
    pub fn observe(
        &mut self,
        graph: &Graph,
        values: &[ValueId],
        samples: &[usize],
        see: &(dyn Fn(usize, usize, &[f32]) + Sync),
    ) -> Result<(), Aborted> {
        let seen = self.observer.as_mut().map_or(Ok(()), |o| o.observe(graph, values, samples, see));
        seen.map_err(|diagnostic| self.error(diagnostic))
    }

    /// Leaves what was measured for the passes behind.
    pub fn leave_measured(&mut self, measured: Measured) {
        self.log.measured = Some(measured);
    }

    /// What a pass before measured, if one did; it is gone then.
    pub fn take_measured(&mut self) -> Option<Measured> {
        self.log.measured.take()
    }

    /// Adds to a counter, which stays at its largest number once it is reached.
    pub fn count(&mut self, name: &'static str, by: u64) {
        let counter = self.log.statistics.entry((self.pass.name, name)).or_insert(0);
        *counter = counter.saturating_add(by);
    }

    fn option(&self, name: &str) -> &str {
        let default = || self.pass.options.iter().find(|o| o.name == name).map_or("", |o| o.default);
        self.options.get(name).map_or_else(default, String::as_str)
    }

    /// Text of an option; empty for "none".
    pub fn text(&self, name: &str) -> &str {
        self.option(name)
    }

    /// An integer option, if it has a value (the pipeline parser has checked the kind).
    pub fn int(&self, name: &str) -> Option<i64> {
        self.option(name).parse().ok()
    }

    /// A number option, if it has a value.
    pub fn float(&self, name: &str) -> Option<f64> {
        self.option(name).parse().ok()
    }

    /// A flag.
    pub fn flag(&self, name: &str) -> bool {
        self.option(name) == "true"
    }
}
