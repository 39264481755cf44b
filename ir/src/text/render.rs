//! A diagnostic beside the line it is about.

use crate::diagnostic::Diagnostic;
use crate::graph::Loc;

/// Characters of a source line that are shown.
const SHOWN: usize = 100;

/// The diagnostic with the source line it is about and a mark under the place; without the line where the diagnostic has
/// no place in a text.
///
/// ```text
/// error[text-unknown-value] at net.seir:3:22: no value is called %wx
///   |
/// 3 |   %c = onnx.Conv %x, %wx
///   |                      ^^^
///   = did you mean %w?
/// ```
pub fn render(diagnostic: &Diagnostic, source: &str) -> String {
    let Loc::Text { line, column, .. } = &diagnostic.loc else { return diagnostic.to_string() };
    let Some(text) = source.lines().nth((*line as usize).saturating_sub(1)) else { return diagnostic.to_string() };
    let place = (*column as usize).saturating_sub(1);
    // A window of the line around the place: lines can be megabytes long.
    let skipped = if place > SHOWN * 3 / 4 { place - SHOWN / 2 } else { 0 };
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let shown: String = text.chars().skip(skipped).take(SHOWN).map(visible).collect();
    let rest = text.chars().skip(place).take(SHOWN);
    let marked = rest.take_while(|c| !c.is_whitespace() && !matches!(c, ',' | '(' | ')' | '{' | '}' | '[' | ']')).count();
    let marked = marked.clamp(1, SHOWN.saturating_sub(place - skipped).max(1));

    let whole = diagnostic.to_string();
    let (head, notes) = whole.split_once('\n').map_or((&*whole, ""), |(head, notes)| (head, notes));
    let number = line.to_string();
    let gutter = " ".repeat(number.len());
    let indent = " ".repeat(place - skipped);
    let mut out = format!("{head}\n{gutter} |\n{number} | {shown}\n{gutter} | {indent}{}", "^".repeat(marked));
    if !notes.is_empty() {
        out.push('\n');
        out.push_str(notes);
    }
    out
}
