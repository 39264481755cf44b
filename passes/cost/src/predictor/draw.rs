//! Convolutions to measure: near those of given networks, or any, from a stream of numbers that a seed names.

/// A convolution to draw others like.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Prior {
    /// Height and width.
    pub size: u32,
    /// Input channels.
    pub input: u32,
    /// Output channels.
    pub output: u32,
    /// Height and width of the window.
    pub window: u32,
    /// Step of the window.
    pub stride: u32,
    /// Groups of channels.
    pub groups: u32,
}

/// Multiply-accumulates of one convolution at most: a longer one is as fast as a long one.
const MACS: u64 = 900_000_000;
/// Weights of one convolution at most: those of 512 to 1,024 channels by 3x3.
const WEIGHTS: u64 = 4_800_000;
/// Numbers of a map at most.
pub(super) const MAP: u64 = 3_300_000;

/// A stream of numbers by its seed (SplitMix64; Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub struct Draws {
    state: u64,
    /// Seed and number.
    turn: u64,
}

impl Draws {
    /// The stream of a seed and a number.
    pub fn new(seed: u64, number: u64) -> Draws {
        let state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number.wrapping_mul(0xD1B5_4A32_D192_ED03);
        Draws { state, turn: seed.wrapping_add(number) }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `end`, which is positive.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// In `[0, 1)`.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// One of a list, which is not empty.
    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// One of a list, by the number of the stream: streams behind each other go through the list, so that each seed has of all.
    pub fn in_turn<T: Copy>(&self, of: &[T]) -> T {
        of[(self.turn % of.len() as u64) as usize]
    }

    /// Between two numbers, evenly in their logarithm.
    fn between(&mut self, low: f64, high: f64) -> f64 {
        low * (high / low).powf(self.unit())
    }

    /// A channel count: half of them any number, the others multiples of 4, 8 and 16.
    pub fn channels(&mut self, low: f64, high: f64) -> u32 {
        let step = self.one(&[1u32, 2, 4, 8, 8, 16, 16, 16]);
        (self.between(low, high).round() as u32).next_multiple_of(step)
    }

    /// A convolution on maps of this size: near one of the priors, or any.
    /// Its work and its maps are at most one `part` of the largest.
    pub fn prior(&mut self, size: u32, priors: &[Prior], part: u64) -> Prior {
        let alike = |prior: &&Prior| 3 * prior.size >= 2 * size && 2 * prior.size <= 3 * size;
        let alike: Vec<Prior> = priors.iter().filter(alike).copied().collect();
        for _ in 0..100 {
            let near = !alike.is_empty() && self.below(2) == 0;
            let drawn = if near { Prior { size, ..self.near(&alike) } } else { self.any(size) };
            // Each block has 1x1 convolutions around what is drawn.
            if drawn.window == 1 && self.below(4) > 0 {
                continue;
            }
            let (out, maps) = (u64::from(drawn.size.div_ceil(drawn.stride)).pow(2), u64::from(drawn.size).pow(2));
            let each = u64::from(drawn.input / drawn.groups * drawn.window * drawn.window);
            let made = out * u64::from(drawn.output);
            let most = MAP / part;
            let weights = each * u64::from(drawn.output);
            if made * each <= MACS / part && weights <= WEIGHTS && made <= most && maps * u64::from(drawn.input) <= most {
                return drawn;
            }
        }
        Prior { size, input: 8, output: 8, window: 3, stride: 1, groups: 1 }
    }

    /// Half of them as they are, of the others the channels change.
    fn near(&mut self, priors: &[Prior]) -> Prior {
        let prior = self.one(priors);
        if self.below(2) == 0 {
            return prior;
        }
        let depthwise = prior.groups > 1 && prior.groups == prior.input;
        let mut scaled = |channels: u32| {
            let step = self.one(&[1u32, 4, 8, 16]);
            ((f64::from(channels) * self.between(0.5, 1.3)).round() as u32).max(1).next_multiple_of(step)
        };
        match (scaled(prior.input), scaled(prior.output)) {
            (input, _) if depthwise => Prior { input, output: input, groups: input, ..prior },
            (input, output) if prior.groups == 1 => Prior { input, output, ..prior },
            _ => prior,
        }
    }

    fn any(&mut self, size: u32) -> Prior {
        // Wide where maps are small.
        let most = (16_000.0 / f64::from(size)).clamp(64.0, 2400.0);
        let stride = if size > 4 && self.below(4) == 0 { 2 } else { 1 };
        let window = if size == 1 { 1 } else { self.one(&[3, 3, 3, 3, 5, 5, 5, 7]) };
        match self.below(10) {
            0..=3 if size > 1 => {
                let channels = self.channels(8.0, most);
                Prior { size, input: channels, output: channels, window, stride, groups: channels }
            }
            4 | 5 if size > 1 => {
                let (groups, each) =
                    (self.one(&[2u32, 3, 4, 6, 8, 12, 16, 26, 32, 48]), self.one(&[4u32, 8, 8, 12, 16, 16, 24, 32, 48, 64]));
                Prior { size, input: groups * each, output: groups * each, window: 3, stride, groups }
            }
            kind => {
                let window = if kind <= 6 { 1 } else { window };
                let least = if self.below(6) == 0 { 1.0 } else { 8.0 };
                let (input, output) = (self.channels(least, most), self.channels(least, most));
                Prior { size, input, output, window, stride: if window == 1 { 1 } else { stride }, groups: 1 }
            }
        }
    }
}

/// Reads convolutions from tables of published networks: columns `input_h`, `cin`, `cout`, `ks`, `stride`, `groups`, as those of
/// nn-Meter (Zhang et al. 2021). Rows without all of them are left out, and so is what is not square.
pub fn priors(csv: &str) -> Vec<Prior> {
    let mut lines = csv.lines();
    let head: Vec<&str> = lines.next().unwrap_or_default().split(',').map(str::trim).collect();
    let column = |name: &str| head.iter().position(|&h| h == name);
    let columns = ["input_h", "cin", "cout", "ks", "stride", "groups"].map(column);
    let mut found = Vec::new();
    for line in lines {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let number = |at: usize| fields.get(columns[at]?)?.parse::<u32>().ok().filter(|&n| n > 0);
        let row = (number(0), number(1), number(2), number(3), number(4), number(5));
        if let (Some(size), Some(input), Some(output), Some(window), Some(stride), Some(groups)) = row
            && input % groups == 0
            && output % groups == 0
            && window % 2 == 1
            && size <= 512
        {
            found.push(Prior { size, input, output, window, stride, groups });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_rows_become_priors() {
        let csv = "model,input_h,input_w,cin,cout,ks,stride,groups\na,28,28,58,58,3,1,58\nb,x,28,1,1,3,1,1\n";
        let row = Prior { size: 28, input: 58, output: 58, window: 3, stride: 1, groups: 58 };
        assert_eq!(priors(csv), [row]);
    }
}
