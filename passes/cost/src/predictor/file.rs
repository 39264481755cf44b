//! A predictor as text: one line for each fact, each with a sum by which damage is found.
//!
//! ```text
//! spaceevo-predictor 12 #1a1b6d3d
//! origin machine AMD EPYC, 2 threads #…
//! overhead -2100.5 -350.25 -500.0 1.02 0.01 #…
//! family QLinearConv-last 1180 0.041 #…
//! sum 950.0 0.0031 0.0 … #…                 nanoseconds of each count
//! below 3 16.0 210.0 0.0 0.01 … #…          and what kernels cost beside that whose feature is below a threshold
//! tree 3:16.0 1:96.0 | 0.01 -0.02 0.0 0.1 #…
//! end #…
//! ```
//!
//! Numbers are written with as many digits as it takes to read the same bits again. The eight digits behind `#` are a hash
//! of the line and of all before it: a line that was changed, lost or put elsewhere is refused, and its number said.

use std::fmt::Write;

use spaceevo_ir::{Diagnostic, Loc};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Base, Forest, Model, Origin, Overhead, Predictor, ROW, TERMS, Threshold, Tree, Weights};

/// Thresholds of a family at most: the weights of all their sides are kept at hand.
const THRESHOLDS: usize = 8;

const HEAD: &str = "spaceevo-predictor 12";

impl Predictor {
    /// The text. The same predictor has the same bytes.
    pub fn to_text(&self) -> String {
        let mut lines = vec![HEAD.to_owned()];
        for (key, value) in &self.origin {
            lines.push(format!("origin {key} {}", value.replace(['\n', '\r'], " ")));
        }
        let Overhead { step, tensor, cold, factor, spread } = self.overhead;
        lines.push(format!("overhead {step:?} {tensor:?} {cold:?} {factor:?} {spread:?}"));
        for (family, model) in &self.models {
            lines.push(format!("family {family} {} {:?}", model.samples, model.spread));
            lines.push(format!("sum {}", write_weights(&model.base.weights)));
            for ((feature, least), weights) in &model.base.below {
                lines.push(format!("below {feature} {least:?} {}", write_weights(weights)));
            }
            lines.extend(model.forest.trees.iter().map(write_tree));
        }
        lines.push("end".to_owned());
        let mut before = 0;
        let mut text = String::new();
        for line in lines {
            before = hash(&line, before);
            let _ = writeln!(text, "{line} #{:08x}", before as u32);
        }
        text
    }

    /// Reads the text; `file` is its name in messages.
    ///
    /// Errors: `predictor-file` with the line that is damaged or missing.
    pub fn parse(text: &str, file: &str) -> Result<Predictor, Diagnostic> {
        let mut lines = Lines { text: text.lines(), number: 0, before: 0, file };
        lines.expect(HEAD)?;
        let mut origin = Origin::new();
        let mut line = lines.next()?;
        while let Some(rest) = line.strip_prefix("origin ") {
            let (key, value) = rest.split_once(' ').unwrap_or((rest, ""));
            origin.insert(key.to_owned(), value.to_owned());
            line = lines.next()?;
        }
        let numbers = line.strip_prefix("overhead ").and_then(floats::<5>);
        let [step, tensor, cold, factor, spread] =
            numbers.ok_or_else(|| lines.fault("five numbers of 'overhead' are expected"))?;
        let mut predictor =
            Predictor { origin, overhead: Overhead { step, tensor, cold, factor, spread }, models: Default::default() };
        line = lines.next()?;
        while line != "end" {
            let head = || {
                let fields: Vec<&str> = line.strip_prefix("family ")?.split(' ').collect();
                let [family, samples, spread] = fields[..] else { return None };
                Some((family.to_owned(), samples.parse().ok()?, floats::<1>(spread)?[0]))
            };
            let (family, samples, spread) =
                head().ok_or_else(|| lines.fault("'family NAME SAMPLES SPREAD' or 'end' is expected"))?;
            let weights = lines.next()?.strip_prefix("sum ").and_then(floats::<TERMS>);
            let mut base =
                Base::simple(weights.ok_or_else(|| lines.fault("'sum' and a number for each count are expected"))?);
            let mut forest = Forest::default();
            line = lines.next()?;
            while line.starts_with("below ") {
                let below = read_below(line).filter(|_| base.below.len() < THRESHOLDS);
                base.below.push(below.ok_or_else(|| lines.fault("this is no threshold with a number for each count"))?);
                line = lines.next()?;
            }
            while line.starts_with("tree ") {
                forest.trees.push(read_tree(line).ok_or_else(|| lines.fault("this is no tree"))?);
                line = lines.next()?;
            }
            predictor.models.insert(family, Model { samples, base, forest, spread });
        }
        match lines.text.next() {
            None => Ok(predictor),
            Some(_) => {
                lines.number += 1;
                Err(lines.fault("nothing is expected behind 'end'"))
            }
        }
    }
}

fn hash(line: &str, before: u64) -> u64 {
    xxh3_64_with_seed(line.as_bytes(), before)
}

struct Lines<'a> {
    text: std::str::Lines<'a>,
    number: u32,
    before: u64,
    file: &'a str,
}

impl<'a> Lines<'a> {
    fn fault(&self, what: &str) -> Diagnostic {
        let message = format!("{}: line {}: {what}", self.file, self.number);
        Diagnostic::error("predictor-file", Loc::Unknown, message).note("copy the file anew, or build the predictor again")
    }

    /// The next line without its sum.
    fn next(&mut self) -> Result<&'a str, Diagnostic> {
        self.number += 1;
        let line = self.text.next().ok_or_else(|| self.fault("the file ends here, and it should not"))?;
        let (line, sum) = line.rsplit_once(" #").ok_or_else(|| self.fault("a line ends with # and eight digits"))?;
        let seen = hash(line, self.before);
        if format!("{:08x}", seen as u32) != sum {
            return Err(self.fault("the line is damaged: its sum is another"));
        }
        self.before = seen;
        Ok(line)
    }

    fn expect(&mut self, wanted: &str) -> Result<(), Diagnostic> {
        match self.next()? {
            line if line == wanted => Ok(()),
            line => Err(self.fault(&format!("'{line}' is found, '{wanted}' is expected"))),
        }
    }
}

fn floats<const N: usize>(text: &str) -> Option<[f64; N]> {
    let numbers: Vec<f64> =
        text.split(' ').map(|n| n.parse().ok().filter(|n: &f64| n.is_finite())).collect::<Option<_>>()?;
    numbers.try_into().ok()
}

fn write_weights(weights: &Weights) -> String {
    weights.map(|weight| format!("{weight:?}")).join(" ")
}

fn read_below(line: &str) -> Option<(Threshold, Weights)> {
    let mut parts = line.strip_prefix("below ")?.splitn(3, ' ');
    let (feature, least) = (parts.next()?, parts.next()?);
    Some((question(feature, least)?, floats(parts.next()?)?))
}

fn write_tree(tree: &Tree) -> String {
    let questions: Vec<String> = tree.questions.iter().map(|(feature, least)| format!("{feature}:{least:?}")).collect();
    let leaves: Vec<String> = tree.leaves.iter().map(|leaf| format!("{leaf:?}")).collect();
    format!("tree {} | {}", questions.join(" "), leaves.join(" "))
}

fn read_tree(line: &str) -> Option<Tree> {
    let (questions, leaves) = line.strip_prefix("tree ")?.split_once(" | ")?;
    let questions: Vec<_> = questions
        .split(' ')
        .map(|text| text.split_once(':').and_then(|(feature, least)| question(feature, least)))
        .collect::<Option<_>>()?;
    let leaves: Vec<f32> = leaves.split(' ').map(finite).collect::<Option<_>>()?;
    (questions.len() <= 16 && leaves.len() == 1 << questions.len()).then_some(Tree { questions, leaves })
}

/// A feature and the least value of a yes.
fn question(feature: &str, least: &str) -> Option<(usize, f32)> {
    Some((feature.parse().ok().filter(|&f: &usize| f < ROW)?, finite(least)?))
}

fn finite(text: &str) -> Option<f32> {
    text.parse().ok().filter(|n: &f32| n.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn predictor() -> Predictor {
        let weights = std::array::from_fn(|term| [1.5, 0.1 + 0.2, 0.0, 1e-300, 1.0 / 3.0][term % 5]);
        let base = Base { weights, below: vec![((3, 16.0), weights), ((0, 96.5), [0.25; TERMS])] };
        let tree = Tree { questions: vec![(1, 96.5), (23, 0.1)], leaves: vec![0.1, -0.2, 1e-20, 0.3] };
        let model = Model { samples: 7, base, forest: Forest { trees: vec![tree] }, spread: 0.04 };
        Predictor {
            origin: [("machine".to_owned(), "one, two".to_owned())].into(),
            overhead: Overhead { step: -2000.25, tensor: 0.1, cold: -0.3, factor: 1.5, spread: 0.01 },
            models: [("QLinearConv-last".to_owned(), model)].into(),
        }
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let text = predictor().to_text();
        let read = Predictor::parse(&text, "p").unwrap();
        assert_eq!(read, predictor());
        assert_eq!(read.to_text(), text);
    }

    #[test]
    fn every_damage_is_found_in_its_line() {
        let text = predictor().to_text();
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let said = |text: String| Predictor::parse(&text, "p").unwrap_err().message;
            let number = format!("p: line {}:", at + 1);
            let rest = |new: &str| [&lines[..at], &[new], &lines[at + 1..]].concat().join("\n");
            let digit = line.find(|c: char| c.is_ascii_digit()).unwrap();
            let mut changed = line.as_bytes().to_vec();
            changed[digit] ^= 1;
            let message = said(rest(std::str::from_utf8(&changed).unwrap()));
            assert!(message.starts_with(&number), "{message}");
            let message = said([&lines[..at], &lines[at + 1..]].concat().join("\n"));
            assert!(message.starts_with(&number), "lost: {message}");
        }
    }
}
