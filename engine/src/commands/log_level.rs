//! `ringfort log-level NAME [LEVEL]`: what a daemon that runs logs.

use std::process::ExitCode;

use super::print;
use crate::cli::LogLevel;
use crate::control::ask;

/// Its arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The interface that the daemon serves
    name: String,

    /// What to log from now on: silent, error, warn, info, debug (or verbose), trace [default: as it is]
    level: Option<LogLevel>,
}

/// Asks, and prints the level that holds now.
pub fn run(args: &Args) -> ExitCode {
    print(ask::log_level(&args.name, args.level.map(|LogLevel(level)| level)))
}
