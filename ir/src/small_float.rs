//! Element types of at most eight bits: packing to bytes and back, by the tables of the ONNX and OCP specifications.

use crate::types::Elem;

/// Layout of a small float: exponent and mantissa bits, bias, and which codes are not numbers.
struct Layout {
    exponent: u32,
    mantissa: u32,
    bias: i32,
    /// Has infinities and many NaN codes (IEEE style).
    ieee: bool,
    /// The code of NaN, where there is exactly one (per sign for E4M3FN).
    nan: Option<u8>,
    /// No negative zero: its code is NaN.
    unsigned_zero: bool,
}

fn layout(elem: Elem) -> Option<Layout> {
    let make = |exponent, mantissa, bias, ieee, nan, unsigned_zero| {
        Some(Layout { exponent, mantissa, bias, ieee, nan, unsigned_zero })
    };
    match elem {
        Elem::F8E4M3FN => make(4, 3, 7, false, Some(0x7F), false),
        Elem::F8E4M3FNUZ => make(4, 3, 8, false, Some(0x80), true),
        Elem::F8E5M2 => make(5, 2, 15, true, None, false),
        Elem::F8E5M2FNUZ => make(5, 2, 16, false, Some(0x80), true),
        Elem::F4E2M1 => make(2, 1, 1, false, None, false),
        Elem::F6E2M3 => make(2, 3, 1, false, None, false),
        Elem::F6E3M2 => make(3, 2, 3, false, None, false),
        _ => None,
    }
}

/// The number that a code of a small element type stands for.
pub(crate) fn decode(elem: Elem, code: u8) -> f64 {
    match elem {
        Elem::F8E8M0 => return if code == 0xFF { f64::NAN } else { 2f64.powi(i32::from(code) - 127) },
        Elem::U4 | Elem::U2 | Elem::U8 => return f64::from(code),
        Elem::I8 => return f64::from(code as i8),
        Elem::I4 => return f64::from(((code << 4) as i8) >> 4),
        Elem::I2 => return f64::from(((code << 6) as i8) >> 6),
        _ => {}
    }
    let Some(l) = layout(elem) else { return f64::NAN };
    let sign_bit = 1u8 << (l.exponent + l.mantissa);
    let sign = if code & sign_bit != 0 { -1.0 } else { 1.0 };
    let magnitude = code & (sign_bit - 1);
    let is_nan = if l.unsigned_zero { Some(code) == l.nan } else { Some(magnitude) == l.nan };
    if is_nan {
        return f64::NAN;
    }
    let exponent = i32::from(magnitude >> l.mantissa);
    let fraction = f64::from(magnitude & ((1 << l.mantissa) - 1)) / f64::from(1u32 << l.mantissa);
    if l.ieee && exponent == (1 << l.exponent) - 1 {
        return if fraction == 0.0 { sign * f64::INFINITY } else { f64::NAN };
    }
    sign * if exponent == 0 { fraction * 2f64.powi(1 - l.bias) } else { (1.0 + fraction) * 2f64.powi(exponent - l.bias) }
}

/// The code nearest to `value`, ties to even; out of range saturates (ONNX `Cast` with `saturate=1`).
pub(crate) fn encode(elem: Elem, value: f64) -> u8 {
    encode_with(elem, value, true)
}

/// As [`encode`]; without `saturate`, what is out of range becomes infinity or NaN as the format has it.
pub(crate) fn encode_with(elem: Elem, value: f64, saturate: bool) -> u8 {
    if let Some((lo, hi)) = elem.int_range() {
        let code = value.round_ties_even().clamp(lo as f64, hi as f64) as i64;
        return (code as u8) & (0xFF >> (8 - elem.bits()));
    }
    if elem == Elem::F8E8M0 {
        if value.is_nan() || value <= 0.0 && !saturate {
            return 0xFF;
        }
        return (value.max(f64::MIN_POSITIVE).log2().round() + 127.0).clamp(0.0, 254.0) as u8;
    }
    let Some(l) = layout(elem) else { return 0 };
    let sign_bit = 1u8 << (l.exponent + l.mantissa);
    let sign = if value.is_sign_negative() { sign_bit } else { 0 };
    let nan = match l.nan {
        Some(code) if l.unsigned_zero => code,
        Some(code) => sign | code,
        None if l.ieee => sign | (sign_bit - 1),
        None => 0,
    };
    if value.is_nan() {
        return nan;
    }
    // Codes without sign grow with the numbers that they stand for: the largest finite one, then the nearest.
    let finite = (0..sign_bit).rev().find(|&c| decode(elem, c).is_finite()).unwrap_or(0);
    let magnitude = value.abs();
    let above = (0..=finite).find(|&c| decode(elem, c) >= magnitude);
    let code = match above {
        Some(0) => 0,
        Some(c) => {
            let (low, high) = (decode(elem, c - 1), decode(elem, c));
            let (down, up) = (magnitude - low, high - magnitude);
            if down < up || (down == up && (c - 1) % 2 == 0) { c - 1 } else { c }
        }
        None => {
            // Beyond the largest by half a step or more is an overflow; below that it still rounds down.
            let step = decode(elem, finite) - decode(elem, finite - 1);
            let overflow = magnitude - decode(elem, finite) >= step / 2.0;
            if overflow && !saturate { if l.ieee { finite + 1 } else { return nan } } else { finite }
        }
    };
    if code == 0 && l.unsigned_zero { 0 } else { sign | code }
}

/// Unpacks `count` elements.
pub(crate) fn unpack(elem: Elem, bytes: &[u8], count: usize) -> Vec<f64> {
    let bits = elem.bits();
    let mask = 0xFFu8 >> (8 - bits);
    let code = |i: usize| {
        let bit = i * bits;
        let low = u16::from(bytes[bit / 8]) | u16::from(*bytes.get(bit / 8 + 1).unwrap_or(&0)) << 8;
        (low >> (bit % 8)) as u8 & mask
    };
    (0..count).map(|i| decode(elem, code(i))).collect()
}

/// Packs elements, low bits first.
pub(crate) fn pack(elem: Elem, values: &[f64]) -> Vec<u8> {
    let bits = elem.bits();
    let mut bytes = vec![0u8; (values.len() * bits).div_ceil(8)];
    for (i, &value) in values.iter().enumerate() {
        let (byte, shift) = (i * bits / 8, i * bits % 8);
        let wide = u16::from(encode(elem, value)) << shift;
        bytes[byte] |= wide as u8;
        if wide > 0xFF {
            bytes[byte + 1] |= (wide >> 8) as u8;
        }
    }
    bytes
}
