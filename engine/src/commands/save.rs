//! `ringfort save FILE|NAME`: what runs becomes what the file says.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use ringfort_config::{Endpoint, Peer, State};

use super::reload::reload;
use super::restart::enter_network_of;
use super::{print, quoted};
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

    /// Its configuration, if that is neither /etc/ringfort/NAME.conf nor /etc/wireguard/NAME.conf, and not named so
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
Written is what wg(8) can change: keys, port, and peers with what belongs to them. Unlike wg-quick's, this leaves
comments, order, includes, and all other settings as they are, and a line whose setting has not changed as well. A peer
that is gone goes with the comment lines right above it. New peers come last. The name of an endpoint stays; an address
becomes the one that the peer was heard from last. A file that has changed since the gateway read it is refused, so
nothing that you have written is lost: reload first. `SaveConfig = true` in the file does the same at the end.";

/// Asks, writes, and prints the names of the files that have changed.
pub fn run(args: &Args) -> ExitCode {
    print(Target::interface_of(&args.target).map_err(DaemonError::from).and_then(|name| save_to_file(&name, args)))
}

fn is_behind_an_interface(peer: &Peer) -> bool {
    matches!(peer.endpoint, Some(Endpoint::Address(SocketAddr::V6(address))) if address.scope_id() != 0)
}

/// The file of the daemon, if it is the one that the operator has named, or in a usual place of the interface. A daemon
/// that was taken over could name any other one, and have root write to it.
fn believed(path: PathBuf, name: &str, args: &Args) -> Result<PathBuf, DaemonError> {
    let candidates = match &args.file {
        Some(file) => vec![file.clone()],
        None if Target::is_interface_alone(&args.target) => Target::usual_files(name).to_vec(),
        None => vec![args.target.clone().into()],
    };
    let same = |candidate: &PathBuf| {
        path == *candidate || matches!((path.canonicalize(), candidate.canonicalize()), (Ok(a), Ok(b)) if a == b)
    };
    candidates.into_iter().find(same).ok_or_else(|| {
        DaemonError::Declined(format!(
            "the daemon that serves interface {name} says that its file is {0}. One that was taken over could name \
             any, so whoever saves has to name it, if that is right: ringfort save {name} --file {0}",
            quoted(&path.to_string_lossy())
        ))
    })
}

fn save_to_file(name: &str, args: &Args) -> Result<String, DaemonError> {
    let no_file = || DaemonError::NoFile(name.to_owned());
    let ServedFile { path, is_gateway, read_at } = ask::file(name)?.ok_or_else(no_file)?;
    let path = believed(path, name, args)?;
    save::refuse_changed(&path, read_at)?;
    let answer = ask::get(name)?;
    let mut state = State::from_answer(answer.as_str()).ok_or_else(no_file)?;
    if is_gateway {
        // It may be that of the default route, which is nobody's setting.
        state.fwmark = None;
    }
    if state.peers.iter().any(is_behind_an_interface) {
        // There interfaces have the numbers that endpoints have. Not everybody who may ask the daemon may go there.
        enter_network_of(ask::server(name)?.peer)
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
