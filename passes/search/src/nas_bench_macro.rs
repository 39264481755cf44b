//! NAS-Bench-Macro: 6,561 networks that were all trained on CIFAR-10 (Su et al., 2021), the truth that searches can be held against.
//!
//! A network is eight digits, one for each layer: 0 identity, 1 MobileNetV2 block with expansion 3 and 3x3 kernels, 2 the same with
//! expansion 6 and 5x5 kernels.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use spaceevo_ir::{Diagnostic, Loc};

use crate::random::Random;

/// Layers of a network, and options for each.
const LAYERS: usize = 8;
const OPTIONS: usize = 3;

/// All networks, by the number that their digits make in base 3.
#[derive(Clone, PartialEq, Debug)]
pub struct Benchmark {
    networks: Vec<Network>,
}

/// A trained network.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Network {
    /// Mean test accuracy in percent.
    pub accuracy: f64,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Parameters.
    pub params: u64,
}

#[derive(Deserialize)]
struct Entry {
    mean_acc: f64,
    params: u64,
    flops: u64,
}

/// How networks are sought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// Uniformly at random, none twice.
    Random,
    /// Regularized evolution (Real et al. 2019): population 50, tournament 10.
    Regularized,
    /// The published evolution of spaces in small: none twice, and tournaments of a quarter of the population.
    Spaces,
}

impl Benchmark {
    /// Reads the published JSON.
    ///
    /// Errors: `table-format` where it is something else, or a network is missing.
    pub fn parse(text: &str) -> Result<Benchmark, Diagnostic> {
        let wrong = |what: String| Diagnostic::error("table-format", Loc::Unknown, format!("NAS-Bench-Macro: {what}"));
        let entries: std::collections::BTreeMap<String, Entry> =
            serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
        let count = OPTIONS.pow(LAYERS as u32);
        let mut networks = vec![None; count];
        for (name, entry) in entries {
            let number = Benchmark::number(&name).ok_or_else(|| wrong(format!("'{name}' is no network")))?;
            networks[number] = Some(Network { accuracy: entry.mean_acc, macs: entry.flops, params: entry.params });
        }
        let missing = networks.iter().position(Option::is_none);
        if let Some(number) = missing {
            return Err(wrong(format!("the network {} is missing", Benchmark::name(number))));
        }
        Ok(Benchmark { networks: networks.into_iter().flatten().collect() })
    }

    /// The number of a network's digits.
    pub fn number(name: &str) -> Option<usize> {
        let digits: Option<Vec<usize>> = name.chars().map(|c| c.to_digit(3).map(|d| d as usize)).collect();
        digits.filter(|d| d.len() == LAYERS).map(|d| d.iter().fold(0, |n, d| n * OPTIONS + d))
    }

    /// The digits of a network's number.
    pub fn name(number: usize) -> String {
        (0..LAYERS).rev().map(|i| char::from(b'0' + (number / OPTIONS.pow(i as u32) % OPTIONS) as u8)).collect()
    }

    /// A network.
    pub fn network(&self, number: usize) -> Network {
        self.networks[number]
    }

    /// The most accurate network with at most so many MACs.
    pub fn best(&self, macs: u64) -> Option<usize> {
        let within = (0..self.networks.len()).filter(|&n| self.networks[n].macs <= macs);
        within.max_by(|&a, &b| self.networks[a].accuracy.total_cmp(&self.networks[b].accuracy).then(b.cmp(&a)))
    }

    /// The best accuracy after each evaluation, for a budget of them.
    pub fn search(&self, method: Method, budget: usize, macs: u64, seed: u64) -> Vec<f64> {
        let mut random = Random::new(&[seed, 77]);
        let mut seen = vec![false; self.networks.len()];
        let allowed: Vec<usize> = (0..self.networks.len()).filter(|&n| self.networks[n].macs <= macs).collect();
        let mut population: VecDeque<usize> = VecDeque::new();
        let mut curve: Vec<f64> = Vec::new();
        let (size, tournament) = (50.min(budget), 10);
        let mut idle = 0;
        while curve.len() < budget.min(allowed.len()) && idle < 100_000 {
            let fresh = method == Method::Random || population.len() < size;
            let candidate = if fresh {
                *random.pick(&allowed)
            } else {
                let entrants: Vec<usize> = match method {
                    Method::Spaces => {
                        let mut all: Vec<usize> = population.iter().copied().collect();
                        let take = (all.len() / 4).max(1);
                        for i in 0..take {
                            let j = i + random.below(all.len() - i);
                            all.swap(i, j);
                        }
                        all.truncate(take);
                        all
                    }
                    _ => (0..tournament).map(|_| population[random.below(population.len())]).collect(),
                };
                let better = |a: &usize, b: &usize| self.networks[*a].accuracy.total_cmp(&self.networks[*b].accuracy);
                let parent = entrants.into_iter().max_by(better).unwrap_or(0);
                let place = OPTIONS.pow(random.below(LAYERS) as u32);
                let digit = parent / place % OPTIONS;
                let other = random.other(OPTIONS, digit).unwrap_or(digit);
                parent - digit * place + other * place
            };
            let refused = self.networks[candidate].macs > macs || (method != Method::Regularized && seen[candidate]);
            if refused {
                idle += 1;
                continue;
            }
            idle = 0;
            seen[candidate] = true;
            let here = self.networks[candidate].accuracy;
            curve.push(curve.last().map_or(here, |&best| best.max(here)));
            population.push_back(candidate);
            if population.len() > size {
                population.pop_front();
            }
        }
        curve
    }
}
