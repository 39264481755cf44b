//! Index arithmetic of row-major tensors: strides, broadcasting, groups of elements along axes.

use std::borrow::Cow;

use super::Fault;

/// Elements between neighbours along each axis.
pub(super) fn strides(dims: &[usize]) -> Vec<usize> {
    let mut step = 1usize;
    let mut strides: Vec<usize> = dims
        .iter()
        .rev()
        .map(|&n| {
            let stride = step;
            step = step.saturating_mul(n);
            stride
        })
        .collect();
    strides.reverse();
    strides
}

/// Positions of all elements of an index space with the given strides, in row-major order of the space. This one function
/// is broadcasting (stride 0), transposition (strides permuted), a diagonal (strides added) and a group of axes.
pub(super) fn offsets(extents: &[usize], strides: &[usize]) -> Vec<usize> {
    // The other extents of an empty space may be huge.
    if extents.contains(&0) {
        return Vec::new();
    }
    let mut list = vec![0];
    for (&n, &stride) in extents.iter().zip(strides) {
        list = list.iter().flat_map(|&base| (0..n).map(move |i| base + i * stride)).collect();
    }
    list
}

/// The shape that shapes broadcast to (ONNX multidirectional broadcasting).
pub(super) fn broadcast(shapes: &[&[usize]]) -> Result<Vec<usize>, Fault> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut dims = vec![1usize; rank];
    for shape in shapes {
        for (dim, &n) in dims[rank - shape.len()..].iter_mut().zip(*shape) {
            match (*dim, n) {
                (a, b) if a == b || b == 1 => {}
                (1, b) => *dim = b,
                _ => return Err(format!("shapes {shapes:?} do not broadcast")),
            }
        }
    }
    Ok(dims)
}

/// Strides with which a tensor of shape `from` is read as one of shape `to`.
pub(super) fn broadcast_strides(from: &[usize], to: &[usize]) -> Vec<usize> {
    let mut wide = vec![0; to.len().saturating_sub(from.len())];
    wide.extend(strides(from).into_iter().zip(from).map(|(stride, &n)| if n == 1 { 0 } else { stride }));
    wide
}

/// The values of a tensor of shape `from` as those of one of shape `to`, which `from` broadcasts to.
pub(super) fn spread<'a, T: Clone>(values: &'a [T], from: &[usize], to: &[usize]) -> Cow<'a, [T]> {
    if from == to {
        return Cow::Borrowed(values);
    }
    let places = offsets(to, &broadcast_strides(from, to));
    Cow::Owned(places.into_iter().map(|i| values[i].clone()).collect())
}

/// A tensor seen as groups of elements: one group for each index of the axes that are kept.
pub(super) struct Groups {
    /// Where each group begins, in row-major order of the kept axes.
    pub(super) starts: Vec<usize>,
    /// The members of a group relative to its start, in row-major order of the grouped axes.
    pub(super) members: Vec<usize>,
}

impl Groups {
    /// Groups along `axes`, which must exist; none of an empty tensor, whose other extents may be beyond all memory.
    pub(super) fn along(dims: &[usize], axes: &[usize]) -> Groups {
        if dims.contains(&0) {
            return Groups { starts: Vec::new(), members: Vec::new() };
        }
        let strides = strides(dims);
        let part = |grouped: bool| {
            let chosen = || (0..dims.len()).filter(|axis| axes.contains(axis) == grouped);
            let extents: Vec<usize> = chosen().map(|axis| dims[axis]).collect();
            let steps: Vec<usize> = chosen().map(|axis| strides[axis]).collect();
            offsets(&extents, &steps)
        };
        Groups { starts: part(false), members: part(true) }
    }

    /// So many groups of nothing.
    pub(super) fn empty(count: usize) -> Groups {
        Groups { starts: vec![0; count], members: Vec::new() }
    }

    /// Replaces every group by what `map` makes of it; it must return as many values as it is given.
    pub(super) fn map<T: Copy + Default>(&self, values: &[T], map: impl Fn(&[T]) -> Vec<T>) -> Vec<T> {
        let mut out = vec![T::default(); values.len()];
        for &start in &self.starts {
            for (&member, value) in self.members.iter().zip(map(&self.read(values, start))) {
                out[start + member] = value;
            }
        }
        out
    }

    /// One value for each group.
    pub(super) fn reduce<T: Copy, R>(&self, values: &[T], reduce: impl Fn(&[T]) -> R) -> Vec<R> {
        self.starts.iter().map(|&start| reduce(&self.read(values, start))).collect()
    }

    fn read<T: Copy>(&self, values: &[T], start: usize) -> Vec<T> {
        self.members.iter().map(|&member| values[start + member]).collect()
    }
}
