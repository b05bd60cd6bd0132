//! Interfaces and sockets that somebody else has made: persistent TUN interfaces, `WG_TUN_FD` and `WG_UAPI_FD`.

use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringfort_testbed::command;
use ringfort_testbed::tunnel::{MTU, Peering};
use ringfort_testbed::{Daemon, Family, Namespace, Tunnel, janitor, uapi};

use crate::harness::traffic::{AT_ONCE, OPENING, PATIENCE, exchange};
use crate::harness::{eventually, us};
use crate::log::full_pipe;

const TCP_BYTES: u64 = 200_000;

/// How side 0 gets its interface in place of the one that it makes.
fn tunnel_on(kind: &str) -> Tunnel {
    let mut tunnel = Tunnel::new([&us(), &us()]).unwrap();
    tunnel.sides[0].daemon.take().unwrap().stop().unwrap();
    let interface = tunnel.sides[0].interface.clone();
    tunnel.namespace(0).ip(&format!("tuntap add dev {interface} mode tun {kind}")).unwrap();
    tunnel
}

/// Addresses outlive the gateway with the interface.
fn restart(tunnel: &mut Tunnel) {
    let interface = tunnel.sides[0].interface.clone();
    tunnel.namespace(0).ip(&format!("address flush dev {interface}")).unwrap();
    tunnel.start(0).unwrap();
    for side in [0, 1] {
        tunnel.configure(side, &Peering::default()).unwrap();
    }
    tunnel.wait_until_open(0, AT_ONCE).unwrap();
}

fn serves_and_leaves(kind: &str, workers: u64) {
    let mut tunnel = tunnel_on(kind);
    let interface = tunnel.sides[0].interface.clone();
    let many = if workers > 1 { libc::IFF_MULTI_QUEUE } else { 0 };
    for _ in 0..2 {
        restart(&mut tunnel);
        assert_eq!(uapi::stats(&interface).unwrap()["workers"], workers);
        exchange(&tunnel, Family::V4, MTU as usize, TCP_BYTES);
        let mut daemon = tunnel.sides[0].daemon.take().unwrap();
        daemon.signal(Signal::SIGTERM);
        assert!(daemon.wait(PATIENCE).unwrap().success(), "{}", daemon.log());
        assert!(daemon.log().contains("the interface was there before us"), "{}", daemon.log());
        // It is not ours to delete, and free as soon as we have ended, not only when the kernel has wound up our rings.
        drop(open(tunnel.namespace(0), &interface, libc::IFF_NO_PI | many));
        assert!(!uapi::socket_path(&interface).exists(), "a socket was left behind");
    }
}

fn cpus() -> u64 {
    std::thread::available_parallelism().unwrap().get().min(16) as u64
}

#[test]
fn a_persistent_interface_as_ip_makes_it() {
    serves_and_leaves("", 1);
}

#[test]
fn a_persistent_interface_with_packet_information_and_header() {
    serves_and_leaves("pi vnet_hdr", 1);
}

#[test]
fn a_persistent_interface_with_many_queues() {
    serves_and_leaves("multi_queue", cpus());
}

/// The queues of a gateway that was killed go some time after it.
#[test]
fn a_persistent_interface_after_a_crash() {
    for kind in ["", "multi_queue"] {
        let mut tunnel = tunnel_on(kind);
        restart(&mut tunnel);
        tunnel.sides[0].daemon.take().unwrap().kill().unwrap();
        restart(&mut tunnel);
        exchange(&tunnel, Family::V4, MTU as usize, TCP_BYTES);
    }
}

/// Must end with status 2 and these words, and leave the interface alone.
fn refuses(namespace: &Namespace, interface: &str, command: Command, words: &[&str]) {
    ends_with(2, namespace, interface, command, words);
}

fn ends_with(code: i32, namespace: &Namespace, interface: &str, mut command: Command, words: &[&str]) {
    command.arg(interface);
    let mut refused = Daemon::spawn_command(command, interface).unwrap();
    let status = refused.wait(PATIENCE).unwrap();
    let log = refused.log();
    assert_eq!(status.code(), Some(code), "{log}");
    assert!(words.iter().all(|words| log.contains(words)), "{words:?} are expected in:\n{log}");
    assert!(!uapi::socket_path(interface).exists(), "a socket was left behind");
    assert!(namespace.has_interface(interface));
}

#[test]
fn interfaces_that_do_not_suit_are_refused() {
    let namespace = Namespace::new().unwrap();
    let ours = |options: &[&str]| {
        let mut command = namespace.command(us().path);
        command.arg("-f").args(options);
        command
    };
    let interface = janitor::unique_name();
    let make = |kind: &str| namespace.ip(&format!("tuntap add dev {interface} mode {kind}")).unwrap();
    let delete = || namespace.ip(&format!("link delete {interface}")).unwrap();
    make("tap");
    refuses(&namespace, &interface, ours(&[]), &["TAP", "mode tun"]);
    delete();
    make("tun");
    refuses(&namespace, &interface, ours(&["--workers", "4"]), &["single queue", "--workers 1", "multi_queue"]);
    let shown = command::output(namespace.command("ip").args(["link", "show", &interface])).unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("mtu 1500"), "who is refused has changed nothing: {shown}");
    // It was put back: who asks for less gets it, until somebody else has it.
    let daemon = Daemon::start(&us().with_options("--workers 1"), &namespace, &interface).unwrap();
    daemon.stop().unwrap();
    let theirs = open(&namespace, &interface, libc::IFF_NO_PI);
    // That may pass, so a service manager is to try again.
    ends_with(1, &namespace, &interface, ours(&[]), &["in use by another program"]);
    drop(theirs);
}

/// A gateway that was killed has left its socket, one that has panicked has not. The interface has a queue until the
/// kernel has wound up its rings.
#[test]
fn who_waits_for_an_interface_says_so() {
    let namespace = Namespace::new().unwrap();
    for leaves_socket in [true, false] {
        let interface = janitor::unique_name();
        if leaves_socket {
            namespace.ip(&format!("tuntap add dev {interface} mode tun")).unwrap();
            leave_socket(&interface);
        }
        let theirs = open(&namespace, &interface, libc::IFF_NO_PI);
        let daemon = Daemon::spawn(&us().with_options("--workers 1"), &namespace, &interface).unwrap();
        eventually(PATIENCE, "it says what it waits for", || daemon.log().contains("waiting for up to 60 s"));
        drop(theirs);
        eventually(PATIENCE, "it serves", || uapi::get(&interface).is_ok());
        daemon.stop().unwrap();
    }
}

/// Neither the start nor a signal has to wait for somebody who reads why it takes longer.
#[test]
fn nobody_has_to_read_what_a_start_waits_for() {
    let namespace = Namespace::new().unwrap();
    let interface = janitor::unique_name();
    for reader_goes in [true, false] {
        let theirs = open(&namespace, &interface, libc::IFF_NO_PI);
        let (reader, writer) = full_pipe();
        let mut command = namespace.command(us().path);
        let mut child = command.args(["-f", &interface]).stdin(Stdio::null()).stderr(writer).spawn().unwrap();
        drop(command);
        let pid = child.id();
        eventually(PATIENCE, "a thread wants to say it", || is_writing(pid, 2));
        if reader_goes {
            drop(reader);
            eventually(PATIENCE, "that thread has failed", || !is_writing(pid, 2));
            drop(theirs);
            eventually(PATIENCE, "it serves", || uapi::get(&interface).is_ok());
        }
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
        eventually(PATIENCE, "it ends", || child.try_wait().unwrap().is_some());
        assert!(child.wait().unwrap().code().is_some(), "it ends by itself");
    }
}

/// Whether a thread of that process waits in write(2) to that descriptor.
fn is_writing(pid: u32, fd: u32) -> bool {
    let call = format!("{} {fd:#x} ", libc::SYS_write);
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.filter_map(|task| std::fs::read_to_string(task.path().join("syscall")).ok()).any(|now| now.starts_with(&call))
}

/// As a gateway that was killed leaves it.
fn leave_socket(interface: &str) {
    let socket = uapi::socket_path(interface);
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    drop(UnixListener::bind(&socket).unwrap());
}

/// A queue as the program opens it that hands it over: not closed when another is executed.
fn open(namespace: &Namespace, interface: &str, flags: libc::c_int) -> OwnedFd {
    let queue: OwnedFd = namespace.enter(|| {
        let queue = OpenOptions::new().read(true).write(true).open("/dev/net/tun").unwrap();
        // SAFETY: ifreq is a C structure of integers, arrays and addresses, for which all zeroes are a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | flags) as libc::c_short;
        // SAFETY: TUNSETIFF reads and writes one ifreq at the address, which is that of a live one.
        let result = unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        queue.into()
    });
    leave_open(&queue);
    queue
}

fn leave_open(fd: &OwnedFd) {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
}

/// In the foreground and in the background, under another name than it is called by: that of the interface counts.
#[test]
fn a_queue_that_is_handed_over() {
    let good = libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    for (flags, workers) in [(good, 1), (good | libc::IFF_MULTI_QUEUE, cpus())] {
        let namespace = Namespace::new().unwrap();
        let interface = janitor::unique_name();
        let queue = open(&namespace, &interface, flags);
        for foreground in [&["-f"][..], &[]] {
            let mut command = namespace.command(us().path);
            command.args(foreground).arg("another").env("WG_TUN_FD", queue.as_raw_fd().to_string());
            let daemon = Daemon::spawn_command(command, &interface).unwrap();
            eventually(OPENING, "it answers", || {
                uapi::stats(&interface).is_ok_and(|stats| stats["workers"] == workers)
            });
            namespace.ip(&format!("link set {interface} up")).unwrap();
            eventually(PATIENCE, "the interface is up", || uapi::stats(&interface).unwrap()["link_up"] == 1);
            // The sign to end for whoever has no process number of it.
            std::fs::remove_file(uapi::socket_path(&interface)).unwrap();
            eventually(PATIENCE, "it ends", || namespace.processes().unwrap().is_empty());
            assert!(namespace.has_interface(&interface), "who has handed it over has it still");
            namespace.ip(&format!("link set {interface} down")).unwrap();
            drop(daemon);
        }
        drop(queue);
        eventually(PATIENCE, "it goes with its last queue", || !namespace.has_interface(&interface));
    }
}

#[test]
fn queues_that_do_not_suit_are_refused() {
    for (flags, word) in [(libc::IFF_NO_PI, "IFF_VNET_HDR"), (libc::IFF_VNET_HDR, "IFF_NO_PI")] {
        let namespace = Namespace::new().unwrap();
        let interface = janitor::unique_name();
        let queue = open(&namespace, &interface, flags);
        let mut command = namespace.command(us().path);
        command.arg("-f").env("WG_TUN_FD", queue.as_raw_fd().to_string());
        refuses(&namespace, &interface, command, &[word]);
        let elsewhere = Namespace::new().unwrap();
        let mut command = elsewhere.command(us().path);
        command.arg("-f").env("WG_TUN_FD", queue.as_raw_fd().to_string());
        refuses(&namespace, &interface, command, &["another network namespace"]);
        let mut command = namespace.command(us().path);
        command.arg("-f").env("WG_TUN_FD", "999");
        refuses(&namespace, &interface, command, &["WG_TUN_FD", "no file descriptor"]);
    }
}

/// As wireguard-go takes it; the path goes with the gateway.
#[test]
fn a_control_socket_that_is_handed_over() {
    let namespace = Namespace::new().unwrap();
    let interface = janitor::unique_name();
    let path = uapi::socket_path(&interface);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let socket = OwnedFd::from(UnixListener::bind(&path).unwrap());
    leave_open(&socket);
    let mut command = namespace.command(us().path);
    command.args(["-f", &interface]).env("WG_UAPI_FD", socket.as_raw_fd().to_string());
    let mut daemon = Daemon::spawn_command(command, &interface).unwrap();
    drop(socket);
    // It takes requests before anybody serves it.
    uapi::get(&interface).unwrap();
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait(PATIENCE).unwrap().success(), "{}", daemon.log());
    assert!(!path.exists() && !namespace.has_interface(&interface), "something was left behind");
    let null = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    leave_open(&null);
    let mut command = namespace.command(us().path);
    command.args(["-f", &interface]).env("WG_UAPI_FD", null.as_raw_fd().to_string());
    let output = command::output(&mut command).unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && text.contains("listening UNIX socket"), "{text}");
    assert!(!namespace.has_interface(&interface), "an interface was left behind");
}
