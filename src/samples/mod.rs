//! Inputs for calibration and evaluation.

use spaceevo_ir::{Diagnostic, Tensor};

/// A list of samples; each is one tensor per input of the model, with a batch of 1.
pub trait Samples: Sync {
    /// Number of samples.
    fn len(&self) -> usize;

    /// True when there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The inputs of a sample, in the order of the model's inputs. Errors name the file.
    fn get(&self, index: usize) -> Result<Vec<Tensor>, Diagnostic>;

    /// The class of a sample, where it is known.
    fn label(&self, index: usize) -> Option<usize>;

    /// Where they come from, for reports and for the metadata of converted files.
    fn describe(&self) -> String;
}
