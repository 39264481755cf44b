//! Search for subnets: the published procedure on a fitness whose optimum is known.

mod kit;

use std::cell::Cell;

use kit::onnxw;
use spaceevo_search::log::Chain;
use spaceevo_search::random::Random;
use spaceevo_search::subnet::{Evaluated, Settings, pareto, search};
use spaceevo_search::subnet_moves::{Edit, edits};
use spaceevo_search::table_sum::TableSum;
use spaceevo_search::{Subnet, Tables, subnet_log};

/// A cost in milliseconds that is a sum over blocks.
fn latency(subnet: &Subnet) -> f64 {
    let block =
        |b: &spaceevo_search::BlockChoice| f64::from(b.width) * f64::from(b.kernel) * b.expand.map_or(1.0, |e| e.ratio());
    subnet.blocks.iter().map(block).sum::<f64>() * f64::from(subnet.resolution).powi(2) / 2.5e8
}

/// What is gained by latency, with less and less return: the best within a band lies at its end.
fn fitness(subnet: &Subnet) -> f64 {
    let ms = latency(subnet);
    80.0 * ms / (ms + 2.0)
}

#[test]
fn the_published_procedure_comes_within_a_hundredth_of_the_optimum() {
    let space = onnxw();
    let choice = space.parse_choice("onnxw-151122-023231").expect("published");
    let band = (3.0, 5.0);
    let settings = Settings::published(band, 1);
    let evaluations = Cell::new(0);
    let counted = |subnet: &Subnet| {
        evaluations.set(evaluations.get() + 1);
        fitness(subnet)
    };
    let all = search(&space, &choice, &settings, &counted, &|s| Some(latency(s)));
    assert_eq!((all.len(), evaluations.get()), (512 + 20 * 256, 512 + 20 * 256));
    for e in &all {
        assert!((band.0..=band.1).contains(&e.latency));
        space.check_subnet(&choice, &e.subnet).expect("a subnet of the space");
    }
    let mut unique: Vec<String> = all.iter().map(|e| e.subnet.to_string()).collect();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), all.len(), "nothing is evaluated twice");
    let best = all.iter().map(|e| e.fitness).fold(0.0, f64::max);
    let optimum = 80.0 * band.1 / (band.1 + 2.0);
    assert!(best >= 0.99 * optimum && best <= optimum, "{best} of {optimum}");
    assert_eq!(all, search(&space, &choice, &settings, &fitness, &|s| Some(latency(s))), "the seed decides everything");
    // A report over several bands is a front: more time, more fitness.
    let small = Settings { population: 32, generations: 4, mutations: 8, crossovers: 8, ..settings.clone() };
    let bands = [(1.0, 2.0), (2.0, 3.0), (3.0, 4.0)];
    let each = |band| search(&space, &choice, &Settings { band, ..small.clone() }, &fitness, &|s| Some(latency(s)));
    let together: Vec<Evaluated> = bands.into_iter().flat_map(each).collect();
    let front = pareto(&together);
    assert!(front.len() > 3 && front.windows(2).all(|p| p[0].latency < p[1].latency && p[0].fitness < p[1].fitness));
    // A band that holds nothing, and latencies that nobody knows.
    assert!(
        search(&space, &choice, &Settings { band: (0.0, 0.0), population: 4, ..small.clone() }, &fitness, &|s| Some(
            latency(s)
        ))
        .is_empty()
    );
    assert!(search(&space, &choice, &Settings { population: 4, ..small }, &fitness, &|_| None).is_empty());
}

#[test]
fn every_change_of_a_subnet_is_a_diff_that_leads_there_and_back() {
    let space = onnxw();
    let choice = space.parse_choice("onnxw-151122-023231").expect("published");
    let subnet = |n: u64| spaceevo_search::sample::subnet(&space, &choice, &[n]);
    let mut kinds = std::collections::BTreeSet::new();
    for n in 0..200 {
        let (a, b) = (subnet(n), subnet(n + 1));
        for (from, to) in [(&a, &b), (&b, &a)] {
            let mut made = from.clone();
            for edit in edits(from, to) {
                assert!(edit.holds(to) && !edit.holds(&made), "{edit:?}");
                let text = edit.print(&space);
                kinds.insert(text.split([' ', ':']).next().expect("a word").to_owned());
                assert_eq!(Edit::parse(&text, &space).expect("printed"), edit, "{text}");
                made = edit.apply(&made).expect("it fits");
                assert_eq!(edit.apply(&made), None, "nothing changes twice: {text}");
            }
            assert_eq!(made, *to);
        }
    }
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["depth", "expand", "kernel", "resolution", "width"]);
    for text in [
        "",
        "resolution: 1",
        "kernel stage2.width[0]: 3 -> 5",
        "kernel stage9.kernel[0]: 3 -> 5",
        "depth stage2.depth: 2 -> x",
    ] {
        assert_eq!(Edit::parse(text, &space).expect_err("nonsense").code, "space-move");
    }
}

#[test]
fn on_random_tables_a_search_reaches_the_exact_optimum_and_its_log_is_replayed() {
    let mut random = Random::new(&[77]);
    let (mut searched, mut reached, mut forgeries) = (0, 0, 0);
    for seed in 0..20 {
        let space = kit::small(&mut random);
        let tables = kit::sources(&space, 60, &mut random);
        let tables = Tables::parse(&tables, &space).expect("well made");
        let pool = kit::pool(&tables);
        let choice = spaceevo_search::sample::choice(&space, &[seed]);
        let source = TableSum::new(&pool, &tables, &choice).expect("all tables are there");
        let (least, most) = pool.latencies(&choice);
        let limit = (least + most) / 2;
        let settings = Settings {
            population: 32,
            mutations: 16,
            crossovers: 16,
            ..Settings::published((0.0, limit as f64 / 1e6), seed)
        };
        let all = search(&space, &choice, &settings, &source, &|s| source.latency(s));
        let Some(best) = source.best(limit) else {
            assert!(all.is_empty(), "what is found is no better than the optimum");
            continue;
        };
        space.check_subnet(&choice, &best.subnet).expect("a subnet of the space");
        assert_eq!((source.loss(&best.subnet), source.latency(&best.subnet)), (Some(-best.fitness), Some(best.latency)));
        let found = all.iter().map(|e| e.fitness).fold(f64::NEG_INFINITY, f64::max);
        assert!(found <= best.fitness, "nothing is better than the optimum");
        searched += 1;
        reached += usize::from(found == best.fitness);
        let text = subnet_log::write(&space, &choice, "seed", &all);
        assert_eq!(subnet_log::read(&text, "run.log", &space, &choice).expect("untouched").all, all);
        let text = text.lines().map(|l| l.rsplit_once(" | ").expect("a checksum").0);
        // Lies whose checksums are right.
        let mut chain = Chain::default();
        let forged: String = text.map(|l| chain.line(&l.replacen("-> 5", "-> 3", 1))).collect();
        if forged.contains("-> 3") {
            forgeries += 1;
            let refused = subnet_log::read(&forged, "run.log", &space, &choice).expect_err("no such change");
            assert_eq!(refused.code, "subnet-log");
        }
    }
    assert!(searched >= 15 && forgeries >= 10 && reached * 10 >= searched * 9, "{reached} of {searched}, {forgeries}");
}
