//! What a conversion did: the same facts for the screen, for scripts (JSON) and for the HTML page.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use spaceevo_ir::Graph;
use spaceevo_passes::pass::Event;

use super::{Job, Options};

/// The report of a conversion.
#[derive(Clone, Debug, Serialize, Default)]
pub struct Report {
    /// Float model.
    pub source: String,
    /// INT8 model.
    pub output: String,
    /// Target.
    pub target: String,
    /// `qoperator` or `qdq`.
    pub form: String,
    /// Pipeline text, as `spaceevo-opt run` takes it.
    pub pipeline: String,
    /// Runtime that calibrated and verified.
    pub runtime: String,
    /// Samples calibrated on.
    pub samples: usize,
    /// Where they came from.
    pub sample_source: String,
    /// Ops of the float model by operator.
    pub ops_before: BTreeMap<String, usize>,
    /// Ops of the INT8 model by operator.
    pub ops_after: BTreeMap<String, usize>,
    /// Ops that run in integers.
    pub integer_ops: u64,
    /// Ops that stayed in float although they are no conversion, and why.
    pub float_ops: Vec<FloatOp>,
    /// Ops by what the outputs gain when the op stays in float, if that was measured: the largest gain first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sensitivity: Vec<Sensitivity>,
    /// Predicted time of the network, where the target has prices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicted: Option<Predicted>,
    /// Every pass that ran.
    pub passes: Vec<PassRun>,
    /// What passes rewrote.
    pub rewrites: Vec<Told>,
    /// What passes almost rewrote, and why not.
    pub declines: Vec<Told>,
    /// Size of the float file.
    pub bytes_before: u64,
    /// Size of the INT8 file.
    pub bytes_after: u64,
    /// Comparison of both files, if it was asked for.
    pub verification: Option<Verification>,
    /// Warnings, each as a line or several.
    pub warnings: Vec<String>,
    /// Wall time of the whole conversion.
    pub seconds: f64,
}

/// A rewrite that happened, or almost did.
#[derive(Clone, Debug, Serialize, Default)]
pub struct Told {
    /// Pass.
    pub pass: String,
    /// The value that the op makes.
    pub at: String,
    /// What happened, or why it did not.
    pub text: String,
}

/// An op that stayed in float.
#[derive(Clone, Debug, Serialize, Default)]
pub struct FloatOp {
    /// The value it makes.
    pub at: String,
    /// Why.
    pub why: String,
}

/// Predicted times in microseconds, by the target's prices.
#[derive(Clone, Copy, Debug, Serialize, Default)]
pub struct Predicted {
    /// All in float.
    pub float_us: f64,
    /// With all ops in integers that can.
    pub integer_us: f64,
    /// As placed.
    pub placed_us: f64,
}

/// What it costs that an op runs in integers.
#[derive(Clone, Debug, Serialize, Default)]
pub struct Sensitivity {
    /// The value that it makes.
    pub name: String,
    /// Mean gain of the outputs' SQNR when only this op stays in float.
    pub gain_db: f64,
}

/// A run of a pass.
#[derive(Clone, Debug, Serialize, Default)]
pub struct PassRun {
    /// Name.
    pub pass: String,
    /// Milliseconds, wall.
    pub ms: f64,
    /// Rewrites.
    pub rewrites: usize,
    /// Whether the graph changed.
    pub changed: bool,
}

/// Comparison of the float and the INT8 file on samples that were not calibrated on.
#[derive(Clone, Debug, Serialize, Default)]
pub struct Verification {
    /// Runtime.
    pub runtime: String,
    /// Samples compared.
    pub samples: usize,
    /// False when there were too few samples to hold any out: then those of calibration were used.
    pub held_out: bool,
    /// Each output.
    pub outputs: Vec<OutputQuality>,
    /// Layers by SQNR, the worst first: on two of the samples that were calibrated on.
    pub layers: Vec<Layer>,
    /// Accuracy on labelled samples, if there were any.
    pub accuracy: Option<Accuracy>,
}

/// Quality of one output.
#[derive(Clone, Debug, Serialize, Default)]
pub struct OutputQuality {
    /// Name.
    pub name: String,
    /// Signal to quantization noise, `10 log10(sum x^2 / sum (x - y)^2)` over all samples; `None` when both are equal.
    pub sqnr_db: Option<f64>,
    /// Share of samples with the same largest class, where the output is a class vector.
    pub agreement: Option<f64>,
}

/// Quality of one layer.
#[derive(Clone, Debug, Serialize, Default)]
pub struct Layer {
    /// The value that it makes.
    pub name: String,
    /// Operator.
    pub op: String,
    /// Signal to quantization noise of its result; errors of the layers before it included.
    pub sqnr_db: f64,
}

/// Accuracy on labelled samples.
#[derive(Clone, Debug, Serialize, Default)]
pub struct Accuracy {
    /// Number of samples.
    pub samples: usize,
    /// Share of right top classes of the float model.
    pub float: f64,
    /// The same of the INT8 model.
    pub int8: f64,
}

impl Report {
    pub(super) fn new(job: &Job<'_>, options: &Options, graph: &Graph) -> Report {
        Report {
            source: job.source.display().to_string(),
            output: job.output.display().to_string(),
            target: options.target.name.clone(),
            form: options.form().word().into(),
            pipeline: options.pipeline(),
            runtime: format!("{} {}", job.runtime.name(), job.runtime.version()),
            sample_source: job.origin.clone(),
            ops_before: operators(graph),
            bytes_before: std::fs::metadata(job.source).map(|m| m.len()).unwrap_or(0),
            ..Report::default()
        }
    }

    pub(super) fn take(&mut self, run: &spaceevo_passes::Report) {
        self.passes = run
            .runs
            .iter()
            .map(|r| PassRun {
                pass: r.pass.into(),
                ms: r.took.as_secs_f64() * 1e3,
                rewrites: r.rewrites,
                changed: r.changed,
            })
            .collect();
        let told = |e: &Event| Told { pass: e.pass.into(), at: e.at.clone(), text: e.text.clone() };
        self.rewrites = run.log.rewrites.iter().map(told).collect();
        self.declines = run.log.declines.iter().map(told).collect();
        self.integer_ops = run.log.statistics.get(&("quantize", "integer ops")).copied().unwrap_or(0);
        let predicted = |what| run.log.statistics.get(&("quantize", what)).map(|&ns| ns as f64 / 1e3);
        self.predicted = predicted("predicted ns").map(|placed_us| Predicted {
            float_us: predicted("predicted ns in float").unwrap_or(0.0),
            integer_us: predicted("predicted ns with all in integers that can").unwrap_or(0.0),
            placed_us,
        });
        let floats = run.log.declines.iter().filter(|e| e.pass == "quantize");
        self.float_ops = floats.map(|e| FloatOp { at: e.at.clone(), why: e.text.clone() }).collect();
        self.warnings.extend(run.log.diagnostics.iter().map(|d| d.to_string()));
    }

    /// Every rewrite that happened and every one that almost did, a line each.
    pub fn explanation(&self) -> String {
        let mut lines = Vec::new();
        for (title, events) in [("rewritten:", &self.rewrites), ("declined:", &self.declines)] {
            lines.push(title.to_owned());
            lines.extend(events.iter().map(|e| format!("  {} [{}] {}", e.at, e.pass, e.text)));
        }
        lines.join("\n")
    }
}

/// Ops by operator.
pub(super) fn operators(graph: &Graph) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for op in graph.all_ops() {
        *found.entry(graph.op(op).name().to_string()).or_insert(0) += 1;
    }
    found
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let which = if self.held_out { "held-out samples" } else { "calibration samples (too few to hold any out)" };
        writeln!(f, "  verified    on {} {which} with {}", self.samples, self.runtime)?;
        for output in &self.outputs {
            let sqnr = output.sqnr_db.map_or("equal to float".to_owned(), |db| format!("SQNR {db:.1} dB"));
            let agreement = output.agreement.map_or(String::new(), |a| format!(", top class agrees on {:.1} %", 100.0 * a));
            writeln!(f, "    {:<24} {sqnr}{agreement}", output.name)?;
        }
        if let Some(a) = &self.accuracy {
            writeln!(
                f,
                "  accuracy    {:.2} % float, {:.2} % INT8 (top-1 on {} labelled samples)",
                100.0 * a.float,
                100.0 * a.int8,
                a.samples
            )?;
        }
        if !self.layers.is_empty() {
            let worst: Vec<String> = self.layers.iter().take(3).map(|l| format!("{} {:.1} dB", l.name, l.sqnr_db)).collect();
            writeln!(f, "  worst layers {}", worst.join(", "))?;
        }
        Ok(())
    }
}

/// One screen.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = |ops: &BTreeMap<String, usize>| ops.values().sum::<usize>();
        let mib = |bytes: u64| bytes as f64 / (1 << 20) as f64;
        writeln!(f, "{} -> {}", self.source, self.output)?;
        writeln!(
            f,
            "  target      {} ({}), calibrated on {} samples with {}",
            self.target, self.form, self.samples, self.runtime
        )?;
        writeln!(
            f,
            "  graph       {} ops -> {}; {} in integers; {:.2} MiB -> {:.2} MiB",
            total(&self.ops_before),
            total(&self.ops_after),
            self.integer_ops,
            mib(self.bytes_before),
            mib(self.bytes_after)
        )?;
        if let Some(p) = &self.predicted {
            let (float, integer, placed) = (p.float_us / 1e3, p.integer_us / 1e3, p.placed_us / 1e3);
            writeln!(f, "  predicted   {placed:.3} ms as placed; {float:.3} all in float, {integer:.3} all in integers")?;
        }
        let behind = self.passes.iter().skip_while(|p| p.pass != "quantize").skip(1);
        let suited: Vec<String> = behind
            .filter(|p| p.rewrites > 0 && !p.pass.starts_with("lower-q"))
            .map(|p| format!("{} {}", p.pass, p.rewrites))
            .collect();
        if !suited.is_empty() {
            writeln!(f, "  kernels     {}", suited.join(", "))?;
        }
        match &self.verification {
            Some(verification) => write!(f, "{verification}")?,
            None => writeln!(f, "  not verified: compare the files with 'diff' before you trust the result")?,
        }
        if !self.sensitivity.is_empty() {
            let most = self.sensitivity.iter().take(3).map(|s| format!("{} {:+.2} dB", s.name, s.gain_db));
            writeln!(f, "  sensitive   {} when left in float", most.collect::<Vec<_>>().join(", "))?;
        }
        let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        self.float_ops.iter().for_each(|o| reasons.entry(&o.why).or_default().push(&o.at));
        if !reasons.is_empty() {
            writeln!(f, "  left in float:")?;
        }
        for (why, ops) in reasons {
            let more = if ops.len() > 3 { format!(" and {} more", ops.len() - 3) } else { String::new() };
            writeln!(f, "    {}{more}: {why}", ops[..ops.len().min(3)].join(", "))?;
        }
        for warning in &self.warnings {
            writeln!(f, "  {}", warning.replace('\n', "\n  "))?;
        }
        write!(f, "  took {:.2} s", self.seconds)
    }
}
