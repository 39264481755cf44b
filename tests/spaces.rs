//! The command `space`: from a page to a network, and what it says to those who ask for what is not there.

use std::process::{Command, Output};

use spaceevo::search::recover;

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spaceevo-opt"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("the binary starts")
}

fn out(output: &Output) -> String {
    let said = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    assert_eq!(output.status.code(), Some(0), "{said}");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn refused(arguments: &[&str], what: &str) {
    ends(1, arguments, what);
}

fn ends(code: i32, arguments: &[&str], what: &str) {
    let output = run(arguments);
    let said = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(said.contains(what), "{arguments:?}: {said}");
}

#[test]
fn every_shipped_space_loads_and_has_a_summary() {
    for name in spaceevo::spaces::names() {
        let space = spaceevo::spaces::load(name).unwrap_or_else(|found| panic!("{name}: {found:#?}"));
        assert_eq!(space.page.hyperspace.name, name);
        assert!(spaceevo::spaces::summary(name).is_some_and(|text| text.len() > 10), "{name}");
    }
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/spaces")).expect("a folder").flatten();
    let pages = folder.filter(|file| file.path().extension().is_some_and(|e| e == "seir")).count();
    assert_eq!(spaceevo::spaces::names().count() + 1, pages, "all pages but the blocks are embedded");
}

#[test]
fn a_page_becomes_a_network() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (page, net) = (path("mine.seir"), path("net.onnx"));
    out(&run(&["space", "show", "cifar-0123-0120", "-o", &page]));
    assert!(out(&run(&["space", "count", &page])).contains("of cifar-0123-0120"));
    let sampled = out(&run(&["space", "sample", &page, "--seed", "4", "--count", "2"]));
    assert_eq!(sampled, out(&run(&["space", "sample", "cifar-0123-0120", "--seed", "4", "--count", "2"])));
    let subnet = sampled.lines().next().and_then(|line| line.strip_prefix("cifar-0123-0120 ")).expect("an encoding");
    out(&run(&["space", "specialize", &page, "--subnet", subnet, "--seed", "3", "-o", &net]));
    let again = path("again.onnx");
    out(&run(&["space", "specialize", "cifar", "--choice", "0123-0120", "--subnet", subnet, "--seed", "3", "-o", &again]));
    let bytes = std::fs::read(&net).expect("a network");
    assert!(bytes == std::fs::read(&again).expect("a network"), "the same seed gives the same network");
    let counted = out(&run(&["space", "count", &page, "--subnet", subnet, "--json"]));
    let counted: serde_json::Value = serde_json::from_str(&counted).expect("JSON");
    let inspected: serde_json::Value = serde_json::from_str(&out(&run(&["inspect", &net, "--json"]))).expect("JSON");
    assert!(counted["macs"].as_u64().is_some_and(|macs| macs > 100_000));
    assert!(inspected.to_string().contains(&format!(":{}", counted["macs"])), "{inspected}");
    // Activations neither vanish nor explode: the net's answers differ between pictures.
    let unfolded = out(&run(&["space", "show", &page, "--unfold"]));
    assert!(unfolded.contains("space.Crop") && !unfolded.contains("space.Repeat"), "{unfolded}");
}

#[test]
fn activations_of_a_random_network_keep_their_size() {
    use spaceevo::ir::interp::{Datum, run_all};
    use spaceevo::ir::tensor::Rand;
    use spaceevo::ir::{Elem, Tensor};
    let space = spaceevo::spaces::load("cifar-1111-0000").expect("a space");
    let choice = space.page.hyperspace.parse_choice("1111-0000").expect("a choice");
    let subnet = spaceevo::search::sample::subnet(&space.page.hyperspace, &choice, &[5]);
    let network = space.network(&choice, &subnet, 1).expect("a network");
    let extent = subnet.resolution as usize;
    let sums: Vec<_> = network.all_ops().into_iter().filter(|&op| network.op(op).name().is_onnx("Add")).collect();
    assert!(!sums.is_empty());
    let values: Vec<_> = sums.iter().map(|&op| network.op(op).result()).collect();
    let rand = Rand { seed: 8, within: Some((-2.0, 2.0)) };
    let input = Datum::Tensor(Tensor::random(Elem::F32, [1, 3, extent, extent], rand).expect("a picture"));
    let (_, kept) = run_all(&network, &[input], &values).expect("it runs");
    for datum in kept.into_iter().flatten() {
        let Datum::Tensor(tensor) = datum else { panic!("a tensor") };
        let numbers = tensor.to_f64().expect("numbers");
        let power = numbers.iter().map(|x| x * x).sum::<f64>() / numbers.len() as f64;
        assert!((0.05..50.0).contains(&power), "{power}");
    }
}

#[test]
fn subnets_are_priced_in_their_best_form() {
    let target = spaceevo::Target::named("x86-vnni").expect("a shipped target");
    let registry = spaceevo::registry();
    let space = spaceevo::spaces::load("onnxw-151122-023231").expect("a space");
    let choice = space.page.hyperspace.parse_choice("151122-023231").expect("a choice");
    for line in include_str!("../testdata/spaces/seqnets.txt").lines().filter(|l| l.starts_with("SEQnet@vnni-A0")) {
        let subnet = spaceevo::search::Subnet::parse(line.split(' ').nth(2).expect("an encoding")).expect("published");
        let price = space.price(&choice, &subnet, &target, &registry).expect("the target has prices");
        assert!(0.0 < price.best_us && price.best_us <= price.written_us && price.best_us < price.float_us, "{price:?}");
        assert!(price.passes.iter().any(|(pass, _)| pass == "fold-conv-bn"), "{price:?}");
        // Blocks priced alone are most of it; what is left is the stem and the head.
        let hyperspace = &space.page.hyperspace;
        let keys = recover::subnet_keys(hyperspace, &choice, &subnet);
        let all = keys.iter().cloned().chain(spaceevo::spaces::blocks_of_least(hyperspace, &[160]));
        let mut told = Vec::new();
        let mut note = |priced: &[_]| {
            told.extend_from_slice(priced);
            Ok(())
        };
        let quiet = spaceevo::convert::Silent;
        let priced = |known, seen: &mut spaceevo::spaces::Seen<'_>| {
            space.priced_blocks(all.clone(), &target, &registry, &quiet, known, seen).expect("prices")
        };
        let blocks = priced(Default::default(), &mut note);
        let sum = blocks.sum(&keys).expect("all of them") * 1e3;
        assert!(0.5 * price.best_us < sum && sum < price.best_us, "{sum} of {}", price.best_us);
        // What is not searched, taken from another subnet, makes up for the rest of this one.
        let fixed = space.fixed_ms(&[160], &blocks, &target, &registry).expect("the blocks are there")[0].1 * 1e3;
        assert!(fixed > 0.0 && ((sum + fixed) / price.best_us - 1.0).abs() < 0.1, "{sum} + {fixed}: {}", price.best_us);
        // Taken up again, it prices only what is missing.
        assert_eq!(told.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(), blocks.known);
        let mut half = blocks.known.clone();
        half.retain(|key, _| key.stride == 2);
        let mut again = Vec::new();
        let resumed = priced(half.clone(), &mut |priced: &[_]| {
            again.extend_from_slice(priced);
            Ok(())
        });
        assert_eq!(resumed, blocks);
        assert!(!half.is_empty() && again.len() + half.len() == told.len(), "{} {} {}", again.len(), half.len(), told.len());
        let portable = spaceevo::Target::named("portable").expect("a shipped target");
        assert_eq!(space.price(&choice, &subnet, &portable, &registry).expect_err("no prices")[0].code, "no-prices");
    }
    let least = "d1#1#2#2#2#2#2#1_k3#3#3#3#3#3#3#3#3#3#3#3#3_w16#16#32#32#64#64#112#112#144#144#240#240#320\
                 _e0#0.5#4.0#4.0#1.0#1.0#4.0#4.0#4.0#4.0#4.0#4.0#4.0_r160";
    let shown = out(&run(&["space", "price", "onnxw-151122-023231", "--subnet", least]));
    assert!(shown.contains("as written") && shown.contains("best form"), "{shown}");
    ends(2, &["space", "price", "onnxw", "--subnet", least, "--target", "nowhere"], "nowhere");
}

#[test]
fn what_is_not_there_is_said() {
    ends(2, &["space", "show", "onxw"], "did you mean 'onnxw'?");
    refused(&["space", "count", "onnxw-951122-023231"], "there is no '9'");
    refused(&["space", "count", "nowhere.seir"], "file-io");
    let net = "/nowhere/net.onnx";
    refused(&["space", "specialize", "onnxw", "--subnet", "d1_k3", "-o", net], "a subnet has five parts");
    let least = "d1#1#2#2#2#2#2#1_k3#3#3#3#3#3#3#3#3#3#3#3#3_w16#16#32#32#64#64#112#112#144#144#240#240#320\
                 _e0#0.5#4.0#4.0#1.0#1.0#4.0#4.0#4.0#4.0#4.0#4.0#4.0_r160";
    refused(&["space", "specialize", "onnxw", "--subnet", least, "-o", net], "V2Res, V3Res, FusedRes");
    refused(&["space", "specialize", "onnxw-000000-000000", "--subnet", least, "-o", net], "space-subnet");
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("page.seir");
    let write = |text: &str, what: &str| {
        std::fs::write(&page, text).expect("a file");
        refused(&["space", "show", &page.display().to_string()], what);
    };
    // Where, what, and what to do: each is a change of a page that is well made.
    let cifar = include_str!("../testdata/spaces/cifar.seir");
    for (from, to, what) in [
        (
            "types   = {V1Dual",
            "types   = {V9Dual",
            "page.seir:41:3: stage1: block: there is no block V9Dual: did you mean V1Dual?",
        ),
        ("$first.w in {8, 16}", "$first.w in {16, 8}", "page.seir:40:3: hyperspace cifar: the widths of first_conv"),
        (
            "$res in {24, 32}",
            "$res in 1..4000000000",
            "the extents of the picture: 1..4000000000 has more than 4096 values: a step",
        ),
        ("$s1.depth in 1..2", "$s1.depth in 1..4000000000", "page.seir:41:3: stage1: count: 1..4000000000 has more than"),
        ("$s1.depth in 1..2", "$s1.depth in 1..99", "page.seir:41:3: hyperspace cifar: stage1 cannot have 1 to 99 blocks"),
        ("size 2, at $s1.window", "size 9, at $s1.window", "page.seir:41:3: stage1: width: $s1.window must be in 0..0"),
        ("count = $s1.depth", "count = $s1.deptj", "did you mean $s1.depth?"),
    ] {
        assert!(cifar.contains(from), "{from}");
        write(&cifar.replacen(from, to, 1), what);
    }
    write("import \"../page\"\n", "text-import");
    write("graph @a(%x: f32[1,3,8,8]) {\n  return %x\n}\n", "no stage to search");
    write(
        "param $b in {V2Res}\ngraph @a(%x: f32[1,3,8,8]) {\n  %y = space.Repeat %x {block = $b, count = 2, width = 3 * 5}\n  return %y\n}\n",
        "space-shape",
    );
}
