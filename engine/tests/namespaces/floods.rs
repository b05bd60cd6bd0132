//! Floods of handshake messages: an honest peer gets through, nobody is answered beyond the budget, and control hears
//! of nothing that the workers can refuse by themselves.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringfort_path::COOKIES_PER_SECOND;
use ringfort_path::budget::COOKIES;
use ringfort_testbed::daemon::Program;
use ringfort_testbed::payload::Dice;
use ringfort_testbed::ping::Pinger;
use ringfort_testbed::tunnel::Peering;
use ringfort_testbed::{Family, Tunnel, uapi};

use crate::harness::traffic::{INITIATION_LEN, OPENING, PATIENCE, with_mac1};
use crate::harness::{drops, eventually, us};
use crate::metrics::scrape;

const RESPONSE_LEN: usize = 92;
const COOKIE_REPLY_LEN: usize = 64;
/// Messages that are sent before the gateway has dealt with half of them: enough to make load. If it is slower than we
/// are, as without optimisation, it must not fall seconds behind: an honest message would wait as long in its socket.
const BATCH: u64 = 600;
/// How long to wait for that: its socket may have been full.
const BATCH_PATIENCE: Duration = Duration::from_millis(500);

fn open_tunnel(outer: Family) -> Tunnel {
    open_tunnel_to(&us(), outer)
}

fn open_tunnel_to(flooded: &Program, outer: Family) -> Tunnel {
    let tunnel = Tunnel::connected([flooded, &us()], &Peering { outer, ..Peering::default() }).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    tunnel
}

fn stat(tunnel: &Tunnel, name: &str) -> u64 {
    uapi::stats(&tunnel.sides[0].interface).unwrap()[name]
}

/// Messages of strangers that the gateway has seen the end of.
fn dealt_with(tunnel: &Tunnel) -> u64 {
    let stats = uapi::stats(&tunnel.sides[0].interface).unwrap();
    let reasons = ["bad_handshake", "cookie_required", "cookie_budget", "handshake_queue_full"];
    reasons.iter().map(|reason| stats[&format!("drop_{reason}")]).sum()
}

/// Sockets of side 1, each with a port of its own.
fn sockets(tunnel: &Tunnel, outer: Family, count: usize) -> Vec<UdpSocket> {
    let from = SocketAddr::new(tunnel.sides[1].outer(outer), 0);
    let bind = || {
        let socket = tunnel.namespace(1).enter(|| UdpSocket::bind(from)).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    };
    std::iter::repeat_with(bind).take(count).collect()
}

/// Forgets what both sides know of each other, and opens a session anew.
fn begin_again(tunnel: &Tunnel, outer: Family) -> ringfort_testbed::Result<()> {
    let peering = Peering { outer, ..Peering::default() };
    (0..2).try_for_each(|side| tunnel.configure(side, &peering))?;
    let begun = Instant::now();
    let mut pinger = Pinger::new(tunnel.namespace(1), tunnel.sides[0].inner(Family::V4))?;
    // A gateway that is slow has all of a batch before the answer.
    while let Err(error) = pinger.ping(56, Duration::from_secs(2)) {
        if begun.elapsed() > Duration::from_secs(90) {
            return Err(error);
        }
    }
    Ok(())
}

#[test]
fn an_honest_peer_gets_through_a_flood_and_cookies_stay_within_their_budget() {
    for outer in [Family::V4, Family::V6] {
        let mut tunnel = open_tunnel(outer);
        let memory_before = tunnel.sides[0].daemon().memory_kib().unwrap();
        let sockets = sockets(&tunnel, outer, 100);
        let (stop, mut dice) = (AtomicBool::new(false), Dice::new(1));
        let public = tunnel.sides[0].keys.public.0;
        let messages: Vec<_> = (0..500).map(|_| with_mac1(1, INITIATION_LEN, &public, &mut dice)).collect();
        let target = tunnel.sides[0].endpoint(outer);
        let begun = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut numbers = (0..sockets.len()).cycle().zip((0..messages.len()).cycle());
                // What is dropped in front of the sockets is dealt with at once, and the rest waits there.
                let mut sent = dealt_with(&tunnel);
                while !stop.load(Ordering::Relaxed) {
                    for (socket, message) in numbers.by_ref().take(BATCH as usize) {
                        let _ = sockets[socket].send_to(&messages[message], target);
                    }
                    sent += BATCH;
                    let begun = Instant::now();
                    while dealt_with(&tunnel) + BATCH / 2 < sent && begun.elapsed() < BATCH_PATIENCE {
                        thread::sleep(Duration::from_millis(1));
                    }
                    if begun.elapsed() >= BATCH_PATIENCE {
                        sent = dealt_with(&tunnel);
                    }
                }
            });
            eventually(PATIENCE, "there is load", || drops(&tunnel.sides[0].interface, "cookie_required") > 1_000);
            let opened = begin_again(&tunnel, outer);
            stop.store(true, Ordering::Relaxed);
            opened.unwrap();
        });
        // The rest of the flood is still on its way through the workers, whose counters are read one after the other.
        let mut stats = BTreeMap::new();
        eventually(PATIENCE, "who is asked for a cookie gets one", || {
            stats = uapi::stats(&tunnel.sides[0].interface).unwrap();
            stats["cookies_sent"] == stats["drop_cookie_required"]
        });
        let (sent, workers) = (stats["cookies_sent"], stats["workers"]);
        let seconds = begun.elapsed().as_secs() + 1;
        let most = workers * 2 * (seconds * COOKIES_PER_SECOND + 2 * u64::from(COOKIES));
        assert!(sent <= most, "{sent} in {seconds} s");
        let memory_after = tunnel.sides[0].daemon().memory_kib().unwrap();
        assert!(memory_after < memory_before + 4_096, "memory grew from {memory_before} to {memory_after} KiB");
        // Nobody is amplified, and nobody gets more than he sent.
        let answers = sockets.iter().map(|socket| {
            let mut buffer = [0; 2_048];
            std::iter::from_fn(|| socket.recv(&mut buffer).ok().map(|len| (buffer[0], len)))
                .inspect(|answer| assert_eq!(*answer, (3, COOKIE_REPLY_LEN)))
                .count()
        });
        assert!(answers.sum::<usize>() > 0);
    }
}

/// What the workers can tell to be worth nothing, they do not pass on: here nothing stands in front of them.
#[test]
fn what_is_worth_nothing_does_not_reach_control() {
    let tunnel = open_tunnel_to(&us().with_options("--filter off"), Family::V4);
    let attacker = &sockets(&tunnel, Family::V4, 1)[0];
    let (public, mut dice) = (tunnel.sides[0].keys.public.0, Dice::new(2));
    let before = stat(&tunnel, "handshakes");
    let mut flood = |reason, make: &mut dyn FnMut(&mut Dice) -> Vec<u8>| {
        let interface = &tunnel.sides[0].interface;
        let goal = drops(interface, reason) + 2_000;
        // A gateway that is not run drops some in its socket.
        eventually(PATIENCE, reason, || {
            (0..50).for_each(|_| _ = attacker.send_to(&make(&mut dice), tunnel.sides[0].endpoint(Family::V4)));
            drops(interface, reason) >= goal
        });
    };
    flood("bad_mac1", &mut |dice| with_mac1(1, INITIATION_LEN, &[9; 32], dice));
    flood("unknown_index", &mut |dice| with_mac1(2, RESPONSE_LEN, &[9; 32], dice));
    flood("unknown_index", &mut |dice| with_mac1(2, RESPONSE_LEN, &public, dice));
    flood("unknown_index", &mut |dice| with_mac1(3, COOKIE_REPLY_LEN, &public, dice));
    let passed = stat(&tunnel, "handshakes") - before;
    assert!(passed < 40, "{passed} of more than 8,000 messages that are worth nothing");
}

/// More than may pass of its kind: the rest is dropped in front of the sockets.
#[test]
fn a_flood_is_counted_by_name_although_no_worker_sees_it_and_peers_notice_nothing() {
    const BURST: u64 = 1_000;
    let mut tunnel = open_tunnel(Family::V6);
    // On both ports: what a new socket has.
    for port in [ringfort_testbed::tunnel::PORT, 41_999] {
        let (interface, public) = (tunnel.sides[0].interface.clone(), tunnel.sides[0].keys.public.0);
        if port != ringfort_testbed::tunnel::PORT {
            uapi::set(&interface, &format!("listen_port={port}\n")).unwrap();
        }
        let (attackers, mut dice) = (sockets(&tunnel, Family::V6, 1), Dice::new(u64::from(port)));
        let target = SocketAddr::new(tunnel.sides[0].outer(Family::V6), port);
        let mut flood = |reason: &str, make: &mut dyn FnMut(&mut Dice) -> Vec<u8>| {
            let junk: Vec<_> = (0..100).map(|_| make(&mut dice)).collect();
            let seen = |tunnel| (stat(tunnel, "udp_receive_datagrams"), stat(tunnel, &format!("drop_{reason}")));
            let (before, mut sent) = (seen(&tunnel), 0);
            // Until two bursts more were counted than the workers have seen. A machine that is slow sees more of them.
            eventually(PATIENCE, reason, || {
                for bytes in junk.iter().cycle().take(BURST as usize) {
                    attackers[0].send_to(bytes, target).unwrap();
                }
                sent += BURST;
                eventually(PATIENCE, "each has its name", || seen(&tunnel).1 - before.1 == sent);
                sent - (seen(&tunnel).0 - before.0) >= 2 * BURST
            });
        };
        flood("unknown_type", &mut |dice| [&[9; 4], &dice.bytes(100)[..]].concat());
        flood("bad_length", &mut |dice| with_mac1(1, INITIATION_LEN + 1, &public, dice));
        flood("unknown_index", &mut |dice| with_mac1(2, RESPONSE_LEN, &public, dice));
        flood("unknown_index", &mut |dice| [&[4, 0, 0, 0], &dice.bytes(100)[..]].concat());
        flood("bad_mac1", &mut |dice| with_mac1(1, INITIATION_LEN, &[9; 32], dice));
    }
    // A gateway without its session is asked for another one, in the middle of a flood of data for nobody.
    tunnel.sides[0].daemon.take().unwrap().kill().unwrap();
    tunnel.start(0).unwrap();
    let peering = Peering { outer: Family::V6, ..Peering::default() };
    tunnel.configure(0, &peering).unwrap();
    let (stop, attacker) = (AtomicBool::new(false), &sockets(&tunnel, Family::V6, 1)[0]);
    let target = tunnel.sides[0].endpoint(Family::V6);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                (0..100).for_each(|_| _ = attacker.send_to(&[&[4, 0, 0, 0], &[7; 96][..]].concat(), target));
                thread::sleep(Duration::from_millis(1));
            }
        });
        let found = drops(&tunnel.sides[0].interface, "unknown_index");
        eventually(PATIENCE, "the flood arrives", || {
            drops(&tunnel.sides[0].interface, "unknown_index") > found + 5_000
        });
        let mut pinger = Pinger::new(tunnel.namespace(1), tunnel.sides[0].inner(Family::V4)).unwrap();
        eventually(PATIENCE, "there is a session", || pinger.ping(56, Duration::from_millis(200)).is_ok());
        stop.store(true, Ordering::Relaxed);
    });
    // Later the peer would have noticed by itself.
    let asked = r#"role="initiator",outcome="completed"} 1"#;
    let metrics = scrape(&tunnel.sides[0].interface, "");
    assert!(metrics.contains(asked), "the peer's data tells that its session was lost: {metrics}");
}
