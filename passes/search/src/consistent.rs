//! The best subnet whose widths join: every stage is fed what the stage before puts out.
//!
//! Rows of tables name the channels that their sub-stage was evaluated with. The published score, and [`crate::best`] with it, takes any
//! row of the next stage whatever it was fed; here fronts are kept for each width, and a row continues those of its own channels only.

use std::collections::BTreeMap;

use crate::best::{Found, Pick};
use crate::front::{Point, front};
use crate::pool::{Pool, latency, loss};

/// A way to begin, in the front of its width.
#[derive(Clone, Copy)]
struct Begun {
    latency: u64,
    loss: u64,
    /// Width and place of what it continues.
    from: (u32, u32),
    pick: Pick,
}

/// Ways to begin, by the width that they end with.
type Fronts = BTreeMap<u32, Vec<Begun>>;

/// The best subnet within a limit in nanoseconds; of equal ones the one at the smallest resolution.
pub fn within(pool: &Pool, limit: u64) -> Option<Found> {
    let each = (0..pool.resolutions.len()).filter_map(|r| at(pool, r, limit));
    each.min_by_key(|f| (f.loss, f.resolution))
}

fn at(pool: &Pool, r: usize, limit: u64) -> Option<Found> {
    let mut chain: Vec<Fronts> = Vec::new();
    for stage in 0..pool.hyperspace.stages.len() {
        let next = extended(chain.last(), &rows(pool, stage, r), limit);
        chain.push(next);
    }
    let ends =
        chain.last()?.iter().flat_map(|(&width, front)| (0..).zip(front).map(move |(i, b)| (b.loss, b.latency, width, i)));
    let (loss, latency, mut width, mut place) = ends.min()?;
    let mut picks = Vec::new();
    for fronts in chain.iter().rev() {
        let begun = fronts[&width][place as usize];
        picks.push(begun.pick);
        (width, place) = begun.from;
    }
    picks.reverse();
    Some(Found { loss, latency, resolution: pool.resolutions[r], picks })
}

/// The rows of a stage that no other with the same channels and width beats; `from` is the choice, `item` the row.
fn rows(pool: &Pool, stage: usize, r: usize) -> BTreeMap<(u32, u32), Vec<Point>> {
    let mut all: BTreeMap<(u32, u32), Vec<Point>> = BTreeMap::new();
    for choice in 0..pool.choices(stage) {
        for item in &pool.entry(stage, choice, r).items {
            let (latency, loss) = (u64::from(latency(item.pair)), u64::from(loss(item.pair)));
            let point = Point { latency, loss, from: choice as u32, item: item.row };
            all.entry((item.channels, item.width)).or_default().push(point);
        }
    }
    all.into_iter().map(|(widths, points)| (widths, front(points))).collect()
}

/// All of `before` continued by all rows that they can feed; without `before`, by any row.
fn extended(before: Option<&Fronts>, rows: &BTreeMap<(u32, u32), Vec<Point>>, limit: u64) -> Fronts {
    let mut next = Fronts::new();
    for (&(channels, width), points) in rows {
        let nothing = [Begun { latency: 0, loss: 0, from: (0, 0), pick: Pick { choice: 0, row: 0 } }];
        let begun = match before {
            None => &nothing[..],
            Some(fronts) => fronts.get(&channels).map_or(&[][..], Vec::as_slice),
        };
        for (place, b) in (0..).zip(begun) {
            let with = |p: &Point| Begun {
                latency: b.latency + p.latency,
                loss: b.loss + p.loss,
                from: (channels, place),
                pick: Pick { choice: p.from as usize, row: p.item },
            };
            next.entry(width).or_default().extend(points.iter().map(with).filter(|b| b.latency <= limit));
        }
    }
    for all in next.values_mut() {
        // Of equal ones the first by origin stays: the sort is stable.
        all.sort_by_key(|b| (b.latency, b.loss));
        let mut least = u64::MAX;
        all.retain(|b| {
            let better = b.loss < least;
            least = least.min(b.loss);
            better
        });
    }
    next
}
