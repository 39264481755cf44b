//! The published texts for spaces, subnets and the blocks of one stage, read and written byte for byte.
//!
//! ```text
//! space      onnxw-151122-023231              a digit per stage: block type, then window; beyond 9 come a to z
//! subnet     d1#1#2_k3#3#3#5_w16#16#32#48_e0#0.5#4.0#6.0_r160      depths; kernels, widths, expansions by block; resolution
//! sub-stage  3#32#4_5#48#6                    kernel#width#expansion by block; `None` where there is no expansion
//! ```

use std::fmt;
use std::ops::Range;

use spaceevo_ir::{Diagnostic, Loc};

use crate::hyperspace::{Choice, Expand, Hyperspace, Stage};

/// Blocks that a text may have at most.
const MOST_BLOCKS: usize = 4096;

/// The elastic dimensions of one block, chosen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct BlockChoice {
    /// Kernel size.
    pub kernel: u32,
    /// Output channels.
    pub width: u32,
    /// Expansion ratio, where the block has one.
    pub expand: Option<Expand>,
}

/// One network of a space.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Subnet {
    /// Blocks by stage: those of the stem, then the searched ones.
    pub depths: Vec<u32>,
    /// All blocks in order.
    pub blocks: Vec<BlockChoice>,
    /// Height and width of the picture in pixels.
    pub resolution: u32,
}

/// The blocks of one stage, as rows of published tables name them.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SubStage(pub Vec<BlockChoice>);

/// A complaint about an encoding, at a byte of it.
fn wrong(text: &str, at: usize, what: impl Into<String>) -> Diagnostic {
    let column = text.get(..at).map_or(at, |head| head.chars().count()) as u32 + 1;
    let shown: String = text.chars().take(80).collect();
    Diagnostic::error("space-encoding", Loc::Text { file: "encoding".into(), line: 1, column }, what)
        .note(format!("in '{shown}'"))
}

/// The parts between separators, each with the byte where it begins.
fn parts(text: &str, range: Range<usize>, separator: char) -> impl Iterator<Item = (usize, &str)> {
    text[range.clone()].split(separator).scan(range.start, |at, part| {
        let here = *at;
        *at += part.len() + 1;
        Some((here, part))
    })
}

/// A positive number without sign, blanks or leading zeros, so that printing gives back what was read.
fn number(text: &str, at: usize, part: &str) -> Result<u32, Diagnostic> {
    let plain = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) && (part == "0" || !part.starts_with('0'));
    let value = if plain { part.parse().ok() } else { None };
    value.ok_or_else(|| wrong(text, at, format!("'{part}' is not a number")))
}

impl Subnet {
    /// Reads `d.._k.._w.._e.._r..`.
    ///
    /// Errors: `space-encoding`, at the byte where it goes wrong.
    pub fn parse(text: &str) -> Result<Subnet, Diagnostic> {
        let sections: Vec<(usize, &str)> = parts(text, 0..text.len(), '_').take(6).collect();
        if sections.len() != 5 {
            let what = format!("a subnet has five parts, d.._k.._w.._e.._r.., not {}", sections.len());
            return Err(wrong(text, 0, what));
        }
        for ((at, section), letter) in sections.iter().zip("dkwer".chars()) {
            if !section.starts_with(letter) {
                return Err(wrong(text, *at, format!("this part must begin with '{letter}'")));
            }
        }
        let list = |part: usize| parts(text, sections[part].0 + 1..sections[part].0 + sections[part].1.len(), '#');
        let numbers =
            |part: usize| -> Result<Vec<u32>, Diagnostic> { list(part).map(|(at, item)| number(text, at, item)).collect() };
        let depths = numbers(0)?;
        let count = depths.iter().try_fold(0_u32, |sum, &d| sum.checked_add(d)).map_or(usize::MAX, |sum| sum as usize);
        if count > MOST_BLOCKS {
            return Err(wrong(text, 0, format!("the depths name more than {MOST_BLOCKS} blocks")));
        }
        let (kernels, widths) = (numbers(1)?, numbers(2)?);
        let expands: Vec<Option<Expand>> = list(3)
            .map(|(at, item)| match item {
                "0" => Ok(None),
                _ => Expand::parse(item).map(Some).ok_or_else(|| wrong(text, at, format!("'{item}' is not a ratio"))),
            })
            .collect::<Result<_, _>>()?;
        for (part, have) in [(1, kernels.len()), (2, widths.len()), (3, expands.len())] {
            if have != count {
                let what = format!("the depths name {count} blocks, and this part has {have}");
                return Err(wrong(text, sections[part].0, what));
            }
        }
        let resolution = number(text, sections[4].0 + 1, &sections[4].1[1..])?;
        let block = |((&kernel, &width), &expand)| BlockChoice { kernel, width, expand };
        let blocks = kernels.iter().zip(&widths).zip(&expands).map(block).collect();
        Ok(Subnet { depths, blocks, resolution })
    }

    /// The blocks of each stage, those of the stem first.
    pub fn stages(&self) -> impl Iterator<Item = &[BlockChoice]> {
        self.depths.iter().scan(0, |from, &depth| {
            let range = *from..*from + depth as usize;
            *from = range.end;
            self.blocks.get(range)
        })
    }
}

/// `#` between the items.
fn joined<T: fmt::Display>(f: &mut fmt::Formatter<'_>, letter: char, items: impl Iterator<Item = T>) -> fmt::Result {
    let mut separator = letter;
    for item in items {
        write!(f, "{separator}{item}")?;
        separator = '#';
    }
    Ok(())
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expand = |b: &BlockChoice| b.expand.map_or("0".to_owned(), |e| e.with_decimals().to_string());
        joined(f, 'd', self.depths.iter())?;
        f.write_str("_")?;
        joined(f, 'k', self.blocks.iter().map(|b| b.kernel))?;
        f.write_str("_")?;
        joined(f, 'w', self.blocks.iter().map(|b| b.width))?;
        f.write_str("_")?;
        joined(f, 'e', self.blocks.iter().map(expand))?;
        write!(f, "_r{}", self.resolution)
    }
}

impl SubStage {
    /// Reads `kernel#width#expansion_...`.
    ///
    /// Errors: `space-encoding`, at the byte where it goes wrong.
    pub fn parse(text: &str) -> Result<SubStage, Diagnostic> {
        if text.bytes().filter(|&b| b == b'_').count() >= MOST_BLOCKS {
            return Err(wrong(text, 0, format!("more than {MOST_BLOCKS} blocks")));
        }
        let block = |(at, item): (usize, &str)| {
            let fields: Vec<(usize, &str)> = parts(text, at..at + item.len(), '#').take(4).collect();
            let [kernel, width, expand] = fields[..] else {
                return Err(wrong(text, at, format!("a block is kernel#width#expansion, not '{item}'")));
            };
            let expand = match expand.1 {
                "None" => None,
                ratio => Some(Expand::parse(ratio).ok_or_else(|| wrong(text, expand.0, format!("'{ratio}' is no ratio")))?),
            };
            Ok(BlockChoice { kernel: number(text, kernel.0, kernel.1)?, width: number(text, width.0, width.1)?, expand })
        };
        Ok(SubStage(parts(text, 0..text.len(), '_').map(block).collect::<Result<_, _>>()?))
    }
}

impl fmt::Display for SubStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, block) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "_" };
            write!(f, "{separator}{}#{}#", block.kernel, block.width)?;
            match block.expand {
                Some(expand) => write!(f, "{expand}")?,
                None => f.write_str("None")?,
            }
        }
        Ok(())
    }
}

/// `7` for 7, `c` for 12.
fn digit(value: u8) -> char {
    char::from_digit(u32::from(value), 36).unwrap_or('?')
}

impl Hyperspace {
    /// Reads a space: `onnxw-151122-023231`, the same without the name, with `_` between the digits (as search logs have it),
    /// or without the windows, which are then all 0.
    ///
    /// Errors: `space-encoding`, at the byte where it goes wrong.
    pub fn parse_choice(&self, text: &str) -> Result<Choice, Diagnostic> {
        let named = text.strip_prefix(self.name.as_str()).and_then(|rest| rest.strip_prefix('-'));
        let start = text.len() - named.unwrap_or(text).len();
        let separator = if text[start..].contains('-') { '-' } else { '_' };
        let groups: Vec<(usize, &str)> = parts(text, start..text.len(), separator).take(3).collect();
        if groups.len() > 2 {
            let what = format!("a space of {} is written {0}-BLOCKS-WINDOWS, a digit for each stage", self.name);
            return Err(wrong(text, 0, what));
        }
        let digits = |group: &(usize, &str), count: fn(&Stage) -> usize, what: &str| -> Result<Vec<u8>, Diagnostic> {
            let (at, digits) = *group;
            if digits.chars().count() != self.stages.len() {
                let have = digits.chars().count();
                return Err(wrong(text, at, format!("{} stages need as many digits, not {have}", self.stages.len())));
            }
            let value = |((offset, c), stage): ((usize, char), &Stage)| {
                let value = if c.is_ascii_uppercase() { None } else { c.to_digit(36) };
                match value {
                    Some(value) if (value as usize) < count(stage) => Ok(value as u8),
                    _ => Err(wrong(
                        text,
                        at + offset,
                        format!("{} has {} {what}, there is no '{c}'", stage.name, count(stage)),
                    )),
                }
            };
            digits.char_indices().zip(&self.stages).map(value).collect()
        };
        let blocks = digits(&groups[0], |s| s.blocks.len(), "block types")?;
        let windows = groups.get(1).map(|group| digits(group, Stage::windows, "windows")).transpose()?;
        Ok(Choice { windows: windows.unwrap_or_else(|| vec![0; blocks.len()]), blocks })
    }

    /// Writes a space: `onnxw-151122-023231`.
    pub fn print_choice(&self, choice: &Choice) -> String {
        format!("{}-{choice}", self.name)
    }

    /// Checks that a subnet belongs to a space.
    ///
    /// Errors: `space-subnet`, one for each value that is not to be had.
    pub fn check_subnet(&self, choice: &Choice, subnet: &Subnet) -> Result<(), Vec<Diagnostic>> {
        let located = |what: String| Diagnostic::error("space-subnet", Loc::Unknown, what);
        self.check(choice).map_err(|d| vec![d])?;
        if subnet.depths.len() != self.stem.len() + self.stages.len() {
            let what = format!(
                "{} has {} stages with depths, and the subnet {}",
                self.name,
                self.stem.len() + self.stages.len(),
                subnet.depths.len()
            );
            return Err(vec![located(what)]);
        }
        let mut found = Vec::new();
        if !self.resolutions.contains(&subnet.resolution) {
            found.push(format!("resolution {} is none of {:?}", subnet.resolution, self.resolutions));
        }
        let searched = self.stages.iter().zip(choice.blocks.iter().zip(&choice.windows));
        let searched = searched.map(|(s, (&b, &w))| (s, &s.blocks[usize::from(b)], s.window(usize::from(w))));
        let stem = self.stem.iter().map(|s| (s, &s.blocks[0], s.widths.as_slice()));
        for ((stage, kind, widths), blocks) in stem.chain(searched).zip(subnet.stages()) {
            let depth = blocks.len() as u32;
            if !(stage.depths.0..=stage.depths.1).contains(&depth) {
                found.push(format!("{} has {depth} blocks, not {} to {}", stage.name, stage.depths.0, stage.depths.1));
            }
            for (i, block) in blocks.iter().enumerate() {
                let at = format!("block {} of {} ({})", i + 1, stage.name, kind.name);
                if !kind.kernels.contains(&block.kernel) {
                    found.push(format!("{at}: kernel {} is none of {:?}", block.kernel, kind.kernels));
                }
                if !widths.contains(&block.width) {
                    found.push(format!("{at}: width {} is none of {widths:?}", block.width));
                }
                let fits = match block.expand {
                    Some(expand) => kind.expands.contains(&expand),
                    None => kind.expands.is_empty(),
                };
                if !fits {
                    let list: Vec<String> = kind.expands.iter().map(Expand::to_string).collect();
                    let given = block.expand.map_or("no expansion".to_owned(), |e| format!("expansion {e}"));
                    found.push(format!("{at}: {given} is none of [{}]", list.join(", ")));
                }
            }
        }
        if found.is_empty() { Ok(()) } else { Err(found.into_iter().map(located).collect()) }
    }
}

impl fmt::Display for Choice {
    /// `151122-023231`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.blocks.iter().try_for_each(|&b| write!(f, "{}", digit(b)))?;
        f.write_str("-")?;
        self.windows.iter().try_for_each(|&w| write!(f, "{}", digit(w)))
    }
}
