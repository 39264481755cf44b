//! What ops with weights read, on average: the statistics that rounding of weights goes by.

use std::collections::BTreeMap;
use std::sync::Mutex;

use spaceevo_ir::{Graph, OpId, ValueId};

/// How the weights of an op meet the numbers of its operand.
#[derive(Clone, PartialEq, Debug)]
pub struct Window {
    /// Channels of the operand; features for products of matrices.
    pub channels: usize,
    input: [usize; 2],
    output: [usize; 2],
    kernel: [usize; 2],
    stride: [i64; 2],
    dilation: [i64; 2],
    begin: [i64; 2],
    /// Channels lie last: rows of features.
    rows: bool,
}

/// Largest extent, stride, dilation or padding.
const LARGEST: u64 = 1 << 30;

impl Window {
    /// The window of a Conv over one or two axes, or of a Gemm or MatMul with a matrix on the right; a sentence why not.
    pub fn of(graph: &Graph, op: OpId) -> Result<Window, String> {
        let record = graph.op(op);
        let dims = |value: Option<spaceevo_ir::ValueId>| {
            let shape = value.and_then(|v| graph.value(v).ty().tensor()?.shape.clone());
            shape.map(|s| s.iter().map(|d| d.known().map(|n| n as usize)).collect::<Vec<_>>()).unwrap_or_default()
        };
        let (x, w) = (dims(record.operand(0)), dims(record.operand(1)));
        let y = dims(record.results().first().copied());
        let Some(w) = w.into_iter().collect::<Option<Vec<_>>>() else { return Err("its weights have no shape".into()) };
        if !record.name().is_onnx("Conv") {
            let features = if record.int("transB", 0) != 0 { w.get(1) } else { w.first() };
            let one = Window {
                channels: *features.ok_or("its weights are of an odd shape")?,
                input: [1, 1],
                output: [1, 1],
                kernel: [1, 1],
                stride: [1, 1],
                dilation: [1, 1],
                begin: [0, 0],
                rows: true,
            };
            return Ok(one);
        }
        let spatial = w.len().saturating_sub(2);
        if !(1..=2).contains(&spatial) || x.len() != w.len() || y.len() != w.len() {
            return Err(format!("it slides over {spatial} axes"));
        }
        let known = |dims: &[Option<usize>]| dims.iter().copied().collect::<Option<Vec<usize>>>();
        let (Some(x), Some(y)) = (known(&x[1..]), known(&y[2..])) else {
            return Err("the extents of its input are not known".into());
        };
        if x.contains(&0) {
            return Err("its input is empty".into());
        }
        // One axis is the last of two.
        let two = |numbers: &[usize]| if spatial == 1 { [1, numbers[0]] } else { [numbers[0], numbers[1]] };
        let attr = |name: &str, default: i64| -> [i64; 2] {
            let given = record.ints(name).map(<[i64]>::to_vec).filter(|v| v.len() >= spatial);
            let given = given.unwrap_or_else(|| vec![default; spatial]);
            if spatial == 1 { [default, given[0]] } else { [given[0], given[1]] }
        };
        let (kernel, output, input) = (two(&w[2..]), two(&y), two(&x[1..]));
        let (stride, dilation) = (attr("strides", 1), attr("dilations", 1));
        let mode = record.str("auto_pad", "NOTSET");
        let mut begin = if mode == "NOTSET" { attr("pads", 0) } else { [0, 0] };
        // So that no product below overflows.
        let extents = [kernel, output, input].concat();
        let small = |n: i64| n.unsigned_abs() <= LARGEST;
        if extents.into_iter().any(|n| n as u64 > LARGEST) || !begin.into_iter().all(small) {
            return Err("its extents are beyond every memory".into());
        }
        if !stride.into_iter().chain(dilation).all(|n| n > 0 && small(n)) {
            return Err("its strides or dilations are out of range".into());
        }
        if mode.starts_with("SAME") {
            for axis in 0..2 {
                let reach = dilation[axis] * (kernel[axis] as i64 - 1) + 1;
                let total = ((output[axis] as i64 - 1) * stride[axis] + reach - input[axis] as i64).max(0);
                begin[axis] = if mode == "SAME_LOWER" { total - total / 2 } else { total / 2 };
            }
        }
        Ok(Window { channels: x[0], input, output, kernel, stride, dilation, begin, rows: false })
    }

    /// Weights that meet one channel.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Sums over one sample: of what each tap meets, then per channel of all numbers, squares and products of neighbours.
    fn sums(&self, numbers: &[f32]) -> Sums {
        let mut sums =
            Sums { positions: 0.0, numbers: 0.0, taps: vec![0.0; self.channels * self.taps()], channels: Vec::new() };
        sums.channels = vec![[0.0; 3]; self.channels];
        if self.rows {
            for row in numbers.chunks_exact(self.channels.max(1)) {
                (sums.positions, sums.numbers) = (sums.positions + 1.0, sums.numbers + 1.0);
                for (c, &x) in row.iter().enumerate() {
                    sums.taps[c] += f64::from(x);
                    sums.channels[c][0] += f64::from(x);
                    sums.channels[c][1] += f64::from(x) * f64::from(x);
                }
            }
            return sums;
        }
        let plane = self.input[0] * self.input[1];
        for image in numbers.chunks_exact((plane * self.channels).max(1)) {
            sums.positions += (self.output[0] * self.output[1]) as f64;
            sums.numbers += plane as f64;
            for (c, map) in image.chunks_exact(plane).enumerate() {
                self.channel(map, &mut sums.taps[c * self.taps()..][..self.taps()], &mut sums.channels[c]);
            }
        }
        sums
    }

    fn channel(&self, map: &[f32], taps: &mut [f64], own: &mut [f64; 3]) {
        for (ih, row) in map.chunks_exact(self.input[1]).enumerate() {
            let whole = sum(row);
            own[0] += f64::from(whole);
            own[1] += f64::from(product(row, row));
            own[2] += f64::from(product(row, &row[1..]));
            let met: Vec<usize> = (0..self.kernel[0]).filter(|&kh| self.meets(0, kh, ih)).collect();
            if met.is_empty() {
                continue;
            }
            for kw in 0..self.kernel[1] {
                let total = self.row(row, whole, kw);
                met.iter().for_each(|&kh| taps[kh * self.kernel[1] + kw] += total);
            }
        }
    }

    /// True when tap `k` of an axis meets position `at` of the input for some position of the output.
    fn meets(&self, axis: usize, k: usize, at: usize) -> bool {
        let from = at as i64 + self.begin[axis] - k as i64 * self.dilation[axis];
        from >= 0 && from % self.stride[axis] == 0 && from / self.stride[axis] < self.output[axis] as i64
    }

    /// Sum of what tap `kw` meets in one row, whose sum is `whole`.
    fn row(&self, row: &[f32], whole: f32, kw: usize) -> f64 {
        let (stride, offset) = (self.stride[1], kw as i64 * self.dilation[1] - self.begin[1]);
        // Positions of the output whose place in the input, `position * stride + offset`, is not padding.
        let first = if offset < 0 { (-offset + stride - 1) / stride } else { 0 };
        let past = ((row.len() as i64 - offset + stride - 1) / stride).clamp(0, self.output[1] as i64);
        if first >= past {
            return 0.0;
        }
        let start = (first * stride + offset) as usize;
        let count = (past - first) as usize;
        if stride == 1 {
            // Nearly all of the row: what is missing at its ends is less to add up.
            return f64::from(whole - sum(&row[..start]) - sum(&row[start + count..]));
        }
        f64::from(row[start..].iter().step_by(stride as usize).take(count).sum::<f32>())
    }
}

/// Rows are short enough to be summed in single precision, in lanes so that it is fast.
const LANES: usize = 8;

fn sum(row: &[f32]) -> f32 {
    let chunks = row.chunks_exact(LANES);
    let rest: f32 = chunks.remainder().iter().sum();
    let mut lanes = [0.0f32; LANES];
    chunks.for_each(|chunk| (0..LANES).for_each(|i| lanes[i] += chunk[i]));
    lanes.iter().sum::<f32>() + rest
}

/// Sum of `a[i] * b[i]` over the shorter of both.
fn product(a: &[f32], b: &[f32]) -> f32 {
    let count = a.len().min(b.len());
    let (a, b) = (a[..count].chunks_exact(LANES), b[..count].chunks_exact(LANES));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    let mut lanes = [0.0f32; LANES];
    a.zip(b).for_each(|(a, b)| (0..LANES).for_each(|i| lanes[i] += a[i] * b[i]));
    lanes.iter().sum::<f32>() + rest
}

/// Sums over one sample.
#[derive(Clone, Default)]
struct Sums {
    positions: f64,
    numbers: f64,
    taps: Vec<f64>,
    channels: Vec<[f64; 3]>,
}

/// Averages over all samples.
#[derive(Clone, PartialEq, Debug)]
pub struct Moments {
    /// What each tap meets, padding included: `[channels, taps]`.
    pub mean: Vec<f64>,
    /// Variance of each channel.
    pub variance: Vec<f64>,
    /// Correlation of neighbours along a row, 0 to 1, for each channel.
    pub alike: Vec<f64>,
}

/// Ops with weights whose operands are looked at while samples stream by.
pub struct Layers {
    ops: Vec<OpId>,
    /// What the ops read, without repetition.
    pub values: Vec<ValueId>,
    /// By value: the ops that read it.
    readers: Vec<Vec<usize>>,
    gather: Gather,
}

impl Layers {
    /// These ops, with the windows of their weights.
    pub fn new(graph: &Graph, layers: impl IntoIterator<Item = (OpId, Window)>) -> Layers {
        let (ops, windows): (Vec<OpId>, Vec<Window>) = layers.into_iter().unzip();
        let mut readers: BTreeMap<ValueId, Vec<usize>> = BTreeMap::new();
        for (layer, op) in ops.iter().enumerate() {
            graph.op(*op).operand(0).into_iter().for_each(|x| readers.entry(x).or_default().push(layer));
        }
        let (values, readers) = readers.into_iter().unzip();
        Layers { ops, values, readers, gather: Gather::new(windows) }
    }

    /// Takes the numbers of `values[slot]` for one sample.
    pub fn see(&self, sample: usize, slot: usize, numbers: &[f32]) {
        self.readers[slot].iter().for_each(|&layer| self.gather.see(sample, layer, numbers));
    }

    /// What was seen on these samples.
    pub fn measured(self, graph: &Graph, samples: Vec<usize>) -> Measured {
        let found = self.ops.into_iter().zip(self.gather.moments());
        let moments = found.filter_map(|(op, moments)| Some((op, moments?))).collect();
        Measured { revision: graph.revision(), samples, moments }
    }
}

/// Moments of what ops read, measured on samples: of a graph as it stood then.
#[derive(Clone, PartialEq, Debug)]
pub struct Measured {
    revision: u64,
    samples: Vec<usize>,
    moments: BTreeMap<OpId, Moments>,
}

impl Measured {
    /// True when running the graph on these samples again would find the same.
    pub fn holds(&self, graph: &Graph, samples: &[usize]) -> bool {
        self.revision == graph.revision() && self.samples == samples
    }

    /// Moments of what the op reads; `None` when it was not seen, or not finite.
    pub fn of(&self, op: OpId) -> Option<&Moments> {
        self.moments.get(&op)
    }
}

/// Gathers moments of several operands while samples stream by. Sums of samples are kept apart and added in their order:
/// the moments are the same for any number of threads.
pub struct Gather {
    windows: Vec<Window>,
    sums: Vec<Mutex<Vec<(usize, Sums)>>>,
}

impl Gather {
    /// One slot for each window.
    pub fn new(windows: Vec<Window>) -> Gather {
        let sums = windows.iter().map(|_| Mutex::default()).collect();
        Gather { windows, sums }
    }

    /// Takes the numbers of one operand for one sample.
    pub fn see(&self, sample: usize, slot: usize, numbers: &[f32]) {
        let window = &self.windows[slot];
        let plane = if window.rows { Some(1) } else { window.input[0].checked_mul(window.input[1]) };
        // Types may claim channels that are not there, and more than memory holds.
        if plane.and_then(|plane| plane.checked_mul(window.channels)).is_none_or(|least| numbers.len() < least) {
            return;
        }
        let sums = window.sums(numbers);
        if let Ok(mut all) = self.sums[slot].lock() {
            all.push((sample, sums));
        }
    }

    /// The moments; `None` for operands that were never seen, or not finite.
    pub fn moments(self) -> Vec<Option<Moments>> {
        let each = self.windows.iter().zip(self.sums);
        each.map(|(window, sums)| average(window, sums.into_inner().unwrap_or_else(|e| e.into_inner()))).collect()
    }
}

fn average(window: &Window, mut samples: Vec<(usize, Sums)>) -> Option<Moments> {
    samples.sort_unstable_by_key(|s| s.0);
    let mut samples = samples.into_iter().map(|s| s.1);
    let mut total = samples.next()?;
    for more in samples {
        total.positions += more.positions;
        total.numbers += more.numbers;
        total.taps.iter_mut().zip(&more.taps).for_each(|(a, b)| *a += b);
        total.channels.iter_mut().zip(&more.channels).for_each(|(a, b)| (0..3).for_each(|i| a[i] += b[i]));
    }
    if total.positions == 0.0 || total.numbers == 0.0 {
        return None;
    }
    let mean: Vec<f64> = total.taps.iter().map(|t| t / total.positions).collect();
    // A row of n numbers has n - 1 pairs of neighbours.
    let width = window.input[1] as f64;
    let pairs = if width > 1.0 { total.numbers * (width - 1.0) / width } else { f64::INFINITY };
    let own = total.channels.iter().map(|[sum, square, product]| {
        let middle = sum / total.numbers;
        let variance = (square / total.numbers - middle * middle).max(0.0);
        let alike = if variance > 0.0 { (product / pairs - middle * middle) / variance } else { 0.0 };
        (variance, if alike.is_finite() { alike.clamp(0.0, 1.0) } else { 0.0 })
    });
    let (variance, alike): (Vec<f64>, Vec<f64>) = own.unzip();
    let finite = mean.iter().chain(&variance).all(|x| x.is_finite());
    finite.then_some(Moments { mean, variance, alike })
}

#[cfg(test)]
mod tests {
    use super::*;
    use spaceevo_ir::text;

    fn moments(op: &str, shapes: &str, numbers: &[f32]) -> (Window, Moments) {
        let source = format!("graph @main(%x: f32{}) with {{opset = 17}} {{\n  {op}\n  return %y\n}}", shapes);
        let parsed = text::parse(&source, "test", &text::NoBlobs);
        let graph = parsed.graph.unwrap_or_else(|| panic!("{:?}", parsed.diagnostics));
        let op = graph.ops_in(graph.body()).next().unwrap();
        let window = Window::of(&graph, op).unwrap();
        let gather = Gather::new(vec![window.clone()]);
        gather.see(0, 0, numbers);
        (window, gather.moments().remove(0).unwrap())
    }

    #[test]
    fn a_tap_meets_what_lies_under_it_and_zeros_beyond_the_edge() {
        let conv = "%w = const [[[1.0, 1.0, 1.0]]] : f32[1,1,3]\n  %y = onnx.Conv %x, %w {pads = [1, 1]} : f32[1,1,4]";
        let (window, found) = moments(conv, "[1,1,4]", &[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(window.taps(), 3);
        assert_eq!(found.mean, [6.0 / 4.0, 10.0 / 4.0, 9.0 / 4.0]);
        assert_eq!(found.variance, [1.25]);
    }

    #[test]
    fn strides_and_dilations_leave_positions_out() {
        let conv =
            "%w = const [[[1.0, 1.0]]] : f32[1,1,2]\n  %y = onnx.Conv %x, %w {strides = [2], dilations = [2]} : f32[1,1,2]";
        let (_, found) = moments(conv, "[1,1,5]", &[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(found.mean, [(1.0 + 3.0) / 2.0, (3.0 + 5.0) / 2.0]);
    }

    #[test]
    fn rows_of_a_matrix_product_are_positions() {
        let gemm = "%w = const rand(1) : f32[2,3]\n  %y = onnx.Gemm %x, %w : f32[2,3]";
        let (window, found) = moments(gemm, "[2,2]", &[1.0, 2.0, 3.0, 6.0]);
        assert_eq!((window.channels, window.taps()), (2, 1));
        assert_eq!((found.mean, found.variance), (vec![2.0, 4.0], vec![1.0, 4.0]));
    }
}
