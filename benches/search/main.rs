//! `cargo bench -p spaceevo-search`: what scoring and searching cost, beside the published implementation's own figures.
//!
//! Needs the published tables (SPACEEVO_DATA, default ../shared/data). One thread is measured with RAYON_NUM_THREADS=1.

use std::path::PathBuf;
use std::time::Instant;

use spaceevo_search::best::Best;
use spaceevo_search::certificate::certify;
use spaceevo_search::check::check;
use spaceevo_search::exact::{Exact, Precision};
use spaceevo_search::sampled::{self, Sampling};
use spaceevo_search::shipped::onnxw;
use spaceevo_search::{Formula, Pool, Tables, Terms};

/// The fastest of several runs, in seconds; what disturbs a run only ever makes it slower.
fn fastest<T>(runs: usize, mut run: impl FnMut() -> T) -> f64 {
    let time = |_| {
        let start = Instant::now();
        std::hint::black_box(run());
        start.elapsed().as_secs_f64()
    };
    (0..runs).map(time).fold(f64::INFINITY, f64::min)
}

fn main() {
    let data = std::env::var("SPACEEVO_DATA").map_or_else(|_| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")), PathBuf::from);
    let path = data.join("nas/spaceevo_block_lut_onnx_vnni.tar.gz");
    let space = onnxw();
    let start = Instant::now();
    let Ok(sources) = Tables::gather(&path, &space) else {
        println!("no tables at {}: nothing to measure", path.display());
        return;
    };
    println!("threads {}", rayon::current_num_threads());
    println!("tables: decompressed in {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    println!("tables: parsed in {:.1} ms", fastest(9, || Tables::parse(&sources, &space)) * 1e3);
    let tables = Tables::parse(&sources, &space).expect("published tables");
    let bytes = tables.to_bytes();
    println!("tables: {} rows, {:.1} MB as binary", tables.rows(), bytes.len() as f64 / 1e6);
    let terms = Terms { fixed: vec![(160, 1_750_000), (192, 2_240_000), (224, 2_800_000)], ..Terms::default() };
    let pool = Pool::new(&tables, terms.clone()).expect("published tables");
    let formula = Formula { limits: vec![10_000_000, 15_000_000], ..Formula::default() };
    let published = space.parse_choice("onnxw-151122-023231").expect("published");

    let many = Formula { draws: 10_000_000, ..formula.clone() };
    let seconds = fastest(5, || sampled::score(&pool, &published, &many, &Sampling::default()));
    println!("sampled: {:.3e} subnets/s", 2.0 * many.draws as f64 / seconds);
    let seconds = fastest(5, || sampled::score(&pool, &published, &formula, &Sampling::default()));
    println!("sampled: {:.3} ms for a space, two limits", seconds * 1e3);
    for (name, draws) in [("100k", 100_000), ("10M", 10_000_000)] {
        let formula = Formula { draws, top: draws / 2000, ..formula.clone() };
        println!("sampled {name}: {:?}", sampled::score(&pool, &published, &formula, &Sampling::default()));
    }
    for limits in [vec![10_000_000], vec![15_000_000], vec![25_000_000]] {
        let formula = Formula { limits, ..formula.clone() };
        for precision in [
            Precision::FAST,
            Precision { loss_step: 10_000, latency_cells: 40 },
            Precision { loss_step: 10_000, latency_cells: 80 },
            Precision::FINE,
            Precision { loss_step: 2_500, latency_cells: 320 },
        ] {
            let start = Instant::now();
            let exact = Exact::new(&pool, formula.clone(), precision);
            let made = start.elapsed().as_secs_f64();
            let start = Instant::now();
            let score = exact.score(&published);
            println!("exact {precision:?}: {score:?} in {:.1} + {:.1} ms", made * 1e3, start.elapsed().as_secs_f64() * 1e3);
        }
    }
    for limit in [10_000_000, 15_000_000] {
        let start = Instant::now();
        println!("share: {:?} in {:.1} ms", spaceevo_search::share::share(&pool, &published, limit), start.elapsed().as_secs_f64() * 1e3);
    }
    let one = Formula { limits: vec![10_000_000], ..formula.clone() };
    let exact = Exact::new(&pool, one, Precision::FAST);
    let prefixes: Vec<_> = (0..64).map(|i| exact.prefix(0, &[i % 12, (i * 7) % 24, (i * 5) % 24])).collect();
    let suffixes: Vec<_> = (0..64).map(|i| exact.suffix(0, &[i % 24, (i * 7) % 24, (i * 5) % 24])).collect();
    let seconds = fastest(5, || {
        let mut sum = 0.0;
        for suffix in &suffixes {
            let mut guess = None;
            for prefix in &prefixes {
                sum += exact.join(0, prefix, suffix, &mut guess).score;
            }
        }
        sum
    });
    println!("exact: {:.3e} spaces/s on one thread", 4096.0 / seconds);
    let seconds = fastest(3, || exact.prefix(0, &[1, 2, 3]));
    println!("exact: prefix {:.3} ms, suffix {:.3} ms", seconds * 1e3, fastest(3, || exact.suffix(0, &[1, 2, 3])) * 1e3);

    println!("best: fronts in {:.2} ms", fastest(9, || Best::new(&pool)) * 1e3);
    let best = Best::new(&pool);
    println!("best: one limit in {:.3} ms", fastest(9, || best.within(10_000_000)) * 1e3);
    println!("best: 100 limits in {:.3} ms", fastest(9, || best.curve(100)) * 1e3);
    println!("best: {:?}", best.within(10_000_000).map(|f| f.describe(&pool, &tables)));
    let sum = tables.checksum();
    println!("certificate: written in {:.1} ms", fastest(3, || certify(&best, &pool, sum, 10_000_000)) * 1e3);
    let text = certify(&best, &pool, sum, 10_000_000);
    println!("certificate: {} bytes, checked in {:.1} ms", text.len(), fastest(3, || check(&text, &tables)) * 1e3);
    println!("certificate: {:?}", check(&text, &tables));
}
