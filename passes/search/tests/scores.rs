//! Q-T scores: sampled ones as published and the same for any number of threads; exact ones against counting all subnets.

mod kit;

use kit::{all_spaces, counted, pool, published, published_pool, small, sources, subnets};
use spaceevo_search::exact::{Exact, Precision, table_noise};
use spaceevo_search::pool::latency;
use spaceevo_search::random::Random;
use spaceevo_search::rank::rank;
use spaceevo_search::sampled::{Sampling, draws, score};
use spaceevo_search::share::share;
use spaceevo_search::{Choice, Formula, Pool, Tables, Terms};

#[test]
fn exact_scores_are_what_counting_gives() {
    let mut random = Random::new(&[3]);
    for case in 0..40 {
        let space = small(&mut random);
        let tables = Tables::parse(&sources(&space, 12, &mut random), &space).expect("random tables");
        let pool = pool(&tables);
        for choice in all_spaces(&space).iter().take(3) {
            let all = subnets(&pool, choice);
            let mut times: Vec<u32> = all.iter().map(|s| s.1).collect();
            times.sort_unstable();
            // In the middle of the widest gap, so that no subnet lies at the limit, where the grid cannot tell.
            let middle = &times[times.len() / 4..times.len() * 3 / 4];
            let gap = middle.windows(2).max_by_key(|p| p[1] - p[0]).expect("two subnets");
            let limit = gap[0].midpoint(gap[1]);
            let formula = Formula { limits: vec![limit], top: 50, draws: 1000, ..Formula::default() };
            let (p, l) = counted(&all, limit, formula.tail());
            assert!((share(&pool, choice, limit).expect("few cells") - p).abs() < 1e-12, "case {case}");
            // Few rows make rough distributions, so the grid is off by more than with published tables.
            let precision = Precision { loss_step: 2_000, latency_cells: 1000 };
            let found = Exact::new(&pool, formula.clone(), precision).score(choice).limits[0];
            assert!((found.feasible - p).abs() < 0.02, "case {case}: {} is not {p}", found.feasible);
            assert!((found.loss - l).abs() < 0.03, "case {case}: {} is not {l}", found.loss);
        }
    }
}

#[test]
fn sampled_scores_do_not_depend_on_threads_but_on_the_seed() {
    let mut random = Random::new(&[4]);
    let space = small(&mut random);
    let tables = Tables::parse(&sources(&space, 30, &mut random), &space).expect("random tables");
    let pool = pool(&tables);
    let choice = &all_spaces(&space)[0];
    let limit = draws(&pool, choice, 1001, 0).iter().map(|&p| latency(p)).max().expect("some") / 2;
    let formula = Formula { limits: vec![limit, 2 * limit], draws: 33_333, ..Formula::default() };
    let with = |threads: usize, seed: u64, consistent: bool| {
        let sampling = Sampling { seed, consistent, ..Sampling::default() };
        let threads = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        threads.install(|| score(&pool, choice, &formula, &sampling))
    };
    for consistent in [false, true] {
        assert_eq!(with(1, 7, consistent), with(3, 7, consistent));
        assert_ne!(with(1, 7, consistent), with(1, 8, consistent));
    }
    let (p, _) = counted(&subnets(&pool, choice), limit, formula.tail());
    let single = Sampling { batch: 1, ..Sampling::default() };
    assert!((score(&pool, choice, &formula, &single).limits[0].feasible - p).abs() < 0.02);
}

#[test]
fn spaces_that_nothing_fits_in_score_next_to_nothing() {
    let Some(pool) = published_pool() else { return };
    // V3Res everywhere: nothing within 5 ms.
    let choice = pool.hyperspace.homogeneous(2, 0);
    let formula = Formula { limits: vec![5_000_000], ..Formula::default() };
    for found in [
        score(&pool, &choice, &formula, &Sampling::default()),
        Exact::new(&pool, formula.clone(), Precision::FAST).score(&choice),
    ] {
        assert!((8e-6..1e-5).contains(&found.score), "{found:?}");
    }
}

/// Score, its standard deviation over seeds, summed loss, and share by limit, as published (section by section the same tables).
#[test]
fn published_spaces_have_their_published_scores() {
    let Some(pool) = published_pool() else { return };
    for (name, limits, want, sd, loss, p) in [
        ("151122-023231", vec![10, 15], 0.8031, 0.0016, 4.886, vec![0.0011, 0.0953]),
        ("151122-023231", vec![10], 0.3777, 0.0005, 2.538, vec![0.0010]),
        ("151122-023231", vec![15], 0.4256, 0.0006, 2.347, vec![0.1047]),
        ("121122-133333", vec![25], 0.4603, 0.0006, 2.172, vec![0.4078]),
        ("121122-133333", vec![15], 0.4231, 0.0003, 2.317, vec![0.0107]),
        ("111111-000000", vec![10], 0.3230, 0.0006, 3.097, vec![0.116]),
        // Loss and share of this one are published as 3.180 and 0.038, with which its score would be another.
        ("333333-000000", vec![10], 0.3104, 0.0006, 3.192, vec![0.0319]),
    ] {
        let choice = pool.hyperspace.parse_choice(name).expect("published");
        let formula = Formula { limits: limits.iter().map(|l| l * 1_000_000).collect(), ..Formula::default() };
        let found: Vec<_> =
            (0..10).map(|seed| score(&pool, &choice, &formula, &Sampling { seed, ..Sampling::default() })).collect();
        let mean =
            |value: &dyn Fn(&spaceevo_search::Score) -> f64| found.iter().map(value).sum::<f64>() / found.len() as f64;
        let have = mean(&|s| s.score);
        assert!((have - want).abs() <= 3.0 * sd, "{name} {limits:?}: {have} is not {want}");
        let have = mean(&|s| s.limits.iter().map(|l| l.loss).sum());
        assert!((have - loss).abs() <= 0.01, "{name} {limits:?}: loss {have} is not {loss}");
        for (i, p) in p.into_iter().enumerate().filter(|(_, p)| *p > 0.01) {
            let have = mean(&|s| s.limits[i].feasible);
            assert!((have / p - 1.0).abs() < 0.12, "{name} {limits:?}: share {have} is not {p}");
        }
        // Ours is what theirs tends to.
        let exact = Exact::new(&pool, formula, Precision::FAST).score(&choice);
        assert!((exact.score / mean(&|s| s.score) - 1.0).abs() < 0.003, "{name} {limits:?}: {}", exact.score);
    }
}

#[test]
fn exact_scores_are_what_very_many_draws_give() {
    let Some(pool) = published_pool() else { return };
    let choice = pool.hyperspace.parse_choice("151122-023231").expect("published");
    // 2e6 draws here; the bench has 1e8.
    let many = Formula { limits: vec![10_000_000, 15_000_000], top: 1000, draws: 2_000_000, ..Formula::default() };
    let sampled = score(&pool, &choice, &many, &Sampling { batch: 1, ..Sampling::default() });
    let single = pool.single(&choice);
    let fine = Exact::new(&single, many, Precision::FINE);
    let only = Choice { blocks: vec![0; 6], windows: vec![0; 6] };
    let exact = fine.score(&only);
    for (s, e) in sampled.limits.iter().zip(&exact.limits) {
        assert!((s.score / e.score - 1.0).abs() < 1e-3, "{s:?} {e:?}");
    }
    let noise = table_noise(&pool, &choice, &Formula { limits: vec![15_000_000], ..Formula::default() }, 8);
    assert!((1e-5..0.02).contains(&noise), "{noise}");
}

#[test]
fn common_random_numbers_quiet_differences() {
    let Some(pool) = published_pool() else { return };
    let space = &pool.hyperspace;
    let (a, b) =
        (space.parse_choice("151122-023231").expect("published"), space.parse_choice("151122-022231").expect("a neighbour"));
    let formula = Formula { limits: vec![15_000_000], ..Formula::default() };
    let spread = |common: bool, formula: &Formula| {
        let difference = |seed| {
            let sampling = Sampling { seed, common, ..Sampling::default() };
            score(&pool, &a, formula, &sampling).score - score(&pool, &b, formula, &sampling).score
        };
        let all: Vec<f64> = (0..48).map(difference).collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        (all.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / all.len() as f64).sqrt()
    };
    let (own, common) = (spread(false, &formula), spread(true, &formula));
    assert!(common * 1.8 < own, "{own} {common}");
    // With the best evaluated again: as many draws once more.
    let again = spread(true, &Formula { draws: 200_000, top: 100, ..formula.clone() });
    assert!(again * 2.7 < own, "{own} {again}");
    println!("standard deviation of a difference: {own:.6}, common numbers {common:.6}, evaluated again {again:.6}");
    // Without chance there is nothing left to quiet: `space evolve` scores the best ones exactly in the end, however it found them.
    let exact = Exact::new(&pool, formula.clone(), Precision::FAST);
    assert_eq!(exact.score(&a), Exact::new(&pool, formula.clone(), Precision::FAST).score(&a));
}

/// A stage whose widths do not join the next one's, and a head that costs more behind one window.
#[test]
fn consistent_draws_and_candidates_own_fixed_parts_change_scores_as_expected() {
    use spaceevo_search::{Block, Expand, Hyperspace, Stage};
    let stage = |name: &str, widths: Vec<u32>| Stage {
        name: name.into(),
        window: 1,
        widths,
        depths: (1, 1),
        stride: 1,
        blocks: vec![Block { name: "B".into(), kernels: vec![3], expands: vec![Expand::integer(4)] }],
    };
    let space = Hyperspace {
        name: "two".into(),
        resolutions: vec![32],
        stem: vec![],
        stages: vec![stage("stage1", vec![8, 16]), stage("stage2", vec![8, 16])],
        head: vec![],
    };
    space.validate().expect("well-formed");
    // A second stage that is good behind 8 channels and bad behind 16.
    let first = |w: u32| format!("3#{w}#4,1x3x32x32,0.1000,1.0000,1.0000,1.0000\n");
    let second =
        |w: u32| format!("3#{w}#4,1x8x32x32,0.1000,1.0000,1.0000,1.0000\n3#{w}#4,1x16x32x32,0.5000,1.0000,1.0000,1.0000\n");
    let all = [
        ("stage1_0_0.csv", first(8)),
        ("stage1_0_1.csv", first(16)),
        ("stage2_0_0.csv", second(8)),
        ("stage2_0_1.csv", second(16)),
    ];
    let all = all.into_iter().map(|(n, t)| (n.to_owned(), t.into_bytes().into())).collect();
    let tables = Tables::parse(&all, &space).expect("well-formed");
    let terms = Terms { fixed: vec![(32, 0)], fixed_by_window: vec![(32, 1, 5_000_000)], ..Terms::default() };
    let pool = Pool::new(&tables, terms).expect("well-formed");
    let formula = Formula { limits: vec![3_000_000], draws: 10_000, ..Formula::default() };
    let loss = |name: &str, consistent: bool| {
        let sampling = Sampling { consistent, ..Sampling::default() };
        score(&pool, &space.parse_choice(name).expect("a space"), &formula, &sampling).limits[0].loss
    };
    assert!((loss("00-00", false) - 0.2).abs() < 1e-6 && (loss("00-10", false) - 0.2).abs() < 1e-6);
    assert!((loss("00-00", true) - 0.2).abs() < 1e-6);
    assert!((loss("00-10", true) - 0.6).abs() < 1e-6, "behind 16 channels only the bad row fits");
    assert!(loss("00-01", false) > 1e4, "its own head costs 5 ms");
    let heavy = Terms { fixed: vec![(32, 0)], weights: vec![2.0, 1.0], resolutions: vec![(32, 0.25)], ..Terms::default() };
    let weighted = Pool::new(&tables, heavy).expect("well-formed");
    let found = score(&weighted, &space.parse_choice("00-00").expect("a space"), &formula, &Sampling::default());
    assert!((found.limits[0].loss - (0.2 + 0.1 + 0.25)).abs() < 1e-6);
    for wrong in [
        Terms::default(),
        Terms { fixed: vec![(32, 0)], weights: vec![1.0], ..Terms::default() },
        Terms { fixed: vec![(32, 0)], weights: vec![1.0, -1.0], ..Terms::default() },
        Terms { fixed: vec![(32, 0)], resolutions: vec![(64, 0.1)], ..Terms::default() },
    ] {
        assert_eq!(Pool::new(&tables, wrong).expect_err("does not fit").code, "usage");
    }
}

#[test]
fn ranks_are_what_scoring_one_by_one_gives() {
    let mut random = Random::new(&[9]);
    for _ in 0..6 {
        let space = small(&mut random);
        let tables = Tables::parse(&sources(&space, 20, &mut random), &space).expect("random tables");
        let pool = pool(&tables);
        let all = all_spaces(&space);
        let limit = draws(&pool, &all[0], 501, 0).iter().map(|&p| latency(p)).max().expect("some") / 2;
        let formula = Formula { limits: vec![limit, limit + limit / 3], draws: 1000, ..Formula::default() };
        let exact = Exact::new(&pool, formula, Precision::FAST);
        let scores: Vec<f64> = all.iter().map(|c| exact.score(c).score).collect();
        let asked = &all[..all.len().min(3)];
        let found = rank(&exact, &pool, asked, 4, |_| ());
        assert_eq!(found.spaces, all.len() as u64);
        let mut sorted = scores.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        // A guess may end the climb beside the very peak: scores agree to the digits that bounds leave open.
        for (have, want) in found.best.iter().zip(&sorted) {
            assert!((have.0 / want - 1.0).abs() < 1e-3, "{} is not {want}", have.0);
        }
        for ((have, rank), want) in found.ranks.iter().zip(&scores) {
            let at_least = scores.iter().filter(|s| **s > want * 1.001).count() as u64 + 1;
            let at_most = scores.iter().filter(|s| **s > want * 0.999).count() as u64 + 1;
            assert!(
                (have / want - 1.0).abs() < 1e-3 && (at_least..=at_most).contains(rank),
                "{rank}: {at_least}..={at_most}"
            );
        }
    }
}

#[test]
fn published_tables_have_noise_of_their_own() {
    let (Some(_), Some(pool)) = (published(), published_pool()) else { return };
    let choice = pool.hyperspace.parse_choice("151122-023231").expect("published");
    let limit = 15_000_000;
    let exact = share(&pool, &choice, limit).expect("few cells");
    let near = Exact::new(&pool, Formula { limits: vec![limit], ..Formula::default() }, Precision::FAST).score(&choice);
    assert!((near.limits[0].feasible / exact - 1.0).abs() < 2e-3, "{} {exact}", near.limits[0].feasible);
}
