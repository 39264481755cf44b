//! Numbers of constants. Floats print with the fewest digits that read back to the same bits, always with a point or
//! exponent; what no digits can say prints as bits.

use crate::tensor::Tensor;
use crate::text::print::Writer;
use crate::text::{drawing_cost, float_bytes, strings_to_blob};
use crate::types::{Elem, Type};

/// Most lists in lists that a literal shows.
const MAX_RANK: usize = 16;

impl Writer<'_> {
    /// The numbers of a value; with their own type in front where the value's type does not tell it.
    pub(super) fn numbers(&mut self, tensor: &Tensor, ty: &Type) {
        let told = ty.tensor().is_some_and(|t| t.storage() == tensor.elem() && t.dims().as_deref() == Some(tensor.dims()));
        if told {
            self.literal(tensor);
        } else {
            self.push("tensor ");
            self.typed_tensor(tensor);
        }
    }

    /// `f32[2] [1.0, 2.0]`
    pub(super) fn typed_tensor(&mut self, tensor: &Tensor) {
        self.tensor_type(&tensor.ty());
        self.push(" ");
        self.literal(tensor);
    }

    fn literal(&mut self, tensor: &Tensor) {
        let n = tensor.len();
        let cost = drawing_cost(tensor.elem(), n);
        let drawn = cost <= self.drawn_left;
        if let Some(rand) = tensor.rand().filter(|_| drawn) {
            self.drawn_left -= cost;
            self.push(&format!("rand({}", rand.seed));
            if let Some((low, high)) = rand.within {
                self.push(", ");
                self.double(low);
                self.push(", ");
                self.double(high);
            }
            return self.push(")");
        }
        let elements = Elements::of(tensor);
        if n == 0 {
            return self.push("[]");
        }
        if n <= self.inline && tensor.dims().len() <= MAX_RANK {
            return self.items(&elements, tensor.dims(), 0, n);
        }
        if drawn && elements.uniform(n) {
            self.drawn_left -= cost;
            self.push("splat(");
            self.element(&elements, 0);
            return self.push(")");
        }
        match tensor.as_strings() {
            Some(strings) => self.blob(&strings_to_blob(strings)),
            None => self.blob(&tensor.bytes()),
        }
    }

    /// Elements `start .. start + n` as lists in lists.
    fn items(&mut self, elements: &Elements<'_>, dims: &[usize], start: usize, n: usize) {
        let Some((&outer, inner)) = dims.split_first() else { return self.element(elements, start) };
        let each = n / outer;
        self.push("[");
        self.join(0..outer, |w, index| w.items(elements, inner, start + index * each, each));
        self.push("]");
    }

    fn element(&mut self, elements: &Elements<'_>, index: usize) {
        match elements.tensor.as_strings() {
            Some(strings) => self.quoted(&strings[index]),
            None => self.scalar(elements.tensor.elem(), &elements.bytes_at(index)),
        }
    }

    /// One element from its little-endian bytes.
    fn scalar(&mut self, elem: Elem, bytes: &[u8]) {
        let mut wide = [0u8; 16];
        wide[..bytes.len()].copy_from_slice(bytes);
        let bits = u128::from_le_bytes(wide);
        let low = bits as u64;
        match elem {
            Elem::C64 | Elem::C128 => {
                let (half, (re, im)) = match elem {
                    Elem::C64 => (Elem::F32, bytes.split_at(4)),
                    _ => (Elem::F64, bytes.split_at(8)),
                };
                self.push("(");
                self.scalar(half, re);
                self.push(", ");
                self.scalar(half, im);
                self.push(")");
            }
            Elem::Bool if bits <= 1 => self.push(if bits == 1 { "true" } else { "false" }),
            Elem::F32 => self.single(f32::from_bits(bits as u32)),
            Elem::F64 => match f64::from_bits(low) {
                x if x.is_nan() && low != f64::NAN.to_bits() => self.push(&format!("nan({low:#x})")),
                x => self.double(x),
            },
            _ if elem.is_float() => self.narrow(elem, bytes),
            Elem::U64 => self.push(&low.to_string()),
            _ if elem.is_int() => {
                let shift = 64 - elem.bits() as u32;
                let signed = elem == Elem::I64 || elem.int_range().is_some_and(|(lo, _)| lo < 0);
                let value = if signed { ((low << shift) as i64) >> shift } else { low as i64 };
                self.push(&value.to_string());
            }
            _ => self.push(&format!("bits({bits:#x})")),
        }
    }

    /// A float of fewer than 32 bits: the fewest digits that round to it.
    fn narrow(&mut self, elem: Elem, bytes: &[u8]) {
        let value = match (elem, bytes) {
            (Elem::F16, [a, b]) => half::f16::from_le_bytes([*a, *b]).to_f64(),
            (Elem::Bf16, [a, b]) => half::bf16::from_le_bytes([*a, *b]).to_f64(),
            (_, [code, ..]) => crate::small_float::decode(elem, *code),
            _ => f64::NAN,
        };
        // The usual NaN is `nan`; another one must not pass for it, although it may survive being widened and narrowed.
        let value = if value.is_nan() { f64::NAN } else { value };
        // Whole numbers print as what they are: 448.0 reads back from 450.0 too, but nobody would know it again.
        let whole = value.fract() == 0.0 && value.abs() < 1e6;
        let short = (0..17).map(|digits| format!("{value:.digits$e}")).filter_map(|text| text.parse::<f64>().ok());
        let exact = Some(value).filter(|v| whole || !v.is_finite());
        let found = exact.into_iter().chain(short).find(|&v| float_bytes(elem, v) == bytes);
        match found {
            Some(v) => self.double(v),
            None => {
                let code = bytes.iter().rev().fold(0u32, |code, &b| code << 8 | u32::from(b));
                let word = if value.is_nan() { "nan" } else { "bits" };
                self.push(&format!("{word}({code:#x})"));
            }
        }
    }

    pub(super) fn single(&mut self, x: f32) {
        match x {
            x if x.is_nan() && x.to_bits() == f32::NAN.to_bits() => self.push("nan"),
            x if x.is_nan() => self.push(&format!("nan({:#x})", x.to_bits())),
            x => self.push(&format!("{x:?}")),
        }
    }

    pub(super) fn double(&mut self, x: f64) {
        if x.is_nan() { self.push("nan") } else { self.push(&format!("{x:?}")) }
    }
}

/// Elements of a tensor one by one, those below a byte unpacked.
struct Elements<'a> {
    tensor: &'a Tensor,
    bytes: bytes::Bytes,
}

impl<'a> Elements<'a> {
    fn of(tensor: &'a Tensor) -> Self {
        Elements { tensor, bytes: tensor.bytes() }
    }

    fn bytes_at(&self, index: usize) -> Vec<u8> {
        let bits = self.tensor.elem().bits();
        if bits >= 8 {
            let width = bits / 8;
            return self.bytes[index * width..(index + 1) * width].to_vec();
        }
        let bit = index * bits;
        let wide = u16::from(self.bytes[bit / 8]) | u16::from(*self.bytes.get(bit / 8 + 1).unwrap_or(&0)) << 8;
        vec![(wide >> (bit % 8)) as u8 & (0xFF >> (8 - bits))]
    }

    /// True when all `n` elements have the same bits.
    fn uniform(&self, n: usize) -> bool {
        if let Some(strings) = self.tensor.as_strings() {
            return strings.windows(2).all(|pair| pair[0] == pair[1]);
        }
        let bits = self.tensor.elem().bits();
        if bits >= 8 {
            let width = bits / 8;
            return self.bytes.len() == n * width && self.bytes[width..] == self.bytes[..self.bytes.len() - width];
        }
        let first = self.bytes_at(0);
        // Unused high bits of the last byte do not count: they must be zero to come back.
        let spare = self.bytes.len() * 8 - n * bits;
        let clean = spare == 0 || self.bytes.last().is_some_and(|&b| b >> (8 - spare) == 0);
        clean && (1..n).all(|index| self.bytes_at(index) == first)
    }
}
