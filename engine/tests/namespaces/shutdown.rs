//! The end of a gateway, in the foreground and in the background: nothing is left behind.

use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringfort_testbed::ping::Background;
use ringfort_testbed::tunnel::Peering;
use ringfort_testbed::{Daemon, Family, Namespace, Tunnel, janitor, uapi};

use crate::harness::traffic::{OPENING, PATIENCE};
use crate::harness::{eventually, us, wg};

/// Nothing of `interface` is left: no socket, no interface, and no process in the namespace.
fn assert_gone(namespace: &Namespace, interface: &str) {
    let socket = uapi::socket_path(interface);
    assert!(!socket.exists(), "{} was left behind", socket.display());
    assert!(!namespace.has_interface(interface), "interface {interface} was left behind");
    assert_eq!(namespace.processes().unwrap(), [0_i32; 0], "a process was left behind");
}

fn ends_cleanly_on(signal: Signal) {
    let namespace = Namespace::new().unwrap();
    let interface = janitor::unique_name();
    let mut daemon = Daemon::start(&us(), &namespace, &interface).unwrap();
    assert!(namespace.has_interface(&interface));
    daemon.signal(signal);
    let status = daemon.wait(PATIENCE).unwrap();
    assert!(status.success(), "{signal} is a request to end, but the status was {status}\n{}", daemon.log());
    assert_gone(&namespace, &interface);
}

#[test]
fn sigterm_leaves_nothing_behind() {
    ends_cleanly_on(Signal::SIGTERM);
}

#[test]
fn sigint_leaves_nothing_behind() {
    ends_cleanly_on(Signal::SIGINT);
}

/// With packets on all ways through it.
#[test]
fn sigterm_under_load_ends_it() {
    let mut tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let load: Vec<Background> = [0, 1]
        .map(|from| {
            let target = tunnel.sides[1 - from].inner(Family::V4);
            Background::start(tunnel.namespace(from), target, Duration::ZERO, Duration::from_millis(200)).unwrap()
        })
        .into();
    let stream = tunnel.namespace(0).enter(|| std::net::UdpSocket::bind("10.77.0.1:0")).unwrap();
    for _ in 0..20_000 {
        let _ = stream.send_to(&[0; 1_300], "10.77.0.2:9");
    }
    let status = tunnel.sides[0].daemon.take().unwrap().stop().unwrap();
    for pings in load {
        pings.finish();
    }
    assert!(status.success(), "{status}");
    assert_gone(tunnel.namespace(0), &tunnel.sides[0].interface);
}

/// As `wg-quick` starts it: the command returns when the socket answers, and the gateway lives on.
#[test]
fn in_the_background_it_answers_when_the_command_returns() {
    let namespace = Namespace::new().unwrap();
    let interface = janitor::unique_name();
    ringfort_testbed::command::run(namespace.command(us().path).arg(&interface)).unwrap();
    assert!(namespace.has_interface(&interface));
    uapi::get(&interface).unwrap();
    let processes = namespace.processes().unwrap();
    let [process] = processes[..] else { panic!("one process was expected, but there are {processes:?}") };
    kill(Pid::from_raw(process), Signal::SIGTERM).unwrap();
    eventually(PATIENCE, "the gateway in the background ends", || namespace.processes().unwrap().is_empty());
    assert_gone(&namespace, &interface);
}

#[test]
fn a_deleted_interface_ends_it() {
    let namespace = Namespace::new().unwrap();
    let interface = janitor::unique_name();
    let mut daemon = Daemon::start(&us(), &namespace, &interface).unwrap();
    namespace.ip(&format!("link delete {interface}")).unwrap();
    assert_ended_by_deletion(&mut daemon);
    assert_gone(&namespace, &interface);
}

/// Nobody asked the gateway to end: a service manager is to take it for a failure, the operator not for a bug.
fn assert_ended_by_deletion(daemon: &mut Daemon) {
    let status = daemon.wait(PATIENCE).unwrap();
    let log = daemon.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains(&format!("interface {} was deleted", daemon.interface())), "{log}");
    assert!(!log.contains("bug") && !log.contains("panicked"), "{log}");
}

/// The workers find their queues dead in the middle of packets, before or after control hears of it.
#[test]
fn an_interface_that_is_deleted_under_load_ends_it() {
    let mut tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let loads = [0, 1].map(|from| {
        let target = tunnel.sides[1 - from].inner(Family::V4);
        Background::start(tunnel.namespace(from), target, Duration::ZERO, Duration::from_millis(200)).unwrap()
    });
    let interface = tunnel.sides[0].interface.clone();
    tunnel.namespace(0).ip(&format!("link delete {interface}")).unwrap();
    let mut daemon = tunnel.sides[0].daemon.take().unwrap();
    assert_ended_by_deletion(&mut daemon);
    loads.into_iter().for_each(|load| drop(load.finish()));
    assert_gone(tunnel.namespace(0), &interface);
}

#[test]
fn a_removed_socket_ends_it() {
    let namespace = Namespace::new().unwrap();
    let interface = janitor::unique_name();
    let mut daemon = Daemon::start(&us(), &namespace, &interface).unwrap();
    std::fs::remove_file(uapi::socket_path(&interface)).unwrap();
    let status = daemon.wait(PATIENCE).unwrap();
    assert!(status.success(), "it is a request to end, but the status was {status}\n{}", daemon.log());
    assert_gone(&namespace, &interface);
}

/// Down ends all sessions; up begins anew with the same configuration.
#[test]
fn link_down_and_up_recovers() {
    let tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let ours = &tunnel.sides[0];
    for _ in 0..3 {
        // The other side takes no second initiation within 20 ms.
        sleep(Duration::from_millis(50));
        tunnel.namespace(0).ip(&format!("link set {} down", ours.interface)).unwrap();
        assert!(wg::only_peer(&ours.interface).is_ok(), "a gateway that is down still answers");
        tunnel.namespace(0).ip(&format!("link set {} up", ours.interface)).unwrap();
        tunnel.wait_until_open(0, OPENING).unwrap();
    }
}
