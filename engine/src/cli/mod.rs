//! The command line: what the operator asks for, checked before anything is touched.
//!
//! `ringfort [OPTIONS] NAME` is the daemon, as `wg-quick` calls every userspace implementation. Whatever else the
//! program can do is a subcommand, with a file of its own in `commands`.

pub mod cpus;
pub mod memory;
pub mod serve;

pub use cpus::CpuError;
pub use memory::TooLittleMemory;
pub use serve::{AeadArg, CpuList, LogLevel, Serve, SuiteArg};

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::commands::{
    alive, capture, check, demote, doctor, down, log_level, peers, promote, recover, reload, restart, save, stats,
    steer, top, up, watch, why,
};
use crate::version::VERSION;

const AFTER_HELP: &str = "\
`ringfort up NAME` makes a gateway of a file such as those of wg-quick(8). Without it, the interface is configured with
wg(8), or brought up with wg-quick(8), which takes us only where the kernel has no WireGuard of its own:
  WG_QUICK_USERSPACE_IMPLEMENTATION=ringfort wg-quick up wg0

Without --foreground the command returns when the interface exists and wg(8) gets answers; every failure before that
is printed and makes it exit non-zero. The daemon then logs to the journal or to syslog; if --log-level or LOG_LEVEL is
given without --log, it keeps the standard error and logs there instead. SIGUSR1 opens the file of --log anew.

SIGTERM, SIGINT and the removal of its socket (/var/run/wireguard/NAME.sock) end it with status 0, and it leaves
nothing behind but the file of endpoints. SIGHUP has it read its file again. If its interface is deleted (ip link
delete NAME, or with the network namespace that it was moved to), it ends with status 1, since nobody has asked it to:
Restart=on-failure starts it again.

Exit status, of every command and of the daemon:
  0   done
  1   the system is in the way: a limit, a permission, a disk, a hook that failed, a signal that came meanwhile
  2   another argument or another file helps: a wrong option, a wrong file, a name that nobody serves, a port in use
Only doctor differs: 1 for warnings, 2 if the gateway would not work.

An interface that exists is used if it is a TUN interface that stays (ip tuntap add dev NAME mode tun multi_queue) and
nobody else has it open. It is not deleted in the end; what was changed on it is put back: virtio-net header, offloads,
steering. Its MTU is left alone, unless it is the driver's 1500. If it has a single queue, one worker serves it.

Cipher suites:
  chacha20poly1305   WireGuard's own, and the default: what every other implementation speaks
  aes256gcm          AES-256-GCM, between two Ringforts that are both set to it; not WireGuard any more
There is no negotiation: a peer that is set to one suite refuses the other. wg(8) cannot set it, but leaves it alone.
It is set before the start, in /etc/ringfort/NAME.conf (or --config FILE),
  [Interface]
  CipherSuite = aes256gcm
  [Peer]
  PublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=
  CipherSuite = chacha20poly1305
or while the daemon runs, with --set-suite, for a peer also before wg(8) adds it. A peer's suite belongs to its public
key: it outlives `wg setconf` and the removal of the peer, but not the daemon.

If that file has a private key, keys, port and peers are set from it as well; addresses and routes are not.

The local address that a peer is written to from, until it writes to another one itself, is set in the same file:
  [Peer]
  PublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=
  Source = 192.0.2.7

Where peers were last is kept for the next start, without any secret. An endpoint of the configuration counts more if it
has changed since, and less if not. Peers that still send under a session of the former process are asked for a new one.

Environment:
  LOG_LEVEL                  as --log-level
  WG_PROCESS_FOREGROUND=1    as --foreground
  STATE_DIRECTORY            where the file of endpoints is, see --endpoints; systemd sets it
  WG_TUN_FD                  number of an open descriptor: a queue of the TUN interface to serve, opened with IFF_NO_PI
                             and IFF_VNET_HDR. Its name counts, not NAME. With IFF_MULTI_QUEUE more are opened
  WG_UAPI_FD                 number of an open descriptor: the listening control socket, whose path is removed
                             when we end";

const USAGE: &str = "\
ringfort [OPTIONS] <NAME>
       ringfort <COMMAND>
       ringfort --aead list";

/// A WireGuard gateway whose packet buffers are the registered memory of io_uring.
#[derive(Clone, Debug, Parser)]
#[command(version = VERSION, about, after_help = AFTER_HELP, max_term_width = 110, override_usage = USAGE)]
#[command(args_conflicts_with_subcommands = true, subcommand_value_name = "COMMAND")]
pub struct Cli {
    /// What to do instead of serving an interface.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// How to serve one.
    #[command(flatten)]
    pub serve: Serve,
}

/// The subcommands, in the order of the help.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Start a gateway from its file, as wg-quick(8) would: keys, peers, addresses, routes, DNS
    Up(up::Args),

    /// End a gateway, take back what `up` has set up, and wait until it is gone
    Down(down::Args),

    /// Have a gateway read its file again, and print what has changed; sessions survive
    Reload(reload::Args),

    /// Have a gateway go on in a new process of the program as it is now; no packet is lost, sessions survive
    Restart(restart::Args),

    /// Write the configuration that runs to its file, in which everything else stays as it is
    Save(save::Args),

    /// Print all that is wrong with a file, and exit with 2; touches nothing, and needs no root
    Check(check::Args),

    /// Print the state of all peers of NAME, and what was dropped or failed
    Peers(peers::Args),

    /// Print the peers of NAME, and then what happens to them, as it happens: text, or lines of JSON for programs
    Watch(watch::Args),

    /// Print the counters of the daemon that serves NAME, as lines of "name=value"
    Stats(stats::Args),

    /// Show what the daemon that serves NAME does, as it does it: workers, drops, handshakes, peers
    Top(top::Args),

    /// Capture packets of NAME as pcapng, for Wireshark: in the tunnel, on the wire, and what is dropped
    Capture(capture::Args),

    /// Say in sentences what is wrong with a peer of NAME, and what to do
    Why(why::Args),

    /// Have each thread of a gateway give a sign of life, and print its role: for health checks
    Alive(alive::Args),

    /// Have a gateway that is passive serve its peers
    Promote(promote::Args),

    /// Have a gateway send and answer nothing, because another one serves its peers
    Demote(demote::Args),

    /// Ask peers of another gateway that is gone for new sessions, as they come here
    Recover(recover::Args),

    /// Print rules that pass datagrams on to the one of several gateways whose session they are for
    Steer(steer::Args),

    /// Say what of this machine keeps a gateway from starting, or from being fast, and what to do about it
    Doctor(doctor::Args),

    /// Print what the daemon that serves NAME logs, or change it while it runs
    LogLevel(log_level::Args),
}

impl Cli {
    /// Reads the arguments, the first of which is the program's name.
    ///
    /// # Errors
    /// What is wrong with them, and the texts of `--help` and `--version`.
    pub fn read(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, clap::Error> {
        let cli = Self::try_parse_from(args)?;
        if cli.command.is_none() && cli.serve.name.is_empty() && cli.serve.aead != Some(AeadArg::List) {
            let text = "the following required arguments were not provided:\n  <NAME>";
            return Err(Self::command().error(ErrorKind::MissingRequiredArgument, text));
        }
        if cli.command.is_none() && !cli.serve.stays_in_foreground() && is_like_a_command(&cli.serve.name) {
            let name = &cli.serve.name;
            let text = format!(
                "there is no command {name:?}, and an interface of that name is hardly meant: see --help, or serve it \
                 with --foreground"
            );
            return Err(Self::command().error(ErrorKind::InvalidSubcommand, text));
        }
        Ok(cli)
    }
}

/// Whether somebody means a command by this name: one of ours with a slip of the finger, or one of other programs.
/// Without this a gateway would be there from then on that nobody knows of.
fn is_like_a_command(name: &str) -> bool {
    const OF_OTHERS: [&str; 8] = ["status", "show", "start", "stop", "restart", "list", "version", "configure"];
    // Of three letters, one slip makes anything of anything.
    let is_slip = |command: &str| command.len() > 3 && strsim::osa_distance(command, name) <= 1;
    OF_OTHERS.contains(&name) || Cli::command().get_subcommands().any(|command| is_slip(command.get_name()))
}
