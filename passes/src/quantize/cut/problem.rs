//! What is to be placed, without the graph, and the time of a placement.

/// Ops that are placed together, and their time in nanoseconds.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Item {
    pub(super) float: f64,
    pub(super) integer: f64,
}

/// The end of a value at an op: the op's item, or `None` when it is float whatever happens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct End {
    pub(super) item: Option<usize>,
    /// In float, the op's layout is another than that of integer convolutions.
    pub(super) blocked: bool,
}

impl End {
    pub(super) fn is_integer(&self, integers: &[bool]) -> bool {
        self.item.is_some_and(|item| integers[item])
    }
}

/// A value at whose ends ops are placed.
#[derive(Clone, Debug)]
pub(super) struct Bridge {
    pub(super) maker: End,
    /// A maker in integers gives floats, too, for nothing.
    pub(super) free: bool,
    pub(super) readers: Vec<End>,
    pub(super) quantize: f64,
    pub(super) dequantize: f64,
    pub(super) layout: f64,
}

impl Bridge {
    pub(super) fn items(&self) -> impl Iterator<Item = usize> {
        self.readers.iter().chain([&self.maker]).filter_map(|end| end.item)
    }

    /// True when the value is there as stored numbers.
    pub(super) fn is_stored(&self, integers: &[bool]) -> bool {
        self.readers.iter().any(|r| r.is_integer(integers)) || self.maker.is_integer(integers) && !self.free
    }

    /// True when a DequantizeLinear makes floats of it.
    pub(super) fn is_dequantized(&self, integers: &[bool]) -> bool {
        self.is_stored(integers) && self.maker.is_integer(integers)
    }

    pub(super) fn time(&self, integers: &[bool]) -> f64 {
        if !self.is_stored(integers) {
            return 0.0;
        }
        let float = |end: &End| !end.is_integer(integers);
        let layout = |end: &End| if end.blocked { self.layout } else { 0.0 };
        let into = if float(&self.maker) { self.quantize + layout(&self.maker) } else { 0.0 };
        let blocked = if self.readers.iter().any(|r| float(r) && r.blocked) { self.layout } else { 0.0 };
        into + if self.readers.iter().any(float) { self.dequantize + blocked } else { 0.0 }
    }
}

/// An op that costs less in float behind a float convolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fused {
    pub(super) convolution: usize,
    /// `None` when it is float whatever happens.
    pub(super) op: Option<usize>,
    /// What it costs more alone.
    pub(super) more: f64,
}

impl Fused {
    pub(super) fn time(&self, integers: &[bool]) -> f64 {
        let paid = integers[self.convolution] && !self.op.is_some_and(|op| integers[op]);
        if paid { self.more } else { 0.0 }
    }
}

/// What an op on stored maps needs, so that it can be done in the layout of integer convolutions.
#[derive(Clone, Copy, Debug)]
pub(super) enum Need {
    /// That this item is in integers.
    Item(usize),
    /// That this earlier one is done in that layout.
    Earlier(usize),
    /// What is not to be had: an operand that is float whatever happens.
    Never,
}

/// When an op runs on stored numbers.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    /// When this item is in integers.
    Item(usize),
    /// When this bridge's value is stored: ONNX Runtime moves a QuantizeLinear from behind a max pool to before it.
    Stored(usize),
}

/// An op that is dearer in the plain layout than in that of integer convolutions, where it is done in integers when all that it
/// needs is there. For a sum, or a product, of maps the maps of convolutions on both its sides are transposed: a residual chain
/// that begins in float takes that at every step. A max pool right behind a QuantizeLinear has a slow kernel.
#[derive(Clone, Debug)]
pub(super) struct ByLayout {
    pub(super) when: When,
    pub(super) needs: Vec<Need>,
    pub(super) plain: f64,
}

/// A convolution that must not be the only float op between a DequantizeLinear and a QuantizeLinear.
#[derive(Clone, Debug)]
pub(super) struct Lone {
    pub(super) item: usize,
    /// The bridge of what it reads.
    pub(super) input: usize,
    /// The bridges of what it makes, and of that behind each clip that alone reads it.
    pub(super) outputs: Vec<usize>,
}

/// What is to be placed, without the graph.
#[derive(Clone, Default, Debug)]
pub(super) struct Problem {
    pub(super) items: Vec<Item>,
    pub(super) bridges: Vec<Bridge>,
    pub(super) fused: Vec<Fused>,
    /// Each needs earlier ones at most.
    pub(super) by_layout: Vec<ByLayout>,
    pub(super) lone: Vec<Lone>,
    /// Time of what is float whatever happens.
    pub(super) always: f64,
}

impl Problem {
    /// Nanoseconds of a placement.
    pub(super) fn time(&self, integers: &[bool]) -> f64 {
        let items = self.items.iter().zip(integers).map(|(item, &integer)| if integer { item.integer } else { item.float });
        let bridges = self.bridges.iter().map(|bridge| bridge.time(integers));
        let fused = self.fused.iter().map(|f| f.time(integers));
        self.always + items.chain(bridges).chain(fused).sum::<f64>() + self.plain(integers)
    }

    /// Nanoseconds of what is done in the plain layout, beyond those that it takes in the layout of convolutions.
    pub(super) fn plain(&self, integers: &[bool]) -> f64 {
        let mut suits: Vec<bool> = Vec::with_capacity(self.by_layout.len());
        let mut time = 0.0;
        for op in &self.by_layout {
            let met = |need: &Need| match *need {
                Need::Item(item) => integers[item],
                Need::Earlier(earlier) => suits[earlier],
                Need::Never => false,
            };
            let active = match op.when {
                When::Item(item) => integers[item],
                When::Stored(bridge) => self.bridges[bridge].is_stored(integers),
            };
            let suited = active && op.needs.iter().all(met);
            time += if active && !suited { op.plain } else { 0.0 };
            suits.push(suited);
        }
        time
    }

    /// True when a float convolution stands alone between stored numbers.
    pub(super) fn is_alone(&self, lone: &Lone, integers: &[bool]) -> bool {
        let stored = lone.outputs.iter().map(|&value| &self.bridges[value]).find(|value| value.is_stored(integers));
        !integers[lone.item]
            && self.bridges[lone.input].is_dequantized(integers)
            && stored.is_some_and(|value| value.readers.iter().all(|reader| reader.is_integer(integers)))
    }
}
