//! The networks that SpaceEvo found, decoded, made networks with random weights, quantized, and timed in ONNX Runtime:
//!
//! ```sh
//! cargo run --example seqnets -- [ROUNDS]
//! ```
//!
//! Two INT8 forms of each are timed beside the float one: as `convert` writes it, and with the channels as they are, without the
//! exact padding that makes up its best form there. One thread; every round runs all
//! forms one after the other, and what is printed is the median of rounds. It needs ONNX Runtime.

use std::time::Instant;

use spaceevo::convert::{Job, Options, Silent, convert};
use spaceevo::cost::machine::Machine;
use spaceevo::cost::runtime::ort::OnnxRuntime;
use spaceevo::cost::runtime::{LoadOptions, ModelSource, Runtime, Session};
use spaceevo::ir::tensor::Rand;
use spaceevo::ir::{Elem, Tensor};
use spaceevo::passes::count::count;
use spaceevo::samples::SampleSource;
use spaceevo::search::Subnet;
use spaceevo::{Diagnostic, SaveOptions, Target};

const PUBLISHED: &str = include_str!("../testdata/spaces/seqnets.txt");

/// Random pictures: the networks have random weights.
struct Pictures(usize);

impl SampleSource for Pictures {
    fn len(&self) -> usize {
        8
    }

    fn get(&self, index: usize) -> Result<Vec<Tensor>, Diagnostic> {
        let rand = Rand { seed: index as u64, within: Some((-2.0, 2.0)) };
        let picture = Tensor::random(Elem::F32, [1, 3, self.0, self.0], rand);
        Ok(vec![picture.unwrap_or_else(|| unreachable!("a small picture"))])
    }

    fn name(&self, index: usize) -> String {
        format!("random picture {index}")
    }
}

fn main() -> Result<(), Vec<Diagnostic>> {
    let one = |d: Diagnostic| vec![d];
    let rounds: usize = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(30);
    let runtime = OnnxRuntime::open(None).map_err(one)?;
    let registry = spaceevo::registry();
    let target = Target::named("x86-vnni").unwrap_or_else(|| unreachable!("a shipped target"));
    let folder = std::env::temp_dir().join(format!("seqnets-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    println!("{}, ONNX Runtime {}, one thread, median of {rounds} rounds", Machine::detect(), runtime.version());
    println!(
        "{:18} {:>4} {:>8} {:>8} {:>8} {:>8} {:>9} {:>9} {:>9} {:>7}",
        "network", "res", "MMACs", "publ.", "Mparams", "publ.", "FP32 ms", "plain ms", "INT8 ms", "faster"
    );
    for line in PUBLISHED.lines().filter(|l| !l.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, space, subnet, macs, params] = words[..] else { panic!("{line}") };
        let space = spaceevo::spaces::load(space)?;
        let subnet = Subnet::parse(subnet).map_err(one)?;
        let choice = space.choice_of(None, &subnet)?;
        let network = space.network(&choice, &subnet, 0)?;
        let file = |form: &str| folder.join(format!("{name}-{form}.onnx"));
        spaceevo::save(&network, file("fp32"), &SaveOptions::default()).map_err(one)?;
        let pictures = Pictures(subnet.resolution as usize);
        // Channels as they are: the same target without wishes.
        let mut plain = target.clone();
        plain.width = None;
        for (form, target) in [("plain", &plain), ("int8", &target)] {
            let options = Options { samples: Some(8), verify: false, ..Options::new(target.clone()) };
            let (source, output) = (file("fp32"), file(form));
            let origin = "random pictures".to_owned();
            let (samples, evaluate) = (&pictures, None);
            let job =
                Job { source: &source, output: &output, samples, origin, evaluate, registry: &registry, runtime: &runtime };
            convert(&job, &options, &Silent)?;
        }
        let counts = count(&space.skeleton(&choice, &subnet)?).map_err(one)?;
        let sessions = ["fp32", "plain", "int8"].map(|form| {
            let options = LoadOptions { threads: 1, ..LoadOptions::default() };
            runtime.load(ModelSource::File(&file(form)), &options)
        });
        let mut sessions = sessions.into_iter().collect::<Result<Vec<_>, _>>().map_err(one)?;
        let times = medians(&mut sessions, &pictures.get(0).map_err(one)?, rounds).map_err(one)?;
        println!(
            "{name:18} {:4} {:8.1} {macs:>8} {:8.2} {params:>8} {:9.3} {:9.3} {:9.3} {:6.2}x",
            subnet.resolution,
            counts.macs as f64 / 1e6,
            counts.params_with_quantizers() as f64 / 1e6,
            times[0],
            times[1],
            times[2],
            times[0] / times[2]
        );
    }
    let _ = std::fs::remove_dir_all(&folder);
    Ok(())
}

/// Milliseconds of each, as the median of rounds in which all run once.
fn medians(sessions: &mut [Box<dyn Session>], input: &[Tensor], rounds: usize) -> Result<Vec<f64>, Diagnostic> {
    let mut times = vec![Vec::new(); sessions.len()];
    // The first rounds warm up.
    for round in 0..rounds + 3 {
        for (session, times) in sessions.iter_mut().zip(&mut times) {
            let start = Instant::now();
            session.run_with(input, &mut |_, _| ())?;
            if round >= 3 {
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    Ok(times
        .into_iter()
        .map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        })
        .collect())
}
