//! Hyperspaces as plain data: stages with the widths, windows, depths and blocks to choose from.
//!
//! Source of the model: SpaceEvo (ICCV 2023). A space keeps, per stage, one block type and one *window* of consecutive widths.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use spaceevo_ir::{Diagnostic, Loc};

/// What a digit of an encoding can tell apart: 0 to 9, then a to z.
pub const MOST_CHOICES: usize = 36;

/// A family of search spaces for one kind of device.
#[derive(Clone, PartialEq, Debug)]
pub struct Hyperspace {
    /// Name, as encodings begin with: `onnxw`.
    pub name: String,
    /// Picture sizes in pixels that a subnet may be run at, ascending.
    pub resolutions: Vec<u32>,
    /// What stands before the searched stages: one block type each, all widths in one window.
    pub stem: Vec<Stage>,
    /// The searched stages.
    pub stages: Vec<Stage>,
    /// What stands behind them: depth 1, one width each.
    pub head: Vec<Stage>,
}

/// A run of blocks of one type that works at one spatial size.
#[derive(Clone, PartialEq, Debug)]
pub struct Stage {
    /// Name: `stage1`.
    pub name: String,
    /// Output channels to choose from, ascending.
    pub widths: Vec<u32>,
    /// How many consecutive widths a space keeps.
    pub window: usize,
    /// Least and most blocks.
    pub depths: (u32, u32),
    /// Stride of the first block; the others have 1.
    pub stride: u32,
    /// Block types to choose from.
    pub blocks: Vec<Block>,
}

/// A block type and the values of its elastic dimensions.
#[derive(Clone, PartialEq, Debug)]
pub struct Block {
    /// Name: `V2Res`.
    pub name: String,
    /// Kernel sizes, ascending; 0 where it has no kernel.
    pub kernels: Vec<u32>,
    /// Expansion ratios, ascending; empty where it has none.
    pub expands: Vec<Expand>,
}

/// An expansion ratio, exact to a thousandth. `4` and `4.0` are equal, and each is printed as it was read.
#[derive(Clone, Copy, Debug)]
pub struct Expand {
    thousandths: u32,
    decimals: bool,
}

impl Expand {
    /// `ratio / 1000`, printed with decimals (`0.5`, `3.0`) or, if `decimals` is false and it has none, as an integer.
    pub const fn new(thousandths: u32, decimals: bool) -> Expand {
        Expand { thousandths, decimals: decimals || !thousandths.is_multiple_of(1000) }
    }

    /// An integer ratio.
    pub const fn integer(ratio: u32) -> Expand {
        Expand::new(ratio * 1000, false)
    }

    /// Reads `4`, `4.0`, `0.5`, `0.125`.
    pub fn parse(text: &str) -> Option<Expand> {
        let (whole, fraction) = text.split_once('.').map_or((text, None), |(w, f)| (w, Some(f)));
        let digits = |t: &str, most: usize| (1..=most).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_digit());
        // One spelling for each value: what is printed is what was read.
        if !digits(whole, 6) || (whole.len() > 1 && whole.starts_with('0')) {
            return None;
        }
        let whole: u32 = whole.parse().ok()?;
        let Some(fraction) = fraction else { return Some(Expand::new(whole * 1000, false)) };
        if !digits(fraction, 3) || (fraction.len() > 1 && fraction.ends_with('0')) {
            return None;
        }
        let scale = 10_u32.pow(3 - fraction.len() as u32);
        Some(Expand::new(whole * 1000 + fraction.parse::<u32>().ok()? * scale, true))
    }

    /// In thousandths.
    pub const fn thousandths(self) -> u32 {
        self.thousandths
    }

    /// As a number.
    pub fn ratio(self) -> f64 {
        f64::from(self.thousandths) / 1000.0
    }

    /// The same ratio, printed with decimals.
    pub const fn with_decimals(self) -> Expand {
        Expand { thousandths: self.thousandths, decimals: true }
    }
}

impl PartialEq for Expand {
    fn eq(&self, other: &Expand) -> bool {
        self.thousandths == other.thousandths
    }
}

impl Eq for Expand {}

impl Hash for Expand {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.thousandths.hash(state);
    }
}

impl PartialOrd for Expand {
    fn partial_cmp(&self, other: &Expand) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Expand {
    fn cmp(&self, other: &Expand) -> Ordering {
        self.thousandths.cmp(&other.thousandths)
    }
}

impl fmt::Display for Expand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.thousandths / 1000, self.thousandths % 1000);
        match (fraction, self.decimals) {
            (0, false) => write!(f, "{whole}"),
            (0, true) => write!(f, "{whole}.0"),
            _ => write!(f, "{whole}.{}", format!("{fraction:03}").trim_end_matches('0')),
        }
    }
}

/// One space of a hyperspace: a block type and a window of widths for every searched stage.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Choice {
    /// Index into [`Stage::blocks`], by stage.
    pub blocks: Vec<u8>,
    /// Index of the first width of the window in [`Stage::widths`], by stage.
    pub windows: Vec<u8>,
}

impl Stage {
    /// How many windows there are.
    pub fn windows(&self) -> usize {
        (self.widths.len() + 1).saturating_sub(self.window)
    }

    /// The widths of one window; empty where there is no such window.
    pub fn window(&self, start: usize) -> &[u32] {
        self.widths.get(start..start + self.window).unwrap_or_default()
    }

    /// Subnets of this stage with that block type: the sum over depths d of (kernels x expansions x widths)^d.
    fn subnets(&self, block: &Block) -> f64 {
        let options = block.kernels.len() * block.expands.len().max(1) * self.window;
        (self.depths.0..=self.depths.1).map(|d| (options as f64).powi(d as i32)).sum()
    }

    fn complaints(&self, role: Role) -> Vec<String> {
        let name = &self.name;
        let ascending = |list: &[u32]| list.windows(2).all(|pair| pair[0] < pair[1]);
        let mut found = Vec::new();
        let mut check = |holds: bool, what: String| {
            if !holds {
                found.push(what);
            }
        };
        check(
            !self.widths.is_empty() && self.widths[0] > 0 && ascending(&self.widths),
            format!("the widths of {name} must be positive and ascending"),
        );
        check(
            (1..=self.widths.len()).contains(&self.window),
            format!("{name} keeps {} widths of {}", self.window, self.widths.len()),
        );
        check(self.windows() <= MOST_CHOICES, format!("{name} has more than {MOST_CHOICES} windows"));
        check(
            1 <= self.depths.0 && self.depths.0 <= self.depths.1 && self.depths.1 <= 64,
            format!("{name} cannot have {} to {} blocks", self.depths.0, self.depths.1),
        );
        check((1..=8).contains(&self.stride), format!("{name} has stride {}", self.stride));
        let blocks = self.blocks.len();
        check((1..=MOST_CHOICES).contains(&blocks), format!("{name} has {blocks} block types, not 1 to {MOST_CHOICES}"));
        check(role == Role::Searched || blocks == 1, format!("{name} is not searched and must have one block type"));
        check(role != Role::Head || self.widths.len() == 1, format!("{name} is in the head and must have one width"));
        for block in &self.blocks {
            check(!block.name.is_empty(), format!("a block of {name} has no name"));
            let kernels = &block.kernels;
            check(
                !kernels.is_empty() && ascending(kernels),
                format!("the kernels of {name} {} must be ascending", block.name),
            );
            let ratios: Vec<u32> = block.expands.iter().map(|e| e.thousandths).collect();
            check(
                ratios.first().is_none_or(|&r| r > 0) && ascending(&ratios),
                format!("the expansions of {name} {} must be positive and ascending", block.name),
            );
        }
        found
    }
}

/// Where a stage stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Stem,
    Searched,
    Head,
}

impl Hyperspace {
    /// Checks that every choice means something.
    ///
    /// Errors: `space-shape`, one for each thing that is wrong.
    pub fn validate(&self) -> Result<(), Vec<Diagnostic>> {
        self.validate_at(&|_| Loc::Unknown)
    }

    /// The same; `at` says where the stage of a name was read.
    pub(crate) fn validate_at(&self, at: &dyn Fn(&str) -> Loc) -> Result<(), Vec<Diagnostic>> {
        let mut found: Vec<(&str, String)> = Vec::new();
        let mut whole = |what: &str| found.push(("", what.to_owned()));
        if self.name.is_empty() || self.name.contains(|c: char| c == '-' || c.is_whitespace() || c.is_control()) {
            whole("the name must not be empty nor hold dashes or blanks, as encodings begin with it");
        }
        if self.resolutions.is_empty() || self.resolutions[0] == 0 || self.resolutions.windows(2).any(|p| p[0] >= p[1]) {
            whole("the resolutions must be positive and ascending");
        }
        if self.stages.is_empty() {
            whole("there is no stage to search");
        }
        let roles = [(&self.stem, Role::Stem), (&self.stages, Role::Searched), (&self.head, Role::Head)];
        for (stage, role) in roles.iter().flat_map(|(stages, role)| stages.iter().map(move |s| (s, *role))) {
            found.extend(stage.complaints(role).into_iter().map(|what| (stage.name.as_str(), what)));
        }
        let mut names: Vec<&str> = roles.iter().flat_map(|(stages, _)| stages.iter().map(|s| s.name.as_str())).collect();
        names.sort_unstable();
        found.extend(names.windows(2).filter(|p| p[0] == p[1]).map(|p| (p[0], format!("two stages are called {}", p[0]))));
        if found.is_empty() {
            return Ok(());
        }
        let located = |(stage, what): (&str, String)| {
            Diagnostic::error("space-shape", at(stage), format!("hyperspace {}: {what}", self.name))
        };
        Err(found.into_iter().map(located).collect())
    }

    /// How many spaces there are: the product over stages of block types and windows.
    pub fn spaces(&self) -> u128 {
        self.stages.iter().map(|s| s.blocks.len() as u128 * s.windows() as u128).product()
    }

    /// How many subnets a space has at one resolution; a rounded number, as there are up to 1e48.
    pub fn subnets(&self, choice: &Choice) -> f64 {
        let stem: f64 = self.stem.iter().map(|s| s.subnets(&s.blocks[0])).product();
        let searched = self.stages.iter().zip(&choice.blocks);
        stem * searched.map(|(s, &b)| s.subnets(&s.blocks[usize::from(b)])).product::<f64>()
    }

    /// Height and width of what enters a searched stage at that resolution. Strided blocks round up.
    pub fn input_size(&self, stage: usize, resolution: u32) -> u32 {
        let before = self.stem.iter().chain(&self.stages[..stage]);
        before.fold(resolution, |size, s| size.div_ceil(s.stride))
    }

    /// Stages with depths, those of the stem first, in the order of [`crate::Subnet::depths`].
    pub fn deep_stages(&self) -> impl Iterator<Item = &Stage> {
        self.stem.iter().chain(&self.stages)
    }

    /// The widths that what enters a searched stage may have: all of the stage before, not only those of its window. Empty for
    /// the first stage of a hyperspace without stem.
    pub fn input_widths(&self, stage: usize) -> &[u32] {
        let before = if stage == 0 { self.stem.last() } else { self.stages.get(stage - 1) };
        before.map_or(&[], |s| &s.widths)
    }

    /// Checks that a choice has every stage and is in range.
    ///
    /// Errors: `space-choice`.
    pub fn check(&self, choice: &Choice) -> Result<(), Diagnostic> {
        let wrong = |what: String| Err(Diagnostic::error("space-choice", Loc::Unknown, what));
        if choice.blocks.len() != self.stages.len() || choice.windows.len() != self.stages.len() {
            return wrong(format!("a space of {} chooses for {} stages", self.name, self.stages.len()));
        }
        for (i, stage) in self.stages.iter().enumerate() {
            let (block, window) = (usize::from(choice.blocks[i]), usize::from(choice.windows[i]));
            if block >= stage.blocks.len() {
                return wrong(format!("{} has {} block types, there is no {block}", stage.name, stage.blocks.len()));
            }
            if window >= stage.windows() {
                return wrong(format!("{} has {} windows, there is no {window}", stage.name, stage.windows()));
            }
        }
        Ok(())
    }

    /// The number of a space in the order of counting: the last stage's window changes fastest, then its block type.
    pub fn index_of(&self, choice: &Choice) -> u128 {
        let digits = self.stages.iter().zip(choice.blocks.iter().zip(&choice.windows));
        digits.fold(0, |index, (s, (&b, &w))| {
            (index * s.blocks.len() as u128 + u128::from(b)) * s.windows() as u128 + u128::from(w)
        })
    }

    /// The space of that number; the inverse of [`Hyperspace::index_of`].
    pub fn choice_at(&self, mut index: u128) -> Choice {
        let mut choice = Choice { blocks: vec![0; self.stages.len()], windows: vec![0; self.stages.len()] };
        for (i, stage) in self.stages.iter().enumerate().rev() {
            let (windows, blocks) = (stage.windows() as u128, stage.blocks.len() as u128);
            choice.windows[i] = (index % windows) as u8;
            choice.blocks[i] = (index / windows % blocks) as u8;
            index /= windows * blocks;
        }
        choice
    }

    /// The block types of a space in words: `V2Res FusedRes …`, or `all V2Res` where every stage has the same.
    pub fn block_names(&self, choice: &Choice) -> String {
        let stages = self.stages.iter().zip(&choice.blocks);
        let names: Vec<&str> = stages.map(|(s, &b)| s.blocks[usize::from(b)].name.as_str()).collect();
        if names.windows(2).all(|p| p[0] == p[1]) { format!("all {}", names[0]) } else { names.join(" ") }
    }

    /// The space with the same block type and the same window index in every stage, the latter clipped to what there is.
    pub fn homogeneous(&self, block: usize, window: usize) -> Choice {
        let clipped = |index: usize, count: usize| index.min(count.saturating_sub(1)) as u8;
        Choice {
            blocks: self.stages.iter().map(|s| clipped(block, s.blocks.len())).collect(),
            windows: self.stages.iter().map(|s| clipped(window, s.windows())).collect(),
        }
    }
}
