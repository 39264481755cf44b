//! Element types by their short names, and sets of them.

use std::fmt;

/// Short names of the element types, in the order of their bits in an [`ElementSet`].
pub const ELEMENTS: [&str; 28] = [
    "f32",
    "f64",
    "f16",
    "bf16",
    "i8",
    "u8",
    "i16",
    "u16",
    "i32",
    "u32",
    "i64",
    "u64",
    "bool",
    "str",
    "c64",
    "c128",
    "f8e4m3fn",
    "f8e4m3fnuz",
    "f8e5m2",
    "f8e5m2fnuz",
    "f8e8m0",
    "f4e2m1",
    "i4",
    "u4",
    "i2",
    "u2",
    "f6e2m3",
    "f6e3m2",
];

/// A set of element types: bit `i` stands for [`ELEMENTS`]`[i]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ElementSet(u32);

impl ElementSet {
    /// Whether the element type with this short name is in the set.
    pub fn allows(self, short: &str) -> bool {
        bit(short).is_some_and(|bit| self.0 & bit != 0)
    }

    /// Whether nothing is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many element types are in the set.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The short names in the set, in the order of [`ELEMENTS`].
    pub fn iter(self) -> impl Iterator<Item = &'static str> {
        (0..).zip(ELEMENTS).filter(move |(rank, _)| self.0 & (1 << rank) != 0).map(|(_, name)| name)
    }

    /// Adds an element type; `false` if no element type has this name.
    pub(super) fn insert(&mut self, short: &str) -> bool {
        let bit = bit(short);
        self.0 |= bit.unwrap_or(0);
        bit.is_some()
    }
}

fn bit(short: &str) -> Option<u32> {
    ELEMENTS.iter().position(|&name| name == short).map(|rank| 1 << rank)
}

impl fmt::Display for ElementSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.iter().enumerate() {
            write!(f, "{}{name}", if i == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

impl fmt::Debug for ElementSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

/// The types that a port or a type variable may take.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TypeSet {
    /// Element types of dense tensors.
    pub tensor: ElementSet,
    /// Element types of sequences of tensors.
    pub sequence: ElementSet,
    /// Element types of optional tensors.
    pub optional: ElementSet,
    /// Element types of optional sequences of tensors.
    pub optional_sequence: ElementSet,
    /// Element types of sparse tensors.
    pub sparse: ElementSet,
    /// Everything else, as text: `map(i64,f32)`, `seq(map(str,f32))`.
    pub other: Vec<&'static str>,
}

impl TypeSet {
    /// Whether a dense tensor of this element type (by short name) is allowed.
    pub fn allows(&self, short: &str) -> bool {
        self.tensor.allows(short)
    }

    /// Whether only dense tensors are allowed.
    pub fn is_tensor_only(&self) -> bool {
        let TypeSet { tensor: _, sequence, optional, optional_sequence, sparse, other } = self;
        [sequence, optional, optional_sequence, sparse].iter().all(|set| set.is_empty()) && other.is_empty()
    }

    /// The element types of one wrapper as the table spells it, `""` for dense tensors.
    pub(super) fn group_mut(&mut self, wrapper: &str) -> Option<&mut ElementSet> {
        Some(match wrapper {
            "" => &mut self.tensor,
            "seq" => &mut self.sequence,
            "opt" => &mut self.optional,
            "optseq" => &mut self.optional_sequence,
            "sparse" => &mut self.sparse,
            _ => return None,
        })
    }
}

impl fmt::Display for TypeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wrapped =
            [("seq", self.sequence), ("opt", self.optional), ("optseq", self.optional_sequence), ("sparse", self.sparse)];
        let mut words = Vec::new();
        if !self.tensor.is_empty() {
            words.push(self.tensor.to_string());
        }
        words.extend(wrapped.iter().filter(|(_, set)| !set.is_empty()).map(|(name, set)| format!("{name}({set})")));
        words.extend(self.other.iter().map(ToString::to_string));
        f.write_str(&words.join(" "))
    }
}
