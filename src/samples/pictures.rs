//! A folder of pictures, in the order of their names.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use spaceevo_cost::Port;
use spaceevo_ir::{Diagnostic, Elem, Tensor};

use super::picture::{EXTENSIONS, Picture};
use super::preprocess::{Layout, Preprocess};
use super::{SampleSource, batch_of_one, convert, error, expected, extension, fits, unreadable};

pub(super) struct Pictures {
    folder: PathBuf,
    names: Vec<String>,
    labels: Vec<Option<usize>>,
    preprocess: Preprocess,
    /// Final height and width.
    size: (usize, usize),
    elem: Elem,
}

impl Pictures {
    pub(super) fn open(folder: &Path, inputs: &[Port], preprocess: Option<&Preprocess>) -> Result<Pictures, Diagnostic> {
        let [input] = inputs else {
            let names: Vec<_> = inputs.iter().map(|p| p.name.as_str()).collect();
            let what = format!("pictures feed one input; the model has {}: {}", inputs.len(), names.join(", "));
            return Err(error("samples-missing-input", folder, what).note("pass an .npz with one array per input name"));
        };
        let names = names(folder)?;
        let Some(preprocess) = preprocess else {
            let what = "is a folder of pictures, and nothing says how they become the model's input";
            let note = "pass --preprocess SPEC.toml, or put a <model>.toml beside the model; for example: resize = \
                        \"short-side 256\", crop = [224, 224], colour = \"rgb\", mean = [123.675, 116.28, 103.53], std = \
                        [58.395, 57.12, 57.375]";
            return Err(error("samples-no-preprocess", folder, what).note(note));
        };
        let ty = batch_of_one(input, folder)?;
        let mismatch = |what: String| error("samples-shape", folder, what);
        let (h, w) = if preprocess.layout == Layout::Nchw { (2, 3) } else { (1, 2) };
        let size = match (preprocess.crop, ty.dim(h).zip(ty.dim(w))) {
            (Some(size), _) | (None, Some(size)) => size,
            (None, None) => {
                let what = format!("the model's input '{}' leaves height and width open", input.name);
                return Err(mismatch(what).note("say them in the preprocessing spec: crop = [HEIGHT, WIDTH]"));
            }
        };
        let channels = preprocess.colour.channels();
        let dims = match preprocess.layout {
            Layout::Nchw => [channels, size.0, size.1],
            Layout::Nhwc => [size.0, size.1, channels],
        };
        if !fits(ty, &dims) {
            let found = super::by(dims);
            let what = format!("preprocessing makes {found}, the model's input '{}' is {}", input.name, expected(ty));
            return Err(mismatch(what).note("correct crop, layout or colour in the preprocessing spec"));
        }
        let labels = labels(folder, &names)?;
        let (folder, preprocess, elem) = (folder.to_path_buf(), preprocess.clone(), ty.storage());
        Ok(Pictures { folder, names, labels, preprocess, size, elem })
    }
}

impl SampleSource for Pictures {
    fn len(&self) -> usize {
        self.names.len()
    }

    fn get(&self, index: usize) -> Result<Vec<Tensor>, Diagnostic> {
        let Some(name) = self.names.get(index) else {
            let what = format!("has {} pictures, there is no picture {index}", self.names.len());
            return Err(error("samples-unreadable", &self.folder, what));
        };
        let path = self.folder.join(name);
        let failed = |what: String| error("samples-unreadable", &path, what);
        let picture = Picture::read(&path).map_err(failed)?;
        let values = self.preprocess.apply(picture, self.size).map_err(failed)?;
        let (channels, (h, w)) = (self.preprocess.colour.channels(), self.size);
        let dims = match self.preprocess.layout {
            Layout::Nchw => [1, channels, h, w],
            Layout::Nhwc => [1, h, w, channels],
        };
        Ok(vec![convert(Tensor::new(dims, values), self.elem).map_err(failed)?])
    }

    fn name(&self, index: usize) -> String {
        self.names.get(index).cloned().unwrap_or_default()
    }

    fn label(&self, index: usize) -> Option<usize> {
        self.labels.get(index).copied().flatten()
    }
}

/// Names of the pictures in a folder, sorted.
fn names(folder: &Path) -> Result<Vec<String>, Diagnostic> {
    let entries = std::fs::read_dir(folder).map_err(|e| unreadable(folder, e))?;
    let (mut names, mut others) = (Vec::new(), 0);
    for entry in entries {
        let path = entry.map_err(|e| unreadable(folder, e))?.path();
        match path.file_name().and_then(|name| name.to_str()) {
            // Hidden files are what other programs leave behind.
            Some(name) if EXTENSIONS.contains(&extension(&path).as_str()) && !name.starts_with('.') => {
                names.push(name.to_string());
            }
            _ => others += 1,
        }
    }
    if names.is_empty() {
        let what = match others {
            0 => "is an empty folder".to_string(),
            _ => format!("holds no pictures among its {others} entries"),
        };
        let note = format!("pictures are files that end in .{}", EXTENSIONS.join(", ."));
        return Err(error("samples-empty", folder, what).note(note));
    }
    names.sort();
    Ok(names)
}

/// The label of each picture out of `labels.csv`, in the folder or the one above it, if there is such a file. It must have
/// columns `file` and `label`; others are passed over.
fn labels(folder: &Path, names: &[String]) -> Result<Vec<Option<usize>>, Diagnostic> {
    let places = [Some(folder), folder.parent()].into_iter().flatten().map(|f| f.join("labels.csv"));
    let Some(path) = places.into_iter().find(|p| p.is_file()) else { return Ok(vec![None; names.len()]) };
    let text = std::fs::read_to_string(&path).map_err(|e| unreadable(&path, e))?;
    let mut rows = text.lines().map(cells);
    let header = rows.next().unwrap_or_default();
    let column = |name: &str| header.iter().position(|cell| cell == name);
    let Some((file, label)) = column("file").zip(column("label")) else {
        return Err(error("samples-unreadable", &path, "has no columns 'file' and 'label' in its first line"));
    };
    let mut by_name = HashMap::new();
    for (number, row) in rows.enumerate().filter(|(_, row)| row.len() > 1) {
        let cell = |column: usize| row.get(column).map(String::as_str).unwrap_or_default();
        let class = cell(label).parse::<usize>().map_err(|_| {
            let what = format!("line {}: the label '{}' is no class number", number + 2, cell(label));
            error("samples-unreadable", &path, what)
        })?;
        // Only the name: the file may have been written for the folder above.
        let name = Path::new(cell(file)).file_name().and_then(|n| n.to_str()).unwrap_or_default();
        by_name.insert(name.to_string(), class);
    }
    Ok(names.iter().map(|name| by_name.get(name).copied()).collect())
}

/// Cells of a line of comma-separated values (RFC 4180, without line breaks in cells).
fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut quoted) = (vec![String::new()], false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let cell = cells.last_mut();
        match (c, cell) {
            ('"', Some(cell)) if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            ('"', _) => quoted = !quoted,
            (',', _) if !quoted => cells.push(String::new()),
            (c, Some(cell)) => cell.push(c),
            (_, None) => {}
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::cells;

    #[test]
    fn quoted_cells_may_hold_commas_and_quotes() {
        assert_eq!(cells(r#"a.jpg,3,"tench, ""the"" fish","#), ["a.jpg", "3", "tench, \"the\" fish", ""]);
    }
}
