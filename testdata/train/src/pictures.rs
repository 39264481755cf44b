//! Writes the pictures that the converter calibrates on and is judged by.

use crate::draw::{CLASSES, SIDE, picture};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::ops::Range;
use std::path::Path;

/// The one seed of everything: the pictures and the weights before training.
pub const SEED: u64 = 2024;

/// Mean and standard deviation of each channel over the drawn pictures, in 0..=255.
pub const MEAN: [f32; 3] = [127.0, 127.0, 127.0];
pub const STD: [f32; 3] = [68.0, 68.0, 68.0];

/// Training counts up from index 0; these two sets lie where no training run gets to.
pub const CALIBRATE: Range<u64> = 1_000_000_000_000..1_000_000_000_064;
pub const HELD_OUT: Range<u64> = 2_000_000_000_000..2_000_000_000_500;

/// Writes both sets below `models/pictures` and the preprocessing spec beside the models.
pub fn write(models: &Path) -> io::Result<()> {
    let pictures = models.join("pictures");
    write_set(&pictures.join("calibrate"), CALIBRATE)?;
    write_set(&pictures.join("held-out"), HELD_OUT)?;
    fs::write(pictures.join("classes.txt"), CLASSES.join("\n") + "\n")?;
    let spec = format!(
        "# What the networks expect of a picture; mean and std are in 0..255 units.\n\
         resize = \"fit\"\n\
         layout = \"nchw\"\n\
         colour = \"rgb\"\n\
         mean = {MEAN:?}\n\
         std = {STD:?}\n"
    );
    fs::write(models.join("shapes.toml"), spec)
}

fn write_set(folder: &Path, indices: Range<u64>) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut table = String::from("file,label\n");
    for (place, index) in indices.enumerate() {
        let file = format!("{place:03}.png");
        let picture = picture(SEED, index);
        write_png(&folder.join(&file), &picture.rgb)?;
        writeln!(table, "{file},{}", picture.label).expect("a string takes all that is written");
    }
    fs::write(folder.join("labels.csv"), table)
}

fn write_png(path: &Path, rgb: &[u8]) -> io::Result<()> {
    let file = BufWriter::new(File::create(path)?);
    let mut encoder = png::Encoder::new(file, SIDE as u32, SIDE as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::High);
    encoder.write_header()?.write_image_data(rgb)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    /// A change to the drawing must come with new pictures, or the networks and the program part.
    #[test]
    fn shipped_pictures_are_those_the_program_draws() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/pictures/held-out");
        for (place, index) in HELD_OUT.enumerate() {
            let path = folder.join(format!("{place:03}.png"));
            let file = File::open(&path).expect("the picture is shipped");
            let mut reader = png::Decoder::new(BufReader::new(file))
                .read_info()
                .expect("the picture is a PNG");
            let mut rgb = vec![0; 3 * SIDE * SIDE];
            reader.next_frame(&mut rgb).expect("the picture is whole");
            assert_eq!(rgb, picture(SEED, index).rgb, "{}", path.display());
        }
    }
}
