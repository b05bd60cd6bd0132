//! `ringfort stats NAME`: every counter and gauge of a daemon that runs.

use std::process::ExitCode;

use super::print;
use crate::control::ask;

/// Its arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The interface that the daemon serves
    name: String,
}

/// Asks and prints.
pub fn run(args: &Args) -> ExitCode {
    print(ask::stats(&args.name))
}
