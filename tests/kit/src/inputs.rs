//! Seeded inputs for any graph.

use std::collections::BTreeMap;

use spaceevo_ir::interp::Datum;
use spaceevo_ir::tensor::Rand;
use spaceevo_ir::{Dim, Elem, Graph, Tensor};

/// How inputs are drawn.
#[derive(Clone, PartialEq, Debug)]
pub struct Draw {
    /// Seed of the first input; the next ones count on from it.
    pub seed: u64,
    /// Half-open interval of floating-point numbers.
    pub within: (f64, f64),
    /// Half-open interval of integers.
    pub ints: (f64, f64),
    /// Extents of named dims; 2 for those not listed, and for unknown ones.
    pub dims: BTreeMap<String, usize>,
    /// Whole shapes of inputs, by name.
    pub shapes: BTreeMap<String, Vec<usize>>,
}

impl Default for Draw {
    /// [-4, 4), which reaches both sides of every activation function, and integers 0 and 1.
    fn default() -> Self {
        Draw { seed: 1, within: (-4.0, 4.0), ints: (0.0, 2.0), dims: BTreeMap::new(), shapes: BTreeMap::new() }
    }
}

/// One tensor for every input of the body that has no default; a sentence when an input is no tensor of known rank.
pub fn inputs(graph: &Graph, draw: &Draw) -> Result<Vec<Datum>, String> {
    let mut data = Vec::new();
    let mut drawn = 0;
    for &input in graph.region(graph.body()).inputs() {
        let value = graph.value(input);
        if let Some(tensor) = value.tensor() {
            data.push(Datum::Tensor(tensor.clone()));
            continue;
        }
        let ty = value.ty().tensor().ok_or_else(|| format!("input {} is no tensor", graph.label(input)))?;
        let shape = ty.shape.as_ref().ok_or_else(|| format!("the rank of input {} is not known", graph.label(input)))?;
        let extent = |dim: &Dim| match dim {
            Dim::Known(n) => usize::try_from(*n).unwrap_or(usize::MAX),
            Dim::Named(name) => draw.dims.get(&**name).copied().unwrap_or(2),
            Dim::Expr(expr) if graph.space.extent(expr).is_ok() => {
                graph.space.extent(expr).ok().and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX)
            }
            Dim::Expr(_) | Dim::Unknown => draw.dims.get("?").copied().unwrap_or(2),
        };
        let given = draw.shapes.get(&**value.name()).cloned();
        let dims: Vec<usize> = given.unwrap_or_else(|| shape.iter().map(extent).collect());
        let elem = ty.storage();
        let within = match elem {
            e if e.is_float() => Some(draw.within),
            Elem::Bool => None,
            e if ty.quant.is_some() || e.bits() <= 8 => None,
            _ => Some(draw.ints),
        };
        let rand = Rand { seed: draw.seed.wrapping_add(drawn), within };
        drawn += 1;
        let tensor = Tensor::random(elem, dims, rand).ok_or_else(|| format!("input {} is too large", graph.label(input)))?;
        data.push(Datum::Tensor(tensor));
    }
    Ok(data)
}
