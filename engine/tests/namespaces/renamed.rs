//! An interface that is renamed while it is served.

use std::path::PathBuf;

use ringfort_testbed::tunnel::Peering;
use ringfort_testbed::{Family, Tunnel, janitor, ping, uapi};

use crate::harness::traffic::{OPENING, PATIENCE};
use crate::harness::{eventually, us, wg};
use crate::metrics;

#[test]
fn wg_finds_it_by_its_new_name() {
    let mut tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let (before, after) = (tunnel.sides[0].interface.clone(), janitor::unique_name());
    let (sent, _) = uapi::transfer(&uapi::get(&before).unwrap());
    tunnel.namespace(0).ip(&format!("link set {before} name {after}")).unwrap();
    eventually(PATIENCE, "it answers by its new name", || uapi::get(&after).is_ok());
    assert!(!uapi::socket_path(&before).exists(), "and not by the old one");
    assert!(wg::wg(&format!("show {after}")).unwrap().contains(&after));
    // So do metrics, in their labels and by the place of their socket; and the file of endpoints.
    let socket = |name: &str| PathBuf::from(format!("/run/ringfort/{name}.metrics.sock"));
    eventually(PATIENCE, "metrics have its new name", || socket(&after).exists() && !socket(&before).exists());
    let scraped = metrics::scrape(&after, "*/*");
    assert!(scraped.contains(&format!("interface=\"{after}\"")) && !scraped.contains(&before), "{scraped}");
    let endpoints = |name: &str| janitor::directory().join(format!("{name}.endpoints"));
    eventually(PATIENCE, "so has the file of endpoints", || endpoints(&after).exists() && !endpoints(&before).exists());
    // Sessions and counters are the same, and nobody was disturbed.
    assert!(uapi::transfer(&uapi::get(&after).unwrap()).0 >= sent);
    ping::until_answered(tunnel.namespace(0), tunnel.sides[1].inner(Family::V4), OPENING).unwrap();
    eventually(PATIENCE, "its lines have the new name", || {
        uapi::set(&after, "nonsense=1\n").unwrap_err();
        tunnel.sides[0].daemon().log().contains(&format!("{after}: a request on the control socket is refused"))
    });
    // The socket's removal still ends it, and leaves nothing behind.
    std::fs::remove_file(uapi::socket_path(&after)).unwrap();
    let status = tunnel.sides[0].daemon().wait(PATIENCE).unwrap();
    assert!(status.success(), "{status}");
    assert!(!tunnel.namespace(0).has_interface(&after), "an interface was left behind");
}

#[test]
fn a_name_that_another_daemon_serves_is_not_taken() {
    let mut tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    let (before, taken) = (tunnel.sides[0].interface.clone(), tunnel.sides[1].interface.clone());
    tunnel.namespace(0).ip(&format!("link set {before} down")).unwrap();
    tunnel.namespace(0).ip(&format!("link set {before} name {taken} up")).unwrap();
    eventually(PATIENCE, "it is said", || tunnel.sides[0].daemon().log().contains("the control socket keeps its name"));
    assert!(uapi::get(&before).is_ok() && uapi::get(&taken).is_ok(), "both answer");
}
