//! The verbs of `space` as scripts and people meet them: results, refusals, an evolution that is interrupted.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const FIXED: &str = "160=1.75,192=2.24,224=2.80";

fn space(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_spaceevo-opt")).arg("space").args(arguments).output().expect("the binary starts")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it was not killed")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn json(output: &Output) -> serde_json::Value {
    assert_eq!(code(output), 0, "{}", err(output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The published tables as one binary file in a folder of its own, or `None` where they are not.
fn tables() -> Option<(tempfile::TempDir, String)> {
    let folder = std::env::var_os("SPACEEVO_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data")), PathBuf::from);
    let archive = folder.join("nas/spaceevo_block_lut_onnx_vnni.tar.gz");
    if !archive.exists() {
        eprintln!("skipped: the published tables are not there ({})", archive.display());
        return None;
    }
    let own = tempfile::tempdir().expect("a folder");
    let binary = own.path().join("lut.bin").display().to_string();
    let made = space(&["tables", "onnxw", "--tables", &archive.display().to_string(), "--binary", &binary, "--json"]);
    assert_eq!(json(&made)["rows"], 132_000);
    Some((own, binary))
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_read() {
    let with = |arguments: &[&str]| {
        let all: Vec<&str> =
            arguments.iter().copied().chain(["--tables", "/no/such/folder", "--fixed-ms", FIXED, "--limit", "10"]).collect();
        space(&all)
    };
    for (arguments, exit, what) in [
        (&["score", "nothing", "--choice", "0-0"][..], 2, "'nothing'"),
        (&["score", "onnxw", "--choice", "151122-023231"], 1, "/no/such/folder"),
        (&["score", "onnxw", "--choice", "151122-023231", "--top", "0"], 2, "--top"),
        (&["score", "onnxw", "--choice", "151122-023231", "--common"], 2, "--method sampled"),
        (&["evolve", "onnxw", "--tournament", "0"], 2, "--tournament"),
        (&["rank", "onnxw", "--method", "sampled"], 2, "--method"),
        (&["search", "onnxw", "--top", "3", "--certify", "x"], 2, "cannot be used with"),
    ] {
        let refused = with(arguments);
        assert_eq!(code(&refused), exit, "{arguments:?}: {}", err(&refused));
        assert!(err(&refused).contains(what), "{arguments:?}: {}", err(&refused));
    }
    let refused =
        space(&["score", "onnxw", "--choice", "151122-023231", "--tables", ".", "--fixed-ms", FIXED, "--limit", "-1"]);
    assert_eq!(code(&refused), 2, "{}", err(&refused));
    for verb in ["score", "evolve", "search", "subnets", "certify", "check", "compare", "rank", "price", "tables"] {
        let help = space(&[verb, "--help"]);
        assert!(code(&help) == 0 && String::from_utf8_lossy(&help.stdout).contains("Example:"), "{verb}");
    }
}

#[test]
fn published_tables_are_scored_searched_and_certified() {
    let Some((folder, tables)) = tables() else { return };
    let with = |arguments: &[&str]| {
        space(&arguments.iter().copied().chain(["--tables", &tables, "--fixed-ms", FIXED, "--json"]).collect::<Vec<_>>())
    };
    let scored =
        json(&with(&["score", "onnxw", "--choice", "151122-023231", "--limit", "10", "--limit", "15", "--replicates", "4"]));
    assert!((scored["score"].as_f64().expect("a number") - 0.8031).abs() < 0.0016, "{scored}");
    assert!(scored["interval_95"][0].as_f64() < scored["score"].as_f64());
    assert_eq!(scored["limits"].as_array().expect("a list").len(), 2);
    let sampled = ["score", "onnxw", "--choice", "151122-023231", "--limit", "10", "--method", "sampled", "--seed", "3"];
    assert_eq!(with(&sampled).stdout, with(&sampled).stdout);
    let poor = with(&["score", "onnxw", "--choice", "222222-000000", "--limit", "5", "--replicates", "0"]);
    assert!(json(&poor)["score"].as_f64().expect("a number") < 1e-5 && err(&poor).contains("no subnet within 5 ms"));
    let refused = with(&["score", "onnxw", "--choice", "161122-023231", "--limit", "10"]);
    assert!(code(&refused) == 2 && err(&refused).contains("encoding:1:2"), "{}", err(&refused));

    let proof = folder.path().join("best.cert");
    let shown = proof.display().to_string();
    let found = json(&with(&["search", "onnxw", "--limit", "10", "--certify", &shown, "--curve", "5"]));
    assert_eq!((found["best"]["loss"].as_f64(), found["best"]["resolution"].as_u64()), (Some(2.3415), Some(160)));
    assert_eq!(found["spaces"], "95551488");
    let checked = json(&space(&["check", &shown, "--tables", &tables, "--json"]));
    assert_eq!((checked["valid"].as_bool(), checked["best"]["loss"].as_f64()), (Some(true), Some(2.3415)));
    let text = std::fs::read_to_string(&proof).expect("written");
    std::fs::write(&proof, text.replacen("claim 23415", "claim 23414", 1)).expect("written");
    let refused = space(&["check", &shown, "--tables", &tables]);
    assert!(code(&refused) == 1 && err(&refused).contains("changed or damaged"), "{}", err(&refused));
    let best = folder.path().join("space.cert");
    let shown = best.display().to_string();
    let found = json(&with(&["certify", "onnxw", "--limit", "25", "-o", &shown]));
    assert_eq!((found["space"].as_str(), found["spaces"].as_str()), (Some("onnxw-121122-133331"), Some("95551488")));
    assert_eq!(code(&with(&["certify", "onnxw", "--limit", "25", "-o", &shown])), 1, "nothing is overwritten");
    let checked = json(&space(&["check", &shown, "--tables", &tables, "--json"]));
    assert_eq!((checked["valid"].as_bool(), &checked["scored"]), (Some(true), &found["scored"]));
    let text = std::fs::read_to_string(&best).expect("written");
    std::fs::write(&best, text.replacen("least 0.46", "least 0.45", 1)).expect("written");
    let refused = space(&["check", &shown, "--tables", &tables]);
    assert!(code(&refused) == 1 && err(&refused).contains("changed or damaged"), "{}", err(&refused));
    let refused = with(&["certify", "onnxw", "--limit", "1", "-o", &folder.path().join("none.cert").display().to_string()]);
    assert!(code(&refused) == 1 && err(&refused).contains("no subnet of onnxw is within 1 ms"), "{}", err(&refused));
    assert!(!folder.path().join("none.cert").exists());
    for verb in [&["evolve", "onnxw", "--cycles", "60"][..], &["rank", "onnxw"]] {
        let refused = with(&[verb, &["--limit", "3", "--limit", "3.5"]].concat());
        assert!(code(&refused) == 1 && err(&refused).contains("the fastest takes 3.7293 ms"), "{}", err(&refused));
    }
    // One that is met is enough to go on with; and one that hardly any subnet meets makes scores of nothing, which is said.
    let some = with(&["evolve", "onnxw", "--cycles", "60", "--limit", "3", "--limit", "10"]);
    assert!(code(&some) == 0 && err(&some).contains("warning: no subnet of onnxw is within 3 ms"), "{}", err(&some));
    let few = with(&["evolve", "onnxw", "--cycles", "60", "--limit", "3.8"]);
    assert!(code(&few) == 0 && err(&few).contains("a higher --limit may help"), "{}", err(&few));
    let refused = with(&["search", "onnxw", "--limit", "3"]);
    assert!(code(&refused) == 1 && err(&refused).contains("the fastest subnet takes"), "{}", err(&refused));
    let small = json(&with(&["search", "onnxw", "--limit", "12", "--max-mmacs", "250", "--max-mparams", "5", "--top", "2"]));
    assert!(small["complete"] == true && small["top"].as_array().expect("a list").len() == 2);
    assert!(small["best"]["mmacs"].as_f64() <= Some(250.0) && small["best"]["mparams"].as_f64() <= Some(5.0));
    let page = folder.path().join("compare.html");
    let shown = page.display().to_string();
    let compared = json(&with(&["compare", "onnxw", "--choice", "151122-023231", "--limit", "15", "--report", &shown]));
    assert_eq!(compared[0]["space"], "onnxw-151122-023231");
    let page = std::fs::read_to_string(&page).expect("written");
    assert!(page.matches("<svg").count() >= 3 && page.contains("V2Res") && !page.contains("NaN"));
    let page = |name: &str, arguments: &[&str]| {
        let file = folder.path().join(name);
        json(&with(&[arguments, &["--report", &file.display().to_string()]].concat()));
        std::fs::read_to_string(file).expect("written")
    };
    let scored = page("score.html", &["score", "onnxw", "--choice", "151122-023231", "--limit", "15", "--replicates", "0"]);
    assert!(scored.matches("<svg").count() == 3 && scored.contains("<title>15 ms</title>"));
    // Distributions rise from left to right, and to one: the second number of each point is counted from above.
    for path in scored.split("<path class=\"l0\" d=\"M").skip(1).take(2) {
        let points = path.split('"').next().expect("a path").replace('L', "");
        let numbers: Vec<f64> = points.split_whitespace().map(|n| n.parse().expect("a number")).collect();
        let pairs: Vec<(f64, f64)> = numbers.chunks(2).map(|p| (p[0], p[1])).collect();
        assert!(pairs.len() == 201 && pairs.windows(2).all(|p| p[0].0 <= p[1].0 && p[0].1 >= p[1].1), "{points}");
    }
    let found = page("search.html", &["search", "onnxw", "--limit", "10", "--curve", "4"]);
    assert!(found.contains("Loss 2.3415 in 9.951 ms: the least within 10 ms, of all spaces.") && found.contains("<svg"));
    // A row for each stage, one for each other limit, and two heads.
    assert_eq!(found.matches("<tr>").count(), 6 + 4 + 2);
    let joined = page("joined.html", &["search", "onnxw", "--limit", "10", "--consistent"]);
    assert!(joined.contains("of all whose widths join"));
}

#[cfg(unix)]
#[test]
fn an_interrupted_evolution_is_taken_up_again_and_ends_the_same() {
    let Some((folder, tables)) = tables() else { return };
    let run = |log: &Path, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_spaceevo-opt"));
        command.args(["space", "evolve", "onnxw", "--tables", &tables, "--fixed-ms", FIXED, "--limit", "15"]);
        command.args(["--seed", "2", "--cycles", "400", "--population", "100", "--tournament", "20", "--json", "--log"]);
        command.arg(log).args(more);
        command
    };
    let (whole, parts) = (folder.path().join("whole.log"), folder.path().join("parts.log"));
    let page = folder.path().join("run.html").display().to_string();
    let done = json(&run(&whole, &["--report", &page]).output().expect("the binary starts"));
    assert_eq!((done["evaluated"].as_u64(), done["resumed_at"].as_u64()), (Some(400), Some(0)));
    assert!(std::fs::read_to_string(&page).expect("written").matches("<svg").count() >= 4);
    let mut child = run(&parts, &[]).stdout(std::process::Stdio::null()).spawn().expect("the binary starts");
    while std::fs::read_to_string(&parts).map_or(0, |t| t.lines().count()) < 30 {
        assert!(child.try_wait().expect("a child").is_none_or(|s| s.success()));
        std::thread::yield_now();
    }
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill is there");
    assert!(interrupted.success());
    child.wait().expect("it ends");
    // Whatever was written last may be half a line.
    let text = std::fs::read_to_string(&parts).expect("a log");
    std::fs::write(&parts, &text[..text.len() - 7]).expect("written");
    let resumed = json(&run(&parts, &["--resume"]).output().expect("the binary starts"));
    assert!(resumed["resumed_at"].as_u64() >= Some(20));
    assert_eq!((&resumed["top"], &resumed["best"]), (&done["top"], &done["best"]));
    assert_eq!(std::fs::read(&parts).expect("a log"), std::fs::read(&whole).expect("a log"));
    let refused = run(&parts, &[]).output().expect("the binary starts");
    assert!(code(&refused) == 1 && err(&refused).contains("--force"), "{}", err(&refused));
    let refused = run(&parts, &["--resume", "--a", "0.02"]).output().expect("the binary starts");
    assert!(code(&refused) == 1 && err(&refused).contains("other settings"), "{}", err(&refused));
    let text = std::fs::read_to_string(&parts).expect("a log").replacen("score 0.3", "score 0.9", 1);
    std::fs::write(&parts, text).expect("written");
    let refused = run(&parts, &["--resume"]).output().expect("the binary starts");
    assert!(code(&refused) == 1 && err(&refused).contains("parts.log:"), "{}", err(&refused));
}

#[test]
fn a_search_for_subnets_takes_latencies_of_a_predictor() {
    let Some((folder, tables)) = tables() else { return };
    let log = folder.path().join("predicted.log").display().to_string();
    let predictor = concat!(env!("CARGO_MANIFEST_DIR"), "/passes/cost/tests/small.predictor");
    let given = ["subnets", "onnxw", "--choice", "151122-023231", "--tables", &tables, "--fixed-ms", FIXED, "--json"];
    let with = |more: &[&str]| space(&[&given[..], &["--predictor", predictor], more].concat());
    let found =
        json(&with(&["--limit", "1000", "--band", "1000", "--population", "4", "--generations", "1", "--log", &log]));
    assert!(found["evaluated"].as_u64() > Some(4) && found["optimum"].is_null(), "{found}");
    let space = spaceevo::spaces::load("onnxw").expect("shipped");
    let choice = space.page.hyperspace.parse_choice("151122-023231").expect("published");
    let subnet = spaceevo::search::Subnet::parse(found["best"]["subnet"].as_str().expect("a text")).expect("a subnet");
    let target = spaceevo::Target::named("x86-vnni").expect("shipped");
    let graph = space.quantized(&choice, &subnet, &target, &spaceevo::registry()).expect("a network");
    let text = std::fs::read_to_string(predictor).expect("a file");
    let hash = text.trim_end().rsplit('#').next().expect("a hash");
    let log = std::fs::read_to_string(&log).expect("written");
    assert!(log.contains(&format!(" predictor={hash} ")), "latencies of a log are those of that file");
    let predictor = spaceevo::cost::predictor::Predictor::parse(&text, "small.predictor").expect("a predictor");
    let (latency, _) = predictor.graph(&graph, &target).expect("kernels are known");
    assert!((found["best"]["latency_ms"].as_f64().expect("a number") - latency.nanos / 1e6).abs() < 1e-9, "{found}");
    assert_eq!(code(&with(&["--limit", "10", "--method", "exact"])), 2);
}

#[test]
fn a_search_for_subnets_leaves_a_log_and_is_held_against_the_optimum() {
    let Some((folder, tables)) = tables() else { return };
    let with = |arguments: &[&str]| {
        let first = ["subnets", "onnxw", "--choice", "151122-023231", "--tables", &tables, "--fixed-ms", FIXED, "--json"];
        space(&first.iter().chain(arguments).copied().collect::<Vec<_>>())
    };
    let (log, again) = (folder.path().join("a.log"), folder.path().join("b.log"));
    let shown = log.display().to_string();
    let arguments = ["--limit", "10", "--seed", "1", "--log", &shown];
    let found = json(&with(&arguments));
    let exact = json(&with(&["--limit", "10", "--method", "exact"]));
    // Rows are few, so that not every child that is sought is there to be found.
    let evaluated = found["evaluated"].as_u64().expect("a number");
    assert!((5000..=512 + 20 * 256).contains(&evaluated), "{evaluated}");
    assert_eq!(found["optimum"], exact["best"]);
    let number = |value: &serde_json::Value| value.as_f64().expect("a number");
    let (best, optimum) = (&found["best"], &found["optimum"]);
    let gap = number(&found["loss_above_optimum"]);
    assert!(gap >= 0.0 && gap < 0.02 * number(&optimum["loss"]), "{best} {optimum}");
    assert!((number(&best["loss"]) - number(&optimum["loss"]) - gap).abs() < 1e-9);
    assert!((5.0..=10.0).contains(&number(&best["latency_ms"])) && number(&best["mmacs"]) > 100.0);
    let text = std::fs::read_to_string(&log).expect("written");
    let onnxw = spaceevo::spaces::load("onnxw").expect("shipped").page.hyperspace;
    let choice = onnxw.parse_choice("151122-023231").expect("published");
    let replayed = spaceevo::search::subnet_log::read(&text, "a.log", &onnxw, &choice).expect("a whole log");
    let most = replayed.all.iter().map(|e| e.fitness).fold(f64::MIN, f64::max);
    assert_eq!((replayed.all.len() as u64, -most), (evaluated, number(&best["loss"])));
    assert!(
        ["depth ", "kernel ", "width ", "expand ", "resolution: ", " crossover "].iter().all(|word| text.contains(word))
    );
    let tampered = text.replacen(" crossover ", " crossover 0", 1);
    assert!(spaceevo::search::subnet_log::read(&tampered, "a.log", &onnxw, &choice).is_err());
    let refused = with(&arguments);
    assert!(code(&refused) == 1 && err(&refused).contains("--force"), "{}", err(&refused));
    let same = with(&["--limit", "10", "--seed", "1", "--log", &again.display().to_string()]);
    assert_eq!((code(&same), std::fs::read_to_string(&again).expect("written")), (0, text));
    let refused = with(&["--limit", "3"]);
    assert!(code(&refused) == 1 && err(&refused).contains("meets 3 ms"), "{}", err(&refused));
    for wrong in [["--band", "0"], ["--population", "1"], ["--limit", "nan"]] {
        let limit: &[&str] = if wrong[0] == "--limit" { &[] } else { &["--limit", "10"] };
        assert_eq!(code(&with(&[&wrong[..], limit].concat())), 2, "{wrong:?}");
    }
}

#[test]
fn what_tables_know_of_other_spaces_is_counted_and_what_they_lack_is_said() {
    let Some((_folder, tables)) = tables() else { return };
    let covers = |name: &str| {
        let all = json(&space(&["tables", "onnxw", "--tables", &tables, "--covers", name, "--subnets", "200", "--json"]));
        let short = name.split('-').next().expect("a name");
        all["covers"][short].clone()
    };
    let whole = |value: &serde_json::Value| value.as_u64().expect("a number");
    // Its own space, at the three of five resolutions that have rows: nearly all.
    let own = covers("onnxw-151122-023231");
    assert!(whole(&own["whole"]) > 70 && own["whole_ms"].as_f64() > Some(10.0), "{own}");
    // MobileNetV2's blocks are the tables' where neither width nor size changes, and no network is made of those alone.
    let found = covers("mobilenet_v2");
    let share = whole(&found["known"]) as f64 / whole(&found["blocks"]) as f64;
    assert!((0.05..0.25).contains(&share) && found["whole_ms"].is_null() && whole(&found["whole"]) == 0, "{found}");
    // Its bottlenecks have expansions that no table has; those of the other spaces have activations that none has.
    let found = covers("resnet50");
    assert_eq!((whole(&found["known"]), &found["unknown"]["no table has its expansion"]), (0, &found["blocks"]));
    let found = covers("fbnet");
    assert!(
        whole(&found["known"]) == 0
            && whole(&found["unknown"]["the shape is there, but no table's block computes the same"]) > 0
    );
    for name in ["mobilenet_v2", "mobilenet_v3", "proxylessnas", "resnet50", "fbnet"] {
        let found = covers(name);
        let unknown: u64 = found["unknown"].as_object().expect("reasons").values().map(whole).sum();
        assert_eq!(whole(&found["known"]) + unknown, whole(&found["blocks"]), "{name}");
    }
    let refused = space(&["tables", "onnxw", "--tables", &tables, "--covers", "mobilenet_v9"]);
    assert_eq!(code(&refused), 2, "{}", err(&refused));
}

#[test]
fn blocks_are_priced_on_a_target_and_what_was_interrupted_goes_on() {
    // The first row of each kind of the published tables, as tables of their own.
    let rows = include_str!("../testdata/spaces/vnni-rows.csv");
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    for line in rows.lines().step_by(4).filter(|line| line.starts_with(['1', '2'])) {
        let file = folder.path().join("tables").join(format!("stage{}_{}_0.csv", &line[..1], &line[2..3]));
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, format!("{}\n", &line[4..])).expect("a table");
    }
    let (tables, log, binary) = (path("tables"), path("blocks.log"), path("here.bin"));
    let run = |more: &[&str]| {
        let first = ["tables", "onnxw", "--tables", &tables, "--price", "x86-vnni", "--json"];
        space(&first.iter().chain(more).copied().collect::<Vec<_>>())
    };
    let done = json(&run(&["--log", &log, "--binary", &binary]));
    let fixed = done["fixed_ms"].as_object().expect("a map");
    assert!(!fixed.is_empty() && fixed.values().all(|ms| (0.1..3.0).contains(&ms.as_f64().expect("a number"))), "{fixed:?}");
    let (text, bytes) = (std::fs::read_to_string(&log).expect("a log"), std::fs::read(&binary).expect("tables"));
    assert!(text.lines().count() > 60, "{text}");
    // Interrupted in the middle of a line.
    let half: usize = text.split_inclusive('\n').take(40).map(str::len).sum();
    std::fs::write(&log, &text[..half + 9]).expect("written");
    let resumed = run(&["--log", &log, "--resume", "--binary", &binary, "--force"]);
    assert!(err(&resumed).contains("was cut off and is made again"), "{}", err(&resumed));
    assert_eq!(json(&resumed), done);
    assert!(std::fs::read_to_string(&log).expect("a log") == text && std::fs::read(&binary).expect("tables") == bytes);
    let refused = run(&["--log", &log]);
    assert!(code(&refused) == 1 && err(&refused).contains("--force"), "{}", err(&refused));
    let other = ["tables", "onnxw", "--tables", &tables, "--price", "x86-avx2", "--log", &log, "--resume"];
    let refused = space(&other);
    assert!(code(&refused) == 1 && err(&refused).contains("other settings"), "{}", err(&refused));
    let (place, line) = text.lines().enumerate().nth(20).expect("a line");
    std::fs::write(&log, text.replacen(line, &line.replacen(' ', " 1", 1), 1)).expect("written");
    let refused = run(&["--log", &log, "--resume"]);
    assert!(code(&refused) == 1 && err(&refused).contains(&format!("blocks.log:{}", place + 1)), "{}", err(&refused));
    assert_eq!(code(&space(&["tables", "onnxw", "--tables", &tables, "--log", &log])), 2, "a log is of prices");
}

/// A hyperspace of somebody's own: three stages, two blocks that ship and one that does not, and tables that go with it.
const MINE: &str = r#"
import "blocks"

let types   = {V2Res, ResNet, Plain}
let kernels = {V2Res: {3, 5}, ResNet: {3}, Plain: {3, 5}}
let expands = {V2Res: {2, 4}, ResNet: {0.5, 1.0}, Plain: {0}}

param $first.w in {8, 16}

param $s1.block in types
param $s1.window in 0..1
param $s1.depth in 1..2
param $s1.w[2] in window({8, 16, 24}, size 2, at $s1.window)
param $s1.k[2] in by $s1.block kernels
param $s1.e[2] in by $s1.block expands

param $s2.block in types
param $s2.depth in 1..2
param $s2.w[2] in {16, 32}
param $s2.k[2] in by $s2.block kernels
param $s2.e[2] in by $s2.block expands

param $s3.block in types
param $s3.depth in 1..1
param $s3.w[1] in {32, 48}
param $s3.k[1] in by $s3.block kernels
param $s3.e[1] in by $s3.block expands

block @Plain(%x: f32[n,c,h,w], width, kernel, stride = 1) {
  %y = @conv %x {out = width, kernel = kernel, stride = stride, act = relu}
  yield %y
}

graph @mine(%image: f32[1,3,32,32]) with {opset = 17} {
  %stem = @Conv %image {width = $first.w, kernel = 3}
  %stage1 = space.Repeat %stem {block = $s1.block, count = $s1.depth, width = $s1.w[$i], kernel = $s1.k[$i], expand = $s1.e[$i], stride = first(2, 1)}
  %stage2 = space.Repeat %stage1 {block = $s2.block, count = $s2.depth, width = $s2.w[$i], kernel = $s2.k[$i], expand = $s2.e[$i], stride = first(2, 1)}
  %stage3 = space.Repeat %stage2 {block = $s3.block, count = $s3.depth, width = $s3.w[$i], kernel = $s3.k[$i], expand = $s3.e[$i]}
  %mean = onnx.GlobalAveragePool %stage3
  %logits = @Linear %mean {width = 10}
  return %logits
}
"#;

#[test]
fn a_hyperspace_of_ones_own_works_in_every_verb() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (page, tables) = (path("mine.seir"), path("tables"));
    std::fs::write(&page, MINE).expect("written");
    std::fs::create_dir(&tables).expect("a folder");
    // One row for each width, kernel and expansion: the more there is of them, the less is lost, and the longer it takes.
    let stages = [
        (vec![vec![8, 16], vec![16, 24]], [8, 16], 32),
        (vec![vec![16, 32]], [8, 24], 16),
        (vec![vec![32, 48]], [16, 32], 8),
    ];
    for (s, (windows, inputs, size)) in stages.iter().enumerate() {
        for (b, (kernels, expands)) in
            [(&[3, 5][..], &["2", "4"][..]), (&[3], &["0.5", "1.0"]), (&[3, 5], &["None"])].iter().enumerate()
        {
            for (w, widths) in windows.iter().enumerate() {
                let mut text = String::new();
                for (n, width) in widths.iter().enumerate() {
                    for kernel in *kernels {
                        for (e, expand) in expands.iter().enumerate() {
                            let input = inputs[n % 2];
                            let ms = 0.1 + 0.01 * f64::from(*width) + 0.02 * f64::from(*kernel) + 0.1 * (b + e) as f64;
                            let loss = 1.2 - 0.01 * f64::from(*width) - 0.03 * f64::from(*kernel) - 0.05 * (b + e) as f64;
                            text += &format!(
                                "{kernel}#{width}#{expand},1x{input}x{size}x{size},{loss:.4},1.0000,1.0000,{ms:.4}\n"
                            );
                        }
                    }
                }
                std::fs::write(format!("{tables}/stage{}_{b}_{w}.csv", s + 1), text).expect("written");
            }
        }
    }
    let with = |arguments: &[&str]| {
        json(&space(&[arguments, &["--tables", &tables, "--fixed-ms", "32=0.5", "--limit", "2", "--json"]].concat()))
    };
    let counted = json(&space(&["count", &page, "--json"]));
    assert_eq!(counted["spaces"].as_str(), Some("54"), "{counted}");
    let (log, report, proof, best) = (path("run.log"), path("run.html"), path("space.cert"), path("best.cert"));
    let evolved = with(&[
        "evolve",
        &page,
        "--cycles",
        "54",
        "--population",
        "20",
        "--tournament",
        "5",
        "--log",
        &log,
        "--report",
        &report,
    ]);
    let ranked = with(&["rank", &page, "--choice", "000-000"]);
    let certified = with(&["certify", &page, "-o", &proof]);
    // Nearly all of the 54 spaces were met; one that is no neighbour of those that live stays out.
    assert_eq!((&evolved["best"]["space"], &ranked["best"][0]["space"]), (&certified["space"], &certified["space"]));
    assert!(evolved["evaluated"].as_u64() >= Some(50) && ranked["spaces"].as_u64() == Some(54), "{evolved}");
    let checked = json(&space(&["check", &proof, "--tables", &tables, "--space", &page, "--json"]));
    assert_eq!(checked["space"], certified["space"]);
    let name = certified["space"].as_str().expect("a name").strip_prefix("mine-").expect("its hyperspace's name");
    let scored = with(&["score", &page, "--choice", name, "--method", "sampled"]);
    let exact = certified["score"].as_f64().expect("a number");
    // Few rows are coarse: a grid spreads what lies at the limit.
    assert!((scored["score"].as_f64().expect("a number") / exact - 1.0).abs() < 0.05, "{scored} {exact}");
    assert!(certified["least"].as_f64() <= Some(exact * 1.05));
    with(&["compare", &page, "--choice", name]);
    let found = with(&["search", &page, "--certify", &best]);
    let checked = json(&space(&["check", &best, "--tables", &tables, "--space", &page, "--json"]));
    assert_eq!(checked["best"]["loss"], found["best"]["loss"]);
    let sampled = json(&space(&["sample", &page, "--choice", name, "--json"]));
    let subnet =
        sampled[0]["subnet"].as_str().or(sampled["subnet"].as_str()).unwrap_or_else(|| panic!("{sampled}")).to_owned();
    let made = space(&["specialize", &page, "--choice", name, "--subnet", &subnet, "-o", &path("net.onnx")]);
    assert_eq!(code(&made), 0, "{}", err(&made));
}
