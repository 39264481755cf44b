//! Pareto fronts of loss over latency.

/// A point of a front, and what it was made of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Point {
    /// Nanoseconds.
    pub latency: u64,
    /// Millionths.
    pub loss: u64,
    /// Index of the point of the front that this one continues.
    pub from: u32,
    /// Index of the item that was added.
    pub item: u32,
}

/// The points that no other beats, by rising latency and falling loss. Of equal points the first by origin stays.
pub fn front(mut points: Vec<Point>) -> Vec<Point> {
    points.sort_unstable();
    let mut least = u64::MAX;
    points.retain(|p| {
        let better = p.loss < least;
        least = least.min(p.loss);
        better
    });
    points
}

/// The front of all sums of a point and an item.
pub fn extend(points: &[Point], items: &[Point]) -> Vec<Point> {
    let mut sums = Vec::with_capacity(points.len() * items.len());
    for (from, p) in (0..).zip(points) {
        let sum = |(item, q): (u32, &Point)| Point { latency: p.latency + q.latency, loss: p.loss + q.loss, from, item };
        sums.extend((0..).zip(items).map(sum));
    }
    front(sums)
}

/// The least loss of a front within a latency, with its index.
pub fn within(front: &[Point], latency: u64) -> Option<(usize, &Point)> {
    let end = front.partition_point(|p| p.latency <= latency);
    end.checked_sub(1).map(|i| (i, &front[i]))
}

/// The pair of points of two fronts with the least sum of losses whose latencies together are within the limit.
pub fn best_pair(a: &[Point], b: &[Point], limit: u64) -> Option<(u64, usize, usize)> {
    let mut best: Option<(u64, usize, usize)> = None;
    let mut end = b.len();
    for (i, p) in a.iter().enumerate() {
        while end > 0 && p.latency + b[end - 1].latency > limit {
            end -= 1;
        }
        let Some(j) = end.checked_sub(1) else { break };
        let loss = p.loss + b[j].loss;
        if best.is_none_or(|(least, ..)| loss < least) {
            best = Some((loss, i, j));
        }
    }
    best
}
