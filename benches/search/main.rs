//! `cargo bench -p spaceevo-search`: what scoring and searching cost, beside the published implementation's own figures.
//!
//! Needs the published tables (SPACEEVO_DATA, default ../shared/data). RAYON_NUM_THREADS=1 measures one thread. A word picks one part:
//! `cargo bench -p spaceevo-search --bench search -- rank`.

#[path = "../../passes/search/tests/kit/mod.rs"]
mod kit;
mod nas_bench_macro;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use kit::onnxw;
use spaceevo_search::best::Best;
use spaceevo_search::best_space::best_space;
use spaceevo_search::block_cache::BlockCache;
use spaceevo_search::certificate::certify;
use spaceevo_search::check::{check, check_space};
use spaceevo_search::evolution::{History, Settings, evolve};
use spaceevo_search::exact::{Exact, Precision};
use spaceevo_search::rank::rank;
use spaceevo_search::recover::recover;
use spaceevo_search::sampled::{self, Sampling};
use spaceevo_search::share::share;
use spaceevo_search::space_certificate::certify_space;
use spaceevo_search::subnet;
use spaceevo_search::{Choice, Formula, Pool, Subnet, Tables, Terms};

/// The fastest of several runs, in seconds; what disturbs a run only ever makes it slower.
fn fastest<T>(runs: usize, mut run: impl FnMut() -> T) -> f64 {
    let time = |_| {
        let start = Instant::now();
        std::hint::black_box(run());
        start.elapsed().as_secs_f64()
    };
    (0..runs).map(time).fold(f64::INFINITY, f64::min)
}

fn formula(limits: &[u32]) -> Formula {
    Formula { limits: limits.iter().map(|ms| ms * 1_000_000).collect(), ..Formula::default() }
}

fn main() {
    let word = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    let asked = |part: &str| word.as_deref().is_none_or(|w| w == part);
    let data = std::env::var("SPACEEVO_DATA")
        .map_or_else(|_| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")), PathBuf::from);
    let path = data.join("nas/spaceevo_block_lut_onnx_vnni.tar.gz");
    let space = onnxw();
    let start = Instant::now();
    let Ok(sources) = Tables::gather(&path, &space) else {
        println!("no tables at {}: nothing to measure", path.display());
        return;
    };
    let decompressed = start.elapsed().as_secs_f64() * 1e3;
    println!("{} threads", rayon::current_num_threads());
    let tables = Tables::parse(&sources, &space).expect("published tables");
    if asked("tables") {
        let parsed = fastest(9, || Tables::parse(&sources, &space)) * 1e3;
        println!("tables: {} rows parsed in {parsed:.1} ms, decompressed before in {decompressed:.1} ms", tables.rows());
        let bytes = tables.to_bytes();
        let read = fastest(5, || Tables::from_bytes(&bytes, "bench", &space)) * 1e3;
        println!("tables: {:.1} MB as binary, read in {read:.1} ms", bytes.len() as f64 / 1e6);
        let start = Instant::now();
        let (blocks, _) = recover(&tables).expect("published tables");
        let (known, seconds) = (blocks.known.len(), start.elapsed().as_secs_f64());
        println!("tables: {known} block latencies recovered in {seconds:.1} s, residual {:.6} ms", blocks.residual);
    }
    let terms = Terms { fixed: vec![(160, 1_750_000), (192, 2_240_000), (224, 2_800_000)], ..Terms::default() };
    let pool = Pool::new(&tables, terms).expect("published tables");
    let published = space.parse_choice("onnxw-151122-023231").expect("published");
    let large = space.parse_choice("onnxw-121122-133333").expect("published");
    if asked("sampled") {
        let many = Formula { draws: 10_000_000, ..formula(&[10]) };
        let rate = 1e7 / fastest(5, || sampled::score(&pool, &published, &many, &Sampling::default()));
        println!("sampled: {rate:.3e} table subnets/s (published implementation: 3.6e5)");
        let ms = fastest(9, || sampled::score(&pool, &published, &formula(&[10, 15]), &Sampling::default())) * 1e3;
        println!("sampled: {ms:.3} ms for a space, two limits of 100,000 draws");
    }
    if asked("exact") {
        exact(&pool, &published);
    }
    if asked("subnets") {
        let (blocks, _) = recover(&tables).expect("published tables");
        let cache = BlockCache::new(&space, &published, &blocks);
        let settings = subnet::Settings { population: 4096, generations: 0, ..subnet::Settings::published((0.0, 1e3), 1) };
        let drawn = subnet::search(&space, &published, &settings, &|_: &Subnet| 0.0, &|_| Some(1.0));
        let subnets: Vec<Subnet> = drawn.into_iter().map(|e| e.subnet).collect();
        let known = subnets.iter().filter(|s| cache.latency(s).is_some()).count();
        let seconds = fastest(9, || subnets.iter().filter_map(|s| cache.latency(s)).sum::<f64>());
        let rate = subnets.len() as f64 / seconds;
        println!("subnets: {rate:.3e} block lists to latencies/s on one thread; {known} of {} are known", subnets.len());
    }
    if asked("draws") {
        // The same share of the best, of a thousand times as many draws, each with a resolution of its own.
        for (choice, limits) in [(&published, [10, 15]), (&large, [15, 25])] {
            let many = Formula { draws: 100_000_000, top: 50_000, ..formula(&limits) };
            let sampled = sampled::score(&pool, choice, &many, &Sampling { batch: 1, ..Sampling::default() });
            let exact = Exact::new(&pool, many.clone(), Precision::FINE).score(choice);
            for (s, e) in sampled.limits.iter().zip(&exact.limits) {
                let (off, within) = (e.score / s.score - 1.0, e.feasible / s.feasible - 1.0);
                println!(
                    "draws: {choice} at {} ms: sampled {:.6}, exact {:.6}, {:+.4} %, share {:+.3} %",
                    s.limit_ms,
                    s.score,
                    e.score,
                    100.0 * off,
                    100.0 * within
                );
            }
        }
    }
    if asked("best") {
        println!("best: fronts of the whole hyperspace in {:.2} ms", fastest(9, || Best::new(&pool)) * 1e3);
        let best = Best::new(&pool);
        println!("best: one limit in {:.4} ms", fastest(99, || best.within(10_000_000)) * 1e3);
        println!("best: 100 limits in {:.3} ms", fastest(9, || best.curve(100)) * 1e3);
        let sum = tables.checksum();
        for limit in [8_000_000, 10_000_000, 15_000_000, 25_000_000] {
            let start = Instant::now();
            let text = certify(&best, &pool, sum, limit);
            let written = start.elapsed().as_secs_f64() * 1e3;
            let start = Instant::now();
            let checked = check(&text, &tables).expect("a proof");
            let ms = start.elapsed().as_secs_f64() * 1e3;
            println!("certificate: {checked:?}: {} bytes written in {written:.1} ms, checked in {ms:.1} ms", text.len());
        }
    }
    if asked("evolve") {
        evolution(&pool, &published);
    }
    if asked("rank") {
        for limits in [&[10][..], &[15], &[25], &[10, 15]] {
            let start = Instant::now();
            let exact = Exact::new(&pool, formula(limits), Precision::FAST);
            let found = rank(&exact, &pool, &[published.clone(), large.clone()], 5, |_| ());
            let seconds = start.elapsed().as_secs_f64();
            println!("rank: {} spaces at {limits:?} ms in {seconds:.1} s", found.spaces);
            found.best.iter().for_each(|(s, c)| println!("rank:   {c} {s:.5}"));
            println!("rank:   {published} {:?}, {large} {:?}", found.ranks[0], found.ranks[1]);
        }
    }
    if asked("space") {
        for limits in [&[10][..], &[15], &[25], &[10, 15]] {
            let start = Instant::now();
            let exact = Exact::new(&pool, formula(limits), Precision::FAST);
            let best = best_space(&exact, &pool).expect("some meet the limits");
            let found = start.elapsed().as_secs_f64();
            let text = certify_space(&best, &exact, &pool, tables.checksum());
            let start = Instant::now();
            let checked = check_space(&text, &tables).expect("a proof");
            let seconds = start.elapsed().as_secs_f64();
            println!(
                "space: {} is the best of {} at {limits:?} ms ({:.5}; by rows alone at least {:.5}, and none above {:.5}), found in {found:.2} s; {} of them scored, the others by bounds; {} bytes checked in {seconds:.2} s",
                checked.space,
                checked.spaces,
                checked.score,
                checked.least,
                checked.most,
                checked.open,
                text.len()
            );
        }
    }
    if asked("grid") {
        for limits in [&[10][..], &[15], &[25], &[10, 15]] {
            grid(&pool, limits);
        }
    }
    if asked("nas-bench-macro") {
        nas_bench_macro::report(&data.join("nas/nas-bench-macro_cifar10.json"));
    }
}

fn exact(pool: &Pool, published: &Choice) {
    for ms in [10, 15, 25] {
        let start = Instant::now();
        let exact = share(pool, published, ms * 1_000_000);
        println!("exact: share within {ms} ms {exact:?} in {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
        let finer = Precision { loss_step: 2_500, latency_cells: 320 };
        for precision in [Precision::FAST, Precision::FINE, finer] {
            let scorer = Exact::new(pool, formula(&[ms]), precision);
            let start = Instant::now();
            let score = scorer.score(published);
            println!("exact: {precision:?} {:?} in {:.1} ms", score.limits[0], start.elapsed().as_secs_f64() * 1e3);
        }
        let scorer = Exact::new(pool, formula(&[ms]), Precision::FAST);
        let prefixes: Vec<_> = (0..96).map(|i| scorer.prefix(0, &[i % 12, i * 7 % 24, i * 5 % 24])).collect();
        let suffixes: Vec<_> = (0..96).map(|i| scorer.suffix(0, &[i % 24, i * 7 % 24, i * 5 % 24])).collect();
        let seconds = fastest(5, || {
            let mut sum = 0.0;
            for suffix in &suffixes {
                let mut guess = None;
                for prefix in &prefixes {
                    sum += scorer.join(0, prefix, suffix, &mut guess).score;
                }
            }
            sum
        });
        println!("exact: {:.3e} spaces/s on one thread at {ms} ms", 96.0 * 96.0 / seconds);
    }
}

/// What the grid of scores is worth: scores on it against those on one of half the loss and a quarter of the latency, for
/// spaces all over the hyperspace, and for those that bounds alone do not tell from the best.
fn grid(pool: &Pool, limits: &[u32]) {
    let (fast, finer) =
        (Exact::new(pool, formula(limits), Precision::FAST), Exact::new(pool, formula(limits), Precision::FINE));
    let best = best_space(&fast, pool).expect("some meet the limits");
    let mut near: Vec<(f64, Choice)> = best.contenders.iter().map(|c| (c.score, pool.choice(&c.choices))).collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.truncate(200);
    let spaces = pool.hyperspace.spaces();
    let far = (0..400).map(|i| pool.hyperspace.choice_at(spaces / 400 * i + 7919 * i % (spaces / 400)));
    let far: Vec<(f64, Choice)> = far
        .filter(|c| pool.covers(c))
        .map(|c| (fast.score(&c).score, c))
        .filter(|(score, _)| *score > 0.1 * best.score)
        .collect();
    for (name, all) in [("nearest to the best", near), ("all over", far)] {
        let choices: Vec<Choice> = all.iter().map(|a| a.1.clone()).collect();
        let scores: Vec<f64> = finer.score_all(&choices).iter().map(|s| s.score).collect();
        let mut apart: Vec<f64> = all.iter().zip(&scores).map(|((fast, _), fine)| (fast / fine - 1.0).abs()).collect();
        apart.sort_by(f64::total_cmp);
        let top = scores.iter().zip(&choices).fold((0.0, None), |top, (s, c)| if *s > top.0 { (*s, Some(c)) } else { top });
        println!(
            "grid: {} spaces {name} at {limits:?} ms: apart by {:.4} % in the middle, {:.4} % at most; best on the finer grid {} {:.5}, on this {:.5}",
            all.len(),
            100.0 * apart[apart.len() / 2],
            100.0 * apart[apart.len() - 1],
            top.1.map_or_else(String::new, Choice::to_string),
            top.0,
            all.iter().map(|a| a.0).fold(0.0, f64::max),
        );
    }
}

fn evolution(pool: &Pool, published: &Choice) {
    let formula = formula(&[10, 15]);
    let exact = Exact::new(pool, formula.clone(), Precision::FAST);
    let reference = Exact::new(pool, formula.clone(), Precision::FINE);
    let aim = reference.score(published).score;
    for (method, seed) in
        [("sampled", 1), ("sampled", 2), ("sampled", 3), ("exact", 1), ("exact", 2), ("exact", 3), ("random", 1)]
    {
        let sampling = Sampling { seed, ..Sampling::default() };
        let judge = |choices: &[Choice]| match method {
            "exact" => exact.score_all(choices),
            _ => choices.iter().map(|c| sampled::score(pool, c, &formula, &sampling)).collect(),
        };
        let settings = Settings { seed, random: method == "random", ..Settings::default() };
        let mut history = History::default();
        let start = Instant::now();
        evolve(&pool.hyperspace, &settings, &mut history, |_| true, judge, |_| ControlFlow::Continue(()));
        let seconds = start.elapsed().as_secs_f64();
        let ranked = history.ranked();
        let best = ranked[0];
        let rank =
            ranked.iter().position(|e| e.choice == *published).map_or("never met".to_owned(), |r| format!("rank {}", r + 1));
        let fine = reference.score(&best.choice).score;
        println!(
            "evolve: {method} seed {seed}: {} spaces in {seconds:.2} s, best {} {:.4} (exact {fine:.4}, {:+.2} % of {published}), which is {rank}",
            history.entries.len(),
            best.choice,
            best.score,
            100.0 * (fine / aim - 1.0)
        );
    }
}
