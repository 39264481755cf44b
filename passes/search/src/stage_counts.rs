//! MACs and parameters of the blocks of a space, each shape written out and counted once.
//!
//! Rows of published tables name thousands of blocks of a few hundred shapes. What a block costs is counted on the graph that the
//! page makes of it, not by formulas beside it.

use std::collections::HashMap;

use spaceevo_ir::space::{Expr, SpaceTable};
use spaceevo_ir::{Attr, Diagnostic, Elem, Graph, NewOp, OpName, SPACE, TensorType, Type, shape};
use spaceevo_passes::count::{Counts, count};
use spaceevo_passes::unfold::{Weights, unfold};

use crate::encoding::{BlockChoice, SubStage};

/// What decides what a block costs.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Shape {
    block: String,
    channels: u32,
    size: u32,
    stride: u32,
    choice: BlockChoice,
}

/// Counts blocks of one page.
pub struct StageCounts {
    blocks: SpaceTable,
    known: HashMap<Shape, Counts>,
}

impl StageCounts {
    /// For the blocks of a page.
    pub fn new(table: &SpaceTable) -> StageCounts {
        let blocks = SpaceTable { blocks: table.blocks.clone(), ..SpaceTable::default() };
        StageCounts { blocks, known: HashMap::new() }
    }

    /// How many different blocks were written out so far.
    pub fn shapes(&self) -> usize {
        self.known.len()
    }

    /// The blocks of a stage one after the other; `channels` and `size` are what comes into the first, which has the stride.
    ///
    /// # Errors
    /// Those of [`unfold`].
    pub fn stage(
        &mut self,
        block: &str,
        stage: &SubStage,
        (mut channels, mut size): (u32, u32),
        stride: u32,
    ) -> Result<Counts, Vec<Diagnostic>> {
        let mut total = Counts::default();
        for (index, &choice) in stage.0.iter().enumerate() {
            let stride = if index == 0 { stride } else { 1 };
            total = total.plus(self.block(block, choice, channels, size, stride)?);
            (channels, size) = (choice.width, size.div_ceil(stride.max(1)));
        }
        Ok(total)
    }

    /// One block.
    ///
    /// # Errors
    /// Those of [`unfold`].
    pub fn block(
        &mut self,
        block: &str,
        choice: BlockChoice,
        channels: u32,
        size: u32,
        stride: u32,
    ) -> Result<Counts, Vec<Diagnostic>> {
        let shape = Shape { block: block.to_owned(), channels, size, stride, choice };
        if let Some(&known) = self.known.get(&shape) {
            return Ok(known);
        }
        let counts = self.counted(&shape)?;
        self.known.insert(shape, counts);
        Ok(counts)
    }

    fn counted(&self, of: &Shape) -> Result<Counts, Vec<Diagnostic>> {
        let mut graph = Graph::new("block");
        graph.meta.opsets.insert("onnx".into(), 17);
        graph.space = self.blocks.clone();
        let body = graph.body();
        let extents = [1, of.channels as usize, of.size as usize, of.size as usize];
        let x = graph.add_input(body, "x", Type::Tensor(TensorType::of(Elem::F32, &extents)));
        let number = |n: u32| Attr::Int(n.into());
        // As an expression: a block that takes no expansion is then given none.
        let name = Attr::Expr(Expr::Name(of.block.as_str().into()));
        let mut call = NewOp::new(OpName::new(SPACE, "Call"))
            .operand(x)
            .attr("block", name)
            .attr("width", number(of.choice.width))
            .attr("kernel", number(of.choice.kernel))
            .attr("stride", number(of.stride))
            .result("y", Type::Unknown);
        if let Some(expand) = of.choice.expand {
            call = call.attr("expand", Attr::Expr(Expr::Float(expand.ratio())));
        }
        let op = graph.insert(spaceevo_ir::Place::End(body), call);
        let y = graph.op(op).result();
        graph.set_results(body, vec![y]);
        unfold(&mut graph, Weights::Declared)?;
        let found = shape::infer(&mut graph);
        if found.iter().any(|d| d.severity == spaceevo_ir::Severity::Error) {
            return Err(found);
        }
        count(&graph).map_err(|found| vec![found])
    }
}
