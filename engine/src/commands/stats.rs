//! `ringfort stats NAME`: every counter and gauge of a daemon that runs.

use std::process::ExitCode;

use super::print;
use crate::control::ask;

/// Its arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The interface that the daemon serves
    name: String,
    /// Print JSON, the workers one by one
    #[arg(long)]
    json: bool,
}

/// Asks and prints.
pub fn run(args: &Args) -> ExitCode {
    print(if args.json { ask::stats_json(&args.name) } else { ask::stats(&args.name) })
}
