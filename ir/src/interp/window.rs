//! The geometry of sliding windows: where the kernel of a convolution or a pooling meets its input.

use super::real::{ensure, volume};
use super::{Call, Fault};

/// Windows over the spatial axes; all lists have one entry per axis.
pub(super) struct Windows {
    /// Extents that the windows slide over.
    pub(super) input: Vec<usize>,
    /// Number of windows.
    pub(super) output: Vec<usize>,
    /// Extents of the kernel.
    pub(super) kernel: Vec<usize>,
    /// Distance between windows.
    pub(super) stride: Vec<usize>,
    /// Distance between the taps of a window.
    pub(super) dilation: Vec<usize>,
    /// Padding before and after; negative padding crops.
    pub(super) pads: Vec<(i64, i64)>,
}

/// A run of neighbouring windows of which one tap falls inside the input, at steps of the last axis's stride.
pub(super) struct Span {
    /// Index of the first window.
    pub(super) output: usize,
    /// Index of what its tap falls on.
    pub(super) input: usize,
    /// Number of windows.
    pub(super) len: usize,
}

/// How output extents come about when none is given.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Rounding {
    /// Windows that do not fit entirely are left out.
    Floor,
    /// The last window may stick out, but starts inside the input or its front padding.
    Ceil,
}

impl Windows {
    /// Windows of `Conv` or of a pooling: `strides`, `dilations`, `pads` and `auto_pad` are read from the call.
    pub(super) fn new(call: &Call<'_>, input: &[usize], kernel: &[usize], rounding: Rounding) -> Result<Self, Fault> {
        let mut windows = Windows::attributes(call, input, kernel)?;
        let auto = AutoPad::of(call)?;
        for (d, &n) in input.iter().enumerate() {
            let (n, extent, stride) = (n as i64, windows.extent(d), windows.stride[d] as i64);
            let windows_along = match auto {
                AutoPad::Explicit => {
                    let room = n + windows.pads[d].0 + windows.pads[d].1 - extent;
                    ensure(room >= 0, || format!("a kernel that spans {extent} is larger than the padded extent"))?;
                    let fitting = room / stride + 1;
                    let sticking_out =
                        rounding == Rounding::Ceil && room % stride != 0 && fitting * stride < n + windows.pads[d].0;
                    fitting + i64::from(sticking_out)
                }
                AutoPad::Valid => {
                    windows.pads[d] = (0, 0);
                    ensure(n >= extent, || format!("a kernel that spans {extent} is larger than the extent {n}"))?;
                    (n - extent) / stride + 1
                }
                AutoPad::Same(upper) => {
                    let fitting = (n + stride - 1) / stride;
                    windows.pads[d] = split(((fitting - 1) * stride + extent - n).max(0), upper);
                    fitting
                }
            };
            windows.output.push(windows_along as usize);
        }
        volume(&windows.output)?;
        Ok(windows)
    }

    /// Windows of `ConvTranspose`, seen from its result: `small` is what it reads, and becomes [`Windows::output`];
    /// what it writes becomes [`Windows::input`].
    pub(super) fn transposed(call: &Call<'_>, small: &[usize], kernel: &[usize]) -> Result<Self, Fault> {
        let mut windows = Windows::attributes(call, small, kernel)?;
        let (rank, auto) = (small.len(), AutoPad::of(call)?);
        let extra = list(call, "output_padding", rank, 0, 0)?;
        let wanted = match call.ints("output_shape") {
            Some(dims) if dims.len() >= rank => Some(&dims[dims.len() - rank..]),
            Some(dims) if !dims.is_empty() => return Err(format!("output_shape {dims:?} has too few extents")),
            _ => None,
        };
        for d in 0..rank {
            let stride = windows.stride[d] as i64;
            let full = (small[d] as i64 - 1) * stride + extra[d] + windows.extent(d);
            let large = match (wanted, auto) {
                (Some(wanted), _) => wanted[d],
                (None, AutoPad::Explicit) => full - windows.pads[d].0 - windows.pads[d].1,
                (None, AutoPad::Valid) => full,
                (None, AutoPad::Same(_)) => small[d] as i64 * stride,
            };
            if wanted.is_some() || auto != AutoPad::Explicit {
                windows.pads[d] = split((full - large).max(0), auto == AutoPad::Same(true));
            }
            ensure((0..=LARGEST).contains(&large), || format!("the output would have the extent {large}"))?;
            windows.input[d] = large as usize;
        }
        windows.output = small.to_vec();
        volume(&windows.input)?;
        Ok(windows)
    }

    fn attributes(call: &Call<'_>, input: &[usize], kernel: &[usize]) -> Result<Self, Fault> {
        let rank = input.len();
        ensure(rank > 0 && kernel.len() == rank, || {
            format!("a kernel of shape {kernel:?} does not slide over spatial shape {input:?}")
        })?;
        ensure(input.iter().chain(kernel).all(|&n| n as i64 <= LARGEST) && !kernel.contains(&0), || {
            format!("kernel {kernel:?} over {input:?} is not supported")
        })?;
        volume(kernel)?;
        let positive = |name| -> Result<Vec<usize>, Fault> {
            Ok(list(call, name, rank, 1, 1)?.into_iter().map(|n| n as usize).collect())
        };
        let pads = list(call, "pads", 2 * rank, 0, -LARGEST)?;
        Ok(Windows {
            input: input.to_vec(),
            output: Vec::new(),
            kernel: kernel.to_vec(),
            stride: positive("strides")?,
            dilation: positive("dilations")?,
            pads: (0..rank).map(|d| (pads[d], pads[d + rank])).collect(),
        })
    }

    /// What the dilated kernel spans along an axis.
    fn extent(&self, d: usize) -> i64 {
        (self.kernel[d] as i64 - 1) * self.dilation[d] as i64 + 1
    }

    /// Number of taps of a window.
    pub(super) fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Distance between what neighbouring windows of a span read.
    pub(super) fn step(&self) -> usize {
        self.stride.last().copied().unwrap_or(1)
    }

    /// Which windows have tap `tap` (row-major in the kernel) inside the input.
    pub(super) fn spans(&self, tap: usize, spans: &mut Vec<Span>) {
        spans.clear();
        let rank = self.input.len();
        let (mut rest, mut ranges, mut offsets) = (tap, vec![(0, 0); rank], vec![0i64; rank]);
        for d in (0..rank).rev() {
            let at = (rest % self.kernel[d]) as i64;
            rest /= self.kernel[d];
            offsets[d] = at * self.dilation[d] as i64 - self.pads[d].0;
            let stride = self.stride[d] as i64;
            let first = (-offsets[d]).max(0).div_euclid(stride) + i64::from((-offsets[d]).max(0) % stride != 0);
            let end = (self.input[d] as i64 - 1 - offsets[d]).div_euclid(stride) + 1;
            let end = end.min(self.output[d] as i64);
            if first >= end {
                return;
            }
            ranges[d] = (first, end);
        }
        let mut index: Vec<i64> = ranges.iter().map(|r| r.0).collect();
        let len = (ranges[rank - 1].1 - ranges[rank - 1].0) as usize;
        loop {
            let (mut output, mut input) = (0usize, 0usize);
            for d in 0..rank {
                output = output * self.output[d] + index[d] as usize;
                input = input * self.input[d] + (index[d] * self.stride[d] as i64 + offsets[d]) as usize;
            }
            match spans.last_mut() {
                Some(last) if self.step() == 1 && last.output + last.len == output && last.input + last.len == input => {
                    last.len += len;
                }
                _ => spans.push(Span { output, input, len }),
            }
            let mut d = rank - 1;
            loop {
                if d == 0 {
                    return;
                }
                d -= 1;
                index[d] += 1;
                if index[d] < ranges[d].1 {
                    break;
                }
                index[d] = ranges[d].0;
            }
        }
    }

    /// How many taps of each window fall on the input, or with `padding`, on the input and its padding.
    pub(super) fn tap_counts(&self, padding: bool) -> Vec<usize> {
        self.output.iter().enumerate().fold(vec![1], |counts, (d, &windows)| {
            let (before, after) = if padding { self.pads[d] } else { (0, 0) };
            let along = |window: usize| {
                let start = (window * self.stride[d]) as i64 - self.pads[d].0;
                let inside = |tap: &usize| {
                    let at = start + (tap * self.dilation[d]) as i64;
                    (-before..self.input[d] as i64 + after).contains(&at)
                };
                (0..self.kernel[d]).filter(inside).count()
            };
            let along: Vec<usize> = (0..windows).map(along).collect();
            counts.iter().flat_map(|&c| along.iter().map(move |&a| c * a)).collect()
        })
    }
}

/// Bound of every number in the geometry, so that their products cannot overflow.
const LARGEST: i64 = 1 << 30;

/// An attribute of `len` integers of at least `least`.
fn list(call: &Call<'_>, name: &str, len: usize, default: i64, least: i64) -> Result<Vec<i64>, Fault> {
    match call.ints(name) {
        None | Some([]) => Ok(vec![default; len]),
        Some(list) if list.len() == len && list.iter().all(|n| (least..=LARGEST).contains(n)) => Ok(list.to_vec()),
        Some(list) => Err(format!("{name} = {list:?}: expected {len} numbers of at least {least}")),
    }
}

/// Divides padding between front and back; the odd one goes to the back for `SAME_UPPER`.
fn split(total: i64, upper: bool) -> (i64, i64) {
    let small = total / 2;
    if upper { (small, total - small) } else { (total - small, small) }
}

#[derive(Clone, Copy, PartialEq)]
enum AutoPad {
    Explicit,
    Valid,
    /// `true`: SAME_UPPER.
    Same(bool),
}

impl AutoPad {
    fn of(call: &Call<'_>) -> Result<Self, Fault> {
        match call.str("auto_pad", "NOTSET") {
            "NOTSET" | "" => Ok(AutoPad::Explicit),
            "VALID" => Ok(AutoPad::Valid),
            "SAME_UPPER" => Ok(AutoPad::Same(true)),
            "SAME_LOWER" => Ok(AutoPad::Same(false)),
            other => Err(format!("auto_pad '{other}' is not known")),
        }
    }
}
