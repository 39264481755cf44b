//! Measurements that are kept: one SQLite file that only grows, so that a later build, runtime or machine can be compared.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row, params};
use spaceevo_ir::{Diagnostic, Loc};

use super::statistics::Estimate;

/// The version of the tables, in the file's `user_version`.
const VERSION: i64 = 1;
/// Marks files as ours (`application_id`): "SEvo".
const MARK: i64 = 0x5345_766f;

const TABLES: &str = "CREATE TABLE measurement (
    id INTEGER PRIMARY KEY,
    date TEXT NOT NULL,          -- ISO 8601, UTC
    model TEXT NOT NULL,         -- name of the file
    hash TEXT NOT NULL,          -- of its bytes, XXH3 with 128 bits
    machine TEXT NOT NULL,       -- processor, threads, instruction sets
    runtime TEXT NOT NULL,
    version TEXT NOT NULL,
    settings TEXT NOT NULL,      -- threads, half-width, whether pinned
    source TEXT NOT NULL,        -- commit, or empty
    disturbed TEXT NOT NULL,     -- complaints about the machine, or empty
    median REAL NOT NULL,        -- nanoseconds of a run, with its interval
    low REAL NOT NULL,
    high REAL NOT NULL,
    ratio REAL NOT NULL,         -- to the reference network of the same rounds, with its interval
    ratio_low REAL NOT NULL,
    ratio_high REAL NOT NULL,
    samples TEXT NOT NULL        -- nanoseconds of a run by round, JSON
) STRICT;";

/// One measurement of one model.
#[derive(Clone, PartialEq, Debug)]
pub struct Record {
    /// Day, ISO 8601.
    pub date: String,
    /// Name of the model's file.
    pub model: String,
    /// Hash of its bytes ([`hash`]).
    pub hash: String,
    /// The machine, as [`crate::machine::Machine`] is printed.
    pub machine: String,
    /// Name of the runtime.
    pub runtime: String,
    /// Its version.
    pub version: String,
    /// How it was measured, in words.
    pub settings: String,
    /// The commit that made the model or the program, or nothing.
    pub source: String,
    /// Complaints about the machine, or nothing.
    pub disturbed: String,
    /// Nanoseconds of a run.
    pub time: Estimate,
    /// Ratio to the reference network.
    pub ratio: Estimate,
    /// Nanoseconds of a run, by round.
    pub samples: Vec<f64>,
}

/// XXH3 of bytes with 128 bits, as 32 hexadecimal digits.
pub fn hash(bytes: &[u8]) -> String {
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(bytes))
}

/// A store.
pub struct Store {
    connection: Connection,
    path: String,
}

impl Store {
    /// Opens a store, or makes one. Errors: `measure-store` for a file that is something else, damaged, or of a newer version.
    pub fn append_to(path: &Path) -> Result<Store, Diagnostic> {
        let store = Store::open(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        let (mark, version) = store.marks()?;
        let count = "SELECT count(*) FROM sqlite_schema";
        let empty = store.connection.query_row(count, [], |row| row.get::<_, i64>(0)).map_err(|e| store.wrong(&e))? == 0;
        if empty && (mark, version) == (0, 0) {
            let all = format!("BEGIN; {TABLES} PRAGMA application_id = {MARK}; PRAGMA user_version = {VERSION}; COMMIT;");
            store.connection.execute_batch(&all).map_err(|e| store.wrong(&e))?;
        }
        store.check()
    }

    /// Opens a store that exists. Errors: as [`Store::append_to`], and for one that does not.
    pub fn read_from(path: &Path) -> Result<Store, Diagnostic> {
        Store::open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?.check()
    }

    fn open(path: &Path, flags: OpenFlags) -> Result<Store, Diagnostic> {
        let shown = path.display().to_string();
        let failed = |e: rusqlite::Error| Diagnostic::error("measure-store", Loc::Unknown, format!("{shown}: {e}"));
        let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(failed)?;
        Ok(Store { connection, path: shown })
    }

    fn marks(&self) -> Result<(i64, i64), Diagnostic> {
        let number = |name: &str| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let both = || Ok::<_, rusqlite::Error>((number("application_id")?, number("user_version")?));
        both().map_err(|e| self.wrong(&e))
    }

    fn check(self) -> Result<Store, Diagnostic> {
        let say = |what: String| Err(self.wrong(&what));
        match self.marks()? {
            (MARK, VERSION) => {}
            (MARK, newer) => return say(format!("it has version {newer}, this program knows {VERSION}")),
            _ => return say("this is no store of measurements".into()),
        }
        let verdict = self.connection.query_row("PRAGMA quick_check", [], |row| row.get::<_, String>(0));
        match verdict {
            Ok(verdict) if verdict == "ok" => Ok(self),
            Ok(verdict) => say(format!("it is damaged: {}", verdict.lines().next().unwrap_or_default())),
            Err(e) => say(format!("it is damaged: {e}")),
        }
    }

    fn wrong(&self, what: &dyn std::fmt::Display) -> Diagnostic {
        Diagnostic::error("measure-store", Loc::Unknown, format!("{}: {what}", self.path))
    }

    /// Appends records, all or none. Errors: `measure-store`.
    pub fn append(&mut self, records: &[Record]) -> Result<(), Diagnostic> {
        let path = self.path.clone();
        let mut all = || {
            let transaction = self.connection.transaction()?;
            for r in records {
                let samples = serde_json::to_string(&r.samples).unwrap_or_default();
                transaction.execute(
                    "INSERT INTO measurement (date, model, hash, machine, runtime, version, settings, source, disturbed,
                     median, low, high, ratio, ratio_low, ratio_high, samples)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
                    params![
                        r.date,
                        r.model,
                        r.hash,
                        r.machine,
                        r.runtime,
                        r.version,
                        r.settings,
                        r.source,
                        r.disturbed,
                        r.time.median,
                        r.time.low,
                        r.time.high,
                        r.ratio.median,
                        r.ratio.low,
                        r.ratio.high,
                        samples
                    ],
                )?;
            }
            transaction.commit()
        };
        all().map_err(|e| Diagnostic::error("measure-store", Loc::Unknown, format!("{path}: {e}")))
    }

    /// All records, oldest first. Errors: `measure-store`.
    pub fn list(&self) -> Result<Vec<Record>, Diagnostic> {
        let all = || -> rusqlite::Result<Vec<Record>> {
            self.connection.prepare("SELECT * FROM measurement ORDER BY id")?.query_map([], record)?.collect()
        };
        all().map_err(|e| self.wrong(&e))
    }
}

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let samples: String = row.get("samples")?;
    let samples = serde_json::from_str(&samples)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(16, rusqlite::types::Type::Text, Box::new(e)))?;
    let estimate = |names: [&str; 3]| {
        let [median, low, high] = names.map(|name| row.get(name));
        Ok::<_, rusqlite::Error>(Estimate { median: median?, low: low?, high: high? })
    };
    Ok(Record {
        date: row.get("date")?,
        model: row.get("model")?,
        hash: row.get("hash")?,
        machine: row.get("machine")?,
        runtime: row.get("runtime")?,
        version: row.get("version")?,
        settings: row.get("settings")?,
        source: row.get("source")?,
        disturbed: row.get("disturbed")?,
        time: estimate(["median", "low", "high"])?,
        ratio: estimate(["ratio", "ratio_low", "ratio_high"])?,
        samples,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(model: &str) -> Record {
        let estimate = |median: f64| Estimate { median, low: 0.99 * median, high: 1.02 * median };
        Record {
            date: "2026-01-31".into(),
            model: model.into(),
            hash: hash(model.as_bytes()),
            machine: "a processor, 2 threads".into(),
            runtime: "tract".into(),
            version: "0.1".into(),
            settings: "1 thread".into(),
            source: String::new(),
            disturbed: String::new(),
            time: estimate(1234.5),
            ratio: estimate(0.1 + 0.2),
            samples: vec![1.5, 1e9, 0.1],
        }
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn what_is_appended_comes_back_to_the_bit() {
        let folder = folder();
        let path = folder.path().join("store.sqlite");
        Store::append_to(&path).unwrap().append(&[record("a"), record("b'; DROP TABLE measurement")]).unwrap();
        Store::append_to(&path).unwrap().append(&[record("c")]).unwrap();
        let found = Store::read_from(&path).unwrap().list().unwrap();
        assert_eq!(found, [record("a"), record("b'; DROP TABLE measurement"), record("c")]);
    }

    #[test]
    fn other_files_and_damaged_ones_are_refused_and_stay_as_they_are() {
        let folder = folder();
        let missing = folder.path().join("missing.sqlite");
        assert_eq!(Store::read_from(&missing).err().unwrap().code, "measure-store");
        assert!(!missing.exists());
        let text = folder.path().join("text");
        std::fs::write(&text, "not a store at all, only some text that is long enough to be looked at").unwrap();
        let error = Store::append_to(&text).err().unwrap();
        assert!(error.code == "measure-store" && error.message.contains("text"), "{error}");
        assert!(std::fs::read_to_string(&text).unwrap().starts_with("not a store"));
        let foreign = folder.path().join("foreign.sqlite");
        Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        let error = Store::append_to(&foreign).err().unwrap();
        assert!(error.message.ends_with("this is no store of measurements"), "{error}");
        let newer = folder.path().join("newer.sqlite");
        Store::append_to(&newer).unwrap().connection.pragma_update(None, "user_version", 2).unwrap();
        assert!(Store::read_from(&newer).err().unwrap().message.contains("version 2"));
    }

    #[test]
    fn a_store_with_bytes_turned_over_is_damaged() {
        let folder = folder();
        let path = folder.path().join("store.sqlite");
        let many: Vec<Record> = (0..200).map(|at| record(&format!("model {at}"))).collect();
        Store::append_to(&path).unwrap().append(&many).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let mut turned = whole.clone();
        turned[4096..].iter_mut().step_by(7).for_each(|byte| *byte = !*byte);
        for bytes in [&turned[..], &whole[..whole.len() / 2]] {
            std::fs::write(&path, bytes).unwrap();
            let outcome = Store::read_from(&path).and_then(|store| store.list());
            assert_eq!(outcome.err().map(|e| e.code), Some("measure-store"), "{} bytes", bytes.len());
        }
    }
}
