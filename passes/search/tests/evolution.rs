//! Evolution: the same for any number of threads and interruptions, better than chance, and readable in its log.

mod kit;

use std::ops::ControlFlow;

use kit::{onnxw, pool, published_pool, shipped, sources};
use spaceevo_search::evolution::{History, Individual, Origin, Settings, evolve};
use spaceevo_search::exact::{Exact, Precision};
use spaceevo_search::log::{self, Chain};
use spaceevo_search::moves::{Kind, Move};
use spaceevo_search::nas_bench_macro::{Benchmark, Method};
use spaceevo_search::random::Random;
use spaceevo_search::sampled::{Sampling, score};
use spaceevo_search::{Choice, Formula, Hyperspace, Score, Tables};

/// A score that needs no tables: how many digits are those of one space, with a little of everything else.
fn judge(space: &Hyperspace) -> impl Fn(&[Choice]) -> Vec<Score> {
    let ideal = space.parse_choice("151122-023231").expect("a space");
    let score = move |c: &Choice| {
        let same = |a: &[u8], b: &[u8]| a.iter().zip(b).filter(|(x, y)| x == y).count() as f64;
        let score = same(&c.blocks, &ideal.blocks) + same(&c.windows, &ideal.windows) / 2.0;
        Score { score, limits: vec![] }
    };
    move |choices| choices.iter().map(&score).collect()
}

fn run(settings: &Settings, history: &mut History, stop: usize) {
    let space = onnxw();
    let mut left = stop;
    evolve(
        &space,
        settings,
        history,
        |_| true,
        judge(&space),
        |_| {
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        },
    );
}

#[test]
fn an_evolution_goes_on_where_it_was_stopped() {
    let settings = Settings { population: 40, tournament: 10, cycles: 300, seed: 3, random: false };
    let mut whole = History::default();
    run(&settings, &mut whole, usize::MAX);
    assert_eq!(whole.entries.len(), 300);
    let mut unique: Vec<&Choice> = whole.entries.iter().map(|e| &e.choice).collect();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), 300, "no space is scored twice");
    assert_eq!(whole.entries.iter().filter(|e| e.origin == Origin::Homogeneous).count(), 24);
    for stop in [1, 7, 33, 40, 41, 42, 150, 299] {
        let mut history = History::default();
        run(&settings, &mut history, stop);
        assert_eq!(history.entries.len(), stop);
        run(&settings, &mut history, usize::MAX);
        assert_eq!(history, whole, "stopped after {stop}");
    }
    let best = whole.best().expect("not empty").score;
    let mut random = History::default();
    run(&Settings { random: true, ..settings }, &mut random, usize::MAX);
    assert!(random.entries.len() == 300 && best > random.best().expect("not empty").score);
    assert!(whole.curve().windows(2).all(|p| p[0] <= p[1]));
}

#[test]
fn logs_are_replayed_and_damage_is_found_at_its_line() {
    let settings = Settings { population: 40, tournament: 10, cycles: 60, seed: 5, random: false };
    let mut history = History::default();
    run(&settings, &mut history, usize::MAX);
    let space = onnxw();
    let mut chain = Chain::default();
    let mut text = log::head(&mut chain, &space, "seed=5");
    for (n, e) in history.entries.iter().enumerate() {
        text += &log::entry(&mut chain, n, e, &space);
    }
    let read = log::read(&text, "run.log", &space).expect("untouched");
    assert_eq!((read.history, read.settings.as_str(), read.whole), (history.clone(), "seed=5", text.len()));
    // The last line was cut off: everything before it counts, and the chain goes on from there.
    let cut = log::read(&text[..text.len() - 5], "run.log", &space).expect("all but the last");
    assert_eq!(cut.history.entries, history.entries[..59]);
    let mut chain = cut.chain;
    assert!(text.ends_with(&log::entry(&mut chain, 59, &history.entries[59], &space)));
    let lines: Vec<&str> = text.lines().collect();
    let edited = |edit: &dyn Fn(&mut Vec<String>)| {
        let mut lines: Vec<String> = lines.iter().map(|l| (*l).to_owned()).collect();
        edit(&mut lines);
        log::read(&(lines.join("\n") + "\n"), "run.log", &space).expect_err("tampered")
    };
    for (line, refused) in [
        (10, edited(&|l| l[9] = l[9].replace("score", "Score"))),
        (20, edited(&|l| drop(l.remove(19)))),
        (30, edited(&|l| l.swap(29, 30))),
        (1, edited(&|l| l[0] = "spaceevo evolution 2".into())),
    ] {
        assert_eq!(refused.code, "evolution-log");
        assert!(refused.loc.to_string().starts_with(&format!("run.log:{line}:")), "{refused}");
    }
    // A line that lies, with all checksums made again.
    let mut chain = Chain::default();
    let mut forged = String::new();
    for line in &lines {
        let body = line.rsplit_once(" | ").expect("a checksum").0;
        let body = if body.contains("swap-block") { body.replacen(" = ", " = x", 1) } else { body.to_owned() };
        forged += &chain.line(&body);
    }
    assert_eq!(log::read(&forged, "run.log", &space).expect_err("no such space").code, "evolution-log");
    assert_eq!(log::read("", "run.log", &space).expect_err("empty").code, "evolution-log");
}

#[test]
fn moves_are_read_as_they_are_printed() {
    let space = onnxw();
    let from = space.parse_choice("151122-023231").expect("published");
    let mut random = Random::new(&[1]);
    for _ in 0..200 {
        for kind in [Kind::SwapBlock, Kind::ShiftWindow] {
            let change = Move::draw(kind, &space, &from, &mut random).expect("there are others");
            let text = change.print(&space);
            assert_eq!(Move::parse(&text, &space, &from).expect("printed"), change);
            assert_ne!(change.apply(&from), from);
        }
    }
    assert_eq!(
        Move { kind: Kind::SwapBlock, stage: 1, from: 5, to: 0 }.print(&space),
        "swap-block stage2.block: FusedRes -> V1Dual"
    );
    for bad in ["swap-block stage2.block: V1Dual -> FusedRes", "swap-block stage9.block: V2Res -> FusedRes", "", "a: b -> c"]
    {
        assert_eq!(Move::parse(bad, &space, &from).expect_err(bad).code, "space-move");
    }
    // A stage with one window has no other: the move is not made, and nothing waits for it.
    let mut legacy = space;
    legacy.stages.iter_mut().for_each(|s| s.window = s.widths.len());
    assert_eq!(Move::draw(Kind::ShiftWindow, &legacy, &legacy.choice_at(0), &mut random), None);
}

#[test]
fn the_published_space_is_found_again() {
    let Some(pool) = published_pool() else { return };
    let space = pool.hyperspace.clone();
    let formula = Formula { limits: vec![10_000_000, 15_000_000], ..Formula::default() };
    let exact = Exact::new(&pool, formula.clone(), Precision::FAST);
    let published = exact.score(&space.parse_choice("151122-023231").expect("published")).score;
    // As published, 5,000 spaces each; then the exact score of the best, which is not the one that it was lucky to be given.
    let evolved = |settings: Settings, sampled: bool| {
        let sampling = Sampling { seed: settings.seed, ..Sampling::default() };
        let judge = |choices: &[Choice]| match sampled {
            true => choices.iter().map(|c| score(&pool, c, &formula, &sampling)).collect(),
            false => exact.score_all(choices),
        };
        let mut history = History::default();
        evolve(&space, &settings, &mut history, |_| true, judge, |_: &Individual| ControlFlow::Continue(()));
        let best = history.best().expect("not empty");
        println!("{settings:?}: {} of {} spaces {:.4}", best.choice, history.entries.len(), best.score);
        (best.score, exact.score(&best.choice).score)
    };
    for seed in 1..=3 {
        let settings = Settings { seed, ..Settings::default() };
        let (evolution, _) = evolved(settings.clone(), false);
        assert!(evolution >= 0.803 && evolution > published * 0.996, "seed {seed}: {evolution} {published}");
        let (random, _) = evolved(Settings { random: true, ..settings }, false);
        assert!(evolution > random, "seed {seed}: {evolution} {random}");
    }
    let (shown, found) = evolved(Settings { seed: 1, ..Settings::default() }, true);
    assert!(shown >= 0.803 && found > published * 0.996, "{shown} {found} {published}");
}

#[test]
fn searches_on_trained_networks_come_near_the_optimum() {
    let folder = std::env::var_os("SPACEEVO_DATA").map_or_else(
        || std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")),
        std::path::PathBuf::from,
    );
    let Ok(text) = std::fs::read_to_string(folder.join("nas/nas-bench-macro_cifar10.json")) else {
        eprintln!("skipped: NAS-Bench-Macro is not there");
        return;
    };
    let all = Benchmark::parse(&text).expect("published");
    let best = all.best(u64::MAX).expect("not empty");
    // Two networks share the best accuracy.
    let known = Benchmark::number("22212220").expect("eight digits");
    assert_eq!(all.network(best).accuracy, all.network(known).accuracy);
    let regret = |method| {
        let found = (0..20).map(|seed| *all.search(method, 300, u64::MAX, seed).last().expect("not empty"));
        all.network(best).accuracy - found.sum::<f64>() / 20.0
    };
    let (random, spaces) = (regret(Method::Random), regret(Method::Spaces));
    assert!(spaces < random && spaces < 0.2, "{spaces} {random}");
    let limit = all.best(60_000_000).expect("some are small");
    assert!(all.network(limit).macs <= 60_000_000);
    assert_eq!(Benchmark::parse("{}").expect_err("empty").code, "table-format");
    assert_eq!(Benchmark::parse("[").expect_err("no JSON").code, "table-format");
    assert!(text.len() > 1000 && Benchmark::parse(&text.replacen("22212220", "32212220", 1)).is_err());
}

#[test]
fn the_other_published_hyperspace_needs_nothing_but_its_tables() {
    let mut space = shipped("mobilew");
    space.resolutions = vec![160, 192, 224];
    let all = sources(&space, 9, &mut Random::new(&[8]));
    assert_eq!(all.len(), 210);
    let tables = Tables::parse(&all, &space).expect("rows of that form");
    assert!(tables.gaps.is_empty() && tables.resolutions == [160, 192, 224]);
    let pool = pool(&tables);
    let exact = Exact::new(&pool, Formula { limits: vec![25_000_000, 30_000_000], ..Formula::default() }, Precision::FAST);
    let settings = Settings { population: 60, tournament: 15, cycles: 120, ..Settings::default() };
    let mut history = History::default();
    evolve(&space, &settings, &mut history, |c| pool.covers(c), |c| exact.score_all(c), |_| ControlFlow::Continue(()));
    assert_eq!(history.entries.len(), 120);
    assert_eq!(history.entries.iter().filter(|e| e.origin == Origin::Homogeneous).count(), 49);
}
