//! "Did you mean …?"

/// The candidate that is most like `word`, if one is like it at all: at most a third of the letters, rounded up, differ.
/// Among equals the first wins.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 64;
    let word: Vec<char> = word.chars().take(LONGEST + 1).collect();
    let allowed = word.len().div_ceil(3);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let letters: Vec<char> = candidate.chars().take(LONGEST + 1).collect();
        if word.len() > LONGEST || letters.len() > LONGEST || letters.len().abs_diff(word.len()) > allowed {
            continue;
        }
        let found = distance(&word, &letters);
        // A name of one letter is like every other such name: that helps nobody.
        let alike = found <= allowed && found < word.len().max(letters.len());
        if alike && best.is_none_or(|(least, _)| found < least) {
            best = Some((found, candidate));
        }
    }
    best.map(|(_, name)| name)
}

/// Levenshtein's distance: letters inserted, removed or changed.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn suggests_what_is_alike_and_nothing_else() {
        let names = ["conv.1", "relu", "w", "weights"];
        assert_eq!(nearest("conv1", names), Some("conv.1"));
        assert_eq!(nearest("wieghts", names), Some("weights"));
        assert_eq!(nearest("x", names), None);
        assert_eq!(nearest("softmax", names), None);
    }
}
