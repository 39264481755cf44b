//! A progress bar on standard error, when a person is looking.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use spaceevo::convert::Progress;

/// Shows the stage, a bar, and the time left.
pub(crate) struct Bar {
    bar: ProgressBar,
}

impl Bar {
    /// Draws on standard error if it is a terminal, unless `quiet`.
    pub(crate) fn new(quiet: bool) -> Bar {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        Bar { bar: ProgressBar::with_draw_target(Some(0), target) }
    }
}

impl Progress for Bar {
    fn stage(&self, name: &str, steps: usize) {
        let template = if steps == 0 { "{msg} {spinner}" } else { "{msg:<10} {bar:32} {pos}/{len}, {eta} left" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        self.bar.set_message(name.to_owned());
        self.bar.set_length(steps as u64);
        self.bar.set_position(0);
    }

    fn advance(&self, steps: usize) {
        self.bar.inc(steps as u64);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
