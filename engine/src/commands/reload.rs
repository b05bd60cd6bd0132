//! `ringfort reload NAME`: has a daemon read its file again.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use super::print;
use crate::control::ask;
use crate::control::error::DaemonError;
use crate::control::file::Target;

/// How often we ask whether it is done, at first and later. A small file takes less than the first; a gateway that is
/// coming up may take minutes, for its commands.
const INTERVAL: Duration = Duration::from_millis(5);
const INTERVAL_MAX: Duration = Duration::from_millis(100);

/// Its arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The interface that the daemon serves, or its configuration
    #[arg(value_name = "FILE|NAME")]
    target: String,
}

/// Asks, waits, and prints what has changed.
pub fn run(args: &Args) -> ExitCode {
    print(Target::interface_of(&args.target).map_err(DaemonError::from).and_then(|name| reload(&name)))
}

pub(super) fn reload(name: &str) -> Result<String, DaemonError> {
    let number = ask::reload(name)?;
    let mut interval = INTERVAL;
    let report = loop {
        match ask::report(name)? {
            report if report.number >= number => break report,
            _ => sleep(interval),
        }
        interval = (interval * 2).min(INTERVAL_MAX);
    };
    let lines = report.lines.join("\n");
    if let Some(fault) = report.failure {
        return Err(DaemonError::NotReloaded { lines, fault });
    }
    let mut text = String::new();
    let _ = writeln!(text, "{}", if lines.is_empty() { "nothing has changed" } else { &lines });
    Ok(text)
}
