//! Measurements on a machine without this program: a folder with ONNX files, inputs, a manifest and a script goes there, and
//! a file of results comes back.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use spaceevo_ir::{Diagnostic, Elem, Graph, Loc, Tensor, Type};

use super::inputs::{Shapes, drawn, known};
use super::sequential::Settings;
use super::statistics::estimate;
use super::store::{Record, hash};
use super::{npy, reference};
use crate::runtime::Port;

/// Version of both files.
const VERSION: u32 = 1;
/// Rounds that a job asks for.
const ROUNDS: usize = 51;
/// Fewer rounds than that say nothing.
const LEAST: usize = 5;

/// `manifest.json`.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Manifest {
    /// `spaceevo-job`.
    pub format: String,
    /// Version of the format.
    pub version: u32,
    /// Hash of the models' hashes: results name it.
    pub id: String,
    /// Threads to measure with.
    pub threads: usize,
    /// Turns that each model takes.
    pub rounds: usize,
    /// Nanoseconds that a turn takes at least.
    pub turn_ns: u64,
    /// Models, the reference network first.
    pub models: Vec<Entry>,
}

/// A model of a job.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its file, from the folder of the manifest.
    pub file: String,
    /// Hash of that file.
    pub hash: String,
    /// What it is given.
    pub inputs: Vec<Given>,
}

/// An input of a model.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Given {
    /// Its name in the model.
    pub name: String,
    /// An `.npy` file, from the folder of the manifest.
    pub file: String,
}

/// `results.json`.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Results {
    /// `spaceevo-results`.
    pub format: String,
    /// Version of the format.
    pub version: u32,
    /// [`Manifest::id`].
    pub job: String,
    /// Day, ISO 8601.
    pub date: String,
    /// The machine.
    pub machine: String,
    /// Name of the runtime.
    pub runtime: String,
    /// Its version.
    pub runtime_version: String,
    /// Threads.
    pub threads: usize,
    /// What models took.
    pub models: Vec<Taken>,
}

/// What a model took.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Taken {
    /// [`Entry::name`].
    pub name: String,
    /// [`Entry::hash`].
    pub hash: String,
    /// Nanoseconds of a run, by round.
    pub nanos: Vec<f64>,
}

/// Writes a job: the folder appears whole or not at all.
///
/// Errors: `output-exists` for a folder that is there, unless it is a job and `force` is set; those of writing models;
/// `measure-shape`; `file-io`.
pub fn export(
    folder: &Path,
    models: &[(String, Graph)],
    shapes: &Shapes,
    settings: &Settings,
    force: bool,
) -> Result<Manifest, Diagnostic> {
    known(shapes, &models.iter().map(|(_, graph)| graph).collect::<Vec<_>>())?;
    let replaces = folder.exists();
    if replaces && !(force && folder.join("manifest.json").is_file()) {
        let error = Diagnostic::error("output-exists", Loc::Unknown, format!("{} exists", folder.display()));
        return Err(error.note("--force replaces it, if it is a measurement job"));
    }
    let parent = folder.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let staged = tempfile::Builder::new().prefix(".job-").tempdir_in(parent).map_err(|e| io(parent, &e))?;
    let reference = [(reference::NAME.to_owned(), reference::graph())];
    let mut entries = Vec::new();
    for (at, (name, graph)) in reference.iter().chain(models).enumerate() {
        // The reference network's input may be called like one of theirs.
        let shapes = if at == 0 { &Shapes::new() } else { shapes };
        entries.push(entry(staged.path(), at, name, graph, shapes)?);
    }
    let manifest = Manifest {
        format: "spaceevo-job".into(),
        version: VERSION,
        id: hash(entries.iter().map(|e| e.hash.as_str()).collect::<String>().as_bytes()),
        threads: settings.threads,
        rounds: ROUNDS,
        turn_ns: settings.turn.as_nanos() as u64,
        models: entries,
    };
    let text =
        serde_json::to_string_pretty(&manifest).map_err(|e| Diagnostic::error("internal", Loc::Unknown, e.to_string()))?;
    write(&staged.path().join("manifest.json"), format!("{text}\n").as_bytes())?;
    write(&staged.path().join("measure.py"), include_bytes!("job.py"))?;
    if replaces {
        fs::remove_dir_all(folder).map_err(|e| io(folder, &e))?;
    }
    let staged = staged.keep();
    fs::rename(&staged, folder).map_err(|e| {
        let _ = fs::remove_dir_all(&staged);
        io(folder, &e)
    })?;
    Ok(manifest)
}

/// Writes one model and its inputs.
fn entry(folder: &Path, at: usize, name: &str, graph: &Graph, shapes: &Shapes) -> Result<Entry, Diagnostic> {
    let bytes = spaceevo_onnx::to_bytes(graph)?;
    let file = format!("{at:04}.onnx");
    write(&folder.join(&file), &bytes)?;
    let values = graph.region(graph.body()).inputs().iter().map(|&value| graph.value(value));
    let open = values.filter(|value| value.tensor().is_none());
    let ports: Vec<Port> = open.map(|v| Port { name: v.name().to_string(), ty: v.ty().clone() as Type }).collect();
    let tensors: Vec<Tensor> = drawn(&ports, shapes)?;
    let mut inputs = Vec::new();
    for (which, (port, tensor)) in ports.iter().zip(tensors).enumerate() {
        let file = format!("{at:04}.{which}.npy");
        let array = npy::bytes(&tensor).ok_or_else(|| {
            let elem: Elem = tensor.elem();
            Diagnostic::error("measure-shape", Loc::Unknown, format!("input '{}' of {elem} has no place in .npy", port.name))
        })?;
        write(&folder.join(&file), &array)?;
        inputs.push(Given { name: port.name.clone(), file });
    }
    Ok(Entry { name: name.to_owned(), file, hash: hash(&bytes), inputs })
}

/// Reads `results.json` of a job's folder, or the file that is named, and makes records of it.
///
/// Errors: `measure-job` for files that are missing, damaged, of another job, or that lack a model or have numbers that are no
/// times.
pub fn import(folder: &Path, results: Option<&Path>, confidence: f64) -> Result<Vec<Record>, Diagnostic> {
    let manifest: Manifest = read(&folder.join("manifest.json"))?;
    let path = results.map_or_else(|| folder.join("results.json"), PathBuf::from);
    let results: Results = read(&path)?;
    let wrong = |what: String| Err(wrong(&path, &what));
    if manifest.format != "spaceevo-job" || manifest.version != VERSION {
        return wrong("the manifest is of another format or version".into());
    }
    if results.format != "spaceevo-results" || results.version != VERSION {
        return wrong("results of another format or version".into());
    }
    if results.job != manifest.id {
        return wrong(format!("these are results of the job {}, not of {}", results.job, manifest.id));
    }
    let mut found = Vec::new();
    for entry in &manifest.models {
        let Some(taken) = results.models.iter().find(|taken| taken.name == entry.name && taken.hash == entry.hash) else {
            return wrong(format!("the results say nothing about '{}' ({})", entry.name, entry.hash));
        };
        if taken.nanos.len() < LEAST {
            return wrong(format!("'{}' took {} turns; {LEAST} are needed at least", entry.name, taken.nanos.len()));
        }
        if let Some(odd) = taken.nanos.iter().find(|nanos| !nanos.is_finite() || **nanos <= 0.0) {
            return wrong(format!("'{}' has a time of {odd} ns", entry.name));
        }
        found.push(taken);
    }
    let Some((reference, models)) = found.split_first() else {
        return wrong("the job has no models".into());
    };
    let mut records = Vec::new();
    for taken in models {
        if taken.nanos.len() != reference.nanos.len() {
            return wrong(format!(
                "'{}' took {} turns and the reference {}",
                taken.name,
                taken.nanos.len(),
                reference.nanos.len()
            ));
        }
        let ratios: Vec<f64> = taken.nanos.iter().zip(&reference.nanos).map(|(a, b)| a / b).collect();
        let (Some(time), Some(ratio)) = (estimate(&taken.nanos, confidence), estimate(&ratios, confidence)) else {
            continue;
        };
        records.push(Record {
            date: results.date.clone(),
            model: taken.name.clone(),
            hash: taken.hash.clone(),
            machine: results.machine.clone(),
            runtime: results.runtime.clone(),
            version: results.runtime_version.clone(),
            settings: format!(
                "{} thread{}, job {}",
                results.threads,
                if results.threads == 1 { "" } else { "s" },
                manifest.id
            ),
            source: String::new(),
            disturbed: String::new(),
            time,
            ratio,
            samples: taken.nanos.clone(),
        });
    }
    Ok(records)
}

fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T, Diagnostic> {
    let bytes = fs::read(path).map_err(|e| wrong(path, &e.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|e| wrong(path, &e.to_string()))
}

fn wrong(path: &Path, what: &str) -> Diagnostic {
    Diagnostic::error("measure-job", Loc::Unknown, format!("{}: {what}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Diagnostic> {
    fs::write(path, bytes).map_err(|e| io(path, &e))
}

fn io(path: &Path, e: &std::io::Error) -> Diagnostic {
    Diagnostic::error("file-io", Loc::Unknown, format!("{}: {e}", path.display()))
}
