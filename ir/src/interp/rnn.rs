//! Recurrent layers: `RNN`, `GRU`, `LSTM`.
//!
//! Weights are stacked by gate; `W` is applied to the input, `R` to the hidden state. Each sequence of the batch runs on
//! its own, up to its own length; what lies beyond is 0 in `Y`.

use super::real::{ensure, read, read_i64, volume, write};
use super::{Call, Datum, Entry, Fault};
use crate::attr::Attr;

pub(super) const KERNELS: &[Entry] = &[("onnx", "RNN", rnn), ("onnx", "GRU", gru), ("onnx", "LSTM", lstm)];

/// Which cell runs.
#[derive(Clone, Copy, PartialEq)]
enum Cell {
    Rnn,
    Gru,
    Lstm,
}

fn rnn(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    layer(call, Cell::Rnn, 1, &["Tanh"])
}

fn gru(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    layer(call, Cell::Gru, 3, &["Sigmoid", "Tanh"])
}

fn lstm(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    layer(call, Cell::Lstm, 4, &["Sigmoid", "Tanh", "Tanh"])
}

/// The parameters of one direction.
struct Direction<'a> {
    cell: Cell,
    hidden: usize,
    inputs: usize,
    /// `[gates * hidden, inputs]`
    w: &'a [f64],
    /// `[gates * hidden, hidden]`
    r: &'a [f64],
    /// Biases of `W`, then of `R`.
    bias: &'a [f64],
    /// Of LSTM: for the gates i, o, f.
    peepholes: &'a [f64],
    activations: Vec<Activation>,
    clip: f64,
    linear_before_reset: bool,
    input_forget: bool,
}

fn layer(call: &Call<'_>, cell: Cell, gates: usize, defaults: &[&str]) -> Result<Vec<Datum>, Fault> {
    let (x, w, r) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    let batch_first = call.int("layout", 0) != 0;
    let directions = if call.str("direction", "forward") == "bidirectional" { 2 } else { 1 };
    let (&[first, second, inputs], &[w_directions, rows, columns], &[_, _, hidden]) = (x.dims(), w.dims(), r.dims()) else {
        return Err("X, W and R must have three axes each".into());
    };
    let (steps, batch) = if batch_first { (second, first) } else { (first, second) };
    ensure(
        w_directions == directions
            && columns == inputs
            && rows == gates * hidden
            && r.dims() == [directions, rows, hidden]
            && hidden > 0,
        || format!("W {:?} and R {:?} do not fit the input {:?} in {directions} directions", w.dims(), r.dims(), x.dims()),
    )?;
    let x_values = read(x)?;
    let (w_values, r_values) = (read(w)?, read(r)?);
    let optional = |index: usize, len: usize| -> Result<Vec<f64>, Fault> {
        let values = call.get(index).map_or_else(|| Ok(vec![0.0; len]), read)?;
        ensure(values.len() == len, || format!("operand {index}: expected {len} numbers, found {}", values.len()))?;
        Ok(values)
    };
    let bias = optional(3, directions * 2 * rows)?;
    let states = directions * batch * hidden;
    volume(&[directions, batch, hidden])?;
    let (initial_h, initial_c) =
        (optional(5, states)?, if cell == Cell::Lstm { optional(6, states)? } else { vec![0.0; states] });
    let peepholes = if cell == Cell::Lstm { optional(7, directions * 3 * hidden)? } else { Vec::new() };
    let lengths = call.get(4).map_or_else(|| Ok(vec![steps as i64; batch]), read_i64)?;
    let lengths: Vec<usize> = lengths.into_iter().map(|n| n.clamp(0, steps as i64) as usize).collect();
    ensure(lengths.len() == batch, || format!("{} lengths for {batch} sequences", lengths.len()))?;
    let activations = activations(call, directions, defaults)?;

    let y_dims = if batch_first { [batch, steps, directions, hidden] } else { [steps, directions, batch, hidden] };
    let mut y = vec![0.0; volume(&y_dims)?];
    let (mut last_h, mut last_c) = (vec![0.0; states], vec![0.0; states]);
    for d in 0..directions {
        let direction = Direction {
            cell,
            hidden,
            inputs,
            w: &w_values[d * rows * inputs..][..rows * inputs],
            r: &r_values[d * rows * hidden..][..rows * hidden],
            bias: &bias[d * 2 * rows..][..2 * rows],
            peepholes: peepholes.get(d * 3 * hidden..(d + 1) * 3 * hidden).unwrap_or(&[]),
            activations: activations[d * defaults.len()..][..defaults.len()].to_vec(),
            clip: call.attr("clip").and_then(Attr::as_float).map_or(f64::INFINITY, f64::from),
            linear_before_reset: call.int("linear_before_reset", 0) != 0,
            input_forget: call.int("input_forget", 0) != 0,
        };
        let backwards = d == 1 || call.str("direction", "forward") == "reverse";
        for (b, &length) in lengths.iter().enumerate() {
            let state = if batch_first { b * directions + d } else { d * batch + b } * hidden;
            let mut h = initial_h[state..][..hidden].to_vec();
            let mut c = initial_c[state..][..hidden].to_vec();
            for step in 0..length {
                let t = if backwards { length - 1 - step } else { step };
                let from = if batch_first { b * steps + t } else { t * batch + b } * inputs;
                direction.step(&x_values[from..][..inputs], &mut h, &mut c);
                let to = if batch_first { (b * steps + t) * directions + d } else { (t * directions + d) * batch + b };
                y[to * hidden..][..hidden].copy_from_slice(&h);
            }
            last_h[state..][..hidden].copy_from_slice(&h);
            last_c[state..][..hidden].copy_from_slice(&c);
        }
    }
    let state_dims = if batch_first { [batch, directions, hidden] } else { [directions, batch, hidden] };
    let mut results = vec![write(x.elem(), &y_dims, &y)?, write(x.elem(), &state_dims, &last_h)?];
    if cell == Cell::Lstm {
        results.push(write(x.elem(), &state_dims, &last_c)?);
    }
    Ok(results)
}

impl Direction<'_> {
    /// Moves the hidden state (and that of the LSTM's cell) one step on.
    fn step(&self, x: &[f64], h: &mut [f64], c: &mut [f64]) {
        let n = self.hidden;
        let rows = self.w.len() / self.inputs.max(1);
        let rows = if self.inputs == 0 { self.r.len() / n } else { rows };
        let from_x: Vec<f64> = (0..rows).map(|i| dot(&self.w[i * self.inputs..][..self.inputs], x) + self.bias[i]).collect();
        let recur = |row: usize, h: &[f64]| dot(&self.r[row * n..][..n], h) + self.bias[rows + row];
        let act = |which: usize, v: f64| self.activations[which].apply(v.clamp(-self.clip, self.clip));
        match self.cell {
            Cell::Rnn => {
                let next: Vec<f64> = (0..n).map(|i| act(0, from_x[i] + recur(i, h))).collect();
                h.copy_from_slice(&next);
            }
            Cell::Gru => {
                let gate = |g: usize, i: usize| act(0, from_x[g * n + i] + recur(g * n + i, h));
                let (z, r): (Vec<f64>, Vec<f64>) = (0..n).map(|i| (gate(0, i), gate(1, i))).unzip();
                let reset: Vec<f64> = r.iter().zip(h.iter()).map(|(r, h)| r * h).collect();
                let next: Vec<f64> = (0..n)
                    .map(|i| {
                        let row = 2 * n + i;
                        let recurrent = if self.linear_before_reset { r[i] * recur(row, h) } else { recur(row, &reset) };
                        (1.0 - z[i]) * act(1, from_x[row] + recurrent) + z[i] * h[i]
                    })
                    .collect();
                h.copy_from_slice(&next);
            }
            Cell::Lstm => {
                let before: Vec<f64> = (0..4 * n).map(|row| from_x[row] + recur(row, h)).collect();
                for k in 0..n {
                    let peep = |gate: usize, c: f64| self.peepholes[gate * n + k] * c;
                    let i = act(0, before[k] + peep(0, c[k]));
                    let f = if self.input_forget { 1.0 - i } else { act(0, before[2 * n + k] + peep(2, c[k])) };
                    c[k] = f * c[k] + i * act(1, before[3 * n + k]);
                    let o = act(0, before[n + k] + peep(1, c[k]));
                    h[k] = o * self.activations[2].apply(c[k]);
                }
            }
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[derive(Clone)]
struct Activation {
    name: String,
    alpha: f64,
    beta: f64,
}

/// The activations of all directions; `activation_alpha` and `activation_beta` are used up in order by those that have them.
fn activations(call: &Call<'_>, directions: usize, defaults: &[&str]) -> Result<Vec<Activation>, Fault> {
    let names: Vec<String> = match call.attr("activations") {
        Some(Attr::Strs(list)) => list.iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect(),
        _ => defaults.repeat(directions).into_iter().map(String::from).collect(),
    };
    let wanted = directions * defaults.len();
    ensure(names.len() == wanted, || format!("{} activations, expected {wanted}", names.len()))?;
    let floats = |name| call.attr(name).and_then(Attr::as_floats).unwrap_or(&[]).iter().map(|&v| f64::from(v));
    let (mut alphas, mut betas) = (floats("activation_alpha"), floats("activation_beta"));
    names
        .into_iter()
        .map(|name| {
            let (alpha, beta) = match name.as_str() {
                "Relu" | "Tanh" | "Sigmoid" | "Softsign" | "Softplus" => (None, None),
                "LeakyRelu" => (Some(0.01), None),
                "ThresholdedRelu" | "Elu" => (Some(1.0), None),
                "HardSigmoid" => (Some(0.2), Some(0.5)),
                "Affine" => (Some(1.0), Some(0.0)),
                "ScaledTanh" => (Some(1.0), Some(1.0)),
                other => return Err(format!("activation '{other}' is not known")),
            };
            let alpha = alpha.map_or(0.0, |default| alphas.next().unwrap_or(default));
            let beta = beta.map_or(0.0, |default| betas.next().unwrap_or(default));
            Ok(Activation { name, alpha, beta })
        })
        .collect()
}

impl Activation {
    fn apply(&self, v: f64) -> f64 {
        let (alpha, beta) = (self.alpha, self.beta);
        match self.name.as_str() {
            "Relu" => v.max(0.0),
            "Tanh" => v.tanh(),
            "Sigmoid" => 1.0 / (1.0 + (-v).exp()),
            "Softsign" => v / (1.0 + v.abs()),
            "Softplus" => v.exp().ln_1p(),
            "LeakyRelu" => {
                if v >= 0.0 {
                    v
                } else {
                    alpha * v
                }
            }
            "ThresholdedRelu" => {
                if v > alpha {
                    v
                } else {
                    0.0
                }
            }
            "Elu" => {
                if v >= 0.0 {
                    v
                } else {
                    alpha * v.exp_m1()
                }
            }
            "HardSigmoid" => (alpha * v + beta).clamp(0.0, 1.0),
            "Affine" => alpha * v + beta,
            _ => alpha * (beta * v).tanh(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::attr::Attr;
    use crate::interp::trial::trial_in;
    use crate::tensor::Tensor;

    fn tensor(dims: &[usize], values: &[f32]) -> Option<Tensor> {
        Some(Tensor::new(dims, values.to_vec()))
    }

    #[test]
    fn sums_up_to_each_length_in_both_directions() {
        // Affine is the identity: the hidden state is the running sum.
        let x = tensor(&[3, 2, 1], &[1., 10., 2., 20., 3., 30.]);
        let (w, r) = (tensor(&[2, 1, 1], &[1., 1.]), tensor(&[2, 1, 1], &[1., 1.]));
        let lengths = Some(Tensor::new(vec![2], vec![3i32, 2]));
        let attrs = [
            ("direction", Attr::text("bidirectional")),
            ("activations", Attr::Strs(vec!["Affine".into(), "Affine".into()])),
        ];
        let y = trial_in("onnx", "RNN", 14, &attrs, &[x, w, r, None, lengths]).unwrap();
        assert_eq!(y[0].dims(), [3, 2, 2, 1]);
        assert_eq!(y[0].to_f32().unwrap(), [1., 10., 6., 30., 3., 30., 5., 20., 6., 0., 3., 0.]);
        assert_eq!(y[1].to_f32().unwrap(), [6., 30., 6., 30.]);
    }

    #[test]
    fn gates_open_and_close() {
        // Zero weights: every gate is 1/2 and every candidate 0.
        let (x, state) = (tensor(&[1, 1, 1], &[5.]), tensor(&[1, 1, 1], &[1.]));
        let gru = [x.clone(), tensor(&[1, 3, 1], &[0.; 3]), tensor(&[1, 3, 1], &[0.; 3]), None, None, state.clone()];
        assert_eq!(trial_in("onnx", "GRU", 14, &[], &gru).unwrap()[1].to_f32().unwrap(), [0.5]);
        let zeros = tensor(&[1, 4, 1], &[0.; 4]);
        let lstm = [x, zeros.clone(), zeros, None, None, None, state];
        let y = trial_in("onnx", "LSTM", 14, &[], &lstm).unwrap();
        assert_eq!(y[2].to_f32().unwrap(), [0.5]);
        assert_eq!(y[1].to_f32().unwrap(), [0.5 * 0.5f32.tanh()]);
    }
}
