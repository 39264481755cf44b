//! Search for subnets: the published procedure on a fitness whose optimum is known.

mod kit;

use std::cell::Cell;

use kit::onnxw;
use spaceevo_search::Subnet;
use spaceevo_search::subnet::{Evaluated, Settings, pareto, search};

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
