//! Float operators of ONNX Runtime's own domain that it makes by fusing: activations and convolutions with activation.

use super::real::{ensure, read, write};
use super::unary::{erf, sigmoid};
use super::{Call, Datum, Entry, Fault, kernel};
use crate::attr::Attr;

pub(super) const KERNELS: &[Entry] = &[
    ("com.microsoft", "Gelu", gelu),
    ("com.microsoft", "QuickGelu", quick_gelu),
    ("com.microsoft", "FusedConv", fused_conv),
];

/// `f` of each number.
fn map(call: &Call<'_>, f: impl Fn(f64) -> f64) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    Ok(vec![write(x.elem(), x.dims(), &read(x)?.into_iter().map(f).collect::<Vec<_>>())?])
}

/// `x / 2 * (1 + erf(x / sqrt 2))`.
fn gelu(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    map(call, |v| 0.5 * v * (1.0 + erf(v / std::f64::consts::SQRT_2)))
}

/// `x * sigmoid(alpha * x)`.
fn quick_gelu(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let alpha = f64::from(call.float("alpha", 1.702));
    map(call, |v| v * sigmoid(alpha * v))
}

/// `activation(Conv(X, W, B) + Z)`.
fn fused_conv(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let conv = kernel(crate::graph::ONNX, "Conv").ok_or("Conv has no kernel")?(call)?;
    let Some(y) = conv.first().and_then(Datum::tensor) else { return Err("Conv has no result".into()) };
    let mut values = read(y)?;
    if let Some(z) = call.get(3) {
        ensure(z.dims() == y.dims(), || format!("Z {:?} does not fit the result {:?}", z.dims(), y.dims()))?;
        values.iter_mut().zip(read(z)?).for_each(|(v, z)| *v += z);
    }
    let parameters = call.attr("activation_params").and_then(Attr::as_floats).unwrap_or(&[]);
    let parameter = |i: usize, default: f64| parameters.get(i).map_or(default, |&v| f64::from(v));
    let (first, second) = (parameter(0, 0.0), parameter(1, 0.0));
    for v in &mut values {
        *v = match call.str("activation", "") {
            "" => *v,
            "Relu" => v.max(0.0),
            "Tanh" => v.tanh(),
            "Sigmoid" => sigmoid(*v),
            "LeakyRelu" if *v >= 0.0 => *v,
            "LeakyRelu" => first * *v,
            "Clip" => v.max(first).min(second),
            "HardSigmoid" => (first * *v + second).clamp(0.0, 1.0),
            other => return Err(format!("activation '{other}' is not known")),
        };
    }
    Ok(vec![write(y.elem(), y.dims(), &values)?])
}

#[cfg(test)]
mod tests {
    use crate::attr::Attr;
    use crate::interp::trial::trial_in;
    use crate::tensor::Tensor;

    #[test]
    fn activates_after_adding() {
        let x = || Some(Tensor::new(vec![1, 1, 2], vec![1f32, -3.]));
        let w = Some(Tensor::new(vec![1, 1, 1], vec![2f32]));
        let leaky = [("activation", Attr::text("LeakyRelu")), ("activation_params", Attr::Floats(vec![0.5]))];
        let y = trial_in("com.microsoft", "FusedConv", 1, &leaky, &[x(), w, None, x()]).unwrap();
        assert_eq!(y[0].to_f32().unwrap(), [3., -4.5]);
        let y = trial_in("com.microsoft", "QuickGelu", 1, &[("alpha", Attr::Float(0.0))], &[x()]).unwrap();
        assert_eq!(y[0].to_f32().unwrap(), [0.5, -1.5]);
    }
}
