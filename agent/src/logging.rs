//! Lines on the standard error, as the gateway writes them: when, how loudly, of which interface, what.

use std::io::Write as _;

use jiff::Timestamp;
use log::{LevelFilter, Log, Metadata, Record};

/// Writes each line at once.
struct Lines {
    interface: String,
}

/// Logs from now on what the agent itself says from this level on.
pub fn install(interface: &str, level: LevelFilter) {
    let lines = Box::new(Lines { interface: interface.to_owned() });
    // It fails only if there is a logger already, as in tests.
    if log::set_boxed_logger(lines).is_ok() {
        log::set_max_level(level);
    }
}

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Libraries have their own ideas of what is worth a line.
        metadata.target().starts_with("ringfort")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = format!("{:.3} {:<5} {}: {}\n", Timestamp::now(), record.level(), self.interface, record.args());
            // Whoever read them is gone, and the agent goes on.
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}
