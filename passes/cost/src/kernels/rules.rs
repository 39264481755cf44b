//! The rules of a target with its operators numbered: what is asked of an operator is then a bit or a short list of numbers, and no
//! text is compared after its name was looked up once.

use std::sync::Arc;

use spaceevo_ir::OpName;
use spaceevo_passes::kernel_rules::{Blocked, KernelRules};

use super::Fused;

/// Number of an operator in [`Rules`], or of one that the rules do not name in [`Names`].
pub(super) type Number = u32;

/// Takes no time.
pub(super) const FREE: u32 = 1;
/// Runs with channels last, and wants to read so.
pub(super) const LAST: u32 = 1 << 1;
/// Runs with channels last where what it reads is so.
pub(super) const FOLLOW_LAST: u32 = 1 << 2;
/// Keeps channels last even where what follows does not.
pub(super) const KEEP_LAST: u32 = 1 << 3;
/// Runs in blocks of channels.
pub(super) const BLOCKS: u32 = 1 << 4;
/// Runs in blocks where what it reads is so.
pub(super) const FOLLOW_BLOCKS: u32 = 1 << 5;
/// Is done by the convolution in blocks that makes one of its operands.
pub(super) const JOIN_BLOCKS: u32 = 1 << 6;
/// Has a window, whatever the form of its name.
pub(super) const CONVOLVES: u32 = 1 << 7;
/// Its work is multiply-accumulates.
pub(super) const MULTIPLIES: u32 = 1 << 8;
/// Has scale and zero point behind its first operand, as the runtime's own integer operators do.
pub(super) const SCALED: u32 = 1 << 9;
/// Brings a tensor into another order of axes.
pub(super) const TRANSPOSES: u32 = 1 << 10;
/// The float convolution.
pub(super) const CONV: u32 = 1 << 11;
/// Puts maps beside each other.
pub(super) const CONCAT: u32 = 1 << 12;
/// A product of two tensors.
pub(super) const MUL: u32 = 1 << 13;

/// Puts stored maps beside each other: what has the scale of the result is copied, other numbers are looked up.
pub(super) const LOOKS_UP: u32 = 1 << 14;
/// Makes another number of pixels out of those of a map.
pub(super) const RESIZES: u32 = 1 << 15;
/// Takes a part of a tensor.
pub(super) const SLICES: u32 = 1 << 16;

/// An operator, with all that rules say of it.
#[derive(Debug)]
pub(super) struct Operator {
    pub(super) name: Arc<str>,
    /// What it is to a kernel that does it as it stores its results.
    pub(super) fused_as: Fused,
    is: u32,
    /// By domain: what runs it on stored numbers.
    stored: Vec<(Box<str>, Number)>,
    /// Operators that its kernel does as it stores its result.
    fused: Vec<Number>,
    /// Its name with channels last, and in the plain layout where it does more than its own operator.
    pub(super) renamed: Option<Number>,
    pub(super) merged: Option<Number>,
    /// Its name in blocks.
    pub(super) blocked: Option<Number>,
    /// What is run in its place.
    pub(super) written_as: Vec<Number>,
    /// What runs all of its kind that read one value.
    pub(super) joined: Option<Number>,
    /// What runs it with the product of its result and what it reads.
    pub(super) gated: Option<Number>,
}

impl Operator {
    fn new(name: &str) -> Operator {
        let mut is = 0;
        let mut set = |flag: u32, yes: bool| is |= if yes { flag } else { 0 };
        set(CONVOLVES, name.ends_with("Conv"));
        set(MULTIPLIES, super::multiplies(name));
        set(SCALED, name.starts_with("QLinear"));
        set(CONV, name == "Conv");
        set(CONCAT, name == "Concat");
        set(LOOKS_UP, name == "QLinearConcat");
        set(MUL, name == "Mul");
        set(RESIZES, name == "Resize");
        set(SLICES, name == "Slice");
        Operator {
            name: name.into(),
            fused_as: Fused::of(name),
            is,
            stored: Vec::new(),
            fused: Vec::new(),
            renamed: None,
            merged: None,
            blocked: None,
            written_as: Vec::new(),
            joined: None,
            gated: None,
        }
    }
}

/// Slots of the table of names: a power of two, several times as many as there are names.
const SLOTS: usize = 512;
/// A slot without a name.
const EMPTY: Number = Number::MAX;

/// The section `[kernels]` of a target, numbered.
#[derive(Debug)]
pub(super) struct Rules {
    operators: Vec<Operator>,
    /// Numbers by [`hash`] of the name, the next free slot where it is taken.
    slots: Vec<Number>,
    /// The layout in blocks: extents and operators of changes into blocks and out of them.
    pub(super) blocked: Option<Blocks>,
    /// What changes the plain layout to channels last.
    pub(super) transpose: Option<Number>,
    /// What makes pixels channels, and what brings these into another order.
    pub(super) folded: Option<[Number; 2]>,
}

/// What of [`Blocked`] is no list of operators.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blocks {
    pub(super) block: u32,
    pub(super) align: u32,
    pub(super) reorder: [Number; 2],
}

impl Rules {
    pub(super) fn new(rules: &KernelRules) -> Rules {
        let mut table =
            Rules { operators: Vec::new(), slots: vec![EMPTY; SLOTS], blocked: None, transpose: None, folded: None };
        let lists = [
            (FREE, &rules.free),
            (LAST, &rules.channels_last),
            (FOLLOW_LAST, &rules.follow_last),
            (KEEP_LAST, &rules.keep_last),
        ];
        lists.into_iter().for_each(|(flag, names)| table.mark(flag, names));
        if let Some(Blocked { block, align, wanted, follow, joined, renamed, reorder }) = &rules.blocked {
            let lists = [(BLOCKS, wanted), (FOLLOW_BLOCKS, follow), (JOIN_BLOCKS, joined)];
            lists.into_iter().for_each(|(flag, names)| table.mark(flag, names));
            for (name, other) in renamed {
                let (op, other) = (table.number(name), table.number(other));
                table.operators[op as usize].blocked = Some(other);
            }
            let reorder = [table.number(&reorder[0]), table.number(&reorder[1])];
            table.blocked = Some(Blocks { block: *block, align: *align, reorder });
        }
        table.transpose = rules.transpose.as_ref().map(|name| table.number(name));
        if let Some(number) = table.transpose {
            table.operators[number as usize].is |= TRANSPOSES;
        }
        table.folded = rules.folded.as_ref().map(|names| names.each_ref().map(|name| table.number(name)));
        for (name, runs) in &rules.stored {
            let (domain, op) = name.rsplit_once('.').unwrap_or(("", name));
            let (op, runs) = (table.number(op), table.number(runs));
            table.operators[op as usize].stored.push((domain.into(), runs));
        }
        for (name, others) in &rules.fused {
            let (op, others) = (table.number(name), table.numbers(others));
            table.operators[op as usize].fused = others;
        }
        for (name, others) in &rules.written_as {
            let (op, others) = (table.number(name), table.numbers(others));
            table.operators[op as usize].written_as = others;
        }
        for (name, other) in &rules.renamed {
            let (op, other) = (table.number(name), table.number(other));
            table.operators[op as usize].renamed = Some(other);
        }
        for (name, other) in &rules.merged {
            let (op, other) = (table.number(name), table.number(other));
            table.operators[op as usize].merged = Some(other);
        }
        for (name, other) in &rules.joined {
            let (op, other) = (table.number(name), table.number(other));
            table.operators[op as usize].joined = Some(other);
        }
        for (name, other) in &rules.gated {
            let (op, other) = (table.number(name), table.number(other));
            table.operators[op as usize].gated = Some(other);
        }
        table
    }

    fn mark(&mut self, flag: u32, names: &[String]) {
        for name in names {
            let number = self.number(name);
            self.operators[number as usize].is |= flag;
        }
    }

    fn numbers(&mut self, names: &[String]) -> Vec<Number> {
        names.iter().map(|name| self.number(name)).collect()
    }

    /// The number of a name that the rules have. A target has fewer names than half the slots, else lookups only get slower.
    fn number(&mut self, name: &str) -> Number {
        if let Some(number) = self.find(name) {
            return number;
        }
        let number = self.operators.len() as Number;
        self.operators.push(Operator::new(name));
        if 2 * self.operators.len() > self.slots.len() {
            self.slots = vec![EMPTY; 2 * self.slots.len()];
            (0..number).for_each(|known| self.place(known));
        }
        self.place(number);
        number
    }

    fn place(&mut self, number: Number) {
        let mask = self.slots.len() - 1;
        let mut slot = hash(&self.operators[number as usize].name) & mask;
        while self.slots[slot] != EMPTY {
            slot = (slot + 1) & mask;
        }
        self.slots[slot] = number;
    }

    fn find(&self, name: &str) -> Option<Number> {
        let mask = self.slots.len() - 1;
        let mut slot = hash(name) & mask;
        loop {
            let number = self.slots[slot];
            if number == EMPTY {
                return None;
            }
            if *self.operators[number as usize].name == *name {
                return Some(number);
            }
            slot = (slot + 1) & mask;
        }
    }
}

/// Of a name: its ends and its length, which tell operators apart well enough.
fn hash(name: &str) -> usize {
    let bytes = name.as_bytes();
    let at = |index: usize| usize::from(bytes.get(index).copied().unwrap_or(0));
    let (last, middle) = (bytes.len().saturating_sub(1), bytes.len() / 2);
    (at(0) + 31 * at(last) + 7 * at(middle) + 131 * at(last.saturating_sub(2)) + 17 * bytes.len()).wrapping_mul(0x9e37_79b1)
        >> 12
}

/// The numbers of a graph's operators: those of the rules, and behind them those that the rules do not name.
pub(super) struct Names<'a> {
    pub(super) rules: &'a Rules,
    pub(super) others: &'a mut Vec<Operator>,
}

impl Names<'_> {
    pub(super) fn number(&mut self, name: &str) -> Number {
        let known = self.rules.operators.len();
        if let Some(number) = self.rules.find(name) {
            return number;
        }
        let at = self.others.iter().position(|o| *o.name == *name).unwrap_or_else(|| {
            self.others.push(Operator::new(name));
            self.others.len() - 1
        });
        (known + at) as Number
    }

    pub(super) fn get(&self, number: Number) -> &Operator {
        let at = number as usize;
        self.rules.operators.get(at).unwrap_or_else(|| &self.others[at - self.rules.operators.len()])
    }

    pub(super) fn is(&self, number: Number, flag: u32) -> bool {
        self.get(number).is & flag != 0
    }

    /// What runs an operator on stored numbers.
    pub(super) fn stored(&self, number: Number, name: &OpName) -> Option<Number> {
        self.get(number).stored.iter().find(|(domain, _)| **domain == *name.domain).map(|(_, runs)| *runs)
    }

    /// True when `op` runs within the kernel of `maker`.
    pub(super) fn fuses(&self, maker: Number, op: Number) -> bool {
        self.get(maker).fused.contains(&op)
    }
}

#[cfg(test)]
mod tests {
    use spaceevo_passes::Target;

    use super::*;

    #[test]
    fn every_name_of_a_target_is_found_and_no_other() {
        let target = Target::named("x86-vnni").unwrap();
        let rules = Rules::new(target.kernels.as_ref().unwrap());
        for (number, operator) in rules.operators.iter().enumerate() {
            assert_eq!(rules.find(&operator.name), Some(number as Number), "{}", operator.name);
        }
        assert_eq!((rules.find("Convolution"), rules.find("")), (None, None));
        let mut others = Vec::new();
        let mut names = Names { rules: &rules, others: &mut others };
        let [a, b] = ["Einsum", "NonZero"].map(|name| names.number(name));
        assert_eq!((names.number("Einsum"), names.number("NonZero")), (a, b));
        assert_eq!((&*names.get(a).name, &*names.get(b).name), ("Einsum", "NonZero"));
    }

    #[test]
    fn a_table_with_more_names_than_slots_grows() {
        let many: Vec<String> = (0..3 * SLOTS).map(|at| format!("Op{at}")).collect();
        let rules = Rules::new(&KernelRules { free: many.clone(), ..KernelRules::default() });
        assert!(many.iter().all(|name| rules.find(name).is_some()));
    }

    #[test]
    fn an_operator_is_stored_by_its_domain() {
        let target = Target::named("x86-vnni").unwrap();
        let rules = Rules::new(target.kernels.as_ref().unwrap());
        let mut others = Vec::new();
        let mut names = Names { rules: &rules, others: &mut others };
        let conv = names.number("Conv");
        let runs = names.stored(conv, &OpName::onnx("Conv")).map(|number| names.get(number).name.to_string());
        assert_eq!(runs.as_deref(), Some("QLinearConv"));
        assert_eq!(names.stored(conv, &OpName::new("my.own", "Conv")), None);
        assert!(names.fuses(conv, rules.find("Relu").unwrap()));
    }
}
