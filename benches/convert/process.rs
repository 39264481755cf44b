//! One run of a whole process, and what it cost.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use wait4::Wait4;

/// What is measured, in the order of [`Cost`].
pub(crate) const METRICS: [&str; 3] = ["CPU s", "wall s", "peak MiB"];

/// Processor time of the process and of those that it waited for, time by the clock, and the largest resident memory of
/// any one of them (which is that of this program at least: it is small on purpose).
pub(crate) type Cost = [f64; 3];

/// Runs a command to its end. `log` is the file that gets what it says on standard error.
///
/// Errors when it cannot be started, or does not end well: with what it said.
pub(crate) fn run(command: &mut Command, log: &Path) -> Result<Cost, String> {
    let shown = format!("{command:?}");
    let failed = |what: String| format!("{shown}: {what}");
    let errors = File::create(log).map_err(|e| failed(e.to_string()))?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
    let start = Instant::now();
    let ended = command.spawn().and_then(Wait4::wait4).map_err(|e| failed(e.to_string()))?;
    let wall = start.elapsed();
    if !ended.status.success() {
        return Err(failed(format!("{}\n{}", ended.status, fs::read_to_string(log).unwrap_or_default())));
    }
    let cpu = ended.rusage.utime + ended.rusage.stime;
    Ok([cpu.as_secs_f64(), wall.as_secs_f64(), ended.rusage.maxrss as f64 / f64::from(1 << 20)])
}
