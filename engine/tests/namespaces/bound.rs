//! `--bind`: sockets that are bound to an address or to a device.

use std::fs;

use ringfort_testbed::daemon::Daemon;
use ringfort_testbed::netns::{VETH, outer_v4, outer_v6};
use ringfort_testbed::ping::Pinger;
use ringfort_testbed::tunnel::Peering;
use ringfort_testbed::{Family, Namespace, Tunnel, janitor, uapi};
use serde_json::Value;

use crate::harness::traffic::{OPENING, PATIENCE, exchange};
use crate::harness::{self, eventually, us};

/// A second address on the cable, from which nothing must come.
const SECOND: &str = "10.200.0.101/24";

/// What the sockets on this port are bound to, as `ss` prints it.
fn sockets(namespace: &Namespace, port: u16) -> Vec<String> {
    let text = namespace.run("ss --no-header --numeric --udp --listening").unwrap();
    let locals = text.lines().filter_map(|line| line.split_whitespace().nth(3).map(str::to_owned));
    let mut locals: Vec<String> = locals.filter(|local| local.ends_with(&format!(":{port}"))).collect();
    locals.sort();
    locals.dedup();
    locals
}

fn carries(bind: &str, outer: Family, expected: &[&str]) -> Tunnel {
    let bound = us().with_options(&format!("--workers 2 --bind {bind}"));
    let tunnel = Tunnel::connected([&bound, &us()], &Peering { outer, ..Peering::default() }).unwrap();
    tunnel.namespace(0).ip(&format!("address add {SECOND} dev {VETH}")).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    tunnel.wait_until_open(1, OPENING).unwrap();
    exchange(&tunnel, Family::V4, 1_000, 1 << 20);
    let port = tunnel.sides[0].endpoint(outer).port();
    assert_eq!(sockets(tunnel.namespace(0), port), expected);
    tunnel
}

#[test]
fn an_ipv4_address() {
    let address = outer_v4(0);
    let tunnel = carries(&address.to_string(), Family::V4, &[&format!("{address}:51820")]);
    elsewhere(&tunnel);
}

/// A peer at an address of the family that has no socket: what is sent to it is counted as its own, and `why` says so.
fn elsewhere(tunnel: &Tunnel) {
    let (interface, key) = (&tunnel.sides[0].interface, &tunnel.sides[1].keys.public);
    let lines =
        format!("public_key={}\nupdate_only=true\nendpoint={}\n", key.hex(), tunnel.sides[1].endpoint(Family::V6));
    uapi::set(interface, &lines).unwrap();
    let mut pinger = Pinger::new(tunnel.namespace(0), tunnel.sides[1].inner(Family::V4)).unwrap();
    let mut why = Value::Null;
    eventually(PATIENCE, "its packets are counted as dropped", || {
        pinger.send_only(56).unwrap();
        why = harness::why(interface, key);
        why["peer"]["drops"]["send_failed"].as_u64() > Some(0)
    });
    let found = why["findings"].as_array().unwrap().iter().find(|one| one["code"] == "send_refused");
    assert!(found.is_some_and(|one| one["what"].as_str().unwrap().contains("no socket")), "{why}");
}

#[test]
fn an_ipv6_address() {
    let address = outer_v6(0);
    carries(&address.to_string(), Family::V6, &[&format!("[{address}]:51820")]);
}

#[test]
fn a_device() {
    carries(VETH, Family::V6, &[&format!("0.0.0.0%{VETH}:51820"), &format!("[::]%{VETH}:51820")]);
}

#[test]
fn all_of_one_family() {
    carries("0.0.0.0", Family::V4, &["0.0.0.0:51820"]);
}

#[test]
fn what_is_not_there_is_refused() {
    for (bind, word) in [("192.0.2.77", "192.0.2.77"), ("nonexistent", "nonexistent"), ("fe80::1", "link-local")] {
        let namespace = Namespace::new().unwrap();
        let program = us().with_options(&format!("--bind {bind}"));
        let mut daemon = Daemon::spawn(&program, &namespace, &janitor::unique_name()).unwrap();
        let status = daemon.wait(PATIENCE).unwrap();
        assert_eq!(status.code(), Some(2), "{}", daemon.log());
        assert!(daemon.log().contains(word), "{}", daemon.log());
    }
}

#[test]
fn the_file_says_it_as_well() {
    let file = janitor::directory().join(format!("{}.conf", janitor::unique_name()));
    fs::write(&file, "[Interface]\nBind = 192.0.2.77\nSocketBuffer = 1M\n").unwrap();
    let namespace = Namespace::new().unwrap();
    let program = us().with_options(&format!("--config {}", file.display()));
    let mut daemon = Daemon::spawn(&program, &namespace, &janitor::unique_name()).unwrap();
    assert_eq!(daemon.wait(PATIENCE).unwrap().code(), Some(2));
    assert!(daemon.log().contains("cannot bind to 192.0.2.77"), "{}", daemon.log());
    let interface = janitor::unique_name();
    let program = program.with_options("--bind 127.0.0.1");
    let daemon = Daemon::start(&program, &namespace, &interface).unwrap();
    assert_eq!(uapi::stats(&interface).unwrap()["socket_buffer"], 1 << 20, "the file's; the option counts more");
    assert!(daemon.stop().unwrap().success());
    fs::remove_file(&file).unwrap();
}
