//! Strings: concatenation, splitting, normalization.

use bytes::Bytes;

use super::layout::{broadcast, spread};
use super::{Call, Datum, Entry, Fault};
use crate::attr::Attr;
use crate::graph::ONNX;
use crate::tensor::Tensor;
use crate::types::Elem;

/// Kernels of this family.
pub(super) const KERNELS: &[Entry] =
    &[(ONNX, "StringConcat", concat), (ONNX, "StringNormalizer", normalize), (ONNX, "StringSplit", split)];

fn strings<'a>(call: &'a Call<'_>, operand: usize) -> Result<&'a [Bytes], Fault> {
    call.tensor(operand)?.as_strings().ok_or_else(|| format!("operand {operand} holds no strings"))
}

fn text(bytes: &Bytes) -> Result<&str, Fault> {
    std::str::from_utf8(bytes).map_err(|_| "a string is not UTF-8".into())
}

fn concat(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let (a, b) = (call.tensor(0)?.dims(), call.tensor(1)?.dims());
    let dims = broadcast(&[a, b])?;
    call.reserve(Elem::Str, &dims)?;
    let (x, y) = (spread(strings(call, 0)?, a, &dims), spread(strings(call, 1)?, b, &dims));
    call.reserve(Elem::U8, &[x.iter().chain(y.iter()).map(Bytes::len).fold(0, usize::saturating_add)])?;
    let joined = x.iter().zip(y.iter()).map(|(x, y)| [&x[..], &y[..]].concat().into()).collect();
    Ok(vec![Tensor::strings(dims, joined).into()])
}

/// Parts of each string along a new last axis, padded with empty strings, and how many each has.
fn split(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let most = call.attr("maxsplit").and_then(Attr::as_int).and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX - 1);
    let delimiter = call.str("delimiter", "");
    let parts_of = |bytes: &Bytes| -> Result<Vec<Bytes>, Fault> {
        let text = text(bytes)?;
        let limit = most.saturating_add(1);
        let own = |part: &str| Bytes::copy_from_slice(part.as_bytes());
        if !delimiter.is_empty() {
            return Ok(if text.is_empty() { vec![] } else { text.splitn(limit, delimiter).map(own).collect() });
        }
        // Runs of white space, as Python's str.split does without a separator.
        let (mut parts, mut rest) = (Vec::new(), text.trim());
        while !rest.is_empty() {
            let end = if parts.len() + 1 == limit { None } else { rest.find(char::is_whitespace) };
            let (part, more) = rest.split_at(end.unwrap_or(rest.len()));
            parts.push(own(part));
            rest = more.trim_start();
        }
        Ok(parts)
    };
    let parts: Vec<Vec<Bytes>> = strings(call, 0)?.iter().map(parts_of).collect::<Result<_, _>>()?;
    let width = parts.iter().map(Vec::len).max().unwrap_or(0);
    let mut dims = x.dims().to_vec();
    let counts = Tensor::new(dims.clone(), parts.iter().map(|p| p.len() as i64).collect());
    dims.push(width);
    call.reserve(Elem::Str, &dims)?;
    let padded = parts.into_iter().flat_map(|p| p.into_iter().chain(std::iter::repeat(Bytes::new())).take(width));
    Ok(vec![Tensor::strings(dims, padded.collect()).into(), counts.into()])
}

/// Removes stop words and changes case. Nothing left is one empty string.
fn normalize(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let x = call.tensor(0)?;
    let (rows, columns) = match x.dims() {
        [n] => (vec![], *n),
        [1, n] => (vec![1], *n),
        other => return Err(format!("shape {other:?} is neither [C] nor [1, C]")),
    };
    call.reserve(Elem::Str, &[columns])?;
    let stopwords = match call.attr("stopwords") {
        Some(Attr::Strs(words)) => words.as_slice(),
        _ => &[],
    };
    let sensitive = call.int("is_case_sensitive", 0) != 0;
    let folded = |s: &str| if sensitive { s.to_owned() } else { s.to_lowercase() };
    let stopwords: Vec<String> = stopwords.iter().map(|w| Ok(folded(text(w)?))).collect::<Result<_, Fault>>()?;
    let mut kept: Vec<Bytes> = Vec::new();
    for bytes in strings(call, 0)? {
        let word = text(bytes)?;
        if !stopwords.contains(&folded(word)) {
            kept.push(match call.str("case_change_action", "NONE") {
                "LOWER" => word.to_lowercase().into(),
                "UPPER" => word.to_uppercase().into(),
                "NONE" => bytes.clone(),
                other => return Err(format!("case_change_action = {other:?} is none of LOWER, UPPER, NONE")),
            });
        }
    }
    if kept.is_empty() {
        kept.push(Bytes::new());
    }
    let mut dims = rows;
    dims.push(kept.len());
    Ok(vec![Tensor::strings(dims, kept).into()])
}
