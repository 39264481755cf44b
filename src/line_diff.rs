//! Differences of two texts by line, as `diff -u` shows them (Myers, An O(ND) Difference Algorithm, 1986).

use std::fmt::Write;

/// Edits above which the middle is shown as replaced altogether: bounds memory and time.
const MAX_EDITS: usize = 2000;
/// Unchanged lines shown around a change.
const CONTEXT: usize = 3;

/// One line of an edit script.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Edit {
    Keep,
    Remove,
    Add,
}

/// The changed lines with `-` and `+` before them and a few unchanged ones around; empty for equal texts.
pub fn line_diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let script = script(&old, &new);
    let changed: Vec<usize> = (0..script.len()).filter(|&i| script[i] != Edit::Keep).collect();
    let near = |i: usize| {
        let next = changed.partition_point(|&c| c + CONTEXT < i);
        changed.get(next).is_some_and(|&c| c <= i + CONTEXT)
    };
    let (mut out, mut a, mut b, mut skipped) = (String::new(), 0, 0, true);
    for (i, edit) in script.iter().enumerate() {
        let shown = near(i);
        if shown && skipped {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "@@ line {} -> {} @@", a + 1, b + 1);
        }
        skipped = !shown;
        match edit {
            Edit::Keep => {
                if shown {
                    let _ = writeln!(out, "  {}", old[a]);
                }
                a += 1;
                b += 1;
            }
            Edit::Remove => {
                let _ = writeln!(out, "- {}", old[a]);
                a += 1;
            }
            Edit::Add => {
                let _ = writeln!(out, "+ {}", new[b]);
                b += 1;
            }
        }
    }
    out
}

fn script(old: &[&str], new: &[&str]) -> Vec<Edit> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[head..], &new[head..]);
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[..old.len() - tail], &new[..new.len() - tail]);
    let mut script = vec![Edit::Keep; head];
    script.extend(shortest(old, new).unwrap_or_else(|| {
        let replaced = std::iter::repeat_n(Edit::Remove, old.len());
        replaced.chain(std::iter::repeat_n(Edit::Add, new.len())).collect()
    }));
    script.extend(std::iter::repeat_n(Edit::Keep, tail));
    script
}

/// Myers' greedy algorithm. `reach[d][i]` is how far in `old` a path of `d` edits comes on diagonal `x - y = i - d`.
fn shortest(old: &[&str], new: &[&str]) -> Option<Vec<Edit>> {
    let mut reach: Vec<Vec<usize>> = Vec::new();
    for d in 0..=(old.len() + new.len()).min(MAX_EDITS) {
        let mut row = vec![0; 2 * d + 1];
        for i in (0..=2 * d).step_by(2) {
            let (mut x, _) = reach.last().map_or((0, Edit::Keep), |last| come_from(last, i));
            // Paths may leave the field; they never reach the end before the path that stays inside.
            let Some(mut y) = (x + d).checked_sub(i) else { continue };
            while x < old.len() && y < new.len() && old[x] == new[y] {
                (x, y) = (x + 1, y + 1);
            }
            row[i] = x;
            if (x, y) == (old.len(), new.len()) {
                reach.push(row);
                return Some(walk_back(&reach, x, y));
            }
        }
        reach.push(row);
    }
    None
}

/// Where a path on diagonal `i` of the next row starts, given the row before, and by which edit it got there.
fn come_from(last: &[usize], i: usize) -> (usize, Edit) {
    let down = last.get(i).copied();
    let right = i.checked_sub(2).map(|i| last[i] + 1);
    match (down, right) {
        (Some(down), right) if right.is_none_or(|right| down >= right) => (down, Edit::Add),
        (_, Some(right)) => (right, Edit::Remove),
        (_, None) => (0, Edit::Add),
    }
}

fn walk_back(reach: &[Vec<usize>], mut x: usize, mut y: usize) -> Vec<Edit> {
    let mut script = Vec::new();
    for d in (1..reach.len()).rev() {
        let i = x + d - y;
        let (start, edit) = come_from(&reach[d - 1], i);
        let kept = x - start;
        script.extend(std::iter::repeat_n(Edit::Keep, kept));
        script.push(edit);
        (x, y) = (start, y - kept);
        match edit {
            Edit::Remove => x -= 1,
            _ => y -= 1,
        }
    }
    script.extend(std::iter::repeat_n(Edit::Keep, x));
    script.reverse();
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Applies a script to `old`: what it gives must be `new`.
    fn apply(old: &[&str], new: &[&str], script: &[Edit]) -> Vec<String> {
        let (mut a, mut b, mut out) = (0, 0, Vec::new());
        for edit in script {
            match edit {
                Edit::Keep => (out.push(old[a].to_owned()), a += 1, b += 1).1,
                Edit::Remove => a += 1,
                Edit::Add => (out.push(new[b].to_owned()), b += 1).1,
            }
        }
        assert_eq!((a, b), (old.len(), new.len()));
        out
    }

    #[test]
    fn scripts_turn_the_old_text_into_the_new_one() {
        // Every pair of texts of up to five lines of two kinds.
        let texts: Vec<Vec<&str>> = (0..6u32)
            .flat_map(|n| (0..1u32 << n).map(move |bits| (0..n).map(|i| ["a", "b"][(bits >> i & 1) as usize]).collect()))
            .collect();
        for old in &texts {
            for new in &texts {
                assert_eq!(apply(old, new, &script(old, new)), *new, "{old:?} {new:?}");
            }
        }
    }

    #[test]
    fn shows_changes_with_context_and_equal_texts_as_nothing() {
        assert_eq!(line_diff("a\nb\nc\n", "a\nb\nc\n"), "");
        assert_eq!(line_diff("a\nb\nc\n", "a\nx\nc\n"), "@@ line 1 -> 1 @@\n  a\n- b\n+ x\n  c\n");
    }

    #[test]
    fn texts_without_anything_in_common_are_replaced() {
        let (old, new): (String, String) =
            ((0..3000).map(|i| format!("a{i}\n")).collect(), (0..3000).map(|i| format!("b{i}\n")).collect());
        assert_eq!(line_diff(&old, &new).lines().count(), 6001);
    }
}
