//! Tables: read, refused with file and line, written again byte for byte, described.

mod kit;

use kit::{onnxw, published, shipped, small, sources};
use spaceevo_search::SubStage;
use spaceevo_search::random::Random;
use spaceevo_search::recover::{Key, recover};
use spaceevo_search::source::{BlockSum, LatencySource, SubStageAt, priced};
use spaceevo_search::tables::{Sources, outliers, statistics};
use spaceevo_search::{Expand, Tables};

fn one(text: &str) -> Sources {
    Sources::from([("stage1_0_0.csv".to_owned(), text.as_bytes().to_vec().into())])
}

#[test]
fn wrong_rows_are_refused_at_their_place() {
    let good = "3#48#None_5#32#None,1x32x80x80,0.3918,19.5072,0.0130,0.9899\n";
    let tables = Tables::parse(&one(good), &onnxw()).expect("a published row");
    let row = &tables.table(0, 0, 0).expect("there").rows[0];
    assert_eq!((row.channels, row.width, row.resolution), (32, 32, 160));
    assert_eq!((row.loss, row.latency, row.macs, row.params), (391_800, 989_900, 19_507_200, 13_000));
    for (bad, column, what) in [
        ("7#48#None_5#32#None,1x32x80x80,0.3918,19.5072,0.0130,0.9899", 1, "kernel 7"),
        ("3#64#None_5#32#None,1x32x80x80,0.3918,19.5072,0.0130,0.9899", 3, "width 64"),
        ("3#48#4_5#32#None,1x32x80x80,0.3918,19.5072,0.0130,0.9899", 6, "'4' is no expansion"),
        ("3#48#None,1x32x80x80,0.3918,19.5072,0.0130,0.9899", 1, "2 to 4 blocks"),
        ("3#48#None_5#32#None,1x48x80x80,0.3918,19.5072,0.0130,0.9899", 23, "48 input channels"),
        ("3#48#None_5#32#None,1x32x81x81,0.3918,19.5072,0.0130,0.9899", 26, "no resolution"),
        ("3#48#None_5#32#None,1x32x80x88,0.3918,19.5072,0.0130,0.9899", 26, "no resolution"),
        ("3#48#None_5#32#None,1x32x80x80,-0.3918,19.5072,0.0130,0.9899", 32, "at least 0"),
        ("3#48#None_5#32#None,1x32x80x80,nan,19.5072,0.0130,0.9899", 32, "at least 0"),
        ("3#48#None_5#32#None,1x32x80x80,0.3918,19.5072,0.0130,99999", 56, "too large"),
        ("3#48#None_5#32#None,1x32x80x80,0.3918,19.5072,0.0130,0.9899,1", 62, "more than six"),
        ("3#48#None_5#32#None,1x32x80x80,0.3918,19.5072,0.0130", 54, "','"),
        ("\u{e9}", 1, "a number"),
    ] {
        let refused = Tables::parse(&one(&format!("{good}{bad}\n{good}")), &onnxw()).expect_err(bad);
        assert_eq!(refused.len(), 1, "{bad}");
        assert_eq!(refused[0].code, "table-row");
        let text = refused[0].to_string();
        assert!(text.contains("stage1_0_0.csv:2:") && text.contains(what), "{bad}: {text}");
        if what != "too large" && what != "','" && what != "more than six" {
            assert!(text.contains(&format!(":2:{column}:")), "{bad}: {text}");
        }
    }
    assert_eq!(Tables::parse(&one(""), &onnxw()).expect_err("empty")[0].code, "table-row");
    let many = "x\n".repeat(100);
    assert_eq!(Tables::parse(&one(&many), &onnxw()).expect_err("many").len(), 8);
}

#[test]
fn tables_of_another_hyperspace_fill_one_screen() {
    let all = sources(&shipped("mobilew"), 40, &mut Random::new(&[5]));
    let refused = Tables::parse(&all, &onnxw()).expect_err("other widths");
    assert_eq!(refused.len(), 16);
    assert!(refused[15].to_string().contains("of 210 tables have such rows: are they tables of onnxw?"), "{}", refused[15]);
}

#[test]
fn gaps_are_named_and_spaces_that_need_them_refused() {
    let mut random = Random::new(&[5]);
    let space = loop {
        let space = small(&mut random);
        if space.spaces() > 8 {
            break space;
        }
    };
    let mut all = sources(&space, 6, &mut random);
    let last = all.keys().next_back().cloned().expect("several");
    all.remove(&last);
    let first = all.keys().next().cloned().expect("several");
    let text = String::from_utf8(all[&first].to_vec()).expect("text");
    let half: String = text.lines().filter(|l| l.contains("x64x64")).map(|l| format!("{l}\n")).collect();
    all.insert(first.clone(), half.into_bytes().into());
    let tables = Tables::parse(&all, &space).expect("what is there is fine");
    let named: Vec<_> = tables.gaps.iter().map(|g| (g.name.clone(), g.resolution)).collect();
    assert_eq!(named, [(first, Some(32)), (last, None)]);
    let pool = kit::pool(&tables);
    let covered = kit::all_spaces(&space).into_iter().filter(|c| {
        let covered = tables.covers(c);
        assert_eq!(covered.is_ok(), pool.covers(c));
        assert!(covered.is_ok() || covered.expect_err("a gap").code == "table-gap");
        pool.covers(c)
    });
    assert!(covered.count() < space.spaces() as usize);
    let wishes = spaceevo_search::next::next(&tables, &pool, 100_000_000);
    assert_eq!(wishes.len(), tables.gaps.len());
    assert!(wishes.windows(2).all(|p| p[0].gain >= p[1].gain));
    // With no time at all, no table helps.
    assert!(spaceevo_search::next::next(&tables, &pool, 1).iter().all(|w| w.gain == 0.0));
}

#[test]
fn archives_folders_and_binaries_hold_the_same() {
    let mut random = Random::new(&[6]);
    let space = small(&mut random);
    let all = sources(&space, 8, &mut random);
    let tables = Tables::parse(&all, &space).expect("random tables");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("small")).expect("a folder");
    let mut tar = tar::Builder::new(Vec::new());
    for (stage, .., table) in tables.iter() {
        let text = tables.to_csv(table, stage);
        assert_eq!(text.as_bytes(), &*all[&table.name]);
        std::fs::write(folder.path().join("small").join(&table.name), &text).expect("written");
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("lut/small/{}", table.name), text.as_bytes()).expect("appended");
    }
    let archive = folder.path().join("lut.tar");
    std::fs::write(&archive, tar.into_inner().expect("finished")).expect("written");
    let binary = folder.path().join("lut.bin");
    let bytes = tables.to_bytes();
    std::fs::write(&binary, &bytes).expect("written");
    for path in [folder.path(), &archive, &binary] {
        assert_eq!(Tables::open(path, &space).expect("the same tables").checksum(), tables.checksum());
    }
    for at in [0, 9, 15, 21, bytes.len() / 2, bytes.len() - 1] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 4;
        assert_eq!(Tables::from_bytes(&damaged, "t", &space).expect_err("damaged")[0].code, "table-format", "byte {at}");
    }
    assert!(Tables::from_bytes(&bytes[..bytes.len() - 1], "t", &space).is_err());
    assert_eq!(Tables::open(&binary, &onnxw()).expect_err("of another hyperspace")[0].code, "table-format");
    let empty = tempfile::tempdir().expect("a folder");
    assert_eq!(Tables::open(empty.path(), &space).expect_err("nothing")[0].code, "table-format");
    assert_eq!(Tables::open(&empty.path().join("no"), &space).expect_err("nothing")[0].code, "file-io");
    std::fs::write(empty.path().join("t.tar.gz"), [0x1f, 0x8b, 8, 0]).expect("written");
    assert_eq!(Tables::open(&empty.path().join("t.tar.gz"), &space).expect_err("cut off")[0].code, "table-format");
}

#[test]
fn the_published_tables_are_as_described() {
    let Some(tables) = published() else { return };
    assert_eq!((tables.rows(), tables.iter().count(), tables.gaps.len()), (132_000, 132, 0));
    assert_eq!(tables.resolutions, [160, 192, 224]);
    // Every row, byte for byte.
    let texts = Tables::gather(&kit::published_path(), &tables.hyperspace).expect("published tables");
    for (stage, .., table) in tables.iter() {
        for row in &table.rows {
            let text = table.substage_text(row);
            assert_eq!(SubStage::parse(text).expect("published").to_string(), text);
        }
        assert!(tables.to_csv(table, stage).as_bytes() == &texts[&table.name][..], "{}", table.name);
    }
    let all = statistics(tables);
    assert_eq!(all.len(), 36);
    // Least, mean and most loss and latency of two stages, as published.
    for (stage, block, loss, ms) in [
        ("stage1", "V1Dual", [0.2510, 0.3557, 0.4352], [0.659, 2.167, 5.603]),
        ("stage5", "V2Res", [0.9528, 0.9804, 1.0016], [0.453, 2.346, 57.321]),
        ("stage6", "FusedRes", [0.8362, 0.8935, 0.9873], [0.173, 3.721, 24.845]),
    ] {
        let found = all.iter().find(|s| s.stage == stage && s.block == block).expect("there");
        for (have, want, digits) in [
            (found.loss.least, loss[0], 5e-5),
            (found.loss.mean, loss[1], 5e-5),
            (found.loss.most, loss[2], 5e-5),
            (found.latency_ms.least, ms[0], 5e-4),
            (found.latency_ms.mean, ms[1], 5e-4),
            (found.latency_ms.most, ms[2], 5e-4),
        ] {
            assert!((have - want).abs() <= digits * 1.01, "{stage} {block}: {have} is not {want}");
        }
    }
    // The two known measurement errors stand out.
    let far = outliers(tables, 3.0);
    for (table, ms) in [("stage2_1_", 34.13), ("stage5_1_", 54.43)] {
        assert!(far.iter().any(|o| o.table.starts_with(table) && o.latency_ms > ms), "{table}: {far:#?}");
    }
}

#[test]
fn blocks_are_recovered_from_sums() {
    let Some(tables) = published() else { return };
    let (blocks, report) = recover(tables).expect("published tables");
    let keys: usize = report.iter().map(|r| r.keys).sum();
    assert!(blocks.residual <= 1.05e-4, "{}", blocks.residual);
    assert_eq!(keys, 45_788);
    assert_eq!(report.iter().map(|r| r.determined).sum::<usize>(), 43_879);
    // Stages share some blocks.
    assert!((40_000..43_879).contains(&blocks.known.len()), "{}", blocks.known.len());
    let key = |block: &str, size, input, output, kernel, expand: Option<&str>, stride| Key {
        block: block.into(),
        size,
        input,
        output,
        kernel,
        expand: expand.and_then(Expand::parse),
        stride,
    };
    for (key, ms) in [
        (key("V2Res", 112, 16, 32, 3, Some("4"), 2), 0.8141),
        (key("V2Res", 56, 32, 32, 3, Some("4"), 1), 0.8079),
        (key("FusedRes", 56, 32, 64, 3, Some("1"), 2), 0.2966),
        (key("FusedRes", 28, 64, 64, 3, Some("1"), 1), 0.4776),
        (key("ResNet", 28, 64, 80, 3, Some("0.5"), 2), 0.1916),
        (key("V3Res", 14, 128, 128, 5, Some("8"), 1), 2.2214),
        (key("ResNetSE", 14, 128, 128, 7, Some("1.5"), 1), 3.2743),
        (key("V1Dual", 14, 144, 240, 3, None, 2), 0.1975),
        (key("V3Res", 7, 256, 256, 3, Some("6"), 1), 1.1258),
    ] {
        let found = blocks.latency(&key).expect("determined");
        assert!((found - ms).abs() < 1.5e-4, "{key}: {found} is not {ms}");
    }
    // The two measurements that are known to be wrong.
    for (key, ms) in
        [(key("V2Res", 28, 64, 80, 5, Some("6"), 1), 34.13), (key("V2Res", 6, 240, 224, 5, Some("8"), 1), 54.43)]
    {
        assert!((blocks.latency(&key).expect("determined") - ms).abs() < 0.01);
    }
    let missing = blocks.latency(&key("V2Res", 28, 64, 80, 9, Some("6"), 1)).expect_err("no such kernel");
    assert_eq!(missing.code, "block-latency");
    assert!(missing.message.contains("V2Res_28_64_80_9_6_1"));
    // The least subnet of the published space: blocks, stem and head.
    let space = onnxw();
    let choice = space.parse_choice("151122-023231").expect("published");
    let text = "d1#1#2#2#2#2#2#1_k3#3#3#3#3#3#3#3#3#3#3#3#3_w16#16#32#32#64#64#112#112#144#144#240#240#320\
                _e0#0.5#4.0#4.0#1.0#1.0#4.0#4.0#4.0#4.0#4.0#4.0#4.0_r160";
    let sum = BlockSum { hyperspace: &space, blocks: &blocks };
    let searched = sum.subnet(&choice, &spaceevo_search::Subnet::parse(text).expect("published")).expect("all known");
    assert!((searched + 1.75 - 5.84).abs() < 0.01, "{searched}");
    let cache = spaceevo_search::block_cache::BlockCache::new(&space, &choice, &blocks);
    let cached = cache.latency(&spaceevo_search::Subnet::parse(text).expect("published")).expect("all known");
    assert!((cached - searched).abs() < 1e-4, "{cached} {searched}");
    assert_eq!(
        cache.latency(&spaceevo_search::Subnet::parse(&text.replace("_w16#16#32", "_w16#16#64")).expect("well-formed")),
        None
    );
    // A table priced by its blocks is the same table.
    let table = tables.table(3, 2, 1).expect("there");
    for row in table.rows.iter().take(50) {
        let parts = table.substage(row).expect("published").0;
        let at = SubStageAt { stage: 3, block: 2, input: row.channels, resolution: row.resolution, blocks: &parts };
        if let Ok(ns) = sum.latency(&at) {
            assert!(ns.abs_diff(row.latency) <= 300, "{}: {ns}", row.latency);
        }
    }
    struct Twice;
    impl LatencySource for Twice {
        fn latency(&self, at: &SubStageAt<'_>) -> Result<u32, spaceevo_ir::Diagnostic> {
            Ok(at.blocks.len() as u32 * 1000)
        }
    }
    let counted = priced(tables, None, Some(&Twice)).expect("always known");
    let row = &counted.table(0, 0, 0).expect("there").rows[2];
    assert_eq!((row.latency, row.loss), (3000, tables.table(0, 0, 0).expect("there").rows[2].loss));
}
