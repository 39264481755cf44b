//! What a model is, in numbers and words: inputs, operators, size, work, quantization.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use spaceevo_ir::{Elem, Graph, MICROSOFT, ONNX, OpId, RegionId, SPACE, Type, ValueId, schema, shape};

/// Facts about a model.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// Name of the graph.
    pub name: String,
    /// `ir_version` of the file; 0 for a text that says nothing about it.
    pub ir_version: i64,
    /// Who made the file.
    pub producer: String,
    /// Operator set versions by domain.
    pub opsets: BTreeMap<String, u64>,
    /// Inputs to give.
    pub inputs: Vec<PortFacts>,
    /// Outputs.
    pub outputs: Vec<PortFacts>,
    /// Ops by operator, nested regions and functions included.
    pub operators: BTreeMap<String, usize>,
    /// Operators that neither the tables of ONNX and ONNX Runtime nor the model's functions know.
    pub unknown_operators: Vec<String>,
    /// Model-local functions.
    pub functions: Vec<String>,
    /// Search parameters.
    pub parameters_of_space: Vec<String>,
    /// Numbers in constants of real numbers, or quantized ones.
    pub parameters: u64,
    /// Bytes of all constants by element type.
    pub constant_bytes: BTreeMap<String, u64>,
    /// Multiply-accumulates of convolutions and matrix products for one run, open extents taken as 1.
    pub macs: u64,
    /// Convolutions and matrix products whose shapes are not known: they are not in `macs`.
    pub macs_unknown: usize,
    /// How far quantization has come.
    pub quantization: Quantization,
    /// Metadata of the model.
    pub metadata: BTreeMap<String, String>,
}

/// An input or output.
#[derive(Clone, Debug, Serialize)]
pub struct PortFacts {
    /// Name.
    pub name: String,
    /// Type, as the text format writes it.
    #[serde(rename = "type")]
    pub ty: String,
    /// The model brings a value for it, so that it need not be given.
    pub has_default: bool,
}

/// How far quantization has come.
#[derive(Clone, Debug, Serialize, Default)]
pub struct Quantization {
    /// `float`, `qoperator`, `qdq`, `mixed`, or `types` (quantized types that are not lowered yet).
    pub status: String,
    /// Ops that compute on stored integers.
    pub integer_ops: usize,
    /// QuantizeLinear and DequantizeLinear.
    pub conversions: usize,
    /// Values of quantized type.
    pub quantized_values: usize,
}

/// Looks at a graph. Shapes that the file leaves out are inferred on a copy.
pub fn inspect(graph: &Graph) -> Facts {
    let mut typed = graph.clone();
    shape::infer(&mut typed);
    let graph = &typed;
    let body = graph.region(graph.body());
    let port = |value: ValueId, name: &str| PortFacts {
        name: name.to_owned(),
        ty: graph.value(value).ty().to_string(),
        has_default: graph.value(value).tensor().is_some(),
    };
    let mut facts = Facts {
        name: body.name().to_string(),
        ir_version: graph.meta.ir_version,
        producer: [&*graph.meta.producer, &*graph.meta.producer_version].join(" ").trim().to_owned(),
        opsets: graph.meta.opsets.iter().map(|(domain, version)| (domain.to_string(), *version)).collect(),
        inputs: body.inputs().iter().map(|&v| port(v, graph.value(v).name())).collect(),
        outputs: body.results().iter().zip(body.result_names()).map(|(&v, name)| port(v, name)).collect(),
        operators: operators(graph),
        unknown_operators: unknown(graph),
        functions: graph.functions.iter().map(|f| f.name.to_string()).collect(),
        parameters_of_space: graph.space.params.iter().map(|p| p.name.to_string()).collect(),
        parameters: 0,
        constant_bytes: BTreeMap::new(),
        macs: 0,
        macs_unknown: 0,
        quantization: quantization(graph),
        metadata: graph.meta.props.clone(),
    };
    for region in graph.all_regions() {
        let region = graph.region(region);
        for &value in region.consts().iter().chain(region.inputs()) {
            let Some(tensor) = graph.value(value).tensor() else { continue };
            let elem = tensor.elem();
            let bytes = tensor.as_strings().map_or(tensor.bytes().len(), |s| s.iter().map(|s| s.len()).sum());
            *facts.constant_bytes.entry(elem.to_string()).or_insert(0) += bytes as u64;
            // Indices and shapes are 64-bit integers, weights never are.
            if elem.is_float() || (elem.is_int() && elem != Elem::I64) {
                facts.parameters += tensor.len() as u64;
            }
        }
    }
    for op in graph.all_ops() {
        if let Some(macs) = macs(graph, op) {
            match macs {
                Some(n) => facts.macs = facts.macs.saturating_add(n),
                None => facts.macs_unknown += 1,
            }
        }
    }
    facts
}

/// Ops by operator.
pub fn operators(graph: &Graph) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for op in graph.all_ops() {
        *found.entry(graph.op(op).name().to_string()).or_insert(0) += 1;
    }
    found
}

fn unknown(graph: &Graph) -> Vec<String> {
    let mut names = BTreeSet::new();
    for op in graph.all_ops() {
        let op = graph.op(op);
        let name = op.name();
        let opset = opset(graph, op.region(), &name.domain);
        let known = schema::lookup(&name.domain, &name.op, opset).is_some()
            || matches!(&*name.domain, SPACE | "quant")
            || graph.functions.iter().any(|f| f.name == *name);
        if !known {
            names.insert(name.to_string());
        }
    }
    names.into_iter().collect()
}

fn opset(graph: &Graph, region: RegionId, domain: &str) -> u64 {
    graph.opset_in(region, domain).unwrap_or_else(|| schema::latest_opset(domain))
}

/// Multiply-accumulates of an op that has them; the inner `None` where shapes are not known.
fn macs(graph: &Graph, op: OpId) -> Option<Option<u64>> {
    let found = graph.op(op);
    let name = found.name();
    if !matches!(&*name.domain, ONNX | MICROSOFT) {
        return None;
    }
    // Index of the operand that holds the weights, or the right factor.
    let (kind, weights) = match &*name.op {
        "Conv" | "ConvInteger" | "FusedConv" | "NhwcConv" => ("conv", 1),
        "QLinearConv" => ("conv", 3),
        "ConvTranspose" => ("transposed", 1),
        "Gemm" | "FusedGemm" => ("gemm", 1),
        "QGemm" => ("gemm", 3),
        "MatMul" | "MatMulInteger" | "FusedMatMul" => ("matmul", 1),
        "QLinearMatMul" => ("matmul", 3),
        _ => return None,
    };
    let dims = |value: Option<ValueId>| -> Option<Vec<u64>> {
        let shape = graph.value(value?).ty().tensor()?.shape.as_ref()?;
        // The batch of a model is often open: one sample is what the figure means.
        Some(shape.iter().map(|d| d.known().unwrap_or(1)).collect())
    };
    let product = |dims: &[u64]| dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d));
    let count = || {
        let weights = dims(found.operand(weights))?;
        let result = dims(found.results().first().copied())?;
        let input = dims(found.operand(0))?;
        match kind {
            "conv" => product(&result)?.checked_mul(product(weights.get(1..)?)?),
            "transposed" => product(&input)?.checked_mul(product(weights.get(1..)?)?),
            "gemm" => {
                let inner = if found.int("transA", 0) != 0 { input.first() } else { input.get(1) };
                product(&result)?.checked_mul(*inner?)
            }
            _ => product(&result)?.checked_mul(*input.last()?),
        }
    };
    Some(count())
}

fn quantization(graph: &Graph) -> Quantization {
    let mut found = Quantization::default();
    let (mut qlinear, mut quantizing) = (0usize, 0usize);
    for op in graph.all_ops() {
        let name = graph.op(op).name();
        match &*name.op {
            "QuantizeLinear" | "DequantizeLinear" => quantizing += 1,
            "ConvInteger" | "MatMulInteger" | "QGemm" | "QAttention" => qlinear += 1,
            other if other.starts_with("QLinear") => qlinear += 1,
            _ => {}
        }
        let typed = |v: &&ValueId| matches!(graph.value(**v).ty(), Type::Tensor(t) if t.quant.is_some());
        found.quantized_values += graph.op(op).results().iter().filter(typed).count();
    }
    found.integer_ops = qlinear;
    found.conversions = quantizing;
    found.status = match (qlinear, quantizing, found.quantized_values) {
        (0, 0, 0) => "float",
        (_, _, n) if n > 0 => "types",
        (0, _, _) => "qdq",
        // QOperator files convert at their ends, and around what stays in float.
        (n, q, _) if q <= 2 * n => "qoperator",
        _ => "mixed",
    }
    .into();
    found
}

impl fmt::Display for Facts {
    /// One screen.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let opsets: Vec<String> = self.opsets.iter().map(|(domain, version)| format!("{domain} {version}")).collect();
        let made = if self.producer.is_empty() { String::new() } else { format!(", made by {}", self.producer) };
        let version = if self.ir_version > 0 { format!(", IR version {}", self.ir_version) } else { String::new() };
        writeln!(f, "graph @{}: opset {}{version}{made}", self.name, opsets.join(", "))?;
        for (word, ports) in [("input", &self.inputs), ("output", &self.outputs)] {
            for port in ports {
                let given = if port.has_default { "  (has a default)" } else { "" };
                writeln!(f, "  {word:<10}  {} : {}{given}", port.name, port.ty)?;
            }
        }
        let bytes: u64 = self.constant_bytes.values().sum();
        let kinds: Vec<String> = self.constant_bytes.iter().map(|(elem, n)| format!("{elem} {}", size(*n))).collect();
        let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
        writeln!(f, "  parameters  {} in {}{kinds}", thousands(self.parameters), size(bytes))?;
        let unknown = match self.macs_unknown {
            0 => String::new(),
            n => format!(", {n} ops of unknown shape not counted"),
        };
        writeln!(f, "  work        {} multiply-accumulates{unknown}", thousands(self.macs))?;
        let q = &self.quantization;
        write!(f, "  numbers     {}", q.status)?;
        if q.status != "float" {
            let (ops, conversions, values) = (q.integer_ops, q.conversions, q.quantized_values);
            write!(f, ": {ops} integer ops, {conversions} conversions, {values} values of quantized type")?;
        }
        writeln!(f)?;
        writeln!(f, "  ops         {}", self.operators.values().sum::<usize>())?;
        let mut sorted: Vec<(&String, &usize)> = self.operators.iter().collect();
        sorted.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        for row in sorted.chunks(3) {
            let cells: Vec<String> = row.iter().map(|(name, n)| format!("{n:>6} {name:<26}")).collect();
            writeln!(f, "    {}", cells.concat().trim_end())?;
        }
        for (word, list) in
            [("functions", &self.functions), ("unknown", &self.unknown_operators), ("search", &self.parameters_of_space)]
        {
            if !list.is_empty() {
                writeln!(f, "  {word:<10}  {}", list.join(", "))?;
            }
        }
        for (key, value) in &self.metadata {
            let short: String = value.chars().take(100).collect();
            let dots = if short.len() < value.len() { "…" } else { "" };
            writeln!(f, "  metadata    {key} = {}{dots}", short.replace('\n', " "))?;
        }
        Ok(())
    }
}

/// `1 234 567`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> = {
        let head = digits.len() % 3;
        let tail = (head..digits.len()).step_by(3).map(|i| &digits[i..i + 3]);
        (head > 0).then_some(&digits[..head]).into_iter().chain(tail).collect()
    };
    groups.join(" ")
}

/// Bytes for people: `3.4 MiB`.
pub fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB"];
    let mut scaled = bytes as f64;
    let mut unit = 0;
    while scaled >= 1024.0 && unit + 1 < units.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{scaled:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_sizes_scaled() {
        assert_eq!(["0", "999", "1 000", "1 234 567"].map(String::from), [0, 999, 1000, 1234567].map(thousands));
        assert_eq!((size(17), size(3 << 19)), ("17 B".to_owned(), "1.5 MiB".to_owned()));
    }
}
