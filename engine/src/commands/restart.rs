//! `ringfort restart NAME`: the program as it is now goes on where the one that runs is.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use libc::{STDERR_FILENO, STDOUT_FILENO};
use nix::sched::{CloneFlags, setns};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::print;
use crate::cli::Cli;
use crate::control::ask;
use crate::control::error::DaemonError;
use crate::control::file::Target;
use crate::origin::Origin;

const AFTER_HELP: &str = "\
The new process has the options and the file of the one that runs, which gives it everything: the interface, sockets,
and sessions with their keys. Peers notice nothing: no packet is lost, no handshake is made. It takes some milliseconds
in which packets wait in the kernel. If anything fails, the gateway that runs goes on, and this command says so.

A gateway of another version may not be able to hand over to this one, and sockets keep what they are bound to (--bind).
Then this command refuses. Captures and `ringfort watch` end. Counters begin at 0, except the bytes, the packets and the
handshakes of each peer.";

/// How long the new process may take until it serves. It measures ciphers first.
const PATIENCE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(10);

/// Its arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The interface that the daemon serves, or its configuration
    #[arg(value_name = "FILE|NAME")]
    target: String,
}

/// Has it go on in a new process, and says which.
pub fn run(args: &Args) -> ExitCode {
    print(Target::interface_of(&args.target).map_err(DaemonError::from).and_then(|name| restart(&name)))
}

fn restart(name: &str) -> Result<String, DaemonError> {
    let before = ask::server(name)?;
    let mut attempt = match before.starts {
        true => Attempt::Theirs(ask::restart(name)?),
        false => Attempt::Ours(start(&checked(before.origin, name)?, before.process)?),
    };
    let failed = |why| DaemonError::NotHandedOver(name.to_owned(), why);
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Nobody answers while the gateway is handed over.
        let now = ask::server(name).ok();
        if let Some(now) = now.as_ref().filter(|now| now.process != before.process) {
            return Ok(format!("process {} serves in the place of process {}\n", now.process, before.process));
        }
        if let Some(how) = attempt.failure(name) {
            // It has said why before it ended, if it could.
            let said = ask::server(name).ok().filter(|now| now.failed_heirs > before.failed_heirs);
            return Err(failed(said.map_or(how, |now| now.why)));
        }
        if Instant::now() > deadline {
            return Err(failed(format!("the new process does not serve after {PATIENCE:?}; its log may say why")));
        }
        sleep(INTERVAL);
    }
}

/// Who has started the new process.
enum Attempt {
    /// A process of the gateway, where it was started itself. This is the number of the report to look at.
    Theirs(u64),
    /// We have.
    Ours(Child),
}

impl Attempt {
    /// How it has failed, if it has.
    fn failure(&mut self, name: &str) -> Option<String> {
        match self {
            Self::Theirs(number) => {
                let report = ask::report(name).ok();
                let report = report.filter(|report| report.number >= *number && report.failure.is_some());
                report.map(|report| report.lines.join("; "))
            }
            Self::Ours(child) => {
                let status = child.try_wait().ok().flatten().filter(|status| !status.success());
                status.map(|status| format!("the new process ended with {status}; its log says why"))
            }
        }
    }
}

/// This program, with the arguments that the daemon has told. It is not believed more than that: one that is another
/// user's, or that was taken over, would have anything started as root.
fn checked(origin: Origin, name: &str) -> Result<Origin, DaemonError> {
    let words = ["ringfort"].into_iter().chain(origin.arguments.iter().map(String::as_str));
    let serves = Cli::read(words).is_ok_and(|cli| cli.command.is_none() && cli.serve.name == name);
    if !serves {
        return Err(DaemonError::Declined(format!(
            "the daemon that serves interface {name} was not started to serve that name: end it, and start it again"
        )));
    }
    let program = std::env::current_exe().map_err(|error| DaemonError::system("find this program", error))?;
    Ok(Origin { program, ..origin })
}

/// Starts the new process among those of the one that runs: in its network namespace, its control group, and with its
/// standard output and error.
fn start(origin: &Origin, before: u32) -> Result<Child, DaemonError> {
    let failed = |error| DaemonError::system("start the new process", error);
    enter_network_of(before).map_err(failed)?;
    let mut command = origin.command();
    // What a terminal tells this command is not for the gateway.
    command.process_group(0);
    command.stdin(Stdio::null()).stdout(of_other(before, STDOUT_FILENO)).stderr(of_other(before, STDERR_FILENO));
    let child = command.spawn().map_err(failed)?;
    join(child.id(), before);
    Ok(child)
}

/// The calling thread goes on in the network namespace of another process.
pub(super) fn enter_network_of(process: u32) -> io::Result<()> {
    let theirs = File::open(format!("/proc/{process}/ns/net"))?;
    let ours = fs::metadata("/proc/self/ns/net")?;
    if theirs.metadata()?.ino() != ours.ino() {
        setns(theirs, CloneFlags::CLONE_NEWNET)?;
    }
    Ok(())
}

/// A descriptor of the other process. Nowhere, if it does not let us.
fn of_other(process: u32, number: i32) -> Stdio {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    let pidfd = process.and_then(|process| pidfd_open(process, PidfdFlags::empty()).ok());
    let descriptor = pidfd.and_then(|pidfd| pidfd_getfd(pidfd, number, PidfdGetfdFlags::empty()).ok());
    descriptor.map_or_else(Stdio::null, Stdio::from)
}

/// A process of a service is in its control group, also if we are not. Without permission it stays in ours.
fn join(child: u32, before: u32) {
    let group = |process| fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap_or_default();
    let (ours, theirs) = (group(child), group(before));
    let path = theirs.lines().find_map(|line| line.strip_prefix("0::/"));
    if let Some(path) = path.filter(|_| ours != theirs) {
        let _ = fs::write(Path::new("/sys/fs/cgroup").join(path).join("cgroup.procs"), child.to_string());
    }
}
