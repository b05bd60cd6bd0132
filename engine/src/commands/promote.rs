//! `ringfort promote NAME`: a gateway that stood by serves its peers.

use std::process::ExitCode;

use super::print;
use crate::control::ask;
use crate::control::uapi::Role;

const AFTER_HELP: &str = "\
Prints the role that holds then: active. Nothing happens to a gateway that is active already.

Sessions are recovered as after a start. A peer that sends is asked for a new session at once, if its endpoint is known
here; until then it goes on sending under a session of the gateway that served it. So set endpoints while this one is
passive, with wg(8) or by a copy of the other's file of endpoints before the start. Name the address that both share as
Source of each peer, unless that file has it: a peer follows who asks it to where the question comes from.";

/// Its arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The interface that the daemon serves
    name: String,
}

/// Has it serve its peers, and prints the role that holds now.
pub fn run(args: &Args) -> ExitCode {
    print(ask::role(&args.name, Role::Active))
}
