//! Targets: what a device and its runtime are good at, as data. No device name and no threshold is written in Rust.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use spaceevo_ir::{Diagnostic, Elem, Loc, OpName};

use crate::kernel_rules::KernelRules;
use crate::price::{Curve, Prices, Pricing};

/// A target description (`passes/targets/*.toml`).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Version of this file format; 1.
    pub schema: u32,
    /// Name on the command line.
    pub name: String,
    /// One line.
    pub summary: String,
    /// Who says so.
    pub provenance: Provenance,
    /// How numbers are stored.
    pub quant: QuantRule,
    /// What the runtime does with operators.
    pub ops: OpRules,
    /// Which channel counts its kernels like; without it, none are padded.
    #[serde(default)]
    pub width: Option<WidthRule>,
    /// How fast grouped convolutions are.
    pub groups: Option<GroupRule>,
    /// What ops cost, as `measure-ops` writes it: by it the cheapest placement is found (`quantize::cut`). Without it, all
    /// ops run in integers that can.
    pub prices: Option<Prices>,
    /// A predictor of what ops cost, in place of the table; no part of the file.
    #[serde(skip)]
    pub predicted: Option<Arc<dyn Pricing>>,
    /// Which kernels the runtime makes of a graph: by it a predictor cuts a model into what it prices.
    pub kernels: Option<KernelRules>,
}

/// Where the facts come from: every statement about speed says on what it was measured.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Runtime and version.
    pub runtime: String,
    /// Machine.
    pub machine: String,
    /// Date, ISO 8601.
    pub date: String,
    /// How it was found out.
    pub method: String,
}

/// How numbers are stored.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantRule {
    /// Writer used when none is asked for: `qoperator` or `qdq`.
    pub form: String,
    /// Activations.
    pub activations: StoreRule,
    /// Weights of Conv, Gemm, MatMul.
    pub weights: StoreRule,
    /// Biases stay float: the runtime takes no stored ones.
    #[serde(default)]
    pub float_bias: bool,
}

/// How one kind of tensor is stored.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreRule {
    /// Integer type: `u8` or `i8`.
    pub store: String,
    /// Zero point fixed: 0 for signed types, the middle for unsigned ones.
    pub symmetric: bool,
    /// One scale per output channel (weights only).
    #[serde(default)]
    pub per_channel: bool,
    /// Bits really used; fewer than the type has where the runtime's dot product would overflow.
    #[serde(default = "eight")]
    pub bits: u32,
}

fn eight() -> u32 {
    8
}

impl StoreRule {
    /// The integer type.
    pub fn elem(&self) -> Elem {
        Elem::from_short(&self.store).unwrap_or(Elem::U8)
    }

    /// Smallest and largest stored number: the type's range, or the part of it that `bits` allows; symmetric signed types
    /// leave out the most negative number.
    pub fn stored_range(&self) -> (i32, i32) {
        let half = 1i32 << (self.bits - 1);
        match (self.elem(), self.symmetric) {
            (Elem::I8, true) => (1 - half, half - 1),
            (Elem::I8, false) => (-half, half - 1),
            _ => (0, 2 * half - 1),
        }
    }
}

/// Which channel counts the integer kernels of a runtime like, and how fast it is for others.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WidthRule {
    /// A depthwise Conv is fast for multiples of this.
    pub depthwise: usize,
    /// An ungrouped Conv is fast for operands with a multiple of this many channels...
    pub input: usize,
    /// ...and results with a multiple of this many,
    pub output: usize,
    /// and no fewer than these.
    pub least_output: usize,
    /// Channel counts of a model's input that are worth padding to `input`.
    pub stem: Vec<usize>,
    /// Most filters of a stem that makes two pixels at once in less time. Without it, none does.
    #[serde(default)]
    pub paired: Option<usize>,
    /// Least part of the predicted time that padding must save.
    pub gain: f64,
    /// What the predictions are made of.
    pub rates: WidthRates,
    /// What it takes to take surplus channels away again. Without it, what something else reads is not padded.
    #[serde(default)]
    pub cut: Option<Cut>,
}

/// Time of a Slice along the channels, in nanoseconds; a Split takes the positions of each of its parts, but one call.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// Of a call.
    pub call: f64,
    /// Of each position of the map.
    pub position: f64,
}

/// Multiply-adds in a nanosecond by kind of kernel, and elements in a nanosecond for all other ops.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WidthRates {
    /// Ungrouped Conv with a kernel of one tap, and Gemm.
    pub pointwise: Rate,
    /// Ungrouped Conv with a larger kernel.
    pub dense: Rate,
    /// Depthwise Conv.
    pub depthwise: Rate,
    /// Depthwise Conv of more than `depthwise_taps` taps.
    pub depthwise_large: Rate,
    /// Largest kernel of `depthwise`.
    pub depthwise_taps: f64,
    /// Upper bounds for depthwise kernels of few channels: fewer than the first number, at most the second; ascending.
    #[serde(default)]
    pub narrow: Vec<(usize, f64)>,
    /// Elements of the larger one of operand and result.
    pub element: f64,
}

/// Rates by how channel counts are divisible.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// As the kernel likes them.
    pub aligned: f64,
    /// Not so, but even.
    pub even: f64,
    /// Odd ones.
    pub odd: f64,
}

impl WidthRule {
    /// What is wrong with the numbers.
    fn fault(&self) -> Option<String> {
        let counts = [self.depthwise, self.input, self.output, self.least_output];
        if let Some(n) = counts.into_iter().find(|n| !(1..=1024).contains(n)) {
            return Some(format!("width: {n} is no channel count from 1 to 1024"));
        }
        let rates = &self.rates;
        let kinds = [rates.pointwise, rates.dense, rates.depthwise, rates.depthwise_large];
        let each = kinds.iter().flat_map(|r| [r.aligned, r.even, r.odd]).chain(rates.narrow.iter().map(|n| n.1));
        let mut all = each.chain([rates.element, rates.depthwise_taps]);
        if let Some(rate) = all.find(|r| !(r.is_finite() && *r > 0.0)) {
            return Some(format!("width.rates: {rate} is not positive and finite"));
        }
        let mut cut = self.cut.iter().flat_map(|cut| [cut.call, cut.position]);
        if let Some(time) = cut.find(|t| !(t.is_finite() && *t >= 0.0)) {
            return Some(format!("width.cut: {time} is no time in nanoseconds"));
        }
        (!(0.0..1.0).contains(&self.gain)).then(|| format!("width: gain {} is no part of 1", self.gain))
    }
}

/// What the runtime does with operators, by name (`onnx.Conv`).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpRules {
    /// Run in integers: between quantized tensors of any scales.
    pub integer: Vec<String>,
    /// Run in integers, or faster, once a pass has written them as other operators: the operator and the pass. Between
    /// quantized tensors, as the integer ones are.
    #[serde(default)]
    pub lowered: BTreeMap<String, String>,
    /// Float operators of the runtime's own domain that passes may write in place of several others.
    #[serde(default)]
    pub own: Vec<String>,
    /// Float operators that are slower than what a pass can write in their place.
    #[serde(default)]
    pub slow: Vec<String>,
    /// Move bytes: run on stored numbers when operand and result have the same type.
    pub movement: Vec<String>,
    /// Cost nothing after an integer op whose result type saturates just there.
    pub saturating: Vec<String>,
    /// Integer ops that give real numbers right away where nothing reads them as integers, without rounding them first.
    #[serde(default)]
    pub float_results: Vec<String>,
    /// Run together with one of `float_results` before them, on what it gives before rounding; what they make is stored. Their
    /// other operands are stored, too.
    #[serde(default)]
    pub fused: Vec<String>,
    /// Integer ops whose weights must be per tensor.
    #[serde(default)]
    pub per_tensor_weights: Vec<String>,
    /// Least count of neighbouring numbers with one scale for which stored numbers with a scale for each index of an axis become
    /// real ones as fast as with one scale for all. Without it, what is no constant has one scale.
    #[serde(default)]
    pub per_axis_run: Option<usize>,
    /// Least count of positions of a stored map for which a product with one number a channel is faster with that number repeated
    /// along a row. Without it, none is.
    #[serde(default)]
    pub tiled_gate: Option<usize>,
    /// True where a Clip runs on bytes, faster than a sum.
    #[serde(default)]
    pub clips_bytes: bool,
    /// What is worth knowing about an operator that is left in float, by name.
    #[serde(default)]
    pub remarks: BTreeMap<String, String>,
}

impl OpRules {
    /// True when the operator runs in integers, as it is or once a pass has written it as others.
    pub fn is_integer(&self, name: &OpName) -> bool {
        holds(&self.integer, name) || self.lowered.contains_key(&name.to_string())
    }

    /// True when the operator is left to that pass.
    pub fn is_lowered(&self, name: &OpName, pass: &str) -> bool {
        self.lowered.get(&name.to_string()).is_some_and(|by| by == pass)
    }

    /// True when the runtime has this operator of its own.
    pub fn is_own(&self, name: &OpName) -> bool {
        holds(&self.own, name)
    }

    /// True when the operator is slower in float than what a pass can write in its place.
    pub fn is_slow(&self, name: &OpName) -> bool {
        holds(&self.slow, name)
    }

    /// True when the operator moves bytes.
    pub fn is_movement(&self, name: &OpName) -> bool {
        holds(&self.movement, name)
    }

    /// True when the operator is absorbed by saturation.
    pub fn is_saturating(&self, name: &OpName) -> bool {
        holds(&self.saturating, name)
    }

    /// True when the operator can give real numbers though it runs in integers.
    pub fn gives_floats(&self, name: &OpName) -> bool {
        holds(&self.float_results, name)
    }

    /// True when the operator can run together with an integer op before it.
    pub fn is_fused(&self, name: &OpName) -> bool {
        holds(&self.fused, name)
    }
}

fn holds(list: &[String], name: &OpName) -> bool {
    list.contains(&name.to_string())
}

/// How fast grouped integer convolutions are.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupRule {
    /// Input channels of a group, rising, and products per second there as a share of what wide convolutions reach.
    pub speed: Curve,
    /// Least share of the time, by the table, for whose saving groups are merged: what the table is worth.
    pub gain: f64,
}

/// Names and texts of files in `passes/targets`.
macro_rules! files {
    ($($name:literal),*) => { &[$(($name, include_str!(concat!("../targets/", $name, ".toml")))),*] };
}

/// The target files that ship.
const SHIPPED: &[(&str, &str)] = files!["x86-vnni", "x86-avx2", "arm64", "portable"];

impl Target {
    /// Reads a target file; `file` is its name in messages.
    pub fn parse(text: &str, file: &str) -> Result<Target, Diagnostic> {
        let fail = |what: String| Diagnostic::error("target-file", Loc::Unknown, format!("{file}: {what}"));
        let target: Target = toml::from_str(text).map_err(|e| fail(e.to_string().trim_end().to_owned()))?;
        if target.schema != 1 {
            return Err(fail(format!("schema is {}, this program knows 1", target.schema)));
        }
        for rule in [&target.quant.activations, &target.quant.weights] {
            if !matches!(rule.elem(), Elem::U8 | Elem::I8) || Elem::from_short(&rule.store).is_none() {
                return Err(fail(format!("store is '{}'", rule.store)).note("it must be u8 or i8"));
            }
            if !(2..=8).contains(&rule.bits) {
                return Err(fail(format!("bits is {}", rule.bits)).note("it must be 2 to 8"));
            }
        }
        if !matches!(target.quant.form.as_str(), "qoperator" | "qdq") {
            return Err(fail(format!("form is '{}'", target.quant.form)).note("it must be qoperator or qdq"));
        }
        if !target.ops.fused.is_empty() && target.ops.float_results.is_empty() {
            return Err(fail("ops.fused names operators, but ops.float_results none that they could run with".into()));
        }
        let width = target.width.as_ref().and_then(WidthRule::fault);
        match width.or_else(|| target.prices.as_ref().and_then(Prices::fault)) {
            Some(what) => Err(fail(what)),
            None => Ok(target),
        }
    }

    /// What passes price ops by: the predictor if there is one, else the table.
    pub fn pricing(&self) -> Option<&dyn Pricing> {
        self.predicted.as_deref().or(self.prices.as_ref().map(|prices| prices as &dyn Pricing))
    }

    /// The shipped target of that name.
    pub fn named(name: &str) -> Option<Target> {
        Target::parse(Target::text(name)?, name).ok()
    }

    /// The file of the shipped target of that name.
    pub fn text(name: &str) -> Option<&'static str> {
        SHIPPED.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
    }

    /// Names of the shipped targets; the first is the default.
    pub fn names() -> impl Iterator<Item = &'static str> {
        SHIPPED.iter().map(|(name, _)| *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_targets_parse_and_are_named_as_their_files() {
        for (name, text) in SHIPPED {
            assert_eq!(Target::parse(text, name).unwrap().name, *name);
        }
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/targets")).unwrap();
        assert_eq!(folder.count(), SHIPPED.len(), "a file of passes/targets is not in the list");
    }

    #[test]
    fn what_runs_together_with_an_integer_op_needs_one_that_gives_floats() {
        let text = Target::text("portable").unwrap();
        let lines = text.lines().map(|line| if line.starts_with("float_results") { "float_results = []" } else { line });
        let error = Target::parse(&lines.collect::<Vec<_>>().join("\n"), "t").unwrap_err();
        assert!(error.to_string().contains("float_results"), "{error}");
    }

    #[test]
    fn widths_that_cannot_be_are_refused() {
        let (_, text) = SHIPPED[0];
        for (right, wrong) in [
            ("depthwise = 16", "depthwise = 0"),
            ("gain = 0.03", "gain = 1.5"),
            ("aligned = 23,", "aligned = 0,"),
            ("position = 4.5", "position = -1"),
        ] {
            assert!(text.contains(right), "{right}");
            let error = Target::parse(&text.replacen(right, wrong, 1), "t").unwrap_err();
            assert!(error.to_string().contains("width"), "{error}");
        }
    }

    #[test]
    fn a_table_that_does_not_rise_is_refused() {
        let text = SHIPPED[0].1.replace("[2, 0.0043]", "[512, 1.0]");
        assert_eq!(Target::parse(&text, "t").unwrap_err().code, "target-file");
    }

    #[test]
    fn stored_ranges_leave_out_what_the_rule_forbids() {
        let rule = |store: &str, symmetric, bits| StoreRule { store: store.into(), symmetric, per_channel: false, bits };
        assert_eq!(rule("u8", false, 8).stored_range(), (0, 255));
        assert_eq!(rule("i8", true, 8).stored_range(), (-127, 127));
        assert_eq!(rule("i8", true, 7).stored_range(), (-63, 63));
        assert_eq!(rule("i8", false, 8).stored_range(), (-128, 127));
    }
}
