//! Small hyperspaces with random tables, and the published tables where they are.

#![allow(dead_code, reason = "each test uses some of it")]

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::OnceLock;

use spaceevo_ir::text::{BlobHash, BlobSource, parse};
use spaceevo_search::page::Page;
use spaceevo_search::pool::{latency, loss};
use spaceevo_search::random::Random;
use spaceevo_search::tables::Sources;
use spaceevo_search::{Block, Choice, Expand, Hyperspace, Pool, Stage, Tables, Terms};

/// The published hyperspace whose tables are there.
pub(crate) fn onnxw() -> Hyperspace {
    static SPACE: OnceLock<Hyperspace> = OnceLock::new();
    SPACE.get_or_init(|| shipped("onnxw")).clone()
}

/// A hyperspace from its page.
pub(crate) fn shipped(name: &str) -> Hyperspace {
    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/spaces/");
    struct Pages;
    impl BlobSource for Pages {
        fn blob(&self, _: BlobHash) -> Option<bytes::Bytes> {
            None
        }

        fn import(&self, name: &str) -> Option<String> {
            std::fs::read_to_string(format!("{FOLDER}{name}.seir")).ok()
        }
    }
    let text = Pages.import(name).expect("a page");
    let graph = parse(&text, name, &Pages).into_result().expect("a space");
    Page::read(&graph).expect("a hyperspace").hyperspace
}

/// A hyperspace of two to four stages with one or two block types and windows each.
pub(crate) fn small(random: &mut Random) -> Hyperspace {
    let stage = |i: usize, random: &mut Random| {
        let widths: Vec<u32> = (1..=1 + random.below(2) as u32).map(|w| 8 * (w + i as u32)).collect();
        let block = |b: usize| Block {
            name: format!("B{b}"),
            kernels: vec![3, 5],
            expands: if b == 0 { vec![] } else { vec![Expand::integer(2), Expand::integer(4)] },
        };
        Stage {
            name: format!("stage{}", i + 1),
            window: 1,
            depths: (1, 2),
            stride: 1 + (i as u32 % 2),
            blocks: (0..1 + random.below(2)).map(block).collect(),
            widths,
        }
    };
    let stages = (0..2 + random.below(3)).map(|i| stage(i, random)).collect();
    Hyperspace { name: "small".into(), resolutions: vec![32, 64], stem: vec![], stages, head: vec![] }
}

/// Tables of a hyperspace with `rows` random rows each, in the published form.
pub(crate) fn sources(space: &Hyperspace, rows: usize, random: &mut Random) -> Sources {
    let mut sources = Sources::new();
    for (i, stage) in space.stages.iter().enumerate() {
        for (b, block) in stage.blocks.iter().enumerate() {
            for w in 0..stage.windows() {
                let mut text = String::new();
                for n in 0..rows {
                    let depth = stage.depths.0 + random.below((stage.depths.1 - stage.depths.0 + 1) as usize) as u32;
                    let part = |random: &mut Random| {
                        let expand =
                            if block.expands.is_empty() { "None".into() } else { random.pick(&block.expands).to_string() };
                        format!("{}#{}#{expand}", random.pick(&block.kernels), random.pick(stage.window(w)))
                    };
                    let parts: Vec<String> = (0..depth).map(|_| part(random)).collect();
                    let inputs = space.input_widths(i);
                    let channels = if inputs.is_empty() { 3 } else { *random.pick(inputs) };
                    let resolution = space.resolutions[n % space.resolutions.len()];
                    let size = space.input_size(i, resolution);
                    let number =
                        |random: &mut Random, most: usize| format!("{}.{:04}", random.below(most), random.below(10_000));
                    let (loss, latency) = (number(random, 1), number(random, 3));
                    let (macs, params) = (number(random, 50), number(random, 2));
                    writeln!(text, "{},1x{channels}x{size}x{size},{loss},{macs},{params},{latency}", parts.join("_"))
                        .expect("a string");
                }
                sources.insert(format!("{}_{b}_{w}.csv", stage.name), text.into_bytes().into());
            }
        }
    }
    sources
}

/// A pool with nothing added.
pub(crate) fn pool(tables: &Tables) -> Pool {
    let fixed = tables.resolutions.iter().map(|&r| (r, 100_000 * r)).collect();
    Pool::new(tables, Terms { fixed, ..Terms::default() }).expect("small numbers")
}

/// All spaces of a small hyperspace.
pub(crate) fn all_spaces(space: &Hyperspace) -> Vec<Choice> {
    (0..space.spaces()).map(|i| space.choice_at(i)).collect()
}

/// All subnets of a space with the weight of each, best first.
pub(crate) fn subnets(pool: &Pool, choice: &Choice) -> Vec<(u32, u32, f64)> {
    let mut all = Vec::new();
    for r in 0..pool.resolutions.len() {
        let mut sums = vec![0_u64];
        for s in 0..pool.hyperspace.stages.len() {
            let pairs = &pool.entry(s, pool.choice_index(choice, s), r).pairs;
            sums = sums.iter().flat_map(|sum| pairs.iter().map(move |p| sum + p)).collect();
        }
        let weight = 1.0 / (sums.len() * pool.resolutions.len()) as f64;
        all.extend(sums.iter().map(|&s| (loss(s), latency(s), weight)));
    }
    all.sort_by_key(|s| (s.0, s.1));
    all
}

/// The share within a limit, and the mean loss of the best `tail` of all that are within.
pub(crate) fn counted(all: &[(u32, u32, f64)], limit: u32, tail: f64) -> (f64, f64) {
    let within = || all.iter().filter(|s| s.1 <= limit);
    let share: f64 = within().map(|s| s.2).sum();
    let tail = tail.min(share);
    let (mut left, mut sum) = (tail, 0.0);
    for s in within() {
        let take = s.2.min(left);
        sum += take * f64::from(s.0);
        left -= take;
    }
    (share, sum / tail / 1e6)
}

/// Where the published tables of `onnxw` are expected.
pub(crate) fn published_path() -> PathBuf {
    let folder = std::env::var_os("SPACEEVO_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")), PathBuf::from);
    folder.join("nas/spaceevo_block_lut_onnx_vnni.tar.gz")
}

/// The published tables of `onnxw`, where they are: SPACEEVO_DATA, or beside the repository.
pub(crate) fn published() -> Option<&'static Tables> {
    static TABLES: OnceLock<Option<Tables>> = OnceLock::new();
    let read = || {
        let path = published_path();
        if !path.exists() {
            eprintln!("skipped: the published tables are not there ({})", path.display());
            return None;
        }
        Some(Tables::open(&path, &onnxw()).expect("published tables"))
    };
    TABLES.get_or_init(read).as_ref()
}

/// The pool of the published tables, with the latencies of the parts that are not searched that `score` is documented with.
pub(crate) fn published_pool() -> Option<Pool> {
    let terms = Terms { fixed: vec![(160, 1_750_000), (192, 2_240_000), (224, 2_800_000)], ..Terms::default() };
    published().map(|tables| Pool::new(tables, terms).expect("published tables"))
}
