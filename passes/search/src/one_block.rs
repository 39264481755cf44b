//! A block of a page alone, as the graph of a network that consists of it.

use spaceevo_ir::space::{Expr, SpaceTable};
use spaceevo_ir::{Attr, Elem, Graph, NewOp, OpName, Place, SPACE, TensorType, Type};

use crate::recover::Key;

/// `x: f32[1, input, size, size]`, a call of the block, and its result, still to be written out.
pub fn one_block(page: &SpaceTable, key: &Key) -> Graph {
    let mut graph = Graph::new("block");
    graph.meta.opsets.insert("onnx".into(), 17);
    graph.space = SpaceTable { blocks: page.blocks.clone(), ..SpaceTable::default() };
    let body = graph.body();
    let x = graph.add_input(body, "x", picture(key.input, key.size));
    let number = |n: u32| Attr::Int(n.into());
    // As an expression: a block that takes no expansion is then given none.
    let name = Attr::Expr(Expr::Name(key.block.as_str().into()));
    let mut call = NewOp::new(OpName::new(SPACE, "Call"))
        .operand(x)
        .attr("block", name)
        .attr("width", number(key.output))
        .attr("kernel", number(key.kernel))
        .attr("stride", number(key.stride))
        .result("y", Type::Unknown);
    if let Some(expand) = key.expand {
        call = call.attr("expand", Attr::Expr(Expr::Float(expand.ratio())));
    }
    let op = graph.insert(Place::End(body), call);
    let y = graph.op(op).result();
    graph.set_results(body, vec![y]);
    graph
}

/// The type of a square map.
pub fn picture(channels: u32, size: u32) -> Type {
    Type::Tensor(TensorType::of(Elem::F32, &[1, channels as usize, size as usize, size as usize]))
}
