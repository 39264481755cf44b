//! What was measured of drawn networks, as a file that grows by a round of a network at a time, and as numbers to fit.
//!
//! ```text
//! plan version 12, seed 1, networks 46 and 31, models 0 #2d068005, like 0 #4d6a0c4c
//! network stored 17 round 0 cpu 2894100.0 sum 2920400.0 kernels 61 tensors 480 reference 310250.0
//! QLinearConv last 1:1 1x32x28x28 1x64x28x28 k3x3 s1x1 d1x1 g1 +0 in22/20 = 28250.0
//! …
//! end
//! ```

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use spaceevo_ir::{Diagnostic, Loc};

use super::Overhead;
use super::fit::{Sample, median};
use super::network::Numbers;
use crate::kernels::Kernel;

/// A network, once traced.
#[derive(Clone, PartialEq, Debug)]
pub struct Traced {
    /// What it computes with.
    pub numbers: Numbers,
    /// Its number.
    pub number: usize,
    /// Which round.
    pub round: usize,
    /// Nanoseconds of processor of a run that is not traced; 0 in rounds that do not look.
    pub cpu: f64,
    /// Kernels that ran.
    pub kernels: usize,
    /// Tensors that they read and made.
    pub tensors: usize,
    /// Nanoseconds of all kernels that ran.
    pub sum: f64,
    /// Nanoseconds of processor of the reference network at that time.
    pub reference: f64,
    /// Kernels that were foreseen, with their nanoseconds.
    pub times: Vec<(Kernel, f64)>,
}

/// What was measured so far.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Measured {
    /// What it was begun with, as one line; nothing of what was not measured here.
    pub plan: Option<String>,
    /// In order.
    pub traced: Vec<Traced>,
}

impl Measured {
    /// Reads what was appended; what was cut off at the end is left out.
    ///
    /// Errors: `measurements-file` with the line that is none.
    pub fn parse(text: &str, file: &str) -> Result<Measured, Diagnostic> {
        let mut measured = Measured::default();
        let mut open: Option<Traced> = None;
        let lines = text.lines().count();
        for (at, line) in text.lines().enumerate() {
            let fault = |what: &str| {
                let message = format!("{file}: line {}: {what}", at + 1);
                Diagnostic::error("measurements-file", Loc::Unknown, message)
            };
            if at == 0 && line.starts_with("plan ") {
                measured.plan = line.strip_prefix("plan ").map(str::to_owned);
            } else if line == "end" {
                measured.traced.push(open.take().ok_or_else(|| fault("nothing is to be ended here"))?);
            } else if line.starts_with("network ") {
                open = Some(head(line).ok_or_else(|| fault("this is no head of a network"))?);
            } else {
                let pair = line
                    .split_once(" = ")
                    .and_then(|(key, time)| Some((key.parse().ok()?, time.parse().ok().filter(|t: &f64| t.is_finite())?)));
                match (&mut open, pair) {
                    (Some(open), Some(pair)) => open.times.push(pair),
                    // The process ended while it wrote.
                    _ if at + 1 == lines => {}
                    _ => return Err(fault("this is no kernel and its time")),
                }
            }
        }
        Ok(measured)
    }

    /// The file.
    pub(super) fn to_text(&self) -> String {
        let plan = self.plan.iter().map(|plan| format!("plan {plan}\n"));
        plan.chain(self.traced.iter().map(Traced::to_text)).collect()
    }

    /// Nanoseconds that the reference network of these numbers takes mostly; 0 where nothing was measured.
    pub fn reference(&self, numbers: Numbers) -> f64 {
        median(&self.traced.iter().filter(|t| t.numbers == numbers).map(|t| t.reference).collect::<Vec<_>>())
    }

    /// The same at the speed that the machine has mostly.
    pub fn steady(&self) -> Measured {
        let (stored, float) = (self.reference(Numbers::Stored), self.reference(Numbers::Float));
        let steady = |traced: &Traced| {
            let slow = traced.reference / if traced.numbers == Numbers::Stored { stored } else { float };
            let times = traced.times.iter().map(|(kernel, time)| (kernel.clone(), time / slow)).collect();
            Traced { cpu: traced.cpu / slow, sum: traced.sum / slow, times, ..traced.clone() }
        };
        Measured { traced: self.traced.iter().map(steady).collect(), plan: self.plan.clone() }
    }

    /// Kernels with all their times.
    pub fn samples(&self) -> Vec<Sample> {
        let mut order: Vec<&Kernel> = Vec::new();
        let mut times: HashMap<&Kernel, Vec<(usize, f64)>> = HashMap::new();
        for traced in &self.traced {
            for (kernel, time) in &traced.times {
                let all = times.entry(kernel).or_default();
                if all.is_empty() {
                    order.push(kernel);
                }
                all.push((traced.round, *time));
            }
        }
        let sample = |kernel: &Kernel| {
            let mut all = times[kernel].clone();
            all.sort_by_key(|(round, _)| *round);
            Sample { kernel: kernel.clone(), times: all.into_iter().map(|(_, time)| time).collect() }
        };
        order.into_iter().map(sample).collect()
    }

    /// What networks cost beside their kernels: `cpu = factor × sum + step × kernels + tensor × tensors` with the least relative error,
    /// networks that are far off counting less (Huber 1964). What a call costs beside its kernels is not looked for: drawn networks
    /// with few kernels have large ones, and an intercept of theirs (8 to 16 µs) was found in no real network. Nothing where fewer
    /// than eight networks ran without being traced.
    pub fn overhead(&self) -> Overhead {
        let mut nets: BTreeMap<(Numbers, usize), Vec<&Traced>> = BTreeMap::new();
        for traced in &self.traced {
            nets.entry((traced.numbers, traced.number)).or_default().push(traced);
        }
        let point = |rounds: &Vec<&Traced>| {
            let middle =
                |of: &dyn Fn(&Traced) -> f64| median(&rounds.iter().map(|t| of(t)).filter(|x| *x > 0.0).collect::<Vec<_>>());
            let (kernels, tensors) = (rounds[0].kernels as f64, rounds[0].tensors as f64);
            // Of which no kernel is kept, nobody knows how much it moves.
            let (kernel, _) = rounds.iter().find_map(|t| t.times.first())?;
            let terms = [kernels, tensors, kernels * Overhead::coldness(kernel), middle(&|t| t.sum)];
            Some((terms, middle(&|t| t.cpu)))
        };
        let points: Vec<([f64; TERMS], f64)> = nets.values().filter_map(point).filter(|(_, cpu)| *cpu > 0.0).collect();
        if points.len() < 8 {
            return Overhead::NONE;
        }
        let wrong = |found: &[f64; TERMS], (terms, cpu): &([f64; TERMS], f64)| {
            (terms.iter().zip(found).map(|(t, f)| t * f).sum::<f64>() / cpu - 1.0).abs()
        };
        let robust = |points: &[([f64; TERMS], f64)]| {
            let mut weights = vec![1.0; points.len()];
            let mut found = None;
            for _ in 0..20 {
                found = Some(least(points, &weights)?);
                let errors: Vec<f64> = points.iter().filter_map(|point| Some(wrong(found.as_ref()?, point))).collect();
                let near = 1.5 * median(&errors);
                weights = errors.iter().map(|&error| if error <= near { 1.0 } else { near / error }).collect();
            }
            found
        };
        let Some([step, tensor, cold, factor]) = robust(&points) else { return Overhead::NONE };
        let mut errors: Vec<f64> = points.iter().map(|point| wrong(&[step, tensor, cold, factor], point)).collect();
        errors.sort_unstable_by(f64::total_cmp);
        // Two of three are within a standard deviation.
        Overhead { step, tensor, cold, factor, spread: errors[errors.len() * 2 / 3] }
    }
}

/// What a run takes beside a trace is told by: kernels, tensors, how cold caches are, and the sum of what was traced.
const TERMS: usize = 4;

/// Weights of the least relative error, by the normal equations; a column of zeros gets the weight 0.
fn least(points: &[([f64; TERMS], f64)], weights: &[f64]) -> Option<[f64; TERMS]> {
    let mut rows = [[0.0; TERMS + 1]; TERMS];
    for ((terms, whole), weight) in points.iter().zip(weights) {
        let terms = terms.map(|term| term / whole);
        for a in 0..TERMS {
            (0..TERMS).for_each(|b| rows[a][b] += weight * terms[a] * terms[b]);
            rows[a][TERMS] += weight * terms[a];
        }
    }
    for (at, row) in rows.iter_mut().enumerate().filter(|(at, row)| row[*at] == 0.0) {
        *row = [0.0; TERMS + 1];
        row[at] = 1.0;
    }
    for a in 0..TERMS {
        let pivot = rows[a][a];
        if pivot.abs() < 1e-300 {
            return None;
        }
        rows[a].iter_mut().for_each(|x| *x /= pivot);
        for b in (0..TERMS).filter(|&b| b != a) {
            let (times, from) = (rows[b][a], rows[a]);
            rows[b].iter_mut().zip(from).for_each(|(x, y)| *x -= times * y);
        }
    }
    let found = rows.map(|row| row[TERMS]);
    found.iter().all(|x| x.is_finite()).then_some(found)
}

fn head(line: &str) -> Option<Traced> {
    let fields: Vec<&str> = line.split(' ').collect();
    let [
        "network",
        numbers,
        number,
        "round",
        round,
        "cpu",
        cpu,
        "sum",
        sum,
        "kernels",
        kernels,
        "tensors",
        tensors,
        "reference",
        reference,
    ] = fields[..]
    else {
        return None;
    };
    let numbers = match numbers {
        "stored" => Numbers::Stored,
        "float" => Numbers::Float,
        _ => return None,
    };
    Some(Traced {
        numbers,
        number: number.parse().ok()?,
        round: round.parse().ok()?,
        cpu: cpu.parse().ok()?,
        kernels: kernels.parse().ok()?,
        tensors: tensors.parse().ok()?,
        sum: sum.parse().ok()?,
        reference: reference.parse().ok().filter(|r: &f64| *r > 0.0)?,
        times: Vec::new(),
    })
}

impl Traced {
    /// The lines of the file.
    pub(super) fn to_text(&self) -> String {
        let word = if self.numbers == Numbers::Stored { "stored" } else { "float" };
        let Traced { number, round, cpu, sum, kernels, tensors, reference, .. } = self;
        let mut text = format!(
            "network {word} {number} round {round} cpu {cpu:?} sum {sum:?} kernels {kernels} tensors {tensors} reference {reference:?}\n"
        );
        for (kernel, time) in &self.times {
            let _ = writeln!(text, "{kernel} = {time:?}");
        }
        text + "end\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Layout;

    fn traced(number: usize, round: usize, time: f64) -> Traced {
        let kernel = Kernel::same("QLinearAdd", Layout::Last, [1, 1], [1, 8, 7, 7]);
        let numbers = Numbers::Stored;
        Traced {
            numbers,
            number,
            round,
            cpu: 900.5,
            kernels: 10 + number,
            tensors: 5 + number % 3,
            sum: 100.0,
            reference: 50.0,
            times: vec![(kernel, time)],
        }
    }

    #[test]
    fn what_was_measured_is_read_again_and_a_torn_end_is_left_out() {
        let both = [traced(0, 0, 8.25), traced(0, 1, 9.0)];
        let all = Measured { plan: Some("seed 1".into()), traced: both.to_vec() };
        assert_eq!(Measured::parse(&all.to_text(), "m").unwrap(), all);
        let text = Measured { plan: None, ..all }.to_text();
        assert_eq!(Measured::parse(&text, "m").unwrap().traced, both);
        let torn = &text[..text.len() - 12];
        assert_eq!(Measured::parse(torn, "m").unwrap().traced, both[..1]);
        let wrong = text.replacen("k1x1", "k1y1", 1);
        assert!(Measured::parse(&wrong, "m").unwrap_err().message.contains("line 2"));
        let [sample] = &Measured::parse(&text, "m").unwrap().samples()[..] else { panic!("one kernel") };
        assert_eq!(sample.times, [8.25, 9.0]);
    }

    #[test]
    fn a_slow_machine_is_made_good_by_the_reference() {
        let slow = Traced { reference: 100.0, ..traced(0, 0, 16.0) };
        let traced = [traced(0, 1, 8.0), traced(0, 2, 8.0), slow];
        let times = Measured { traced: traced.to_vec(), plan: None };
        assert_eq!((times.reference(Numbers::Stored), times.reference(Numbers::Float)), (50.0, 0.0));
        let steady = times.steady();
        assert!(steady.traced.iter().all(|t| t.times[0].1 == 8.0));
    }

    #[test]
    fn overhead_is_what_runs_without_a_trace_say() {
        let net = |number: usize| {
            let (kernels, sum) = (10 + number * 7 % 5, 40_000.0 * (1 + number) as f64);
            let mut net = Traced { sum, kernels, ..traced(number, 0, 1.0) };
            // From 0.5 to 32 MB.
            let coldness = [0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0][number % 7];
            net.times[0].0.around = 4 * (19 + number as u8 % 7);
            Traced { cpu: (-500.0 - 90.0 * coldness) * kernels as f64 - 200.0 * net.tensors as f64 + 1.25 * sum, ..net }
        };
        let overhead = Measured { traced: (0..9).map(net).collect(), plan: None }.overhead();
        let Overhead { step, tensor, cold, factor, spread } = overhead;
        assert!(
            (step + 500.0).abs() < 1e-4
                && (tensor + 200.0).abs() < 1e-4
                && (cold + 90.0).abs() < 1e-4
                && (factor - 1.25).abs() < 1e-9,
            "{overhead:?}"
        );
        assert!(spread < 1e-9);
        let few = Measured { traced: (0..7).map(net).collect(), plan: None }.overhead();
        assert_eq!(few, Overhead::NONE);
    }
}
