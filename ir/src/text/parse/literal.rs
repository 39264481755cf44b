//! Numbers of constants: `3.0`, `[[1, 2], [3, 4]]`, `splat(0.0)`, `rand(7, 0.0, 1.0)`, `blob(hash)`.

use bytes::Bytes;

use crate::diagnostic::Diagnostic;
use crate::tensor::{Rand, Tensor, count};
use crate::text::blob::BlobHash;
use crate::text::lexer::{Kind, Token};
use crate::text::parse::cursor::{Read, Reader};
use crate::text::{drawing_cost, float_bytes, strings_from_blob};
use crate::types::{Elem, TensorType, Type};

/// A literal before its type is known.
pub(super) enum Literal {
    /// Written out: where each element stands, and how the lists nest.
    Items { at: Vec<u32>, dims: Vec<usize> },
    /// One element for all.
    Splat(usize),
    /// Drawn from a seed.
    Rand(Rand),
    /// The bytes are elsewhere.
    Blob(BlobHash),
}

impl Reader<'_> {
    /// A literal as the numbers of `tensor f32[2] [1.0, 2.0]`: the type comes first.
    pub(super) fn typed_tensor(&mut self) -> Read<Tensor> {
        let token = self.peek();
        let ty = self.tensor_type()?;
        let literal = self.literal()?;
        self.tensor(token, &literal, Some(&ty))
    }

    /// A literal whose type may come later.
    pub(super) fn literal(&mut self) -> Read<Literal> {
        let followed = self.is_at(1, b'(');
        if followed && self.eat_word("rand") {
            self.bump();
            let seed = self.int("a seed")?;
            let within = if self.eat(b',') {
                let low = self.float()?;
                self.expect(b',')?;
                Some((low, self.float()?))
            } else {
                None
            };
            self.expect(b')')?;
            return Ok(Literal::Rand(Rand { seed, within }));
        }
        if followed && self.eat_word("splat") {
            self.bump();
            let at = self.position();
            self.skip_scalar()?;
            self.expect(b')')?;
            return Ok(Literal::Splat(at));
        }
        if followed && self.eat_word("blob") {
            return Ok(Literal::Blob(self.blob_hash()?));
        }
        let (mut at, mut dims, mut full) = (Vec::new(), Vec::new(), Vec::new());
        self.items(0, &mut at, &mut dims, &mut full)?;
        Ok(Literal::Items { at, dims })
    }

    /// One element, or a list of lists of them. `full[d]` tells that a list at depth `d` was read to its end, which settles
    /// `dims[d]`.
    fn items(&mut self, depth: usize, at: &mut Vec<u32>, dims: &mut Vec<usize>, full: &mut Vec<bool>) -> Read<()> {
        let token = self.peek();
        if !self.is(b'[') {
            if depth < dims.len() {
                return Err(self.error(token, "text-literal", "a number among lists".into()));
            }
            at.push(self.position() as u32);
            return self.skip_scalar();
        }
        if depth == dims.len() {
            if !at.is_empty() {
                return Err(self.error(token, "text-literal", "a list among numbers".into()));
            }
            dims.push(0);
            full.push(false);
        }
        self.bump();
        self.enter()?;
        let mut length = 0;
        self.list(b']', |r| {
            length += 1;
            r.items(depth + 1, at, dims, full)
        })?;
        self.leave();
        if full[depth] && dims[depth] != length {
            let message = format!("a list of {length} beside lists of {}", dims[depth]);
            return Err(self.error(token, "text-literal", message));
        }
        (full[depth], dims[depth]) = (true, length);
        Ok(())
    }

    /// The tensor that a literal means under a type; `ty` of `None`: what the literal itself looks like.
    pub(super) fn tensor(&mut self, token: Token, literal: &Literal, ty: Option<&TensorType>) -> Read<Tensor> {
        let elem = match (ty, literal) {
            (Some(ty), _) => ty.storage(),
            (None, Literal::Items { at, .. }) => self.natural_elem(at.first().map(|&at| at as usize)),
            (None, _) => return Err(self.untyped(token)),
        };
        let dims = match (ty.map(TensorType::dims), literal) {
            (Some(Some(dims)), _) => dims,
            (_, Literal::Items { dims, .. }) => dims.clone(),
            _ => return Err(self.untyped(token)),
        };
        let Some(n) = count(&dims).filter(|&n| elem.byte_len(n).is_some()) else {
            return Err(self.error(token, "text-limit", format!("a tensor of shape {dims:?} is too large")));
        };
        match literal {
            Literal::Items { at, dims: written } => {
                // One number without brackets also serves for `f32[1,1]`.
                let fits = *written == dims || n == 0 || written.is_empty();
                if at.len() != n || !fits {
                    let message = format!("numbers of shape {written:?} where the type says {dims:?}");
                    return Err(self.error(token, "text-literal", message));
                }
                let back = self.position();
                let tensor = self.written(at, elem, dims, token);
                self.seek(back);
                tensor
            }
            Literal::Splat(at) => {
                self.draw(token, n, elem)?;
                let back = self.position();
                self.seek(*at);
                let tensor = self.splat(elem, dims, n, token);
                self.seek(back);
                tensor
            }
            Literal::Rand(rand) => {
                self.draw(token, n, elem)?;
                Tensor::random(elem, dims, *rand)
                    .ok_or_else(|| self.error(token, "text-literal", format!("elements of type {elem} cannot be drawn")))
            }
            Literal::Blob(hash) => {
                let bytes = self.blob_bytes(token, *hash)?;
                let len = bytes.len();
                let tensor = if elem == Elem::Str {
                    strings_from_blob(&bytes, n).map(|strings| Tensor::strings(dims, strings))
                } else {
                    Tensor::from_bytes(elem, dims, bytes)
                };
                tensor.ok_or_else(|| self.error(token, "text-blob", format!("a blob of {len} bytes does not fit its type")))
            }
        }
    }

    fn untyped(&mut self, token: Token) -> crate::text::parse::cursor::Stop {
        self.error(token, "text-type", "these numbers need a type with a known shape after them, such as `: f32[4]`".into())
    }

    /// The bytes of a blob.
    pub(super) fn blob_bytes(&mut self, token: Token, hash: BlobHash) -> Read<Bytes> {
        self.blobs.blob(hash).ok_or_else(|| {
            let loc = self.loc(token);
            self.report(
                Diagnostic::error("text-blob", loc, format!("the numbers of blob({hash}) are not here"))
                    .note("give the file of blobs that was written with the text, or write `rand(7)` instead"),
            )
        })
    }

    /// Takes `n` elements from what constants may draw.
    fn draw(&mut self, token: Token, n: usize, elem: Elem) -> Read<()> {
        let cost = drawing_cost(elem, n);
        if cost > self.drawn_left {
            let message = format!("{n} elements are more than a text may draw");
            return Err(self.error(token, "text-limit", message));
        }
        self.drawn_left -= cost;
        Ok(())
    }

    fn natural_elem(&self, at: Option<usize>) -> Elem {
        let Some(at) = at else { return Elem::F32 };
        let token = self.token_at(at);
        match token.kind {
            Kind::Str => Elem::Str,
            Kind::Word if matches!(self.slice(token), "true" | "false") => Elem::Bool,
            Kind::Number if self.slice(token).parse::<i64>().is_ok() => Elem::I64,
            _ => Elem::F32,
        }
    }

    fn written(&mut self, at: &[u32], elem: Elem, dims: Vec<usize>, token: Token) -> Read<Tensor> {
        if elem == Elem::Str {
            let mut strings = Vec::with_capacity(at.len());
            for &at in at {
                self.seek(at as usize);
                strings.push(Bytes::from(self.text_scalar()?));
            }
            return Ok(Tensor::strings(dims, strings));
        }
        let mut bytes = Vec::with_capacity(elem.byte_len(at.len()).unwrap_or(0));
        for &at in at {
            self.seek(at as usize);
            bytes.extend(self.scalar_bytes(elem)?);
        }
        if elem.bits() < 8 {
            bytes = pack(elem.bits(), &bytes);
        }
        let tensor = Tensor::from_bytes(elem, dims, bytes);
        tensor.ok_or_else(|| self.error(token, "text-literal", "the numbers do not fill their type".into()))
    }

    fn splat(&mut self, elem: Elem, dims: Vec<usize>, n: usize, token: Token) -> Read<Tensor> {
        if elem == Elem::Str {
            let text = Bytes::from(self.text_scalar()?);
            return Ok(Tensor::strings(dims, vec![text; n]));
        }
        let one = self.scalar_bytes(elem)?;
        let bytes = if elem.bits() < 8 { pack(elem.bits(), &one.repeat(n)) } else { one.repeat(n) };
        let tensor = Tensor::from_bytes(elem, dims, bytes);
        tensor.ok_or_else(|| self.error(token, "text-literal", "the numbers do not fill their type".into()))
    }

    fn text_scalar(&mut self) -> Read<Vec<u8>> {
        let token = self.expect_kind(Kind::Str, "a quoted string")?;
        self.string(token)
    }

    // -- single elements -----------------------------------------------------------------------------------------------

    /// Passes over one element whose type is not known yet.
    fn skip_scalar(&mut self) -> Read<()> {
        let token = self.peek();
        let word = if token.kind == Kind::Word { self.slice(token) } else { "" };
        match (token.kind, word) {
            (Kind::Number | Kind::Str, _) | (_, "true" | "false" | "inf") => drop(self.bump()),
            (_, "nan" | "bits") => {
                self.bump();
                if word == "bits" || self.is(b'(') {
                    self.hex()?;
                }
            }
            (Kind::Punct(b'('), _) => {
                self.bump();
                self.skip_scalar_part()?;
                self.expect(b',')?;
                self.skip_scalar_part()?;
                self.expect(b')')?;
            }
            _ => return Err(self.expected("a number")),
        }
        Ok(())
    }

    /// One part of a complex number: anything but another complex number.
    fn skip_scalar_part(&mut self) -> Read<()> {
        if self.is(b'(') { Err(self.expected("a number")) } else { self.skip_scalar() }
    }

    /// `(0x7f)` after `nan` or `bits`.
    fn hex(&mut self) -> Read<u128> {
        self.expect(b'(')?;
        let token = self.peek();
        let digits = self.slice(token).strip_prefix("0x").filter(|_| token.kind == Kind::Number);
        let Some(value) = digits.and_then(|d| u128::from_str_radix(d, 16).ok()) else {
            return Err(self.expected("hexadecimal digits after `0x`"));
        };
        self.bump();
        self.expect(b')')?;
        Ok(value)
    }

    /// The little-endian bytes of one element (for elements below a byte: its code in one byte).
    pub(super) fn scalar_bytes(&mut self, elem: Elem) -> Read<Vec<u8>> {
        let half = match elem {
            Elem::C64 => Some(Elem::F32),
            Elem::C128 => Some(Elem::F64),
            _ => None,
        };
        if let Some(half) = half {
            self.expect(b'(')?;
            let mut bytes = self.scalar_bytes(half)?;
            self.expect(b',')?;
            bytes.extend(self.scalar_bytes(half)?);
            self.expect(b')')?;
            return Ok(bytes);
        }
        let token = self.peek();
        let slice = self.slice(token);
        let word = if token.kind == Kind::Word { slice } else { "" };
        let width = elem.bits().div_ceil(8);
        if word == "bits" || word == "nan" && self.is_at(1, b'(') {
            self.bump();
            let bits = self.hex()?;
            if bits >> elem.bits().min(127) != 0 || word == "nan" && !elem.is_float() {
                return Err(self.error(token, "text-number", format!("more bits than {elem} has")));
            }
            return Ok(bits.to_le_bytes()[..width].to_vec());
        }
        let bytes = match elem {
            Elem::Bool => match slice {
                "true" | "1" => Some(vec![1]),
                "false" | "0" => Some(vec![0]),
                _ => None,
            },
            Elem::F32 => single(slice).map(|v| v.to_le_bytes().to_vec()),
            _ if elem.is_float() => double(slice).map(|v| float_bytes(elem, v)),
            Elem::U64 => slice.parse::<u64>().ok().map(|v| v.to_le_bytes().to_vec()),
            Elem::I64 => slice.parse::<i64>().ok().map(|v| v.to_le_bytes().to_vec()),
            _ => {
                let n = slice.parse::<i64>().ok();
                let fits = |&n: &i64| elem.int_range().is_some_and(|(lo, hi)| (lo..=hi).contains(&n));
                let mask = 0xFFu8 >> (8 - elem.bits().min(8));
                n.filter(fits).map(|n| n.to_le_bytes()[..width].iter().map(|b| b & mask).collect())
            }
        };
        match bytes {
            Some(bytes) if matches!(token.kind, Kind::Number | Kind::Word) => {
                self.bump();
                Ok(bytes)
            }
            _ => Err(self.error(token, "text-number", format!("{} is no element of {elem}", Shown(self.slice(token))))),
        }
    }

    /// A number as a double.
    pub(super) fn float(&mut self) -> Read<f64> {
        let token = self.bump();
        self.float_of(token)
    }

    /// A token as a double.
    pub(super) fn float_of(&mut self, token: Token) -> Read<f64> {
        let slice = self.slice(token);
        let value = double(slice).filter(|_| matches!(token.kind, Kind::Number | Kind::Word));
        value.ok_or_else(|| self.error(token, "text-number", format!("{} is no number", Shown(slice))))
    }

    /// A single, with `nan(0x…)` for other NaNs than the usual one.
    pub(super) fn single(&mut self) -> Read<f32> {
        let bytes = self.scalar_bytes(Elem::F32)?;
        Ok(bytes.try_into().map_or(f32::NAN, f32::from_le_bytes))
    }

    /// A constant: `const` was read. Gives the tensor and the value's type.
    pub(super) fn constant(&mut self) -> Read<(Tensor, Type)> {
        let token = self.peek();
        if self.eat_word("tensor") {
            let tensor = self.typed_tensor()?;
            let ty = if self.eat(b':') { self.ty()? } else { Type::Tensor(tensor.ty()) };
            return Ok((tensor, ty));
        }
        let literal = self.literal()?;
        if !self.eat(b':') {
            let tensor = self.tensor(token, &literal, None)?;
            let ty = Type::Tensor(tensor.ty());
            return Ok((tensor, ty));
        }
        let ty_token = self.peek();
        let ty = self.ty()?;
        let Type::Tensor(t) = &ty else {
            let message = "a constant of this type is written `const tensor f32[2] [1.0, 2.0] : …`".into();
            return Err(self.error(ty_token, "text-type", message));
        };
        let tensor = self.tensor(token, &literal, Some(t))?;
        Ok((tensor, ty))
    }
}

/// A slice of the text in a message, not too long.
struct Shown<'a>(&'a str);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let short: String = self.0.chars().take(40).collect();
        write!(f, "`{short}{}`", if short.len() < self.0.len() { "…" } else { "" })
    }
}

fn special(text: &str) -> Option<f64> {
    match text {
        "nan" => Some(f64::NAN),
        "inf" => Some(f64::INFINITY),
        "-inf" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// A single from text: rounded once; what overflows is no number.
fn single(text: &str) -> Option<f32> {
    special(text).map(|v| v as f32).or_else(|| text.parse().ok().filter(|v: &f32| v.is_finite()))
}

fn double(text: &str) -> Option<f64> {
    special(text).or_else(|| text.parse().ok().filter(|v: &f64| v.is_finite()))
}

/// Packs codes of fewer than eight bits, low bits first.
fn pack(bits: usize, codes: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0u8; (codes.len() * bits).div_ceil(8)];
    for (i, &code) in codes.iter().enumerate() {
        let (byte, shift) = (i * bits / 8, i * bits % 8);
        let wide = u16::from(code) << shift;
        bytes[byte] |= wide as u8;
        if wide > 0xFF {
            bytes[byte + 1] |= (wide >> 8) as u8;
        }
    }
    bytes
}
