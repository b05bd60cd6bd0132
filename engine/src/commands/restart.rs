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
use nix::unistd::geteuid;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::{print, quoted};
use crate::cli::{AeadArg, Cli, Serve};
use crate::control::ask::{self, Server};
use crate::control::endpoints::EndpointFile;
use crate::control::error::DaemonError;
use crate::control::file::Target;
use crate::control::logging;
use crate::origin::Origin;
use crate::sandbox::Mode;

const AFTER_HELP: &str = "\
The new process has the options and the file of the one that runs, which gives it everything: the interface, sockets,
and sessions with their keys. Peers notice nothing: no packet is lost, no handshake is made. It takes some milliseconds
in which packets wait in the kernel. If anything fails, the gateway that runs goes on, and this command says so.

A daemon that was not started by `ringfort up` tells its options itself. One that was taken over could make them up, so
files, a user, and less of a sandbox are not taken from it, nor STATE_DIRECTORY and CREDENTIALS_DIRECTORY. Then repeat
all of its options, since none but these count. The error shows the line to type:
  ringfort restart wg0 -- --log /var/log/ringfort/wg0.log --workers 2

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

    /// All options of a daemon that was not started by `ringfort up`, in place of those that it says it has. Needed if
    /// it has --config, --log or --endpoints with a file, --user, --core-dumps, or another --sandbox than on
    #[arg(last = true, value_name = "OPTION")]
    options: Vec<String>,
}

/// Has it go on in a new process, and says which.
pub fn run(args: &Args) -> ExitCode {
    print(Target::interface_of(&args.target).map_err(DaemonError::from).and_then(|name| restart(&name, &args.options)))
}

fn restart(name: &str, options: &[String]) -> Result<String, DaemonError> {
    let before = ask::server(name)?;
    let (process, peer, failed_heirs) = (before.process, before.peer, before.failed_heirs);
    let mut attempt = match (before.starts, options) {
        (true, []) => Attempt::Theirs(ask::restart(name)?),
        (true, _) => {
            return Err(DaemonError::Declined(format!(
                "the gateway of interface {name} was started by ringfort up, and goes on with the same options: leave \
                 out what is behind --"
            )));
        }
        (false, _) => Attempt::Ours(start(&checked(before, name, options)?, peer)?),
    };
    let failed = |why| DaemonError::NotHandedOver(name.to_owned(), why);
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Nobody answers while the gateway is handed over.
        let now = ask::server(name).ok();
        if let Some(now) = now.as_ref().filter(|now| is_another(now, process, peer)) {
            return Ok(format!("process {} serves in the place of process {}\n", now.process, process));
        }
        if let Some(how) = attempt.failure(name) {
            // It has said why before it ended, if it could.
            let said = ask::server(name).ok().filter(|now| now.failed_heirs > failed_heirs);
            return Err(failed(said.map_or(how, |now| now.why)));
        }
        if Instant::now() > deadline {
            return Err(failed(format!("the new process does not serve after {PATIENCE:?}; its log may say why")));
        }
        sleep(INTERVAL);
    }
}

/// Whether another process serves than the one of this number, and of this number here. One that has begun to take over
/// has the socket already, while the other may still answer.
fn is_another(now: &Server, process: u32, peer: u32) -> bool {
    now.process != process && (now.peer != peer || peer == 0)
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

/// This program, with the options that the operator repeats, or else with those that the daemon has told.
fn checked(before: Server, name: &str, repeated: &[String]) -> Result<Origin, DaemonError> {
    let Server { peer, user, origin, .. } = before;
    if peer == 0 {
        return Err(DaemonError::Declined(format!(
            "the daemon that serves interface {name} is in another PID namespace (in a container?): restart it there"
        )));
    }
    let program = std::env::current_exe().map_err(|error| DaemonError::system("find this program", error))?;
    let origin = if repeated.is_empty() {
        let is_ours = user == geteuid().as_raw();
        Origin { arguments: believed(&origin, name, is_ours)?, directory: "/".into(), ..origin }
    } else {
        let directory = std::env::current_dir().unwrap_or_else(|_| "/".into());
        Origin { arguments: arguments(repeated, name)?, directory, ..origin }
    };
    Ok(Origin { program, ..origin }.in_our_directories())
}

/// The options of a daemon that the operator has named, and its name.
fn arguments(repeated: &[String], name: &str) -> Result<Vec<String>, DaemonError> {
    let named = [repeated, &[name.to_owned()]].concat();
    let mut ways = [repeated.to_vec(), named].into_iter();
    ways.find(|words| served(words, name).is_some()).ok_or_else(|| {
        DaemonError::Declined(format!("behind -- are options of a daemon that serves {name}: see ringfort --help"))
    })
}

/// What a daemon of these arguments is asked for, if it serves the interface `name`.
fn served(arguments: &[String], name: &str) -> Option<Serve> {
    let words = ["ringfort"].into_iter().chain(arguments.iter().map(String::as_str));
    let Cli { command, serve } = Cli::read(words).ok()?;
    let asks = serve.stats || serve.suites || serve.set_suite.is_some() || serve.aead == Some(AeadArg::List);
    (command.is_none() && serve.name == name && !asks).then_some(serve)
}

/// What the daemon says of its arguments, as far as it may be a lie. One that is another user's, or that was taken
/// over, would else have root write to files of its choice, or start what has no sandbox.
fn believed(origin: &Origin, name: &str, is_ours: bool) -> Result<Vec<String>, DaemonError> {
    let Some(serve) = served(&origin.arguments, name) else {
        return Err(DaemonError::Declined(format!(
            "the daemon that serves interface {name} was not started to serve that name: end it, and start it again"
        )));
    };
    let mut directories = origin.directories().peekable();
    if is_ours && !reaches_further(&serve) && directories.peek().is_none() {
        return Ok(origin.arguments.clone());
    }
    let variables = directories.map(|(name, value)| format!("{name}={}", quoted(value)));
    let options = origin.arguments.iter().map(|word| quoted(word));
    let restart = ["ringfort", "restart", name, "--"].map(str::to_owned);
    let line = variables.chain(restart).chain(options).collect::<Vec<_>>().join(" ");
    Err(DaemonError::Declined(format!(
        "the daemon that serves interface {name} says that it was started with files, a user, or less of a sandbox. \
         One that was taken over could say so, too, and write where it likes: so whoever restarts it has to repeat \
         that. If this is how you have started it: {line}"
    )))
}

/// Whether these options name files or a user, or lift something of the sandbox.
fn reaches_further(serve: &Serve) -> bool {
    let names_files = matches!(serve.log, logging::Target::File(_))
        || matches!(serve.endpoints, EndpointFile::At(_))
        || serve.config.is_some();
    names_files || serve.user.is_some() || serve.core_dumps || serve.sandbox != Mode::On
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

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(arguments: &[&str], environment: &[(&str, &str)]) -> Origin {
        Origin {
            program: "/usr/bin/ringfort".into(),
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
            directory: "/tmp".into(),
            environment: environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        }
    }

    fn server(origin: Origin) -> Server {
        let (process, user) = (std::process::id(), geteuid().as_raw());
        Server { process, peer: process, user, starts: false, origin, failed_heirs: 0, why: String::new() }
    }

    fn refusal(before: Server, repeated: &[&str]) -> String {
        let repeated: Vec<_> = repeated.iter().map(|&word| word.to_owned()).collect();
        checked(before, "wg0", &repeated).unwrap_err().to_string()
    }

    /// The program is ours, and the directory is nobody's.
    #[test]
    fn a_daemon_is_believed_what_does_no_harm() {
        let arguments = ["-f", "--workers", "2", "--log", "syslog", "--endpoints", "off", "wg0"];
        let said = origin(&arguments, &[("NOTIFY_SOCKET", "/run/notify")]);
        let checked = checked(server(said.clone()), "wg0", &[]).unwrap();
        assert_eq!((&checked.arguments, checked.directory.as_path()), (&said.arguments, Path::new("/")));
        assert_eq!(checked.program, std::env::current_exe().unwrap());
        assert_eq!(checked.environment["NOTIFY_SOCKET"], "/run/notify");
    }

    #[test]
    fn what_would_reach_further_has_to_be_repeated() {
        for options in [
            &["--log", "/etc/profile.d/zz.sh"][..],
            &["--endpoints", "/etc/shadow"],
            &["--config", "/var/lib/ringfort/mine"],
            &["--user", "nobody"],
            &["--core-dumps"],
            &["--sandbox", "off"],
            &["--sandbox=report"],
        ] {
            let words = [&["--workers", "2"], options, &["wg0"]].concat();
            let refused = refusal(server(origin(&words, &[])), &[]);
            let line = format!("ringfort restart wg0 -- {}", words.join(" "));
            assert!(refused.ends_with(&line), "{refused}");
            let repeated: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
            for repeated in [&repeated[..], &repeated[..repeated.len() - 1]] {
                let checked = checked(server(origin(&["--log", "/etc/other", "wg0"], &[])), "wg0", repeated).unwrap();
                assert_eq!(checked.arguments, words, "the operator's count, and nothing else");
            }
        }
        let refused = refusal(server(origin(&["wg0"], &[("STATE_DIRECTORY", "/etc/x y")])), &[]);
        assert!(refused.ends_with("STATE_DIRECTORY='/etc/x y' ringfort restart wg0 -- wg0"), "{refused}");
        let of_another = Server { user: geteuid().as_raw() + 1, ..server(origin(&["wg0"], &[])) };
        assert!(refusal(of_another, &[]).contains("repeat"));
        let elsewhere = Server { peer: 0, ..server(origin(&["wg0"], &[])) };
        assert!(refusal(elsewhere, &[]).contains("PID namespace"));
    }

    #[test]
    fn directories_are_those_of_who_restarts() {
        let theirs = [("RUNTIME_DIRECTORY", "/etc"), ("CONFIGURATION_DIRECTORY", "/etc")];
        let environment = checked(server(origin(&["wg0"], &theirs)), "wg0", &[]).unwrap().environment;
        assert!(theirs.iter().all(|(name, value)| environment.get(*name).is_none_or(|ours| ours != value)));
    }

    /// Of a process in another PID namespace the kernel tells no number, before and afterwards.
    #[test]
    fn another_process_serves_when_it_says_so_and_has_the_socket() {
        let now = |process, peer| Server { process, peer, ..server(origin(&["wg0"], &[])) };
        for (process, peer, expected) in
            [(7, 7, false), (8, 8, true), (7, 8, false), (8, 7, false), (1, 0, true), (7, 0, false)]
        {
            let before = if peer == 0 { 0 } else { 7 };
            assert_eq!(is_another(&now(process, peer), 7, before), expected, "{process} {peer}");
        }
    }

    #[test]
    fn what_serves_nobody_is_not_started() {
        for words in [&["wg1"][..], &["--stats", "wg0"], &["--suites", "wg0"], &["down", "wg0"], &["--aead", "list"]] {
            assert!(refusal(server(origin(words, &[])), &[]).contains("not started to serve"), "{words:?}");
            assert!(refusal(server(origin(&["wg0"], &[])), words).contains("behind --"), "{words:?}");
        }
    }
}
