//! Search for the best subnet of a space, with any source of accuracy (SpaceEvo's second stage).
//!
//! A population of subnets inside of a latency band; the better half stays and makes children: half by mutation, half by crossover.
//! Subnets outside of the band cost a latency, not an evaluation; none is evaluated twice.

use std::collections::HashSet;

use crate::encoding::{BlockChoice, Subnet};
use crate::hyperspace::{Block, Choice, Hyperspace, Stage};
use crate::random::Random;

/// How to search. The default is as published.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// Subnets that live at a time.
    pub population: usize,
    /// Generations after the first.
    pub generations: usize,
    /// Children by mutation in each.
    pub mutations: usize,
    /// Children by crossover in each.
    pub crossovers: usize,
    /// Probability that a depth, or a block's kernel, width or expansion, is drawn again.
    pub mutation: f64,
    /// Probability that the resolution is drawn again.
    pub resolution: f64,
    /// Least and most latency.
    pub band: (f64, f64),
    /// Seed.
    pub seed: u64,
}

impl Settings {
    /// The published procedure in a latency band in milliseconds: 512 + 20 * 256 evaluations.
    pub const fn published(band: (f64, f64), seed: u64) -> Settings {
        Settings {
            population: 512,
            generations: 20,
            mutations: 128,
            crossovers: 128,
            mutation: 0.3,
            resolution: 0.5,
            band,
            seed,
        }
    }
}

/// An evaluated subnet.
#[derive(Clone, PartialEq, Debug)]
pub struct Evaluated {
    /// The subnet.
    pub subnet: Subnet,
    /// Its accuracy, or whatever shall be large.
    pub fitness: f64,
    /// Its latency in milliseconds.
    pub latency: f64,
    /// Where it came from.
    pub origin: Origin,
}

/// Where a subnet came from; numbers are places in the list of all that were evaluated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Drawn.
    Drawn,
    /// A mutation of that one.
    Mutation(usize),
    /// The first, with something of the second.
    Crossover(usize, usize),
}

/// Something that says how good subnets are: a sum of tables, or a trained supernet.
pub trait Accuracy {
    /// The fitness of each, in order; larger is better.
    fn evaluate(&self, subnets: &[Subnet]) -> Vec<f64>;

    /// The subnet that is evaluated where this one is wanted: the nearest that the source knows. Most know all.
    fn nearest(&self, wanted: Subnet) -> Option<Subnet> {
        Some(wanted)
    }
}

impl<F: Fn(&Subnet) -> f64> Accuracy for F {
    fn evaluate(&self, subnets: &[Subnet]) -> Vec<f64> {
        subnets.iter().map(self).collect()
    }
}

/// Attempts for each child that is sought.
const ATTEMPTS: usize = 2000;

/// Searches a space. `latency` is `None` where it is not known: such subnets are left out.
///
/// Returns every evaluated subnet, in order; less than asked for where the band holds no more.
pub fn search(
    hyperspace: &Hyperspace,
    choice: &Choice,
    settings: &Settings,
    accuracy: &dyn Accuracy,
    latency: &dyn Fn(&Subnet) -> Option<f64>,
) -> Vec<Evaluated> {
    let genes = Genes { hyperspace, choice };
    let mut known: HashSet<Subnet> = HashSet::new();
    let mut all: Vec<Evaluated> = Vec::new();
    // Adds up to `count` new subnets of the band, made by `make`; returns their places in `all`.
    let mut grow = |all: &mut Vec<Evaluated>, count: usize, stream: u64, make: &Make<'_>| {
        let mut random = Random::new(&[settings.seed, stream]);
        let mut made = Vec::new();
        for _ in 0..count.saturating_mul(ATTEMPTS) {
            if made.len() == count {
                break;
            }
            let (wanted, origin) = make(all, &mut random);
            let Some(subnet) = accuracy.nearest(wanted).filter(|s| !known.contains(s)) else { continue };
            let ms = latency(&subnet).filter(|ms| (settings.band.0..=settings.band.1).contains(ms));
            if let Some(ms) = ms {
                known.insert(subnet.clone());
                made.push((subnet, (ms, origin)));
            }
        }
        let (subnets, rest): (Vec<Subnet>, Vec<(f64, Origin)>) = made.into_iter().unzip();
        let fitness = accuracy.evaluate(&subnets);
        let join = |((subnet, (latency, origin)), fitness)| Evaluated { subnet, fitness, latency, origin };
        let first = all.len();
        all.extend(subnets.into_iter().zip(rest).zip(fitness).map(join));
        first..all.len()
    };
    let mut parents: Vec<usize> =
        grow(&mut all, settings.population, 0, &|_, random| (genes.draw(random), Origin::Drawn)).collect();
    for generation in 0..settings.generations as u64 {
        parents.sort_by(|&a, &b| all[b].fitness.total_cmp(&all[a].fitness));
        parents.truncate(settings.population.div_ceil(2));
        if parents.is_empty() {
            break;
        }
        let kept = parents.clone();
        parents.extend(grow(&mut all, settings.mutations, 2 * generation + 1, &|all, random| {
            let parent = *random.pick(&kept);
            (genes.mutate(&all[parent].subnet, settings, random), Origin::Mutation(parent))
        }));
        parents.extend(grow(&mut all, settings.crossovers, 2 * generation + 2, &|all, random| {
            let first = random.below(kept.len());
            let second = random.other(kept.len(), first).unwrap_or(first);
            let (first, second) = (kept[first], kept[second]);
            (genes.cross(&all[first].subnet, &all[second].subnet, random), Origin::Crossover(first, second))
        }));
    }
    all
}

/// Makes a subnet from those that were evaluated.
type Make<'a> = dyn Fn(&[Evaluated], &mut Random) -> (Subnet, Origin) + 'a;

/// The evaluated subnets that no other beats in both latency and fitness, by latency.
pub fn pareto(all: &[Evaluated]) -> Vec<&Evaluated> {
    let mut sorted: Vec<&Evaluated> = all.iter().collect();
    sorted.sort_by(|a, b| a.latency.total_cmp(&b.latency).then(b.fitness.total_cmp(&a.fitness)));
    let mut best = f64::NEG_INFINITY;
    sorted.retain(|e| {
        let better = e.fitness > best;
        best = best.max(e.fitness);
        better
    });
    sorted
}

/// How subnets of one space are made.
struct Genes<'a> {
    hyperspace: &'a Hyperspace,
    choice: &'a Choice,
}

impl Genes<'_> {
    /// Stages with depths: what each is made of, and the widths that it may have.
    fn stages(&self) -> impl Iterator<Item = (&Stage, &Block, &[u32])> {
        let stem = self.hyperspace.stem.iter().map(|s| (s, &s.blocks[0], s.widths.as_slice()));
        let searched = self.hyperspace.stages.iter().zip(self.choice.blocks.iter().zip(&self.choice.windows));
        stem.chain(searched.map(|(s, (&b, &w))| (s, &s.blocks[usize::from(b)], s.window(usize::from(w)))))
    }

    fn block(kind: &Block, widths: &[u32], random: &mut Random) -> BlockChoice {
        let expand = (!kind.expands.is_empty()).then(|| *random.pick(&kind.expands));
        BlockChoice { kernel: *random.pick(&kind.kernels), width: *random.pick(widths), expand }
    }

    fn depth(stage: &Stage, random: &mut Random) -> u32 {
        stage.depths.0 + random.below((stage.depths.1 - stage.depths.0 + 1) as usize) as u32
    }

    fn draw(&self, random: &mut Random) -> Subnet {
        let mut subnet =
            Subnet { depths: Vec::new(), blocks: Vec::new(), resolution: *random.pick(&self.hyperspace.resolutions) };
        for (stage, kind, widths) in self.stages() {
            let depth = Self::depth(stage, random);
            subnet.depths.push(depth);
            subnet.blocks.extend((0..depth).map(|_| Self::block(kind, widths, random)));
        }
        subnet
    }

    fn mutate(&self, parent: &Subnet, settings: &Settings, random: &mut Random) -> Subnet {
        let mut child = Subnet { depths: Vec::new(), blocks: Vec::new(), resolution: parent.resolution };
        if random.chance(settings.resolution) {
            child.resolution = *random.pick(&self.hyperspace.resolutions);
        }
        for ((stage, kind, widths), blocks) in self.stages().zip(parent.stages()) {
            let depth = if random.chance(settings.mutation) { Self::depth(stage, random) } else { blocks.len() as u32 };
            child.depths.push(depth);
            for i in 0..depth as usize {
                let fresh = Self::block(kind, widths, random);
                let mut block = blocks.get(i).copied().unwrap_or(fresh);
                if random.chance(settings.mutation) {
                    block.kernel = fresh.kernel;
                }
                if random.chance(settings.mutation) {
                    block.width = fresh.width;
                }
                if random.chance(settings.mutation) {
                    block.expand = fresh.expand;
                }
                child.blocks.push(block);
            }
        }
        child
    }

    fn cross(&self, a: &Subnet, b: &Subnet, random: &mut Random) -> Subnet {
        let mut child =
            Subnet { depths: Vec::new(), blocks: Vec::new(), resolution: if random.chance(0.5) { a } else { b }.resolution };
        for (x, y) in a.stages().zip(b.stages()) {
            let depth = if random.chance(0.5) { x.len() } else { y.len() };
            child.depths.push(depth as u32);
            for i in 0..depth {
                // At least one parent has this block: its depth was one of theirs.
                let (Some(p), Some(q)) = (x.get(i).or(y.get(i)), y.get(i).or(x.get(i))) else { continue };
                child.blocks.push(BlockChoice {
                    kernel: if random.chance(0.5) { p } else { q }.kernel,
                    width: if random.chance(0.5) { p } else { q }.width,
                    expand: if random.chance(0.5) { p } else { q }.expand,
                });
            }
        }
        child
    }
}
