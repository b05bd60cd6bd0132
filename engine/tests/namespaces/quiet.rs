//! Exact counters, nothing lost at the beginning, and silence: a tunnel does nothing that nobody asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, UdpSocket};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ringfort_testbed::capture::{Capture, Datagram};
use ringfort_testbed::ping::Pinger;
use ringfort_testbed::tunnel::{PORT, Peering};
use ringfort_testbed::{Family, Tunnel};

use crate::harness::traffic::OPENING;
use crate::harness::{all_drops, eventually, us, wg};

/// Data header, padding to 16, tag.
fn wire_len(inner: usize) -> u64 {
    (16 + inner.next_multiple_of(16) + 16) as u64
}

#[test]
fn every_byte_on_the_wire_is_counted_once() {
    let tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    // The interfaces' own chatter (router solicitations) has no peer and does not count.
    let mut pinger = Pinger::new(tunnel.namespace(0), tunnel.sides[1].inner(Family::V4)).unwrap();
    pinger.ping(0, OPENING).unwrap();
    let counters = || [0, 1].map(|side| wg::only_peer(&tunnel.sides[side].interface).unwrap());
    let before = counters();
    let mut expected = 0;
    for size in 0..200 {
        pinger.ping(size * 6, OPENING).unwrap();
        expected += wire_len(20 + 8 + size * 6);
    }
    let after = counters();
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(after.sent_bytes - before.sent_bytes, expected);
        assert_eq!(after.received_bytes - before.received_bytes, expected);
    }
}

/// Two idle peers: after the answer to the last packet there is at most one keepalive, and then nothing.
#[test]
fn idle_peers_fall_silent() {
    let tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let sender = tunnel.namespace(0).enter(|| UdpSocket::bind("10.77.0.1:0")).unwrap();
    let capture = Capture::start(tunnel.namespace(1)).unwrap();
    // One way only, so the receiver owes a keepalive after 10 s, which is not to be answered.
    sender.send_to(b"one packet", "10.77.0.2:9").unwrap();
    let is_keepalive = |datagram: &Datagram| datagram.payload.len() == 32;
    let seen = capture.datagrams_until(PORT, Duration::from_secs(30), |seen| seen.last().is_some_and(is_keepalive));
    let later = capture.datagrams(PORT, Duration::from_secs(12));
    let lengths: Vec<usize> = seen.iter().map(|datagram| datagram.payload.len()).collect();
    // The port is closed: the ICMP error is the answer, and it is answered by a keepalive after 10 s of silence.
    assert!((2..=3).contains(&lengths.len()), "seen: {lengths:?}");
    assert_eq!(lengths.last(), Some(&32), "the last is a keepalive: {lengths:?}");
    assert!(later.is_empty(), "seen afterwards: {later:?}");
}

/// With a persistent keepalive the tunnel opens by itself, and stays open.
#[test]
fn persistent_keepalives_open_the_tunnel() {
    let tunnel = Tunnel::new([&us(), &us()]).unwrap();
    let peering = Peering { keepalive_s: 1, knows_endpoint: [true, false], ..Peering::default() };
    tunnel.configure(1, &Peering { knows_endpoint: [true, false], ..Peering::default() }).unwrap();
    tunnel.configure(0, &peering).unwrap();
    let ours = || wg::only_peer(&tunnel.sides[0].interface).unwrap();
    eventually(OPENING, "a handshake without traffic", || ours().latest_handshake > 0);
    let (start, before) = (Instant::now(), ours().sent_bytes);
    let keepalives = || (ours().sent_bytes - before) / 32;
    eventually(OPENING, "one keepalive after the other", || keepalives() >= 4);
    let (keepalives, elapsed) = (keepalives(), start.elapsed());
    assert!(keepalives <= elapsed.as_secs() + 1, "{keepalives} keepalives in {elapsed:?}");
    assert_eq!(ours().keepalive, "1");
}

/// A peer that nobody can reach costs one handshake message every five seconds, whatever is offered.
#[test]
fn an_unreachable_peer_is_not_flooded() {
    let tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    let silent = tunnel.sides[1].endpoint(Family::V4);
    let mut tunnel = tunnel;
    drop(tunnel.sides[1].daemon.take());
    let capture = Capture::start(tunnel.namespace(1)).unwrap();
    let sender = tunnel.namespace(0).enter(|| UdpSocket::bind("10.77.0.1:0")).unwrap();
    let (start, mut initiations) = (Instant::now(), Vec::new());
    while initiations.len() < 2 || start.elapsed() < Duration::from_secs(11) {
        assert!(start.elapsed() < Duration::from_secs(40), "{} initiations in 40 s", initiations.len());
        let _ = sender.send_to(&[0; 500], "10.77.0.2:9");
        let seen = capture.datagrams(PORT, Duration::from_millis(50));
        initiations.extend(seen.into_iter().filter(|datagram| datagram.destination == silent));
    }
    let (count, elapsed) = (initiations.len() as u64, start.elapsed());
    assert!(initiations.iter().all(|datagram| datagram.payload.len() == 148 && datagram.payload[0] == 1));
    assert!(count <= elapsed.as_secs() / 5 + 1, "{count} initiations in {elapsed:?}");
}

/// What is sent before there is a session waits for it.
#[test]
fn the_first_packets_wait_for_the_handshake() {
    for inner in [Family::V4, Family::V6] {
        let tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
        let [ours, theirs] = [0, 1].map(|side| SocketAddr::new(tunnel.sides[side].inner(inner), 4_444));
        let sender = tunnel.namespace(0).enter(|| UdpSocket::bind(ours)).unwrap();
        let receiver = tunnel.namespace(1).enter(|| UdpSocket::bind(theirs)).unwrap();
        receiver.set_read_timeout(Some(OPENING)).unwrap();
        // Workers take new routes with their next turn, which may come a moment after the answer to `set`.
        sleep(Duration::from_millis(50));
        for number in 0..100_u8 {
            sender.send_to(&[number; 900], theirs).unwrap();
        }
        let mut missing: BTreeSet<u8> = (0..100).collect();
        while !missing.is_empty() {
            let mut buffer = [0; 2_000];
            let len = receiver.recv(&mut buffer).unwrap_or_else(|error| {
                let drops = [0, 1].map(|side| all_drops(&tunnel.sides[side].interface));
                panic!("{} packets did not arrive: {error}; dropped were {drops:?}", missing.len())
            });
            assert_eq!(len, 900);
            assert!(missing.remove(&buffer[0]), "{} came twice", buffer[0]);
        }
    }
}

/// How often each thread of a process has gone to sleep, by its name. Preemptions are the machine's, and do not count.
fn sleeps(pid: i32) -> BTreeMap<String, u64> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let count = |task: std::fs::DirEntry| {
        let status = std::fs::read_to_string(task.path().join("status")).unwrap();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        let name = format!("{} {}", field("Name:"), task.file_name().display());
        (name, field("voluntary_ctxt_switches:").parse().unwrap())
    };
    tasks.map(|task| count(task.unwrap())).collect()
}

/// No tick anywhere: with nothing to do, no thread of it runs at all.
#[test]
fn an_idle_gateway_sleeps() {
    let mut tunnel = Tunnel::new([&us(), &us()]).unwrap();
    for index in [0, 1] {
        tunnel.configure(index, &Peering::default()).unwrap();
    }
    tunnel.wait_until_open(0, OPENING).unwrap();
    // The last keepalive falls due after 10 s, a handshake that nobody needs after 15 s.
    sleep(Duration::from_secs(17));
    let pid = tunnel.sides[0].daemon().pid();
    let woken = || {
        let before = sleeps(pid);
        sleep(Duration::from_secs(5));
        sleeps(pid).into_iter().map(|(name, count)| (name.clone(), count - before[&name])).collect::<Vec<_>>()
    };
    let mut first = woken();
    let workers: Vec<_> = first.iter().filter(|(name, _)| name.starts_with("ringfort-w")).collect();
    assert!(!workers.is_empty() && workers.iter().all(|(_, count)| *count == 0), "workers woke up in 5 s: {first:?}");
    // Other tests' wg(8) knocks at every control socket that it finds, ours too, but not all the time, as a tick would.
    for _ in 0..6 {
        if first.iter().all(|(_, count)| *count == 0) {
            return;
        }
        first = woken();
    }
    panic!("control woke up in each of 5 s: {first:?}");
}
