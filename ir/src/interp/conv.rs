//! Convolutions: `Conv`, `ConvTranspose`, `ConvInteger`, over any number of spatial axes.
//!
//! Direct sums in the order tap, output channel, input channel: each step is one scaled row added to another, so that
//! the inner loop is long and runs over neighbouring numbers.

use super::real::{batch_channels, ensure, read_f32, read_i64, volume, write_f32};
use super::window::{Rounding, Windows};
use super::{Call, Datum, Entry, Fault};
use crate::tensor::Tensor;
use crate::types::Elem;

pub(super) const KERNELS: &[Entry] =
    &[("onnx", "Conv", conv), ("onnx", "ConvTranspose", conv_transpose), ("onnx", "ConvInteger", conv_integer)];

/// A number that sums of products are made of.
pub(super) trait Term: Copy {
    /// `self + a * b`; integers wrap around.
    fn plus_product(self, a: Self, b: Self) -> Self;
}

impl Term for f32 {
    fn plus_product(self, a: f32, b: f32) -> f32 {
        self + a * b
    }
}

impl Term for f64 {
    fn plus_product(self, a: f64, b: f64) -> f64 {
        self + a * b
    }
}

impl Term for i32 {
    fn plus_product(self, a: i32, b: i32) -> i32 {
        self.wrapping_add(a.wrapping_mul(b))
    }
}

/// The sizes of a convolution.
pub(super) struct Plan {
    pub(super) windows: Windows,
    pub(super) batch: usize,
    pub(super) groups: usize,
    /// Channels per group on the side that has [`Windows::input`] for spatial extents.
    pub(super) inputs: usize,
    /// Channels per group on the side that has [`Windows::output`].
    pub(super) outputs: usize,
}

impl Plan {
    /// Reads and checks what `Conv`, `ConvInteger` and `QLinearConv` have in common.
    pub(super) fn of_conv(call: &Call<'_>, x: &Tensor, w: &Tensor) -> Result<Plan, Fault> {
        let (batch, channels, spatial) = batch_channels(x)?;
        let (maps, inputs, kernel) = batch_channels(w)?;
        let groups = groups(call, channels, maps)?;
        ensure(channels == groups * inputs, || {
            format!("weights {:?} in {groups} groups do not fit the input {:?}", w.dims(), x.dims())
        })?;
        check_kernel_shape(call, kernel)?;
        let windows = Windows::new(call, spatial, kernel, Rounding::Floor)?;
        Ok(Plan { windows, batch, groups, inputs, outputs: maps / groups })
    }

    /// Shape of the result of a convolution.
    pub(super) fn dims(&self) -> Vec<usize> {
        [&[self.batch, self.groups * self.outputs], &self.windows.output[..]].concat()
    }

    /// Sums into a result that starts as the bias of each channel, or 0.
    pub(super) fn convolve<T: Term>(&self, x: &[T], w: &[T], bias: Option<&[T]>, zero: T) -> Result<Vec<T>, Fault> {
        let mut y = start(&self.dims(), bias, zero)?;
        let (large, small) = self.plane_sizes();
        let (taps, step) = (self.windows.taps(), self.windows.step());
        self.each_pair(|tap, n, g, spans| {
            for o in 0..self.outputs {
                let map = g * self.outputs + o;
                let y = &mut y[(n * self.groups * self.outputs + map) * small..][..small];
                for i in 0..self.inputs {
                    let x = &x[((n * self.groups + g) * self.inputs + i) * large..][..large];
                    let weight = w[(map * self.inputs + i) * taps + tap];
                    for span in spans {
                        let to = &mut y[span.output..][..span.len];
                        for (y, &x) in to.iter_mut().zip(x[span.input..].iter().step_by(step)) {
                            *y = y.plus_product(x, weight);
                        }
                    }
                }
            }
        });
        Ok(y)
    }

    /// The transposed sum: what [`Plan::convolve`] gathers is scattered.
    fn scatter<T: Term>(&self, x: &[T], w: &[T], bias: Option<&[T]>, zero: T) -> Result<Vec<T>, Fault> {
        let mut y = start(&[&[self.batch, self.groups * self.inputs], &self.windows.input[..]].concat(), bias, zero)?;
        let (large, small) = self.plane_sizes();
        let (taps, step) = (self.windows.taps(), self.windows.step());
        self.each_pair(|tap, n, g, spans| {
            for i in 0..self.inputs {
                let y = &mut y[((n * self.groups + g) * self.inputs + i) * large..][..large];
                for o in 0..self.outputs {
                    let channel = g * self.outputs + o;
                    let x = &x[(n * self.groups * self.outputs + channel) * small..][..small];
                    let weight = w[(channel * self.inputs + i) * taps + tap];
                    for span in spans {
                        let from = &x[span.output..][..span.len];
                        for (y, &x) in y[span.input..].iter_mut().step_by(step).zip(from) {
                            *y = y.plus_product(x, weight);
                        }
                    }
                }
            }
        });
        Ok(y)
    }

    fn plane_sizes(&self) -> (usize, usize) {
        (self.windows.input.iter().product(), self.windows.output.iter().product())
    }

    fn each_pair(&self, mut visit: impl FnMut(usize, usize, usize, &[super::window::Span])) {
        let mut spans = Vec::new();
        for tap in 0..self.windows.taps() {
            self.windows.spans(tap, &mut spans);
            for n in 0..self.batch {
                (0..self.groups).for_each(|g| visit(tap, n, g, &spans));
            }
        }
    }
}

/// A result of shape `[N, C, ...]` filled with the bias of each channel.
fn start<T: Copy>(dims: &[usize], bias: Option<&[T]>, zero: T) -> Result<Vec<T>, Fault> {
    let mut y = vec![zero; volume(dims)?];
    if let Some(bias) = bias {
        ensure(bias.len() == dims[1], || format!("a bias of {} numbers for {} channels", bias.len(), dims[1]))?;
        let plane = dims[2..].iter().product::<usize>().max(1);
        for (i, plane) in y.chunks_mut(plane).enumerate() {
            plane.fill(bias[i % bias.len()]);
        }
    }
    Ok(y)
}

fn groups(call: &Call<'_>, channels: usize, maps: usize) -> Result<usize, Fault> {
    let group = call.int("group", 1);
    usize::try_from(group)
        .ok()
        .filter(|&g| g > 0 && channels.is_multiple_of(g) && maps.is_multiple_of(g))
        .ok_or_else(|| format!("{group} groups do not divide {channels} channels and {maps} maps"))
}

fn check_kernel_shape(call: &Call<'_>, kernel: &[usize]) -> Result<(), Fault> {
    let Some(stated) = call.ints("kernel_shape").filter(|k| !k.is_empty()) else { return Ok(()) };
    ensure(stated.len() == kernel.len() && stated.iter().zip(kernel).all(|(&a, &b)| a == b as i64), || {
        format!("kernel_shape {stated:?} contradicts weights of {kernel:?}")
    })
}

/// Runs `f32` or `f64` code, whichever holds the numbers of `x`.
macro_rules! in_precision_of {
    ($x:expr, $w:expr, $bias:expr, $dims:expr, $sum:expr) => {{
        let (x, w, bias) = ($x, $w, $bias);
        if x.elem() == Elem::F64 {
            let read = super::real::read;
            let bias = bias.map(read).transpose()?;
            let sum: Vec<f64> = $sum(&read(x)?[..], &read(w)?[..], bias.as_deref())?;
            Ok(vec![super::real::write(Elem::F64, $dims, &sum)?])
        } else {
            let bias = bias.map(read_f32).transpose()?;
            let sum: Vec<f32> = $sum(&read_f32(x)?[..], &read_f32(w)?[..], bias.as_deref())?;
            Ok(vec![write_f32(x.elem(), $dims, sum)?])
        }
    }};
}

fn conv(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (x, w) = (call.tensor(0)?, call.tensor(1)?);
    let plan = Plan::of_conv(call, x, w)?;
    in_precision_of!(x, w, call.get(2), &plan.dims(), |x, w, bias| plan.convolve(x, w, bias, 0.0))
}

fn conv_transpose(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (x, w) = (call.tensor(0)?, call.tensor(1)?);
    let (batch, channels, spatial) = batch_channels(x)?;
    let (rows, inputs, kernel) = batch_channels(w)?;
    let groups = groups(call, channels, channels)?;
    ensure(rows == channels, || format!("weights {:?} do not fit the input {:?}", w.dims(), x.dims()))?;
    check_kernel_shape(call, kernel)?;
    let windows = Windows::transposed(call, spatial, kernel)?;
    let plan = Plan { windows, batch, groups, inputs, outputs: channels / groups };
    let dims = [&[batch, groups * inputs], &plan.windows.input[..]].concat();
    in_precision_of!(x, w, call.get(2), &dims, |x, w, bias| plan.scatter(x, w, bias, 0.0))
}

/// The numbers of an integer tensor less a zero point, which is one number or one per index of the first axis.
pub(super) fn centred(tensor: &Tensor, zero: Option<&Tensor>) -> Result<Vec<i32>, Fault> {
    let zeros = match zero {
        Some(zero) => read_i64(zero)?,
        None => vec![0],
    };
    let rows = tensor.dims().first().copied().unwrap_or(1);
    ensure(zeros.len() == 1 || zeros.len() == rows, || format!("{} zero points for {rows} rows", zeros.len()))?;
    let row = (tensor.len() / rows.max(1)).max(1);
    let zero = |i: usize| if zeros.len() == 1 { zeros[0] } else { zeros[i / row] };
    Ok(read_i64(tensor)?.into_iter().enumerate().map(|(i, v)| (v - zero(i)) as i32).collect())
}

fn conv_integer(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (x, w) = (call.tensor(0)?, call.tensor(1)?);
    let plan = Plan::of_conv(call, x, w)?;
    let one = call.get(2).is_none_or(|z| z.len() == 1);
    ensure(one, || "the zero point of the input must be one number".to_string())?;
    let y = plan.convolve(&centred(x, call.get(2))?, &centred(w, call.get(3))?, None, 0)?;
    Ok(vec![Tensor::new(plan.dims(), y).into()])
}

#[cfg(test)]
mod tests {
    use crate::attr::Attr;
    use crate::interp::trial::trial;
    use crate::tensor::Tensor;

    fn image() -> Tensor {
        Tensor::new(vec![1, 1, 3, 3], (1..=9).map(|v| v as f32).collect())
    }

    fn ones(dims: &[usize]) -> Tensor {
        Tensor::new(dims, vec![1f32; dims.iter().product()])
    }

    #[test]
    fn sums_over_the_window() {
        let y = trial("Conv", 11, &[], &[image(), ones(&[1, 1, 2, 2])]).unwrap();
        assert_eq!(y[0], Tensor::new(vec![1, 1, 2, 2], vec![12f32, 16., 24., 28.]));
    }

    #[test]
    fn same_upper_pads_at_the_end() {
        let pad = [("auto_pad", Attr::text("SAME_UPPER"))];
        let y = trial("Conv", 11, &pad, &[image(), ones(&[1, 1, 2, 2]), Tensor::new(vec![1], vec![0.5f32])]).unwrap();
        assert_eq!(y[0].to_f32().unwrap(), [12.5, 16.5, 9.5, 24.5, 28.5, 15.5, 15.5, 17.5, 9.5]);
    }

    #[test]
    fn groups_strides_and_dilations() {
        let x = Tensor::new(vec![1, 2, 5], vec![1f32, 2., 3., 4., 5., 10., 20., 30., 40., 50.]);
        let w = Tensor::new(vec![2, 1, 2], vec![1f32, -1., 1., 1.]);
        let attrs = [("group", Attr::Int(2)), ("strides", Attr::Ints(vec![2])), ("dilations", Attr::Ints(vec![2]))];
        let y = trial("Conv", 11, &attrs, &[x, w]).unwrap();
        assert_eq!(y[0], Tensor::new(vec![1, 2, 2], vec![-2f32, -2., 40., 80.]));
    }

    #[test]
    fn transposed_spreads_the_kernel() {
        let x = Tensor::new(vec![1, 1, 2], vec![1f32, 10.]);
        let w = Tensor::new(vec![1, 1, 3], vec![1f32, 2., 3.]);
        let attrs = [("strides", Attr::Ints(vec![2])), ("output_padding", Attr::Ints(vec![1]))];
        let y = trial("ConvTranspose", 11, &attrs, &[x, w]).unwrap();
        assert_eq!(y[0], Tensor::new(vec![1, 1, 6], vec![1f32, 2., 13., 20., 30., 0.]));
    }

    #[test]
    fn integers_subtract_zero_points_and_pad_with_zero() {
        let x = Tensor::new(vec![1, 1, 2], vec![3u8, 5]);
        let w = Tensor::new(vec![1, 1, 2], vec![1u8, 2]);
        let y = trial("ConvInteger", 10, &[("pads", Attr::Ints(vec![1, 0]))], &[x, w, Tensor::scalar(1u8)]).unwrap();
        assert_eq!(y[0], Tensor::new(vec![1, 1, 2], vec![4i32, 10]));
    }

    #[test]
    fn refuses_what_does_not_fit() {
        assert!(trial("Conv", 11, &[], &[image(), ones(&[1, 2, 2, 2])]).is_err());
        assert!(trial("Conv", 11, &[], &[image(), ones(&[1, 1, 4, 4])]).is_err());
        let huge = [("pads", Attr::Ints(vec![1 << 30; 4]))];
        assert!(trial("Conv", 11, &huge, &[image(), ones(&[1, 1, 2, 2])]).is_err());
        let zero = [("strides", Attr::Ints(vec![0, 1]))];
        assert!(trial("Conv", 11, &zero, &[image(), ones(&[1, 1, 2, 2])]).is_err());
    }
}
