//! What is known of a graph's values while it is cut into kernels.

use spaceevo_ir::{Elem, Graph, Type, ValueId};

use super::{Extents, Layout};

/// Extents of a value, and how it is stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Those that are not known are 1.
    pub(super) extents: Extents,
    /// Bytes of a number as it is stored.
    pub(super) bytes: u8,
    /// True of what has four axes.
    pub(super) map: bool,
}

impl Shape {
    fn of(ty: &Type) -> Shape {
        let tensor = ty.tensor();
        let elem = tensor.map_or(Elem::F32, |t| t.storage());
        let bytes = elem.byte_len(1).map_or(1, |n| n.clamp(1, 8) as u8);
        let mut shape = Shape { extents: [1; 4], bytes, map: false };
        let Some(dims) = tensor.and_then(|t| t.shape.as_ref()) else { return shape };
        let known = |at: usize| dims[at].known().map_or(1, |n| u32::try_from(n).unwrap_or(u32::MAX));
        shape.map = dims.len() == 4;
        shape.extents = match dims.len() {
            0 => [1; 4],
            1 => [1, known(0), 1, 1],
            2 => [known(0), known(1), 1, 1],
            3 => [known(0), known(1), known(2), 1],
            rank => {
                let rest = (3..rank).map(known).fold(1u32, u32::saturating_mul);
                [known(0), known(1), known(2), rest]
            }
        };
        shape
    }

    /// How many numbers it has.
    pub(super) fn numbers(&self) -> u32 {
        self.extents.iter().fold(1, |all, &extent| all.saturating_mul(extent))
    }
}

/// One value.
#[derive(Clone, Copy, Debug)]
struct Entry {
    shape: Shape,
    /// The kernel that is a convolution in blocks, makes the value, and does nothing else yet.
    bare: u32,
    /// The layout in which it is made.
    native: Layout,
    /// Other layouts in which it is there by now, as bits.
    made: u8,
    /// Its shape was looked at.
    seen: bool,
    /// A constant, or made of constants only.
    folded: bool,
    /// Leads to where channels are last, through ops that could run so.
    leads: bool,
}

const NEW: Entry = Entry {
    shape: Shape { extents: [1; 4], bytes: 1, map: false },
    bare: u32::MAX,
    native: Layout::Plain,
    made: 0,
    seen: false,
    folded: false,
    leads: false,
};

/// By value; nothing is kept of values of a graph that was not begun with.
#[derive(Debug, Default)]
pub(super) struct Values(Vec<Entry>);

impl Values {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Makes room for a graph. Constants of its body are folded.
    pub(super) fn begin(&mut self, graph: &Graph) {
        self.0.resize(graph.value_bound(), NEW);
        graph.region(graph.body()).consts().iter().for_each(|&v| self.fold(v));
    }

    /// What is looked at once is remembered.
    pub(super) fn shape(&mut self, graph: &Graph, value: ValueId) -> Shape {
        match self.0.get_mut(value.index()) {
            Some(entry) if entry.seen => entry.shape,
            Some(entry) => {
                entry.seen = true;
                entry.shape = Shape::of(graph.value(value).ty());
                entry.shape
            }
            None => Shape::of(graph.value(value).ty()),
        }
    }

    pub(super) fn fold(&mut self, value: ValueId) {
        self.0[value.index()].folded = true;
    }

    pub(super) fn is_folded(&self, value: ValueId) -> bool {
        self.0[value.index()].folded
    }

    pub(super) fn lead(&mut self, value: ValueId) {
        self.0[value.index()].leads = true;
    }

    pub(super) fn leads(&self, value: ValueId) -> bool {
        self.0[value.index()].leads
    }

    /// The layout in which it is made.
    pub(super) fn native(&self, value: ValueId) -> Layout {
        self.0[value.index()].native
    }

    pub(super) fn make(&mut self, value: ValueId, layout: Layout) {
        self.0[value.index()].native = layout;
    }

    /// Notes that it is there in a layout; true when it was not.
    pub(super) fn convert(&mut self, value: ValueId, layout: Layout) -> bool {
        let entry = &mut self.0[value.index()];
        let bit = 1 << layout as u8;
        let new = entry.made & bit == 0;
        entry.made |= bit;
        new
    }

    /// The kernel that is a convolution in blocks, makes the value, and does nothing else yet.
    pub(super) fn bare(&self, value: ValueId) -> Option<usize> {
        let at = self.0[value.index()].bare;
        (at != u32::MAX).then_some(at as usize)
    }

    pub(super) fn note_bare(&mut self, value: ValueId, kernel: usize) {
        self.0[value.index()].bare = kernel as u32;
    }
}
