//! Products of matrices: MatMul, Gemm, Einsum and their kin.

use std::collections::BTreeMap;

use crate::graph::{MICROSOFT, ONNX};
use crate::interp::Fault;
use crate::types::{Dim, Elem, Shape, Type};

use super::Entry;
use super::dims::{Num, broadcast, same};
use super::site::{Site, tensor};

pub(super) const RULES: &[Entry] = &[
    (ONNX, "Det", det),
    (ONNX, "Einsum", einsum),
    (ONNX, "Gemm", gemm),
    (ONNX, "MatMul", matmul),
    (ONNX, "MatMulInteger", matmul_integer),
    (ONNX, "QLinearMatMul", matmul_quantized),
    (MICROSOFT, "DynamicQuantizeMatMul", matmul),
    (MICROSOFT, "FusedGemm", gemm),
    (MICROSOFT, "FusedMatMul", matmul_fused),
    (MICROSOFT, "MatMulIntegerToFloat", matmul_to_float),
    (MICROSOFT, "MatMulNBits", matmul_packed),
    (MICROSOFT, "QGemm", gemm_quantized),
    (MICROSOFT, "TransposeMatMul", matmul_fused),
];

/// NumPy's `matmul` of two shapes.
fn product(a: &[Dim], b: &[Dim]) -> Result<Shape, Fault> {
    if a.is_empty() || b.is_empty() {
        return Err("an operand of rank 0 is no matrix".to_string());
    }
    let (row, column) = (a.len() == 1, b.len() == 1);
    let widen = |s: &[Dim], front: bool| match (s, front) {
        ([only], true) => vec![Dim::Known(1), only.clone()],
        ([only], false) => vec![only.clone(), Dim::Known(1)],
        _ => s.to_vec(),
    };
    let (a, b) = (widen(a, true), widen(b, false));
    let ([batch_a @ .., m, k], [batch_b @ .., l, n]) = (&a[..], &b[..]) else { return Ok(Shape::new()) };
    same(k, l).map_err(|why| format!("inner {why}"))?;
    let mut shape = broadcast(batch_a, batch_b)?;
    if !row {
        shape.push(m.clone());
    }
    if !column {
        shape.push(n.clone());
    }
    Ok(shape)
}

fn shape_of(site: &Site<'_>, a: usize, b: usize) -> Result<Option<Shape>, Fault> {
    match (site.shape(a), site.shape(b)) {
        (Some(a), Some(b)) => product(a, b).map(Some),
        _ => Ok(None),
    }
}

fn matmul(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    Ok(vec![tensor(site.elem(0), shape_of(site, 0, 1)?)])
}

fn matmul_integer(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    Ok(vec![tensor(Some(Elem::I32), shape_of(site, 0, 1)?)])
}

/// The elements are those of the result's zero point.
fn matmul_quantized(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    Ok(vec![tensor(site.elem(7), shape_of(site, 0, 3)?)])
}

fn matmul_to_float(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    Ok(vec![tensor(site.elem(2), shape_of(site, 0, 1)?)])
}

/// MatMulNBits: the last extent becomes attribute `N`.
fn matmul_packed(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let shape = match (site.shape(0), site.maybe_int("N")) {
        (Some([batch @ .., _]), Some(n)) => {
            let mut shape = batch.to_vec();
            shape.push(Num::Known(n).dim()?);
            Some(shape)
        }
        _ => None,
    };
    Ok(vec![tensor(site.elem(0), shape)])
}

/// FusedMatMul: either operand may have its last two axes swapped.
fn matmul_fused(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let plain = site.int("transBatchA", 0) == Some(0) && site.int("transBatchB", 0) == Some(0);
    let swapped = |index: usize, name: &str| {
        let mut shape = site.shape(index)?.to_vec();
        let rank = shape.len();
        if site.int(name, 0)? != 0 && rank >= 2 {
            shape.swap(rank - 1, rank - 2);
        }
        Some(shape)
    };
    let shape = match (swapped(0, "transA"), swapped(1, "transB")) {
        (Some(a), Some(b)) if plain => Some(product(&a, &b)?),
        _ => None,
    };
    Ok(vec![tensor(site.elem(0), shape)])
}

fn gemm(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    Ok(vec![tensor(site.elem(0), gemm_shape(site, 0, 1)?)])
}

/// QGemm: elements of the result's zero point, or floats where it has none.
fn gemm_quantized(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let elem = if site.has(8) { site.elem(8) } else { site.elem(1) };
    Ok(vec![tensor(elem, gemm_shape(site, 0, 3)?)])
}

fn gemm_shape(site: &Site<'_>, a: usize, b: usize) -> Result<Option<Shape>, Fault> {
    let side = |index: usize, name: &str| -> Result<Option<(Dim, Dim)>, Fault> {
        match site.shape(index) {
            None => Ok(None),
            Some([rows, columns]) => Ok(match site.int(name, 0) {
                Some(0) => Some((rows.clone(), columns.clone())),
                Some(_) => Some((columns.clone(), rows.clone())),
                None => None,
            }),
            Some(other) => Err(format!("operand {index} has rank {}, not 2", other.len())),
        }
    };
    let (a, b) = (side(a, "transA")?, side(b, "transB")?);
    if let (Some((_, k)), Some((l, _))) = (&a, &b) {
        same(k, l).map_err(|why| format!("inner {why}"))?;
    }
    if a.is_none() && b.is_none() {
        return Ok(None);
    }
    Ok(Some(vec![a.map_or(Dim::Unknown, |a| a.0), b.map_or(Dim::Unknown, |b| b.1)]))
}

/// Det: without the last two axes.
fn det(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let shape = match site.shape(0) {
        Some([batch @ .., rows, columns]) => {
            same(rows, columns)?;
            Some(batch.to_vec())
        }
        Some(_) => return Err("a determinant needs a matrix".to_string()),
        None => None,
    };
    Ok(vec![tensor(site.elem(0), shape)])
}

/// Einsum: each letter is an extent; `...` stands for broadcast ones; without `->` the letters that occur once, sorted.
fn einsum(site: &Site<'_>) -> Result<Vec<Type>, Fault> {
    let unknown = Ok(vec![tensor(site.elem(0), None)]);
    let Some(equation) = site.attr("equation").and_then(crate::attr::Attr::as_str) else { return unknown };
    let equation: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (&*equation, None),
    };
    let terms: Vec<&str> = left.split(',').collect();
    if terms.len() != site.count() {
        return Err(format!("`equation` has {} terms for {} operands", terms.len(), site.count()));
    }
    let mut extents: BTreeMap<char, (Dim, usize)> = BTreeMap::new();
    let mut spread = Shape::new();
    for (index, term) in terms.iter().enumerate() {
        let Some(shape) = site.shape(index) else { return unknown };
        let (before, after) = term.split_once("...").unwrap_or((term, ""));
        let letters = before.chars().count() + after.chars().count();
        let dotted = term.contains("...");
        let Some(inner) = shape.len().checked_sub(letters).filter(|&n| dotted || n == 0) else {
            return Err(format!("term `{term}` does not fit an operand of rank {}", shape.len()));
        };
        let front = before.chars().count();
        if dotted {
            spread = broadcast(&spread, &shape[front..front + inner])?;
        }
        let dims = shape[..front].iter().chain(&shape[front + inner..]);
        for (letter, dim) in before.chars().chain(after.chars()).zip(dims) {
            let entry = extents.entry(letter).or_insert((Dim::Known(1), 0));
            *entry = (broadcast(std::slice::from_ref(&entry.0), std::slice::from_ref(dim))?.remove(0), entry.1 + 1);
        }
    }
    let mut shape = Shape::new();
    match right {
        Some(right) => {
            let (before, after) = right.split_once("...").unwrap_or((right, ""));
            let push = |letters: &str, shape: &mut Shape| {
                for letter in letters.chars() {
                    let (dim, _) = extents.get(&letter).ok_or_else(|| format!("no term has `{letter}`"))?;
                    shape.push(dim.clone());
                }
                Ok::<(), Fault>(())
            };
            push(before, &mut shape)?;
            if right.contains("...") {
                shape.extend(spread);
            }
            push(after, &mut shape)?;
        }
        None => {
            shape.extend(spread);
            shape.extend(extents.into_values().filter(|(_, uses)| *uses == 1).map(|(dim, _)| dim));
        }
    }
    Ok(vec![tensor(site.elem(0), Some(shape))])
}
