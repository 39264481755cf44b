//! Many kernels at once: what a search over networks needs. The same bits as one by one.
//!
//! Kernels of one model go through its trees together ([`super::lanes`]).

use std::collections::{BTreeMap, HashMap};

use super::lanes::{Aligned, Answers, GROUP, LANES, Questions, Vectors, Work, widest};
use super::{Model, NOTHING, Predictor, ROW, TERMS, whole};
use crate::kernels::{Does, Kernel, Layout, PARTS, computed, parts};

/// Slots that remember which model the kernels before had.
const SLOTS: usize = 256;

/// A predictor whose trees are laid out for many kernels.
#[derive(Debug)]
pub struct Batch<'a> {
    predictor: &'a Predictor,
    models: Vec<Flat<'a>>,
    families: BTreeMap<&'a str, usize>,
}

/// A model, ready for some kernels at once.
#[derive(Debug)]
struct Flat<'a> {
    model: &'a Model,
    /// None of trees that are too deep: they are asked about one kernel after the other.
    questions: Option<Questions>,
}

impl<'a> Flat<'a> {
    fn new(model: &'a Model) -> Flat<'a> {
        Flat { model, questions: Questions::new(&model.forest) }
    }

    /// Puts the times of up to [`LANES`] members of `kernels` where these are.
    fn price(&self, kernels: &[Kernel], members: &[(u32, Does)], times: &mut [f64], answers: &mut Vec<Answers>) {
        let mut columns = [[0; LANES]; PARTS];
        for (lane, &(at, does)) in members.iter().enumerate() {
            let parts = parts(&kernels[at as usize], does);
            columns.iter_mut().zip(parts).for_each(|(column, part)| column[lane] = part);
        }
        let (model, parts) = (self, &columns);
        let found = match members.len().div_ceil(GROUP) {
            ..=1 => widest(Timing::<1> { model, parts, answers }),
            2 => widest(Timing::<2> { model, parts, answers }),
            3 => widest(Timing::<3> { model, parts, answers }),
            _ => widest(Timing::<4> { model, parts, answers }),
        };
        members.iter().zip(found).for_each(|(&(at, _), time)| times[at as usize] = time);
    }
}

/// Finds the nanoseconds of `K` groups of kernels, of which each part has a row.
struct Timing<'a, const K: usize> {
    model: &'a Flat<'a>,
    parts: &'a [[u32; LANES]; PARTS],
    answers: &'a mut Vec<Answers>,
}

impl<const K: usize> Work for Timing<'_, K> {
    type Made = [f64; LANES];

    #[inline(always)]
    fn by(self, vectors: impl Vectors) -> [f64; LANES] {
        let Timing { model: Flat { model, questions }, parts, answers } = self;
        let (mut times, mut features) = ([0.0; LANES], Aligned([[0.0; LANES]; ROW]));
        for first in (0..K * GROUP).step_by(GROUP) {
            // Counts of a group stay in the nearest cache.
            let mut counts = [[0.0; GROUP]; TERMS];
            for lane in 0..GROUP {
                let (counted, row) = computed(|part| parts[part][first + lane]);
                for (column, value) in counts.iter_mut().zip(counted) {
                    column[lane] = value;
                }
                for (column, value) in features.0.iter_mut().zip(row) {
                    column[first + lane] = value;
                }
            }
            let made = model.base.times(&counts, |feature, lane| features.0[feature][first + lane]);
            times[first..first + GROUP].copy_from_slice(&made);
        }
        let mut sums = [0.0; LANES];
        match questions {
            Some(questions) => sums = questions.sums::<K>(vectors, &features, answers),
            None => (0..K * GROUP).for_each(|lane| sums[lane] = model.forest.answer(&features.0.map(|column| column[lane]))),
        }
        for lane in 0..K * GROUP {
            times[lane] *= f64::from(libm::expf(sums[lane]));
        }
        times
    }
}

impl Predictor {
    /// Ready for many kernels; that takes as long as some hundred of them.
    pub fn batch(&self) -> Batch<'_> {
        let models = self.models.values().map(Flat::new).collect();
        let families = self.models.keys().enumerate().map(|(at, family)| (family.as_str(), at)).collect();
        Batch { predictor: self, models, families }
    }
}

/// What of a kernel says its family beside the operator.
fn kind(kernel: &Kernel) -> usize {
    let groups = match kernel.groups {
        1 if kernel.is_of_two() => 3,
        1 => 0,
        _ => 1 + usize::from(kernel.is_depthwise()),
    };
    let layout = match kernel.layout {
        Layout::Plain => 0,
        Layout::Last => 1,
        Layout::Blocked => 2,
    };
    groups | layout << 2 | usize::from(kernel.bytes[0]) << 4 | usize::from(kernel.bytes[1]) << 12
}

impl Batch<'_> {
    /// Nanoseconds of each kernel, in their order. Who meets the same ones again and again keeps a [`Table`]: to look a kernel up takes
    /// as long as the trees do.
    pub fn kernels(&self, kernels: &[Kernel]) -> Vec<f64> {
        let mut members: Vec<Vec<(u32, Does)>> = vec![Vec::new(); self.models.len()];
        let mut times = vec![NOTHING; kernels.len()];
        // Kernels of one detector share their operators' names: an address says what a comparison of names would.
        let mut slots = vec![(std::ptr::null::<u8>(), 0, None, Does::of("")); SLOTS];
        for (at, kernel) in kernels.iter().enumerate() {
            let (name, kind) = (kernel.op.as_ptr(), kind(kernel));
            let slot = &mut slots[(name.addr() >> 4 ^ kind.wrapping_mul(0x9e37_79b1) >> 7) % SLOTS];
            if (slot.0, slot.1) != (name, kind) {
                let model = self.predictor.model_of(kernel);
                let model = model.and_then(|(name, _)| self.families.get(name).copied());
                *slot = (name, kind, model, Does::of(&kernel.op));
            }
            if let Some(model) = slot.2 {
                members[model].push((at as u32, slot.3));
            }
        }
        let mut answers = Vec::new();
        for (model, members) in self.models.iter().zip(&members) {
            members.chunks(LANES).for_each(|members| model.price(kernels, members, &mut times, &mut answers));
        }
        times
    }
}

impl Batch<'_> {
    /// Nanoseconds of a network that is cut into kernels already, as [`Predictor::network`] says them.
    pub fn network(&self, kernels: &[Kernel]) -> f64 {
        let nanos = self.kernels(kernels);
        let untraced = |(kernel, &nanos): (&Kernel, &f64)| self.predictor.overhead.untraced(kernel, nanos);
        whole(kernels.iter().zip(&nanos).map(untraced).sum(), nanos.iter().sum())
    }
}

/// Kernels by number, each priced once: what a search keeps that meets the same kernels again and again.
///
/// A network is then a list of numbers, and its time a sum.
#[derive(Debug)]
pub struct Table<'a> {
    batch: Batch<'a>,
    numbers: HashMap<Kernel, u32, std::hash::BuildHasherDefault<Mixer>>,
    nanos: Vec<f64>,
}

impl<'a> Table<'a> {
    /// Without any kernels.
    pub fn new(predictor: &'a Predictor) -> Table<'a> {
        Table { batch: predictor.batch(), numbers: HashMap::default(), nanos: Vec::new() }
    }

    /// Appends the numbers of kernels; those that are new are priced together.
    pub fn number(&mut self, kernels: &[Kernel], numbers: &mut Vec<u32>) {
        let mut new = Vec::new();
        for kernel in kernels {
            let next = (self.nanos.len() + new.len()) as u32;
            numbers.push(self.numbers.get(kernel).copied().unwrap_or_else(|| {
                self.numbers.insert(kernel.clone(), next);
                new.push(kernel.clone());
                next
            }));
        }
        if !new.is_empty() {
            self.nanos.extend(self.batch.kernels(&new));
        }
    }

    /// Nanoseconds by number.
    pub fn nanos(&self) -> &[f64] {
        &self.nanos
    }
}

/// Hashes the fields of a kernel: for tables that nobody from outside fills.
#[derive(Clone, Copy, Default, Debug)]
struct Mixer(u64);

impl std::hash::Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.write_u64(n.into());
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(n.into());
    }

    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(26) ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Base, Forest, Origin, Overhead, Tree};
    use super::*;

    /// Of convolutions, with trees of one level and one of `depth`; of sums nothing is known.
    fn predictor(depth: usize) -> Predictor {
        let weights = |first: f64| std::array::from_fn(|term| if term == 0 { first } else { 0.01 * term as f64 });
        let base = Base { weights: weights(900.0), below: vec![((2, 16.0), weights(50.0)), ((0, 40.0), weights(7.0))] };
        let tree = |feature: usize, least: f32| Tree { questions: vec![(feature, least)], leaves: vec![0.125, -0.3] };
        let questions = (0..depth).map(|level| (level % 3, 20.0 * level as f32)).collect();
        let leaves = (0..1 << depth).map(|leaf| leaf as f32 * 1e-4).collect();
        let forest = Forest { trees: vec![tree(0, 16.0), tree(11, 50.0), Tree { questions, leaves }, tree(3, 8.0)] };
        let model = Model { samples: 9, base, forest, spread: 0.1 };
        let models = [("QLinearConv-last".to_owned(), model)].into();
        let overhead = Overhead { step: -30.0, tensor: -7.0, cold: -5.0, factor: 0.9, spread: 0.0 };
        Predictor { origin: Origin::new(), overhead, models }
    }

    fn kernels() -> Vec<Kernel> {
        let kernel = |at: u32| {
            let op = if at.is_multiple_of(3) { "QLinearAdd" } else { "QLinearConv" };
            Kernel::same(op, Layout::Last, [1, 1], [1, 4 * at, at, at])
        };
        (1..150).map(kernel).collect()
    }

    #[test]
    fn many_at_once_have_the_bits_of_each_alone() {
        for depth in [1, 5, 6, 8, 9] {
            let (predictor, kernels) = (predictor(depth), kernels());
            let alone: Vec<f64> = kernels.iter().map(|k| predictor.kernel(k).nanos).collect();
            assert_eq!(predictor.batch().kernels(&kernels), alone);
            let network = predictor.network(kernels.iter().map(|kernel| predictor.kernel(kernel)));
            assert_eq!(predictor.batch().network(&kernels), network.nanos);
        }
    }

    #[test]
    fn a_table_prices_each_kernel_once() {
        let (predictor, kernels) = (predictor(5), kernels());
        let mut table = Table::new(&predictor);
        let (mut first, mut again) = (Vec::new(), Vec::new());
        table.number(&kernels[..100], &mut first);
        table.number(&kernels, &mut again);
        assert_eq!((first.len(), &again[..100]), (100, &first[..]));
        assert_eq!(table.nanos().len(), kernels.len());
        let by_number: Vec<f64> = again.iter().map(|&number| table.nanos()[number as usize]).collect();
        assert_eq!(by_number, predictor.batch().kernels(&kernels));
    }
}
