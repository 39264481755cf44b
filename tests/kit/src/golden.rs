//! Golden transforms: an input graph and a pipeline in, a snapshot out, and more checks than the snapshot.
//!
//! A case is a `.seir` file whose comment header says what it shows and how it is run:
//!
//! ```text
//! // A BatchNormalization behind a Conv becomes part of its weights.
//! // pipeline: fold-conv-bn
//! graph @main(…) { … }
//! ```
//!
//! Further header lines: `target: NAME`; `prices: FILE` (beside the case; without it the target has none, because by those of
//! a machine nothing as small as a case is worth a conversion); `samples: 4` (calibration samples to draw); `draw: LOW HIGH` (interval of the
//! inputs); `dims: N=2 H=8` (extents of named dims); `tolerance: 0.01` (for approximate effects and for rounding to stored
//! numbers, in parts of the largest number); `not idempotent: why`; `not run: why` (the interpreter has no kernel for an op).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use spaceevo_ir::Graph;
use spaceevo_ir::interp::Datum;
use spaceevo_ir::text::{self, BlobSource, NoBlobs, PrintOptions};
use spaceevo_ir::verify::{Form, verify};
use spaceevo_passes::price::Prices;
use spaceevo_passes::{Effect, Manager, Pipeline, Registry, Report, Target};

use crate::compare::{Closeness, compare};
use crate::inputs::{Draw, inputs};
use crate::observer::Seeded;
use crate::stored;

/// A golden case.
#[derive(Clone, Debug)]
pub struct Case {
    /// The `.seir` file.
    pub file: PathBuf,
    /// Its whole text.
    pub text: String,
    /// What it shows: the lines of the header that are no settings.
    pub shows: String,
    /// `key: value` lines of the header.
    pub settings: BTreeMap<String, String>,
}

/// What running a case gave.
pub struct Ran {
    /// The case's graph.
    pub input: Graph,
    /// What the pipeline made of it; as the failing pass left it when it failed.
    pub output: Graph,
    /// What the manager reported.
    pub report: Report,
}

const SETTINGS: &[&str] =
    &["pipeline", "target", "prices", "samples", "draw", "dims", "tolerance", "not idempotent", "not run"];

impl Case {
    /// Reads a case; a sentence when its header is not complete.
    pub fn read(file: &Path) -> Result<Case, String> {
        let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
        let (mut shows, mut settings) = (Vec::new(), BTreeMap::new());
        for line in text.lines().map_while(|line| line.strip_prefix("//")).map(str::trim) {
            match line.split_once(": ").filter(|(key, _)| SETTINGS.contains(key)) {
                Some((key, value)) => drop(settings.insert(key.to_owned(), value.trim().to_owned())),
                None => shows.push(line),
            }
        }
        let case = Case { file: file.to_owned(), shows: shows.join(" ").trim().to_owned(), settings, text };
        if case.shows.is_empty() {
            return Err(format!("{}: the header does not say what the case shows", file.display()));
        }
        if !case.settings.contains_key("pipeline") {
            return Err(format!("{}: the header has no line '// pipeline: ...'", file.display()));
        }
        Ok(case)
    }

    /// All cases below a folder, sorted by path.
    pub fn all(folder: &Path) -> Result<Vec<Case>, String> {
        let mut files = Vec::new();
        let mut stack = vec![folder.to_owned()];
        while let Some(at) = stack.pop() {
            let entries = std::fs::read_dir(&at).map_err(|e| format!("{}: {e}", at.display()))?;
            for entry in entries {
                let path = entry.map_err(|e| e.to_string())?.path();
                if path.is_dir() {
                    stack.push(path);
                } else if path.extension().is_some_and(|e| e == "seir") {
                    files.push(path);
                }
            }
        }
        files.sort();
        files.iter().map(|file| Case::read(file)).collect()
    }

    fn setting(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(String::as_str)
    }

    /// The pipeline, parsed.
    pub fn pipeline(&self, registry: &Registry) -> Result<Pipeline, String> {
        Pipeline::parse(self.setting("pipeline").unwrap_or_default(), registry).map_err(|d| d.to_string())
    }

    /// Runs the pipeline on the case's graph.
    pub fn run(&self, registry: &Registry) -> Result<Ran, String> {
        let input = parse(&self.text)?;
        let mut output = input.clone();
        let report = self.run_on(&mut output, registry)?;
        Ok(Ran { input, output, report })
    }

    fn run_on(&self, graph: &mut Graph, registry: &Registry) -> Result<Report, String> {
        let name = self.setting("target").map(str::to_owned).or_else(|| Target::names().next().map(str::to_owned));
        let name = name.ok_or("there is no target")?;
        let mut target = Target::named(&name).ok_or_else(|| format!("there is no target '{name}'"))?;
        target.prices = self.setting("prices").map(|file| prices(&self.file.with_file_name(file))).transpose()?;
        let mut samples = Vec::new();
        for seed in
            0..self.setting("samples").map_or(Ok(0), |n| n.parse().map_err(|_| format!("samples '{n}' is no number")))?
        {
            samples.push(inputs(graph, &Draw { seed: 1 + 10 * seed, ..Draw::default() })?);
        }
        let mut observer = Seeded { samples };
        Ok(Manager::new(registry, &target).run(&self.pipeline(registry)?, graph, Some(&mut observer)))
    }

    /// Everything beside the snapshot: the text round trip, the verifier, idempotence, names, numbers.
    pub fn check(&self, ran: &Ran, registry: &Registry) -> Result<(), String> {
        for (what, graph) in [("input", &ran.input), ("output", &ran.output)] {
            round_trip(graph).map_err(|why| format!("{what}: {why}"))?;
            let broken = verify(graph, Form::Any);
            if let Some(first) = broken.first() {
                return Err(format!("{what} does not verify: {first}"));
            }
        }
        if !ran.report.ok() {
            // What a failing pass leaves is shown, not promised.
            return Ok(());
        }
        self.check_interface(ran)?;
        self.check_again(ran, registry)?;
        self.check_numbers(ran, registry)
    }

    /// Callers know a model by the names of its inputs and results.
    fn check_interface(&self, ran: &Ran) -> Result<(), String> {
        let interface = |graph: &Graph| {
            let body = graph.region(graph.body());
            // An input with a default may become a constant.
            let needed = body.inputs().iter().filter(|&&v| graph.value(v).tensor().is_none());
            let inputs: Vec<_> = needed.map(|&v| graph.value(v).name().clone()).collect();
            (inputs, body.result_names().to_vec())
        };
        let (before, after) = (interface(&ran.input), interface(&ran.output));
        if before == after { Ok(()) } else { Err(format!("inputs and results {before:?} became {after:?}")) }
    }

    fn check_again(&self, ran: &Ran, registry: &Registry) -> Result<(), String> {
        let mut again = ran.output.clone();
        self.run_on(&mut again, registry)?;
        let same = print(&again) == print(&ran.output);
        match (same, self.setting("not idempotent")) {
            (true, None) | (false, Some(_)) => Ok(()),
            (false, None) => Err(format!("running it again changes the output:\n{}", print(&again))),
            (true, Some(_)) => Err("the header says 'not idempotent', but running it again changes nothing".into()),
        }
    }

    fn check_numbers(&self, ran: &Ran, registry: &Registry) -> Result<(), String> {
        let effects = self.pipeline(registry)?.passes(registry);
        let effects = effects.iter().filter_map(|name| registry.pass(name)).map(|pass| pass.info().effect);
        let effect = effects.max().unwrap_or(Effect::Exact);
        let tolerance = self.setting("tolerance").map(|t| t.parse().map_err(|_| format!("tolerance '{t}' is no number")));
        let Some(close) = Closeness::of(effect, tolerance.transpose()?) else {
            return if effect == Effect::Retrain { Ok(()) } else { Err("the header states no tolerance".into()) };
        };
        let mut draw = Draw::default();
        if let Some(text) = self.setting("draw") {
            let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            let [low, high] = numbers[..] else { return Err(format!("draw '{text}' is not two numbers")) };
            draw.within = (low, high);
        }
        for word in self.setting("dims").unwrap_or_default().split_whitespace() {
            let parsed = word.split_once('=').and_then(|(name, extent)| Some((name.to_owned(), extent.parse().ok()?)));
            draw.dims.extend([parsed.ok_or_else(|| format!("dims '{word}' is not name=extent"))?]);
        }
        let mut compared = 0;
        for seed in [1, 101] {
            draw.seed = seed;
            let data = stored::real_inputs(&ran.input, &inputs(&ran.input, &draw)?).map_err(|d| d.to_string())?;
            let expected = stored::run(&ran.input, &data);
            match (expected, self.setting("not run")) {
                (Err(d), Some(_)) if d.code == "interp-unsupported" => continue,
                (Ok(_), Some(_)) => return Err("the header says 'not run', but the interpreter can run it".into()),
                (Err(d), _) => return Err(format!("the input does not run: {d}")),
                (Ok(expected), None) => {
                    let data = taken(&ran.input, &ran.output, &data);
                    let found = stored::run(&ran.output, &data).map_err(|d| format!("the output does not run: {d}"))?;
                    let names: Vec<String> =
                        ran.input.region(ran.input.body()).result_names().iter().map(|n| n.to_string()).collect();
                    compare(&names, &expected, &found, close)?;
                    compared += 1;
                }
            }
        }
        if compared == 0 && self.setting("not run").is_none() { Err("nothing was compared".into()) } else { Ok(()) }
    }

    /// What the snapshot holds: the output, why rewrites were declined, and what was reported.
    pub fn snapshot(&self, ran: &Ran) -> String {
        let mut text = print(&ran.output);
        if !ran.report.log.declines.is_empty() {
            text.push_str("\ndeclined:\n");
            let mut shown: Vec<String> = Vec::new();
            for event in &ran.report.log.declines {
                let line = format!("{} at {}: {}\n", event.pass, event.at, event.text);
                // A fixpoint asks more than once.
                if !shown.contains(&line) {
                    text.push_str(&line);
                    shown.push(line);
                }
            }
        }
        if !ran.report.log.diagnostics.is_empty() {
            text.push_str("\ndiagnostics:\n");
            ran.report.log.diagnostics.iter().for_each(|d| text.push_str(&format!("{d}\n")));
        }
        text
    }
}

fn prices(file: &Path) -> Result<Prices, String> {
    let fail = |why: String| format!("{}: {why}", file.display());
    toml::from_str(&std::fs::read_to_string(file).map_err(|e| fail(e.to_string()))?).map_err(|e| fail(e.to_string()))
}

/// What `after` takes of the inputs of `before`: inputs with a default may have become constants.
pub fn taken(before: &Graph, after: &Graph, data: &[Datum]) -> Vec<Datum> {
    let names = |graph: &Graph| -> Vec<_> {
        let inputs = graph.region(graph.body()).inputs();
        inputs.iter().map(|&v| graph.value(v).name().clone()).collect()
    };
    let left = names(after);
    names(before).iter().zip(data).filter(|(name, _)| left.contains(name)).map(|(_, datum)| datum.clone()).collect()
}

fn parse(text: &str) -> Result<Graph, String> {
    parse_with(text, &NoBlobs)
}

fn parse_with(text: &str, blobs: &dyn BlobSource) -> Result<Graph, String> {
    let parsed = text::parse(text, "-", blobs).into_result();
    parsed.map_err(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// The graph as text.
pub fn print(graph: &Graph) -> String {
    text::print(graph, &options())
}

fn options() -> PrintOptions {
    PrintOptions::default()
}

/// Checks that the printed graph reads back and prints the same.
pub fn round_trip(graph: &Graph) -> Result<(), String> {
    let mut blobs = BTreeMap::new();
    let once = text::print_to(graph, &options(), &mut blobs);
    let again = parse_with(&once, &blobs).map_err(|why| format!("its print does not parse: {why}"))?;
    let twice = print(&again);
    if once == twice { Ok(()) } else { Err(format!("printing what was parsed differs:\n{once}\n{twice}")) }
}
