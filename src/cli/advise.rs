//! `advise`: what would make a network faster if it were trained again.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use spaceevo::advise::applied::{Applied, Means};
use spaceevo::advise::{Advice, advise};
use spaceevo::cost::measure::inputs::Shapes;
use spaceevo::cost::measure::sequential::Settings;
use spaceevo::cost::predictor::priced;
use spaceevo::file::load;
use spaceevo::samples::{Drawn, SampleSource};

use super::arguments::{default_target, find_runtime, find_target, shown, usage};
use super::measure::{shape, share};
use super::predict::read_predictor;
use super::progress::Bar;
use super::samples::{CalibrationArguments, ports};
use super::{Failure, print, say, show};

/// Say which substitutions would make a network faster, and by how much; each wants the network to be trained again.
#[derive(Args)]
#[command(after_help = "Examples:\n  spaceevo-opt advise model.onnx --target x86-avx2\n  \
                  spaceevo-opt advise model.onnx --predictor here.predictor --measure\n  \
                  spaceevo-opt convert model.onnx -o changed.onnx --calibrate pictures --apply drop-se\n\n\
                  Gains are predicted from the target's prices of ops; with --predictor the network is converted with each\n\
                  suggestion, and priced kernel by kernel. --measure times these networks, too. 'convert --apply' makes a\n\
                  substitution, and reports what is left of the quality before any training.")]
pub(crate) struct Arguments {
    /// Float model (.onnx or .seir; - for standard input)
    input: PathBuf,
    /// Target with prices: a name from 'list targets', or a .toml file
    #[arg(long, default_value = default_target())]
    target: String,
    /// Price kernels by what 'build-predictor' wrote, instead of ops by the target's table
    #[arg(long, value_name = "FILE")]
    predictor: Option<PathBuf>,
    /// Apply each suggestion, convert, and time the results on ONNX Runtime, with one thread, taking turns
    #[arg(long)]
    measure: bool,
    /// Stop when ratios are known this well, up and down
    #[arg(long, value_name = "SHARE", default_value = "1%", value_parser = share, requires = "measure")]
    half_width: f64,
    /// Seconds after which to stop without being sure, for each network
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, requires = "measure")]
    budget: f64,
    /// Shape of an input that the model leaves open: image=1,3,224,224; may be given several times
    #[arg(long, value_name = "NAME=DIMS", value_parser = shape)]
    shape: Vec<(String, Vec<usize>)>,
    /// Without samples, ranges come from random numbers, which changes times little
    #[command(flatten)]
    calibration: CalibrationArguments,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut target = find_target(&arguments.target)?;
    let predictor = arguments.predictor.as_deref().map(read_predictor).transpose()?;
    if let (Some(predictor), Some(_)) = (&predictor, &target.prices) {
        target = priced(target, predictor.clone());
    }
    let loaded = load(&arguments.input)?;
    loaded.warnings.iter().for_each(show);
    let registry = spaceevo::registry();
    let mut advice = advise(&loaded.graph, &target, &registry)?;
    if arguments.measure || predictor.is_some() {
        let shapes: Shapes = arguments.shape.iter().cloned().collect();
        let calibration = arguments.calibration.open(&loaded.graph, &arguments.input)?;
        let (drawn, runtime);
        let (samples, runner, count): (&dyn SampleSource, _, _) = match &calibration {
            Some(calibration) => (&*calibration.source, &*calibration.runtime, calibration.count()),
            None => {
                (drawn, runtime) = (Drawn::new(&ports(&loaded.graph), &shapes)?, find_runtime("auto")?);
                (&drawn, &*runtime, 1)
            }
        };
        let threads = arguments.calibration.threads;
        let means = Means { registry: &registry, samples, count, runtime: runner, threads };
        let bar = Bar::new(arguments.json);
        let applied = Applied::new(&loaded.graph, &advice, &target, &means, &bar)?;
        if let Some(predictor) = &predictor {
            applied.predict(&mut advice, predictor, &target)?;
        }
        if arguments.measure {
            let budget = Duration::try_from_secs_f64(arguments.budget)
                .map_err(|_| Failure::Usage(usage("--budget takes seconds, such as 5")))?;
            let settings = Settings { half_width: arguments.half_width, budget, ..Settings::default() };
            applied.time(&mut advice, &*find_runtime("onnxruntime")?, &settings, &shapes)?;
        }
    }
    if arguments.json {
        print(&serde_json::to_string_pretty(&advice).unwrap_or_default());
        return Ok(());
    }
    print(&told(&shown(&arguments.input), &advice));
    if let Some(timed) = &advice.measured {
        timed.disturbed.iter().for_each(|sign| say(&format!("the machine was disturbed: {sign}")));
    }
    Ok(())
}

/// One screen.
fn told(input: &str, advice: &Advice) -> String {
    let (as_is, float) = (advice.as_is_us, advice.float_us);
    let by = if advice.predicted_by == "table" { "by the prices of" } else { "by a predictor of" };
    let mut lines = vec![
        format!("{input}, on {} {by} {}", advice.target, advice.machine),
        format!("  {as_is:>9.1} us  as it is, INT8 where that is faster ({float:.1} us in float)"),
    ];
    if let Some(timed) = &advice.measured {
        lines.push(format!(
            "  {:>9.1} us  measured ({:.1} us in float: {:.2}x), {} on {}{}",
            timed.as_is_us,
            timed.float_us,
            timed.speedup.median,
            timed.runtime,
            timed.machine,
            if timed.sure { "" } else { "; not sure" },
        ));
    }
    for s in &advice.suggestions {
        let ops = if s.ops == 1 { "op" } else { "ops" };
        let measured = s.measured.zip(s.error()).map_or(String::new(), |(measured, error)| {
            format!(
                "   measured {:.2}x ±{:.1} %, off by {:+.1} %",
                measured.median,
                100.0 * measured.half_width(),
                100.0 * error
            )
        });
        lines.push(
            format!("  {:>9.1} us  {:.2}x  {:<24} {:>3} {ops:<3}{measured}", s.us, s.speedup, s.pass, s.ops)
                .trim_end()
                .to_owned(),
        );
    }
    if advice.suggestions.is_empty() {
        lines.push("  nothing here that a substitution would replace".to_owned());
    }
    lines.join("\n")
}
