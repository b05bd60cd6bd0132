//! New keys under traffic: nothing is lost when a session replaces another.

use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;

use ringfort_testbed::tunnel::Peering;
use ringfort_testbed::udp::{Stream, StreamReport};
use ringfort_testbed::{Family, Implementation, Tunnel, uapi, udp};

use crate::harness::traffic::{AT_ONCE, OPENING};
use crate::harness::{all_drops, peer, us, wg};

/// REKEY_AFTER_TIME is 120 s; the peer may be the one that keeps the time.
const LONGER_THAN_A_SESSION: Duration = Duration::from_secs(132);

const PARTNERS: [Implementation; 4] =
    [Implementation::Ringfort, Implementation::WireguardGo, Implementation::Boringtun, Implementation::Gotatun];

/// One test for all pairs at once, so the two minutes are waited for only once.
#[test]
fn sessions_are_replaced_after_120_s_without_loss() {
    let tunnels = PARTNERS.map(|partner| Tunnel::new([&us(), &peer(partner)]).unwrap());
    for tunnel in &tunnels {
        wg::connect(tunnel, &Peering::default()).unwrap();
        tunnel.wait_until_open(0, OPENING).unwrap();
    }
    let first: Vec<u64> = tunnels.iter().map(latest_handshake).collect();
    let plan = Stream { size: 700, rate: 100, duration: LONGER_THAN_A_SESSION };
    let reports: Vec<StreamReport> = thread::scope(|scope| {
        let running: Vec<_> = tunnels.iter().map(|tunnel| scope.spawn(|| stream(tunnel, plan))).collect();
        running.into_iter().map(|stream| stream.join().unwrap()).collect()
    });
    for (((partner, tunnel), first), report) in PARTNERS.iter().zip(&tunnels).zip(first).zip(reports) {
        let returned = report.round_trips.len() as u64;
        assert!(report.sent > 12_000, "{partner:?}: only {} datagrams were sent", report.sent);
        assert_eq!((report.arrived, returned), (report.sent, report.sent), "{partner:?}: sent, arrived and came back");
        let last = latest_handshake(tunnel);
        assert!((first + 100..first + 132).contains(&last), "{partner:?}: handshakes at {first} and {last}");
    }
}

/// Both sides initiate at the same moment, again and again: one usable session comes of it each time.
#[test]
fn simultaneous_initiations_make_one_session() {
    for _ in 0..5 {
        let tunnel = Tunnel::new([&us(), &us()]).unwrap();
        wg::connect(&tunnel, &Peering::default()).unwrap();
        thread::scope(|scope| {
            for from in [0, 1] {
                let tunnel = &tunnel;
                scope.spawn(move || tunnel.wait_until_open(from, OPENING).unwrap());
            }
        });
        let report = stream(&tunnel, Stream { size: 100, rate: 500, duration: Duration::from_millis(500) });
        let drops = [0, 1].map(|side| all_drops(&tunnel.sides[side].interface));
        assert_eq!(report.arrived, report.sent, "{drops:?}");
    }
}

/// A peer that is taken away and configured again has no session; ours is replaced although it is young.
#[test]
fn a_new_handshake_replaces_a_young_session() {
    for partner in [Implementation::Ringfort, Implementation::WireguardGo] {
        let tunnel = Tunnel::connected([&us(), &peer(partner)], &Peering::default()).unwrap();
        for _ in 0..3 {
            tunnel.wait_until_open(0, OPENING).unwrap();
            let key = tunnel.sides[0].keys.public.hex();
            uapi::set(&tunnel.sides[1].interface, &format!("public_key={key}\nremove=true\n")).unwrap();
            tunnel.configure(1, &Peering::default()).unwrap();
            // The one without a session initiates, so nobody has to wait for a timer.
            tunnel.wait_until_open(1, AT_ONCE).unwrap_or_else(|error| panic!("{partner:?}: {error}"));
        }
    }
}

fn latest_handshake(tunnel: &Tunnel) -> u64 {
    wg::only_peer(&tunnel.sides[0].interface).unwrap().latest_handshake
}

fn stream(tunnel: &Tunnel, plan: Stream) -> StreamReport {
    let [client, server] = [0, 1].map(|side| (tunnel.namespace(side), tunnel.sides[side].inner(Family::V4)));
    udp::stream(client, server, plan, &AtomicU64::new(0)).unwrap()
}
