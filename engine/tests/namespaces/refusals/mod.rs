//! What it refuses to run without: one sentence with the remedy, a non-zero exit, nothing left behind.

mod limits;
mod waiting;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use ringfort_testbed::netns::VETH;
use ringfort_testbed::ping::Background;
use ringfort_testbed::tunnel::Peering;
use ringfort_testbed::{Daemon, Family, Namespace, Tunnel, Wire, command, janitor, uapi};

use crate::harness::traffic::OPENING;
use crate::harness::{eventually, seccomp, us, wg};

/// How long a refusal may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A namespace in which nothing runs yet, and a free name.
struct Place {
    namespace: Namespace,
    interface: String,
}

impl Place {
    fn new() -> Self {
        Self { namespace: Namespace::new().unwrap(), interface: janitor::unique_name() }
    }

    /// The gateway, started through `wrapper`: words of a program that ends by executing it.
    fn command(&self, wrapper: &str) -> Command {
        let mut words = wrapper.split_whitespace();
        let program = us();
        let mut command = match words.next() {
            Some(first) => self.namespace.command(first),
            None => self.namespace.command(&program.path),
        };
        command.args(words);
        if !wrapper.is_empty() {
            command.arg(&program.path);
        }
        command
    }

    /// Both ways of starting it must refuse with words that contain all of `expected`.
    fn refuses(&self, wrapper: &str, expected: &[&str]) {
        for foreground in [&["-f"][..], &[]] {
            let mut command = self.command(wrapper);
            command.args(foreground).arg(&self.interface);
            assert_refuses(command, expected);
            self.assert_nothing_left();
        }
    }

    fn assert_nothing_left(&self) {
        assert!(!uapi::socket_path(&self.interface).exists(), "a socket was left behind");
        assert!(!self.namespace.has_interface(&self.interface), "an interface was left behind");
        assert_eq!(self.namespace.processes().unwrap(), [0_i32; 0], "a process was left behind");
    }
}

/// The command must end soon with a non-zero status and one line that contains all of `expected`.
fn assert_refuses(command: Command, expected: &[&str]) {
    let mut refused = Daemon::spawn_command(command, "nothing").unwrap();
    let status = refused.wait(PATIENCE).unwrap();
    let text = refused.log();
    assert!(!status.success(), "it did not refuse; it printed:\n{text}");
    assert!(status.code().is_some(), "it did not end by itself: {status}\n{text}");
    assert!(!text.contains("panicked"), "a refusal is no panic:\n{text}");
    for words in expected {
        assert!(text.contains(words), "{words:?} is missing in:\n{text}");
    }
    let sentences = text.lines().filter(|line| !line.trim().is_empty()).count();
    assert_eq!(sentences, 1, "one sentence was expected:\n{text}");
}

#[test]
fn without_privileges() {
    let wrapper = "setpriv --inh-caps=-all --ambient-caps=-all --bounding-set=-all";
    Place::new().refuses(wrapper, &["run as root", "CAP_NET_ADMIN"]);
}

#[test]
fn as_another_user() {
    // The program itself may lie where only root may look.
    let directory = Public::new();
    let copy = directory.0.join("ringfort");
    command::copy_program(&us().path, &copy).unwrap();
    let place = Place::new();
    let mut command = place.namespace.command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy).args(["-f", &place.interface]);
    assert_refuses(command, &["run as root", "CAP_NET_ADMIN"]);
    place.assert_nothing_left();
}

/// A directory that everyone may look into, and that is removed in the end.
struct Public(PathBuf);

impl Public {
    fn new() -> Self {
        let directory = std::env::temp_dir().join(janitor::unique_name());
        std::fs::create_dir(&directory).unwrap();
        std::fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        Self(directory)
    }
}

impl Drop for Public {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A mount namespace in which `/dev/net` is empty.
#[test]
fn without_the_tun_device() {
    let place = Place::new();
    for foreground in ["-f", ""] {
        let script =
            format!("mount -t tmpfs none /dev/net && exec {} {foreground} {}", us().path.display(), place.interface);
        let mut command = place.namespace.command("unshare");
        command.args(["--mount", "sh", "-c", &script]);
        assert_refuses(command, &["/dev/net/tun", "modprobe tun"]);
        place.assert_nothing_left();
    }
}

/// As `kernel.io_uring_disabled` (EPERM) and as container runtimes do it (EPERM or ENOSYS), without touching the
/// machine: a seccomp filter of this process's child.
#[test]
fn without_io_uring() {
    for errno in [libc::EPERM, libc::ENOSYS] {
        let place = Place::new();
        for foreground in [&["-f"][..], &[]] {
            let mut command = place.command("");
            command.args(foreground).arg(&place.interface);
            seccomp::deny_io_uring(&mut command, errno);
            assert_refuses(command, &["io_uring", "io_uring_disabled", "container/seccomp.json"]);
            place.assert_nothing_left();
        }
    }
}

/// A kernel from before 6.1 does not know the flags of `io_uring_setup(2)` that we ask for, and says EINVAL.
#[test]
fn with_an_io_uring_that_is_too_old() {
    let place = Place::new();
    for foreground in [&["-f"][..], &[]] {
        let mut command = place.command("");
        command.args(foreground).arg(&place.interface);
        seccomp::deny_io_uring(&mut command, libc::EINVAL);
        assert_refuses(command, &["lacks", "Linux 6.1 or later"]);
        place.assert_nothing_left();
    }
}

/// A mount namespace in which `/dev` has the TUN device alone.
#[test]
fn without_the_null_device() {
    let place = Place::new();
    let script = format!(
        "mount -t tmpfs none /dev && mkdir /dev/net && mknod /dev/net/tun c 10 200 && exec {} {}",
        us().path.display(),
        place.interface
    );
    let mut command = place.namespace.command("unshare");
    command.args(["--mount", "sh", "-c", &script]);
    assert_refuses(command, &["/dev/null"]);
    place.assert_nothing_left();
}

#[test]
fn an_interface_that_exists() {
    let wire = Wire::new().unwrap();
    let place = &wire.ends[0];
    let mut command = place.command(us().path);
    command.args(["-f", VETH]);
    assert_refuses(command, &[VETH, "exists already"]);
    assert!(place.has_interface(VETH), "the interface of another stays");
    assert!(!uapi::socket_path(VETH).exists(), "a socket was left behind");
}

#[test]
fn an_interface_that_another_daemon_serves() {
    let mut tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let interface = tunnel.sides[0].interface.clone();
    // In its namespace the interface is taken, in another only the socket is.
    for index in [0, 1] {
        let mut command = tunnel.namespace(index).command(us().path);
        command.args(["-f", &interface]);
        assert_refuses(command, &[&interface]);
        assert!(tunnel.sides[0].daemon().is_running());
        tunnel.wait_until_open(0, OPENING).unwrap();
        wg::only_peer(&interface).unwrap();
    }
}

/// Every user may open the directory of the sockets where it has the mode 0755, and lock what he has open.
#[test]
fn a_lock_on_the_socket_directory_is_no_obstacle() {
    let (namespace, interface) = (Namespace::new().unwrap(), janitor::unique_name());
    let directory = uapi::socket_path(&interface).parent().unwrap().to_owned();
    std::fs::create_dir_all(&directory).unwrap();
    let held = std::fs::File::open(&directory).unwrap();
    let lock = Flock::lock(held, FlockArg::LockExclusive).unwrap();
    let daemon = Daemon::start(&us(), &namespace, &interface).unwrap();
    drop(lock);
    assert!(daemon.stop().unwrap().success());
}

#[test]
fn names_that_are_no_interface_names() {
    for name in ["a_name_that_is_far_too_long", "with/slash", "."] {
        let namespace = Namespace::new().unwrap();
        let mut command = namespace.command(us().path);
        command.args(["-f", name]);
        assert_refuses(command, &[name]);
    }
}

/// EADDRINUSE to whoever asked, and the tunnel goes on as it was.
#[test]
fn a_port_in_use_keeps_the_old_one() {
    let tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let ours = &tunnel.sides[0];
    let target = tunnel.sides[1].inner(Family::V4);
    let every = Duration::from_millis(5);
    let pings = Background::start(tunnel.namespace(0), target, every, PATIENCE).unwrap();
    // Two ports: a process that another test starts at this moment holds copies of our sockets for an instant.
    for (address, port) in [("0.0.0.0:51998", 51_998), ("[::]:51999", 51_999)] {
        let taken = tunnel.namespace(0).enter(|| std::net::UdpSocket::bind(address)).unwrap();
        let answer = uapi::request(&ours.interface, &format!("set=1\nlisten_port={port}\n\n")).unwrap();
        assert_eq!(answer.errno, -libc::EADDRINUSE, "{address}");
        let error = wg::wg(&format!("set {} listen-port {port}", ours.interface)).unwrap_err();
        assert!(error.to_string().contains("Address already in use"), "{error}");
        assert_eq!(wg::wg(&format!("show {} listen-port", ours.interface)).unwrap().trim(), "51820");
        drop(taken);
    }
    let tally = pings.finish_later();
    assert!(tally.lost.is_empty(), "pings were lost: {tally:?}");
    let set = || wg::wg(&format!("set {} listen-port 51999", ours.interface));
    eventually(PATIENCE, "the port is free", || set().is_ok());
    tunnel.wait_until_open(0, OPENING).unwrap();
}

/// Two daemons may run side by side, each with its own name.
#[test]
fn a_second_interface_is_not_refused() {
    let namespace = Namespace::new().unwrap();
    let names = [janitor::unique_name(), janitor::unique_name()];
    let daemons = names.each_ref().map(|name| Daemon::start(&us(), &namespace, name).unwrap());
    for name in &names {
        assert!(namespace.has_interface(name));
    }
    drop(daemons);
}

/// A part of an answer in a file must not pass for all of it.
#[test]
fn an_answer_that_cannot_be_written_is_an_error() {
    let directory = janitor::directory().join(janitor::unique_name());
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("wg7.conf");
    std::fs::write(&file, "[Interface]\n").unwrap();
    let words = [
        format!("check {}", file.display()),
        "doctor".to_owned(),
        "--aead list".to_owned(),
        "steer nft --self 0 --bits 1 --device eth0 --nodes 0=192.0.2.1,1=192.0.2.2".to_owned(),
        "steer xdp --self 0 --bits 1 --nodes 0=192.0.2.1,1=192.0.2.2".to_owned(),
    ];
    for words in words {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = Command::new(us().path).args(words.split_whitespace()).stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{words}: {said}");
        assert!(said.contains("standard output"), "{words}: {said}");
    }
    std::fs::remove_dir_all(directory).unwrap();
}
