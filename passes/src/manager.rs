//! Runs pipelines: verifies after every pass, checks promises, times, counts, and tells watchers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use spaceevo_ir::verify::{Form, verify};
use spaceevo_ir::{Diagnostic, Graph, Loc};

use crate::pass::{Log, Observer, Outcome, PassContext, PassInfo};
use crate::pipeline::{Pipeline, Step};
use crate::registry::Registry;
use crate::target::Target;

/// Sees passes come and go. Dumps and timing are watchers; passes know none of it.
pub trait Watch {
    /// Before a pass runs.
    fn before(&mut self, _pass: &PassInfo, _graph: &Graph) {}
    /// After it ran.
    fn after(&mut self, _pass: &PassInfo, _graph: &Graph, _outcome: Outcome, _took: Duration) {}
    /// After it failed, or left a graph that does not verify.
    fn failed(&mut self, _pass: &PassInfo, _graph: &Graph) {}
}

/// How pipelines are run.
pub struct Manager<'a> {
    /// Names that pipelines may use.
    pub registry: &'a Registry,
    /// The target.
    pub target: &'a Target,
    /// Verify after every pass (default), or only at the end.
    pub verify_each: bool,
    /// Rewrites allowed in all; `None`: no limit.
    pub bisect_limit: Option<u64>,
    /// Watchers.
    pub watchers: Vec<&'a mut dyn Watch>,
}

/// One run of one pass.
#[derive(Clone, Debug)]
pub struct Run {
    /// Name.
    pub pass: &'static str,
    /// Wall time.
    pub took: Duration,
    /// Whether it changed the graph.
    pub changed: bool,
    /// Rewrites that it recorded.
    pub rewrites: usize,
}

/// What happened.
#[derive(Default, Debug)]
pub struct Report {
    /// Every pass that ran, in order.
    pub runs: Vec<Run>,
    /// Diagnostics, rewrites, declines, counters.
    pub log: Log,
    /// The steps that were not run because one before them failed, as pipeline text (with the failed one first).
    pub unfinished: Option<String>,
}

impl Report {
    /// True when no error was reported.
    pub fn ok(&self) -> bool {
        self.unfinished.is_none()
    }

    /// The errors.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.log.diagnostics.iter().filter(|d| d.severity == spaceevo_ir::Severity::Error)
    }
}

/// A step failed; the report says why.
struct Stopped;

impl<'a> Manager<'a> {
    /// A manager that verifies after every pass and watches nothing.
    pub fn new(registry: &'a Registry, target: &'a Target) -> Self {
        Manager { registry, target, verify_each: true, bisect_limit: None, watchers: Vec::new() }
    }

    /// Runs a pipeline. On failure the graph is as the failing pass left it and [`Report::ok`] is false.
    pub fn run(&mut self, pipeline: &Pipeline, graph: &mut Graph, mut observer: Option<&mut dyn Observer>) -> Report {
        let mut report = Report { log: Log { budget: self.bisect_limit, ..Log::default() }, ..Report::default() };
        let mut form = Form::Any;
        for (index, step) in pipeline.steps.iter().enumerate() {
            if self.step(step, graph, &mut observer, &mut form, &mut report).is_err() {
                report.unfinished = Some(Pipeline { steps: pipeline.steps[index..].to_vec() }.to_string());
                break;
            }
        }
        report
    }

    fn step(
        &mut self,
        step: &Step,
        graph: &mut Graph,
        observer: &mut Option<&mut dyn Observer>,
        form: &mut Form,
        report: &mut Report,
    ) -> Result<bool, Stopped> {
        match step {
            Step::Pass { name, options } => self.pass(name, options, graph, observer, form, report),
            Step::Named(name) => {
                let text = self.registry.pipeline(name).unwrap_or_default();
                let body = Pipeline::parse(text, self.registry).map_err(|diagnostic| {
                    report.log.diagnostics.push(diagnostic.note(format!("in the named pipeline '@{name}'")));
                    Stopped
                })?;
                self.sequence(&body, graph, observer, form, report)
            }
            Step::Fixpoint { max, body } => {
                let mut changed = false;
                for _ in 0..*max {
                    if !self.sequence(body, graph, observer, form, report)? {
                        return Ok(changed);
                    }
                    changed = true;
                }
                let mut active: Vec<&str> =
                    report.runs.iter().rev().take(body.steps.len()).filter(|r| r.changed).map(|r| r.pass).collect();
                active.reverse();
                report.log.diagnostics.push(
                    Diagnostic::warning("fixpoint-bound", Loc::Unknown, format!("still changing after {max} rounds"))
                        .note(format!("active in the last round: {}", active.join(", ")))
                        .note("two passes may undo each other; raise the bound with fixpoint{max=N}(...) if they do not"),
                );
                Ok(changed)
            }
        }
    }

    fn sequence(
        &mut self,
        body: &Pipeline,
        graph: &mut Graph,
        observer: &mut Option<&mut dyn Observer>,
        form: &mut Form,
        report: &mut Report,
    ) -> Result<bool, Stopped> {
        let mut changed = false;
        for step in &body.steps {
            changed |= self.step(step, graph, observer, form, report)?;
        }
        Ok(changed)
    }

    fn pass(
        &mut self,
        name: &str,
        options: &BTreeMap<String, String>,
        graph: &mut Graph,
        observer: &mut Option<&mut dyn Observer>,
        form: &mut Form,
        report: &mut Report,
    ) -> Result<bool, Stopped> {
        let Some(pass) = self.registry.pass(name).cloned() else {
            report.log.diagnostics.push(Diagnostic::error(
                "pipeline-syntax",
                Loc::Unknown,
                format!("unknown pass '{name}'"),
            ));
            return Err(Stopped);
        };
        let info = pass.info();
        if info.accepts > *form {
            let broken = verify(graph, info.accepts);
            if !broken.is_empty() {
                let message = format!("'{name}' needs a graph of form {:?}", info.accepts);
                let mut diagnostic = Diagnostic::error("wrong-form", Loc::Unknown, message);
                if info.accepts > Form::Space {
                    diagnostic = diagnostic.note("run 'specialize' first if the graph is a search space");
                }
                report.log.diagnostics.push(diagnostic);
                report.log.diagnostics.extend(broken);
                return Err(Stopped);
            }
            *form = info.accepts;
        }
        self.watchers.iter_mut().for_each(|w| w.before(info, graph));
        let (revision, rewrites, start) = (graph.revision(), report.log.rewrites.len(), Instant::now());
        let mut context = PassContext {
            target: self.target,
            observer: observer.as_mut().map(|o| &mut **o as &mut dyn Observer),
            pass: info,
            options: options.clone(),
            log: &mut report.log,
        };
        let outcome = pass.run(graph, &mut context);
        let took = start.elapsed();
        let Ok(outcome) = outcome else {
            self.watchers.iter_mut().for_each(|w| w.failed(info, graph));
            return Err(Stopped);
        };
        let changed = outcome == Outcome::Changed;
        if !changed && graph.revision() != revision {
            report.log.diagnostics.push(Diagnostic::error(
                "pass-contract",
                Loc::Unknown,
                format!("'{name}' says that it changed nothing, but it edited the graph"),
            ));
            return Err(Stopped);
        }
        if changed {
            *form = (*form).min(info.leaves).max(if info.leaves > Form::Space { info.leaves } else { Form::Any });
        }
        if changed && self.verify_each {
            let broken = verify(graph, info.leaves);
            if !broken.is_empty() {
                self.watchers.iter_mut().for_each(|w| w.failed(info, graph));
                report.log.diagnostics.push(
                    Diagnostic::error("pass-contract", Loc::Unknown, format!("'{name}' left a graph that does not verify"))
                        .note("this is a mistake of the pass, not of the model: please report it with the reproducer"),
                );
                report.log.diagnostics.extend(broken);
                return Err(Stopped);
            }
        }
        report.runs.push(Run { pass: info.name, took, changed, rewrites: report.log.rewrites.len() - rewrites });
        self.watchers.iter_mut().for_each(|w| w.after(info, graph, outcome, took));
        Ok(changed)
    }
}
