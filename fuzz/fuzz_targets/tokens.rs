//! Mutations that know words, numbers and lines: bytes changed at random seldom leave a text that parses.

use std::ops::Range;

use libfuzzer_sys::fuzzer_mutate;

/// Numbers at which extents, axes and attributes go wrong.
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2",
    "3",
    "4",
    "5",
    "7",
    "8",
    "16",
    "255",
    "256",
    "1024",
    "65536",
    "2147483647",
    "4294967296",
    "-2147483648",
    "9223372036854775807",
    "-9223372036854775808",
    "0.0",
    "-0.0",
    "1.0",
    "-1.0",
    "0.5",
    "1e-45",
    "3e38",
    "inf",
    "-inf",
    "nan",
];

/// Changes a text in place, within `most` bytes; returns its new size. Half of the time libFuzzer's own mutations serve.
pub(crate) fn mutate(data: &mut [u8], size: usize, most: usize, seed: u32) -> usize {
    let mut random = Random(u64::from(seed));
    if random.below(3) == 0 || size == 0 {
        return fuzzer_mutate(data, size, most);
    }
    let mut text = data[..size].to_vec();
    for _ in 0..=random.below(3) {
        change(&mut text, &mut random);
    }
    if text.len() > most.min(data.len()) || text == data[..size] {
        return fuzzer_mutate(data, size, most);
    }
    data[..text.len()].copy_from_slice(&text);
    text.len()
}

fn change(text: &mut Vec<u8>, random: &mut Random) {
    let lines = spans(text, |b| b != b'\n');
    let words = spans(text, |b| b.is_ascii_alphanumeric() || b"_.-%$@".contains(&b));
    if lines.is_empty() || words.is_empty() {
        return;
    }
    match random.below(8) {
        0 => {
            let line = random.pick(&lines).clone();
            text.drain(line.start..(line.end + 1).min(text.len()));
        }
        1 | 2 => {
            let mut copy = text[random.pick(&lines).clone()].to_vec();
            copy.push(b'\n');
            let at = random.pick(&lines).start;
            text.splice(at..at, copy);
        }
        3 | 4 => {
            let numbers: Vec<_> = words.iter().filter(|w| b"-0123456789".contains(&text[w.start])).collect();
            if !numbers.is_empty() {
                let number = random.pick(&numbers).to_owned().clone();
                text.splice(number, random.pick(NUMBERS).bytes());
            }
        }
        5 => {
            // An entry more in a list.
            let word = text[random.pick(&words).clone()].to_vec();
            let at = random.pick(&words).end;
            text.splice(at..at, [b", ".as_slice(), &word].concat());
        }
        _ => {
            // A value for another value, a word for another word of its kind.
            let word = random.pick(&words).clone();
            let kind = |b: u8| if b.is_ascii_alphabetic() { b'a' } else { b };
            let same: Vec<_> = words.iter().filter(|w| kind(text[w.start]) == kind(text[word.start])).collect();
            let other = text[random.pick(&same).to_owned().clone()].to_vec();
            text.splice(word, other);
        }
    }
}

/// Maximal runs of bytes that `within` holds for.
fn spans(text: &[u8], within: impl Fn(u8) -> bool) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = None;
    for at in 0..=text.len() {
        match (start, text.get(at).is_some_and(|&b| within(b))) {
            (None, true) => start = Some(at),
            (Some(from), false) => {
                found.push(from..at);
                start = None;
            }
            _ => {}
        }
    }
    found
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}
