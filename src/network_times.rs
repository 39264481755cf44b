//! Times of whole networks on this machine, twice each, and the table that they are kept in.
//!
//! All networks are gone through several times, each time alone and in a session of its own: where memory lies and who else uses a cache
//! that processors share changes what a network takes by several percent, some of it for minutes. Every other pass makes one of two
//! measurements. What the two differ by is what a prediction cannot be better than. Between turns the reference network of predictors is
//! timed, and times are brought to the speed that the machine had when the predictor was built.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use spaceevo_cost::measure::inputs::{Shapes, drawn};
use spaceevo_cost::measure::interleave::Contestant;
use spaceevo_cost::measure::pin;
use spaceevo_cost::predictor::Predictor;
use spaceevo_cost::predictor::network::Numbers;
use spaceevo_cost::predictor::pace::Pace;
use spaceevo_cost::predictor::typical;
use spaceevo_cost::runtime::ort::OnnxRuntime;
use spaceevo_cost::runtime::{LoadOptions, ModelSource, Runtime};
use spaceevo_ir::{Diagnostic, Loc};
use spaceevo_passes::Target;

use crate::file::load;

/// Nanoseconds by name of the model: two measurements.
pub type Times = BTreeMap<String, [f64; 2]>;

/// Passes over all networks, for both measurements together.
const PASSES: usize = 16;

/// Measures models on ONNX Runtime with one thread, in processor time, on one processor, where the calling thread stays.
///
/// Errors: those of reading, loading and running.
pub fn measure(
    models: &[PathBuf],
    shapes: &Shapes,
    predictor: &Predictor,
    target: &Target,
) -> Result<Times, Vec<Diagnostic>> {
    let one = |d: Diagnostic| vec![d];
    pin::to_one_processor();
    let runtime = OnnxRuntime::open(None).map_err(one)?;
    let kind = |numbers, key: &str| -> Result<(Pace, Option<f64>), Vec<Diagnostic>> {
        let usual = predictor.origin.get(key).and_then(|text| text.parse().ok()).filter(|usual| *usual > 0.0);
        Ok((Pace::new(numbers, &runtime, target, &crate::registry()).map_err(one)?, usual))
    };
    let (mut stored, mut float) = (kind(Numbers::Stored, "reference")?, kind(Numbers::Float, "reference-float")?);
    let mut all: BTreeMap<String, [Vec<f64>; 2]> = BTreeMap::new();
    for pass in 0..PASSES {
        for model in models {
            let graph = load(model)?.graph;
            let session = runtime.load(ModelSource::Graph(&graph), &LoadOptions::default()).map_err(one)?;
            let inputs = drawn(session.inputs(), shapes).map_err(one)?;
            let (pace, usual) = if Numbers::of(&graph) == Numbers::Stored { &mut stored } else { &mut float };
            let turns = pace.beside(&mut Contestant::new(vec![session], inputs)).map_err(one)?;
            let steady = turns.into_iter().map(|[time, pace]| time * usual.map_or(1.0, |usual| usual / pace));
            all.entry(model.display().to_string()).or_default()[pass % 2].extend(steady);
        }
    }
    Ok(all.into_iter().map(|(model, both)| (model, both.map(|times| typical(&times)))).collect())
}

/// The table: columns model, first_ns, second_ns.
pub fn to_csv(times: &Times) -> String {
    let rows = times.iter().map(|(model, [first, second])| format!("{model},{first:.0},{second:.0}\n"));
    "model,first_ns,second_ns\n".to_owned() + &rows.collect::<String>()
}

/// Reads such a table, of this machine or another. Errors: `file-io`, `measurements-file` with the line.
pub fn read(path: &Path) -> Result<Times, Diagnostic> {
    let name = path.display();
    let text =
        std::fs::read_to_string(path).map_err(|e| Diagnostic::error("file-io", Loc::Unknown, format!("{name}: {e}")))?;
    let mut times = Times::new();
    for (at, line) in text.lines().enumerate().skip(1).filter(|(_, line)| !line.is_empty()) {
        let row = || {
            let (rest, second) = line.rsplit_once(',')?;
            let (model, first) = rest.rsplit_once(',')?;
            let number = |text: &str| text.trim().parse().ok().filter(|n: &f64| *n > 0.0 && n.is_finite());
            Some((model.to_owned(), [number(first)?, number(second)?]))
        };
        let (model, both) = row().ok_or_else(|| {
            let what = format!("{name}: line {}: a model and two times in nanoseconds are expected", at + 1);
            Diagnostic::error("measurements-file", Loc::Unknown, what)
        })?;
        times.insert(model, both);
    }
    Ok(times)
}
