//! The page of a predictor: how well each family is predicted, beside what a second measurement and work alone give.

use std::fmt::Write;

use spaceevo_cost::predictor::{Curve, Held, Predictor, Sample};

use crate::convert::{STYLE, escape};
use crate::line_chart::{LINE_STYLE, Line, chart};

/// Edge of a scatter, in units of the drawing.
const EDGE: f64 = 260.0;

/// The page, without scripts and without anything outside of it.
pub fn page(predictor: &Predictor, held: &[Held], curves: &[Curve], samples: &[Sample]) -> String {
    let origin = |key: &str| predictor.origin.get(key).map_or("", String::as_str);
    let title = format!("Latency predictor for {}", escape(origin("target")));
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<style>{STYLE}{LINE_STYLE}</style>\n</head>\n\
         <body>\n<main>\n<header>\n<h1>{title}</h1>\n<p class=\"verdict\">{} kernels measured on {}, {}, {}.</p>\n</header>\n",
        samples.len(),
        escape(origin("machine")),
        escape(origin("runtime")),
        escape(origin("date")),
    );
    let overhead = predictor.overhead;
    let (factor, cold) = (overhead.factor, overhead.cold / 1e3);
    let (step, tensor) = (overhead.step / 1e3, overhead.tensor / 1e3);
    let _ = write!(
        out,
        "<section>\n<h2>Families</h2>\n<p>Part of kernels within 10 % (5 %), all of them held out. Again: by a second measurement of the \
         same kernel, the ceiling. Work: so many nanoseconds for each multiply-accumulate or number. A run takes {factor:.3} \
         times what was traced of its kernels, {step:.2} µs for each of them and {tensor:.2} for each tensor that it reads or makes; \
         {cold:.2} more for each in networks that move 16 MB.</p>\n<table>\n<tr><th>family</th><th>fitted</th><th>held out</th>\
         <th>predicted</th><th>again</th><th>work</th></tr>\n"
    );
    for h in held {
        let both = |ten: f64, five: f64| format!("{:.1} ({:.1})", 100.0 * ten, 100.0 * five);
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.1}</td></tr>",
            escape(&h.family),
            h.fitted,
            h.held,
            both(h.within_10, h.within_5),
            both(h.ceiling_10, h.ceiling_5),
            100.0 * h.work_10,
        );
    }
    out += "</table>\n</section>\n<section>\n<h2>Rules found</h2>\n<p>Alignments and least widths below which a runtime has slower kernels, \
            with how many times as cheap those below would be if they were not, all of them together.</p>\n<ul>\n";
    for h in held {
        for (rule, cheaper) in &h.rules {
            let _ = writeln!(out, "<li>{}: {cheaper:.2}x cheaper when {}</li>", escape(&h.family), escape(rule));
        }
    }
    out += "</ul>\n</section>\n";
    if !curves.is_empty() {
        out += "<section>\n<h2>Learning curve</h2>\n<p>Part of held-out convolutions within 10 %, by how many of the others were fitted: \
                the first eighth, quarter and half of them, and all.</p>\n";
        let part = |&(fitted, within): &(usize, f64)| (fitted as f64, within);
        let line = |c: &Curve| Line { name: c.family.clone(), points: c.points.iter().map(part).collect() };
        out += &chart("kernels fitted", "within 10 %", &curves.iter().map(line).collect::<Vec<_>>(), &[]);
        out += "</section>\n";
    }
    out += "<section>\n<h2>Predicted and measured</h2>\n<p>Kernels that were held out, in microseconds, both axes \
            logarithmic; the lines are 10 % around the measurement.</p>\n";
    for h in held.iter().filter(|h| h.points.len() >= 8) {
        out += &scatter(h);
    }
    out + "</section>\n</main>\n</body>\n</html>\n"
}

/// A drawing of predicted over measured times.
fn scatter(held: &Held) -> String {
    let logs: Vec<(f64, f64)> =
        held.points.iter().map(|p| ((p.predicted / 1e3).log10(), (p.measured / 1e3).log10())).collect();
    let all = || logs.iter().flat_map(|&(p, m)| [p, m]);
    let (low, high) = (all().fold(f64::INFINITY, f64::min) - 0.1, all().fold(f64::NEG_INFINITY, f64::max) + 0.1);
    let x = |log: f64| 30.0 + (log - low) / (high - low) * EDGE;
    let y = |log: f64| 10.0 + EDGE - (log - low) / (high - low) * EDGE;
    let mut out = format!(
        "<figure style=\"display:inline-block;margin:8px\"><svg viewBox=\"0 0 {w} {h}\" width=\"{w}\" height=\"{h}\" role=\"img\" \
         aria-label=\"{name}\">\n<rect x=\"30\" y=\"10\" width=\"{EDGE}\" height=\"{EDGE}\" fill=\"none\" stroke=\"#8888\"/>\n",
        w = EDGE + 40.0,
        h = EDGE + 40.0,
        name = escape(&held.family),
    );
    for shift in [-(1.1f64.log10()), 0.0, 1.1f64.log10()] {
        let dash = if shift == 0.0 { "" } else { " stroke-dasharray=\"3 3\"" };
        let (from, to) = (low.max(low - shift), high.min(high - shift));
        let _ = writeln!(
            out,
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#8888\"{dash}/>",
            x(from),
            y(from + shift),
            x(to),
            y(to + shift),
        );
    }
    for &(predicted, measured) in &logs {
        let _ = writeln!(out, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"1.8\" fill=\"#3572b0\"/>", x(measured), y(predicted));
    }
    for decade in low.ceil() as i64..=high.floor() as i64 {
        let label = 10f64.powi(decade as i32);
        let (at, bottom) = (x(decade as f64), EDGE + 24.0);
        let _ = writeln!(out, "<text x=\"{at:.1}\" y=\"{bottom}\" font-size=\"10\" text-anchor=\"middle\">{label}</text>");
    }
    out + &format!("</svg><figcaption>{}</figcaption></figure>\n", escape(&held.family))
}
