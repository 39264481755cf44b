//! The table as a whole: an index over its blocks, each of which is read when it is first asked for.

use std::sync::OnceLock;

use super::op::OpSchema;
use super::parse::{self, Fault, Head, NamedSets};

static TEXT: &str = include_str!("operators.txt");

/// The table that comes with the crate.
pub(super) fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| Table::index(TEXT))
}

/// An index over the text of a table.
pub(super) struct Table {
    /// Sorted by domain, name and version.
    entries: Vec<Entry>,
    sets: NamedSets,
    /// Domains in the order of the text, with their newest versions.
    pub(super) domains: Vec<(&'static str, u64)>,
    /// The number of operator versions that the header promises.
    pub(super) count: Option<usize>,
    /// Lines that the index had to skip.
    pub(super) faults: Vec<Fault>,
}

struct Entry {
    domain: &'static str,
    head: Head,
    body: &'static str,
    schema: OnceLock<Result<OpSchema, Fault>>,
}

impl Table {
    /// Finds the blocks of a table without reading them. Lines that mean nothing become faults.
    pub(super) fn index(text: &'static str) -> Table {
        let mut table =
            Table { entries: Vec::new(), sets: Vec::new(), domains: Vec::new(), count: None, faults: Vec::new() };
        let mut rest = text;
        while !rest.is_empty() {
            let (line, below) = rest.split_once('\n').unwrap_or((rest, ""));
            let body_len = body_len(below);
            let (body, next) = below.split_at(body_len);
            if !body.is_empty() && !line.starts_with("op ") {
                let reason = "indented lines below something that is no operator";
                table.faults.push(Fault { line, reason });
            }
            if let Err(reason) = table.read_line(line.trim_end_matches('\r'), body) {
                table.faults.push(Fault { line, reason });
            }
            rest = next;
        }
        table.entries.sort_by(|a, b| a.key().cmp(&b.key()));
        table
    }

    fn read_line(&mut self, line: &'static str, body: &'static str) -> Result<(), &'static str> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "" if rest.is_empty() => {}
            "#" => {}
            "count" => self.count = Some(rest.parse().map_err(|_| "bad count")?),
            "set" => {
                let (name, types) = rest.split_once(" = ").ok_or("`set` without ` = `")?;
                let types = parse::type_set(types, &self.sets).ok_or("bad type set")?;
                let place = self.sets.binary_search_by_key(&name, |(name, _)| name).err();
                self.sets.insert(place.ok_or("a second set of this name")?, (name, types));
            }
            "domain" => {
                let (name, version) = rest.split_once(' ').ok_or("`domain` without a version")?;
                self.domains.push((canonical(name), version.parse().map_err(|_| "bad version")?));
            }
            "op" => {
                let &(domain, _) = self.domains.last().ok_or("`op` before any `domain`")?;
                let head = parse::head(rest).ok_or("bad operator head")?;
                self.entries.push(Entry { domain, head, body, schema: OnceLock::new() });
            }
            _ => return Err("unknown first word"),
        }
        Ok(())
    }

    /// All versions of one operator, oldest first.
    fn versions(&self, domain: &str, name: &str) -> &[Entry] {
        let wanted = (canonical(domain), name);
        let start = self.entries.partition_point(|entry| (entry.domain, entry.head.name) < wanted);
        let count = self.entries[start..].partition_point(|entry| (entry.domain, entry.head.name) == wanted);
        &self.entries[start..start + count]
    }

    /// The version of an operator that a model with this opset means.
    pub(super) fn lookup(&self, domain: &str, name: &str, opset: u64) -> Option<&OpSchema> {
        let versions = self.versions(domain, name);
        let newer = versions.partition_point(|entry| entry.head.since <= opset);
        self.read(&versions[newer.checked_sub(1)?]).as_ref().ok()
    }

    /// The versions at which an operator changed, oldest first.
    pub(super) fn since_versions(&self, domain: &str, name: &str) -> Vec<u64> {
        self.versions(domain, name).iter().map(|entry| entry.head.since).collect()
    }

    /// Every operator version, or why its block cannot be read.
    pub(super) fn all(&self) -> impl Iterator<Item = &Result<OpSchema, Fault>> {
        self.entries.iter().map(|entry| self.read(entry))
    }

    fn read<'a>(&'a self, entry: &'a Entry) -> &'a Result<OpSchema, Fault> {
        entry.schema.get_or_init(|| parse::block(entry.domain, &entry.head, entry.body, &self.sets))
    }
}

impl Entry {
    fn key(&self) -> (&'static str, &'static str, u64) {
        (self.domain, self.head.name, self.head.since)
    }
}

/// How much of the text belongs to the line above it: the lines that start with a blank.
fn body_len(text: &str) -> usize {
    let mut len = 0;
    while text[len..].starts_with(' ') {
        len = text[len..].find('\n').map_or(text.len(), |end| len + end + 1);
    }
    len
}

/// `ai.onnx` is another name of the default domain.
pub(super) fn canonical(domain: &str) -> &str {
    if matches!(domain, "ai.onnx" | "onnx") { "" } else { domain }
}

#[cfg(test)]
mod tests {
    use super::Table;
    use crate::schema::AttrDefault;

    #[test]
    fn bad_lines_are_skipped_and_told() {
        let good = "domain ai.onnx 2\nop A 1\n in X:T\n type T = f32 seq(i8 u8)\n";
        let table = Table::index(good);
        assert!(table.faults.is_empty() && table.lookup("", "A", 1).is_some());
        for bad in [
            "gibberish",
            "op",
            "op A",
            "op A one",
            "op A 2 retired",
            "set @s",
            "set @s = f31",
            "domain x",
            "count many",
            " in X:T",
            "  ",
            "set @s = f32\nset @s = i8",
        ] {
            let table = Table::index(format!("domain ai.onnx 1\n{bad}\nop B 1\n in X:f32\n").leak());
            assert_eq!(table.faults.len(), 1, "{bad}");
            assert!(table.lookup("", "B", 1).is_some(), "{bad}");
        }
        for bad in [
            "in X",
            "in X:",
            "in :T",
            "in X*:f32",
            "in X*1:f32 Y:f32",
            "in X~:f32",
            "in X:T",
            "in ",
            "in",
            "attr a",
            "attr a:int=",
            "attr a:int=x",
            "attr a!:int=1",
            "attr a:ints=[1,]",
            "attr a:str=x",
            "attr a:graph=1",
            "type T",
            "type T = ",
            "type T = f31",
            "type T = @s",
            "type T = seq(f32",
            "type T = f32)",
            "type T = seq(seq(f32))",
            "type T = box(f32)",
            "type T = map(f32)",
            "type T = ()",
            "what is this",
        ] {
            let table = Table::index(format!("domain ai.onnx 1\nop A 1\n {bad}\nop B 1\n in X:f32\n").leak());
            assert!(table.lookup("", "A", 1).is_none(), "{bad}");
            assert!(table.lookup("", "B", 1).is_some(), "{bad}");
            assert_eq!(table.all().filter(|schema| schema.is_err()).count(), 1, "{bad}");
        }
    }

    #[test]
    fn line_ends_do_not_matter() {
        let table = Table::index("# x\r\n#\r\n\r\ncount 1\r\ndomain ai.onnx 1\r\nop A 1\r\n in X:f32\r\n attr a:int=1\r\n");
        assert_eq!((table.faults.len(), table.count), (0, Some(1)));
        assert_eq!(table.lookup("", "A", 1).unwrap().attrs[0].default, AttrDefault::Int(1));
    }
}
