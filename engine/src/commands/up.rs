//! `ringfort up FILE|NAME`: a gateway that is all that its file says.

use std::process::ExitCode;

use crate::app::{self, exit};
use crate::cli::{Cli, LogLevel};
use crate::control::file::Target;
use crate::control::inherited::Alone;
use crate::control::logging;
use crate::guard::Filter;
use crate::sandbox::Mode;

/// Its arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Stay in the foreground, for a supervisor, and log to the standard error
    #[arg(short, long)]
    foreground: bool,

    /// Where to log, as for the daemon [default: auto]
    #[arg(long, value_name = "WHERE")]
    log: Option<logging::Target>,

    /// What to log: silent, error, warn, info, debug (or verbose), trace [default: LogLevel of the file, or info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<LogLevel>,

    /// Go on in the place of the gateway that runs, as for the daemon; nothing is set up that is there. `ringfort
    /// restart` does so
    #[arg(long)]
    take_over: bool,

    /// Drop floods in front of the sockets: on, or off, as for the daemon [default: on]
    #[arg(long, value_name = "HOW", default_value = "on", hide_default_value = true, hide_possible_values = true)]
    filter: Filter,

    /// What the daemon gives up once it serves: off, report or on, as for the daemon [default: on]
    #[arg(long, value_name = "HOW", default_value = "on", hide_default_value = true, hide_possible_values = true)]
    sandbox: Mode,

    /// Allow core dumps, as for the daemon
    #[arg(long)]
    core_dumps: bool,

    /// Become this user, as for the daemon; hooks go on as root [default: stay who we are]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// The configuration, or the interface that it is for: /etc/ringfort/NAME.conf, or else /etc/wireguard/NAME.conf
    #[arg(value_name = "FILE|NAME")]
    target: String,
}

const AFTER_HELP: &str = "\
The file has the form of wg-quick(8), with all its settings:
  [Interface] PrivateKey, ListenPort, FwMark, Address, DNS, MTU, Table, PreUp, PostUp, PreDown, PostDown, SaveConfig
  [Peer]      PublicKey, PresharedKey, AllowedIPs, Endpoint, PersistentKeepalive
and settings of our own:
  [Interface] PrivateKeyFile   a file with the key: a credential of systemd (LoadCredential=) or relative to this one
              CipherSuite      see ringfort --help
              Workers, CPUs, BusyPoll, UdpGso, Overlays, Bind, SocketBuffer,
              Memory, Passive, Aead, LogLevel, Metrics                      as the options of the daemon
              HookTimeout      seconds that PreDown may take, and PostDown as well, or off [default: 30]
  [Peer]      Name             what logs and tables call the peer
              CipherSuite, Source                                           see ringfort --help
  anywhere    Include = peers.d/*.conf       files with sections of their own, relative to this one, in order

wg-quick(8) refuses a file with settings of ours, unless they are behind `#ringfort:`, which it takes for a comment:
  #ringfort: Name = laptop
So one file serves both. Other comments mean nothing to either.

The order is that of wg-quick: the interface is made; PreUp; keys and peers; addresses, MTU, DNS and routes; PostUp. The
command returns when all of it is done. If something fails, everything is taken back, and the command says what it was.
Host names are resolved in the background, and tried again until they have an address; the start waits 3 s for them.
SIGHUP (ringfort reload NAME) reads the file again and makes the difference; while everything is set up, that waits.
SIGTERM (ringfort down NAME) runs PreDown, takes everything back, and runs PostDown. Commands that take longer than
HookTimeout get SIGTERM, 10 s later SIGKILL, and a line in the log. A daemon that was killed leaves rules behind; the
next start removes them.";

/// Starts the daemon.
pub fn run(args: Args, alone: Alone) -> ExitCode {
    let target = match Target::of(&args.target) {
        Ok(target) => target,
        Err(error) => return exit(Err(error.into())),
    };
    let mut serve = match Cli::read(["ringfort", "--", &target.interface]) {
        Ok(cli) => cli.serve,
        Err(error) => error.exit(),
    };
    serve.core_dumps = args.core_dumps;
    serve.filter = args.filter;
    serve.foreground = args.foreground;
    serve.log_level = args.log_level;
    serve.sandbox = args.sandbox;
    serve.take_over = args.take_over;
    serve.user = args.user;
    if let Some(log) = args.log {
        serve.log = log;
    }
    app::up(serve, target, alone)
}
