//! What a model is given while it is timed: numbers from a seed. Kernels that compare numbers are timed fairly only if no two
//! are alike; no kernel of interest cares what they are.

use std::collections::BTreeMap;

use spaceevo_ir::tensor::Rand;
use spaceevo_ir::{Diagnostic, Graph, Loc, Tensor};

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
    let example = || format!("say it with --shape {name}=1,3,224,224");
    let dims = match (shape, &ty.shape) {
        (Some(shape), None) => shape.clone(),
        (Some(shape), Some(declared)) => {
            let fits = |(dim, &given): (&spaceevo_ir::Dim, &usize)| dim.known().is_none_or(|known| known == given as u64);
            if shape.len() != declared.len() || !declared.iter().zip(shape).all(fits) {
                return Err(wrong(format!("input '{name}' cannot be of shape {shape:?}")));
            }
            shape.clone()
        }
        (None, None) => return Err(wrong(format!("the rank of input '{name}' is open")).note(example())),
        (None, Some(declared)) => {
            let extent = |(at, dim): (usize, &spaceevo_ir::Dim)| match dim.known() {
                Some(known) => Ok(known as usize),
                None if at == 0 => Ok(1),
                None => Err(wrong(format!("extent {at} of input '{name}' is open")).note(example())),
            };
            declared.iter().enumerate().map(extent).collect::<Result<Vec<_>, _>>()?
        }
    };
    // Wide integers are positions or sizes more often than numbers: 0 is one that every model can take.
    let elem = ty.storage();
    let within = (elem.int_range().is_some() && elem.bits() > 8).then_some((0.0, 1.0));
    Tensor::random(elem, dims, Rand { seed: at as u64 + 1, within })
        .ok_or_else(|| wrong(format!("nothing can be drawn for input '{name}' of {elem}, or it is too large")))
}

fn wrong(message: String) -> Diagnostic {
    Diagnostic::error("measure-shape", Loc::Unknown, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use spaceevo_ir::{Dim, Elem, TensorType};

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
}
