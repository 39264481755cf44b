//! Pages about spaces: an evolution, or a comparison. Self-contained, without scripts, in the style of conversion reports.

use std::fmt::Write;

use spaceevo_search::best::Best;
use spaceevo_search::evolution::{History, Origin};
use spaceevo_search::pool::{latency, loss};
use spaceevo_search::sampled::draws;
use spaceevo_search::score::NO_SUBNET;
use spaceevo_search::{Choice, Expand, Formula, Hyperspace, Pool, Score, Tables};

use crate::convert::{STYLE, escape};

/// Points that a line of a chart is drawn with.
const POINTS: usize = 200;
/// Subnets that distributions are drawn from.
const DRAWS: usize = 20_000;
/// Lines of one chart.
const LINES: usize = 5;

/// One line of a chart.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// The page of an evolution: its history, the best spaces, the winner, and what can be reached at all.
pub fn evolution(tables: &Tables, pool: &Pool, formula: &Formula, history: &History) -> String {
    let space = &tables.hyperspace;
    let ranked = history.ranked();
    let name = ranked.first().map_or_else(|| space.name.clone(), |best| space.print_choice(&best.choice));
    let mut out = head(&format!("Evolution of {}", space.name), &name);
    let best = ranked.first().map_or(0.0, |b| b.score);
    out +=
        &format!("<p class=\"verdict\">The best of {} spaces has score {best:.4}.</p>\n</header>\n", history.entries.len());
    let curve = history.curve();
    let step = curve.len().div_ceil(POINTS).max(1);
    let line = |name: &str, points: Vec<(f64, f64)>| Line { name: name.into(), points };
    let best_so_far = curve.iter().enumerate().step_by(step).map(|(i, s)| (i as f64, *s)).collect();
    let moving = history
        .entries
        .chunks(100)
        .enumerate()
        .map(|(i, c)| (100.0 * i as f64 + 50.0, c.iter().map(|e| e.score).sum::<f64>() / c.len() as f64))
        .collect();
    section(&mut out, "History", "The best score so far, and the mean score of each hundred spaces.");
    out += &chart("spaces scored", "score", &[line("best", best_so_far), line("mean", moving)]);
    section(&mut out, "Best spaces", "With their fastest and slowest subnets in the tables.");
    let row = |(i, e): (usize, &&spaceevo_search::evolution::Individual)| {
        let (least, most) = pool.latencies(&e.choice);
        let origin = match &e.origin {
            Origin::Homogeneous => "homogeneous".into(),
            Origin::Random => "random".into(),
            Origin::Child(_, change) => change.print(space),
        };
        vec![
            (i + 1).to_string(),
            space.print_choice(&e.choice),
            format!("{:.4}", e.score),
            format!("{:.2}", least as f64 / 1e6),
            format!("{:.2}", most as f64 / 1e6),
            origin,
        ]
    };
    let rows: Vec<_> = ranked.iter().enumerate().take(50).map(row).collect();
    out += &table(&["rank", "space", "score", "fastest ms", "slowest ms", "came by"], &rows);
    if let Some(best) = ranked.first() {
        winner(&mut out, space, &best.choice);
        distributions(&mut out, space, pool, std::slice::from_ref(&best.choice));
    }
    reachable(&mut out, pool, formula);
    out + "</section>\n</main>\n</body>\n</html>\n"
}

/// The page of a comparison; the first row is the best.
pub fn comparison(tables: &Tables, pool: &Pool, formula: &Formula, rows: &[(Choice, Score)]) -> String {
    let space = &tables.hyperspace;
    let mut out = head(&format!("Spaces of {}", space.name), &format!("{} spaces compared", rows.len()));
    out += "</header>\n";
    section(&mut out, "Scores", "Mean loss of the best subnets within each limit, and how many are within it.");
    let mut heads = vec!["space".to_owned(), "blocks".into(), "score".into()];
    for limit in &formula.limits {
        let ms = f64::from(*limit) / 1e6;
        heads.extend([format!("loss at {ms} ms"), format!("within {ms} ms")]);
    }
    let row = |(choice, score): &(Choice, Score)| {
        let mut cells = vec![space.print_choice(choice), names(space, choice).join(" "), format!("{:.4}", score.score)];
        for l in &score.limits {
            let loss = if l.loss >= NO_SUBNET { "no subnet".into() } else { format!("{:.4}", l.loss) };
            cells.extend([loss, format!("{:.3} %", 100.0 * l.feasible)]);
        }
        cells
    };
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    out += &table(&heads, &rows.iter().map(row).collect::<Vec<_>>());
    let shown: Vec<Choice> = rows.iter().take(LINES).map(|r| r.0.clone()).collect();
    distributions(&mut out, space, pool, &shown);
    if let Some((best, _)) = rows.first() {
        winner(&mut out, space, best);
    }
    reachable(&mut out, pool, formula);
    out + "</section>\n</main>\n</body>\n</html>\n"
}

fn head(kind: &str, title: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{0}</title>\n<style>\n{STYLE}{LINE_STYLE}</style>\n\
         </head>\n<body>\n<main>\n<header>\n<p class=\"kind\">{1}</p>\n<h1>{0}</h1>\n",
        escape(title),
        escape(kind)
    )
}

/// How charts look.
pub(crate) const LINE_STYLE: &str = "td.whole { white-space: nowrap; }\n\
    svg path { fill: none; stroke-width: 1.8; }\n\
    .l0 { stroke: #2a78d6; } .l1 { stroke: #d6662a; } .l2 { stroke: #2f9e5b; } .l3 { stroke: #9250c4; } .l4 { stroke: #777; }\n\
    i.l0 { background: #2a78d6; } i.l1 { background: #d6662a; } i.l2 { background: #2f9e5b; } i.l3 { background: #9250c4; }\n\
    i.l4 { background: #777; }\n";

fn section(out: &mut String, title: &str, note: &str) {
    let end = if out.ends_with("</header>\n") { "" } else { "</section>\n" };
    *out += &format!("{end}<section>\n<h2>{}</h2>\n<p class=\"note\">{}</p>\n", escape(title), escape(note));
}

fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let number = |cell: &str| cell.starts_with(|c: char| c.is_ascii_digit());
    // Names of spaces have dashes, at which they must not be broken.
    let class = |i: usize| match rows.first() {
        Some(row) if number(&row[i]) => " class=\"n\"",
        Some(row) if !row[i].contains(' ') => " class=\"whole\"",
        _ => "",
    };
    let mut out = "<div class=\"scroll\"><table>\n<thead><tr>".to_owned();
    heads.iter().enumerate().for_each(|(i, h)| out += &format!("<th{}>{}</th>", class(i), escape(h)));
    out += "</tr></thead>\n<tbody>\n";
    for row in rows {
        out += "<tr>";
        row.iter().enumerate().for_each(|(i, cell)| out += &format!("<td{}>{}</td>", class(i), escape(cell)));
        out += "</tr>\n";
    }
    out + "</tbody></table></div>\n"
}

fn names(space: &Hyperspace, choice: &Choice) -> Vec<String> {
    space.stages.iter().zip(&choice.blocks).map(|(s, &b)| s.blocks[usize::from(b)].name.clone()).collect()
}

/// The space as a table: what each stage can be.
fn winner(out: &mut String, space: &Hyperspace, choice: &Choice) {
    section(out, &space.print_choice(choice), &format!("{:.2e} subnets for each resolution.", space.subnets(choice)));
    let list = |values: Vec<String>| values.join(", ");
    let row = |(s, stage): (usize, &spaceevo_search::Stage)| {
        let block = &stage.blocks[usize::from(choice.blocks[s])];
        vec![
            stage.name.clone(),
            block.name.clone(),
            list(stage.window(usize::from(choice.windows[s])).iter().map(u32::to_string).collect()),
            list(block.kernels.iter().map(u32::to_string).collect()),
            list(block.expands.iter().map(Expand::to_string).collect()),
            format!("{} to {}", stage.depths.0, stage.depths.1),
            stage.stride.to_string(),
        ]
    };
    let rows: Vec<_> = space.stages.iter().enumerate().map(row).collect();
    *out += &table(&["stage", "block", "widths", "kernels", "expansions", "blocks", "stride"], &rows);
}

/// Cumulative distributions of latency and loss.
fn distributions(out: &mut String, space: &Hyperspace, pool: &Pool, choices: &[Choice]) {
    let drawn: Vec<(String, Vec<u64>)> = choices.iter().map(|c| (space.print_choice(c), draws(pool, c, DRAWS, 0))).collect();
    for (title, axis, value) in [("Latency", "ms", latency as fn(u64) -> u32), ("Loss", "loss", loss)] {
        section(out, title, &format!("Share of {DRAWS} random subnets at or below a value."));
        let line = |(name, pairs): &(String, Vec<u64>)| {
            let mut values: Vec<u32> = pairs.iter().map(|&p| value(p)).collect();
            values.sort_unstable();
            let point = |i: usize| {
                let at = i * (values.len() - 1) / POINTS;
                (f64::from(values[at]) / 1e6, (at + 1) as f64 / values.len() as f64)
            };
            Line { name: name.clone(), points: (0..=POINTS).map(point).collect() }
        };
        *out += &chart(axis, "share", &drawn.iter().map(line).collect::<Vec<_>>());
    }
}

/// The best loss that any subnet of the hyperspace has, over latency.
fn reachable(out: &mut String, pool: &Pool, formula: &Formula) {
    let best = Best::new(pool);
    let limits: Vec<String> = formula.limits.iter().map(|&l| format!("{} ms", f64::from(l) / 1e6)).collect();
    section(
        out,
        "Best subnets of all spaces",
        &format!("The least loss within each latency, exactly. Limits of the score: {}.", limits.join(", ")),
    );
    let mut lines: Vec<Line> =
        pool.resolutions.iter().map(|r| Line { name: format!("{r} pixels"), points: Vec::new() }).collect();
    for found in best.curve(POINTS) {
        for at in best.by_resolution(found.latency) {
            if let Some(i) = pool.resolutions.iter().position(|&r| r == at.resolution) {
                lines[i].points.push((at.latency as f64 / 1e6, at.loss as f64 / 1e6));
            }
        }
    }
    *out += &chart("ms", "loss", &lines);
}

/// Lines over two axes with round numbers.
pub(crate) fn chart(x_name: &str, y_name: &str, lines: &[Line]) -> String {
    const WIDTH: f64 = 860.0;
    const HEIGHT: f64 = 300.0;
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
    let y = |v: f64| HEIGHT - BOTTOM - (v - y0) / (y1 - y0) * (HEIGHT - BOTTOM - 14.0);
    let mut out = format!(
        "<div class=\"scroll\"><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{} over {}\">\n",
        escape(y_name),
        escape(x_name)
    );
    // Writing to a string cannot fail.
    for tick in ticks(x0, x1) {
        let at = x(tick);
        let _ = write!(out, "<line class=\"grid\" x1=\"{at:.1}\" y1=\"8\" x2=\"{at:.1}\" y2=\"{:.1}\"/>", HEIGHT - BOTTOM);
        let _ = writeln!(out, "<text class=\"axis\" x=\"{at:.1}\" y=\"{:.1}\">{}</text>", HEIGHT - 16.0, shown(tick));
    }
    for tick in ticks(y0, y1) {
        let at = y(tick);
        let _ = write!(out, "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{:.1}\" y2=\"{at:.1}\"/>", WIDTH - 16.0);
        let _ = writeln!(out, "<text class=\"label\" x=\"{:.1}\" y=\"{:.1}\">{}</text>", LEFT - 6.0, at + 4.0, shown(tick));
    }
    let _ =
        writeln!(out, "<text class=\"label\" x=\"{:.1}\" y=\"{:.1}\">{}</text>", WIDTH - 16.0, HEIGHT - 2.0, escape(x_name));
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
