//! `ringfort watch NAME`: what happens to the peers of a gateway, as it happens.

mod follow;
mod words;

use std::process::ExitCode;

use super::signals::Signals;
use super::why;
use crate::app::exit;
use crate::control::error::DaemonError;
use crate::control::{ask, key_text};
use follow::{Ended, Follower};

const AFTER_HELP: &str = "\
First come all peers as they are, a line each, then \"complete\", and then a line for each change:
  added          the peer is new
  confirmed      a handshake was completed: both sides have the session
  endpoint       the peer is reached elsewhere
  session_gone   there is no session any more: it ran out (180 s), or was ended
  removed        the peer is no peer any more
A line says how the peer is when it is written. Who reads slowly gets fewer lines, and none that is wrong: changes of
one peer become one. After \"resync\" all peers are listed once more, since some were missed that are gone.

With --json each line is an object: \"event\" is begin, peer, complete, changed, removed, resync or role, and
\"changes\" says what has changed. So a program that keeps a table of peers needs nothing else:
  ringfort watch wg0 --json | jq -c 'select(.event == \"changed\")'

It ends with Ctrl-C or when nobody reads its pipe any more (status 0), or with the gateway (status 1). Eight may watch
at a time.";

/// Its arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The interface that the daemon serves
    name: String,

    /// Print lines of JSON
    #[arg(long)]
    json: bool,

    /// Only this peer: its public key, the beginning of it, or its name. May be given several times
    #[arg(short, long, value_name = "PEER")]
    peer: Vec<String>,
}

/// Prints until somebody has seen enough.
pub fn run(args: &Args) -> ExitCode {
    match watch(args) {
        Ok(Ended::Enough) => ExitCode::SUCCESS,
        Ok(Ended::Gateway) => {
            eprintln!("ringfort: the gateway that serves {} has ended, or has let nobody watch any more", args.name);
            ExitCode::FAILURE
        }
        Err(error) => exit(Err(error)),
    }
}

fn watch(args: &Args) -> Result<Ended, DaemonError> {
    // A key is as good as it is: its peer may come later.
    let find = |text: &String| match key_text::decode(text) {
        Ok(key) => Ok(key_text::encode(&key)),
        Err(_) => why::find(&args.name, text).map(|key| key_text::encode(&key)),
    };
    let only = args.peer.iter().map(find).collect::<Result<_, _>>()?;
    let signals = Signals::take()?;
    let stream = ask::watch(&args.name)?;
    Follower::new(&args.name, stream, args.json, only).follow(&signals)
}
