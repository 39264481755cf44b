//! How well predictions of whole networks agree with measurements, beside what a second measurement and work alone give.

use serde::Serialize;

use super::fit::median;

/// A network that was predicted and measured.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Judged {
    /// Name.
    pub name: String,
    /// Predicted nanoseconds.
    pub predicted: f64,
    /// Ends of the predicted interval.
    pub interval: [f64; 2],
    /// Multiply-accumulates.
    pub macs: f64,
    /// Two measurements, in nanoseconds.
    pub measured: [f64; 2],
}

impl Judged {
    /// The mean of both measurements.
    pub fn time(&self) -> f64 {
        (self.measured[0] + self.measured[1]) / 2.0
    }

    /// How far the prediction is off, as a part of the measurement.
    pub fn error(&self) -> f64 {
        self.predicted / self.time() - 1.0
    }
}

/// What a set of networks comes to.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Verdict {
    /// Networks.
    pub networks: usize,
    /// Part within 5 %.
    pub within_5: f64,
    /// Part within 10 %.
    pub within_10: f64,
    /// Part that the second measurement finds within 5 % of the first.
    pub ceiling_5: f64,
    /// Part that it finds within 10 %.
    pub ceiling_10: f64,
    /// Part within 10 % by multiply-accumulates alone, at the median rate of these networks.
    pub work_10: f64,
    /// Part whose measurement lies in the predicted interval, which is to hold nine of ten.
    pub held: f64,
    /// Median of the error, with its sign.
    pub bias: f64,
    /// Kendall's tau over pairs of networks that both lie within 15 % of one budget: at most 1.15 / 0.85 times as slow.
    pub tau: f64,
    /// The same for the second measurement, against the first.
    pub tau_again: f64,
    /// Pairs that tau is over.
    pub pairs: usize,
}

/// Largest ratio of two times within 15 % of one budget.
const NEAR: f64 = 1.15 / 0.85;

/// Sums up; `None` of no networks.
pub fn verdict(judged: &[Judged]) -> Option<Verdict> {
    let part = |of: &dyn Fn(&Judged) -> bool| judged.iter().filter(|j| of(j)).count() as f64 / judged.len() as f64;
    let again = |bound: f64| part(&|j| (j.measured[1] / j.measured[0] - 1.0).abs() <= bound);
    let rate = median(&judged.iter().map(|j| j.time() / j.macs.max(1.0)).collect::<Vec<_>>());
    let (tau, pairs) = tau(judged, &|j| j.predicted);
    (!judged.is_empty()).then(|| Verdict {
        networks: judged.len(),
        within_5: part(&|j| j.error().abs() <= 0.05),
        within_10: part(&|j| j.error().abs() <= 0.10),
        ceiling_5: again(0.05),
        ceiling_10: again(0.10),
        work_10: part(&|j| (rate * j.macs / j.time() - 1.0).abs() <= 0.10),
        held: part(&|j| (j.interval[0]..=j.interval[1]).contains(&j.time())),
        bias: median(&judged.iter().map(Judged::error).collect::<Vec<_>>()),
        tau,
        tau_again: self::tau(&again_as_prediction(judged), &|j| j.predicted).0,
        pairs,
    })
}

fn again_as_prediction(judged: &[Judged]) -> Vec<Judged> {
    let of = |j: &Judged| Judged { predicted: j.measured[1], measured: [j.measured[0]; 2], ..j.clone() };
    judged.iter().map(of).collect()
}

fn tau(judged: &[Judged], by: &dyn Fn(&Judged) -> f64) -> (f64, usize) {
    let (mut sum, mut pairs) = (0.0, 0);
    for (at, a) in judged.iter().enumerate() {
        for b in &judged[at + 1..] {
            let ratio = a.time() / b.time();
            if ratio.max(1.0 / ratio) <= NEAR && a.time() != b.time() {
                pairs += 1;
                let agree = (a.time() - b.time()) * (by(a) - by(b));
                sum += if agree > 0.0 { 1.0 } else { -1.0 };
            }
        }
    }
    (sum / pairs.max(1) as f64, pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(predicted: f64, first: f64, second: f64) -> Judged {
        Judged {
            name: String::new(),
            predicted,
            interval: [0.9 * predicted, 1.1 * predicted],
            macs: 10.0,
            measured: [first, second],
        }
    }

    #[test]
    fn a_verdict_counts_what_is_within() {
        let judged = [network(104.0, 100.0, 100.0), network(108.0, 101.0, 99.0), network(50.0, 100.0, 114.0)];
        let v = verdict(&judged).unwrap();
        let third = 1.0 / 3.0;
        assert_eq!((v.within_5, v.within_10, v.ceiling_10), (third, 2.0 * third, 2.0 * third));
        assert_eq!(v.held, 2.0 * third);
        assert_eq!(verdict(&[]), None);
    }

    #[test]
    fn order_counts_only_among_neighbours() {
        // The second pair is far from the first; within pairs, one is in order and one is not.
        let judged = [
            network(1.0, 100.0, 100.0),
            network(2.0, 110.0, 110.0),
            network(4.0, 1000.0, 1000.0),
            network(3.0, 1100.0, 1100.0),
        ];
        let v = verdict(&judged).unwrap();
        assert_eq!((v.tau, v.pairs, v.tau_again), (0.0, 2, 1.0));
    }
}
