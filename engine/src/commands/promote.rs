//! `ringfort promote NAME`: a gateway that stood by serves its peers.

use std::process::ExitCode;

use super::print;
use crate::control::ask;
use crate::control::uapi::Role;

const AFTER_HELP: &str = "\
Prints the role that holds then: active. The file of endpoints is read first: a copy of the file of the gateway that
served so far, which may be put in its place at any time, as a whole. It is refused if it is damaged, or older than what
this gateway knows itself, and the log says so.

Sessions are recovered as after a start. A peer that sends is asked for a new session at once, if its endpoint is known
here; until then it goes on sending under a session of the gateway that served it. Without a copy of the file, set
endpoints while this one is passive, with wg(8). Name the address that both share as Source of each peer, unless that
file has it: a peer follows who asks it to where the question comes from.

A gateway that is active already keeps its sessions. But for three minutes it asks peers for new ones that send under a
session that it does not have: another gateway may have served them meanwhile, because both were active at a time.";

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
