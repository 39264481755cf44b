//! Pictures in memory: JPEG, PNG and PPM files as 8-bit RGB.

use std::io::Cursor;
use std::path::Path;

use zune_jpeg::JpegDecoder;

use super::resize::bilinear;

/// Extensions of the files that can be read, in lower case.
pub(super) const EXTENSIONS: &[&str] = &["jpg", "jpeg", "png", "ppm", "pgm", "pnm"];

/// Largest picture that is read: more pixels than any camera, and 300 MB of memory.
const MAX_PIXELS: usize = 100_000_000;

/// Rows of pixels from the top left, `channels` bytes each.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Picture {
    pub(super) width: usize,
    pub(super) height: usize,
    /// 3 (red, green, blue), or 1 after [`Picture::luma`].
    pub(super) channels: usize,
    pub(super) pixels: Vec<u8>,
}

impl Picture {
    /// Reads a file; what it is says its content and not its name. Errors are sentences.
    pub(super) fn read(path: &Path) -> Result<Picture, String> {
        let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
        match bytes.as_slice() {
            [0xff, 0xd8, ..] => jpeg(&bytes),
            [0x89, b'P', b'N', b'G', ..] => png(&bytes),
            [b'P', b'5' | b'6', ..] => pnm(&bytes),
            [] => Err("is empty".into()),
            _ => Err("is neither JPEG, PNG nor binary PPM".into()),
        }
    }

    /// Brightness alone, as Pillow's `convert("L")` computes it (ITU-R 601, fixed point).
    pub(super) fn luma(&self) -> Picture {
        let weigh = |p: &[u8]| (u32::from(p[0]) * 19595 + u32::from(p[1]) * 38470 + u32::from(p[2]) * 7471 + 0x8000) >> 16;
        let pixels = self.pixels.chunks_exact(3).map(|p| weigh(p) as u8).collect();
        Picture { channels: 1, pixels, ..*self }
    }

    /// Scaled to other extents.
    pub(super) fn resized(self, width: usize, height: usize) -> Picture {
        if (width, height) == (self.width, self.height) {
            return self;
        }
        let pixels = bilinear(&self.pixels, self.channels, (self.width, self.height), (width, height));
        Picture { width, height, pixels, ..self }
    }

    /// The middle part; `None` when the picture is smaller.
    pub(super) fn cropped(&self, width: usize, height: usize) -> Option<Picture> {
        let (left, top) = (self.width.checked_sub(width)? / 2, self.height.checked_sub(height)? / 2);
        let rows = self.pixels.chunks_exact(self.width * self.channels).skip(top).take(height);
        let part = left * self.channels..(left + width) * self.channels;
        let pixels = rows.flat_map(|row| &row[part.clone()]).copied().collect();
        Some(Picture { width, height, pixels, ..*self })
    }
}

/// Checks extents before anything of their size is allocated; says how many pixels they make.
fn pixel_count(width: usize, height: usize) -> Result<usize, String> {
    match width.checked_mul(height) {
        Some(0) => Err("has no pixels".into()),
        Some(n) if n <= MAX_PIXELS => Ok(n),
        _ => Err(format!("is {width}x{height} pixels large; at most {MAX_PIXELS} pixels are read")),
    }
}

fn grey_to_rgb(grey: impl Iterator<Item = u8>) -> Vec<u8> {
    grey.flat_map(|v| [v; 3]).collect()
}

fn jpeg(bytes: &[u8]) -> Result<Picture, String> {
    // The decoder's default is to give RGB whatever is stored.
    let mut decoder = JpegDecoder::new(Cursor::new(bytes));
    decoder.decode_headers().map_err(|e| format!("is a damaged JPEG: {e}"))?;
    let (width, height) = decoder.dimensions().ok_or("is a JPEG without a size")?;
    let count = pixel_count(width, height)?;
    let pixels = decoder.decode().map_err(|e| format!("is a damaged JPEG: {e}"))?;
    let pixels = if pixels.len() == count { grey_to_rgb(pixels.into_iter()) } else { pixels };
    if pixels.len() != count * 3 {
        return Err("is a JPEG of unknown colours".into());
    }
    Ok(Picture { width, height, channels: 3, pixels })
}

fn png(bytes: &[u8]) -> Result<Picture, String> {
    use png::{ColorType, Transformations};
    let damaged = |e: png::DecodingError| format!("is a damaged PNG: {e}");
    let limits = png::Limits { bytes: MAX_PIXELS * 8 };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(Transformations::normalize_to_color8());
    let header = decoder.read_header_info().map_err(damaged)?;
    let (width, height) = (header.width as usize, header.height as usize);
    pixel_count(width, height)?;
    let mut reader = decoder.read_info().map_err(damaged)?;
    let mut pixels = vec![0; reader.output_buffer_size().ok_or("is a PNG too large for this machine")?];
    let info = reader.next_frame(&mut pixels).map_err(damaged)?;
    // Transparency is dropped, not blended, as Pillow's `convert("RGB")` does.
    let pixels = match info.color_type {
        ColorType::Rgb => pixels,
        ColorType::Rgba => pixels.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect(),
        ColorType::Grayscale => grey_to_rgb(pixels.into_iter()),
        ColorType::GrayscaleAlpha => grey_to_rgb(pixels.into_iter().step_by(2)),
        ColorType::Indexed => return Err("is a PNG whose palette cannot be read".into()),
    };
    Ok(Picture { width, height, channels: 3, pixels })
}

/// Binary PPM and PGM with 8 bits a sample: `P6`, width, height, 255, one white space, pixels.
fn pnm(bytes: &[u8]) -> Result<Picture, String> {
    let mut at = 2;
    let mut number = || -> Option<usize> {
        loop {
            match bytes.get(at)? {
                b'#' => at += bytes[at..].iter().position(|&b| b == b'\n')?,
                b if b.is_ascii_whitespace() => at += 1,
                _ => break,
            }
        }
        let digits = bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
        let text = std::str::from_utf8(&bytes[at..at + digits]).ok()?;
        at += digits;
        text.parse().ok()
    };
    let header = number().zip(number()).zip(number());
    let ((width, height), max) = header.ok_or("is a PPM with a damaged header")?;
    if max != 255 {
        return Err(format!("is a PPM with samples up to {max}; only 255 is read"));
    }
    let channels = if bytes[1] == b'6' { 3 } else { 1 };
    let size = pixel_count(width, height)? * channels;
    let pixels = bytes.get(at + 1..).and_then(|rest| rest.get(..size)).ok_or("is a PPM that is cut short")?;
    let pixels = if channels == 3 { pixels.to_vec() } else { grey_to_rgb(pixels.iter().copied()) };
    Ok(Picture { width, height, channels: 3, pixels })
}
