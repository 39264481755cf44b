//! Search spaces: those that ship, and how any is read, bound and made a network.
//!
//! ```
//! use spaceevo::spaces;
//!
//! # fn main() -> Result<(), Vec<spaceevo::Diagnostic>> {
//! let space = spaces::load("onnxw")?;
//! let choice = space.page.hyperspace.parse_choice("onnxw-151122-023231").map_err(|d| vec![d])?;
//! assert_eq!(space.page.lines_of_choice(&choice).map_err(|d| vec![d])?.len(), 12);
//! # Ok(()) }
//! ```

mod block_prices;
mod kernel_lists;
mod price;
mod settle;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use spaceevo_ir::text::{BlobHash, BlobSource, NoBlobs, parse};
use spaceevo_ir::verify::{Form, verify};
use spaceevo_ir::{Diagnostic, Graph, Loc, Severity, shape};
use spaceevo_passes::unfold::{Weights, unfold};
use spaceevo_search::page::{Page, bind};
use spaceevo_search::{BlockChoice, Choice, Subnet};

use crate::file;

pub use block_prices::{Seen, blocks_of, blocks_of_least};
pub use kernel_lists::KernelLists;
pub use price::SubnetPrice;
pub use settle::settle;

/// The pages of `testdata/spaces`.
const SHIPPED: &[(&str, &str)] = &[
    ("cifar", include_str!("../../testdata/spaces/cifar.seir")),
    ("fbnet", include_str!("../../testdata/spaces/fbnet.seir")),
    ("mobile_original", include_str!("../../testdata/spaces/mobile_original.seir")),
    ("mobile_v1", include_str!("../../testdata/spaces/mobile_v1.seir")),
    ("mobile_v1_res", include_str!("../../testdata/spaces/mobile_v1_res.seir")),
    ("mobilenet_v2", include_str!("../../testdata/spaces/mobilenet_v2.seir")),
    ("mobilenet_v3", include_str!("../../testdata/spaces/mobilenet_v3.seir")),
    ("mobilew", include_str!("../../testdata/spaces/mobilew.seir")),
    ("nasbench_macro", include_str!("../../testdata/spaces/nasbench_macro.seir")),
    ("ofa_mobilenet_v3", include_str!("../../testdata/spaces/ofa_mobilenet_v3.seir")),
    ("onnx", include_str!("../../testdata/spaces/onnx.seir")),
    ("onnx_v1", include_str!("../../testdata/spaces/onnx_v1.seir")),
    ("onnxw", include_str!("../../testdata/spaces/onnxw.seir")),
    ("proxylessnas", include_str!("../../testdata/spaces/proxylessnas.seir")),
    ("resnet50", include_str!("../../testdata/spaces/resnet50.seir")),
];

/// Texts that spaces import.
const IMPORTED: &[(&str, &str)] = &[("blocks", include_str!("../../testdata/spaces/blocks.seir"))];

/// Largest text that is imported.
const MAX_IMPORT: u64 = 1 << 20;

/// A search space that was read.
#[derive(Clone, Debug)]
pub struct Space {
    /// The space as it is written.
    pub graph: Graph,
    /// Its stages, and which parameter says what of them.
    pub page: Page,
}

/// Names of the spaces that ship, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    SHIPPED.iter().map(|(name, _)| *name)
}

/// The first comment of a shipped space: what it is.
pub fn summary(name: &str) -> Option<&'static str> {
    let (_, text) = SHIPPED.iter().find(|(known, _)| *known == name)?;
    text.lines().next()?.strip_prefix("// ")
}

/// Knows what a text may refer to: constants, and texts to import (shipped ones, and those in the folder of the file).
pub struct Library<'a> {
    blobs: &'a dyn BlobSource,
    folder: Option<PathBuf>,
}

impl<'a> Library<'a> {
    /// With the constants that `blobs` knows, and texts beside `file`.
    pub fn beside(file: Option<&Path>, blobs: &'a dyn BlobSource) -> Self {
        Library { blobs, folder: file.and_then(Path::parent).map(Path::to_owned) }
    }
}

impl BlobSource for Library<'_> {
    fn blob(&self, hash: BlobHash) -> Option<Bytes> {
        self.blobs.blob(hash)
    }

    fn import(&self, name: &str) -> Option<String> {
        if let Some((_, text)) = IMPORTED.iter().find(|(known, _)| *known == name) {
            return Some((*text).to_owned());
        }
        // Nothing but a plain name: a space must not read its way through the disk.
        let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        let file = self.folder.as_ref().filter(|_| plain)?.join(format!("{name}.seir"));
        let small = std::fs::metadata(&file).is_ok_and(|meta| meta.is_file() && meta.len() <= MAX_IMPORT);
        if small { std::fs::read_to_string(file).ok() } else { None }
    }
}

/// Reads a space: a shipped one by name, or a `.seir` file. Behind a shipped name, `onnxw-151122-023231` binds blocks and windows.
///
/// # Errors
/// Those of reading a file, `text-*`, those of the verifier, and `space-shape` where it has no stages.
pub fn load(name: &str) -> Result<Space, Vec<Diagnostic>> {
    if let Some(space) = load_choice(name) {
        return space;
    }
    let graph = match SHIPPED.iter().find(|(known, _)| *known == name) {
        Some((_, text)) => {
            let graph = parse(text, name, &Library::beside(None, &NoBlobs)).into_result()?;
            let found = verify(&graph, Form::Space);
            if found.iter().any(|d| d.severity == Severity::Error) {
                return Err(found);
            }
            graph
        }
        None if name.ends_with(".seir") => file::load(name)?.graph,
        None => {
            let known: Vec<&str> = names().collect();
            let near = spaceevo_ir::nearest::nearest(name, known.iter().copied());
            let advice = near.map_or(format!("shipped: {}", known.join(", ")), |near| format!("did you mean '{near}'?"));
            let message = format!("unknown space '{name}': neither a shipped name nor a .seir file");
            return Err(vec![Diagnostic::error("space-unknown", Loc::Unknown, message).note(advice)]);
        }
    };
    let page = Page::read(&graph)?;
    Ok(Space { graph, page })
}

/// A shipped space whose blocks and windows the name says.
fn load_choice(name: &str) -> Option<Result<Space, Vec<Diagnostic>>> {
    let (hyperspace, _) = name.split_once('-').filter(|(hyperspace, _)| names().any(|known| known == *hyperspace))?;
    let chosen = || {
        let space = load(hyperspace)?;
        let choice = space.page.hyperspace.parse_choice(name).map_err(|found| vec![found])?;
        let graph = space.bound(&choice, None)?;
        Ok(Space { graph, ..space })
    };
    Some(chosen())
}

impl Space {
    /// The space with `bind` lines for a choice of blocks and windows, and for a subnet of it.
    ///
    /// # Errors
    /// `space-choice`, `space-subnet`: it does not have them.
    pub fn bound(&self, choice: &Choice, subnet: Option<&Subnet>) -> Result<Graph, Vec<Diagnostic>> {
        let mut graph = self.graph.clone();
        let lines = match subnet {
            Some(subnet) => self.page.lines_of_subnet(choice, subnet)?,
            None => self.page.lines_of_choice(choice).map_err(|found| vec![found])?,
        };
        bind(&mut graph.space, lines);
        Ok(graph)
    }

    /// The choice that a subnet belongs to: `given`, that of the `bind` lines, or the only one that has it. Windows are those that
    /// hold its widths.
    ///
    /// # Errors
    /// `space-choice`: none has it, or blocks of several types do.
    pub fn choice_of(&self, given: Option<&str>, subnet: &Subnet) -> Result<Choice, Vec<Diagnostic>> {
        let space = &self.page.hyperspace;
        if let Some(text) = given {
            return space.parse_choice(text).map_err(|found| vec![found]);
        }
        if let Some(choice) = self.page.choice(&self.graph.space) {
            return Ok(choice);
        }
        let refuse =
            |message: String, note: String| Err(vec![Diagnostic::error("space-choice", Loc::Unknown, message).note(note)]);
        let mut choice = Choice { blocks: Vec::new(), windows: Vec::new() };
        for (stage, blocks) in space.stages.iter().zip(subnet.stages().skip(space.stem.len())) {
            let fits = |block: &spaceevo_search::Block| {
                let expands = |b: &BlockChoice| b.expand.map_or(block.expands.is_empty(), |e| block.expands.contains(&e));
                blocks.iter().all(|b| block.kernels.contains(&b.kernel) && expands(b))
            };
            let holds = |start: &usize| blocks.iter().all(|b| stage.window(*start).contains(&b.width));
            let fitting: Vec<usize> = (0..stage.blocks.len()).filter(|&i| fits(&stage.blocks[i])).collect();
            let (&[block], Some(window)) = (&fitting[..], (0..stage.windows()).find(holds)) else {
                let names: Vec<&str> = fitting.iter().map(|&i| stage.blocks[i].name.as_str()).collect();
                let message = format!("{} of that subnet may be of any of these types: {}", stage.name, names.join(", "));
                let note = format!("say which space it is of, as in {}-151122-023231, or with --choice", space.name);
                return refuse(message, note);
            };
            choice.blocks.push(block as u8);
            choice.windows.push(window as u8);
        }
        Ok(choice)
    }

    /// The network of a subnet, with random weights by seed and batch normalizations that fit them.
    ///
    /// # Errors
    /// `space-choice`, `space-subnet`, and those of [`unfold`].
    pub fn network(&self, choice: &Choice, subnet: &Subnet, seed: u64) -> Result<Graph, Vec<Diagnostic>> {
        let mut graph = self.bound(choice, Some(subnet))?;
        concrete(&mut graph, Weights::Drawn(seed))?;
        settle(&mut graph, seed).map_err(|found| vec![found])?;
        Ok(graph)
    }

    /// The network of a subnet without numbers: weights are inputs. What it costs can be counted.
    ///
    /// # Errors
    /// As [`Space::network`].
    pub fn skeleton(&self, choice: &Choice, subnet: &Subnet) -> Result<Graph, Vec<Diagnostic>> {
        let mut graph = self.bound(choice, Some(subnet))?;
        concrete(&mut graph, Weights::Declared)?;
        Ok(graph)
    }
}

/// Writes out a space whose parameters are all bound.
fn concrete(graph: &mut Graph, weights: Weights) -> Result<(), Vec<Diagnostic>> {
    unfold(graph, weights)?;
    graph.space = Default::default();
    graph.touch();
    let found = shape::infer(graph);
    if found.iter().any(|d| d.severity == Severity::Error) {
        return Err(found);
    }
    let found = verify(graph, Form::Concrete);
    if found.is_empty() { Ok(()) } else { Err(found) }
}
