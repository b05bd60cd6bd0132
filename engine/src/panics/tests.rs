use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use log::LevelFilter;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;
use ringfort_testbed::{Namespace, janitor, uapi};
use ringfort_worker::queues::Mail;

use super::*;
use crate::cli::Cli;
use crate::control::inherited::Inherited;
use crate::control::{Daemon, logging, places, preflight};
use crate::sandbox;

/// The interface of the process that is to panic.
const INTERFACE: &str = "RINGFORT_TEST_PANICS";
/// How long that may take which is bound to happen.
const WAIT: Duration = Duration::from_secs(30);

/// The life of a daemon of which a worker panics. Run by the tests below, in a process of its own.
#[test]
#[ignore = "ends the process"]
fn a_worker_panics() {
    let Ok(name) = std::env::var(INTERFACE) else { return };
    end_process();
    let cli = Cli::read(["ringfort", "-f", "--workers", "2", &name]).unwrap().serve;
    let means = preflight::check(&cli).unwrap();
    sandbox::plan(sandbox::Mode::On, &places::of(&cli, None, &Inherited::default()));
    let daemon = Daemon::start(&cli, None, &means, Inherited::default()).unwrap();
    remove_socket(daemon.socket_place().clone());
    let log = logging::Target::Stderr.open(&name, true).unwrap();
    logging::install(log, LevelFilter::Info, false).unwrap();
    daemon.queues().workers[1].push_mail(Mail::Panic);
    let end = daemon.run(None, None, || Ok(()));
    std::process::exit(if end.is_ok() { 10 } else { 11 });
}

struct Place {
    namespace: Namespace,
    interface: String,
}

impl Place {
    fn new() -> Self {
        Self { namespace: Namespace::new().unwrap(), interface: janitor::unique_name() }
    }

    fn command(&self) -> Command {
        let mut command = self.namespace.command(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "panics::tests::a_worker_panics", "--nocapture"]);
        command.env(INTERFACE, &self.interface).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn assert_ended_by_abort(&self, status: ExitStatus, text: &str) {
        assert_eq!(status.signal(), Some(libc::SIGABRT), "{status}\n{text}");
        assert!(!uapi::socket_path(&self.interface).exists(), "a socket was left behind");
        // The kernel winds up the rings after the process has ended.
        eventually(|| !self.namespace.has_interface(&self.interface));
    }
}

fn eventually(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time");
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_panic_of_a_worker_ends_the_process_with_a_message() {
    let place = Place::new();
    let output = place.command().output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    place.assert_ended_by_abort(output.status, &text);
    assert!(text.contains("this is a bug") && text.contains("a test asked for it"), "{text}");
    assert!(text.contains("ringfort-w1"), "which thread it was: {text}");
}

#[test]
fn an_interface_that_was_there_is_put_back() {
    let place = Place::new();
    place.namespace.ip(&format!("tuntap add dev {} mode tun multi_queue", place.interface)).unwrap();
    let output = place.command().output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{}\n{text}", output.status);
    // The kernel winds up the rings after the process has ended. Nobody has a queue then.
    let mut len = None;
    eventually(|| {
        len = place.namespace.enter(|| header_len(&place.interface));
        len.is_some()
    });
    assert_eq!(len, Some(10), "what the driver begins with");
}

/// As whoever comes next finds it; `None` while somebody has a queue.
fn header_len(interface: &str) -> Option<libc::c_int> {
    let queue = OpenOptions::new().read(true).write(true).open("/dev/net/tun").unwrap();
    // SAFETY: ifreq is a C structure of integers, arrays and addresses, for which all zeroes are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE;
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    let mut len = 0;
    // SAFETY: TUNSETIFF reads and writes one ifreq at the address, which is that of a live one.
    let attached = unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    // SAFETY: TUNGETVNETHDRSZ stores one int at the address, which is that of a live one.
    let told = unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNGETVNETHDRSZ, &raw mut len) };
    (attached == 0 && told == 0).then_some(len)
}

#[test]
fn it_does_so_if_nobody_reads_the_message() {
    let place = Place::new();
    let (_reader, writer) = full_pipe();
    let mut child = Killed(place.command().stderr(writer).spawn().unwrap());
    let mut status = None;
    eventually(|| {
        status = child.0.try_wait().unwrap();
        status.is_some()
    });
    place.assert_ended_by_abort(status.unwrap(), "");
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A pipe that takes nothing more, and its reading end.
fn full_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap();
    let mut file = File::from(writer);
    while file.write(&[b'.'; 4096]).is_ok() {}
    // A writer that must wait, as everybody has it.
    fcntl(file.as_fd(), FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    (reader, file.into())
}
