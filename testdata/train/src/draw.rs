//! Draws the pictures that the networks learn to name.
//!
//! A picture is a pure function of `(seed, index)`: nothing is stored that cannot be drawn again,
//! and two index ranges that do not overlap are two sets of pictures that do not overlap. The label
//! is `index % 10`, so every run of ten pictures holds each class once.
//!
//! Every figure is a signed distance in pixels (negative inside), which makes anti-aliasing one
//! clamp and makes occlusion, clutter and textures ordinary set operations.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::f32::consts::{PI, TAU};

/// Width and height of a picture in pixels.
pub const SIDE: usize = 32;

/// The class names; a label is an index into this list.
pub const CLASSES: [&str; 10] = [
    "disc", "ring", "square", "triangle", "cross", "star", "stripes", "checker", "dots", "waves",
];

/// The first of the four labels that are a texture in a round patch instead of a solid figure.
const FIRST_TEXTURE: usize = 6;

/// One labelled picture, `SIDE * SIDE` pixels of RGB in rows.
pub struct Picture {
    pub label: usize,
    pub rgb: Vec<u8>,
}

type Colour = [f32; 3];

/// Draws picture `index` of the set that `seed` names.
pub fn picture(seed: u64, index: u64) -> Picture {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(index);
    let label = (index % CLASSES.len() as u64) as usize;

    let ground = colour(&mut rng);
    let mut canvas = Canvas::gradient(ground, &mut rng);
    for _ in 0..rng.random_range(0..4) {
        canvas.paint_speck(&mut rng);
    }
    let figure = Figure::random(label, &mut rng);
    let ink = contrasting(ground, &mut rng);
    canvas.paint(ink, rng.random_range(0.8..1.0), |p| figure.distance(p));
    for _ in 0..rng.random_range(0..3) {
        canvas.paint_bar(&mut rng);
    }
    let grain = rng.random_range(2.0..16.0);
    Picture {
        label,
        rgb: canvas.develop(grain, &mut rng),
    }
}

fn colour(rng: &mut ChaCha8Rng) -> Colour {
    std::array::from_fn(|_| rng.random_range(10.0..245.0))
}

/// A colour that can be told from `ground`, if only just.
fn contrasting(ground: Colour, rng: &mut ChaCha8Rng) -> Colour {
    loop {
        let ink = colour(rng);
        let apart: f32 = ink.iter().zip(ground).map(|(a, b)| (a - b).powi(2)).sum();
        if apart.sqrt() > 120.0 {
            return ink;
        }
    }
}

/// A picture in the making: colours may leave 0..=255 until it is developed.
struct Canvas(Vec<Colour>);

impl Canvas {
    /// A ground that drifts from `ground` to a near colour along a random direction.
    fn gradient(ground: Colour, rng: &mut ChaCha8Rng) -> Self {
        let drift: Colour = std::array::from_fn(|_| rng.random_range(-60.0..60.0));
        let (sin, cos) = rng.random_range(0.0..TAU).sin_cos();
        Self(
            pixels()
                .map(|[x, y]| {
                    let along = (x * cos + y * sin) / SIDE as f32;
                    std::array::from_fn(|c| ground[c] + drift[c] * along)
                })
                .collect(),
        )
    }

    /// Covers every pixel by as much of it as lies inside the figure.
    fn paint(&mut self, ink: Colour, opacity: f32, distance: impl Fn([f32; 2]) -> f32) {
        for (pixel, p) in self.0.iter_mut().zip(pixels()) {
            let cover = opacity * (0.5 - distance(p)).clamp(0.0, 1.0);
            for (value, ink) in pixel.iter_mut().zip(ink) {
                *value += (ink - *value) * cover;
            }
        }
    }

    /// Clutter behind the figure: a small disc or a short stroke.
    fn paint_speck(&mut self, rng: &mut ChaCha8Rng) {
        let ink = colour(rng);
        let from = [rng.random_range(0.0..32.0), rng.random_range(0.0..32.0)];
        let reach = if rng.random_bool(0.5) { 0.0 } else { 7.0 };
        let to = from.map(|v| v + rng.random_range(-1.0..1.0) * reach);
        let half_width = rng.random_range(0.5..1.8);
        self.paint(ink, 0.8, |p| segment(p, from, to) - half_width);
    }

    /// An occlusion: a bar that crosses the picture in front of the figure.
    fn paint_bar(&mut self, rng: &mut ChaCha8Rng) {
        let ink = colour(rng);
        let through: [f32; 2] = std::array::from_fn(|_| rng.random_range(8.0..24.0));
        let (sin, cos) = rng.random_range(0.0..TAU).sin_cos();
        let reach = rng.random_range(5.0..20.0);
        let half_width = rng.random_range(0.5..1.3);
        let from = [through[0] - cos * reach, through[1] - sin * reach];
        let to = [through[0] + cos * reach, through[1] + sin * reach];
        self.paint(ink, 0.9, |p| segment(p, from, to) - half_width);
    }

    /// Adds grain of the given standard deviation and rounds to bytes.
    fn develop(&self, grain: f32, rng: &mut ChaCha8Rng) -> Vec<u8> {
        let mut bell = || {
            let sum: f32 = (0..4).map(|_| rng.random_range(-0.5..0.5)).sum();
            sum * 3f32.sqrt()
        };
        self.0
            .iter()
            .flatten()
            .map(|v| (v + grain * bell()).round() as u8)
            .collect()
    }
}

/// The centre of every pixel, in rows.
fn pixels() -> impl Iterator<Item = [f32; 2]> {
    (0..SIDE * SIDE).map(|i| [(i % SIDE) as f32 + 0.5, (i / SIDE) as f32 + 0.5])
}

/// The labelled figure with its place, size and turn.
struct Figure {
    label: usize,
    centre: [f32; 2],
    turn: (f32, f32),
    radius: f32,
    period: f32,
    phase: f32,
}

impl Figure {
    fn random(label: usize, rng: &mut ChaCha8Rng) -> Self {
        let texture = label >= FIRST_TEXTURE;
        let radius = if texture {
            rng.random_range(8.0..14.0)
        } else {
            rng.random_range(6.5..11.5)
        };
        Self {
            label,
            centre: std::array::from_fn(|_| rng.random_range(11.0..21.0)),
            turn: rng.random_range(0.0..TAU).sin_cos(),
            radius,
            period: rng.random_range(4.4..7.0),
            phase: rng.random_range(0.0..1.0),
        }
    }

    fn distance(&self, p: [f32; 2]) -> f32 {
        let ([dx, dy], (sin, cos)) = ([p[0] - self.centre[0], p[1] - self.centre[1]], self.turn);
        let (x, y) = (dx * cos + dy * sin, dy * cos - dx * sin);
        let (r, reach) = (self.radius, x.hypot(y));
        match CLASSES[self.label] {
            "disc" => reach - 0.9 * r,
            "ring" => (reach - 0.72 * r).abs() - 0.24 * r,
            "square" => x.abs().max(y.abs()) - 0.8 * r,
            "triangle" => (-y).max(0.866 * x.abs() + 0.5 * y) - 0.58 * r,
            "cross" => {
                let (long, short) = (x.abs().max(y.abs()), x.abs().min(y.abs()));
                (long - r).max(short - 0.27 * r)
            }
            "star" => star(x, y, r),
            _ => (reach - r).max(self.texture(x, y)),
        }
    }

    fn texture(&self, x: f32, y: f32) -> f32 {
        let period = self.period;
        let (u, v) = (x / period + self.phase, y / period + self.phase);
        let inked = match CLASSES[self.label] {
            "stripes" => band(u),
            "checker" => {
                let (a, b) = (band(u / 1.4), band(v / 1.4));
                1.4 * a.min(b).max(-a.max(b))
            }
            "dots" => {
                let [a, b] = [u, v].map(|t| t.rem_euclid(1.0) - 0.5);
                a.hypot(b) - 0.32
            }
            _ => band(u + 0.3 * (v * TAU / 2.2).sin()),
        };
        inked * period
    }
}

/// Signed distance to stripes of period 1 that are half ink and half ground.
fn band(t: f32) -> f32 {
    (t.rem_euclid(1.0) - 0.5).abs() - 0.25
}

/// A five-pointed star whose tips lie `r` from the middle: one edge, reached by folding the plane.
fn star(x: f32, y: f32, r: f32) -> f32 {
    let fifth = TAU / 5.0;
    let angle = (y.atan2(x) + PI).rem_euclid(fifth) - fifth / 2.0;
    let (sin, cos) = angle.abs().sin_cos();
    let (u, v) = (x.hypot(y) * cos, x.hypot(y) * sin);
    let (valley_sin, valley_cos) = (fifth / 2.0).sin_cos();
    let (edge_u, edge_v) = (0.45 * r * valley_cos - r, 0.45 * r * valley_sin);
    ((u - r) * edge_v - v * edge_u) / edge_u.hypot(edge_v)
}

/// Distance from `p` to the straight line between `from` and `to`.
fn segment(p: [f32; 2], from: [f32; 2], to: [f32; 2]) -> f32 {
    let (along, off) = (
        [to[0] - from[0], to[1] - from[1]],
        [p[0] - from[0], p[1] - from[1]],
    );
    let length = along[0] * along[0] + along[1] * along[1];
    let t = ((off[0] * along[0] + off[1] * along[1]) / length.max(1e-6)).clamp(0.0, 1.0);
    (off[0] - t * along[0]).hypot(off[1] - t * along[1])
}
