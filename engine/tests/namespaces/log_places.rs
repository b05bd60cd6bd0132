//! The log, at each of the places that it can go to.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use ringfort_testbed::daemon::Daemon;
use ringfort_testbed::{Namespace, janitor, uapi};

use crate::harness::traffic::PATIENCE;
use crate::harness::{eventually, us};

/// Runs a command in a file system of its own where `$1/log` is `/dev/log` and `$1/socket` is the journal's.
const WITH_SERVICES: &str = r#"
set -e
mount --make-rprivate /
mkdir -p /run/systemd
mount -t tmpfs ours /run/systemd
mkdir /run/systemd/journal
mount --bind "$1" /run/systemd/journal
mkdir "$1/dev"
mount -t tmpfs ours "$1/dev"
mkdir "$1/dev/net"
for device in null zero full net/tun; do
    touch "$1/dev/$device"
    mount --bind "/dev/$device" "$1/dev/$device"
done
ln -s "$1/log" "$1/dev/log"
mount --move "$1/dev" /dev
shift
exec "$@"
"#;

/// A directory that is removed in the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let path = janitor::directory().join(format!("{}.places", janitor::unique_name()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A service that takes datagrams from now on, in place of the one before.
    fn service(&self, name: &str) -> UnixDatagram {
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => panic!("{error}"),
            _ => {}
        }
        let socket = UnixDatagram::bind(self.path(name)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        socket
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A gateway of which the services are in that directory.
fn start(directory: &Directory, options: &str) -> (Daemon, Namespace) {
    let (namespace, interface) = (Namespace::new().unwrap(), janitor::unique_name());
    let mut command = namespace.command("unshare");
    command.args(["--mount", "sh", "-c", WITH_SERVICES, "sh"]).arg(&directory.0).arg(us().path);
    command.args(us().with_options(options).arguments(&interface)).env_remove("JOURNAL_STREAM");
    let daemon = Daemon::spawn_command(command, &interface).unwrap();
    eventually(PATIENCE, "it answers", || uapi::get(&interface).is_ok());
    (daemon, namespace)
}

/// Has it say something with this port in it.
fn speak(daemon: &Daemon, port: u16) {
    // It listens while its interface is up only, and so only says what it refuses.
    let answer = uapi::request(daemon.interface(), &format!("set=1\nlisten_port={port}\nnonsense=1\n\n")).unwrap();
    assert_ne!(answer.errno, 0);
}

/// The next line at a service that has this text.
fn next(service: &UnixDatagram, text: &str) -> String {
    let mut bytes = [0; 16_384];
    loop {
        let len = service.recv(&mut bytes).unwrap_or_else(|error| panic!("no line with {text:?}: {error}"));
        let line = String::from_utf8_lossy(&bytes[..len]).into_owned();
        if line.contains(text) {
            return line;
        }
    }
}

const REFUSED: &str = "a request on the control socket is refused";

#[test]
fn syslog_is_found_again_when_it_restarts() {
    let directory = Directory::new();
    let first = directory.service("log");
    let (daemon, _namespace) = start(&directory, "--log syslog");
    let prefix = format!("<30>ringfort[{}]: {}: ", daemon.pid(), daemon.interface());
    let line = next(&first, "serves the interface");
    assert!(line.starts_with(&prefix), "{line}");
    drop(first);
    // Nobody is there: what is said now is said again to the next one.
    fs::remove_file(directory.path("log")).unwrap();
    speak(&daemon, 1);
    let second = directory.service("log");
    next(&second, REFUSED);
    // The old socket lives on, unread, in the hands of somebody else.
    let third = directory.service("log");
    speak(&daemon, 2);
    next(&third, REFUSED);
    drop(second);
    assert!(daemon.stop().unwrap().success());
    next(&third, "ending on SIGTERM");
}

#[test]
fn the_journal_gets_priorities_and_fields() {
    let directory = Directory::new();
    let journal = directory.service("socket");
    let (daemon, _namespace) = start(&directory, "--log journal");
    let entry = next(&journal, "serves the interface");
    assert!(entry.contains(daemon.interface()) && entry.contains("RINGFORT_INTERFACE\n"), "{entry:?}");
    assert!(entry.contains("PRIORITY\n\u{1}\0\0\0\0\0\0\u{0}6\n"), "{entry:?}");
    speak(&daemon, 1);
    assert!(next(&journal, REFUSED).contains("PRIORITY\n\u{1}\0\0\0\0\0\0\u{0}4\n"));
    assert_eq!(daemon.log(), "", "nothing is written twice");
}

#[test]
fn a_journal_that_is_not_there_is_not_chosen() {
    let directory = Directory::new();
    let (daemon, _namespace) = start(&directory, "");
    eventually(PATIENCE, "it says so here", || daemon.log().contains("serves the interface"));
    let refused = us().with_options("--log journal");
    let namespace = Namespace::new().unwrap();
    let mut daemon = Daemon::spawn(&refused, &namespace, &janitor::unique_name()).unwrap();
    let status = daemon.wait(PATIENCE).unwrap();
    assert_eq!(status.code(), Some(2));
    assert!(daemon.log().contains("/run/systemd/journal/socket"), "{}", daemon.log());
}

fn texts(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn a_file_is_opened_anew_on_sigusr1() {
    let directory = Directory::new();
    let (file, moved) = (directory.path("wg.log"), directory.path("wg.log.1"));
    let (daemon, _namespace) = start(&directory, &format!("--log {}", file.display()));
    eventually(PATIENCE, "it logs", || texts(&file).contains("serves the interface"));
    fs::rename(&file, &moved).unwrap();
    daemon.signal(Signal::SIGUSR1);
    eventually(PATIENCE, "the file is there again", || file.exists());
    speak(&daemon, 1);
    eventually(PATIENCE, "it logs there", || texts(&file).contains(REFUSED));
    assert!(!texts(&moved).contains(REFUSED));
    assert_eq!(daemon.log(), "");
    assert!(daemon.stop().unwrap().success());
    assert!(texts(&file).contains("ending on SIGTERM"), "{}", texts(&file));
}

/// Without a file, it does nothing; and it ends nobody.
#[test]
fn sigusr1_ends_nobody() {
    let directory = Directory::new();
    let (mut daemon, _namespace) = start(&directory, "");
    daemon.signal(Signal::SIGUSR1);
    speak(&daemon, 1);
    eventually(PATIENCE, "it goes on", || daemon.log().contains(REFUSED));
    assert!(daemon.is_running());
}

#[test]
fn the_level_changes_while_it_runs() {
    let directory = Directory::new();
    let (daemon, _namespace) = start(&directory, "");
    let ask = |level: &[&str]| {
        let output = std::process::Command::new(us().path).args(["log-level", daemon.interface()]).args(level).output();
        let output = output.unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(ask(&[]), (Some(0), "info\n".to_owned()));
    assert_eq!(ask(&["silent"]), (Some(0), "silent\n".to_owned()));
    speak(&daemon, 1);
    assert_eq!(ask(&["debug"]), (Some(0), "debug\n".to_owned()));
    speak(&daemon, 2);
    eventually(PATIENCE, "it speaks again", || daemon.log().contains(REFUSED));
    assert_eq!(daemon.log().matches(REFUSED).count(), 1, "{}", daemon.log());
    assert!(daemon.log().contains("the log level is silent from now on, and was info"), "{}", daemon.log());
    assert_eq!(ask(&["loud"]).0, Some(2));
}

#[test]
fn the_kernel_s_log_takes_lines() {
    let directory = Directory::new();
    // In place of the device, which all of the machine shares.
    let kmsg = directory.path("kmsg");
    fs::write(&kmsg, "").unwrap();
    let (namespace, interface) = (Namespace::new().unwrap(), janitor::unique_name());
    let mut command = namespace.command("unshare");
    let script = "mount --make-rprivate / && mount --bind \"$1\" /dev/kmsg && shift && exec \"$@\"";
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(&kmsg).arg(us().path);
    command.args(us().with_options("--log kmsg").arguments(&interface));
    let daemon = Daemon::spawn_command(command, &interface).unwrap();
    eventually(PATIENCE, "it answers", || uapi::get(&interface).is_ok());
    let prefix = format!("<30>ringfort[{}]: {interface}: ringfort ", daemon.pid());
    eventually(PATIENCE, "it logs", || texts(&kmsg).contains(&prefix));
    assert!(daemon.stop().unwrap().success());
}
