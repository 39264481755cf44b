//! `measure`: how long models take, how sure that is, and where the time goes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use spaceevo::cost::measure::inputs::Shapes;
use spaceevo::cost::measure::sequential::Settings;
use spaceevo::file::{refuse_existing, write_whole};
use spaceevo::measure::{Plan, Subject, measure};
use spaceevo::measure_report;

use super::arguments::{find_runtime, usage};
use super::progress::Bar;
use super::{Failure, measure_kept, measure_shown, print, say};

/// Measure how long models take on this machine, beside a reference network, until it is sure enough.
#[derive(Args)]
#[command(after_help = "Examples:\n  spaceevo-opt measure model.onnx model.int8.onnx --profile\n  \
                  spaceevo-opt measure --compare model.int8.onnx model.onnx\n  \
                  spaceevo-opt measure model.int8.onnx --record times.sqlite --commit 1a2b3c\n  \
                  spaceevo-opt measure --history times.sqlite\n  \
                  spaceevo-opt measure --export-job board/ model.int8.onnx   (run board/measure.py there)\n  \
                  spaceevo-opt measure --import-results board/ --record times.sqlite\n\n\
                  Ratios are to a small network that takes turns with the model, and survive a busy machine better than times do.")]
pub(crate) struct Arguments {
    /// Models (.onnx, or .seir), float or INT8
    #[arg(value_name = "MODEL")]
    models: Vec<PathBuf>,
    /// Runtime: onnxruntime (ort), tract
    #[arg(long, default_value = "onnxruntime")]
    runtime: String,
    /// Threads of a session; with one, processor time is compared, with more the time on the wall
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// Stop when ratios are known this well, up and down
    #[arg(long, value_name = "SHARE", default_value = "2%", value_parser = share)]
    half_width: f64,
    /// Seconds after which to stop without being sure, for each model
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    budget: f64,
    /// Shape of an input that the model leaves open: image=1,3,224,224; may be given several times
    #[arg(long, value_name = "NAME=DIMS", value_parser = shape)]
    shape: Vec<(String, Vec<usize>)>,
    /// Is the first of two models faster than the second?
    #[arg(long, conflicts_with_all = ["self_test", "export_job"])]
    compare: bool,
    /// Differences up to this share show nothing: two sessions of one file may differ by it (--self-test says how much)
    #[arg(long, value_name = "SHARE", default_value = "1%", value_parser = share)]
    floor: f64,
    /// Also say which kernels ran, what they computed, and what the runtime inserted
    #[arg(long)]
    profile: bool,
    /// Measure models against themselves (the reference network without a model), and count what is said wrongly
    #[arg(long)]
    self_test: bool,
    /// Trials of the self-test for each model
    #[arg(long, value_name = "N", default_value_t = 20, requires = "self_test", value_parser = clap::value_parser!(u16).range(1..))]
    trials: u16,
    /// Measure even if the machine is too noisy
    #[arg(long)]
    anyway: bool,
    /// Leave the thread where the system puts it, rather than on one processor
    #[arg(long)]
    no_pin: bool,
    /// Append what was measured or imported to a store (SQLite)
    #[arg(long, value_name = "STORE.sqlite")]
    record: Option<PathBuf>,
    /// Commit to note in the store
    #[arg(long, value_name = "ID", default_value = "", requires = "record")]
    commit: String,
    /// List what a store holds
    #[arg(long, value_name = "STORE.sqlite", conflicts_with_all = ["models", "self_test", "record", "export_job", "import_results"])]
    history: Option<PathBuf>,
    /// Write a folder with models, inputs and a script, to be measured elsewhere
    #[arg(long, value_name = "DIR", conflicts_with_all = ["self_test", "record", "profile", "report"])]
    export_job: Option<PathBuf>,
    /// Read the results of such a folder
    #[arg(long, value_name = "DIR", conflicts_with_all = ["models", "export_job", "self_test", "profile", "report"])]
    import_results: Option<PathBuf>,
    /// File of results, if it is not the one in the folder
    #[arg(long, value_name = "RESULTS.json", requires = "import_results")]
    results: Option<PathBuf>,
    /// Write what the results or the store say as CSV
    #[arg(long, value_name = "FILE.csv")]
    csv: Option<PathBuf>,
    /// Print as JSON
    #[arg(long)]
    json: bool,
    /// Write the report as a self-contained HTML page
    #[arg(long, value_name = "R.html")]
    report: Option<PathBuf>,
    /// Overwrite files that exist
    #[arg(long)]
    force: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    for output in [&arguments.report, &arguments.csv].into_iter().flatten() {
        refuse_existing(output, arguments.force)?;
    }
    if let Some(store) = &arguments.history {
        return measure_kept::history(store, arguments.csv.as_deref(), arguments.json, arguments.force);
    }
    if let Some(folder) = &arguments.import_results {
        let records =
            measure_kept::import(folder, arguments.results.as_deref(), arguments.record.as_deref(), &arguments.commit)?;
        return measure_kept::show(&records, arguments.csv.as_deref(), arguments.json, arguments.force);
    }
    if arguments.models.is_empty() && !arguments.self_test {
        return Err(Failure::Usage(usage("no model is given").note("spaceevo-opt measure model.onnx")));
    }
    if arguments.compare && arguments.models.len() != 2 {
        return Err(Failure::Usage(usage("--compare takes two models: is the first faster than the second?")));
    }
    let subjects: Vec<Subject> = arguments.models.iter().map(|path| subject(path)).collect::<Result<_, _>>()?;
    let shapes: Shapes = arguments.shape.iter().cloned().collect();
    let settings = Settings {
        threads: arguments.threads.into(),
        half_width: arguments.half_width,
        budget: Duration::try_from_secs_f64(arguments.budget)
            .map_err(|_| Failure::Usage(usage("--budget takes seconds, such as 5")))?,
        ..Settings::default()
    };
    if let Some(folder) = &arguments.export_job {
        return measure_kept::export(folder, subjects, &shapes, &settings, arguments.json, arguments.force);
    }
    let runtime = find_runtime(if arguments.runtime == "ort" { "onnxruntime" } else { &arguments.runtime })?;
    let plan = Plan {
        runtime: &*runtime,
        shapes: &shapes,
        settings,
        compare: arguments.compare,
        floor: arguments.floor,
        profile: arguments.profile,
        anyway: arguments.anyway,
        pin: !arguments.no_pin,
    };
    let bar = Bar::new(arguments.json);
    if arguments.self_test {
        let tests = spaceevo::measure::self_test(&plan, &subjects, arguments.trials.into(), &bar)?;
        drop(bar);
        print(&measure_shown::self_test(&tests, arguments.json));
        return Ok(());
    }
    let report = measure(&plan, &subjects, &bar)?;
    drop(bar);
    if let Some(store) = &arguments.record {
        measure_kept::record(store, &report, &arguments.commit)?;
    }
    if let Some(path) = &arguments.csv {
        measure_kept::write_csv(&spaceevo::measure::records(&report, &measure_kept::today(), ""), path, arguments.force)?;
    }
    if let Some(path) = &arguments.report {
        write_whole(path, measure_report::page(&report).as_bytes(), arguments.force)?;
    }
    print(&measure_shown::report(&report, arguments.json));
    if let Some(store) = &arguments.record {
        say(&format!("appended to {}", store.display()));
    }
    Ok(())
}

fn subject(path: &Path) -> Result<Subject, Failure> {
    let name = path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
    let graph = spaceevo::load(path)?.graph;
    Ok(Subject::new(name, path.extension().is_some_and(|e| e == "onnx").then(|| path.to_owned()), graph)?)
}

/// `2%` or `0.02`.
fn share(text: &str) -> Result<f64, String> {
    let (number, scale) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 0.01));
    let share = number.trim().parse::<f64>().map_err(|e| e.to_string())? * scale;
    if share > 0.0 && share < 1.0 { Ok(share) } else { Err("a share between 0 and 1, such as 2% or 0.02".into()) }
}

/// `image=1,3,224,224`.
pub(crate) fn shape(text: &str) -> Result<(String, Vec<usize>), String> {
    let (name, dims) = text.rsplit_once('=').ok_or("a name and extents, such as image=1,3,224,224")?;
    let dims = dims.split(',').map(|d| d.trim().parse::<usize>().map_err(|e| format!("'{d}': {e}")));
    Ok((name.to_owned(), dims.collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_shapes_are_read_as_people_write_them() {
        assert_eq!((share("2%"), share("0.02"), share(" 1.5 %").is_ok()), (Ok(0.02), Ok(0.02), true));
        assert!(share("0").is_err() && share("200%").is_err() && share("x").is_err() && share("nan").is_err());
        assert_eq!(shape("x=1,3"), Ok(("x".to_owned(), vec![1, 3])));
        assert!(shape("x").is_err() && shape("x=1,-3").is_err());
    }
}
