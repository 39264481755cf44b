//! What several verbs do with a space that the command line names.

use spaceevo::ir::{Diagnostic, Graph};
use spaceevo::passes::count::count;
use spaceevo::passes::unfold::{Weights, unfold};
use spaceevo::search::{Choice, Subnet};
use spaceevo::spaces::Space;

use super::super::Failure;
use super::arguments::find_space;

/// A subnet, the space that it is of, and the hyperspace of that.
pub(super) struct Named {
    pub(super) space: Space,
    pub(super) choice: Choice,
    pub(super) subnet: Subnet,
}

impl Named {
    /// By name, digits and encoding.
    pub(super) fn find(space: &str, choice: Option<&str>, subnet: &str) -> Result<Named, Failure> {
        let space = find_space(space)?;
        let subnet = Subnet::parse(subnet)?;
        let choice = space.choice_of(choice, &subnet)?;
        space.page.hyperspace.check_subnet(&choice, &subnet)?;
        Ok(Named { space, choice, subnet })
    }

    /// Multiply-accumulates, parameters, and parameters with those of quantizers.
    pub(super) fn cost(&self) -> Result<(u64, u64, u64), Vec<Diagnostic>> {
        let skeleton = self.space.skeleton(&self.choice, &self.subnet)?;
        let counts = count(&skeleton).map_err(|found| vec![found])?;
        Ok((counts.macs, counts.params, counts.params_with_quantizers()))
    }

    /// A space with its blocks written out.
    pub(super) fn unfolded(space: &Space) -> Result<Graph, Failure> {
        let mut graph = space.graph.clone();
        unfold(&mut graph, Weights::Drawn(0))?;
        Ok(graph)
    }
}
