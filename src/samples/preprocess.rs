//! How a picture becomes the input of a network: sizes, colours, scaling. Read from a small TOML that can sit beside the
//! model:
//!
//! ```toml
//! resize = "short-side 256"          # or "fit" (both sides, the default) or "none"
//! crop   = [224, 224]                # height, width; centred. Not needed where the model's input says it
//! layout = "nchw"                    # or "nhwc"
//! colour = "rgb"                     # or "bgr", "luma"
//! mean   = [123.675, 116.28, 103.53] # per channel, of pixels from 0 to 255
//! std    = [58.395, 57.12, 57.375]
//! ```

use std::path::{Path, PathBuf};

use serde::Deserialize;
use spaceevo_ir::Diagnostic;
use spaceevo_ir::graph::Loc;

use super::picture::Picture;

/// Order of the axes of an image input.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Batch, channels, height, width.
    #[default]
    Nchw,
    /// Batch, height, width, channels.
    Nhwc,
}

/// What the channels are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// Brightness alone.
    Luma,
}

impl Colour {
    /// Number of channels.
    pub fn channels(self) -> usize {
        if self == Colour::Luma { 1 } else { 3 }
    }
}

/// How a picture gets near its final size, before the centre is cut out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Resize {
    /// Both sides to the final size, whatever that does to the proportions.
    #[default]
    Fit,
    /// The shorter side to this many pixels, the other in proportion.
    ShortSide(usize),
    /// Not at all.
    None,
}

impl std::str::FromStr for Resize {
    type Err = String;

    fn from_str(text: &str) -> Result<Resize, String> {
        match text.split_whitespace().collect::<Vec<_>>()[..] {
            ["fit"] => Ok(Resize::Fit),
            ["none"] => Ok(Resize::None),
            ["short-side", pixels] => match pixels.parse() {
                Ok(n) if (1..=MAX_SIDE).contains(&n) => Ok(Resize::ShortSide(n)),
                _ => Err(format!("short-side wants a number of pixels from 1 to {MAX_SIDE}, not '{pixels}'")),
            },
            _ => Err(format!("resize is \"fit\", \"none\" or \"short-side PIXELS\", not \"{text}\"")),
        }
    }
}

/// Largest side that pictures are resized to.
const MAX_SIDE: usize = 8192;

/// The whole recipe.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Preprocess {
    /// Resizing.
    pub resize: Resize,
    /// Final height and width; `None`: those of the model's input.
    pub crop: Option<(usize, usize)>,
    /// Order of axes.
    pub layout: Layout,
    /// Channels.
    pub colour: Colour,
    /// Subtracted, per channel in the order of [`Preprocess::colour`], of pixels from 0 to 255; empty: 0. One number holds
    /// for all channels.
    pub mean: Vec<f64>,
    /// Divided by, likewise; empty: 1.
    pub std: Vec<f64>,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    resize: Option<String>,
    crop: Option<[usize; 2]>,
    #[serde(default)]
    layout: Layout,
    #[serde(default)]
    colour: Colour,
    #[serde(default)]
    mean: Numbers,
    #[serde(default)]
    std: Numbers,
}

/// One number for all channels, or one for each.
#[derive(Deserialize)]
#[serde(untagged)]
enum Numbers {
    One(f64),
    Each(Vec<f64>),
}

impl Default for Numbers {
    fn default() -> Self {
        Numbers::Each(Vec::new())
    }
}

impl From<Numbers> for Vec<f64> {
    fn from(numbers: Numbers) -> Self {
        match numbers {
            Numbers::One(number) => vec![number],
            Numbers::Each(numbers) => numbers,
        }
    }
}

impl Preprocess {
    /// Reads a spec; `file` is what messages call it. Errors: `preprocess-spec`, with line and column where they are known.
    pub fn parse(text: &str, file: &str) -> Result<Preprocess, Diagnostic> {
        let spec: Spec = toml::from_str(text).map_err(|e| {
            let before = e.span().map_or("", |span| text.get(..span.start).unwrap_or(text));
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
            let loc = Loc::Text { file: file.into(), line: line as u32, column: column as u32 };
            Diagnostic::error("preprocess-spec", loc, e.message().replace('\n', " "))
        })?;
        let wrong = |what: String| {
            let loc = Loc::Onnx { file: file.into(), node: "".into() };
            Diagnostic::error("preprocess-spec", loc, what)
        };
        let resize = spec.resize.as_deref().map_or(Ok(Resize::default()), str::parse).map_err(wrong)?;
        let (layout, colour) = (spec.layout, spec.colour);
        let crop = spec.crop.map(|[height, width]| (height, width));
        let preprocess = Preprocess { resize, crop, layout, colour, mean: spec.mean.into(), std: spec.std.into() };
        preprocess.check().map_err(wrong)?;
        Ok(preprocess)
    }

    /// Reads a spec file. Errors: `samples-unreadable`, `preprocess-spec`.
    pub fn read(path: &Path) -> Result<Preprocess, Diagnostic> {
        let text = std::fs::read_to_string(path).map_err(|e| super::unreadable(path, e))?;
        Preprocess::parse(&text, &path.display().to_string())
    }

    /// The spec that sits beside a model: `mobile.toml` for `mobile.onnx`, if there is such a file.
    pub fn beside(model: &Path) -> Option<PathBuf> {
        Some(model.with_extension("toml")).filter(|path| path.is_file())
    }

    /// What is wrong with the numbers, in a sentence.
    fn check(&self) -> Result<(), String> {
        let channels = self.colour.channels();
        for (name, numbers) in [("mean", &self.mean), ("std", &self.std)] {
            if numbers.len() > 1 && numbers.len() != channels {
                let expected = if channels == 1 { "1" } else { "1 or 3" };
                return Err(format!("{name} has {} numbers; expected {expected}", numbers.len()));
            }
            if numbers.iter().any(|n| !n.is_finite()) {
                return Err(format!("{name} is not finite"));
            }
        }
        if self.std.contains(&0.0) {
            return Err("std is 0".into());
        }
        match self.crop {
            Some((h, w)) if !(1..=MAX_SIDE).contains(&h) || !(1..=MAX_SIDE).contains(&w) => {
                Err(format!("crop is {h}x{w}; sides are from 1 to {MAX_SIDE} pixels"))
            }
            _ => Ok(()),
        }
    }

    /// The numbers of a picture in the order of the layout, for a final size of (height, width). Errors are sentences.
    pub(super) fn apply(&self, picture: Picture, size: (usize, usize)) -> Result<Vec<f32>, String> {
        self.check()?;
        let (height, width) = size;
        let picture = if self.colour == Colour::Luma { picture.luma() } else { picture };
        let before = (picture.width, picture.height);
        let picture = match self.resize {
            Resize::Fit => picture.resized(width, height),
            Resize::None => picture,
            Resize::ShortSide(side) => {
                // Extents in proportion, rounded to nearest: Python's round().
                let scale = side as f64 / before.0.min(before.1) as f64;
                let scaled = |extent: usize| (extent as f64 * scale).round_ties_even() as usize;
                let (wide, tall) = (scaled(before.0), scaled(before.1));
                if wide.max(tall) > MAX_SIDE {
                    return Err(format!("becomes {wide}x{tall} pixels with a short side of {side}"));
                }
                picture.resized(wide, tall)
            }
        };
        let cut = picture.cropped(width, height).ok_or_else(|| {
            let (w, h) = (picture.width, picture.height);
            format!("is {w}x{h} pixels after resizing, smaller than the crop of {width}x{height}")
        })?;
        Ok(self.scaled(&cut))
    }

    fn scaled(&self, picture: &Picture) -> Vec<f32> {
        let channels = picture.channels;
        // Where channel `c` of the result lies in a pixel, and what each of its 256 values becomes.
        let source = |c: usize| if self.colour == Colour::Bgr { channels - 1 - c } else { c };
        let pick = |numbers: &[f64], c: usize, none: f64| match numbers {
            [] => none,
            [one] => *one,
            each => each[c],
        };
        let table = |c: usize| -> Vec<f32> {
            let (mean, std) = (pick(&self.mean, c, 0.0), pick(&self.std, c, 1.0));
            (0..256).map(|v| ((f64::from(v) - mean) / std) as f32).collect()
        };
        let tables: Vec<(usize, Vec<f32>)> = (0..channels).map(|c| (source(c), table(c))).collect();
        let pixels = picture.pixels.chunks_exact(channels);
        match self.layout {
            Layout::Nchw => {
                tables.iter().flat_map(|(at, table)| pixels.clone().map(|p| table[usize::from(p[*at])])).collect()
            }
            Layout::Nhwc => pixels.flat_map(|p| tables.iter().map(|(at, table)| table[usize::from(p[*at])])).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 4x2 pixels with the red of a pixel 10 times its number, green 1 more, blue 2 more.
    fn picture() -> Picture {
        let pixels = (0..8).flat_map(|i| [i * 10, i * 10 + 1, i * 10 + 2]).collect();
        Picture { width: 4, height: 2, channels: 3, pixels }
    }

    fn apply(toml: &str, size: (usize, usize)) -> Result<Vec<f32>, String> {
        Preprocess::parse(toml, "p.toml").unwrap().apply(picture(), size)
    }

    #[test]
    fn the_middle_is_cut_out_in_either_layout_and_colour_order() {
        let nchw = apply("resize = 'none'", (1, 2)).unwrap();
        assert_eq!(nchw, [10., 20., 11., 21., 12., 22.]);
        let nhwc = apply("resize = 'none'\nlayout = 'nhwc'\ncolour = 'bgr'", (1, 2)).unwrap();
        assert_eq!(nhwc, [12., 11., 10., 22., 21., 20.]);
        assert_eq!(apply("resize = 'none'\ncolour = 'luma'", (1, 1)).unwrap(), [11.]);
    }

    #[test]
    fn mean_and_std_are_those_of_pixels_and_may_be_one_number() {
        assert_eq!(apply("resize='none'\nmean=[10, 1, 2]\nstd=[2, 5, 10]", (1, 1)).unwrap(), [0., 2., 1.]);
        assert_eq!(apply("resize='none'\ncolour='bgr'\nmean=2\nstd=[10, 9, 8]", (1, 1)).unwrap(), [1., 1., 1.]);
    }

    #[test]
    fn resizing_keeps_or_ignores_proportions() {
        assert_eq!(apply("resize = 'short-side 1'", (1, 2)).unwrap().len(), 6);
        assert_eq!(apply("", (3, 3)).unwrap().len(), 27);
        let small = apply("resize = 'short-side 1'", (2, 2)).unwrap_err();
        assert_eq!(small, "is 2x1 pixels after resizing, smaller than the crop of 2x2");
    }

    #[test]
    fn mistakes_in_a_spec_are_named_with_their_place() {
        let message = |text| Preprocess::parse(text, "p.toml").unwrap_err().to_string();
        assert!(message("resize = 'short-side 0'").contains("from 1 to 8192, not '0'"));
        assert!(message("resize = 'big'").contains("not \"big\""));
        let unknown = message("layout = 'nchw'\nsice = 3");
        assert!(unknown.contains("p.toml:2:1") && unknown.contains("sice"), "{unknown}");
        assert!(message("colour = 'cmyk'").contains("cmyk"));
        assert!(message("mean = [1, 2]").contains("expected 1 or 3"));
        assert!(message("colour = 'luma'\nmean = [1, 2, 3]").ends_with("expected 1"));
        assert!(message("std = 0").contains("std is 0"));
        assert!(message("crop = [0, 5]").contains("0x5"));
    }
}
