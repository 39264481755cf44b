//! Measurements on one screen.

use spaceevo::cost::measure::report::{Report, Shares};
use spaceevo::cost::measure::statistics::Estimate;
use spaceevo::measure::SelfTest;

/// Kernels and operators that are shown.
const SHOWN: usize = 12;

/// A time in the unit that suits it: `1.234 ms ±0.8 %`.
pub(crate) fn micros(time: &Estimate) -> String {
    let (number, unit) = if time.median < 1e6 { (time.median / 1e3, "us") } else { (time.median / 1e6, "ms") };
    format!("{number:.3} {unit} ±{:.1} %", 100.0 * time.half_width())
}

/// A report.
pub(crate) fn report(report: &Report, as_json: bool) -> String {
    if as_json {
        return serde_json::to_string_pretty(report).unwrap_or_default();
    }
    let mut lines = vec![
        format!("{} {} on {}", report.runtime, report.version, report.machine),
        format!(
            "{} thread{}{}, {:.0} % confidence{}{}",
            report.threads,
            if report.threads == 1 { "" } else { "s" },
            report.processor.map_or(String::new(), |cpu| format!(" on processor {cpu}")),
            100.0 * report.confidence,
            if report.int8_dot { "" } else { "; no instruction for INT8 dot products" },
            report.noise.as_ref().map_or(String::new(), |noise| format!(
                "; one network against itself: {:+.1} % ±{:.1} %",
                100.0 * (noise.median - 1.0),
                100.0 * noise.half_width()
            )),
        ),
        String::new(),
        format!("{:<34} {:>20} {:>18} {:>10} {:>10}", "model", "time of a run", "to the reference", "wall", "rounds"),
    ];
    for model in &report.models {
        lines.push(format!(
            "{:<34} {:>20} {:>18} {:>7.3} ms {:>4} in {:.1} s{}",
            model.name,
            micros(&model.time),
            format!("{:.3} ±{:.1} %", model.ratio.median, 100.0 * model.ratio.half_width()),
            model.wall / 1e6,
            model.rounds,
            model.seconds,
            if model.sure { "" } else { "  not sure" },
        ));
    }
    if let (Some(comparison), [first, second]) = (&report.comparison, &report.models[..]) {
        let ratio = &comparison.ratio;
        lines.push(String::new());
        lines.push(match comparison.verdict {
            "faster" => format!("{} is faster than {}: {:.3} times as fast", first.name, second.name, 1.0 / ratio.median),
            "slower" => format!("{} is slower than {}: it takes {:.3} times as long", first.name, second.name, ratio.median),
            _ => format!("no difference shown between {} and {}", first.name, second.name),
        });
        lines.push(format!(
            "  time of the first over the second: {:.4}, with {:.0} % confidence between {:.4} and {:.4}; up to {:.1} % shows nothing",
            ratio.median,
            100.0 * report.confidence,
            ratio.low,
            ratio.high,
            100.0 * comparison.floor
        ));
    }
    for model in &report.models {
        if let Some(shares) = &model.profile {
            lines.push(String::new());
            lines.extend(profile(&model.name, shares));
        }
    }
    if !report.disturbed.is_empty() {
        lines.push(String::new());
        lines.push("this machine was not quiet; trust ratios more than times, and neither much:".into());
        lines.extend(report.disturbed.iter().map(|sign| format!("  {sign}")));
    }
    lines.join("\n")
}

fn profile(name: &str, shares: &Shares) -> Vec<String> {
    let percent = |micros: f64| 100.0 * micros / shares.micros.max(1e-9);
    let [layout, conversion, other] = shares.inserted;
    let mut lines = vec![
        format!(
            "{name}: {} kernels, {:.0} us; {} ops computed beforehand",
            shares.kernels.len(),
            shares.micros,
            shares.folded
        ),
        format!(
            "  inserted by the runtime: layout {layout:.0} us ({:.0} %), conversions {conversion:.0} us ({:.0} %), other {other:.0} us",
            percent(layout),
            percent(conversion)
        ),
    ];
    for (operator, count, micros) in shares.operators.iter().take(SHOWN) {
        lines.push(format!("  {micros:>8.0} us {:>3.0} %  {count:>3} x {operator}", percent(*micros)));
    }
    let mut kernels: Vec<_> = shares.kernels.iter().collect();
    kernels.sort_by(|a, b| b.micros.total_cmp(&a.micros));
    lines.push("  slowest kernels:".into());
    for kernel in kernels.into_iter().take(SHOWN / 2) {
        let ops = if kernel.ops.is_empty() { format!("(inserted: {})", kernel.role) } else { kernel.ops.join(" + ") };
        lines.push(format!("  {:>8.1} us {:>3.0} %  {}: {ops}", kernel.micros, percent(kernel.micros), kernel.operator));
    }
    let sum = |word: &str| {
        let of: Vec<f64> = shares.stretches.iter().filter(|s| s.0 == word).map(|s| s.3).collect();
        format!("{} {word} ({:.0} us)", of.len(), of.iter().fold(0.0, |sum, micros| sum + micros))
    };
    lines.push(format!("  stretches: {}, {}, {}", sum("integer"), sum("float"), sum("border")));
    lines
}

/// A/A trials.
pub(crate) fn self_test(tests: &[SelfTest], as_json: bool) -> String {
    if as_json {
        return serde_json::to_string_pretty(tests).unwrap_or_default();
    }
    let mut lines = Vec::new();
    for test in tests {
        let (with, without) = (&test.summary, &test.without_floor);
        let share = |count: usize| 100.0 * count as f64 / with.trials.max(1) as f64;
        lines.push(format!("{} against itself, on {}", test.name, test.machine));
        lines.push(format!(
            "  {} trials: {} said faster ({:.1} %), {} slower ({:.1} %), {} did not become sure",
            with.trials,
            with.faster,
            share(with.faster),
            with.slower,
            share(with.slower),
            with.unsure
        ));
        lines.push(format!(
            "  without a floor of {:.1} %: {} faster, {} slower",
            100.0 * test.floor,
            without.faster,
            without.slower
        ));
        lines.push(format!(
            "  half-width {:.2} % in {:.2} s (medians); 95 % of the ratios lie within {:.2} % of 1: a floor that fits",
            100.0 * with.half_width,
            with.seconds,
            100.0 * with.floor
        ));
        lines.extend(test.disturbed.iter().map(|sign| format!("  not quiet: {sign}")));
    }
    lines.join("\n")
}
