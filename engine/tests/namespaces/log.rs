//! The log, when nobody reads it and when strangers could fill it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, pipe2};
use ringfort_testbed::payload::Dice;
use ringfort_testbed::ping;
use ringfort_testbed::tunnel::Peering;
use ringfort_testbed::{Family, Namespace, Tunnel, janitor, uapi};

use crate::harness::traffic::{INITIATION_LEN, OPENING, PATIENCE, with_mac1};
use crate::harness::{drops, eventually, us, wg};

/// A gateway whose standard error is in the hands of the test.
struct Gateway {
    child: Child,
    interface: String,
    namespace: Namespace,
}

impl Gateway {
    fn start(stderr: impl Into<Stdio>) -> Self {
        let (namespace, interface) = (Namespace::new().unwrap(), janitor::unique_name());
        let mut command = namespace.command(us().path);
        command.args(["-f", "--log-level", "trace", &interface]).stdin(Stdio::null()).stderr(stderr);
        let child = command.spawn().unwrap();
        let gateway = Self { child, interface, namespace };
        eventually(PATIENCE, "it answers", || uapi::get(&gateway.interface).is_ok());
        gateway
    }

    /// More lines than the queue has room for, of all that it says.
    fn keeps_talking(&self) {
        for number in 0..300 {
            let (name, port) = (&self.interface, 52_000 + number);
            uapi::set(name, &format!("listen_port={port}\ncipher_suite={}\n", ["aes256gcm", "default"][number % 2]))
                .unwrap();
            assert_ne!(uapi::request(name, "set=1\nnonsense=1\n\n").unwrap().errno, 0);
        }
        wg::wg(&format!("show {}", self.interface)).unwrap();
    }

    fn ends(mut self) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM).unwrap();
        let mut status = None;
        eventually(PATIENCE, "it ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(status.unwrap().success(), "{status:?}");
        assert!(!uapi::socket_path(&self.interface).exists(), "a socket was left behind");
        assert!(!self.namespace.has_interface(&self.interface), "an interface was left behind");
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pipe that takes nothing more, and its reading end.
pub fn full_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap();
    let mut file = File::from(writer);
    while file.write(&[b'.'; 4096]).is_ok() {}
    // A writer that must wait, as everybody has it.
    nix::fcntl::fcntl(file.as_fd(), nix::fcntl::FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    (reader, file.into())
}

#[test]
fn a_reader_that_stops_stops_nothing() {
    let (_reader, writer) = full_pipe();
    let gateway = Gateway::start(writer);
    gateway.keeps_talking();
    gateway.ends();
}

#[test]
fn a_reader_that_is_gone_stops_nothing() {
    let (reader, writer) = full_pipe();
    drop(reader);
    let gateway = Gateway::start(writer);
    gateway.keeps_talking();
    gateway.ends();
}

#[test]
fn a_full_disk_stops_nothing() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let gateway = Gateway::start(full);
    gateway.keeps_talking();
    gateway.ends();
}

/// The last words are an error, which is also printed.
#[test]
fn a_refusal_that_nobody_reads_ends_all_the_same() {
    let (_reader, writer) = full_pipe();
    let namespace = Namespace::new().unwrap();
    let mut command = namespace.command(us().path);
    let mut child = command.args(["-f", "lo"]).stdin(Stdio::null()).stderr(writer).spawn().unwrap();
    eventually(PATIENCE, "it ends", || child.try_wait().unwrap().is_some());
    assert!(!child.wait().unwrap().success());
}

/// Also the lines that are only there for whoever asks for them. The workers say nothing of what they drop. Of what
/// knows our public key, and is nonsense inside, control says a little, and how much it has left out.
#[test]
fn strangers_do_not_fill_the_log() -> io::Result<()> {
    const DATAGRAMS: u64 = 20_000;
    let talkative = us().with_options("--log-level trace");
    let mut tunnel = Tunnel::connected([&talkative, &us()], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let from = SocketAddr::new(tunnel.sides[1].outer(Family::V4), 0);
    let stranger = tunnel.namespace(1).enter(|| UdpSocket::bind(from))?;
    let target = tunnel.sides[0].endpoint(Family::V4);
    let interface = tunnel.sides[0].interface.clone();
    let mut junk = [0xa5; 148];
    junk[..4].copy_from_slice(&[1, 0, 0, 0]);
    eventually(PATIENCE, "enough of it is dropped", || {
        (0..DATAGRAMS / 20).for_each(|_| drop(stranger.send_to(&junk, target)));
        drops(&interface, "bad_mac1") >= DATAGRAMS
    });
    let log = |tunnel: &mut Tunnel| tunnel.sides[0].daemon().log();
    let address = stranger.local_addr()?.to_string();
    assert!(!log(&mut tunnel).contains(&address), "{}", log(&mut tunnel));
    let public = tunnel.sides[0].keys.public.0;
    let nonsense = with_mac1(1, INITIATION_LEN, &public, &mut Dice::new(1));
    // The lines of one second are told of with the first of the next.
    eventually(PATIENCE, "what was left out is counted", || {
        (0..200).for_each(|_| drop(stranger.send_to(&nonsense, target)));
        log(&mut tunnel).contains("more like this were left out")
    });
    assert!(log(&mut tunnel).contains(&address), "it is said who");
    let lines = log(&mut tunnel).lines().count();
    assert!(lines < 2_000, "{lines} lines");
    ping::until_answered(tunnel.namespace(0), tunnel.sides[1].inner(Family::V4), Duration::from_secs(30)).unwrap();
    Ok(())
}
