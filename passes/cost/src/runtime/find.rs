//! Which runtimes this machine has, and which one to take for what.

use std::path::{Path, PathBuf};

use spaceevo_ir::Diagnostic;

use super::Runtime;
use super::interp::Interpreter;
use super::library::candidates;
use super::ort::{INSTALL, OnnxRuntime};
use super::tract::{Tract, VERSION};

/// What a runtime is wanted for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// The numbers of a model, as fast as they can be had: calibration and verification.
    Numbers,
    /// How fast the INT8 file runs where it will be deployed. Only ONNX Runtime can tell.
    Latency,
    /// What the model means: slow, and right by definition.
    Reference,
}

/// One line of `spaceevo-opt doctor`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// [`Runtime::name`].
    pub name: &'static str,
    /// Version, when it is there.
    pub version: Option<String>,
    /// File of the library, for a runtime that is one.
    pub path: Option<PathBuf>,
    /// Why that file was taken: `the active Python environment`.
    pub origin: Option<&'static str>,
    /// What it is good for.
    pub enables: &'static str,
    /// The command that installs it, when it is not there.
    pub install: Option<&'static str>,
}

/// Every runtime that this program knows, there or not. Lists folders, loads nothing.
pub fn available(library: Option<&Path>) -> Vec<Found> {
    let embedded = |name, version: &str, enables| Found {
        name,
        version: Some(version.to_string()),
        path: None,
        origin: None,
        enables,
        install: None,
    };
    let found = candidates(library).into_iter().find(|c| c.named || c.path.is_file());
    let usable = found.as_ref().is_some_and(|c| c.path.is_file());
    vec![
        embedded("tract", VERSION, "calibrating and verifying float and QDQ models"),
        Found {
            name: "onnxruntime",
            version: found.as_ref().filter(|_| usable).map(|c| c.version().unwrap_or_else(|| "unknown".into())),
            path: found.as_ref().map(|c| c.path.clone()),
            origin: found.as_ref().map(|c| c.origin),
            enables: "calibrating several times faster, verifying QOperator models, measuring INT8 latency",
            install: (!usable).then_some(INSTALL),
        },
        embedded("interpreter", env!("CARGO_PKG_VERSION"), "judging the other two on small models"),
    ]
}

/// The runtime to take. For numbers that is ONNX Runtime where its library can be loaded and tract elsewhere; a library that
/// was named (`library`, `ORT_DYLIB_PATH`) and cannot be used is an error and not a reason to take another.
pub fn best(purpose: Purpose, library: Option<&Path>) -> Result<Box<dyn Runtime>, Diagnostic> {
    match purpose {
        Purpose::Reference => Ok(Box::new(Interpreter)),
        Purpose::Latency => Ok(Box::new(OnnxRuntime::open(library)?)),
        Purpose::Numbers => match OnnxRuntime::open(library) {
            Ok(runtime) => Ok(Box::new(runtime)),
            Err(problem) if candidates(library).first().is_some_and(|c| c.named) => Err(problem),
            Err(_) => Ok(Box::new(Tract)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_no_installation_is_always_there() {
        let found = available(Some(Path::new("/nowhere/libonnxruntime.so")));
        let line = |name: &str| found.iter().find(|f| f.name == name).cloned().unwrap();
        assert_eq!(line("tract").version.as_deref(), Some(VERSION));
        assert!(line("interpreter").install.is_none());
        let missing = line("onnxruntime");
        assert_eq!((missing.version, missing.install), (None, Some(INSTALL)));
    }

    #[test]
    fn a_named_library_that_cannot_be_used_is_an_error() {
        let file = tempfile::Builder::new().suffix(".so").tempfile().unwrap();
        std::fs::write(file.path(), "not a library").unwrap();
        for purpose in [Purpose::Numbers, Purpose::Latency] {
            let error = best(purpose, Some(file.path())).err().expect("a text file is no library");
            assert_eq!(error.code, "runtime-library");
        }
        let error = best(Purpose::Numbers, Some(Path::new("/nowhere/libonnxruntime.so"))).err().expect("no file");
        assert!(error.code == "runtime-library", "{error}");
    }
}
