//! A gateway is killed, and comes back. It knows where its peers were, and they are with it again at once.
//!
//! Without that, a peer that sends notices after 15 s, one that sends only keepalives after two minutes, and one that
//! only receives when it next asks for a session. So a bound of a few seconds tells the ways apart, also on a machine
//! with other things to do. What it took is printed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ringfort_testbed::tunnel::Peering;
use ringfort_testbed::{Family, Implementation, Tunnel, janitor};

use crate::harness::flow::{Arrivals, Flow};
use crate::harness::traffic::{OPENING, PATIENCE};
use crate::harness::{drops, eventually, peer, us, wg};

/// Long before anybody notices by himself.
const SOON: Duration = Duration::from_secs(5);
const PORT: u16 = 4_444;

/// The client knows where the gateway is. The gateway learns where the client is.
const PEERING: Peering = Peering { outer: Family::V4, preshared: false, knows_endpoint: [false, true], keepalive_s: 0 };

fn state_file(interface: &str) -> PathBuf {
    janitor::directory().join(format!("{interface}.endpoints"))
}

/// Kills the gateway as soon as it has written where its peer is, and starts it anew. Returns when it is configured.
fn crash(tunnel: &mut Tunnel) -> Instant {
    let (file, key) = (state_file(&tunnel.sides[0].interface), tunnel.sides[1].keys.public.base64());
    eventually(PATIENCE, "it is written where the peer is", || {
        std::fs::read_to_string(&file).is_ok_and(|text| text.contains(&key))
    });
    tunnel.sides[0].daemon.take().unwrap().kill().unwrap();
    tunnel.start(0).unwrap();
    tunnel.configure(0, &PEERING).unwrap();
    Instant::now()
}

fn check(what: &str, client: Implementation, took: Duration) {
    eprintln!("{client:?}, {what}: {took:?} after the gateway is back");
    assert!(took < SOON, "{client:?}, {what}: {took:?}");
}

fn opened(client: Implementation, peering: &Peering) -> Tunnel {
    let tunnel = Tunnel::connected([&us(), &peer(client)], peering).unwrap();
    tunnel.wait_until_open(1, OPENING).unwrap();
    tunnel
}

fn who_sends_is_heard(client: Implementation) {
    let mut tunnel = opened(client, &PEERING);
    let arrivals = Arrivals::at(tunnel.namespace(0), PORT);
    let _flow = Flow::start(tunnel.namespace(1), SocketAddr::new(tunnel.sides[0].inner(Family::V4), PORT));
    arrivals.next();
    for _ in 0..2 {
        let back = crash(&mut tunnel);
        check("which sends", client, arrivals.next().saturating_duration_since(back));
    }
}

fn who_receives_is_found(client: Implementation) {
    let mut tunnel = opened(client, &PEERING);
    let arrivals = Arrivals::at(tunnel.namespace(1), PORT);
    let _flow = Flow::start(tunnel.namespace(0), SocketAddr::new(tunnel.sides[1].inner(Family::V4), PORT));
    arrivals.next();
    for _ in 0..2 {
        let back = crash(&mut tunnel);
        check("which only receives", client, arrivals.next().saturating_duration_since(back));
    }
}

/// Nobody has anything to say but keepalives.
fn who_keeps_a_path_open_is_asked(client: Implementation) {
    let mut tunnel = Tunnel::new([&us(), &peer(client)]).unwrap();
    tunnel.configure(0, &PEERING).unwrap();
    tunnel.configure(1, &Peering { keepalive_s: 1, ..PEERING }).unwrap();
    tunnel.wait_until_open(1, OPENING).unwrap();
    let back = crash(&mut tunnel);
    let has_session = || wg::only_peer(&tunnel.sides[0].interface).is_ok_and(|peer| peer.latest_handshake > 0);
    eventually(PATIENCE, "there is a session", has_session);
    check("with a keepalive each second", client, back.elapsed());
}

macro_rules! for_each_client {
    ($($test:ident: $scenario:ident($client:ident);)*) => {
        $(
            #[test]
            fn $test() {
                $scenario(Implementation::$client);
            }
        )*
    };
}

for_each_client! {
    a_peer_of_ours_that_sends: who_sends_is_heard(Ringfort);
    wireguard_go_that_sends: who_sends_is_heard(WireguardGo);
    boringtun_that_sends: who_sends_is_heard(Boringtun);
    gotatun_that_sends: who_sends_is_heard(Gotatun);
    a_peer_of_ours_that_receives: who_receives_is_found(Ringfort);
    wireguard_go_that_receives: who_receives_is_found(WireguardGo);
    boringtun_that_receives: who_receives_is_found(Boringtun);
    gotatun_that_receives: who_receives_is_found(Gotatun);
    a_peer_of_ours_that_keeps_a_path_open: who_keeps_a_path_open_is_asked(Ringfort);
    wireguard_go_that_keeps_a_path_open: who_keeps_a_path_open_is_asked(WireguardGo);
    boringtun_that_keeps_a_path_open: who_keeps_a_path_open_is_asked(Boringtun);
    gotatun_that_keeps_a_path_open: who_keeps_a_path_open_is_asked(Gotatun);
}

/// SIGTERM writes what has changed within the last second, so nobody has to wait for it.
#[test]
fn an_orderly_end_leaves_where_peers_are() {
    let mut tunnel = opened(Implementation::Ringfort, &PEERING);
    for port in [52_001, 52_002, 52_003] {
        wg::wg(&format!("set {} listen-port {port}", tunnel.sides[1].interface)).unwrap();
        let gateway = tunnel.sides[0].inner(Family::V4);
        ringfort_testbed::ping::until_answered(tunnel.namespace(1), gateway, OPENING).unwrap();
    }
    tunnel.sides[0].daemon.take().unwrap().stop().unwrap();
    let text = std::fs::read_to_string(state_file(&tunnel.sides[0].interface)).unwrap();
    assert!(text.contains(" 10.200.0.2:52003 10.200.0.1%"), "{text}");
    for secret in [&tunnel.sides[0].keys.private, &tunnel.sides[1].keys.private] {
        assert!(!text.contains(&secret.base64()) && !text.contains(&secret.hex()));
    }
}

/// What a file says that nobody has written so is not believed, and is said once; then it is replaced.
#[test]
fn a_damaged_file_is_ignored() {
    let mut tunnel = opened(Implementation::Ringfort, &PEERING);
    let file = state_file(&tunnel.sides[0].interface);
    tunnel.sides[0].daemon.take().unwrap().stop().unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("10.200.0.2", "10.200.0.3")).unwrap();
    tunnel.start(0).unwrap();
    tunnel.configure(0, &PEERING).unwrap();
    assert_eq!(wg::only_peer(&tunnel.sides[0].interface).unwrap().endpoint, "(none)");
    let is_ignored = |line: &&str| line.contains(&file.display().to_string()) && line.contains("is ignored");
    let log = tunnel.sides[0].daemon().log();
    assert_eq!(log.lines().filter(is_ignored).count(), 1, "{log}");
    // The peer asks for a session anew, and all is well.
    tunnel.sides[1].daemon.take().unwrap().stop().unwrap();
    tunnel.start(1).unwrap();
    tunnel.configure(1, &PEERING).unwrap();
    tunnel.wait_until_open(1, OPENING).unwrap();
    // It says when it was written, and has a checksum of that.
    let is_timeless = |line: &&str| !line.starts_with("written ") && !line.starts_with("end ");
    let peers = |text: &str| text.lines().filter(is_timeless).map(str::to_owned).collect::<Vec<_>>();
    let is_whole =
        |now: String| now.lines().last().is_some_and(|line| line.starts_with("end ")) && peers(&now) == peers(&text);
    eventually(PATIENCE, "the file is whole", || std::fs::read_to_string(&file).is_ok_and(is_whole));
}

#[test]
fn nothing_is_kept_if_that_is_not_wanted() {
    let ours = us().with_options("--endpoints off");
    let mut tunnel = Tunnel::connected([&ours, &us()], &PEERING).unwrap();
    tunnel.wait_until_open(1, OPENING).unwrap();
    tunnel.sides[0].daemon.take().unwrap().stop().unwrap();
    assert!(!state_file(&tunnel.sides[0].interface).exists());
    tunnel.start(0).unwrap();
    tunnel.configure(0, &PEERING).unwrap();
    assert_eq!(wg::only_peer(&tunnel.sides[0].interface).unwrap().endpoint, "(none)");
}

/// The operator's new word counts, and his old one does not.
#[test]
fn an_edited_endpoint_counts_more_than_what_was_seen() {
    let mut tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    wg::wg(&format!("set {} listen-port 52001", tunnel.sides[1].interface)).unwrap();
    tunnel.wait_until_open(1, OPENING).unwrap();
    let endpoint = |tunnel: &Tunnel| wg::only_peer(&tunnel.sides[0].interface).unwrap().endpoint;
    eventually(PATIENCE, "it is seen", || endpoint(&tunnel) == "10.200.0.2:52001");
    tunnel.sides[0].daemon.take().unwrap().stop().unwrap();
    tunnel.start(0).unwrap();
    tunnel.configure(0, &Peering::default()).unwrap();
    assert_eq!(endpoint(&tunnel), "10.200.0.2:52001", "the file says what it said before");
    let before = SocketAddr::new(tunnel.sides[1].outer(Family::V6), 51_820);
    tunnel.configure(0, &Peering { outer: Family::V6, ..Peering::default() }).unwrap();
    assert_eq!(endpoint(&tunnel), before.to_string());
    assert_eq!(drops(&tunnel.sides[0].interface, "bad_handshake"), 0);
}
