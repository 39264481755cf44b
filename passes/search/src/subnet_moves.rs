//! Moves on subnets: what tells a child from its parent, as a list of named diffs that can be read back and made again.
//!
//! ```text
//! resolution: 160 -> 192
//! depth stage2.depth: 2 -> 3 with 3#48#4
//! kernel stage2.kernel[1]: 3 -> 5
//! width stage4.width[0]: 112 -> 128
//! expand stage4.expand[0]: None -> 4
//! ```
//!
//! Each is one `bind` line of the space that gets another value; blocks are counted from 0, as `$i` counts them there.

use spaceevo_ir::{Diagnostic, Loc};

use crate::encoding::{BlockChoice, SubStage, Subnet};
use crate::hyperspace::{Expand, Hyperspace};

/// One change of a subnet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Edit {
    /// Another resolution.
    Resolution {
        /// Before.
        from: u32,
        /// After.
        to: u32,
    },
    /// More or fewer blocks in a stage.
    Depth {
        /// The stage, those of the stem counted.
        stage: usize,
        /// Before.
        from: u32,
        /// The blocks that are added at the end; none where some are taken away.
        added: Vec<BlockChoice>,
        /// After.
        to: u32,
    },
    /// A block with another kernel, width or expansion.
    Block {
        /// The stage, those of the stem counted.
        stage: usize,
        /// The block in it.
        block: usize,
        /// What changes.
        what: Change,
    },
}

/// What changes in a block: before and after.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// The kernel size.
    Kernel(u32, u32),
    /// The output channels.
    Width(u32, u32),
    /// The expansion ratio.
    Expand(Option<Expand>, Option<Expand>),
}

/// The list of changes that leads from one subnet to another of the same space.
pub fn edits(from: &Subnet, to: &Subnet) -> Vec<Edit> {
    let mut found = Vec::new();
    if from.resolution != to.resolution {
        found.push(Edit::Resolution { from: from.resolution, to: to.resolution });
    }
    for (stage, (a, b)) in from.stages().zip(to.stages()).enumerate() {
        if a.len() != b.len() {
            let added = b.get(a.len()..).unwrap_or_default().to_vec();
            found.push(Edit::Depth { stage, from: a.len() as u32, added, to: b.len() as u32 });
        }
        for (block, (a, b)) in a.iter().zip(b).enumerate() {
            let changes = [
                (a.kernel != b.kernel).then_some(Change::Kernel(a.kernel, b.kernel)),
                (a.width != b.width).then_some(Change::Width(a.width, b.width)),
                (a.expand != b.expand).then_some(Change::Expand(a.expand, b.expand)),
            ];
            found.extend(changes.into_iter().flatten().map(|what| Edit::Block { stage, block, what }));
        }
    }
    found
}

impl Edit {
    /// The subnet after the change; `None` where there is nothing to change, or something else than was there before.
    pub fn apply(&self, subnet: &Subnet) -> Option<Subnet> {
        let mut next = subnet.clone();
        let start = |stage: usize| subnet.depths.get(..stage).map(|d| d.iter().sum::<u32>() as usize);
        match self {
            Edit::Resolution { from, to } => {
                (next.resolution == *from).then_some(())?;
                next.resolution = *to;
            }
            Edit::Depth { stage, from, added, to } => {
                let depth = next.depths.get_mut(*stage).filter(|d| *d == from)?;
                *depth = *to;
                let (kept, end) = (start(*stage)? + *from.min(to) as usize, start(*stage)? + *from as usize);
                (added.len() as u32 == to.saturating_sub(*from)).then_some(())?;
                next.blocks.splice(kept..end, added.iter().copied());
            }
            Edit::Block { stage, block, what } => {
                (*block < *next.depths.get(*stage)? as usize).then_some(())?;
                let choice = next.blocks.get_mut(start(*stage)? + block)?;
                let (before, after) = match *what {
                    Change::Kernel(a, b) => (BlockChoice { kernel: a, ..*choice }, BlockChoice { kernel: b, ..*choice }),
                    Change::Width(a, b) => (BlockChoice { width: a, ..*choice }, BlockChoice { width: b, ..*choice }),
                    Change::Expand(a, b) => (BlockChoice { expand: a, ..*choice }, BlockChoice { expand: b, ..*choice }),
                };
                (*choice == before).then_some(())?;
                *choice = after;
            }
        }
        Some(next)
    }

    /// Whether a subnet has what this change leads to: a crossover takes it from there.
    pub fn holds(&self, subnet: &Subnet) -> bool {
        match self {
            Edit::Resolution { to, .. } => subnet.resolution == *to,
            Edit::Depth { stage, from, added, to } => subnet.stages().nth(*stage).is_some_and(|blocks| {
                blocks.len() == *to as usize && (added.is_empty() || blocks.get(*from as usize..) == Some(&added[..]))
            }),
            Edit::Block { stage, block, what } => {
                let there = subnet.stages().nth(*stage).and_then(|blocks| blocks.get(*block));
                there.is_some_and(|b| match *what {
                    Change::Kernel(_, to) => b.kernel == to,
                    Change::Width(_, to) => b.width == to,
                    Change::Expand(_, to) => b.expand == to,
                })
            }
        }
    }

    /// The change as a diff.
    pub fn print(&self, hyperspace: &Hyperspace) -> String {
        let name = |stage: usize| hyperspace.deep_stages().nth(stage).map_or("?", |s| s.name.as_str());
        match self {
            Edit::Resolution { from, to } => format!("resolution: {from} -> {to}"),
            Edit::Depth { stage, from, added, to } => {
                let with = if added.is_empty() { String::new() } else { format!(" with {}", SubStage(added.clone())) };
                format!("depth {}.depth: {from} -> {to}{with}", name(*stage))
            }
            Edit::Block { stage, block, what } => {
                let ratio = |e: Option<Expand>| e.map_or("None".to_owned(), |e| e.to_string());
                let (word, from, to) = match *what {
                    Change::Kernel(a, b) => ("kernel", a.to_string(), b.to_string()),
                    Change::Width(a, b) => ("width", a.to_string(), b.to_string()),
                    Change::Expand(a, b) => ("expand", ratio(a), ratio(b)),
                };
                format!("{word} {}.{word}[{block}]: {from} -> {to}", name(*stage))
            }
        }
    }

    /// Reads a printed change.
    ///
    /// Errors: `space-move`.
    pub fn parse(text: &str, hyperspace: &Hyperspace) -> Result<Edit, Diagnostic> {
        let wrong = || Diagnostic::error("space-move", Loc::Unknown, format!("'{text}' is no change of a subnet"));
        Edit::parsed(text, hyperspace).ok_or_else(wrong)
    }

    fn parsed(text: &str, hyperspace: &Hyperspace) -> Option<Edit> {
        let (head, values) = text.split_once(": ")?;
        let (from, to) = values.split_once(" -> ")?;
        let number = |text: &str| text.parse::<u32>().ok();
        let Some((word, place)) = head.split_once(' ') else {
            return (head == "resolution").then_some(Edit::Resolution { from: number(from)?, to: number(to)? });
        };
        let (name, what) = place.split_once('.')?;
        let stage = hyperspace.deep_stages().position(|s| s.name == name)?;
        let rest = what.strip_prefix(word)?;
        if word == "depth" {
            let (to, added) = match to.split_once(" with ") {
                Some((to, blocks)) => (to, SubStage::parse(blocks).ok()?.0),
                None => (to, Vec::new()),
            };
            return rest.is_empty().then_some(Edit::Depth { stage, from: number(from)?, added, to: number(to)? });
        }
        let block = rest.strip_prefix('[')?.strip_suffix(']')?.parse().ok()?;
        let ratio = |text: &str| if text == "None" { Some(None) } else { Expand::parse(text).map(Some) };
        let what = match word {
            "kernel" => Change::Kernel(number(from)?, number(to)?),
            "width" => Change::Width(number(from)?, number(to)?),
            "expand" => Change::Expand(ratio(from)?, ratio(to)?),
            _ => return None,
        };
        Some(Edit::Block { stage, block, what })
    }
}
