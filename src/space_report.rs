//! Pages about spaces: an evolution, a comparison, or a search. Self-contained, without scripts, in the style of conversion reports.

use spaceevo_search::best::{Best, Described};
use spaceevo_search::evolution::{History, Origin};
use spaceevo_search::pool::{latency, loss};
use spaceevo_search::sampled::draws;
use spaceevo_search::score::NO_SUBNET;
use spaceevo_search::{Choice, Expand, Formula, Hyperspace, Pool, Score, Tables};

use crate::convert::{STYLE, escape};
use crate::line_chart::{LINE_STYLE, LINES, Line, chart};

/// Points that a line of a chart is drawn with.
const POINTS: usize = 200;
/// Subnets that distributions are drawn from.
const DRAWS: usize = 20_000;
/// The page of an evolution: its history, the best spaces, the winner, and what can be reached at all.
pub fn evolution(tables: &Tables, pool: &Pool, formula: &Formula, history: &History) -> String {
    let space = &tables.hyperspace;
    let ranked = history.ranked();
    let name = ranked.first().map_or_else(|| space.name.clone(), |best| space.print_choice(&best.choice));
    let mut out = head(&format!("Evolution of {}", space.name), &name);
    let best = ranked.first().map_or(0.0, |b| b.score);
    out += &format!(
        "<p class=\"verdict\">The best of {} spaces has score {best:.4} ({}).</p>\n</header>\n",
        history.entries.len(),
        limits(&formula.limits)
    );
    let curve = history.curve();
    let step = curve.len().div_ceil(POINTS).max(1);
    let line = |name: &str, points: Vec<(f64, f64)>| Line { name: name.into(), points };
    let best_so_far = curve.iter().enumerate().step_by(step).map(|(i, s)| (i as f64 + 1.0, *s)).collect();
    let moving = history
        .entries
        .chunks(100)
        .enumerate()
        .map(|(i, c)| (100.0 * i as f64 + 50.0, c.iter().map(|e| e.score).sum::<f64>() / c.len() as f64))
        .collect();
    section(&mut out, "History", "The best score so far, and the mean score of each hundred spaces.");
    out += &chart("spaces scored", "score", &[line("best", best_so_far), line("mean", moving)], &[]);
    if let Some(best) = ranked.first() {
        winner(&mut out, space, &best.choice);
        distributions(&mut out, space, pool, formula, std::slice::from_ref(&best.choice));
    }
    reachable(&mut out, pool, &formula.limits);
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
        let mut cells = vec![space.print_choice(choice), space.block_names(choice), format!("{:.4}", score.score)];
        for l in &score.limits {
            let loss = if l.loss >= NO_SUBNET { "no subnet".into() } else { format!("{:.4}", l.loss) };
            cells.extend([loss, format!("{:.3} %", 100.0 * l.feasible)]);
        }
        cells
    };
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    out += &table(&heads, &rows.iter().map(row).collect::<Vec<_>>());
    let shown: Vec<Choice> = rows.iter().take(LINES).map(|r| r.0.clone()).collect();
    distributions(&mut out, space, pool, formula, &shown);
    if let Some((best, _)) = rows.first() {
        winner(&mut out, space, best);
    }
    reachable(&mut out, pool, &formula.limits);
    out + "</section>\n</main>\n</body>\n</html>\n"
}

/// The page of a search: the best subnet, what is claimed of it, and what other limits would give.
pub fn search(tables: &Tables, pool: &Pool, limit: u32, found: &Described, claim: &str, curve: &[Described]) -> String {
    let space = &tables.hyperspace;
    let mut out =
        head(&format!("Best subnet of {}", space.name), &format!("{} at {} pixels", found.space, found.resolution));
    let verdict = format!("Loss {:.4} in {:.3} ms: {claim}.", found.loss, found.latency_ms);
    out += &format!("<p class=\"verdict\">{}</p>\n</header>\n", escape(&verdict));
    let note = format!("{:.1} million MACs and {:.2} million parameters in them.", found.mmacs, found.mparams);
    section(&mut out, "Searched stages", &note);
    let row = |(stage, text): (&spaceevo_search::Stage, &String)| {
        let (block, blocks) = text.split_once(' ').unwrap_or((text, ""));
        vec![stage.name.clone(), block.to_owned(), blocks.split('_').collect::<Vec<_>>().join(", ")]
    };
    let rows: Vec<_> = space.stages.iter().zip(&found.stages).map(row).collect();
    out += &table(&["stage", "block", "kernel#width#expansion of each block"], &rows);
    reachable(&mut out, pool, &[limit]);
    if !curve.is_empty() {
        section(&mut out, "Other limits", "The best subnet of all spaces for limits from the fastest subnet to the best.");
        let row = |d: &Described| {
            let numbers = [format!("{:.3}", d.latency_ms), format!("{:.4}", d.loss), d.resolution.to_string()];
            let rest = [format!("{:.1}", d.mmacs), format!("{:.2}", d.mparams), d.space.clone()];
            numbers.into_iter().chain(rest).collect::<Vec<_>>()
        };
        let heads = ["ms", "loss", "pixels", "million MACs", "million parameters", "space"];
        out += &table(&heads, &curve.iter().map(row).collect::<Vec<_>>());
    }
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

fn section(out: &mut String, title: &str, note: &str) {
    let end = if out.ends_with("</header>\n") { "" } else { "</section>\n" };
    *out += &format!("{end}<section>\n<h2>{}</h2>\n<p class=\"note\">{}</p>\n", escape(title), escape(note));
}

fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    // A number may have a unit behind it; a list of numbers is none.
    let number = |cell: &str| cell.trim_end_matches(" %").parse::<f64>().is_ok();
    // Names of spaces have dashes, at which they must not be broken.
    let class = |i: usize| match rows.first() {
        Some(row) if number(&row[i]) => " class=\"n\"",
        _ => " class=\"whole\"",
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
fn distributions(out: &mut String, space: &Hyperspace, pool: &Pool, formula: &Formula, choices: &[Choice]) {
    let drawn: Vec<(String, Vec<u64>)> = choices.iter().map(|c| (space.print_choice(c), draws(pool, c, DRAWS, 0))).collect();
    let marks = milliseconds(&formula.limits);
    let within = format!(" Limits: {}.", limits(&formula.limits));
    for (title, axis, value, marks, more) in
        [("Latency", "ms", latency as fn(u64) -> u32, &marks[..], &within[..]), ("Loss", "loss", loss, &[], "")]
    {
        section(out, title, &format!("Share of {DRAWS} random subnets at or below a value.{more}"));
        let line = |(name, pairs): &(String, Vec<u64>)| {
            let mut values: Vec<u32> = pairs.iter().map(|&p| value(p)).collect();
            values.sort_unstable();
            let point = |i: usize| {
                let at = i * (values.len() - 1) / POINTS;
                (f64::from(values[at]) / 1e6, (at + 1) as f64 / values.len() as f64)
            };
            Line { name: name.clone(), points: (0..=POINTS).map(point).collect() }
        };
        *out += &chart(axis, "share", &drawn.iter().map(line).collect::<Vec<_>>(), marks);
    }
}

/// Limits in milliseconds.
fn milliseconds(limits: &[u32]) -> Vec<f64> {
    limits.iter().map(|&l| f64::from(l) / 1e6).collect()
}

fn limits(all: &[u32]) -> String {
    milliseconds(all).iter().map(|ms| format!("{ms} ms")).collect::<Vec<_>>().join(", ")
}

/// The best loss that any subnet of the hyperspace has, over latency.
fn reachable(out: &mut String, pool: &Pool, asked: &[u32]) {
    let best = Best::new(pool);
    let note = format!("The least loss within each latency, exactly. Limits: {}.", limits(asked));
    section(out, "Best subnets of all spaces", &note);
    let mut lines: Vec<Line> =
        pool.resolutions.iter().map(|r| Line { name: format!("{r} pixels"), points: Vec::new() }).collect();
    for found in best.curve(POINTS) {
        for at in best.by_resolution(found.latency) {
            if let Some(i) = pool.resolutions.iter().position(|&r| r == at.resolution) {
                lines[i].points.push((at.latency as f64 / 1e6, at.loss as f64 / 1e6));
            }
        }
    }
    *out += &chart("ms", "loss", &lines, &milliseconds(asked));
}
