//! The exact share of a space's subnets within a limit: the distributions of its stages' latencies, convolved in whole nanoseconds.

use crate::hyperspace::Choice;
use crate::pool::{Pool, latency};

/// Cells of latency that are kept at most.
const MOST_CELLS: u64 = 4_000_000;

/// The share of subnets with a latency of at most `limit` nanoseconds, every resolution counting alike.
///
/// Latencies are counted in their greatest common divisor (published tables: 100 ns). Counts are exact below 2^53 subnets; beyond,
/// and in tables so fine that there would be more than 4 million cells (`None` then), they would be rounded.
pub fn share(pool: &Pool, choice: &Choice, limit: u32) -> Option<f64> {
    let stages = pool.hyperspace.stages.len();
    let index = |s: usize| pool.choice_index(choice, s);
    let mut total = 0.0;
    for r in 0..pool.resolutions.len() {
        let lists: Vec<Vec<u64>> =
            (0..stages).map(|s| pool.entry(s, index(s), r).pairs.iter().map(|&p| u64::from(latency(p))).collect()).collect();
        let least: Vec<u64> = lists.iter().map(|l| l.iter().copied().min().unwrap_or(0)).collect();
        let unit = lists.iter().zip(&least).flat_map(|(l, &m)| l.iter().map(move |&t| t - m)).fold(0, gcd).max(1);
        let Some(room) = u64::from(limit).checked_sub(least.iter().sum()) else { continue };
        let cells = room / unit + 1;
        if cells > MOST_CELLS {
            return None;
        }
        let mut counts = vec![0.0_f64; cells as usize];
        counts[0] = 1.0;
        for (list, least) in lists.iter().zip(&least) {
            let mut next = vec![0.0; counts.len()];
            for t in list {
                let shift = ((t - least) / unit) as usize;
                if shift < counts.len() {
                    for (sum, c) in next[shift..].iter_mut().zip(&counts) {
                        *sum += c;
                    }
                }
            }
            counts = next;
        }
        let all: f64 = lists.iter().map(|l| l.len() as f64).product();
        total += counts.iter().sum::<f64>() / all;
    }
    Some(total / pool.resolutions.len() as f64)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
