//! Why ops are in float, in words.

use std::collections::{BTreeMap, BTreeSet};

use super::problem::{Need, Problem, When};
use super::sets::Sets;

impl Problem {
    /// For items in float: what it gains that they are, together with those in float around them.
    pub(super) fn reasons(&self, integers: &[bool]) -> BTreeMap<usize, String> {
        let mut regions = Sets::new(self.items.len());
        for bridge in &self.bridges {
            let floats: Vec<usize> = bridge.items().filter(|&item| !integers[item]).collect();
            floats.windows(2).for_each(|pair| regions.join(pair[0], pair[1]));
        }
        let region = regions.roots();
        // The placement with one region in integers, too, and the times of what has an end in the region: as chosen, and so.
        let mut without: BTreeMap<usize, (Vec<bool>, f64, f64)> = BTreeMap::new();
        for item in (0..self.items.len()).filter(|&item| !integers[item] && region[item] == item) {
            let placed = integers.iter().zip(&region).map(|(&integer, &root)| integer || root == item);
            without.insert(item, (placed.collect(), 0.0, 0.0));
        }
        let mut add = |ends: Vec<usize>, time: &dyn Fn(&[bool]) -> f64| {
            let touched: BTreeSet<usize> = ends.into_iter().filter(|&e| !integers[e]).map(|e| region[e]).collect();
            for root in touched {
                let Some((placed, float, integer)) = without.get_mut(&root) else { continue };
                *float += time(integers);
                *integer += time(placed);
            }
        };
        for (index, item) in self.items.iter().enumerate() {
            add(vec![index], &|placed| if placed[index] { item.integer } else { item.float });
        }
        self.bridges.iter().for_each(|bridge| add(bridge.items().collect(), &|placed| bridge.time(placed)));
        self.fused.iter().for_each(|f| add(f.op.into_iter().chain([f.convolution]).collect(), &|placed| f.time(placed)));
        let needed = self.by_layout.iter().flat_map(|op| &op.needs).filter_map(|need| match *need {
            Need::Item(item) => Some(item),
            _ => None,
        });
        let active = self.by_layout.iter().flat_map(|op| match op.when {
            When::Item(item) => vec![item],
            When::Stored(bridge) => self.bridges[bridge].items().collect(),
        });
        add(needed.chain(active).collect(), &|placed| self.plain(placed));
        let floats = (0..self.items.len()).filter(|&item| !integers[item]);
        floats
            .filter_map(|item| {
                let (_, float, integer) = without.get(&region[item])?;
                let (float, integer) = (microseconds(*float), microseconds(*integer));
                Some((
                    item,
                    format!("float is predicted to be faster here: {float} us against {integer} us, conversions included"),
                ))
            })
            .collect()
    }
}

/// Microseconds with two or three digits.
pub(super) fn microseconds(nanoseconds: f64) -> String {
    let time = nanoseconds / 1e3;
    match time {
        ..1.0 => format!("{time:.3}"),
        1.0..10.0 => format!("{time:.1}"),
        _ => format!("{time:.0}"),
    }
}
