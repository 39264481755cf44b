//! Where a shared library of ONNX Runtime may lie: only by listing folders, since starting a Python to ask costs more than
//! converting a small model.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};

/// A place where the library is, or is said to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The file.
    pub path: PathBuf,
    /// Why it is looked at: `--ort`, `ORT_DYLIB_PATH`, `the active Python environment`.
    pub origin: &'static str,
    /// The user named this very file: if it cannot be used, no other is tried in its place.
    pub named: bool,
}

impl Candidate {
    /// Version as the file's name, or the package it lies in, gives it.
    pub fn version(&self) -> Option<String> {
        let real = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        let name = real.file_name()?.to_str()?;
        let from_name = name.strip_prefix("libonnxruntime").and_then(|rest| {
            let rest = rest.strip_prefix(".so.").or_else(|| rest.strip_prefix('.')?.strip_suffix(".dylib"))?;
            rest.contains('.').then(|| rest.to_string())
        });
        from_name.or_else(|| package_version(&real))
    }
}

/// Every place, best first. The first of them is the one to use; with nothing found, the list is empty.
///
/// Order: `explicit`, the variables `ORT_DYLIB_PATH` and `SPACEEVO_ORT`, the active Python environment (`VIRTUAL_ENV`,
/// `CONDA_PREFIX`), the Pythons on `PATH`, packages installed for this user, the system's library folders.
pub fn candidates(explicit: Option<&Path>) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::new();
    let named = explicit.map(|path| (path.to_path_buf(), "--ort")).into_iter().chain(
        ["ORT_DYLIB_PATH", "SPACEEVO_ORT"]
            .into_iter()
            .filter_map(|name| Some((PathBuf::from(env::var_os(name).filter(|v| !v.is_empty())?), name))),
    );
    for (path, origin) in named {
        // A folder stands for the library in it: people paste either.
        let path = libraries_in(&path).into_iter().next().unwrap_or(path);
        found.push(Candidate { path, origin, named: true });
    }
    let places = python_prefixes()
        .flat_map(|(prefix, origin)| site_packages(&prefix).into_iter().map(move |site| (site, origin)))
        .map(|(site, origin)| (site.join("onnxruntime").join("capi"), origin))
        .chain(system_folders().map(|folder| (folder, "the system's library folders")));
    for (folder, origin) in places {
        for path in libraries_in(&folder) {
            if !found.iter().any(|c| c.path == path) {
                found.push(Candidate { path, origin, named: false });
            }
        }
    }
    found
}

/// True for the file name of the library itself, on any system, whatever its version.
fn is_library(name: &str) -> bool {
    name == "onnxruntime.dll"
        || name.strip_prefix("libonnxruntime.").is_some_and(|rest| rest.starts_with("so") || rest.ends_with("dylib"))
}

/// The libraries in a folder, newest name first; nothing when it is no folder.
fn libraries_in(folder: &Path) -> Vec<PathBuf> {
    let mut found = names_in(folder);
    found.retain(|name| is_library(name));
    found.into_iter().rev().map(|name| folder.join(name)).collect()
}

/// Names in a folder, sorted; nothing when it cannot be read.
fn names_in(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Folders above `lib/pythonX.Y`: of the active environment, of the Pythons on `PATH`, of this user.
fn python_prefixes() -> impl Iterator<Item = (PathBuf, &'static str)> {
    let folder = |name: &str| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let active = ["VIRTUAL_ENV", "CONDA_PREFIX"]
        .into_iter()
        .filter_map(move |name| Some((folder(name)?, "the active Python environment")));
    let on_path = env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .filter(|bin| ["python3", "python", "python.exe"].iter().any(|name| bin.join(name).exists()))
        // On Windows python.exe lies in the prefix itself, elsewhere in its `bin`.
        .filter_map(|bin| if cfg!(windows) { Some(bin) } else { bin.parent().map(Path::to_path_buf) })
        .map(|prefix| (prefix, "a Python on PATH"))
        .collect::<Vec<_>>();
    // Debian's `pip install` as root writes beside the system's Python.
    let local = [(PathBuf::from("/usr/local"), "a Python on PATH")];
    let user = folder("HOME").map(|home| (home.join(".local"), "this user's Python packages"));
    active.chain(on_path).chain(local).chain(user)
}

/// The package folders of a Python prefix, newest Python first.
fn site_packages(prefix: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for lib in ["lib", "lib64"].map(|lib| prefix.join(lib)) {
        for python in names_in(&lib).into_iter().rev().filter(|name| name.starts_with("python3")) {
            found.extend(["site-packages", "dist-packages"].map(|packages| lib.join(&python).join(packages)));
        }
    }
    if cfg!(windows) {
        found.push(prefix.join("Lib").join("site-packages"));
    }
    found
}

/// Where the loader looks, as far as folders can be listed.
fn system_folders() -> impl Iterator<Item = PathBuf> {
    let listed = ["LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"].into_iter().filter_map(env::var_os);
    let listed: Vec<PathBuf> = listed.flat_map(|paths| env::split_paths(&paths).collect::<Vec<_>>()).collect();
    let multiarch = PathBuf::from(format!("/usr/lib/{}-linux-gnu", env::consts::ARCH));
    let fixed = ["/usr/local/lib", "/opt/homebrew/lib", "/usr/lib64", "/usr/lib"].map(PathBuf::from);
    listed.into_iter().filter(|path| !path.as_os_str().is_empty()).chain([multiarch]).chain(fixed)
}

/// Version out of `onnxruntime-1.20.1.dist-info`, beside the package that holds the library.
fn package_version(library: &Path) -> Option<String> {
    let site = library.parent()?.parent()?.parent()?;
    names_in(site).iter().find_map(|name| {
        let version = name.strip_suffix(".dist-info")?.strip_prefix("onnxruntime")?.rsplit_once('-')?.1;
        version.starts_with(|c: char| c.is_ascii_digit()).then(|| version.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_library_itself_counts() {
        for yes in ["libonnxruntime.so", "libonnxruntime.so.1.32.0", "libonnxruntime.1.20.0.dylib", "onnxruntime.dll"] {
            assert!(is_library(yes), "{yes}");
        }
        for no in ["libonnxruntime_providers_shared.so", "onnxruntime_pybind11_state.so", "libonnxruntime.a"] {
            assert!(!is_library(no), "{no}");
        }
    }

    #[test]
    fn a_package_folder_is_found_under_a_prefix_with_its_version() {
        let prefix = tempfile::tempdir().unwrap();
        let site = prefix.path().join("lib/python3.11/site-packages");
        let capi = site.join("onnxruntime/capi");
        std::fs::create_dir_all(&capi).unwrap();
        std::fs::create_dir_all(site.join("onnxruntime_gpu-1.21.0.dist-info")).unwrap();
        std::fs::write(capi.join("libonnxruntime.so"), "").unwrap();
        assert_eq!(site_packages(prefix.path())[0], site);
        let path = libraries_in(&capi).remove(0);
        assert_eq!(Candidate { path, origin: "", named: false }.version().as_deref(), Some("1.21.0"));
        std::fs::write(capi.join("libonnxruntime.so.1.32.0"), "").unwrap();
        let path = libraries_in(&capi).remove(0);
        assert_eq!(Candidate { path, origin: "", named: false }.version().as_deref(), Some("1.32.0"));
    }

    #[test]
    fn the_named_library_comes_first_even_if_it_is_not_there() {
        let missing = Path::new("/nowhere/libonnxruntime.so.9.9.9");
        let first = candidates(Some(missing)).remove(0);
        assert_eq!((first.path.as_path(), first.named), (missing, true));
    }
}
