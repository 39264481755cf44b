//! The report of a conversion as one HTML page: self-contained, without scripts, light or dark as the reader's system is.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::report::{Layer, Report, Verification};
use crate::inspect::size;

pub(crate) const STYLE: &str = include_str!("report.css");
/// Layers in the chart.
const BARS: usize = 40;
/// Below this, in dB, a layer is drawn as poor; below [`FAIR`] as fair.
const POOR: f64 = 15.0;
/// See [`POOR`].
const FAIR: f64 = 25.0;

/// The report as a page.
pub fn html(report: &Report) -> String {
    let name = report.output.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut page = Page::default();
    page.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    page.raw(&format!("<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n", escape(name)));
    page.header(report, name);
    if let Some(verification) = &report.verification {
        page.outputs(verification);
        page.layers(&verification.layers);
    }
    page.left_in_float(report);
    page.operators(report);
    page.passes(report);
    page.provenance(report);
    page.raw("</main>\n</body>\n</html>\n");
    page.out
}

#[derive(Default)]
struct Page {
    out: String,
}

impl Page {
    fn raw(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn section(&mut self, title: &str, note: &str) {
        self.raw(&format!("</section>\n<section>\n<h2>{}</h2>\n", escape(title)));
        if !note.is_empty() {
            self.raw(&format!("<p class=\"note\">{}</p>\n", escape(note)));
        }
    }

    /// A table; the columns named in `numbers` are right-aligned.
    fn table(&mut self, heads: &[&str], numbers: &[usize], rows: &[Vec<String>]) {
        self.raw("<div class=\"scroll\"><table>\n<thead><tr>");
        let class = |i: usize| if numbers.contains(&i) { " class=\"n\"" } else { "" };
        for (i, head) in heads.iter().enumerate() {
            self.raw(&format!("<th{}>{}</th>", class(i), escape(head)));
        }
        self.raw("</tr></thead>\n<tbody>\n");
        for row in rows {
            self.raw("<tr>");
            for (i, cell) in row.iter().enumerate() {
                self.raw(&format!("<td{}>{}</td>", class(i), escape(cell)));
            }
            self.raw("</tr>\n");
        }
        self.raw("</tbody></table></div>\n");
    }

    fn header(&mut self, report: &Report, name: &str) {
        self.raw(&format!("<header>\n<p class=\"kind\">INT8 conversion report</p>\n<h1>{}</h1>\n", escape(name)));
        self.raw(&format!("<p class=\"verdict\">{}</p>\n", escape(&verdict(report))));
        self.raw(&format!(
            "<p class=\"note\">{} &rarr; {}, {}.</p>\n<div class=\"tiles\">\n",
            escape(&report.source),
            escape(&report.output),
            escape(&report.verification.as_ref().map_or("not verified".into(), verified))
        ));
        if let Some(verification) = &report.verification {
            self.quality(verification);
        }
        let ratio = report.bytes_before as f64 / report.bytes_after.max(1) as f64;
        self.tile(
            "file size",
            &size(report.bytes_after),
            &format!("from {}, {ratio:.1} times smaller", size(report.bytes_before)),
        );
        let left = report.float_ops.len();
        self.tile("in integers", &format!("{} ops", report.integer_ops), &format!("{left} stayed in float"));
        self.raw("</div>\n</header>\n<section class=\"first\">\n");
        for warning in &report.warnings {
            self.raw(&format!("<pre class=\"warning\">{}</pre>\n", escape(warning)));
        }
    }

    fn quality(&mut self, v: &Verification) {
        if let Some(accuracy) = &v.accuracy {
            let points = 100.0 * (accuracy.int8 - accuracy.float);
            let under = format!(
                "from {:.2} % float ({points:+.2} points), {} labelled samples",
                100.0 * accuracy.float,
                accuracy.samples
            );
            self.tile("top-1 accuracy", &format!("{:.2} %", 100.0 * accuracy.int8), &under);
        }
        if let Some(agreement) = v.outputs.iter().filter_map(|o| o.agreement).min_by(f64::total_cmp) {
            self.tile("agreement", &format!("{:.1} %", 100.0 * agreement), "of top classes, with the float model");
        }
        let sqnr = v.outputs.iter().filter_map(|o| o.sqnr_db).min_by(f64::total_cmp);
        self.tile(
            "output SQNR",
            &sqnr.map_or("exact".into(), |db| format!("{db:.1} dB")),
            "signal over quantization noise, lowest output",
        );
    }

    fn tile(&mut self, title: &str, figure: &str, under: &str) {
        self.raw(&format!(
            "<div class=\"tile\"><span>{}</span><strong>{}</strong><span>{}</span></div>\n",
            escape(title),
            escape(figure),
            escape(under)
        ));
    }

    fn outputs(&mut self, verification: &Verification) {
        self.section("Outputs", "The float file and the INT8 file on the same samples.");
        let row = |o: &super::report::OutputQuality| {
            let sqnr = o.sqnr_db.map_or("equal".to_owned(), |db| format!("{db:.1} dB"));
            let agreement = o.agreement.map_or("not a class vector".to_owned(), |a| format!("{:.1} %", 100.0 * a));
            vec![o.name.clone(), sqnr, agreement]
        };
        let rows: Vec<_> = verification.outputs.iter().map(row).collect();
        self.table(&["output", "SQNR", "top class agrees"], &[1, 2], &rows);
    }

    fn layers(&mut self, layers: &[Layer]) {
        if layers.is_empty() {
            return;
        }
        let shown = &layers[..layers.len().min(BARS)];
        let which = match layers.len() - shown.len() {
            0 => format!("all {}", layers.len()),
            _ => format!("the worst {} of {}", shown.len(), layers.len()),
        };
        let note =
            format!("SQNR of what each layer makes, {which}. Excluding a poor layer (--exclude NAME) keeps it in float.");
        self.section("Layers", &note);
        self.chart(shown);
    }

    /// Horizontal bars, the worst layer first; hovering tells the whole name.
    fn chart(&mut self, layers: &[Layer]) {
        const ROW: usize = 20;
        const LABEL: f64 = 250.0;
        const WIDTH: f64 = 860.0;
        let bars = WIDTH - LABEL - 70.0;
        let most = layers.iter().map(|l| l.sqnr_db).fold(10.0, f64::max);
        let most = (most / 10.0).ceil() * 10.0;
        let height = layers.len() * ROW + 26;
        let x = |db: f64| LABEL + bars * (db.max(0.0) / most);
        self.raw(&format!(
            "<div class=\"scroll\"><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"SQNR by layer in dB\">\n"
        ));
        let mut tick = 0.0;
        while tick <= most {
            let at = x(tick);
            let bottom = height - 22;
            self.raw(&format!("<line class=\"grid\" x1=\"{at:.1}\" y1=\"0\" x2=\"{at:.1}\" y2=\"{bottom}\"/>"));
            self.raw(&format!("<text class=\"axis\" x=\"{at:.1}\" y=\"{}\">{tick:.0} dB</text>\n", height - 6));
            tick += 10.0;
        }
        for (index, layer) in layers.iter().enumerate() {
            let class = match layer.sqnr_db {
                db if db < POOR => "poor",
                db if db < FAIR => "fair",
                _ => "good",
            };
            let (top, end) = (index * ROW, x(layer.sqnr_db));
            let middle = top + 14;
            self.raw(&format!("<g><title>{} ({}): {:.2} dB</title>", escape(&layer.name), escape(&layer.op), layer.sqnr_db));
            self.raw(&format!(
                "<text class=\"label\" x=\"{}\" y=\"{middle}\">{}</text>",
                LABEL - 8.0,
                escape(&ending(&layer.name, 36))
            ));
            self.raw(&format!(
                "<rect class=\"{class}\" x=\"{LABEL}\" y=\"{}\" width=\"{:.1}\" height=\"{}\" rx=\"2\"/>",
                top + 3,
                (end - LABEL).max(1.0),
                ROW - 6
            ));
            self.raw(&format!(
                "<text class=\"value\" x=\"{:.1}\" y=\"{middle}\">{:.1}</text></g>\n",
                end + 5.0,
                layer.sqnr_db
            ));
        }
        self.raw("</svg></div>\n");
        self.raw(&format!(
            "<p class=\"legend\"><i class=\"poor\"></i> below {POOR:.0} dB <i class=\"fair\"></i> below {FAIR:.0} dB <i class=\"good\"></i> above</p>\n"
        ));
    }

    fn left_in_float(&mut self, report: &Report) {
        self.section("Left in float", "");
        let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        report.float_ops.iter().for_each(|o| reasons.entry(&o.why).or_default().push(&o.at));
        if reasons.is_empty() {
            self.raw("<p>Nothing: every operator runs in integers.</p>\n");
        }
        let mut sorted: Vec<_> = reasons.into_iter().collect();
        sorted.sort_by(|a, b| b.1.len().cmp(&a.1.len()).then(a.0.cmp(b.0)));
        for (why, ops) in sorted {
            let plural = if ops.len() == 1 { "op" } else { "ops" };
            self.raw(&format!(
                "<details{}><summary><b>{} {plural}</b> {}</summary><p class=\"names\">",
                if ops.len() <= 6 { " open" } else { "" },
                ops.len(),
                escape(why)
            ));
            let names: Vec<String> = ops.iter().map(|op| format!("<code>{}</code>", escape(op))).collect();
            self.raw(&names.join(" "));
            self.raw("</p></details>\n");
        }
    }

    fn operators(&mut self, report: &Report) {
        self.section("Operators", "How many of each, before and after.");
        let (before, after) = (&report.ops_before, &report.ops_after);
        let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let count = |ops: &BTreeMap<String, usize>, name: &str| ops.get(name).map_or("–".to_owned(), usize::to_string);
        let mut rows: Vec<Vec<String>> =
            names.iter().map(|name| vec![(*name).clone(), count(before, name), count(after, name)]).collect();
        let total = |ops: &BTreeMap<String, usize>| ops.values().sum::<usize>().to_string();
        rows.push(vec!["all".into(), total(before), total(after)]);
        self.table(&["operator", "float", "INT8"], &[1, 2], &rows);
    }

    fn passes(&mut self, report: &Report) {
        let total: f64 = report.passes.iter().map(|p| p.ms).sum();
        let idle = report.passes.iter().filter(|p| !p.changed).count();
        let note = format!("{} runs in {total:.0} ms; {idle} found nothing to do and are not listed.", report.passes.len());
        self.section("Passes", &note);
        let active = report.passes.iter().filter(|p| p.changed);
        let rows: Vec<_> = active.map(|p| vec![p.pass.clone(), p.rewrites.to_string(), format!("{:.2}", p.ms)]).collect();
        self.table(&["pass", "rewrites", "ms"], &[1, 2], &rows);
    }

    fn provenance(&mut self, report: &Report) {
        self.section("How it came about", "");
        let facts = [
            ("target", format!("{}, written as {}", report.target, report.form)),
            ("calibrated", format!("on {} samples of {} with {}", report.samples, report.sample_source, report.runtime)),
            ("program", format!("spaceevo {}, {:.2} s in all", env!("CARGO_PKG_VERSION"), report.seconds)),
        ];
        self.raw("<dl>\n");
        for (name, what) in facts {
            self.raw(&format!("<dt>{name}</dt><dd>{}</dd>\n", escape(&what)));
        }
        self.raw(&format!("<dt>pipeline</dt><dd><code>{}</code></dd>\n</dl>\n</section>\n", escape(&report.pipeline)));
    }
}

/// How both files were compared.
fn verified(v: &Verification) -> String {
    let samples = if v.held_out { "held-out samples" } else { "calibration samples, there being too few to hold any out" };
    format!("verified on {} {samples} with {}", v.samples, v.runtime)
}

/// One sentence: what came out, and whether to look closer.
fn verdict(report: &Report) -> String {
    let Some(v) = &report.verification else {
        return "Not verified: compare both files before you trust the result.".into();
    };
    if let Some(a) = &v.accuracy {
        let lost = 100.0 * (a.float - a.int8);
        return match lost {
            l if l <= 0.0 => "No accuracy lost.".into(),
            l if l <= 0.5 => format!("{l:.2} points of accuracy lost: within half a point."),
            l => format!("{l:.2} points of accuracy lost: look at the worst layers below."),
        };
    }
    let agreement = v.outputs.iter().filter_map(|o| o.agreement).min_by(f64::total_cmp);
    let sqnr = v.outputs.iter().filter_map(|o| o.sqnr_db).min_by(f64::total_cmp);
    match (agreement, sqnr) {
        (Some(a), _) => format!("The top class agrees with the float model on {:.1} % of the samples.", 100.0 * a),
        (None, Some(db)) => format!("Every output is at least {db:.1} dB above the quantization noise."),
        (None, None) => "The outputs equal those of the float model.".into(),
    }
}

/// The last characters of a name: those tell layers apart.
fn ending(name: &str, most: usize) -> String {
    let count = name.chars().count();
    if count <= most { name.to_owned() } else { format!("…{}", name.chars().skip(count - most + 1).collect::<String>()) }
}

/// Text for HTML, attributes included. Names come out of files: none of them may become markup.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && c != '\n' => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::report::{Accuracy, FloatOp, OutputQuality, PassRun};
    use super::*;

    fn report() -> Report {
        let layer = |i: usize| Layer {
            name: format!("/features/{i}/conv/Conv_output_0"),
            op: "onnx.Conv".into(),
            sqnr_db: 8.0 + i as f64,
        };
        Report {
            source: "mobile.onnx".into(),
            output: "out/<b>mobile</b>.int8.onnx".into(),
            pipeline: "calibrate{method=\"x\"}".into(),
            float_ops: vec![FloatOp { at: "%<script>".into(), why: "no integer kernel & no hope".into() }],
            passes: vec![PassRun { pass: "quantize".into(), ms: 1.5, rewrites: 7, changed: true }],
            verification: Some(Verification {
                outputs: vec![OutputQuality { name: "logits".into(), sqnr_db: Some(24.25), agreement: Some(0.9875) }],
                layers: (0..50).map(layer).collect(),
                accuracy: Some(Accuracy { samples: 500, float: 0.876, int8: 0.872 }),
                ..Verification::default()
            }),
            ..Report::default()
        }
    }

    #[test]
    fn nothing_from_a_file_becomes_markup() {
        let page = html(&report());
        assert!(!page.contains("<script>") && !page.contains("<b>mobile"));
        assert!(page.contains("%&lt;script&gt;") && page.contains("no integer kernel &amp; no hope"));
    }

    #[test]
    fn every_element_that_is_opened_is_closed() {
        let page = html(&report());
        let without = html(&Report { verification: None, ..report() });
        for tag in
            ["main", "header", "section", "table", "tbody", "tr", "td", "div", "svg", "g", "details", "dl", "p", "pre"]
        {
            for page in [&page, &without] {
                let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
                assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
            }
        }
        assert!(without.contains("not verified") && !without.contains("Outputs"));
    }

    #[test]
    fn the_page_says_what_the_report_says() {
        let page = html(&report());
        for text in ["87.20 %", "-0.40 points", "98.8 %", "24.2 dB", "the worst 40 of 50", "within half a point"] {
            assert!(page.contains(text), "{text}");
        }
    }
}
