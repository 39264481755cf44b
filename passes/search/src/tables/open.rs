//! Where tables are: a folder, a tar archive (plain or gzip), or one file of our own binary format.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use flate2::read::GzDecoder;
use rayon::prelude::*;
use spaceevo_ir::{Diagnostic, Loc};

use super::row::{self, Place};
use super::{Tables, binary, file_name};
use crate::hyperspace::Hyperspace;

/// Complaints about rows that are kept: more than a screen says nothing more.
const MOST_ERRORS: usize = 16;
/// Bytes that all tables together may have.
const MOST_BYTES: u64 = 1 << 30;

/// The bytes of tables by file name, before anything is read into them.
pub type Sources = BTreeMap<String, Arc<[u8]>>;

impl Tables {
    /// Reads the tables of a hyperspace. In an archive or folder with tables of several, those in the folder of its name count.
    ///
    /// Errors: `file-io`, `table-format` where there is no table, `table-row` with file and line. What is missing is no error
    /// here: see [`Tables::gaps`].
    pub fn open(path: &Path, hyperspace: &Hyperspace) -> Result<Tables, Vec<Diagnostic>> {
        if path.is_file() {
            let mut magic = [0; binary::MAGIC.len()];
            let read = File::open(path).and_then(|mut f| f.read_exact(&mut magic));
            if read.is_ok() && magic == *binary::MAGIC {
                let bytes = fs::read(path).map_err(|e| vec![unreadable(path, &e)])?;
                return Tables::from_bytes(&bytes, &path.display().to_string(), hyperspace);
            }
        }
        Tables::parse(&Tables::gather(path, hyperspace).map_err(|d| vec![d])?, hyperspace)
    }

    /// The bytes of all tables of a hyperspace, decompressed.
    ///
    /// Errors: `file-io`, `table-format` where there is no table.
    pub fn gather(path: &Path, hyperspace: &Hyperspace) -> Result<Sources, Diagnostic> {
        let all = if path.is_dir() { folder(path, &hyperspace.name)? } else { archive(path)? };
        let own = format!("{}/", hyperspace.name);
        let named: Vec<String> =
            all.keys().filter(|k| k.starts_with(&own) || k.contains(&format!("/{own}"))).cloned().collect();
        let chosen: Vec<(String, Arc<[u8]>)> = if named.is_empty() {
            all.into_iter().collect()
        } else {
            all.into_iter().filter(|(k, _)| named.contains(k)).collect()
        };
        let base = |key: &str| key.rsplit('/').next().unwrap_or_default().to_owned();
        let mut sources = Sources::new();
        for (key, bytes) in chosen {
            if sources.insert(base(&key), bytes).is_some() {
                let what = format!("{} holds two tables called {}", path.display(), base(&key));
                return Err(Diagnostic::error("table-format", Loc::Unknown, what));
            }
        }
        let known = |(i, s): (usize, &crate::hyperspace::Stage)| {
            let name = |n: usize| file_name(&hyperspace.stages[i].name, n / s.windows(), n % s.windows());
            (0..s.blocks.len() * s.windows()).map(name).collect::<Vec<_>>()
        };
        let known: Vec<String> = hyperspace.stages.iter().enumerate().flat_map(known).collect();
        sources.retain(|name, _| known.contains(name));
        if sources.is_empty() {
            let what = format!("{} holds no table of {}", path.display(), hyperspace.name);
            return Err(Diagnostic::error("table-format", Loc::Unknown, what)
                .note(format!("tables are called like {}", known.first().map_or("stage1_0_0.csv", String::as_str))));
        }
        Ok(sources)
    }

    /// Reads gathered tables, on all threads.
    ///
    /// Errors: `table-row` with file and line, for the first rows that are wrong.
    pub fn parse(sources: &Sources, hyperspace: &Hyperspace) -> Result<Tables, Vec<Diagnostic>> {
        let places: Vec<(usize, usize)> = hyperspace
            .stages
            .iter()
            .enumerate()
            .flat_map(|(i, s)| (0..s.blocks.len() * s.windows()).map(move |n| (i, n)))
            .collect();
        let read: Vec<_> = places
            .par_iter()
            .map(|&(stage, n)| {
                let windows = hyperspace.stages[stage].windows();
                let name = file_name(&hyperspace.stages[stage].name, n / windows, n % windows);
                let place = Place::new(hyperspace, stage, n / windows, n % windows);
                sources.get(&name).map(|bytes| row::read(&name, bytes.clone(), &place)).transpose()
            })
            .collect();
        let mut tables: Vec<Vec<_>> = vec![Vec::new(); hyperspace.stages.len()];
        let (mut errors, mut wrong) = (Vec::new(), 0);
        for ((stage, _), table) in places.into_iter().zip(read) {
            match table {
                Ok(table) => tables[stage].push(table),
                Err(found) => {
                    wrong += 1;
                    errors.extend(found);
                }
            }
        }
        if errors.is_empty() {
            return Ok(Tables::new(hyperspace, tables));
        }
        errors.truncate(MOST_ERRORS);
        if wrong > 1
            && let Some(last) = errors.pop()
        {
            let note =
                format!("{wrong} of {} tables have such rows: are they tables of {}?", sources.len(), hyperspace.name);
            errors.push(last.note(note));
        }
        Err(errors)
    }
}

fn unreadable(path: &Path, e: &std::io::Error) -> Diagnostic {
    Diagnostic::error("file-io", Loc::Unknown, format!("{} cannot be read: {e}", path.display()))
}

/// The tables of a folder, or of the folder of the hyperspace's name in it.
fn folder(path: &Path, name: &str) -> Result<Sources, Diagnostic> {
    let own = path.join(name);
    let path = if own.is_dir() { &own } else { path };
    let mut found = Sources::new();
    let mut left = MOST_BYTES;
    for entry in fs::read_dir(path).map_err(|e| unreadable(path, &e))? {
        let entry = entry.map_err(|e| unreadable(path, &e))?;
        let file = entry.file_name().to_string_lossy().into_owned();
        if file.ends_with(".csv") && entry.path().is_file() {
            let bytes = fs::read(entry.path()).map_err(|e| unreadable(&entry.path(), &e))?;
            left = left.checked_sub(bytes.len() as u64).ok_or_else(|| too_large(path))?;
            found.insert(file, bytes.into());
        }
    }
    Ok(found)
}

fn too_large(path: &Path) -> Diagnostic {
    let what = format!("{} holds more than {} MiB of tables", path.display(), MOST_BYTES >> 20);
    Diagnostic::error("table-format", Loc::Unknown, what)
}

/// The `.csv` files of a tar archive.
fn archive(path: &Path) -> Result<Sources, Diagnostic> {
    let mut file = File::open(path).map_err(|e| unreadable(path, &e))?;
    let mut magic = [0; 2];
    let packed = file.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b];
    let file = File::open(path).map_err(|e| unreadable(path, &e))?;
    let stream: Box<dyn Read> = if packed { Box::new(GzDecoder::new(file)) } else { Box::new(file) };
    let damaged = |e: std::io::Error| {
        let what = format!("{} is no readable archive of tables: {e}", path.display());
        Diagnostic::error("table-format", Loc::Unknown, what).note("a folder, .tar, .tar.gz, or what 'space tables' wrote")
    };
    let mut found = Sources::new();
    let mut left = MOST_BYTES;
    let mut tar = tar::Archive::new(stream.take(2 * MOST_BYTES));
    for entry in tar.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let name = entry.path().map_err(damaged)?.to_string_lossy().into_owned();
        if !name.ends_with(".csv") || !entry.header().entry_type().is_file() {
            continue;
        }
        left = left.checked_sub(entry.size()).ok_or_else(|| too_large(path))?;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(damaged)?;
        found.insert(name, bytes.into());
    }
    Ok(found)
}
