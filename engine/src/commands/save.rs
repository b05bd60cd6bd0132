//! `ringfort save FILE|NAME`: what runs becomes what the file says.

use std::net::SocketAddr;
use std::process::ExitCode;

use ringfort_config::{Endpoint, Peer, State};

use super::print;
use super::reload::reload;
use super::restart::enter_network_of;
use crate::control::ask::{self, ServedFile};
use crate::control::error::DaemonError;
use crate::control::file::{Target, save};

/// Its arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The interface that the daemon serves, or its configuration
    #[arg(value_name = "FILE|NAME")]
    target: String,
}

const AFTER_HELP: &str = "\
Written is what wg(8) can change: keys, port, and peers with what belongs to them. Unlike wg-quick's, this leaves
comments, order, includes, and all other settings as they are, and a line whose setting has not changed as well. A peer
that is gone goes with the comment lines right above it. New peers come last. The name of an endpoint stays; an address
becomes the one that the peer was heard from last. A file that has changed since the gateway read it is refused, so
nothing that you have written is lost: reload first. `SaveConfig = true` in the file does the same at the end.";

/// Asks, writes, and prints the names of the files that have changed.
pub fn run(args: &Args) -> ExitCode {
    print(Target::interface_of(&args.target).map_err(DaemonError::from).and_then(|name| save_to_file(&name)))
}

fn is_behind_an_interface(peer: &Peer) -> bool {
    matches!(peer.endpoint, Some(Endpoint::Address(SocketAddr::V6(address))) if address.scope_id() != 0)
}

fn save_to_file(name: &str) -> Result<String, DaemonError> {
    let no_file = || DaemonError::NoFile(name.to_owned());
    let ServedFile { path, is_gateway, read_at } = ask::file(name)?.ok_or_else(no_file)?;
    save::refuse_changed(&path, read_at)?;
    let answer = ask::get(name)?;
    let mut state = State::from_answer(answer.as_str()).ok_or_else(no_file)?;
    if is_gateway {
        // It may be that of the default route, which is nobody's setting.
        state.fwmark = None;
    }
    if state.peers.iter().any(is_behind_an_interface) {
        // There interfaces have the numbers that endpoints have. Not everybody who may ask the daemon may go there.
        enter_network_of(ask::server(name)?.process)
            .map_err(|error| DaemonError::system("enter the network of the daemon", error))?;
    }
    let written = save::save(&path, state, save::give)?;
    if !written.is_empty() {
        // The daemon compares the next reload with what the file says now.
        reload(name)?;
    }
    let text: String = written.iter().map(|path| format!("{} was written\n", path.display())).collect();
    Ok(if text.is_empty() { format!("{} says it already\n", path.display()) } else { text })
}
