//! Layers with weights: convolution, batch normalization, linear.
//!
//! ```text
//!                                                     %y.weight.max = const rand(1, …) : f32[48,16,5,5]
//! %y = space.Conv %x {out = $w, kernel = $k}   ──▶    %y.weight = space.Crop %y.weight.max {to = [$w, 16, $k, $k]}
//!                                                     %y = onnx.Conv %x, %y.weight {kernel_shape = [$k, $k], pads = [floor($k / 2), …]}
//! ```
//!
//! Padding is `floor(kernel / 2)` on all sides, so that odd kernels give `ceil(extent / stride)`.

use spaceevo_ir::space::Expr;
use spaceevo_ir::tensor::Rand;
use spaceevo_ir::{Attr, Attrs, Elem, NewOp, OpName, SPACE, Tensor, TensorType, Type, ValueId};

use super::{MAX_ELEMENTS, Made, Names, Site, Unfolder, Weights};

/// What a weight begins as.
#[derive(Clone, Copy)]
enum Start {
    /// Uniform within `sqrt(6 / fan_in)`: He initialization.
    He,
    /// One number.
    Number(f32),
}

impl Unfolder<'_> {
    /// `space.Conv %x {out = hidden, kernel = 3, stride = 2, groups = c, bias = 1}`
    pub(super) fn conv(&mut self, attrs: &Attrs, operands: &[ValueId], names: &Names, at: &Site) -> Made<ValueId> {
        let x = self.layer("Conv", &["out", "kernel", "stride", "groups", "bias"], attrs, operands, at)?;
        let c = self.known_channels(x, at)?;
        let out = self.needed(attrs, "out", names, at)?;
        let one = || Expr::Int(1);
        let kernel = self.given(attrs, "kernel", names, at)?.unwrap_or_else(one);
        let stride = self.given(attrs, "stride", names, at)?.unwrap_or_else(one);
        let groups = self.given(attrs, "groups", names, at)?.unwrap_or_else(one);
        let per_group = self.computed("div", vec![c, groups.clone()], at)?;
        let half = self.computed("div", vec![kernel.clone(), Expr::Int(2)], at)?;
        let pad = self.computed("floor", vec![half], at)?;
        let shape = vec![out.clone(), per_group, kernel.clone(), kernel.clone()];
        let weight = self.weight("weight", shape, Start::He, at)?;
        let mut all = vec![Some(x), Some(weight)];
        if self.given(attrs, "bias", names, at)?.is_some_and(|bias| bias != Expr::Int(0)) {
            all.push(Some(self.weight("bias", vec![out.clone()], Start::Number(0.0), at)?));
        }
        let new = NewOp::onnx("Conv")
            .operands(all)
            .attr("group", attr(groups))
            .attr("kernel_shape", list(vec![kernel.clone(), kernel]))
            .attr("pads", list(vec![pad.clone(), pad.clone(), pad.clone(), pad]))
            .attr("strides", list(vec![stride.clone(), stride]));
        Ok(self.insert(new, Some(out), at))
    }

    /// `space.BatchNorm %x`
    pub(super) fn batch_norm(&mut self, attrs: &Attrs, operands: &[ValueId], names: &Names, at: &Site) -> Made<ValueId> {
        let x = self.layer("BatchNorm", &["epsilon"], attrs, operands, at)?;
        let c = self.known_channels(x, at)?;
        let epsilon = match self.given(attrs, "epsilon", names, at)? {
            Some(Expr::Float(x)) => x as f32,
            _ => 1e-5,
        };
        let mut all = vec![Some(x)];
        for (name, start) in [("scale", 1.0), ("bias", 0.0), ("mean", 0.0), ("var", 1.0)] {
            all.push(Some(self.weight(name, vec![c.clone()], Start::Number(start), at)?));
        }
        let new = NewOp::onnx("BatchNormalization").operands(all).attr("epsilon", Attr::Float(epsilon));
        Ok(self.insert(new, Some(c), at))
    }

    /// `space.Linear %x {out = 1000}`: of rank 2, with a bias unless `bias = 0`.
    pub(super) fn linear(&mut self, attrs: &Attrs, operands: &[ValueId], names: &Names, at: &Site) -> Made<ValueId> {
        let x = self.layer("Linear", &["out", "bias"], attrs, operands, at)?;
        let c = self.known_channels(x, at)?;
        let out = self.needed(attrs, "out", names, at)?;
        let mut all = vec![Some(x), Some(self.weight("weight", vec![out.clone(), c], Start::He, at)?)];
        if self.given(attrs, "bias", names, at)?.is_none_or(|bias| bias != Expr::Int(0)) {
            all.push(Some(self.weight("bias", vec![out.clone()], Start::Number(0.0), at)?));
        }
        let new = NewOp::onnx("Gemm").operands(all).attr("transB", Attr::Int(1));
        Ok(self.insert(new, Some(out), at))
    }

    /// The only operand of a layer that has no attributes but the known ones.
    fn layer(&self, name: &str, known: &[&str], attrs: &Attrs, operands: &[ValueId], at: &Site) -> Made<ValueId> {
        if let Some(unknown) = attrs.keys().find(|key| !known.contains(&&***key)) {
            let message = format!("{}: space.{name} has no attribute {unknown}; it has {}", at.path, known.join(", "));
            return Err(at.error("op-attr-unknown", message));
        }
        match operands {
            &[x] => Ok(x),
            _ => Err(at.error("op-arity", format!("{}: space.{name} takes one value", at.path))),
        }
    }

    fn needed(&self, attrs: &Attrs, name: &str, names: &Names, at: &Site) -> Made<Expr> {
        let given = self.given(attrs, name, names, at)?;
        given.ok_or_else(|| at.error("op-attr-missing", format!("{}: it needs the attribute {name}", at.path)))
    }

    fn computed(&self, function: &str, args: Vec<Expr>, at: &Site) -> Made<Expr> {
        self.table.fold(&Expr::Call(function.into(), args)).map_err(|why| at.value(why))
    }

    /// A weight of a shape: stored at its largest, and cut where the shape is open.
    fn weight(&mut self, name: &str, shape: Vec<Expr>, start: Start, at: &Site) -> Made<ValueId> {
        let site = at.named(name);
        let mut dims = Vec::new();
        for extent in &shape {
            let largest = self.table.largest(extent).map_err(|why| site.value(why))?;
            if largest == 0 || matches!(extent, Expr::Float(_)) {
                return Err(site.error("space-value", format!("{}: {extent} is no extent", site.path)));
            }
            dims.push(largest as usize);
        }
        let elements = dims.iter().try_fold(1u64, |n, &dim| n.checked_mul(dim as u64)).unwrap_or(u64::MAX);
        self.elements = self.elements.saturating_add(elements);
        if self.elements > MAX_ELEMENTS {
            return Err(site.error("space-size", format!("{}: weights of more than 2 GiB", site.path)));
        }
        let open = shape.iter().any(|extent| !matches!(extent, Expr::Int(_)));
        let stored = if open { format!("{}.max", site.path) } else { site.path.clone() };
        let region = self.region(&site);
        let value = match (self.weights, start) {
            (Weights::Declared, _) => {
                let body = self.graph.body();
                self.graph.add_input(body, stored, Type::Tensor(TensorType::of(Elem::F32, &dims)))
            }
            (Weights::Drawn(_), Start::Number(x)) => {
                self.graph.add_const(region, stored, Tensor::new(dims, vec![x; elements as usize]))
            }
            (Weights::Drawn(seed), Start::He) => {
                let fan_in = (elements / dims[0] as u64).max(1) as f64;
                // Few digits: what is drawn stands in the text.
                let bound = ((6.0 / fan_in).sqrt() * 1e4).round().max(1.0) / 1e4;
                let seed = seed.wrapping_mul(1 << 20).wrapping_add(self.drawn);
                self.drawn += 1;
                let drawn = Tensor::random(Elem::F32, dims, Rand { seed, within: Some((-bound, bound)) });
                let drawn = drawn.ok_or_else(|| site.error("space-size", format!("{}: it cannot be drawn", site.path)))?;
                self.graph.add_const(region, stored, drawn)
            }
        };
        if !open {
            return Ok(value);
        }
        let new = NewOp::new(OpName::new(SPACE, "Crop")).operand(value).attr("to", list(shape));
        Ok(self.insert(new, None, &site))
    }
}

fn attr(expr: Expr) -> Attr {
    match expr {
        Expr::Int(n) => Attr::Int(n),
        open => Attr::Expr(open),
    }
}

fn list(exprs: Vec<Expr>) -> Attr {
    spaceevo_ir::text::list_of(exprs.into_iter().map(attr).collect())
}
