//! `ringfort demote NAME`: a gateway stands by, and another one may serve its peers.

use std::process::ExitCode;

use super::print;
use crate::control::ask;
use crate::control::uapi::Role;

const AFTER_HELP: &str = "\
Prints the role that holds then: passive. Nothing happens to a gateway that is passive already.

When it returns, nothing leaves the gateway any more, and all keys of sessions are wiped. Datagrams from peers and
packets from inside are dropped as \"passive\"; senders inside are told with ICMP. It still takes configuration. Peers,
endpoints and the port stay as they are. A gateway may begin like this: --passive, or Passive = true in its file.";

/// Its arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The interface that the daemon serves
    name: String,
}

/// Has it stand by, and prints the role that holds now.
pub fn run(args: &Args) -> ExitCode {
    print(ask::role(&args.name, Role::Passive))
}
