//! Draws the shape pictures, trains `shapes-resnet` and `shapes-mobile` on them, and writes the
//! pictures, the preprocessing spec and both networks as ONNX into one folder.
//!
//! ```text
//! train-shapes FOLDER [all|pictures|shapes-resnet|shapes-mobile] [STEPS]
//! ```

mod draw;
mod layers;
mod net_mobile;
mod net_resnet;
mod onnx;
mod pictures;
mod proto;
mod train;

use net_mobile::ShapesMobile;
use net_resnet::ShapesResnet;
use std::error::Error;
use std::path::{Path, PathBuf};
use train::{BATCH, Network};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(
        arguments
            .next()
            .ok_or("usage: train-shapes FOLDER [WHAT] [STEPS]")?,
    );
    let what = arguments.next().unwrap_or_else(|| "all".into());
    let steps = arguments.next().map(|steps| steps.parse()).transpose()?;

    let known = ["all", "pictures", ShapesResnet::NAME, ShapesMobile::NAME];
    if !known.contains(&what.as_str()) {
        return Err(format!("{what} is none of {}", known.join(", ")).into());
    }
    let wanted = |part| what == "all" || what == part;
    if wanted("pictures") {
        pictures::write(&folder)?;
    }
    if wanted(ShapesResnet::NAME) {
        make::<ShapesResnet>(&folder, steps.unwrap_or(ShapesResnet::STEPS))?;
    }
    if wanted(ShapesMobile::NAME) {
        make::<ShapesMobile>(&folder, steps.unwrap_or(ShapesMobile::STEPS))?;
    }
    Ok(())
}

/// Trains one network, says how good it is, and writes it.
fn make<N: Network>(folder: &Path, steps: u64) -> Result<(), Box<dyn Error>> {
    let network = train::train::<N>(steps);
    let held_out = train::accuracy(&network, pictures::HELD_OUT);
    println!(
        "{}: {:.1} % of the held-out pictures",
        N::NAME,
        100.0 * held_out
    );

    let mut graph = onnx::GraphBuilder::new(N::NAME);
    let image = graph.input("image", &[3, draw::SIDE as i64, draw::SIDE as i64]);
    network.export(&mut graph, &image);
    let bytes = graph.finish(&[
        ("classes", draw::CLASSES.join(",")),
        (
            "trained_on",
            format!("{} drawn pictures, seed {}", steps * BATCH, pictures::SEED),
        ),
    ]);
    std::fs::write(folder.join(format!("{}.onnx", N::NAME)), bytes)?;
    Ok(())
}
