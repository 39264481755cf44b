//! What changed in ONNX's operators from version to version, and how an op is brought over such a change.
//!
//! A change is either listed here with what it takes, or follows from the two schemas: operators that only took on types,
//! optional operands or attributes mean the same as before.

use spaceevo_ir::schema::{self, AttrDefault};
use spaceevo_ir::{Attr, Dim, Elem, Graph, NewOp, ONNX, OpId, OpName, Place, Tensor, TensorType, Type, ValueId};

/// Brings an op to the version at which it changed. True when the op is another now; a sentence why it cannot be.
pub(crate) fn upgrade(graph: &mut Graph, op: OpId, version: u64) -> Result<bool, String> {
    let name = graph.op(op).name().op.clone();
    let reductions = [
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceProd",
        "ReduceSumSquare",
    ];
    match (&*name, version) {
        ("BatchNormalization", 9) => drop_attr(graph, op, "spatial", &Attr::Int(1)),
        ("BatchNormalization", 14) => one_result(graph, op),
        ("Clip", 11) => bounds(graph, op),
        ("Dropout", 10) => {
            unread(graph, op, 1, "its mask was of the input's type, and is boolean now")?;
            Ok(keep_first_result(graph, op))
        }
        ("Dropout", 12) => ratio(graph, op),
        ("GridSample", 20) => renamed_mode(graph, op),
        ("GroupNormalization", 21) => Err("its scale and bias are for each channel now, not for each group".into()),
        ("Pad", 11) => pad(graph, op),
        ("Resize", 11) => resize(graph, op),
        ("RoiAlign", 16) => written_out(graph, op, "coordinate_transformation_mode", Attr::text("output_half_pixel")),
        ("Scan", 9) => Err("its first operand, the lengths of sequences, is gone".into()),
        ("Scatter", 11) => {
            graph.set_op_name(op, OpName::onnx("ScatterElements"));
            Ok(true)
        }
        ("Slice", 10) => operands(graph, op, &["starts", "ends", "axes"]),
        ("Softmax" | "LogSoftmax" | "Hardmax", 13) => softmax(graph, op),
        ("Split", 13) => operands(graph, op, &["split"]),
        ("Split", 18) => equal_parts(graph, op),
        ("Squeeze" | "Unsqueeze" | "ReduceSum", 13) => operands(graph, op, &["axes"]),
        ("TopK", 10) => k(graph, op),
        ("Upsample", 9) => scales(graph, op),
        ("Upsample", 10) => {
            graph.set_op_name(op, OpName::onnx("Resize"));
            Ok(true)
        }
        (name, 18) if reductions.contains(&name) => operands(graph, op, &["axes"]),
        _ => by_schema(graph, op, &name, version),
    }
}

/// A change that the schemas tell: everything that was said before can still be said, and means the same.
fn by_schema(graph: &mut Graph, op: OpId, name: &str, version: u64) -> Result<bool, String> {
    let (old, new) = (schema::lookup(ONNX, name, version - 1), schema::lookup(ONNX, name, version));
    let (Some(old), Some(new)) = (old, new) else { return Err("nothing is known of it".into()) };
    if new.deprecated {
        return Err("it was withdrawn".into());
    }
    let given = graph.op(op).operands().len();
    for (index, port) in old.inputs.iter().take(given).enumerate() {
        if new.inputs.get(index).map(|p| p.name.to_lowercase()) != Some(port.name.to_lowercase())
            && new.inputs.len() != old.inputs.len()
        {
            return Err(format!("operand '{}' changed its place", port.name));
        }
    }
    if given < new.min_inputs() {
        return Err("it needs more operands than it has".into());
    }
    if new.max_outputs().is_some_and(|most| graph.op(op).results().len() > most) {
        return Err("it has fewer results now".into());
    }
    let mut changed = false;
    for attr in &old.attrs {
        let said = graph.op(op).attrs().contains_key(attr.name);
        match new.attr(attr.name) {
            None if said => return Err(format!("attribute '{}' is gone", attr.name)),
            Some(now) if said && now.kind != attr.kind => {
                return Err(format!("attribute '{}' is of another kind", attr.name));
            }
            Some(now) if !said && now.default != attr.default => {
                let old = match &attr.default {
                    AttrDefault::Int(n) => Attr::Int(*n),
                    AttrDefault::Float(x) => Attr::Float(*x),
                    AttrDefault::Str(text) => Attr::text(text),
                    AttrDefault::Ints(list) => Attr::Ints(list.clone()),
                    // What had no default keeps the meaning of its absence.
                    _ => continue,
                };
                graph.set_attr(op, attr.name, old);
                changed = true;
            }
            _ => {}
        }
    }
    if let Some(attr) = new.attrs.iter().find(|a| a.required && !graph.op(op).attrs().contains_key(a.name)) {
        return Err(format!("attribute '{}' must be given now", attr.name));
    }
    Ok(changed)
}

/// Takes an attribute away whose meaning is known only inside the op.
fn take(graph: &mut Graph, op: OpId, name: &str) -> Result<Option<Attr>, String> {
    match graph.op(op).attrs().get(name) {
        Some(Attr::Ref(..) | Attr::Expr(_) | Attr::List(_)) => Err(format!("attribute '{name}' is no plain number")),
        _ => Ok(graph.remove_attr(op, name)),
    }
}

fn constant(graph: &mut Graph, op: OpId, name: &str, tensor: Tensor) -> ValueId {
    let region = graph.op(op).region();
    graph.add_const(region, name, tensor)
}

/// Integer lists that became operands 1, 2, ...
fn operands(graph: &mut Graph, op: OpId, names: &[&str]) -> Result<bool, String> {
    let mut changed = false;
    for (index, name) in names.iter().enumerate() {
        let Some(attr) = take(graph, op, name)? else { continue };
        let list = attr.as_ints().ok_or_else(|| format!("attribute '{name}' is no list of integers"))?.to_vec();
        let value = constant(graph, op, name, Tensor::new([list.len()], list));
        graph.set_operand(op, index + 1, Some(value));
        changed = true;
    }
    Ok(changed)
}

fn drop_attr(graph: &mut Graph, op: OpId, name: &str, only: &Attr) -> Result<bool, String> {
    match take(graph, op, name)? {
        None => Ok(false),
        Some(attr) if attr == *only => Ok(true),
        Some(_) => Err(format!("attribute '{name}' is gone, and was not at its default")),
    }
}

fn written_out(graph: &mut Graph, op: OpId, name: &str, value: Attr) -> Result<bool, String> {
    graph.set_attr(op, name, value);
    Ok(true)
}

fn unread(graph: &Graph, op: OpId, index: usize, why: &str) -> Result<(), String> {
    let read = graph.op(op).results().get(index).is_some_and(|&v| graph.use_count(v) > 0);
    if read { Err(why.to_owned()) } else { Ok(()) }
}

/// BatchNormalization lost its results for training, and its names for the others.
fn one_result(graph: &mut Graph, op: OpId) -> Result<bool, String> {
    (1..graph.op(op).results().len()).try_for_each(|i| unread(graph, op, i, "its statistics are read"))?;
    Ok(keep_first_result(graph, op))
}

/// Rebuilds an op with its first result only. True when it had more.
fn keep_first_result(graph: &mut Graph, op: OpId) -> bool {
    let record = graph.op(op);
    if record.results().len() < 2 {
        return false;
    }
    let value = graph.value(record.result());
    let mut new =
        NewOp::new(record.name().clone()).operands(record.operands().iter().copied()).attrs(record.attrs().clone());
    new = new.loc(record.loc().clone()).result(value.name().clone(), value.ty().clone());
    if let Some(meta) = record.meta() {
        new = new.meta(meta.clone());
    }
    let (old, range) = (record.result(), value.range());
    let copy = graph.insert(Place::Before(op), new);
    let result = graph.op(copy).result();
    graph.set_range(result, range);
    graph.replace_all_uses(old, result);
    graph.erase_op(op)
}

/// The element type of operand 0, which a new constant shall have.
fn element(graph: &Graph, op: OpId) -> Result<Elem, String> {
    let elem = graph.op(op).operand(0).and_then(|v| graph.value(v).ty().elem());
    elem.ok_or_else(|| "the type of its operand is not known: run infer-shapes first".into())
}

fn scalar_of(elem: Elem, number: f64) -> Result<Tensor, String> {
    Tensor::from_f64(elem, [], &[number]).ok_or_else(|| format!("{elem} holds no numbers"))
}

/// Clip 11: bounds are operands. Their defaults were the largest finite numbers, and still are.
fn bounds(graph: &mut Graph, op: OpId) -> Result<bool, String> {
    let mut changed = false;
    for (index, name) in [(1, "min"), (2, "max")] {
        let Some(attr) = take(graph, op, name)? else { continue };
        let number = attr.as_float().ok_or_else(|| format!("attribute '{name}' is no number"))?;
        let tensor = scalar_of(element(graph, op)?, f64::from(number))?;
        let value = constant(graph, op, name, tensor);
        graph.set_operand(op, index, Some(value));
        changed = true;
    }
    Ok(changed)
}

/// Dropout 12: the ratio is an operand.
fn ratio(graph: &mut Graph, op: OpId) -> Result<bool, String> {
    let Some(attr) = take(graph, op, "ratio")? else { return Ok(false) };
    let number = attr.as_float().ok_or("attribute 'ratio' is no number")?;
    let value = constant(graph, op, "ratio", Tensor::scalar(number));
    graph.set_operand(op, 1, Some(value));
    Ok(true)
}

/// Pad 11: amounts and number are operands.
fn pad(graph: &mut Graph, op: OpId) -> Result<bool, String> {
    operands(graph, op, &["pads"])?;
    if let Some(attr) = take(graph, op, "value")? {
        let number = attr.as_float().ok_or("attribute 'value' is no number")?;
        if number != 0.0 {
            let tensor = scalar_of(element(graph, op)?, f64::from(number))?;
            let value = constant(graph, op, "value", tensor);
            graph.set_operand(op, 2, Some(value));
        }
    }
    Ok(true)
}

/// TopK 10: the number of entries is an operand.
fn k(graph: &mut Graph, op: OpId) -> Result<bool, String> {
    let k = take(graph, op, "k")?.and_then(|k| k.as_int()).ok_or("it has no attribute 'k'")?;
    let value = constant(graph, op, "k", Tensor::new([1], vec![k]));
    graph.set_operand(op, 1, Some(value));
    Ok(true)
}

/// Upsample 9: scales are an operand.
fn scales(graph: &mut Graph, op: OpId) -> Result<bool, String> {
    let attr = take(graph, op, "scales")?.ok_or("it has no attribute 'scales'")?;
    let list = attr.as_floats().ok_or("attribute 'scales' is no list of numbers")?.to_vec();
    let value = constant(graph, op, "scales", Tensor::new([list.len()], list));
    graph.set_operand(op, 1, Some(value));
    Ok(true)
}

/// Resize 11: a region of interest comes between, and how coordinates are mapped is said. Up to 10 they were scaled from
/// the corner and rounded down.
fn resize(graph: &mut Graph, op: OpId) -> Result<bool, String> {
    let scales = graph.op(op).operand(1).ok_or("it has no scales")?;
    if graph.op(op).str("mode", "nearest") == "nearest" {
        let numbers = graph.const_of(scales).and_then(Tensor::to_f32).ok_or("its scales are no constant")?;
        if numbers.iter().any(|&s| s < 1.0) {
            return Err("how it picks the nearest element of a larger map was not said before".into());
        }
        graph.set_attr(op, "nearest_mode", Attr::text("floor"));
    }
    graph.set_attr(op, "coordinate_transformation_mode", Attr::text("asymmetric"));
    let input = graph.op(op).operand(0);
    let roi = constant(graph, op, "roi", Tensor::new([0], Vec::<f32>::new()));
    graph.set_operands(op, vec![input, Some(roi), Some(scales)]);
    Ok(true)
}

/// Split 18: equal parts are asked for by their number.
fn equal_parts(graph: &mut Graph, op: OpId) -> Result<bool, String> {
    if graph.op(op).operand(1).is_some() {
        return Ok(false);
    }
    let parts = graph.op(op).results().len() as i64;
    graph.set_attr(op, "num_outputs", Attr::Int(parts));
    Ok(true)
}

/// GridSample 20: modes got new names.
fn renamed_mode(graph: &mut Graph, op: OpId) -> Result<bool, String> {
    let mode = match graph.op(op).str("mode", "bilinear") {
        "bilinear" => "linear",
        "bicubic" => "cubic",
        _ => return Ok(false),
    };
    graph.set_attr(op, "mode", Attr::text(mode));
    Ok(true)
}

/// Softmax 13 works along one axis. Before, the axes from `axis` on were taken together: the same where all but one of
/// them have one entry, else a matrix is made of the value, and undone.
fn softmax(graph: &mut Graph, op: OpId) -> Result<bool, String> {
    let axis = match graph.op(op).attrs().get("axis") {
        None => 1,
        Some(attr) => attr.as_int().ok_or("attribute 'axis' is no plain number")?,
    };
    let input = graph.op(op).operand(0).ok_or("it has no operand")?;
    let ty = graph.value(input).ty().clone();
    if let Some(shape) = ty.tensor().and_then(|t| t.shape.clone()) {
        let rank = shape.len() as i64;
        let from = if axis < 0 { axis + rank } else { axis };
        if !(0..=rank).contains(&from) {
            return Err(format!("axis {axis} does not exist in a value of rank {rank}"));
        }
        let wide: Vec<i64> = (from..rank).filter(|&a| shape[a as usize].known() != Some(1)).collect();
        if wide.len() <= 1 && from < rank {
            let along = wide.first().copied().unwrap_or(from);
            graph.set_attr(op, "axis", Attr::Int(along));
            return Ok(true);
        }
    }
    // Flatten to a matrix, work along its rows, and take the shape back.
    let (loc, elem) = (graph.op(op).loc().clone(), ty.elem());
    let unknown = Dim::Unknown;
    let matrix: Option<Type> = elem.map(|e| TensorType::new(e, vec![unknown.clone(), unknown]).into());
    let result = graph.op(op).result();
    let name = graph.value(result).name().clone();
    let by = |new: NewOp| new.made("upgrade-opset", &[&loc]);
    let flatten = by(NewOp::onnx("Flatten").operand(input).attr("axis", Attr::Int(axis)));
    let flatten =
        graph.insert(Place::Before(op), flatten.result(format!("{name}.flat"), matrix.clone().unwrap_or_default()));
    let flat = graph.op(flatten).result();
    let inner = by(NewOp::new(graph.op(op).name().clone()).operand(flat).attr("axis", Attr::Int(-1)));
    let inner = graph.insert(Place::Before(op), inner.result(format!("{name}.rows"), matrix.unwrap_or_default()));
    let rows = graph.op(inner).result();
    let shape = match ty.dims() {
        Some(dims) => constant(graph, op, "shape", Tensor::new([dims.len()], dims.iter().map(|&d| d as i64).collect())),
        None => {
            let ty = TensorType::new(Elem::I64, vec![Dim::Unknown]);
            let shape = by(NewOp::onnx("Shape").operand(input)).result(format!("{name}.shape"), ty);
            let shape = graph.insert(Place::Before(op), shape);
            graph.op(shape).result()
        }
    };
    crate::rewrite::replace(graph, op, "upgrade-opset", &[], NewOp::onnx("Reshape").operand(rows).operand(shape));
    Ok(true)
}
