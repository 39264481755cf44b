//! Normalization, attention, losses and signal processing.

use crate::graph::{MICROSOFT, ONNX};
use crate::interp::Fault;
use crate::types::{Dim, Elem, Shape, Type};

use super::Entry;
use super::dims::{Num, axis, private_dim};
use super::elementwise::same;
use super::site::{Site, tensor, unknown};

pub(super) const RULES: &[Entry] = &[
    (ONNX, "Attention", attention),
    (ONNX, "BatchNormalization", batch_norm),
    (ONNX, "CausalConvWithState", causal_conv),
    (ONNX, "DFT", dft),
    (ONNX, "GroupNormalization", same),
    (ONNX, "InstanceNormalization", same),
    (ONNX, "LRN", same),
    (ONNX, "LayerNormalization", layer_norm),
    (ONNX, "LpNormalization", same),
    (ONNX, "MeanVarianceNormalization", same),
    (ONNX, "NegativeLogLikelihoodLoss", loss),
    (ONNX, "RMSNormalization", same),
    (ONNX, "RotaryEmbedding", same),
    (ONNX, "STFT", stft),
    (ONNX, "SimplifiedLayerNormalization", layer_norm),
    (ONNX, "SoftmaxCrossEntropyLoss", loss),
    (MICROSOFT, "SkipLayerNormalization", skip_layer_norm),
    (MICROSOFT, "SkipSimplifiedLayerNormalization", skip_layer_norm),
];

/// BatchNormalization: the data; while training also running mean and variance, one per channel.
fn batch_norm(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let channels = match site.shape(0) {
        Some([_, c, ..]) => {
            if let (Some(c), Some(scale)) = (c.known(), site.dim(1, 0).known())
                && c != scale
            {
                return Err(format!("{scale} scales for {c} channels"));
            }
            c.clone()
        }
        _ => site.dim(1, 0),
    };
    let statistic = |index: usize| tensor(site.elem(index), Some(vec![channels.clone()]));
    Ok(vec![site.like(0), statistic(3), statistic(4), statistic(3), statistic(4)])
}

/// LayerNormalization: the data, and mean and inverse deviation with 1 from the axis on.
fn layer_norm(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let statistic = match (site.shape(0), site.axis("axis", -1, 0)?) {
        (Some(shape), Some(at)) => {
            let dims = shape.iter().enumerate().map(|(a, d)| if a < at { d.clone() } else { Dim::Known(1) });
            Some(dims.collect::<Shape>())
        }
        _ => None,
    };
    let elem = site.elem_attr("stash_type", Some(Elem::F32));
    Ok(vec![site.like(0), tensor(elem, statistic.clone()), tensor(elem, statistic)])
}

/// SkipLayerNormalization: results 0 and 3 are like the data.
fn skip_layer_norm(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let statistic = site.shape(0).and_then(|s| s.split_last()).map(|(_, front)| {
        let mut dims = front.to_vec();
        dims.push(Dim::Known(1));
        dims
    });
    let statistic = tensor(Some(Elem::F32), statistic);
    Ok(vec![site.like(0), statistic.clone(), statistic, site.like(0)])
}

/// Losses: a scalar, or one number per element (batch and spatial axes) without reduction; the logarithms beside it.
fn loss(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let each = site.text("reduction", "mean") == "none";
    let shape = if each { site.shape(1).map(<[_]>::to_vec) } else { Some(Shape::new()) };
    Ok(vec![tensor(site.elem(0), shape), site.like(0)])
}

/// Attention of Q [B, heads, S, D] (or [B, S, heads * D]), K and V: the data, the present keys and values, and the scores.
fn attention(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let (Some(q), Some(k), Some(v)) = (site.shape(0), site.shape(1), site.shape(2)) else {
        return Ok(vec![tensor(site.elem(0), None), tensor(site.elem(1), None), tensor(site.elem(2), None)]);
    };
    let heads = |name: &str| site.maybe_int(name).map_or(Num::Unknown, Num::Known);
    let per_head = |whole: &Dim, heads: &Num| match (whole.known(), heads.known()) {
        (Some(n), Some(h)) if h > 0 && n % h as u64 == 0 => Ok(Dim::Known(n / h as u64)),
        (Some(n), Some(h)) => Err(format!("{n} features are no multiple of {h} heads")),
        _ => Ok(Dim::Unknown),
    };
    // Batch, heads, length, features of each.
    let part = |shape: &[Dim], name: &str| -> Result<[Dim; 4], Fault> {
        match shape {
            [b, h, s, d] => Ok([b.clone(), h.clone(), s.clone(), d.clone()]),
            [b, s, f] => Ok([b.clone(), heads(name).dim()?, s.clone(), per_head(f, &heads(name))?]),
            _ => Err(format!("an operand of rank {}", shape.len())),
        }
    };
    let ([b, qh, qs, _], [_, kh, ks, kd], [_, vh, vs, vd]) =
        (part(q, "q_num_heads")?, part(k, "kv_num_heads")?, part(v, "kv_num_heads")?);
    let y = if q.len() == 3 {
        vec![b.clone(), qs.clone(), Num::of(&qh).mul(&Num::of(&vd)).dim()?]
    } else {
        vec![b.clone(), qh.clone(), qs.clone(), vd.clone()]
    };
    let past = |index: usize, own: Dim| {
        if site.has(index) { Num::of(&site.dim(index, 2)).add(&Num::of(&own)).dim() } else { Ok(own) }
    };
    let (total_k, total_v) = (past(4, ks)?, past(5, vs)?);
    Ok(vec![
        tensor(site.elem(0), Some(y)),
        tensor(site.elem(1), Some(vec![b.clone(), kh, total_k.clone(), kd])),
        tensor(site.elem(2), Some(vec![b.clone(), vh, total_v, vd])),
        tensor(site.elem(0), Some(vec![b, qh, qs, total_k])),
    ])
}

/// CausalConvWithState: the data, and the last `k - 1` positions as state.
fn causal_conv(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let state = Num::of(&site.dim(1, 2)).sub(&Num::Known(1)).dim()?;
    let shape = vec![site.dim(0, 0), site.dim(0, 1), state];
    Ok(vec![site.like(0), tensor(site.elem(0), Some(shape))])
}

/// DFT: complex numbers last, or real ones for an inverse of one side; the axis may be cut or padded to `dft_length`.
fn dft(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let Some(shape) = site.shape(0) else { return Ok(vec![tensor(site.elem(0), None)]) };
    let at = if site.opset < 20 {
        site.int("axis", 1)
    } else if site.has(2) {
        site.scalar(2)
    } else {
        Some(-2)
    };
    let (Some(at), Some(onesided), Some(inverse)) = (at, site.int("onesided", 0), site.int("inverse", 0)) else {
        return Ok(vec![tensor(site.elem(0), Some(unknown(shape.len())))]);
    };
    let at = axis(at, shape.len())?;
    let mut dims = shape.to_vec();
    if site.has(1) {
        dims[at] = match site.nums(1).as_deref() {
            Some([length]) => length.dim()?,
            _ => Dim::Unknown,
        };
    }
    let both = onesided != 0 && inverse != 0;
    if onesided != 0 {
        dims[at] = match &dims[at] {
            Dim::Known(n) if inverse == 0 => Dim::Known(n / 2 + 1),
            // The length of an inverse of one side is that of the whole.
            Dim::Known(n) if site.has(1) => Dim::Known(*n),
            Dim::Known(n) => n.checked_sub(1).and_then(|n| n.checked_mul(2)).map_or(Dim::Unknown, Dim::Known),
            Dim::Named(name) if inverse == 0 => private_dim(&format!("onesided({name})")),
            _ => Dim::Unknown,
        };
    }
    if let Some(last) = dims.last_mut() {
        *last = Dim::Known(if both { 1 } else { 2 });
    }
    Ok(vec![tensor(site.elem(0), Some(dims))])
}

/// STFT: batch, frames, bins, complex.
fn stft(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let step = site.scalar(1);
    let length = if site.has(3) { site.scalar(3) } else { site.dim(2, 0).known().and_then(|n| i64::try_from(n).ok()) };
    let bins = match (length, site.int("onesided", 1)) {
        (Some(n), Some(one)) => Num::Known(if one != 0 { n / 2 + 1 } else { n }).dim()?,
        _ => Dim::Unknown,
    };
    let frames = match (site.dim(0, 1).known().and_then(|n| i64::try_from(n).ok()), length, step) {
        (Some(n), Some(length), Some(step)) if step > 0 && n >= length => Num::Known((n - length) / step + 1).dim()?,
        _ => Dim::Unknown,
    };
    Ok(vec![tensor(site.elem(0), Some(vec![site.dim(0, 0), frames, bins, Dim::Known(2)]))])
}
