//! Moves on spaces and subnets: named, pure, and printed as a diff of one line that can be read back.
//!
//! ```text
//! swap-block stage2.block: V2Res -> FusedRes
//! shift-window stage4.window: 2 -> 3
//! ```

use std::fmt;

use spaceevo_ir::{Diagnostic, Loc};

use crate::hyperspace::{Choice, Hyperspace};
use crate::random::Random;

/// A move from a space to a neighbour: one stage chooses something else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Move {
    /// What kind of choice changes.
    pub kind: Kind,
    /// The stage.
    pub stage: usize,
    /// What it chose.
    pub from: u8,
    /// What it chooses now.
    pub to: u8,
}

/// Kinds of moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Another block type.
    SwapBlock,
    /// Another window of widths.
    ShiftWindow,
}

impl Kind {
    /// Name of the move.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::SwapBlock => "swap-block",
            Kind::ShiftWindow => "shift-window",
        }
    }

    const fn parameter(self) -> &'static str {
        match self {
            Kind::SwapBlock => "block",
            Kind::ShiftWindow => "window",
        }
    }
}

impl Move {
    /// Draws a move: a stage uniformly among those that have something else to choose, then one of its other choices.
    pub fn draw(kind: Kind, hyperspace: &Hyperspace, choice: &Choice, random: &mut Random) -> Option<Move> {
        let options = |s: usize| match kind {
            Kind::SwapBlock => hyperspace.stages[s].blocks.len(),
            Kind::ShiftWindow => hyperspace.stages[s].windows(),
        };
        let movable: Vec<usize> = (0..hyperspace.stages.len()).filter(|&s| options(s) > 1).collect();
        let stage = *movable.get(random.below(movable.len().max(1)))?;
        let from = choice_of(choice, kind)[stage];
        let to = random.other(options(stage), usize::from(from))? as u8;
        Some(Move { kind, stage, from, to })
    }

    /// The space after the move.
    pub fn apply(&self, choice: &Choice) -> Choice {
        let mut next = choice.clone();
        match self.kind {
            Kind::SwapBlock => next.blocks[self.stage] = self.to,
            Kind::ShiftWindow => next.windows[self.stage] = self.to,
        }
        next
    }

    /// The move as a diff.
    pub fn print(&self, hyperspace: &Hyperspace) -> String {
        let stage = &hyperspace.stages[self.stage];
        let value = |v: u8| match self.kind {
            Kind::SwapBlock => stage.blocks[usize::from(v)].name.clone(),
            Kind::ShiftWindow => v.to_string(),
        };
        let (name, parameter) = (self.kind.name(), self.kind.parameter());
        format!("{name} {}.{parameter}: {} -> {}", stage.name, value(self.from), value(self.to))
    }

    /// Reads a printed move, and checks that it can be made from that space.
    ///
    /// Errors: `space-move`.
    pub fn parse(text: &str, hyperspace: &Hyperspace, from: &Choice) -> Result<Move, Diagnostic> {
        let wrong = || {
            let what = format!("'{text}' is no move from {}", hyperspace.print_choice(from));
            Diagnostic::error("space-move", Loc::Unknown, what)
        };
        let (head, values) = text.split_once(": ").ok_or_else(wrong)?;
        let (before, after) = values.split_once(" -> ").ok_or_else(wrong)?;
        for kind in [Kind::SwapBlock, Kind::ShiftWindow] {
            for (s, stage) in hyperspace.stages.iter().enumerate() {
                if head != format!("{} {}.{}", kind.name(), stage.name, kind.parameter()) {
                    continue;
                }
                let value = |word: &str| match kind {
                    Kind::SwapBlock => stage.blocks.iter().position(|b| b.name == word),
                    Kind::ShiftWindow => word.parse().ok().filter(|&w: &usize| w < stage.windows()),
                };
                let (b, a) = (value(before).ok_or_else(wrong)? as u8, value(after).ok_or_else(wrong)? as u8);
                if choice_of(from, kind)[s] != b || a == b {
                    return Err(wrong());
                }
                return Ok(Move { kind, stage: s, from: b, to: a });
            }
        }
        Err(wrong())
    }
}

fn choice_of(choice: &Choice, kind: Kind) -> &[u8] {
    match kind {
        Kind::SwapBlock => &choice.blocks,
        Kind::ShiftWindow => &choice.windows,
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
