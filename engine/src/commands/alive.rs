//! `ringfort alive NAME`: whether a gateway can do its work.

use std::process::ExitCode;

use super::print;
use crate::control::ask;

const AFTER_HELP: &str = "\
Asks control, and control asks each worker: when all of them have turned, a line says so, and what the gateway's role
is. It is for health checks, as of keepalived: it costs each worker one turn. The status is 2 if no gateway is there, or
one of its threads does not answer within 10 s. A check that must be quicker puts timeout(1) in front of it.";

/// Its arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The interface that the daemon serves
    name: String,
}

/// Asks, and prints what is answered.
pub fn run(args: &Args) -> ExitCode {
    print(ask::alive(&args.name))
}
