//! What a predictor knows of channel counts, as the section `[width]` of a target: by it `legalize-width` and search spaces decide.
//!
//! Which multiples matter is what the rules of a family ask for. Of these the one is taken to which padding makes kernels of any width
//! cheapest on average; rates are multiply-accumulates per nanosecond of kernels that are a multiple and of those that are not.

use spaceevo_passes::Target;
use spaceevo_passes::target::{Rate, WidthRule};

use super::Predictor;
use crate::kernels::{FEATURES, Kernel, Layout};

/// Channel counts that are looked at.
const WIDTHS: std::ops::RangeInclusive<u32> = 16..=256;
/// Maps that are looked at: their height and width.
const SIZES: [u32; 3] = [7, 14, 28];

/// The section as the predictor has it; `usual` says what it knows nothing of. `None` where it knows neither kind of convolution.
pub fn width(predictor: &Predictor, target: &Target, usual: &WidthRule) -> Option<WidthRule> {
    let asked = Asked::new(predictor, target)?;
    let (conv, depthwise) = (asked.known(1), asked.known(2));
    if !conv && !depthwise {
        return None;
    }
    let mut rule = usual.clone();
    if conv {
        rule.input = asked.multiple("input channels", &|w| asked.conv([w, 128], 1));
        rule.output = asked.multiple("output channels", &|w| asked.conv([128, w], 1));
        let both = lcm(rule.input as u32, rule.output as u32);
        let rate = |window: u32| asked.rate(both, &|w| asked.conv([w, w], window));
        (rule.rates.pointwise, rule.rates.dense) = (rate(1), rate(3));
    }
    if depthwise {
        rule.depthwise = asked.multiple("input channels", &|w| asked.depthwise(w, 3));
        let multiple = rule.depthwise as u32;
        rule.rates.depthwise = asked.rate(multiple, &|w| asked.depthwise(w, 3));
        rule.rates.depthwise_large = asked.rate(multiple, &|w| asked.depthwise(w, 5));
        let mut from = 1;
        for (below, most) in &mut rule.rates.narrow {
            let widths: Vec<u32> = (from..*below as u32).filter(|w| w.is_multiple_of(multiple)).collect();
            *most = asked.mean(&widths, &|w| asked.depthwise(w, 3)).unwrap_or(*most);
            from = *below as u32;
        }
    }
    Some(rule)
}

/// A predictor, and how convolutions on stored numbers are called and laid out.
struct Asked<'a> {
    predictor: &'a Predictor,
    op: &'a str,
    layout: Layout,
}

impl<'a> Asked<'a> {
    fn new(predictor: &'a Predictor, target: &'a Target) -> Option<Asked<'a>> {
        let rules = target.kernels.as_ref()?;
        let op = rules.stored.get("onnx.Conv")?;
        let layout = if rules.channels_last.contains(op) { Layout::Last } else { Layout::Plain };
        Some(Asked { predictor, op, layout })
    }

    fn kernel(&self, [input, output]: [u32; 2], window: u32, groups: u32) -> Kernel {
        let kernel = Kernel::same(self.op, self.layout, [1, 1], [1, input, SIZES[0], SIZES[0]]);
        Kernel { output: [1, output, SIZES[0], SIZES[0]], window: [window; 2], groups, ..kernel }
    }

    fn conv(&self, channels: [u32; 2], window: u32) -> Kernel {
        self.kernel(channels, window, 1)
    }

    fn depthwise(&self, channels: u32, window: u32) -> Kernel {
        self.kernel([channels; 2], window, channels)
    }

    /// True where something was measured of such convolutions.
    fn known(&self, kind: u32) -> bool {
        let kernel = if kind == 1 { self.conv([32, 32], 1) } else { self.depthwise(32, 3) };
        self.predictor.models.contains_key(&kernel.family())
    }

    /// Nanoseconds and multiply-accumulates, the geometric means over maps.
    fn time(&self, kernel: &Kernel) -> (f64, f64) {
        let (mut nanos, mut macs) = (0.0, 0.0);
        for size in SIZES {
            let mut sized = kernel.clone();
            ([sized.input[2], sized.input[3]], [sized.output[2], sized.output[3]]) = ([size; 2], [size; 2]);
            nanos += libm::log(self.predictor.kernel(&sized).nanos);
            macs += libm::log(sized.macs());
        }
        (nanos / SIZES.len() as f64, macs / SIZES.len() as f64)
    }

    /// Of the multiples that rules ask for, and 1: the one to which padding is cheapest on average.
    fn multiple(&self, side: &str, kernel: &dyn Fn(u32) -> Kernel) -> usize {
        let family = kernel(32).family();
        let rules = self
            .predictor
            .models
            .get(&family)
            .map_or_else(Vec::new, |model| model.base.below.iter().map(|below| below.0).collect());
        let about = |feature: usize| FEATURES.get(feature).and_then(|name| name.strip_prefix("alignment of "));
        // Of a depthwise convolution both sides are one.
        let both = self.predictor.models.contains_key(&family) && kernel(32).is_depthwise();
        let fits = |feature: usize| about(feature).is_some_and(|name| name.split(" and ").any(|name| name == side) || both);
        let mut multiples: Vec<u32> =
            rules.iter().filter(|(feature, _)| fits(*feature)).map(|(_, least)| *least as u32).collect();
        multiples.push(1);
        multiples.sort_unstable();
        multiples.dedup();
        let cost = |multiple: u32| WIDTHS.map(|width| self.time(&kernel(width.next_multiple_of(multiple))).0).sum::<f64>();
        let cheapest = multiples.into_iter().map(|multiple| (cost(multiple), multiple)).min_by(|a, b| a.0.total_cmp(&b.0));
        cheapest.map_or(1, |(_, multiple)| multiple as usize)
    }

    /// Multiply-accumulates per nanosecond over some widths, the geometric mean.
    fn mean(&self, widths: &[u32], kernel: &dyn Fn(u32) -> Kernel) -> Option<f64> {
        let each = widths.iter().map(|&width| self.time(&kernel(width))).map(|(nanos, macs)| macs - nanos);
        (!widths.is_empty()).then(|| libm::exp(each.sum::<f64>() / widths.len() as f64))
    }

    fn rate(&self, multiple: u32, kernel: &dyn Fn(u32) -> Kernel) -> Rate {
        let of = |wanted: &dyn Fn(u32) -> bool| {
            let widths: Vec<u32> = WIDTHS.filter(|&width| wanted(width)).collect();
            self.mean(&widths, kernel)
        };
        let aligned = of(&|w| w.is_multiple_of(multiple)).unwrap_or(1.0);
        let even = of(&|w| !w.is_multiple_of(multiple) && w.is_multiple_of(2)).unwrap_or(aligned);
        let odd = of(&|w| !w.is_multiple_of(multiple) && !w.is_multiple_of(2)).unwrap_or(even);
        Rate { aligned, even, odd }
    }
}

fn lcm(a: u32, b: u32) -> u32 {
    let (mut x, mut y) = (a, b);
    while y > 0 {
        (x, y) = (y, x % y);
    }
    a / x.max(1) * b
}

#[cfg(test)]
mod tests {
    use super::super::{Base, Forest, Model, Origin, Overhead};
    use super::*;

    /// Depthwise convolutions that are `factor` times as fast when channels are a multiple of `least`, and nothing else.
    fn predictor(least: f32, factor: f64) -> Predictor {
        let weights = |factor: f64| std::array::from_fn(|term| factor * [10.0, 0.03].get(term).copied().unwrap_or(0.0));
        let base = Base { weights: weights(1.0), below: vec![((2, least), weights(factor - 1.0))] };
        let model = Model { samples: 100, base, forest: Forest::default(), spread: 0.03 };
        let overhead = Overhead::NONE;
        let models = [("QLinearConv-depthwise-last".to_owned(), model)].into();
        Predictor { origin: Origin::new(), overhead, models }
    }

    #[test]
    fn the_multiple_that_was_found_is_wished_for_where_padding_pays() {
        let target = Target::named("x86-vnni").unwrap();
        let usual = target.width.clone().unwrap();
        let found = width(&predictor(8.0, 4.0), &target, &usual).unwrap();
        assert_eq!((found.depthwise, found.input, found.output), (8, usual.input, usual.output));
        let rate = found.rates.depthwise;
        assert!((rate.aligned / rate.even - 4.0).abs() < 0.2, "{rate:?}");
        // A rule by which kernels hardly differ is no reason to pad.
        assert_eq!(width(&predictor(64.0, 1.02), &target, &usual).unwrap().depthwise, 1);
        let nothing = Predictor { models: Default::default(), ..predictor(8.0, 4.0) };
        assert!(width(&nothing, &target, &usual).is_none());
    }
}
