//! Signals: an interrupted program takes with it what it has not finished, and a limit on the size of files is an error like
//! a full disk.

/// From here on, signals end the program in order.
#[cfg(unix)]
pub(crate) fn handle() {
    use std::sync::Arc;

    use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::emulate_default_handler;

    // Where a handler cannot be set, signals do what they always did. With one for SIGXFSZ, whatever it does, the write that
    // went beyond the limit fails like any other.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else { return };
    std::thread::spawn(move || {
        for signal in signals.forever() {
            spaceevo::staged::remove_all();
            // Ends the program, as its parent expects of that signal.
            let _ = emulate_default_handler(signal);
        }
    });
}

/// Other systems: signals do what they always do.
#[cfg(not(unix))]
pub(crate) fn handle() {}
