//! A predictor in place of a target's table of prices: passes ask it through the same trait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use spaceevo_ir::{Graph, OpId, ValueId};
use spaceevo_passes::Target;
use spaceevo_passes::price::{DEQUANTIZE, Fused, LAYOUT, Prices, Pricing, QUANTIZE, TRANSPOSE, gate_of_silu};

use super::Predictor;
use crate::kernels::{Detector, Kernel, Layout};

/// The target, with `predictor` for whatever it has measured; the rest keeps the prices of the table.
///
/// Without a table nothing is known of margins and fusion, and the target is returned as it is.
pub fn priced(target: Target, predictor: Predictor) -> Target {
    let Some(table) = target.prices.clone() else { return target };
    let bare = Target { predicted: None, ..target.clone() };
    let detector = Detector::new(&bare).ok();
    let pricer = Predicted { predictor, table, target: bare, detector, known: Mutex::new(HashMap::new()) };
    Target { predicted: Some(Arc::new(pricer)), ..target }
}

#[derive(Debug)]
struct Predicted {
    predictor: Predictor,
    table: Prices,
    target: Target,
    /// Where the target says which kernels there are.
    detector: Option<Detector>,
    /// Prices by kernel: a changed block asks for its own kernels only.
    known: Mutex<HashMap<Kernel, Option<f64>>>,
}

impl Predicted {
    /// Nanoseconds of a kernel whose family was measured, with what a network pays for each.
    fn time(&self, kernel: Kernel) -> Option<f64> {
        let mut known = self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let price = |kernel: &Kernel| {
            let price = self.predictor.kernel(kernel);
            price.known.then_some(price.untraced.max(0.1 * price.nanos))
        };
        if let Some(price) = known.get(&kernel) {
            return *price;
        }
        let found = price(&kernel);
        known.insert(kernel, found);
        found
    }

    fn op(&self, graph: &Graph, op: OpId, stored: bool) -> Option<f64> {
        let kernel = self.detector.as_ref()?.alone(graph, op, stored)?;
        if !stored || !kernel.op.ends_with("Conv") {
            return self.time(kernel);
        }
        // Passes pad channels and merge groups where that is faster.
        let widened = self.widened(&kernel).into_iter().filter_map(|kernel| self.time(kernel));
        let usual = self.time(kernel.clone());
        usual.into_iter().chain(widened).min_by(f64::total_cmp)
    }

    fn widened(&self, kernel: &Kernel) -> Vec<Kernel> {
        let wider = |input: u32, output: u32, groups: u32| {
            let mut wider = Kernel { groups, ..kernel.clone() };
            (wider.input[1], wider.output[1]) = (input, output);
            wider
        };
        let (input, output, groups) = (kernel.input[1], kernel.output[1], kernel.groups);
        let Some(rule) = &self.target.width else { return Vec::new() };
        let multiple = |n: u32, of: usize| n.next_multiple_of((of as u32).max(1));
        if kernel.is_depthwise() {
            let padded = multiple(input, rule.depthwise);
            return vec![wider(padded, padded, padded)];
        }
        if groups > 1 {
            let merged = (2..=groups).filter(|factor| self.target.groups.is_some() && groups.is_multiple_of(*factor));
            return merged.map(|factor| wider(input, output, groups / factor)).collect();
        }
        vec![wider(multiple(input, rule.input), multiple(output, rule.output).max(rule.least_output as u32), 1)]
    }
}

impl Pricing for Predicted {
    fn margin(&self) -> f64 {
        self.table.margin
    }

    fn float(&self, graph: &Graph, op: OpId) -> Option<f64> {
        let table = self.table.float(graph, op)?;
        // A sigmoid and its product are one kernel, which the table splits into both ops.
        if is_part_of_silu(graph, op) {
            return Some(table);
        }
        Some(self.op(graph, op, false).unwrap_or(table))
    }

    fn integer(&self, graph: &Graph, target: &Target, op: OpId) -> Option<f64> {
        let table = self.table.integer(graph, target, op)?;
        let lowered = target.ops.lowered.contains_key(&graph.op(op).name().to_string());
        if is_part_of_silu(graph, op) || lowered {
            return Some(table);
        }
        Some(self.op(graph, op, true).unwrap_or(table))
    }

    fn conversion(&self, graph: &Graph, value: ValueId, kind: &str) -> Option<f64> {
        let table = self.table.conversion(graph, value, kind)?;
        let dims = graph.value(value).ty().dims().filter(|dims| dims.len() == 4);
        let Some(extents) = dims.and_then(|dims| dims.iter().map(|&d| u32::try_from(d).ok()).collect::<Option<Vec<u32>>>())
        else {
            return Some(table);
        };
        let extents = [extents[0], extents[1], extents[2], extents[3]];
        let transposed = || self.time(Kernel::same("Transpose", Layout::Plain, [1, 1], extents));
        let predicted = match kind {
            QUANTIZE => self.time(Kernel::same("QuantizeLinear", Layout::Last, [4, 1], extents)),
            DEQUANTIZE => self.time(Kernel::same("DequantizeLinear", Layout::Last, [1, 4], extents)),
            TRANSPOSE => transposed(),
            LAYOUT => transposed().map(|t| t + self.reordered(extents)),
            _ => None,
        };
        Some(predicted.unwrap_or(table))
    }

    fn plain_pool(&self, graph: &Graph, op: OpId) -> Option<f64> {
        self.table.plain_pool(graph, op)
    }

    fn fused_into(&self, graph: &Graph, op: OpId) -> Option<Fused> {
        self.table.fused_into(graph, op)
    }

    fn silu_is_faster_as_pair(&self, graph: &Graph, product: OpId) -> bool {
        self.table.silu_is_faster_as_pair(graph, product)
    }

    fn converts(&self) -> bool {
        self.table.converts()
    }

    fn pass(&self, numbers: f64) -> Option<(f64, f64)> {
        self.table.pass(numbers)
    }
}

impl Predicted {
    /// What it takes to bring a float map into blocks of channels.
    fn reordered(&self, extents: [u32; 4]) -> f64 {
        let Some(blocked) = self.target.kernels.as_ref().and_then(|rules| rules.blocked.as_ref()) else { return 0.0 };
        let [n, c, h, w] = extents;
        let padded = [n, c.next_multiple_of(blocked.block), h, w];
        let kernel = Kernel { output: padded, ..Kernel::same(&blocked.reorder[0], Layout::Blocked, [4, 4], extents) };
        self.time(kernel).unwrap_or(0.0)
    }
}

fn is_part_of_silu(graph: &Graph, op: OpId) -> bool {
    let product = graph.op(op).results().first().and_then(|&v| graph.only_user(v));
    gate_of_silu(graph, op).is_some() || product.is_some_and(|product| gate_of_silu(graph, product) == Some(op))
}
