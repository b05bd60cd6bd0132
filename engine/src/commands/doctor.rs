//! `ringfort doctor [NAME]`: what of this machine keeps a gateway from starting, or from being fast.

use std::process::ExitCode;

use super::write_lines;
use crate::app::exit;
use crate::doctor::examine;

/// Its arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The interface of a daemon that runs, to look at its limits and workers [default: one that would be started]
    name: Option<String>,

    /// Print JSON on one line
    #[arg(long)]
    json: bool,
}

/// Looks and prints. Exits with 1 if something costs throughput, and with 2 if something keeps it from working.
pub fn run(args: &Args) -> ExitCode {
    let report = examine(args.name.as_deref());
    let text = if args.json { report.json() + "\n" } else { report.to_string() };
    match write_lines(&text) {
        Ok(()) => ExitCode::from(report.worst().exit_status()),
        unwritten => exit(unwritten),
    }
}
