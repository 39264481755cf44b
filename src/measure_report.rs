//! A measurement as one HTML page: intervals of models, and where their time goes. Self-contained, without scripts.

use std::fmt::Write;

use spaceevo_cost::measure::report::{Line, Measured, Report, Shares};

use crate::convert::{STYLE, escape};

const WIDTH: f64 = 860.0;
const LABEL: f64 = 270.0;
const ROW: f64 = 22.0;
/// Kernels in the chart of a profile.
const BARS: usize = 40;

const OWN_STYLE: &str = "td.n { white-space: nowrap; } th, td { padding-right: 18px; }\n\
    .whisker { stroke: var(--accent); stroke-width: 2; } circle { fill: var(--accent); }\n\
    rect.op { fill: var(--accent); } rect.layout { fill: var(--fair); } rect.conversion { fill: var(--poor); } rect.other { fill: var(--soft); }\n\
    i.op { background: var(--accent); } i.layout { background: var(--fair); } i.conversion { background: var(--poor); } i.other { background: var(--soft); }\n";

/// The page.
pub fn page(report: &Report) -> String {
    let title = match &report.models[..] {
        [one] => one.name.clone(),
        models => format!("{} models", models.len()),
    };
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{0}</title>\n\
         <style>\n{STYLE}{OWN_STYLE}</style>\n</head>\n<body>\n<main>\n<header>\n<p class=\"kind\">Measurement</p>\n<h1>{0}</h1>\n",
        escape(&title)
    );
    if let (Some(comparison), [first, second]) = (&report.comparison, &report.models[..]) {
        let said = match comparison.verdict {
            "no difference shown" => format!("No difference shown between {} and {}", first.name, second.name),
            verdict => format!("{} is {verdict} than {}", first.name, second.name),
        };
        let _ = writeln!(
            out,
            "<p class=\"verdict\">{}: {:.3} of its time, between {:.3} and {:.3}.</p>",
            escape(&said),
            comparison.ratio.median,
            comparison.ratio.low,
            comparison.ratio.high
        );
    }
    let _ = writeln!(
        out,
        "<p class=\"note\">{} {} on {}; {} thread{}, {:.0} % confidence.</p>",
        escape(&report.runtime),
        escape(&report.version),
        escape(&report.machine),
        report.threads,
        if report.threads == 1 { "" } else { "s" },
        100.0 * report.confidence
    );
    for sign in &report.disturbed {
        let _ = writeln!(out, "<pre class=\"warning\">The machine was not quiet: {}</pre>", escape(sign));
    }
    out += "</header>\n<section>\n<h2>Time of a run</h2>\n<p class=\"note\">Medians with their intervals, and every round as a \
            faint dot.</p>\n";
    times(&mut out, &report.models);
    table(&mut out, &report.models);
    out += "</section>\n";
    for model in &report.models {
        if let Some(shares) = &model.profile {
            profile(&mut out, &model.name, shares);
        }
    }
    out + "</main>\n</body>\n</html>\n"
}

/// Whiskers over one axis, from 0 so that lengths can be compared.
fn times(out: &mut String, models: &[Measured]) {
    let ninth = |samples: &[f64]| {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted.get(sorted.len() * 9 / 10).copied().unwrap_or(0.0)
    };
    let most = models.iter().map(|m| m.time.high.max(ninth(&m.samples))).fold(1.0, f64::max) * 1.05;
    let x = |nanos: f64| LABEL + (WIDTH - LABEL - 20.0) * (nanos / most).min(1.0);
    let height = models.len() as f64 * ROW + 26.0;
    let _ = writeln!(
        out,
        "<div class=\"scroll\"><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"time of a run in milliseconds\">"
    );
    let step = step(most / 1e6);
    for tick in (0..).map(|i| f64::from(i) * step).take_while(|tick| *tick * 1e6 <= most) {
        let at = x(tick * 1e6);
        let _ = write!(out, "<line class=\"grid\" x1=\"{at:.1}\" y1=\"0\" x2=\"{at:.1}\" y2=\"{:.0}\"/>", height - 22.0);
        let _ = writeln!(out, "<text class=\"axis\" x=\"{at:.1}\" y=\"{:.0}\">{} ms</text>", height - 6.0, short(tick));
    }
    for (row, model) in models.iter().enumerate() {
        let middle = row as f64 * ROW + ROW / 2.0;
        let time = &model.time;
        let _ = write!(
            out,
            "<g><title>{}: {:.4} ms, between {:.4} and {:.4}</title><text class=\"label\" x=\"{}\" y=\"{:.1}\">{}</text>",
            escape(&model.name),
            time.median / 1e6,
            time.low / 1e6,
            time.high / 1e6,
            LABEL - 8.0,
            middle + 4.0,
            escape(&ending(&model.name))
        );
        for sample in model.samples.iter().take(300) {
            let _ = write!(out, "<circle cx=\"{:.1}\" cy=\"{middle:.1}\" r=\"2\" opacity=\".15\"/>", x(*sample));
        }
        let _ = writeln!(
            out,
            "<line class=\"whisker\" x1=\"{:.1}\" y1=\"{middle:.1}\" x2=\"{:.1}\" y2=\"{middle:.1}\"/><circle cx=\"{:.1}\" cy=\"{middle:.1}\" r=\"4\"/></g>",
            x(time.low),
            x(time.high),
            x(time.median)
        );
    }
    *out += "</svg></div>\n";
}

fn table(out: &mut String, models: &[Measured]) {
    *out += "<div class=\"scroll\"><table>\n<thead><tr><th>model</th><th class=\"n\">time</th><th class=\"n\">interval</th>\
             <th class=\"n\">wall</th><th class=\"n\">to the reference</th><th class=\"n\">rounds</th></tr></thead>\n<tbody>\n";
    for m in models {
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td class=\"n\">{:.4} ms</td><td class=\"n\">{:.4} to {:.4}</td><td class=\"n\">{:.4} ms</td>\
             <td class=\"n\">{:.3} ±{:.1} %{}</td><td class=\"n\">{}</td></tr>",
            escape(&m.name),
            m.time.median / 1e6,
            m.time.low / 1e6,
            m.time.high / 1e6,
            m.wall / 1e6,
            m.ratio.median,
            100.0 * m.ratio.half_width(),
            if m.sure { "" } else { ", not sure" },
            m.rounds
        );
    }
    *out += "</tbody></table></div>\n";
}

/// Bars of the slowest kernels in the order in which they ran, coloured by what they are there for.
fn profile(out: &mut String, name: &str, shares: &Shares) {
    let percent = |micros: f64| 100.0 * micros / shares.micros.max(1e-9);
    let [layout, conversion, other] = shares.inserted;
    let mut slowest: Vec<usize> = (0..shares.kernels.len()).collect();
    slowest.sort_by(|&a, &b| shares.kernels[b].micros.total_cmp(&shares.kernels[a].micros));
    slowest.truncate(BARS);
    slowest.sort_unstable();
    let _ = writeln!(
        out,
        "<section>\n<h2>Where the time of {} goes</h2>\n<p class=\"note\">{} kernels take {:.0} us ({:.0} us for a whole run while \
         it is traced). The runtime inserted changes of layout ({:.1} %), conversions ({:.1} %) and other kernels ({:.1} %), and \
         computed {} ops beforehand. Shown: the slowest {}, in the order in which they run.</p>",
        escape(name),
        shares.kernels.len(),
        shares.micros,
        shares.traced,
        percent(layout),
        percent(conversion),
        percent(other),
        shares.folded,
        slowest.len()
    );
    let most = slowest.iter().map(|&at| shares.kernels[at].micros).fold(1e-9, f64::max);
    let height = slowest.len() as f64 * ROW + 4.0;
    let _ = writeln!(
        out,
        "<div class=\"scroll\"><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"microseconds by kernel\">"
    );
    for (row, &at) in slowest.iter().enumerate() {
        let kernel = &shares.kernels[at];
        let top = row as f64 * ROW;
        let label = fused(kernel);
        let length = (WIDTH - LABEL - 80.0) * kernel.micros / most;
        let _ = writeln!(
            out,
            "<g><title>{}: {} ({:.2} us)</title><text class=\"label\" x=\"{}\" y=\"{:.1}\">{}</text>\
             <rect class=\"{}\" x=\"{LABEL}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"2\"/>\
             <text class=\"value\" x=\"{:.1}\" y=\"{:.1}\">{:.1} us</text></g>",
            escape(&kernel.operator),
            escape(&kernel.ops.join(" + ")),
            kernel.micros,
            LABEL - 8.0,
            top + 15.0,
            escape(&ending(&label)),
            kernel.role,
            top + 3.0,
            length.max(1.0),
            ROW - 6.0,
            LABEL + length + 5.0,
            top + 15.0,
            kernel.micros
        );
    }
    *out += "</svg></div>\n<p class=\"legend\"><i class=\"op\"></i>ops of the model <i class=\"layout\"></i>layout \
             <i class=\"conversion\"></i>conversion <i class=\"other\"></i>other</p>\n";
    *out += "<div class=\"scroll\"><table>\n<thead><tr><th>operator of the runtime</th><th class=\"n\">kernels</th>\
             <th class=\"n\">us</th><th class=\"n\">share</th></tr></thead>\n<tbody>\n";
    for (operator, count, micros) in &shares.operators {
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td class=\"n\">{count}</td><td class=\"n\">{micros:.1}</td><td class=\"n\">{:.1} %</td></tr>",
            escape(operator),
            percent(*micros)
        );
    }
    *out += "</tbody></table></div>\n<details><summary>Stretches of integers and floats</summary>\n<div class=\"scroll\"><table>\n\
             <thead><tr><th>numbers</th><th>from</th><th class=\"n\">kernels</th><th class=\"n\">us</th></tr></thead>\n<tbody>\n";
    for (numbers, first, count, micros) in &shares.stretches {
        let _ = writeln!(
            out,
            "<tr><td>{numbers}</td><td>{}</td><td class=\"n\">{count}</td><td class=\"n\">{micros:.1}</td></tr>",
            escape(first)
        );
    }
    *out += "</tbody></table></div></details>\n</section>\n";
}

/// `Conv+Relu %y`: what a kernel computes, and what it makes.
fn fused(kernel: &Line) -> String {
    let parts: Vec<(&str, &str)> = kernel.ops.iter().filter_map(|op| op.split_once(' ')).collect();
    let Some((_, made)) = parts.last() else { return kernel.operator.clone() };
    format!("{} {made}", parts.iter().map(|(op, _)| *op).collect::<Vec<_>>().join("+"))
}

/// The end of a long name, which tells more than its beginning.
fn ending(name: &str) -> String {
    let count = name.chars().count();
    if count <= 38 { name.to_owned() } else { format!("…{}", name.chars().skip(count - 37).collect::<String>()) }
}

/// A round number that divides a range into three to seven parts.
fn step(range: f64) -> f64 {
    let rough = range / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|f| f * power).into_iter().find(|step| *step >= rough).unwrap_or(rough)
}

/// A tick without digits that say nothing.
fn short(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use spaceevo_cost::measure::report::Comparison;
    use spaceevo_cost::measure::statistics::Estimate;

    fn measured(name: &str, ms: f64) -> Measured {
        let time = Estimate { median: 1e6 * ms, low: 0.99e6 * ms, high: 1.01e6 * ms };
        Measured {
            name: name.into(),
            hash: "0".into(),
            time,
            wall: time.median,
            cpu: time.median,
            ratio: Estimate { median: ms, low: 0.98 * ms, high: 1.02 * ms },
            rounds: 2,
            seconds: 0.1,
            sure: true,
            samples: vec![time.low, time.high],
            profile: None,
        }
    }

    #[test]
    fn a_page_shows_every_model_and_names_are_escaped() {
        let line = Line { operator: "onnx.Conv".into(), role: "layout", ops: vec!["Conv %a<b".into()], micros: 3.0 };
        let shares = Shares {
            micros: 3.0,
            traced: 5.0,
            operators: vec![("onnx.Conv".into(), 1, 3.0)],
            inserted: [3.0, 0.0, 0.0],
            stretches: vec![("float", "Conv %a<b".into(), 1, 3.0)],
            folded: 0,
            kernels: vec![line],
        };
        let (first, second) = (measured("a&b.onnx", 1.0), Measured { profile: Some(shares), ..measured("c.onnx", 2.0) });
        let report = Report {
            machine: "a processor".into(),
            int8_dot: true,
            runtime: "tract".into(),
            version: "1".into(),
            threads: 1,
            processor: None,
            half_width: 0.02,
            confidence: 0.95,
            disturbed: vec!["x < y".into()],
            noise: None,
            comparison: Some(Comparison::of(Estimate { median: 0.5, low: 0.49, high: 0.51 }, 0.01)),
            models: vec![first, second],
        };
        let page = page(&report);
        assert!(page.contains("a&amp;b.onnx is faster than c.onnx: 0.500 of its time, between 0.490 and 0.510"), "{page}");
        assert!(page.contains("x &lt; y") && page.contains("Conv %a&lt;b") && page.contains("<rect class=\"layout\""));
        let both = Line { operator: "o".into(), role: "op", ops: vec!["Conv %c".into(), "Relu %y".into()], micros: 1.0 };
        assert_eq!(fused(&both), "Conv+Relu %y");
        assert!(!page.contains("%a<b") && !page.contains("<script"));
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert_eq!(page.matches("<section").count(), page.matches("</section>").count());
    }
}
