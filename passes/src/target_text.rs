//! Target files as text: a section takes another's place, and the rest keeps its bytes and comments.

use crate::target::{Rate, WidthRule};

/// The text of a target with another section `[width]`; `said` are comments above it: where the numbers come from.
///
/// ```
/// use spaceevo_passes::{Target, target_text::with_width};
///
/// let text = Target::text("x86-vnni").unwrap();
/// let rule = Target::named("x86-vnni").unwrap().width.unwrap();
/// let new = with_width(text, &rule, &["measured here".to_owned()]);
/// assert_eq!(Target::parse(&new, "new").unwrap().width.unwrap().depthwise, rule.depthwise);
/// assert!(new.contains("# measured here\n[width]\n"));
/// ```
pub fn with_width(text: &str, rule: &WidthRule, said: &[String]) -> String {
    let mut kept = Vec::new();
    let mut place = None;
    let mut within = false;
    for line in text.lines() {
        if line.starts_with('[') {
            within = line.starts_with("[width]") || line.starts_with("[width.");
            if within && place.is_none() {
                // The comment right above is about the old numbers.
                while kept.last().is_some_and(|above: &&str| above.starts_with('#')) {
                    kept.pop();
                }
                place = Some(kept.len());
            }
        }
        // What stands above the next section is that section's.
        if !within || line.starts_with('#') {
            kept.push(line);
        }
    }
    let place = place.unwrap_or(kept.len());
    let (before, behind) = kept.split_at(place);
    let mut lines: Vec<String> = before.iter().map(|line| (*line).to_owned()).collect();
    if lines.last().is_some_and(|line| !line.is_empty()) {
        lines.push(String::new());
    }
    lines.extend(said.iter().map(|line| format!("# {line}")));
    lines.push(section(rule));
    lines.extend(behind.iter().map(|line| (*line).to_owned()));
    lines.join("\n").trim_end().to_owned() + "\n"
}

fn section(rule: &WidthRule) -> String {
    let WidthRule { depthwise, input, output, least_output, stem, gain, rates, cut, paired } = rule;
    let rate = |r: &Rate| format!("{{ aligned = {:.4}, even = {:.4}, odd = {:.4} }}", r.aligned, r.even, r.odd);
    let narrow: Vec<String> = rates.narrow.iter().map(|(below, most)| format!("[{below}, {most:.4}]")).collect();
    let cut = cut.map_or(String::new(), |cut| format!("cut = {{ call = {:?}, position = {:?} }}\n", cut.call, cut.position));
    let paired = paired.map_or(String::new(), |most| format!("paired = {most}\n"));
    format!(
        "[width]\ndepthwise = {depthwise}\ninput = {input}\noutput = {output}\nleast_output = {least_output}\nstem = {stem:?}\n\
         {paired}gain = {gain:?}\n{cut}\n[width.rates]\npointwise = {}\ndense = {}\ndepthwise = {}\ndepthwise_large = {}\ndepthwise_taps = {:?}\n\
         narrow = [{}]\nelement = {:?}\n",
        rate(&rates.pointwise),
        rate(&rates.dense),
        rate(&rates.depthwise),
        rate(&rates.depthwise_large),
        rates.depthwise_taps,
        narrow.join(", "),
        rates.element,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Target;

    #[test]
    fn other_sections_and_their_comments_stay() {
        let text = Target::text("x86-vnni").unwrap();
        let mut rule = Target::named("x86-vnni").unwrap().width.unwrap();
        rule.depthwise = 8;
        let new = with_width(text, &rule, &["found here".to_owned()]);
        let read = Target::parse(&new, "new").unwrap().width.unwrap();
        assert_eq!((read.depthwise, read.paired, read.cut), (8, rule.paired, rule.cut));
        assert!(new.contains("# 3x3, 192 channels") && !new.contains("# Channel counts"), "{new}");
        let kept = |text: &str| text.lines().filter(|line| line.starts_with("[prices")).count();
        assert_eq!(kept(&new), kept(text));
        assert_eq!(with_width(&new, &rule, &["found here".to_owned()]), new);
    }

    #[test]
    fn a_target_without_the_section_gets_one() {
        let rule = Target::named("x86-vnni").unwrap().width.unwrap();
        let text = Target::text("portable").unwrap();
        let new = with_width(text, &rule, &[]);
        assert_eq!(Target::parse(&new, "new").unwrap().width.unwrap().depthwise, rule.depthwise);
    }
}
