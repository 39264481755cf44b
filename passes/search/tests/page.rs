//! The shipped pages are the published hyperspaces: their data, their encodings, and what their blocks and networks cost.

mod kit;

use std::collections::BTreeMap;

use spaceevo_ir::text::{BlobHash, BlobSource, PrintOptions, parse, print};
use spaceevo_ir::verify::{Form, verify};
use spaceevo_ir::{Graph, Severity, shape};
use spaceevo_passes::count::count;
use spaceevo_passes::unfold::{Weights, unfold};
use spaceevo_search::agreement::compare;
use spaceevo_search::page::{Page, bind};
use spaceevo_search::stage_counts::StageCounts;
use spaceevo_search::{BlockChoice, Expand, SubStage, Subnet, Tables};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/spaces/");

struct Shipped;

impl BlobSource for Shipped {
    fn blob(&self, _: BlobHash) -> Option<bytes::Bytes> {
        None
    }

    fn import(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(format!("{FOLDER}{name}.seir")).ok()
    }
}

fn names() -> Vec<String> {
    let files = std::fs::read_dir(FOLDER).expect("the folder of spaces").flatten();
    let stems = files.filter_map(|file| Some(file.file_name().to_str()?.strip_suffix(".seir")?.to_owned()));
    let mut names: Vec<String> = stems.filter(|name| name != "blocks").collect();
    names.sort();
    names
}

fn load(name: &str) -> (Graph, Page) {
    let text = std::fs::read_to_string(format!("{FOLDER}{name}.seir")).expect("a page");
    let graph = parse(&text, name, &Shipped).into_result().unwrap_or_else(|found| panic!("{name}: {found:#?}"));
    assert_eq!(verify(&graph, Form::Space), [], "{name}");
    let page = Page::read(&graph).unwrap_or_else(|found| panic!("{name}: {found:#?}"));
    (graph, page)
}

#[test]
fn every_page_reads_back_and_its_smallest_net_has_shapes() {
    assert!(names().len() >= 9);
    for name in names() {
        let (graph, page) = load(&name);
        assert_eq!(page.hyperspace.name, name);
        let text = print(&graph, &PrintOptions::default());
        let again = parse(&text, &name, &Shipped).into_result().unwrap_or_else(|found| panic!("{name}: {found:#?}\n{text}"));
        assert_eq!(print(&again, &PrintOptions::default()), text);
        for last in [false, true] {
            let (choice, subnet) = extreme(&page, last);
            let mut net = graph.clone();
            bind(
                &mut net.space,
                page.lines_of_subnet(&choice, &subnet).unwrap_or_else(|found| panic!("{name}: {found:#?}")),
            );
            assert_eq!(page.choice(&net.space).as_ref(), Some(&choice), "{name}");
            assert_eq!(page.subnet(&net.space).as_ref(), Some(&subnet), "{name}");
            unfold(&mut net, Weights::Declared).unwrap_or_else(|found| panic!("{name}: {found:#?}"));
            assert_eq!(shape::infer(&mut net), [], "{name}");
            count(&net).unwrap_or_else(|found| panic!("{name}: {found}"));
        }
    }
}

/// The least or the greatest subnet of the first or last space.
fn extreme(page: &Page, last: bool) -> (spaceevo_search::Choice, Subnet) {
    let space = &page.hyperspace;
    let at = if last { usize::MAX } else { 0 };
    let choice = space.homogeneous(at, at);
    let pick = |list: &[u32]| if last { list[list.len() - 1] } else { list[0] };
    let mut subnet = Subnet { depths: Vec::new(), blocks: Vec::new(), resolution: pick(&space.resolutions) };
    let stem = space.stem.iter().map(|s| (s, &s.blocks[0], s.widths.as_slice()));
    let searched = space.stages.iter().enumerate();
    let searched = searched.map(|(i, s)| (s, &s.blocks[usize::from(choice.blocks[i])], s.window(choice.windows[i].into())));
    for (stage, block, widths) in stem.chain(searched) {
        let depth = if last { stage.depths.1 } else { stage.depths.0 };
        let expand = if last { block.expands.last() } else { block.expands.first() };
        let one = BlockChoice { kernel: pick(&block.kernels), width: pick(widths), expand: expand.copied() };
        subnet.depths.push(depth);
        subnet.blocks.extend(std::iter::repeat_n(one, depth as usize));
    }
    (choice, subnet)
}

#[test]
fn the_page_of_onnxw_says_what_was_published() {
    let (_, page) = load("onnxw");
    let space = page.hyperspace;
    assert_eq!(space.stages.iter().map(|s| s.windows()).collect::<Vec<_>>(), [2, 4, 4, 4, 4, 4]);
    assert_eq!(space.stages.iter().map(|s| s.depths).collect::<Vec<_>>(), [(2, 4), (2, 4), (2, 6), (2, 6), (2, 6), (1, 2)]);
    assert_eq!(space.spaces(), 95_551_488);
    let (_, page) = load("mobilew");
    let space = page.hyperspace;
    assert_eq!(space.stages.iter().map(|s| s.windows()).collect::<Vec<_>>(), [2, 6, 6, 7, 5, 4]);
    assert_eq!(space.spaces(), 1_185_901_920);
    for (text, subnets) in
        [("mobilew-122222-155400", 3.64e48), ("mobilew-332160-134200", 1.73e46), ("mobilew-112220-154410", 4.17e47)]
    {
        let choice = space.parse_choice(text).expect("published");
        assert_eq!(space.print_choice(&choice), text);
        let counted = space.subnets(&choice);
        assert!((counted / subnets - 1.0).abs() < 0.005, "{text}: {counted:e}");
    }
}

/// Widths of `first_conv` and `stage0`, then widths, widths of a window (0 for all) and depths of each searched stage, as published.
type Published = (&'static str, [Vec<u32>; 2], [(Vec<u32>, usize, (u32, u32)); 6], &'static [&'static str]);

#[test]
fn seven_hyperspaces_are_as_published() {
    let range = |from: u32, to: u32, step: u32| (from..=to).step_by(step as usize).collect::<Vec<u32>>();
    let legacy = |depths: [(u32, u32); 6]| {
        let widths =
            [vec![24, 32], range(40, 56, 8), range(80, 104, 8), range(96, 128, 8), range(192, 256, 16), range(320, 416, 16)];
        let mut depths = depths.into_iter();
        widths.map(|w| (w, 0, depths.next().expect("six")))
    };
    let onnx = || {
        [
            (vec![32, 48], 0, (2, 3)),
            (vec![48, 64], 0, (2, 4)),
            (range(80, 128, 16), 0, (2, 6)),
            (vec![128, 144], 0, (2, 6)),
            (range(192, 256, 16), 0, (2, 6)),
            (range(320, 432, 16), 0, (1, 2)),
        ]
    };
    let all: Vec<Published> = vec![
        (
            "mobilew",
            [vec![16, 24, 32], vec![16, 24, 32]],
            [
                (vec![24, 32, 40], 2, (2, 4)),
                (range(24, 72, 8), 2, (2, 4)),
                (range(56, 112, 8), 3, (2, 6)),
                (range(112, 176, 8), 3, (2, 8)),
                (vec![192, 200, 208, 216, 224, 240, 256, 272, 288], 5, (2, 8)),
                (range(216, 360, 16), 7, (1, 2)),
            ],
            &[
                "V1Dual 357 0",
                "V2Res 357 3 6 8",
                "V3ResSwish 357 3 6 8",
                "ResNet 35 0.5 1.0 1.5",
                "FusedSE 357 1 2 3 4",
                "V3K3 357 3 6 8",
                "V2K3 357 3 6 8",
            ],
        ),
        (
            "onnxw",
            [vec![16, 32], vec![16, 32]],
            [
                (range(32, 64, 16), 2, (2, 4)),
                (range(32, 96, 16), 2, (2, 4)),
                (range(64, 144, 16), 3, (2, 6)),
                (range(112, 192, 16), 3, (2, 6)),
                (range(192, 304, 16), 5, (2, 6)),
                (range(304, 448, 16), 7, (1, 2)),
            ],
            &[
                "V1Dual 35 0",
                "V2Res 35 4 6 8",
                "V3Res 35 4 6 8",
                "ResNet 357 0.5 1.0 1.5",
                "ResNetSE 357 0.5 1.0 1.5",
                "FusedRes 357 1 2 3 4",
            ],
        ),
        ("mobile_original", [vec![32, 40], vec![16, 24]], legacy([(2, 4); 6]), &[]),
        ("mobile_v1", [vec![32, 40], vec![16, 24]], legacy([(2, 4), (2, 4), (2, 4), (2, 6), (2, 6), (1, 2)]), &[]),
        ("mobile_v1_res", [vec![32, 40], vec![16, 24]], legacy([(2, 4), (2, 4), (2, 4), (2, 6), (2, 6), (1, 2)]), &[]),
        ("onnx", [vec![16, 32], vec![16, 32]], onnx(), &[]),
        ("onnx_v1", [vec![16, 32], vec![16, 32]], onnx(), &[]),
    ];
    for (name, stem, stages, blocks) in all {
        let (_, page) = load(name);
        let space = page.hyperspace;
        let widths: Vec<&Vec<u32>> = space.stem.iter().map(|s| &s.widths).collect();
        assert_eq!(widths, stem.iter().collect::<Vec<_>>(), "{name}");
        let strides: Vec<u32> = space.deep_stages().map(|s| s.stride).collect();
        assert_eq!(strides, [2, 1, 2, 2, 2, 1, 2, 1], "{name}");
        for (have, (widths, window, depths)) in space.stages.iter().zip(stages) {
            let window = if window == 0 { widths.len() } else { window };
            assert_eq!((&have.widths, have.window, have.depths), (&widths, window, depths), "{name} {}", have.name);
            let kinds = have.blocks.iter().map(|b| {
                let kernels: String = b.kernels.iter().map(u32::to_string).collect();
                let expands: Vec<String> = b.expands.iter().map(Expand::to_string).collect();
                format!("{} {kernels} {}", b.name, if expands.is_empty() { "0".into() } else { expands.join(" ") })
            });
            assert!(blocks.is_empty() || kinds.eq(blocks.iter().map(|b| (*b).to_owned())), "{name} {}", have.name);
        }
        let head: Vec<&[u32]> = space.head.iter().map(|s| &s.widths[..]).collect();
        assert_eq!(head, [&[1280][..], &[1920], &[1000]], "{name}");
        // Where blocks are made of, by resolution: odd sizes are rounded up.
        let size = |r: u32| (0..6).map(|s| space.input_size(s, r)).chain([space.input_size(5, r)]).collect::<Vec<u32>>();
        for (resolution, sizes) in [
            (224, [112, 56, 28, 14, 14, 7, 7]),
            (208, [104, 52, 26, 13, 13, 7, 7]),
            (192, [96, 48, 24, 12, 12, 6, 6]),
            (176, [88, 44, 22, 11, 11, 6, 6]),
            (160, [80, 40, 20, 10, 10, 5, 5]),
        ] {
            assert_eq!(size(resolution), sizes, "{name} at {resolution}");
        }
    }
}

/// Ten published networks and what they cost: million MACs, million parameters.
const NETS: &str = include_str!("../../../testdata/spaces/seqnets.txt");

#[test]
fn published_networks_cost_what_was_published() {
    let mut pages = BTreeMap::new();
    let mut seen = 0;
    for line in NETS.lines().filter(|line| !line.starts_with('#')) {
        let [name, space, encoding, macs, params] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let hyperspace = space.split('-').next().expect("a name");
        let (graph, page) = pages.entry(hyperspace).or_insert_with(|| load(hyperspace));
        let subnet = Subnet::parse(encoding).expect(name);
        assert_eq!(subnet.to_string(), encoding);
        let choice = page.hyperspace.parse_choice(space).expect(name);
        let mut net = graph.clone();
        bind(&mut net.space, page.lines_of_subnet(&choice, &subnet).unwrap_or_else(|found| panic!("{name}: {found:#?}")));
        unfold(&mut net, Weights::Declared).unwrap_or_else(|found| panic!("{name}: {found:#?}"));
        let found = shape::infer(&mut net);
        assert!(found.iter().all(|d| d.severity != Severity::Error), "{name}: {found:#?}");
        let counts = count(&net).expect(name);
        assert_eq!(format!("{:.1}", counts.macs as f64 / 1e6), macs, "{name}");
        assert_eq!(format!("{:.2}", counts.params_with_quantizers() as f64 / 1e6), params, "{name}");
        seen += 1;
    }
    assert_eq!(seen, 10);
}

#[test]
fn blocks_cost_what_was_published() {
    let (_, page) = load("onnxw");
    let mut counts = StageCounts::new(&page.table);
    for (block, size, channels, width, kernel, expand, stride, macs, params) in [
        ("V1Dual", 112, 32, 32, 3, None, 2, 11_440_128, 3983),
        ("V2Res", 112, 16, 32, 3, Some("4"), 2, 22_679_552, 4556),
        ("V2Res", 14, 128, 128, 5, Some("6"), 1, 42_298_368, 219_145),
        ("V3Res", 14, 128, 128, 3, Some("6"), 1, 40_184_832, 502_735),
        ("V3Res", 14, 112, 144, 7, Some("8"), 2, 29_334_144, 696_114),
        ("V2K3", 14, 128, 128, 7, Some("3"), 1, 21_299_712, 110_479),
        ("V3K3", 28, 64, 72, 5, Some("6"), 2, 27_018_240, 139_797),
        ("ResNet", 56, 32, 48, 5, Some("1.5"), 2, 112_745_472, 137_388),
        ("ResNet", 14, 128, 128, 3, Some("0.5"), 1, 10_436_608, 53_769),
        ("ResNetSE", 14, 112, 128, 7, Some("1.0"), 1, 166_191_104, 857_266),
        ("FusedRes", 56, 48, 64, 3, Some("2"), 2, 39_739_392, 51_145),
        ("FusedSE", 14, 104, 112, 5, Some("4"), 1, 223_428_608, 1_161_543),
    ] {
        let choice = BlockChoice { kernel, width, expand: expand.and_then(Expand::parse) };
        let found =
            counts.block(block, choice, channels, size, stride).unwrap_or_else(|found| panic!("{block}: {found:#?}"));
        assert_eq!((found.macs, found.params_with_quantizers()), (macs, params), "{block} {size} {channels} {width}");
    }
}

/// Some rows of the published table of each block: MACs and parameters to the last digit.
#[test]
fn rows_of_the_published_tables_come_out() {
    let (_, page) = load("onnxw");
    let mut counts = StageCounts::new(&page.table);
    let rows = include_str!("../../../testdata/spaces/vnni-rows.csv");
    let mut seen = 0;
    for line in rows.lines() {
        let fields: Vec<&str> = line.split(',').collect();
        let digits = |at: usize| fields[at].parse::<usize>().expect("a number");
        let (stage, block) = (&page.hyperspace.stages[digits(0) - 1], digits(1));
        let input: Vec<u32> = fields[3].split('x').map(|n| n.parse().expect("an extent")).collect();
        let sub = SubStage::parse(fields[2]).expect("a row");
        let name = &stage.blocks[block].name;
        let found = counts.stage(name, &sub, (input[1], input[2]), stage.stride).expect("a stage");
        let published: f64 = fields[5].parse().expect("million MACs");
        let macs = found.macs as f64 / 1e6;
        // The published sums were made in single precision, which shows beyond 900 million.
        let exact = format!("{macs:.4}") == fields[5];
        assert!(exact || macs > 900.0 && (macs - published).abs() < 3e-7 * macs, "{line}: {macs}");
        assert_eq!(format!("{:.4}", found.params_with_quantizers() as f64 / 1e6), fields[6], "{line}");
        seen += 1;
    }
    assert_eq!(seen, 144);
}

#[test]
fn every_row_of_the_published_tables_comes_out() {
    let Some(tables) = kit::published() else { return };
    let (_, page) = load("onnxw");
    let found = compare(&page, tables).expect("rows that can be counted");
    println!("{} rows equal, {} within single precision, {} different", found.equal, found.rounded, found.different.len());
    assert_eq!((found.equal, found.rounded, found.different), (131_751, 249, Vec::new()));
}

/// A table whose numbers are not those of its blocks is found out.
#[test]
fn tables_are_counted_anew() {
    let (_, page) = load("onnxw");
    let folder = tempfile::tempdir().expect("a folder");
    let rows = include_str!("../../../testdata/spaces/vnni-rows.csv");
    // The first of the four rows of each kind is from the first window.
    for line in rows.lines().step_by(4) {
        let (place, row) = (&line[..3], &line[4..]);
        let row = if place == "3,1" { row.replace(",135.", ",136.") } else { row.to_owned() };
        let file = folder.path().join(format!("stage{}_{}_0.csv", &place[..1], &place[2..]));
        std::fs::write(file, format!("{row}\n")).expect("a table");
    }
    let tables = Tables::open(folder.path(), &page.hyperspace).expect("tables with gaps");
    let found = compare(&page, &tables).expect("rows that can be counted");
    let different: Vec<&str> = found.different.iter().map(|(table, ..)| table.as_str()).collect();
    assert_eq!((found.equal + found.rounded, different), (35, vec!["stage3_1_0.csv"]));
    assert!(found.shapes > 36);
}
