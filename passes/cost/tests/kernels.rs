//! What is foreseen of a network's kernels, against what ONNX Runtime's own profile says.

use std::collections::BTreeMap;

use spaceevo_cost::kernels::detect;
use spaceevo_cost::measure::trace::parse;
use spaceevo_cost::predictor::draw::Draws;
use spaceevo_cost::predictor::network::{Numbers, network, reference};
use spaceevo_cost::predictor::ran::signature;
use spaceevo_cost::runtime::ort::OnnxRuntime;
use spaceevo_cost::runtime::{LoadOptions, ModelSource, Runtime};
use spaceevo_passes::{Registry, Target};

#[test]
fn drawn_networks_run_the_kernels_that_are_foreseen() {
    let runtime = match OnnxRuntime::open(None) {
        Ok(runtime) => runtime,
        Err(missing) => {
            assert!(std::env::var_os("SPACEEVO_REQUIRE_RUNTIME").is_none(), "{missing}");
            return;
        }
    };
    let (target, registry) = (Target::named("x86-vnni").unwrap(), Registry::standard());
    let mut networks = vec![reference(Numbers::Stored, &target, &registry).unwrap()];
    for number in 0..4 {
        for numbers in [Numbers::Stored, Numbers::Float] {
            networks.push(network(&mut Draws::new(11, number), &[], numbers, &target, &registry).unwrap());
        }
    }
    let (mut all, mut missed) = (0, Vec::new());
    let [mut said, mut had] = [0; 2];
    for drawn in networks {
        let mut foreseen: BTreeMap<_, i64> = BTreeMap::new();
        for placed in detect(&drawn.graph, &target).unwrap() {
            *foreseen.entry(placed.kernel.signature()).or_default() += 1;
            said += placed.kernel.tensors() as usize;
        }
        let (source, options) = (ModelSource::Graph(&drawn.graph), LoadOptions::default());
        let trace = runtime.trace(source, &options, &drawn.inputs, 1, &mut || Ok(())).unwrap();
        for kernel in parse(&trace.events, 0).unwrap().kernels {
            all += 1;
            had += kernel.inputs.len() + kernel.outputs.len();
            let left = foreseen.entry(signature(&kernel)).or_default();
            *left -= 1;
            if *left < 0 {
                missed.push(format!("{} {:?} {:?}", kernel.op, kernel.inputs, kernel.outputs));
            }
        }
    }
    assert!(all > 300, "{all}");
    // A few changes of layout and of type stand elsewhere than foreseen.
    assert!(missed.len() * 25 < all, "{} of {all} were not foreseen: {missed:#?}", missed.len());
    // Which constants are left out and how many maps are joined differs by model.
    assert!(20 * said.abs_diff(had) < had, "{said} tensors are foreseen, and there are {had}");
}
