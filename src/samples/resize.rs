//! Bilinear resizing, bit for bit as Pillow's `Image.resize(size, BILINEAR)`: most published networks were trained and
//! measured with it. Shrinking widens the filter (antialiasing), which plain bilinear sampling does not.

/// Bits after the point in the fixed-point weights (`PRECISION_BITS` of Pillow's `Resample.c`).
const PRECISION: u32 = 32 - 8 - 2;

/// Weights of the source pixels for every target pixel along one axis.
struct Weights {
    /// First source pixel of each target pixel, and where its weights begin and end.
    spans: Vec<(usize, usize, usize)>,
    weights: Vec<i32>,
}

impl Weights {
    fn new(from: usize, to: usize) -> Weights {
        let scale = from as f64 / to as f64;
        // The triangle filter reaches one pixel to each side, measured in the coarser of the two grids.
        let widened = scale.max(1.0);
        let (mut spans, mut weights) = (Vec::with_capacity(to), Vec::new());
        for target in 0..to {
            let centre = (target as f64 + 0.5) * scale;
            let first = (centre - widened + 0.5).max(0.0) as usize;
            let last = ((centre + widened + 0.5) as usize).min(from);
            let triangle = |source: usize| (1.0 - ((source as f64 - centre + 0.5) * (1.0 / widened)).abs()).max(0.0);
            let total: f64 = (first..last).map(triangle).sum();
            let begin = weights.len();
            weights.extend((first..last).map(|source| {
                let weight = if total == 0.0 { triangle(source) } else { triangle(source) / total };
                (0.5 + weight * f64::from(1u32 << PRECISION)) as i32
            }));
            spans.push((first, begin, weights.len()));
        }
        Weights { spans, weights }
    }
}

/// Where sums begin, so that cutting the fraction off rounds.
const HALF: i32 = 1 << (PRECISION - 1);

/// A byte out of a sum of weighted bytes.
fn rounded(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// Resizes rows of interleaved bytes: `from` and `to` are (width, height), at least 1 each; `channels` bytes a pixel, 1 or 3.
pub(super) fn bilinear(pixels: &[u8], channels: usize, from: (usize, usize), to: (usize, usize)) -> Vec<u8> {
    let wide = match channels {
        _ if from.0 == to.0 => pixels.to_vec(),
        1 => across::<1>(pixels, from.0, to.0),
        _ => across::<3>(pixels, from.0, to.0),
    };
    if from.1 == to.1 { wide } else { down(&wide, to.0 * channels, from.1, to.1) }
}

/// Resizes every row of pixels of `C` bytes.
fn across<const C: usize>(pixels: &[u8], from: usize, to: usize) -> Vec<u8> {
    let Weights { spans, weights } = Weights::new(from, to);
    let rows = pixels.as_chunks::<C>().0.chunks_exact(from);
    let mut out = Vec::with_capacity(rows.len() * to * C);
    for row in rows {
        for &(first, begin, end) in &spans {
            let mut sums = [HALF; C];
            for (pixel, &weight) in row[first..].iter().zip(&weights[begin..end]) {
                for c in 0..C {
                    sums[c] += i32::from(pixel[c]) * weight;
                }
            }
            out.extend(sums.map(rounded));
        }
    }
    out
}

/// Resizes every column of rows of `stride` bytes.
fn down(pixels: &[u8], stride: usize, from: usize, to: usize) -> Vec<u8> {
    let Weights { spans, weights } = Weights::new(from, to);
    let mut out = Vec::with_capacity(stride * to);
    let mut sums = vec![0i32; stride];
    for &(first, begin, end) in &spans {
        sums.fill(HALF);
        for (row, &weight) in pixels[first * stride..].chunks_exact(stride).zip(&weights[begin..end]) {
            sums.iter_mut().zip(row).for_each(|(sum, &p)| *sum += i32::from(p) * weight);
        }
        out.extend(sums.iter().map(|&sum| rounded(sum)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::bilinear;

    /// Expected numbers are those of Pillow 13.0.0: `Image.fromarray(a).resize(size, Image.BILINEAR)`.
    #[test]
    fn growing_and_shrinking_as_pillow_does() {
        let row: Vec<u8> = vec![0, 50, 100, 200, 255, 7, 90, 13];
        assert_eq!(bilinear(&row, 1, (8, 1), (3, 1)), PILLOW_8_TO_3);
        assert_eq!(bilinear(&row, 1, (8, 1), (11, 1)), PILLOW_8_TO_11);
        assert_eq!(bilinear(&row, 1, (4, 2), (2, 3)), PILLOW_4X2_TO_2X3);
        assert_eq!(bilinear(&row, 1, (1, 8), (1, 3)), PILLOW_8_TO_3, "columns like rows");
    }

    const PILLOW_8_TO_3: [u8; 3] = [59, 162, 61];
    const PILLOW_8_TO_11: [u8; 11] = [0, 30, 66, 105, 177, 228, 199, 18, 64, 58, 13];
    const PILLOW_4X2_TO_2X3: [u8; 6] = [36, 136, 81, 91, 125, 45];

    #[test]
    fn channels_do_not_mix() {
        let pixels: Vec<u8> = (0..6).flat_map(|i| [i * 10, 255, i * 7]).collect();
        let resized = bilinear(&pixels, 3, (3, 2), (5, 4));
        for channel in 0..3 {
            let plane: Vec<u8> = pixels.iter().skip(channel).step_by(3).copied().collect();
            let expected = bilinear(&plane, 1, (3, 2), (5, 4));
            assert_eq!(resized.iter().skip(channel).step_by(3).copied().collect::<Vec<_>>(), expected);
        }
    }
}
