//! ONNX test data: folders `test_data_set_N` of `input_M.pb`, one sample each, as the ONNX model zoo and test suite ship it.

use std::path::{Path, PathBuf};

use spaceevo_cost::Port;
use spaceevo_ir::{Diagnostic, Elem, Tensor};

use super::{SampleSource, convert, error, unreadable};

pub(super) struct TestData {
    sets: Vec<PathBuf>,
    elems: Vec<Elem>,
}

/// True for a folder of test data sets, or one of them.
pub(super) fn is_test_data(folder: &Path) -> bool {
    folder.join("input_0.pb").is_file() || folder.join("test_data_set_0").is_dir()
}

impl TestData {
    pub(super) fn open(folder: &Path, inputs: &[Port]) -> Result<TestData, Diagnostic> {
        let mut sets = Vec::new();
        if folder.join("input_0.pb").is_file() {
            sets.push((0, folder.to_path_buf()));
        } else {
            for entry in std::fs::read_dir(folder).map_err(|e| unreadable(folder, e))? {
                let path = entry.map_err(|e| unreadable(folder, e))?.path();
                let number = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_prefix("test_data_set_"));
                if let Some(number) = number.and_then(|n| n.parse::<u32>().ok()) {
                    sets.push((number, path));
                }
            }
        }
        sets.sort();
        let mut elems = Vec::with_capacity(inputs.len());
        for input in inputs {
            let Some(ty) = input.tensor() else {
                let what = format!("the model's input '{}' is no tensor", input.name);
                return Err(error("samples-shape", folder, what));
            };
            elems.push(ty.storage());
        }
        Ok(TestData { sets: sets.into_iter().map(|(_, path)| path).collect(), elems })
    }
}

impl SampleSource for TestData {
    fn len(&self) -> usize {
        self.sets.len()
    }

    /// One sample; unlike those of other sources its first axis is what the file says.
    fn get(&self, index: usize) -> Result<Vec<Tensor>, Diagnostic> {
        let Some(set) = self.sets.get(index) else {
            let what = format!("there are {} test data sets, not {}", self.sets.len(), index + 1);
            return Err(Diagnostic::error("samples-unreadable", spaceevo_ir::Loc::Unknown, what));
        };
        let read = |(number, &elem): (usize, &Elem)| {
            let path = set.join(format!("input_{number}.pb"));
            let bytes = std::fs::read(&path).map_err(|e| unreadable(&path, e))?;
            let tensor = spaceevo_onnx::read_tensor(bytes.into(), &path.display().to_string())?;
            if elem == Elem::Str || tensor.elem() == Elem::Str {
                return Ok(tensor);
            }
            convert(tensor, elem).map_err(|what| error("samples-not-finite", &path, what))
        };
        self.elems.iter().enumerate().map(read).collect()
    }

    fn name(&self, index: usize) -> String {
        let name = self.sets.get(index).and_then(|set| set.file_name());
        name.map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
    }
}
