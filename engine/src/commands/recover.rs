//! `ringfort recover NAME`: peers of a gateway that is gone are asked for new sessions by another one.

use std::process::ExitCode;

use super::print;
use crate::control::ask;
use crate::control::error::DaemonError;

const AFTER_HELP: &str = "\
For one of several gateways with one key and one address (--node), when another one has died and its peers come here:
run it when they are not passed on to that one any more, see `ringfort steer`. A peer that sends under an index that
nobody has here, from the endpoint that is known of it, is asked for a new session at once. It would notice by itself,
after 15 s. Its endpoint is what the configuration, wg(8) or the file of endpoints says.

Prints for how many seconds sessions are recovered: 180, as after a start. To ask again prolongs that. Sessions that
there are stay as they are, but are doubted: a peer that has one here, and sends under another, is asked as well. A
gateway that is down or passive refuses: it recovers when it comes up, or is promoted.";

/// Its arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The interface that the daemon serves
    name: String,
}

/// Has it recover sessions, and prints for how long.
pub fn run(args: &Args) -> ExitCode {
    let name = &args.name;
    print(ask::recover(name).and_then(|seconds| match seconds {
        0 => Err(DaemonError::Declined(format!(
            "the gateway {name} is down or passive: it recovers sessions when it comes up, or is promoted"
        ))),
        _ => Ok(format!("{seconds}\n")),
    }))
}
