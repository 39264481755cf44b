//! Searches on networks that were all trained: how far from the optimum they end, by budget.

use std::path::Path;
use std::time::Instant;

use spaceevo_search::nas_bench_macro::{Benchmark, Method};

const SEEDS: u64 = 100;

/// Prints the mean regret over seeds, and the optimum under limits.
pub(crate) fn report(path: &Path) {
    let Ok(text) = std::fs::read_to_string(path) else {
        println!("nas-bench-macro: not at {}", path.display());
        return;
    };
    let all = Benchmark::parse(&text).expect("published");
    let start = Instant::now();
    let best = all.best(u64::MAX).expect("not empty");
    let network = all.network(best);
    println!(
        "nas-bench-macro: the optimum is {} with {:.3} %, found in {:.3} ms",
        Benchmark::name(best),
        network.accuracy,
        start.elapsed().as_secs_f64() * 1e3
    );
    println!("nas-bench-macro: mean regret in points over {SEEDS} seeds (share of seeds that reach the optimum)");
    for macs in [u64::MAX, 60_000_000] {
        let Some(best) = all.best(macs) else { continue };
        let optimum = all.network(best).accuracy;
        let limit = if macs == u64::MAX { "any MACs".to_owned() } else { format!("{} MMACs", macs / 1_000_000) };
        println!("nas-bench-macro: {limit}: optimum {} {optimum:.3} %", Benchmark::name(best));
        println!("nas-bench-macro: budget    random              regularized         spaces' evolution");
        let methods = [Method::Random, Method::Regularized, Method::Spaces];
        let curves = methods.map(|m| (0..SEEDS).map(|seed| all.search(m, 1000, macs, seed)).collect::<Vec<_>>());
        for budget in [50, 100, 200, 400, 1000] {
            let cell = |curves: &Vec<Vec<f64>>| {
                let ends: Vec<f64> = curves.iter().filter_map(|c| c.get(budget.min(c.len()) - 1).copied()).collect();
                let regret = ends.iter().map(|e| optimum - e).sum::<f64>() / ends.len() as f64;
                let reached = ends.iter().filter(|e| **e >= optimum).count();
                format!("{regret:.3} ({reached:3} %)")
            };
            let cells: Vec<String> = curves.iter().map(|c| format!("{:18}", cell(c))).collect();
            println!("nas-bench-macro: {budget:6}    {}", cells.join("  "));
        }
    }
}
