//! Charts of lines over two axes, as SVG in pages.

use std::fmt::Write;

use crate::convert::escape;

/// Lines of one chart that have colours of their own.
pub(crate) const LINES: usize = 5;

/// One line of a chart.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// How charts look.
pub(crate) const LINE_STYLE: &str = "td.whole, td.n { white-space: nowrap; }\n\
    svg path { fill: none; stroke-width: 1.8; }\n\
    svg .mark { stroke: var(--soft); stroke-dasharray: 3 3; } svg .name { fill: var(--soft); }\n\
    .l0 { stroke: #2a78d6; } .l1 { stroke: #d6662a; } .l2 { stroke: #2f9e5b; } .l3 { stroke: #9250c4; } .l4 { stroke: #777; }\n\
    i.l0 { background: #2a78d6; } i.l1 { background: #d6662a; } i.l2 { background: #2f9e5b; } i.l3 { background: #9250c4; }\n\
    i.l4 { background: #777; }\n";

/// Lines over two axes with round numbers; `marks` are places of the first axis that a thin line goes up at.
pub(crate) fn chart(x_name: &str, y_name: &str, lines: &[Line], marks: &[f64]) -> String {
    const WIDTH: f64 = 860.0;
    const HEIGHT: f64 = 310.0;
    const TOP: f64 = 20.0;
    const LEFT: f64 = 60.0;
    const BOTTOM: f64 = 34.0;
    let all = || lines.iter().flat_map(|l| &l.points);
    if all().next().is_none() {
        return "<p>There is nothing to draw.</p>\n".into();
    }
    let range = |value: fn(&(f64, f64)) -> f64| {
        let (least, most) = all().map(value).fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(v), b.max(v)));
        if most > least { (least, most) } else { (least - 0.5, least + 0.5) }
    };
    let ((x0, x1), (y0, y1)) = (range(|p| p.0), range(|p| p.1));
    let x = |v: f64| LEFT + (v - x0) / (x1 - x0) * (WIDTH - LEFT - 16.0);
    let y = |v: f64| HEIGHT - BOTTOM - (v - y0) / (y1 - y0) * (HEIGHT - BOTTOM - TOP - 6.0);
    let mut out = format!(
        "<div class=\"scroll\"><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{} over {}\">\n",
        escape(y_name),
        escape(x_name)
    );
    // Writing to a string cannot fail.
    for tick in ticks(x0, x1) {
        let at = x(tick);
        let _ =
            write!(out, "<line class=\"grid\" x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{:.1}\"/>", HEIGHT - BOTTOM);
        let _ = writeln!(out, "<text class=\"axis\" x=\"{at:.1}\" y=\"{:.1}\">{}</text>", HEIGHT - 16.0, shown(tick));
    }
    for tick in ticks(y0, y1) {
        let at = y(tick);
        let _ = write!(out, "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{:.1}\" y2=\"{at:.1}\"/>", WIDTH - 16.0);
        let _ = writeln!(out, "<text class=\"label\" x=\"{:.1}\" y=\"{:.1}\">{}</text>", LEFT - 6.0, at + 4.0, shown(tick));
    }
    for &mark in marks.iter().filter(|m| (x0..=x1).contains(m)) {
        let at = x(mark);
        let _ = writeln!(
            out,
            "<line class=\"mark\" x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{:.1}\"><title>{} {}</title></line>",
            HEIGHT - BOTTOM,
            shown(mark),
            escape(x_name)
        );
    }
    let _ =
        writeln!(out, "<text class=\"label\" x=\"{:.1}\" y=\"{:.1}\">{}</text>", WIDTH - 16.0, HEIGHT - 2.0, escape(x_name));
    let _ = writeln!(out, "<text class=\"name\" x=\"0\" y=\"11\">{}</text>", escape(y_name));
    for (i, line) in lines.iter().enumerate() {
        let mut path = String::new();
        for (n, (px, py)) in line.points.iter().enumerate() {
            let _ = write!(path, "{}{:.1} {:.1} ", if n == 0 { 'M' } else { 'L' }, x(*px), y(*py));
        }
        let _ = writeln!(
            out,
            "<path class=\"l{}\" d=\"{}\"><title>{}</title></path>",
            i % LINES,
            path.trim_end(),
            escape(&line.name)
        );
    }
    out += "</svg></div>\n<p class=\"legend\">";
    for (i, line) in lines.iter().enumerate() {
        let _ = write!(out, "<i class=\"l{}\"></i>{} ", i % LINES, escape(&line.name));
    }
    out + "</p>\n"
}

/// Round numbers that divide a range into four to ten parts.
fn ticks(from: f64, to: f64) -> Vec<f64> {
    let rough = (to - from) / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|f| f * power).into_iter().find(|s| *s >= rough).unwrap_or(rough);
    let first = (from / step).ceil() as i64;
    (first..).map(|i| i as f64 * step).take_while(|t| *t <= to).take(12).collect()
}

/// A tick without digits that say nothing.
fn shown(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
