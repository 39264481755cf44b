//! Hyperspaces are counted right, and their texts read and written byte for byte.

mod kit;

use kit::onnxw;
use spaceevo_search::{Choice, Expand, SubStage, Subnet};

#[test]
fn the_published_counts_come_out() {
    let space = onnxw();
    space.validate().expect("well-formed");
    assert_eq!(space.spaces(), 95_551_488);
    let windows: Vec<usize> = space.stages.iter().map(|s| s.windows()).collect();
    assert_eq!(windows, [2, 4, 4, 4, 4, 4]);
    for (text, subnets) in [("onnxw-151122-023231", 1.66e38), ("onnxw-121122-133333", 1.08e37)] {
        let counted = space.subnets(&space.parse_choice(text).expect("published"));
        assert!((counted / subnets - 1.0).abs() < 0.005, "{text}: {counted:e}");
    }
    let sizes: Vec<u32> = (0..6).map(|i| space.input_size(i, 208)).collect();
    assert_eq!(sizes, [104, 52, 26, 13, 13, 7]);
    assert_eq!(space.input_widths(0), [16, 32]);
}

#[test]
fn spaces_have_numbers() {
    let space = onnxw();
    for index in [0, 1, 4, 24, 77_777_777, 95_551_487] {
        let choice = space.choice_at(index);
        space.check(&choice).expect("in range");
        assert_eq!(space.index_of(&choice), index);
        assert_eq!(space.parse_choice(&space.print_choice(&choice)).expect("printed"), choice);
    }
    assert_eq!(space.homogeneous(1, 3).to_string(), "111111-133333");
}

#[test]
fn names_of_spaces_have_four_spellings() {
    let space = onnxw();
    let full = space.parse_choice("onnxw-151122-023231").expect("published");
    assert_eq!(full, Choice { blocks: vec![1, 5, 1, 1, 2, 2], windows: vec![0, 2, 3, 2, 3, 1] });
    for other in ["151122-023231", "151122_023231"] {
        assert_eq!(space.parse_choice(other).expect("the same"), full);
    }
    assert_eq!(space.parse_choice("onnxw-151122").expect("windows 0").windows, [0; 6]);
    for (bad, column) in [
        ("onnxw-15112-023231", 7),
        ("onnxw-161122-023231", 8),
        ("onnxw-151122-023241", 18),
        ("mobilew-151122-023231", 1),
        ("151122-02323", 8),
        ("onnxw-151122-023231-0", 1),
        ("", 1),
        ("é51122", 1),
        ("1A1122", 2),
    ] {
        let refused = space.parse_choice(bad).expect_err(bad);
        assert_eq!(refused.code, "space-encoding");
        assert!(refused.loc.to_string().ends_with(&format!(":1:{column}")), "{bad}: {refused}");
    }
}

#[test]
fn subnets_survive_reading() {
    let space = onnxw();
    let choice = space.parse_choice("onnxw-151122-023231").expect("published");
    // The least subnet of the published space, SEQnet@vnni-A0.
    let text = "d1#1#2#2#2#2#2#1_k3#3#3#3#3#3#3#3#3#3#3#3#3_w16#16#32#32#64#64#112#112#144#144#240#240#320\
                _e0#0.5#4.0#4.0#1.0#1.0#4.0#4.0#4.0#4.0#4.0#4.0#4.0_r160";
    let subnet = Subnet::parse(text).expect("well-formed");
    assert_eq!(subnet.to_string(), text);
    assert_eq!(subnet.stages().map(<[_]>::len).collect::<Vec<_>>(), [1, 1, 2, 2, 2, 2, 2, 1]);
    space.check_subnet(&choice, &subnet).expect("of this space");
    let other = space.parse_choice("onnxw-151122-123231").expect("a neighbour");
    let refused = space.check_subnet(&other, &subnet).expect_err("width 32 is outside of the window");
    assert_eq!(refused.len(), 2);
    assert!(refused[0].message.contains("block 1 of stage1 (V2Res): width 32"), "{}", refused[0]);
    for (bad, column) in [
        ("d1_k3_w16_e0", 1),
        ("d1_k3_w16_r160_e0", 11),
        ("d2_k3_w16_e0_r160", 4),
        ("d1_kx_w16_e0_r160", 5),
        ("d1_k3_w16_e1._r160", 12),
        ("d9999999_k3_w16_e0_r160", 1),
        ("d4294967295#4294967295_k3_w1_e0_r1", 1),
        ("d1_k03_w16_e0_r160", 5),
    ] {
        let refused = Subnet::parse(bad).expect_err(bad);
        assert!(refused.loc.to_string().ends_with(&format!(":1:{column}")), "{bad}: {refused}");
    }
}

#[test]
fn substages_and_ratios_keep_their_spelling() {
    for text in ["3#256#2_3#216#1_3#240#4", "3#32#None_5#48#None", "7#80#0.5_7#96#1.0"] {
        assert_eq!(SubStage::parse(text).expect("published").to_string(), text);
    }
    for bad in ["", "3#256", "3#256#2#1", "3#256#2_", "3#256#none", "3#256#2.50"] {
        assert_eq!(SubStage::parse(bad).expect_err(bad).code, "space-encoding");
    }
    assert_eq!(Expand::parse("4"), Expand::parse("4.0"));
    assert_eq!(Expand::parse("0.125").map(|e| e.to_string()), Some("0.125".to_owned()));
}

#[test]
fn malformed_hyperspaces_are_refused() {
    let mut space = onnxw();
    space.name = "a-b".into();
    space.resolutions.clear();
    space.stages[0].window = 4;
    space.stages[1].widths = vec![32, 32];
    space.stages[2].blocks.clear();
    space.stages[3].depths = (3, 2);
    space.stages[4].name = "stage6".into();
    space.stages[5].blocks[0].kernels.clear();
    space.head[0].widths.push(1920);
    let refused = space.validate().expect_err("nine mistakes");
    let text: Vec<String> = refused.iter().map(ToString::to_string).collect();
    for what in [
        "dashes",
        "resolutions",
        "keeps 4",
        "widths of stage2",
        "0 block types",
        "3 to 2",
        "called stage6",
        "kernels",
        "one width",
    ] {
        assert!(text.iter().any(|t| t.contains(what)), "{what}: {text:#?}");
    }
}
