//! Takes prices that are known off those of what could only be measured together.

use spaceevo_passes::price::{
    Curve, DEQUANTIZE, GATE, IMAGE, LAYOUT, PIXEL, PIXEL_LAYOUT, PLAIN_POOL, Price, Prices, QUANTIZE, STEM, TRANSPOSE,
};

use super::kinds::{BORDER, CHANNELS, FUSED, GATED, IMAGE_NUMBERS, ISLAND, NARROW, PARTIAL_POOL, POOLED_GATE, POOLS, taps};
use super::round;

/// Takes known prices off what could only be measured together.
pub(super) fn settle(prices: &mut Prices) {
    for table in [&mut prices.float, &mut prices.integer] {
        for pool in POOLS {
            let (Some(whole), Some(conv)) = (table.get(pool), table.get("conv1x1")) else { continue };
            let rest = less(whole, &[&before_pool(whole, conv, taps(pool))], 1.0);
            table.insert(pool.to_owned(), rest);
        }
        if let (Some(gate), Some(pool), Some(conv)) = (table.get(GATE), table.get(POOLED_GATE), table.get("depthwise")) {
            let each = Price { speed: conv.speed.times(1.0 / 9.0), ..conv.clone() };
            let gate = less(gate, &[&each], 1.0);
            let pool = less(pool, &[&per_number(conv, GATED, 9, 1), &per_number(&gate, GATED, 1, 1)], 1.0);
            table.insert(GATE.to_owned(), gate);
            table.insert(POOLED_GATE.to_owned(), pool);
        }
        if let (Some(stem), Some(pixel), Some(sum)) = (table.get(STEM), table.get("depthwise"), table.get("onnx.Add")) {
            let stem = less(stem, &[&of_a_call(pixel), &of_a_call(sum)], 1.0);
            table.insert(STEM.to_owned(), stem);
        }
    }
    let Prices { float, integer, fused, .. } = prices;
    for (kind, op) in FUSED {
        if let (Some(whole), Some(conv)) = (float.remove(kind), float.get("depthwise")) {
            let alone = per_number(conv, CHANNELS, 9, 1);
            let nanos = |price: &Price| 1.0 / price.speed.at(1.0);
            fused.insert(op.to_owned(), ((nanos(&whole) - nanos(&alone)).max(0.0) * 1e3).round() / 1e3);
        }
    }
    if let (Some(whole), Some(conv)) = (float.remove(PARTIAL_POOL), float.get("conv1x1")) {
        let pool = less(&whole, &[&before_pool(&whole, conv, taps(PARTIAL_POOL))], 1.0);
        float.insert(PLAIN_POOL.to_owned(), pool);
    }
    if let (Some(island), Some(alone)) = (integer.remove(ISLAND), float.remove(ISLAND)) {
        for operator in [QUANTIZE, DEQUANTIZE] {
            integer.insert(operator.to_owned(), less(&island, &[&alone], 2.0));
        }
    }
    if let (Some(image), Some(stem), Some(quantize)) = (integer.get(IMAGE), integer.get(STEM), integer.get(QUANTIZE)) {
        let stem = per_number(stem, NARROW, 3, IMAGE_NUMBERS);
        let image = less(image, &[&stem, quantize], 1.0);
        integer.insert(IMAGE.to_owned(), image);
    }
    if let (Some(border), Some(conv), Some(stored)) = (integer.remove(BORDER), float.get("conv1x1"), integer.get("conv1x1"))
        && let (Some(quantize), Some(dequantize)) = (integer.get(QUANTIZE), integer.get(DEQUANTIZE))
    {
        let (conv, stored) = (per_number(conv, NARROW, NARROW, 1), per_number(stored, NARROW, NARROW, 1));
        let known = [&conv, &conv, &stored, quantize, dequantize];
        integer.insert(LAYOUT.to_owned(), less(&border, &known, 2.0));
    }
    if let (Some(border), Some(conv), Some(stored)) = (integer.get(PIXEL_LAYOUT), float.get(PIXEL), integer.get(PIXEL))
        && let (Some(quantize), Some(dequantize)) = (integer.get(QUANTIZE), integer.get(DEQUANTIZE))
    {
        // Of a number; each is made of as many products as there are channels.
        let known = |channels: f64| {
            let products = 2.0 / conv.speed.at(channels) + 1.0 / stored.speed.at(channels);
            channels * products + (quantize.call + dequantize.call) / channels
        };
        let rest = |channels: f64, speed: f64| (1.0 / speed - known(channels)).max(0.05 / speed) / 2.0;
        let speed = border.speed.map(|channels, speed| round(1.0 / rest(channels, speed)));
        integer.insert(PIXEL_LAYOUT.to_owned(), Price { speed, call: 0.0 });
    }
    if let (Some(whole), Some(conv), Some(sum)) = (integer.get(TRANSPOSE), integer.get("conv1x1"), integer.get("onnx.Add")) {
        let alone = less(whole, &[&per_number(conv, NARROW, NARROW, 1), sum], 2.0);
        integer.insert(TRANSPOSE.to_owned(), alone);
    }
    if let (Some(whole), Some(sum)) = (integer.get(PLAIN_POOL), integer.get("onnx.Add")) {
        let sum = Price { speed: sum.speed.times(taps(PLAIN_POOL) as f64), call: sum.call };
        let alone = less(whole, &[&sum], 1.0);
        integer.insert(PLAIN_POOL.to_owned(), alone);
    }
}

/// The price of a convolution of so many channels and products for each number, with so many parts of a number that it makes as
/// the unit of work.
fn per_number(conv: &Price, channels: usize, products: usize, parts: usize) -> Price {
    let speed = Curve::try_from(vec![(1, conv.speed.at(channels as f64) * parts as f64 / products as f64)]);
    Price { call: conv.call, speed: speed.unwrap_or_else(|_| conv.speed.clone()) }
}

/// The price of the 1x1 convolution before a pool, at the pool's channels, with a tap of the pool as the unit of work.
fn before_pool(pool: &Price, conv: &Price, taps: usize) -> Price {
    Price { call: conv.call, speed: pool.speed.map(|channels, _| conv.speed.at(channels) * taps as f64 / channels) }
}

/// The price of a call of a kernel that has nothing to do.
fn of_a_call(price: &Price) -> Price {
    Price { speed: price.speed.times(1e9), call: price.call }
}

/// The price of what is left when known prices are taken off, divided by `parts`; at least a twentieth of the whole.
fn less(whole: &Price, known: &[&Price], parts: f64) -> Price {
    let all = |of: &dyn Fn(&Price) -> f64| known.iter().map(|price| of(price)).sum::<f64>();
    let rest = |whole: f64, known: f64| (whole - known).max(0.05 * whole) / parts;
    Price {
        call: round(rest(whole.call, all(&|price| price.call))),
        speed: (whole.speed).map(|n, speed| round(1.0 / rest(1.0 / speed, all(&|price| 1.0 / price.speed.at(n))))),
    }
}
