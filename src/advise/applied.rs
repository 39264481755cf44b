//! Suggestions carried out: the network is converted as it is and with each of them, so that a predictor can be asked about
//! the kernels that the runtime really gets, and a clock about the rest.
//!
//! The table of a target prices ops one by one before it is known how they are written. A suggestion changes what is around it:
//! which ops stay float, which convert, which layouts meet. That is seen in the converted network only.

use spaceevo_cost::machine::Machine;
use spaceevo_cost::measure::clock::Work;
use spaceevo_cost::measure::disturbance::{Limits, Watch};
use spaceevo_cost::measure::inputs::Shapes;
use spaceevo_cost::measure::load::{Model, load};
use spaceevo_cost::measure::pin;
use spaceevo_cost::measure::sequential::{self, Settings};
use spaceevo_cost::measure::statistics::Estimate;
use spaceevo_cost::predictor::Predictor;
use spaceevo_cost::{ModelSource, Runtime};
use spaceevo_ir::{Diagnostic, Graph, Loc};
use spaceevo_passes::{Manager, Pipeline, Registry, Target};

use super::{Advice, Timed, ratio};
use crate::convert::{Options, Progress, RuntimeObserver};
use crate::samples::SampleSource;

/// Sessions of each network that take turns.
const SESSIONS: usize = 2;

/// What conversions need beside the target.
pub struct Means<'a> {
    /// Passes.
    pub registry: &'a Registry,
    /// What ranges are taken from; random numbers do where only time counts.
    pub samples: &'a dyn SampleSource,
    /// Samples to look at, from the first one.
    pub count: usize,
    /// Runs the float model on them.
    pub runtime: &'a dyn Runtime,
    /// Threads that run samples; 0: one per processor.
    pub threads: usize,
}

/// A network as it is, converted, and converted with each suggestion.
pub struct Applied {
    /// As it was given, which is what a runtime would be given.
    float: Graph,
    /// As the runtime's own fusions leave it, nearly, whose kernels can be told.
    simplified: Graph,
    as_is: Graph,
    /// By the pass of the suggestion.
    each: Vec<(String, Graph)>,
}

impl Applied {
    /// Converts. Errors: those of the passes.
    pub fn new(
        graph: &Graph,
        advice: &Advice,
        target: &Target,
        means: &Means<'_>,
        progress: &(dyn Progress + Sync),
    ) -> Result<Applied, Vec<Diagnostic>> {
        let as_is = converted(graph, None, target, means, progress)?;
        let each = advice.suggestions.iter().map(|suggestion| {
            let graph = converted(graph, Some(&suggestion.pass), target, means, progress)?;
            Ok((suggestion.pass.clone(), graph))
        });
        let mut simplified = graph.clone();
        super::run(crate::convert::PREPARE, &mut simplified, target, means.registry)?;
        Ok(Applied { float: graph.clone(), simplified, as_is, each: each.collect::<Result<_, Vec<Diagnostic>>>()? })
    }

    /// Replaces what the table predicts by what a predictor says of the kernels. Errors: those of finding kernels.
    pub fn predict(&self, advice: &mut Advice, predictor: &Predictor, target: &Target) -> Result<(), Diagnostic> {
        let micros = |graph: &Graph| Ok(predictor.graph(graph, target)?.0.nanos / 1e3);
        advice.predicted_by = "predictor";
        advice.machine = predictor.origin.get("machine").cloned().unwrap_or_default();
        (advice.as_is_us, advice.float_us) = (micros(&self.as_is)?, micros(&self.simplified)?);
        for suggestion in &mut advice.suggestions {
            if let Some((_, graph)) = self.each.iter().find(|(pass, _)| *pass == suggestion.pass) {
                suggestion.us = micros(graph)?;
                suggestion.speedup = ratio(advice.as_is_us, suggestion.us);
            }
        }
        advice.sort();
        Ok(())
    }

    /// Times all networks, which take turns in one process. Errors: those of loading and running.
    pub fn time(
        &self,
        advice: &mut Advice,
        runtime: &dyn Runtime,
        settings: &Settings,
        shapes: &Shapes,
    ) -> Result<(), Diagnostic> {
        let machine = Machine::detect().to_string();
        if settings.threads == 1 {
            pin::to_one_processor();
        }
        let watch = Watch::start(Work::of(settings.threads));
        let graphs: Vec<&Graph> =
            [&self.as_is, &self.float].into_iter().chain(self.each.iter().map(|(_, graph)| graph)).collect();
        let models: Vec<Model<'_>> =
            graphs.iter().map(|graph| Model { source: ModelSource::Graph(graph), shapes }).collect();
        let mut contestants = load(runtime, &models, settings.threads, SESSIONS)?;
        let pairs: Vec<(usize, usize)> = (1..models.len()).map(|other| (0, other)).collect();
        let settings = Settings { budget: settings.budget.saturating_mul(models.len() as u32), ..*settings };
        let rounds = sequential::measure(&mut contestants, &pairs, &settings)?;
        let none = || Diagnostic::error("internal", Loc::Unknown, "no round was measured");
        // Times of one round are compared: how many times as fast `fast` is.
        let speedup = |slow: usize, fast: usize| -> Result<Estimate, Diagnostic> {
            settings.ratio(&rounds.times[slow], &rounds.times[fast]).ok_or_else(none)
        };
        let micros = |at: usize| Ok(settings.time(&rounds.times[at]).ok_or_else(none)?.median / 1e3);
        for (at, (pass, _)) in self.each.iter().enumerate() {
            if let Some(suggestion) = advice.suggestions.iter_mut().find(|suggestion| suggestion.pass == *pass) {
                suggestion.measured = Some(speedup(0, 2 + at)?);
            }
        }
        advice.measured = Some(Timed {
            runtime: format!("{} {}", runtime.name(), runtime.version()),
            machine,
            as_is_us: micros(0)?,
            float_us: micros(1)?,
            speedup: speedup(1, 0)?,
            sure: rounds.sure,
            disturbed: watch.finish(&rounds.times[0]).complaints(&Limits::default()),
        });
        Ok(())
    }
}

/// The network as `convert` would write it, with a substitution before.
fn converted(
    graph: &Graph,
    apply: Option<&str>,
    target: &Target,
    means: &Means<'_>,
    progress: &(dyn Progress + Sync),
) -> Result<Graph, Vec<Diagnostic>> {
    let options = Options { apply: apply.map(str::to_owned).into_iter().collect(), ..Options::new(target.clone()) };
    let pipeline = Pipeline::parse(&options.pipeline(), means.registry).map_err(|d| vec![d])?;
    let indices = (0..means.count.min(means.samples.len())).collect();
    let mut observer = RuntimeObserver::new(means.runtime, means.samples, indices, means.threads, progress);
    let mut graph = graph.clone();
    let report = Manager::new(means.registry, target).run(&pipeline, &mut graph, Some(&mut observer));
    if report.ok() { Ok(graph) } else { Err(report.log.diagnostics) }
}
