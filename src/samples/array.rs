//! One array of a NumPy file (format versions 1 to 3): its header, and its rows on request without reading the rest.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Mutex;

use flate2::read::DeflateDecoder;
use spaceevo_ir::tensor::count;
use spaceevo_ir::{Elem, Tensor};

/// The bytes of an `.npy` file: a whole file, or an entry of an archive.
pub(super) struct Stream {
    pub(super) file: File,
    /// Where its bytes begin in the file.
    pub(super) start: u64,
    /// How many bytes of the file belong to it.
    pub(super) stored: u64,
    /// How many bytes it has.
    pub(super) size: u64,
    /// Deflated (`zip` method 8).
    pub(super) deflated: bool,
}

/// An array whose first axis counts samples.
pub(super) struct Array {
    elem: Elem,
    /// Extents without the first.
    dims: Vec<usize>,
    len: usize,
    row: usize,
    header: u64,
    reader: Mutex<Reader>,
}

enum Reader {
    /// Rows lie in the file as they are.
    Plain { file: File, start: u64 },
    /// Rows must be inflated in order; going back starts anew.
    Deflated { file: File, start: u64, stored: u64, at: u64, inflate: Option<DeflateDecoder<io::Take<File>>> },
}

impl Array {
    /// Reads the header. Errors are sentences.
    pub(super) fn open(stream: Stream) -> Result<Array, String> {
        let Stream { file, start, stored, size, deflated } = stream;
        let mut reader = if deflated {
            Reader::Deflated { file, start, stored, at: 0, inflate: None }
        } else {
            Reader::Plain { file, start }
        };
        let mut read = |at, len: usize| -> Result<Vec<u8>, String> {
            let mut bytes = vec![0; len];
            reader.read(at, &mut bytes).map_err(|e| cut_short(&e))?;
            Ok(bytes)
        };
        let magic = read(0, 8)?;
        if &magic[..6] != b"\x93NUMPY" {
            return Err("is no NumPy array: it does not begin with \\x93NUMPY".into());
        }
        let (begin, length) = match magic[6] {
            1 => (10, u64::from(u16::from_le_bytes(array_of(&read(8, 2)?)))),
            2 | 3 => (12, u64::from(u32::from_le_bytes(array_of(&read(8, 4)?)))),
            other => return Err(format!("is of NumPy format version {other}, which is unknown")),
        };
        // Headers of arrays are some hundred bytes long.
        if length > 1 << 16 {
            return Err(format!("has a header of {length} bytes, which no array needs"));
        }
        let text = String::from_utf8_lossy(&read(begin, length as usize)?).into_owned();
        let header = begin + length;
        let (elem, shape) = parse_header(&text)?;
        let Some((&len, dims)) = shape.split_first() else {
            return Err("is a scalar; expected N samples along its first axis".into());
        };
        let (row, total) = Some(dims)
            .and_then(count)
            .and_then(|n| elem.byte_len(n))
            .and_then(|row| Some((row, (row as u64).checked_mul(len as u64)?)))
            .ok_or_else(|| format!("has the absurd shape {shape:?}"))?;
        let present = size.saturating_sub(header);
        if total > present {
            return Err(format!("is cut short: {total} bytes of numbers expected, {present} found"));
        }
        Ok(Array { elem, dims: dims.to_vec(), len, row, header, reader: Mutex::new(reader) })
    }

    pub(super) fn elem(&self) -> Elem {
        self.elem
    }

    /// Extents of one row.
    pub(super) fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Row `index` with a first axis of extent 1.
    pub(super) fn row(&self, index: usize) -> Result<Tensor, String> {
        if index >= self.len {
            return Err(format!("has {} rows, there is no row {index}", self.len));
        }
        let mut bytes = vec![0; self.row];
        let mut reader = self.reader.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        reader.read(self.header + (index * self.row) as u64, &mut bytes).map_err(|e| cut_short(&e))?;
        let dims: Vec<usize> = std::iter::once(1).chain(self.dims.iter().copied()).collect();
        Tensor::from_bytes(self.elem, dims, bytes).ok_or_else(|| "has rows of an odd size".into())
    }
}

fn cut_short(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::UnexpectedEof => "is cut short".into(),
        _ => format!("cannot be read: {e}"),
    }
}

fn array_of<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}

impl Reader {
    fn read(&mut self, from: u64, into: &mut [u8]) -> io::Result<()> {
        match self {
            Reader::Plain { file, start } => {
                file.seek(SeekFrom::Start(*start + from))?;
                file.read_exact(into)
            }
            Reader::Deflated { file, start, stored, at, inflate } => {
                if inflate.is_none() || from < *at {
                    let mut copy = file.try_clone()?;
                    copy.seek(SeekFrom::Start(*start))?;
                    *inflate = Some(DeflateDecoder::new(copy.take(*stored)));
                    *at = 0;
                }
                let Some(decoder) = inflate else { return Err(io::ErrorKind::UnexpectedEof.into()) };
                let done = io::copy(&mut decoder.take(from - *at), &mut io::sink()).and_then(|_| decoder.read_exact(into));
                // After an error nobody knows where the decoder stands.
                if done.is_err() {
                    *inflate = None;
                }
                *at = from + into.len() as u64;
                done
            }
        }
    }
}

/// Element type and shape out of `{'descr': '<f4', 'fortran_order': False, 'shape': (8, 3, 224, 224), }`.
fn parse_header(text: &str) -> Result<(Elem, Vec<usize>), String> {
    let after = |key: &str| {
        let (_, rest) = text.split_once(key).ok_or_else(|| format!("has a header without {key}: {}", text.trim()))?;
        Ok::<_, String>(rest.trim_start().trim_start_matches(':').trim_start())
    };
    let descr = after("'descr'")?;
    let descr = descr.strip_prefix('\'').and_then(|d| d.split_once('\'')).map(|(d, _)| d);
    let descr = descr.ok_or("holds records, not numbers")?;
    let elem = match descr.trim_start_matches(['<', '|', '=']) {
        "f4" => Elem::F32,
        "f8" => Elem::F64,
        "f2" => Elem::F16,
        "u1" => Elem::U8,
        "i1" => Elem::I8,
        "u2" => Elem::U16,
        "i2" => Elem::I16,
        "u4" => Elem::U32,
        "i4" => Elem::I32,
        "u8" => Elem::U64,
        "i8" => Elem::I64,
        "b1" => Elem::Bool,
        other if other.starts_with('>') => {
            return Err(format!("is big endian ({descr}); save it with .astype('<{}')", &other[1..]));
        }
        _ => return Err(format!("holds elements of type {descr}; expected float, integer or bool numbers")),
    };
    if after("'fortran_order'")?.starts_with("True") {
        return Err("is in Fortran order; save it with np.ascontiguousarray(...)".into());
    }
    let shape = after("'shape'")?;
    let inner = shape.strip_prefix('(').and_then(|s| s.split_once(')')).map(|(inner, _)| inner);
    let inner = inner.ok_or_else(|| format!("has a header without a shape: {}", text.trim()))?;
    let dims = inner.split(',').map(str::trim).filter(|d| !d.is_empty());
    let dims = dims.map(|d| d.parse().map_err(|_| format!("has the extent '{d}' in its shape")));
    Ok((elem, dims.collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_as_numpy_writes_them() {
        let header = |text| parse_header(text);
        let usual = "{'descr': '<f4', 'fortran_order': False, 'shape': (8, 3, 224, 224), }   \n";
        assert_eq!(header(usual), Ok((Elem::F32, vec![8, 3, 224, 224])));
        assert_eq!(header("{'descr': '|u1', 'fortran_order': False, 'shape': (8,), }"), Ok((Elem::U8, vec![8])));
        assert_eq!(header("{'descr': '<i8', 'fortran_order': False, 'shape': (), }"), Ok((Elem::I64, vec![])));
    }

    #[test]
    fn what_cannot_be_read_says_how_to_save_it_instead() {
        let message = |text| parse_header(text).unwrap_err();
        assert!(message("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2)}").contains("ascontiguousarray"));
        assert!(message("{'descr': '>f4', 'fortran_order': False, 'shape': (2, 2)}").contains(".astype('<f4')"));
        assert!(message("{'descr': '<U4', 'fortran_order': False, 'shape': (2, 2)}").contains("<U4"));
        assert!(message("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}").contains("records"));
        assert!(message("{'descr': '<f4', 'shape': (2,)}").contains("'fortran_order'"));
        assert!(message("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}").contains("'-2'"));
    }
}
