//! `Attention` and `RotaryEmbedding`.

use super::real::{ensure, read, read_i64, spread_to, volume, write};
use super::{Call, Datum, Entry, Fault};
use crate::attr::Attr;
use crate::tensor::Tensor;
use crate::types::Elem;

pub(super) const KERNELS: &[Entry] = &[("onnx", "Attention", attention), ("onnx", "RotaryEmbedding", rotary_embedding)];

/// Numbers in the order batch, head, position, feature.
struct Heads {
    values: Vec<f64>,
    dims: [usize; 4],
}

impl Heads {
    /// Of a tensor that is so ordered, or of `[batch, position, head * feature]`.
    fn of(tensor: &Tensor, heads: i64) -> Result<Heads, Fault> {
        let values = read(tensor)?;
        match *tensor.dims() {
            [n, h, s, d] => Ok(Heads { values, dims: [n, h, s, d] }),
            [n, s, width] => {
                let h = usize::try_from(heads).ok().filter(|&h| h > 0 && width % h == 0);
                let h = h.ok_or_else(|| format!("{heads} heads do not divide {width}"))?;
                Ok(Heads { values, dims: [n, s, h, width / h] }.swapped())
            }
            ref dims => Err(format!("expected three or four axes, found {dims:?}")),
        }
    }

    /// Exchanges the two middle axes.
    fn swapped(self) -> Heads {
        let [n, a, b, d] = self.dims;
        let mut values = Vec::with_capacity(self.values.len());
        for (i, j, k) in (0..n).flat_map(|i| (0..b).flat_map(move |j| (0..a).map(move |k| (i, j, k)))) {
            values.extend_from_slice(&self.values[((i * a + k) * b + j) * d..][..d]);
        }
        Heads { values, dims: [n, b, a, d] }
    }

    fn row(&self, n: usize, h: usize, s: usize) -> &[f64] {
        let [_, heads, positions, d] = self.dims;
        &self.values[((n * heads + h) * positions + s) * d..][..d]
    }

    /// The positions of `past`, then its own.
    fn after(self, past: Option<&Tensor>) -> Result<Heads, Fault> {
        let Some(past) = past else { return Ok(self) };
        let past = Heads::of(past, 0)?;
        let ([n, h, s, d], [pn, ph, ps, pd]) = (self.dims, past.dims);
        ensure((n, h, d) == (pn, ph, pd), || format!("past {:?} does not fit {:?}", past.dims, self.dims))?;
        let mut values = Vec::with_capacity(volume(&[n, h, ps + s, d])?);
        for i in 0..n * h {
            values.extend_from_slice(&past.values[i * ps * d..][..ps * d]);
            values.extend_from_slice(&self.values[i * s * d..][..s * d]);
        }
        Ok(Heads { values, dims: [n, h, ps + s, d] })
    }
}

/// Operands Q, K, V, mask, past K, past V, number of valid positions; results Y, present K, present V, scores.
fn attention(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let elem = call.tensor(0)?.elem();
    let flat = call.tensor(0)?.dims().len() == 3;
    let q = Heads::of(call.tensor(0)?, call.int("q_num_heads", 0))?;
    let k = Heads::of(call.tensor(1)?, call.int("kv_num_heads", 0))?.after(call.get(4))?;
    let v = Heads::of(call.tensor(2)?, call.int("kv_num_heads", 0))?.after(call.get(5))?;
    let ([batch, heads, queries, width], [k_batch, kv_heads, keys, k_width]) = (q.dims, k.dims);
    let fits = batch == k_batch && width == k_width && v.dims[..3] == k.dims[..3] && kv_heads > 0 && heads % kv_heads == 0;
    ensure(fits, || format!("Q {:?}, K {:?} and V {:?} do not fit", q.dims, k.dims, v.dims))?;
    let scale = call.attr("scale").and_then(Attr::as_float).map_or(1.0 / (width as f64).sqrt(), f64::from);
    let softcap = f64::from(call.float("softcap", 0.0));
    let (mode, causal) = (call.int("qk_matmul_output_mode", 0), call.int("is_causal", 0) != 0);
    let score_dims = [batch, heads, queries, keys];
    let bias = mask(call, &score_dims)?;
    let valid = call.get(6).map(read_i64).transpose()?;
    ensure(valid.as_ref().is_none_or(|v| v.len() == batch), || "one number of positions per image".to_string())?;
    let past = call.get(4).map_or(0, |t| t.dims()[2]) as i64;
    let v_width = v.dims[3];
    let mut y = vec![0.0; volume(&[batch, heads, queries, v_width])?];
    let mut shown = Vec::with_capacity(volume(&score_dims)?);
    for line in 0..batch * heads * queries {
        let (n, h, i) = (line / queries / heads, line / queries % heads, line % queries);
        let kv = h / (heads / kv_heads);
        let offset = valid.as_ref().map_or(past, |v| v[n] - queries as i64);
        let allowed =
            |j: usize| valid.as_ref().is_none_or(|v| (j as i64) < v[n]) && (!causal || j as i64 <= i as i64 + offset);
        let raw: Vec<f64> =
            (0..keys).map(|j| scale * q.row(n, h, i).iter().zip(k.row(n, kv, j)).map(|(a, b)| a * b).sum::<f64>()).collect();
        let capped: Vec<f64> = raw.iter().map(|&s| if softcap > 0.0 { (s / softcap).tanh() * softcap } else { s }).collect();
        let limits: Vec<f64> =
            (0..keys).map(|j| if allowed(j) { bias[line * keys + j] } else { f64::NEG_INFINITY }).collect();
        let biased: Vec<f64> =
            capped.iter().zip(&limits).map(|(s, b)| if *b == f64::NEG_INFINITY { *b } else { s + b }).collect();
        let shares = softmax(&biased);
        for (j, share) in shares.iter().enumerate().filter(|(_, share)| **share != 0.0) {
            let to = &mut y[line * v_width..][..v_width];
            to.iter_mut().zip(v.row(n, kv, j)).for_each(|(y, v)| *y += share * v);
        }
        shown.extend(match mode {
            0 => raw,
            1 => capped,
            2 => biased,
            _ => shares,
        });
    }
    let y = Heads { values: y, dims: [batch, heads, queries, v_width] };
    let y = match flat {
        true => write(elem, &[batch, queries, heads * v_width], &y.swapped().values)?,
        false => write(elem, &y.dims, &y.values)?,
    };
    Ok(vec![y, write(elem, &k.dims, &k.values)?, write(elem, &v.dims, &v.values)?, write(elem, &score_dims, &shown)?])
}

/// What the mask adds to each score; what is not allowed gets minus infinity. A mask of fewer keys forbids the others.
fn mask(call: &Call<'_>, score_dims: &[usize; 4]) -> Result<Vec<f64>, Fault> {
    let Some(mask) = call.get(3) else { return Ok(vec![0.0; volume(score_dims)?]) };
    let given = mask.dims().last().copied().unwrap_or(1);
    let keys = score_dims[3];
    ensure(given <= keys && given > 0, || format!("a mask of shape {:?} for {keys} keys", mask.dims()))?;
    let mut values = read(mask)?;
    if mask.elem() == Elem::Bool {
        values.iter_mut().for_each(|v| *v = if *v != 0.0 { 0.0 } else { f64::NEG_INFINITY });
    }
    let mut dims = mask.dims().to_vec();
    if given < keys && !(given == 1 && mask.dims().len() == 1) {
        let forbidden = std::iter::repeat_n(f64::NEG_INFINITY, keys - given);
        values = values.chunks(given).flat_map(|row| row.iter().copied().chain(forbidden.clone())).collect();
        dims.pop();
        dims.push(keys);
    }
    Ok(spread_to(&values, &dims, score_dims)?.into_owned())
}

/// Shares that sum to 1; all 0 where nothing is allowed.
fn softmax(scores: &[f64]) -> Vec<f64> {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        return vec![0.0; scores.len()];
    }
    let powers: Vec<f64> = scores.iter().map(|s| (s - most).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|p| p / sum).collect()
}

/// Rotates pairs of features by angles that depend on the position; operands X, cosines, sines, positions.
fn rotary_embedding(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let flat = x.dims().len() == 3;
    let mut heads = Heads::of(x, call.int("num_heads", 0))?;
    let [batch, count, positions, width] = heads.dims;
    let turned = match usize::try_from(call.int("rotary_embedding_dim", 0)).unwrap_or(0) {
        0 => width,
        turned => turned,
    };
    ensure(turned <= width && turned % 2 == 0, || format!("{turned} of {width} features cannot be turned in pairs"))?;
    let half = turned / 2;
    let (cosines, sines) = (read(call.tensor(1)?)?, read(call.tensor(2)?)?);
    let ids = call.get(3).map(read_i64).transpose()?;
    ensure(ids.as_ref().is_none_or(|ids| ids.len() == batch * positions), || "each position needs an id".to_string())?;
    let rows = cosines.len() / half.max(1);
    ensure(sines.len() == cosines.len() && (ids.is_some() || rows == batch * positions), || {
        format!("{rows} rows of angles for {batch} x {positions} positions")
    })?;
    let interleaved = call.int("interleaved", 0) != 0;
    for (line, features) in heads.values.chunks_mut(width.max(1)).enumerate() {
        let place = line / positions / count * positions + line % positions;
        let row = ids.as_ref().map_or(place as i64, |ids| ids[place]);
        let row = usize::try_from(row).ok().filter(|&r| r < rows).ok_or_else(|| format!("position {row} has no angles"))?;
        for i in 0..half {
            let (a, b) = if interleaved { (2 * i, 2 * i + 1) } else { (i, half + i) };
            let (cos, sin, x, y) = (cosines[row * half + i], sines[row * half + i], features[a], features[b]);
            (features[a], features[b]) = (cos * x - sin * y, sin * x + cos * y);
        }
    }
    let heads = if flat { heads.swapped() } else { heads };
    Ok(vec![write(x.elem(), x.dims(), &heads.values)?])
}

#[cfg(test)]
mod tests {
    use crate::attr::Attr;
    use crate::interp::trial::trial;
    use crate::tensor::Tensor;

    #[test]
    fn causal_rows_see_what_came_before() {
        // Equal keys: shares are equal among what is allowed.
        let q = Tensor::new(vec![1, 1, 2, 1], vec![0f32, 0.]);
        let v = Tensor::new(vec![1, 1, 2, 1], vec![2f32, 6.]);
        let y = trial("Attention", 23, &[("is_causal", Attr::Int(1))], &[q.clone(), q, v]).unwrap();
        assert_eq!(y[0].to_f32().unwrap(), [2., 4.]);
    }

    #[test]
    fn a_quarter_turn_moves_one_feature_to_the_other() {
        let x = Tensor::new(vec![1, 1, 1, 2], vec![3f32, 5.]);
        let (cos, sin) = (Tensor::new(vec![1, 1, 1], vec![0f32]), Tensor::new(vec![1, 1, 1], vec![1f32]));
        assert_eq!(trial("RotaryEmbedding", 23, &[], &[x, cos, sin]).unwrap()[0].to_f32().unwrap(), [-5., 3.]);
    }
}
