//! Linear algebra: MatMul, Gemm, Det, Einsum.

use super::element::{floats, from_floats, from_ints, ints};
use super::layout::{broadcast, broadcast_strides, offsets, spread, strides};
use super::{Call, Datum, Entry, Fault};
use crate::graph::ONNX;
use crate::tensor::Tensor;
use crate::types::Elem;

/// Kernels of this family.
pub(super) const KERNELS: &[Entry] =
    &[(ONNX, "Det", det), (ONNX, "Einsum", einsum), (ONNX, "Gemm", gemm), (ONNX, "MatMul", mat_mul)];

/// A number type to multiply matrices in: double precision, or integers that wrap.
pub(super) trait Ring: Copy {
    const ZERO: Self;
    fn mul_add(self, a: Self, b: Self) -> Self;
}

impl Ring for f64 {
    const ZERO: f64 = 0.0;
    fn mul_add(self, a: f64, b: f64) -> f64 {
        self + a * b
    }
}

impl Ring for i64 {
    const ZERO: i64 = 0;
    fn mul_add(self, a: i64, b: i64) -> i64 {
        self.wrapping_add(a.wrapping_mul(b))
    }
}

/// `a[m,k] * b[k,n]`, row by row so that the inner loop runs over neighbours.
pub(super) fn product<T: Ring>((m, k, n): (usize, usize, usize), a: &[T], b: &[T]) -> Vec<T> {
    let mut out = vec![T::ZERO; m * n];
    for i in 0..m {
        let row = &mut out[i * n..(i + 1) * n];
        for p in 0..k {
            let factor = a[i * k + p];
            for (sum, &value) in row.iter_mut().zip(&b[p * n..(p + 1) * n]) {
                *sum = sum.mul_add(factor, value);
            }
        }
    }
    out
}

/// How two shapes multiply (numpy `matmul`).
struct Shapes {
    /// Extents before the matrix axes of the result.
    batch: Vec<usize>,
    /// Rows, inner extent, columns.
    size: (usize, usize, usize),
    /// Where each matrix of the operands begins.
    starts: [Vec<usize>; 2],
    dims: Vec<usize>,
}

fn shapes(a: &[usize], b: &[usize]) -> Result<Shapes, Fault> {
    if a.is_empty() || b.is_empty() {
        return Err("scalars are not multiplied as matrices".into());
    }
    let left = if a.len() == 1 { vec![1, a[0]] } else { a.to_vec() };
    let right = if b.len() == 1 { vec![b[0], 1] } else { b.to_vec() };
    let (outer_a, matrix_a) = left.split_at(left.len() - 2);
    let (outer_b, matrix_b) = right.split_at(right.len() - 2);
    let ([m, k], [k2, n]) = ([matrix_a[0], matrix_a[1]], [matrix_b[0], matrix_b[1]]);
    if k != k2 {
        return Err(format!("shapes {a:?} and {b:?} do not multiply: {k} columns meet {k2} rows"));
    }
    let batch = broadcast(&[outer_a, outer_b])?;
    let mut dims = batch.clone();
    dims.extend((a.len() > 1).then_some(m));
    dims.extend((b.len() > 1).then_some(n));
    let starts = |outer: &[usize], step: usize| {
        offsets(&batch, &broadcast_strides(outer, &batch)).into_iter().map(|i| i * step).collect()
    };
    let starts = [starts(outer_a, m * k), starts(outer_b, k * n)];
    Ok(Shapes { batch, size: (m, k, n), starts, dims })
}

impl Shapes {
    fn multiply<T: Ring>(&self, a: &[T], b: &[T]) -> Vec<T> {
        let (m, k, n) = self.size;
        let pairs = self.starts[0].iter().zip(&self.starts[1]);
        pairs.flat_map(|(&i, &j)| product(self.size, &a[i..i + m * k], &b[j..j + k * n])).collect()
    }
}

fn mat_mul(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (a, b) = (call.tensor(0)?, call.tensor(1)?);
    Ok(vec![multiply(call, a, b)?.into()])
}

fn multiply(call: &Call<'_>, a: &Tensor, b: &Tensor) -> Result<Tensor, Fault> {
    if a.elem() != b.elem() {
        return Err(format!("its operands are of types {} and {}", a.elem(), b.elem()));
    }
    let shapes = shapes(a.dims(), b.dims())?;
    call.reserve(Elem::C128, &shapes.dims)?;
    call.reserve(Elem::C128, &shapes.batch)?;
    if a.elem().is_float() {
        return from_floats(a.elem(), &shapes.dims, &shapes.multiply(&floats(a)?, &floats(b)?));
    }
    let whole = |t: &Tensor| t.to_i64().ok_or_else(|| format!("{} is not multiplied", t.elem()));
    let sums = shapes.multiply(&whole(a)?, &whole(b)?);
    from_ints(a.elem(), &shapes.dims, sums.into_iter().map(i128::from).collect())
}

fn gemm(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let turned = |index: usize, name: &str| {
        let t = call.tensor(index)?;
        if t.dims().len() != 2 {
            return Err(format!("operand {index} is of rank {}, not 2", t.dims().len()));
        }
        if call.int(name, 0) == 0 {
            return Ok(t.clone());
        }
        let dims = [t.dims()[1], t.dims()[0]];
        super::element::pick(t, &dims, &offsets(&dims, &[1, t.dims()[1]]))
    };
    let (a, b) = (turned(0, "transA")?, turned(1, "transB")?);
    let shapes = shapes(a.dims(), b.dims())?;
    call.reserve(Elem::C128, &shapes.dims)?;
    let (alpha, beta) = (f64::from(call.float("alpha", 1.0)), f64::from(call.float("beta", 1.0)));
    let mut sums = if a.elem().is_float() {
        shapes.multiply(&floats(&a)?, &floats(&b)?)
    } else {
        let whole = |t: &Tensor| t.to_i64().ok_or_else(|| format!("{} is not multiplied", t.elem()));
        shapes.multiply(&whole(&a)?, &whole(&b)?).into_iter().map(|v| v as f64).collect()
    };
    sums.iter_mut().for_each(|v| *v *= alpha);
    if let Some(c) = call.get(2) {
        if broadcast(&[c.dims(), &shapes.dims])? != shapes.dims {
            return Err(format!("shape {:?} does not broadcast to {:?}", c.dims(), shapes.dims));
        }
        let addends = floats(c)?;
        let addends = spread(&addends, c.dims(), &shapes.dims);
        sums.iter_mut().zip(addends.iter()).for_each(|(sum, c)| *sum += beta * c);
    }
    Ok(vec![from_floats(a.elem(), &shapes.dims, &sums)?.into()])
}

/// Determinants of square matrices, by elimination with pivots.
fn det(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let (outer, n) = match x.dims() {
        [outer @ .., m, n] if m == n => (outer, *n),
        other => return Err(format!("shape {other:?} is not one of square matrices")),
    };
    call.reserve(Elem::C128, x.dims())?;
    let values = floats(x)?;
    let count: usize = outer.iter().product();
    let dets: Vec<f64> = (0..count).map(|i| determinant(values[i * n * n..(i + 1) * n * n].to_vec(), n)).collect();
    Ok(vec![from_floats(x.elem(), outer, &dets)?.into()])
}

fn determinant(mut a: Vec<f64>, n: usize) -> f64 {
    let mut det = 1.0;
    for column in 0..n {
        let better =
            |best: usize, row: usize| if a[row * n + column].abs() > a[best * n + column].abs() { row } else { best };
        let pivot = (column..n).fold(column, better);
        if a[pivot * n + column] == 0.0 {
            return 0.0;
        }
        if pivot != column {
            (0..n).for_each(|j| a.swap(pivot * n + j, column * n + j));
            det = -det;
        }
        det *= a[column * n + column];
        for row in column + 1..n {
            let factor = a[row * n + column] / a[column * n + column];
            (column..n).for_each(|j| a[row * n + j] -= factor * a[column * n + j]);
        }
    }
    det
}

/// A subscript of an einsum: a letter, or one axis of what `...` stands for (counted from its end).
type Subscript = Result<char, usize>;

/// The sum over all subscripts that the result does not have of the products of the operands' elements.
fn einsum(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let equation: String = call.str("equation", "").chars().filter(|c| !c.is_whitespace()).collect();
    let (inputs, output) = match equation.split_once("->") {
        Some((inputs, output)) => (inputs, Some(output)),
        None => (equation.as_str(), None),
    };
    let operands = call.tensors()?;
    let terms: Vec<&str> = inputs.split(',').collect();
    if terms.len() != operands.len() {
        return Err(format!("equation {equation:?} speaks of {} operands, there are {}", terms.len(), operands.len()));
    }
    let letters = |term: &str| term.replace("...", "").chars().count();
    let mut extents: Vec<(Subscript, usize)> = Vec::new();
    let mut read: Vec<Vec<Subscript>> = Vec::new();
    let mut ellipsis = 0;
    for (term, tensor) in terms.iter().zip(&operands) {
        let dots = tensor.dims().len().saturating_sub(letters(term));
        ellipsis = ellipsis.max(if term.contains("...") { dots } else { 0 });
        let subscripts = subscripts(term, dots)?;
        if subscripts.len() != tensor.dims().len() {
            return Err(format!("{term:?} does not name the axes of shape {:?}", tensor.dims()));
        }
        for (&subscript, &n) in subscripts.iter().zip(tensor.dims()) {
            match extents.iter_mut().find(|(s, _)| *s == subscript) {
                None => extents.push((subscript, n)),
                Some((_, known)) if *known == n || n == 1 => {}
                Some((_, known)) if *known == 1 => *known = n,
                Some((_, known)) => return Err(format!("one subscript of {equation:?} is both {known} and {n}")),
            }
        }
        read.push(subscripts);
    }
    let result = match output {
        Some(term) => subscripts(term, ellipsis)?,
        None => {
            // The axes of `...`, then the letters that occur once, sorted.
            let times = |letter: char| inputs.chars().filter(|&c| c == letter).count();
            let mut once: Vec<Subscript> = extents.iter().map(|(s, _)| *s).collect();
            once.retain(|s| s.is_err() || s.is_ok_and(|c| times(c) == 1));
            once.sort_by_key(|s| match s {
                Err(from_end) => (0, usize::MAX - from_end, ' '),
                Ok(letter) => (1, 0, *letter),
            });
            once
        }
    };
    let extent = |subscript: &Subscript| extents.iter().find(|(s, _)| s == subscript).map(|(_, n)| *n);
    let dims: Option<Vec<usize>> = result.iter().map(extent).collect();
    let dims = dims.ok_or_else(|| format!("the result of {equation:?} has a subscript that no operand has"))?;
    let summed: Vec<(Subscript, usize)> = extents.iter().filter(|(s, _)| !result.contains(s)).copied().collect();
    let summed_dims: Vec<usize> = summed.iter().map(|(_, n)| *n).collect();
    call.reserve(Elem::C128, &dims)?;
    call.reserve(Elem::C128, &summed_dims)?;
    // Positions in each operand of the result's elements, and of the summands relative to them.
    let place = |wanted: &[Subscript], extents: &[usize]| -> Vec<Vec<usize>> {
        let along = |(tensor, subscripts): (&&Tensor, &Vec<Subscript>)| {
            let steps = strides(tensor.dims());
            let step = |s: &Subscript| {
                (0..steps.len()).filter(|&i| subscripts[i] == *s && tensor.dims()[i] > 1).map(|i| steps[i]).sum()
            };
            offsets(extents, &wanted.iter().map(step).collect::<Vec<usize>>())
        };
        operands.iter().zip(&read).map(along).collect()
    };
    let starts = place(&result, &dims);
    let members = place(&summed.iter().map(|(s, _)| *s).collect::<Vec<_>>(), &summed_dims);
    let (count, terms) = (starts[0].len(), members[0].len());
    fn sum<T: Copy>(
        all: &[Vec<T>],
        count: usize,
        terms: usize,
        at: impl Fn(usize, usize, usize) -> usize,
        mul: fn(T, T) -> T,
        add: fn(T, T) -> T,
        zero: T,
    ) -> Vec<T> {
        let term =
            |i: usize, j: usize| (1..all.len()).fold(all[0][at(0, i, j)], |product, o| mul(product, all[o][at(o, i, j)]));
        (0..count).map(|i| (0..terms).fold(zero, |total, j| add(total, term(i, j)))).collect()
    }
    let at = |operand: usize, i: usize, j: usize| starts[operand][i] + members[operand][j];
    let elem = operands[0].elem();
    let tensor = if elem.is_float() {
        let all: Vec<Vec<f64>> = operands.iter().map(|t| floats(t)).collect::<Result<_, _>>()?;
        from_floats(elem, &dims, &sum(&all, count, terms, at, |a, b| a * b, |a, b| a + b, 0.0))?
    } else {
        let all: Vec<Vec<i128>> = operands.iter().map(|t| ints(t)).collect::<Result<_, _>>()?;
        from_ints(elem, &dims, sum(&all, count, terms, at, i128::wrapping_mul, i128::wrapping_add, 0))?
    };
    Ok(vec![tensor.into()])
}

/// The subscripts of a term in which `...` stands for `dots` axes.
fn subscripts(term: &str, dots: usize) -> Result<Vec<Subscript>, Fault> {
    let (before, after, dots) = match term.split_once("...") {
        Some((before, after)) => (before, after, dots),
        None => (term, "", 0),
    };
    if let Some(odd) = before.chars().chain(after.chars()).find(|c| !c.is_alphabetic()) {
        return Err(format!("{odd:?} is no subscript"));
    }
    Ok(before.chars().map(Ok).chain((0..dots).rev().map(Err)).chain(after.chars().map(Ok)).collect())
}
