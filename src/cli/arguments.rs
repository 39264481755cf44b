//! What words of the command line stand for: targets, runtimes, lists of names.

use std::path::Path;

use spaceevo::cost::predictor::priced;
use spaceevo::cost::runtime::{Purpose, Runtime, best, interp::Interpreter, ort::OnnxRuntime, tract::Tract};
use spaceevo::ir::nearest::nearest;
use spaceevo::ir::{Diagnostic, Loc};
use spaceevo::passes::Target;

use super::Failure;
use super::predict::read_predictor;

/// A complaint about the command line itself.
pub(crate) fn usage(message: impl Into<String>) -> Diagnostic {
    Diagnostic::error("usage", Loc::Unknown, message)
}

/// The same with advice: the known name that is most like the one given, or the list of all.
pub(crate) fn unknown(what: &str, name: &str, known: &[&str]) -> Failure {
    let advice = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean '{near}'?"),
        None if known.len() <= 12 => format!("known: {}", known.join(", ")),
        None => "see 'spaceevo-opt list' for the known names".to_owned(),
    };
    Failure::Usage(usage(format!("unknown {what} '{name}'")).note(advice))
}

/// A shipped target by name, or the target in a `.toml` file.
pub(crate) fn find_target(name: &str) -> Result<Target, Failure> {
    Ok(Target::parse(&target_text(name)?, name)?)
}

/// The text of a target's file.
pub(crate) fn target_text(name: &str) -> Result<String, Failure> {
    if name.ends_with(".toml") {
        return std::fs::read_to_string(name)
            .map_err(|e| Failure::Usage(usage(format!("the target file {name} cannot be read: {e}"))));
    }
    let known: Vec<&str> = Target::names().collect();
    Target::text(name).map(str::to_owned).ok_or_else(|| unknown("target", name, &known))
}

/// A target, priced by a predictor if there is one.
pub(crate) fn find_priced(name: &str, predictor: Option<&Path>) -> Result<Target, Failure> {
    let target = find_target(name)?;
    match predictor {
        None => Ok(target),
        Some(_) if target.prices.is_none() => {
            let message = format!("the target '{name}' has no prices: it says nothing of margins and fusion");
            Err(Failure::Usage(usage(message).note("take one with a section [prices], which measure-ops writes")))
        }
        Some(file) => Ok(priced(target, read_predictor(file)?)),
    }
}

/// A runtime by name; `auto` takes the best that is there.
pub(crate) fn find_runtime(name: &str) -> Result<Box<dyn Runtime>, Failure> {
    Ok(match name {
        "tract" => Box::new(Tract),
        "interpreter" => Box::new(Interpreter),
        "onnxruntime" => Box::new(OnnxRuntime::open(None)?),
        "auto" => best(Purpose::Numbers, None)?,
        _ => return Err(unknown("runtime", name, &["auto", "onnxruntime", "tract", "interpreter"])),
    })
}

/// The default target: the first that ships.
pub(crate) fn default_target() -> &'static str {
    Target::names().next().unwrap_or_default()
}

/// `-` in messages.
pub(crate) fn shown(path: &Path) -> String {
    if path == Path::new("-") { "standard input".into() } else { path.display().to_string() }
}
