//! Finds out which ops a runtime runs within the kernel before them, and what it calls those that it runs, by small models that
//! hold one op each (the idea is nn-Meter's; Zhang et al. 2021). What is found is target data: section `[kernels]`.
//!
//! ```text
//! conv ─▶ conv           traced: 2 Conv and what stands at the ends
//! conv ─▶ Relu ─▶ conv   traced: the same kernels: fused.   One more called X: X runs it.
//! ```

use std::collections::BTreeMap;

use spaceevo_ir::text::{self, NoBlobs};
use spaceevo_ir::{Diagnostic, Graph, Loc, Tensor};
use spaceevo_passes::kernel_rules::KernelRules;
use spaceevo_passes::{Manager, Pipeline, Registry, Target};

use crate::measure::trace::parse;
use crate::runtime::{LoadOptions, ModelSource, Runtime};

/// Ops of one operand, with attributes where they need some.
const UNARY: &[(&str, &str)] = &[
    ("Relu", ""),
    ("LeakyRelu", " {alpha = 0.1}"),
    ("HardSigmoid", ""),
    ("HardSwish", ""),
    ("Sigmoid", ""),
    ("Tanh", ""),
    ("Elu", ""),
    ("Softplus", ""),
    ("Neg", ""),
    ("Abs", ""),
    ("GlobalAveragePool", ""),
    ("MaxPool", " {kernel_shape = [3, 3], pads = [1, 1, 1, 1]}"),
    ("AveragePool", " {kernel_shape = [3, 3], pads = [1, 1, 1, 1]}"),
];
/// Ops of two.
const BINARY: &[&str] = &["Add", "Mul", "Sub", "Div"];

/// What was found.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Learned {
    /// The rules that tests can tell: `fused`, `gated` and `stored`.
    pub rules: KernelRules,
    /// Ops that a runtime runs as several kernels, with their names, and those that it refused.
    pub remarks: Vec<String>,
}

/// Traces one small model for each op, in float behind a convolution and in stored numbers.
///
/// Errors: `profile-unsupported` for runtimes without traces, and those of the first model, which has no op to blame.
pub fn learn(runtime: &dyn Runtime, target: &Target, registry: &Registry) -> Result<Learned, Diagnostic> {
    let bench = Bench { runtime, target, registry };
    let mut learned = Learned::default();
    for stored in [false, true] {
        let plain = bench.ran(&bench.graph("%c", "", stored)?)?;
        for (op, attrs) in UNARY {
            let shape = if *op == "GlobalAveragePool" { "[1,16,1,1]" } else { "[1,16,12,12]" };
            let line = format!("  %y = onnx.{op} %c{attrs} : ELEM{shape}\n");
            bench.note(op, &line, stored, &plain, &mut learned);
        }
        for op in BINARY {
            // The other operand is made by a convolution, too, which is no part of the op.
            let line = format!("  %e = onnx.Conv %x, %v : ELEM[1,16,12,12]\n  %y = onnx.{op} %c, %e : ELEM[1,16,12,12]\n");
            let mut both = plain.clone();
            both.iter_mut().filter(|(op, _)| op.ends_with("Conv")).for_each(|(_, count)| *count += 1);
            bench.note(op, &line, stored, &both, &mut learned);
        }
    }
    let gate = "  %s = onnx.Sigmoid %c : ELEM[1,16,12,12]\n  %y = onnx.Mul %c, %s : ELEM[1,16,12,12]\n";
    let plain = bench.ran(&bench.graph("%c", "", false)?)?;
    if let [one] = &bench.more(gate, false, &plain)?[..] {
        learned.rules.gated.insert("Sigmoid".into(), one.clone());
    }
    Ok(learned)
}

/// How often each operator ran.
type Ran = BTreeMap<String, usize>;

struct Bench<'a> {
    runtime: &'a dyn Runtime,
    target: &'a Target,
    registry: &'a Registry,
}

impl Bench<'_> {
    fn note(&self, op: &str, lines: &str, stored: bool, plain: &Ran, learned: &mut Learned) {
        match self.more(lines, stored, plain) {
            Err(why) => learned.remarks.push(format!("{op}: {}", why.message)),
            Ok(more) => match &more[..] {
                [] if stored => {}
                [] => learned.rules.fused.entry("Conv".into()).or_default().push(op.to_owned()),
                [one] if stored => drop(learned.rules.stored.insert(format!("onnx.{op}"), one.clone())),
                [one] if one == op => {}
                many => learned.remarks.push(format!(
                    "{op} {}: {}",
                    if stored { "on stored numbers" } else { "in float" },
                    many.join(", ")
                )),
            },
        }
    }

    /// Operators that ran beside those of the plain model.
    fn more(&self, lines: &str, stored: bool, plain: &Ran) -> Result<Vec<String>, Diagnostic> {
        let ran = self.ran(&self.graph("%y", lines, stored)?)?;
        let beyond = |(op, count): (&String, &usize)| {
            let before = plain.get(op).copied().unwrap_or(0);
            std::iter::repeat_n(op.clone(), count.saturating_sub(before)).collect::<Vec<_>>()
        };
        Ok(ran.iter().flat_map(beyond).collect())
    }

    /// A convolution, the lines, and a convolution of what they make.
    fn graph(&self, made: &str, lines: &str, stored: bool) -> Result<Graph, Diagnostic> {
        let (elem, weights) = if stored { ("qu8(0.02, 128)", "qi8(0.01, 0)") } else { ("f32", "f32") };
        let size = if lines.contains("[1,16,1,1]") { 1 } else { 12 };
        let source = format!(
            "graph @fusion(%x: ELEM[1,16,12,12]) with {{opset = 17}} {{\n  %w = const rand(1) : WEIGHTS[16,16,1,1]\n  \
             %v = const rand(2) : WEIGHTS[16,16,1,1]\n  %c = onnx.Conv %x, %w : ELEM[1,16,12,12]\n{lines}  \
             %z = onnx.Conv {made}, %v : ELEM[1,16,{size},{size}]\n  return %z\n}}\n"
        );
        let source = source.replace("ELEM", elem).replace("WEIGHTS", weights);
        let parsed = text::parse(&source, "learn-fusions", &NoBlobs);
        let mut graph = match (parsed.graph, parsed.diagnostics.into_iter().next()) {
            (Some(graph), None) => graph,
            (_, problem) => return Err(problem.unwrap_or_else(|| Diagnostic::error("internal", Loc::Unknown, source))),
        };
        if stored {
            let pipeline = Pipeline::parse("lower-qoperator,drop-dead", self.registry)?;
            let run = Manager::new(self.registry, self.target).run(&pipeline, &mut graph, None);
            if let Some(problem) = run.errors().next() {
                return Err(problem.clone());
            }
        }
        Ok(graph)
    }

    fn ran(&self, graph: &Graph) -> Result<Ran, Diagnostic> {
        let input = Tensor::new([1, 16, 12, 12], vec![0.5f32; 16 * 144]);
        let trace = self.runtime.trace(ModelSource::Graph(graph), &LoadOptions::default(), &[input], 2, &mut || Ok(()))?;
        let mut ran = Ran::new();
        for kernel in parse(&trace.events, 1)?.kernels {
            *ran.entry(kernel.op).or_default() += 1;
        }
        Ok(ran)
    }
}
