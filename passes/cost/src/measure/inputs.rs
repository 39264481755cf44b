//! What a model is given while it is timed: numbers from a seed. Kernels that compare numbers are timed fairly only if no two
//! are alike; no kernel of interest cares what they are.

use std::collections::BTreeMap;

use spaceevo_ir::shape::infer;
use spaceevo_ir::tensor::Rand;
use spaceevo_ir::{Diagnostic, Dim, Graph, Loc, Severity, Tensor, TensorType};

use crate::runtime::Port;

/// Shapes of inputs by name, for inputs that leave extents open.
pub type Shapes = BTreeMap<String, Vec<usize>>;

/// Every shape must be for an input that a model has, whichever of them. Errors: `measure-shape`.
pub fn known(shapes: &Shapes, models: &[&Graph]) -> Result<(), Diagnostic> {
    let names = |graph: &&Graph| {
        let inputs = graph.region(graph.body()).inputs().iter();
        inputs.map(|&value| graph.value(value).name().to_string()).collect::<Vec<_>>()
    };
    let inputs: Vec<String> = models.iter().flat_map(names).collect();
    match shapes.keys().find(|name| !inputs.contains(name)) {
        None => Ok(()),
        Some(name) => Err(wrong(format!("no model has an input '{name}'; there is {}", inputs.join(", ")))),
    }
}

/// One tensor per input. An open first extent is a batch of one; shapes of inputs that are not there are left alone.
///
/// Errors: `measure-shape` for other open extents that `shapes` does not say, and for shapes that do not fit.
pub fn drawn(ports: &[Port], shapes: &Shapes) -> Result<Vec<Tensor>, Diagnostic> {
    ports.iter().enumerate().map(|(at, port)| one(at, port, shapes.get(&port.name))).collect()
}

fn one(at: usize, port: &Port, shape: Option<&Vec<usize>>) -> Result<Tensor, Diagnostic> {
    let name = &port.name;
    let ty = port.tensor().ok_or_else(|| wrong(format!("input '{name}' is no tensor, and nothing can be drawn for it")))?;
    let dims = extents(name, ty, shape)?;
    // Wide integers are positions or sizes more often than numbers: 0 is one that every model can take.
    let elem = ty.storage();
    let within = (elem.int_range().is_some() && elem.bits() > 8).then_some((0.0, 1.0));
    Tensor::random(elem, dims, Rand { seed: at as u64 + 1, within })
        .ok_or_else(|| wrong(format!("nothing can be drawn for input '{name}' of {elem}, or it is too large")))
}

/// The extents of an input: those that are asked for, else those that it declares, with a batch of one where the first is open.
fn extents(name: &str, ty: &TensorType, shape: Option<&Vec<usize>>) -> Result<Vec<usize>, Diagnostic> {
    let example = || format!("say it with --shape {name}=1,3,224,224");
    match (shape, &ty.shape) {
        (Some(shape), None) => Ok(shape.clone()),
        (Some(shape), Some(declared)) => {
            let fits = |(dim, &given): (&Dim, &usize)| dim.known().is_none_or(|known| known == given as u64);
            match shape.len() == declared.len() && declared.iter().zip(shape).all(fits) {
                true => Ok(shape.clone()),
                false => Err(wrong(format!("input '{name}' cannot be of shape {shape:?}"))),
            }
        }
        (None, None) => Err(wrong(format!("the rank of input '{name}' is open")).note(example())),
        (None, Some(declared)) => {
            let extent = |(at, dim): (usize, &Dim)| match dim.known() {
                Some(known) => Ok(known as usize),
                None if at == 0 => Ok(1),
                None => Err(wrong(format!("extent {at} of input '{name}' is open")).note(example())),
            };
            declared.iter().enumerate().map(extent).collect()
        }
    }
}

/// Makes the inputs of a graph as large as they will be, and finds out how large everything else then is. An open first extent is a
/// batch of one.
///
/// Errors: `measure-shape` for other open extents that `shapes` does not say, and for shapes that do not fit; those of inference.
pub fn settle(graph: &mut Graph, shapes: &Shapes) -> Result<(), Diagnostic> {
    for input in graph.region(graph.body()).inputs().to_vec() {
        let value = graph.value(input);
        // Inputs with a default are weights; what is no tensor has no extents.
        let Some(ty) = value.ty().tensor().filter(|_| value.tensor().is_none()) else { continue };
        let dims = extents(value.name(), ty, shapes.get(&**value.name()))?;
        let shape = Some(dims.into_iter().map(|extent| Dim::Known(extent as u64)).collect());
        let settled = TensorType { shape, ..ty.clone() };
        graph.set_type(input, settled);
    }
    match infer(graph).into_iter().find(|found| found.severity == Severity::Error) {
        None => Ok(()),
        Some(found) => Err(found),
    }
}

fn wrong(message: String) -> Diagnostic {
    Diagnostic::error("measure-shape", Loc::Unknown, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use spaceevo_ir::Elem;
    use spaceevo_ir::text::{self, NoBlobs};

    fn port(dims: &[Option<u64>]) -> Port {
        let dims: Vec<Dim> = dims.iter().map(|d| d.map_or(Dim::Unknown, Dim::Known)).collect();
        Port { name: "x".into(), ty: TensorType::new(Elem::U8, dims).into() }
    }

    #[test]
    fn an_open_batch_is_one_and_other_open_extents_must_be_said() {
        let image = [port(&[None, Some(3), None])];
        let error = drawn(&image, &Shapes::new()).unwrap_err();
        assert!(error.code == "measure-shape" && error.notes[0].contains("--shape x="), "{error}");
        let shapes = |dims: &[usize]| Shapes::from([("x".to_owned(), dims.to_vec())]);
        assert_eq!(drawn(&image, &shapes(&[2, 3, 5])).unwrap()[0].dims(), [2, 3, 5]);
        assert!(drawn(&image, &shapes(&[2, 4, 5])).is_err() && drawn(&image, &shapes(&[2, 3])).is_err());
        let mut graph = Graph::new("g");
        assert_eq!(known(&shapes(&[1]), &[&graph]).unwrap_err().code, "measure-shape");
        let body = graph.body();
        graph.add_input(body, "x", TensorType::of(Elem::F32, &[1]));
        assert_eq!(known(&shapes(&[1]), &[&Graph::new("other"), &graph]), Ok(()));
        let tensors = drawn(&[port(&[None, Some(40)])], &Shapes::new()).unwrap();
        assert_eq!(tensors[0].dims(), [1, 40]);
        let numbers = tensors[0].to_f64().unwrap();
        assert!(numbers.iter().any(|&n| n != numbers[0]), "{numbers:?}");
        assert_eq!(tensors, drawn(&[port(&[None, Some(40)])], &Shapes::new()).unwrap());
    }

    #[test]
    fn a_graph_is_as_large_as_its_inputs() {
        let source =
            "graph @main(%x: f32[n,3,h,w]) with {opset = 17} {\n  %y = onnx.Relu %x : f32[n,3,h,w]\n  return %y\n}\n";
        let read = || text::parse(source, "test", &NoBlobs).into_result().unwrap();
        let open = settle(&mut read(), &Shapes::new()).unwrap_err();
        assert!(open.message.contains("extent 2 of input 'x' is open"), "{}", open.message);
        let mut graph = read();
        settle(&mut graph, &[("x".to_owned(), vec![1, 3, 32, 100])].into()).unwrap();
        let made = graph.region(graph.body()).results()[0];
        assert_eq!(graph.value(made).ty().dims(), Some(vec![1, 3, 32, 100]));
        assert!(settle(&mut read(), &[("x".to_owned(), vec![1, 4, 32, 100])].into()).is_err());
    }
}
