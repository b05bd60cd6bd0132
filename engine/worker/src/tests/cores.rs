//! Several workers with one peer: each seals, each may receive, and nobody waits for another.

use std::collections::{HashMap, HashSet};

use super::*;

/// Bytes of an inner IPv4 header and an inner UDP header.
const INNER_HEADERS: usize = 28;
/// Datagrams of each flow.
const PER_FLOW: u32 = 400;
const FLOWS: u16 = 24;

/// The flow (its source port) and the sequence number of an inner datagram of [`send_flows`].
fn flow_and_number(packet: &[u8]) -> (u16, u32) {
    let port = u16::from_be_bytes(packet[20..22].try_into().unwrap());
    let number = u32::from_be_bytes(packet[INNER_HEADERS..INNER_HEADERS + 4].try_into().unwrap());
    (port, number)
}

/// Sends numbered datagrams of many flows and of several sizes into the tunnel, from a thread of its own.
fn send_flows(flows: u16) -> JoinHandle<()> {
    // A thread starts in the network namespace of the one that starts it.
    std::thread::spawn(move || {
        let sockets: Vec<_> = (0..flows).map(|_| UdpSocket::bind("10.9.0.1:0").unwrap()).collect();
        for number in 0..PER_FLOW {
            for socket in &sockets {
                let mut datagram = vec![0; 4 + (number as usize * 37) % 300];
                datagram[..4].copy_from_slice(&number.to_be_bytes());
                socket.send_to(&datagram, "10.9.0.2:9").unwrap();
            }
            // The test opens each datagram with the slowest provider.
            std::thread::sleep(Duration::from_micros(300));
        }
    })
}

/// One key, many workers: no counter is used twice, and the packets of a flow leave in the order in which they came.
fn counters_are_used_once_and_flows_keep_their_order(workers: usize) {
    in_namespace(move || {
        let f = Fixture::new(workers);
        // What the worker or the test is slow to read waits, and is not dropped by the kernel.
        ip("link set rf0 txqueuelen 20000");
        nix::sys::socket::setsockopt(&f.outer, nix::sys::socket::sockopt::RcvBufForce, &(64 << 20)).unwrap();
        f.install_send(0, false);
        let sender = send_flows(FLOWS);
        let (mut counters, mut next) = (HashSet::new(), HashMap::new());
        for _ in 0..u32::from(FLOWS) * PER_FLOW {
            let (counter, packet) = f.receive();
            assert!(counters.insert(counter), "counter {counter} was used twice");
            let (flow, number) = flow_and_number(&packet);
            let expected: &mut u32 = next.entry(flow).or_default();
            assert_eq!(number, *expected, "flow {flow} is out of order");
            *expected += 1;
        }
        sender.join().unwrap();
        assert_eq!(next.len(), usize::from(FLOWS));
        assert_eq!(counters.iter().max(), Some(&(counters.len() as u64 - 1)), "counters are dense");
        let at_work = f.stats.iter().filter(|stats| stats.udp_send_datagrams.get() > 0).count();
        // Where a flow goes is the kernel's hash; that 24 of them all take one queue of four does not happen.
        assert!(at_work > workers / 2, "{at_work} of {workers} workers sealed for one peer");
        f.finish();
    });
}

#[test]
fn one_worker_uses_each_counter_once_and_keeps_the_order() {
    counters_are_used_once_and_flows_keep_their_order(1);
}

#[test]
fn two_workers_use_each_counter_once_and_keep_the_order() {
    counters_are_used_once_and_flows_keep_their_order(2);
}

#[test]
fn four_workers_use_each_counter_once_and_keep_the_order() {
    counters_are_used_once_and_flows_keep_their_order(4);
}

/// Trains of one session that come in, some of them to the worker that does not own it: the application sees them in
/// order, each once.
#[test]
fn what_one_session_receives_stays_in_order_on_its_worker() {
    in_namespace(|| {
        let mut f = Fixture::new(4);
        nix::sys::socket::setsockopt(&f.inner, nix::sys::socket::sockopt::RcvBufForce, &(16 << 20)).unwrap();
        f.install_receive(6, true);
        let mut buffer = [0; 2000];
        for round in 0..60u32 {
            let mut train = Vec::new();
            for n in 0..10 {
                let payload = [&(round * 10 + n).to_be_bytes()[..], &[0; 300]].concat();
                train.extend(f.seal(6, &with_checksum(inner_packet([10, 9, 0, 2], &payload))));
            }
            let stride = (train.len() / 10) as i32;
            nix::sys::socket::setsockopt(&f.outer, nix::sys::socket::sockopt::UdpGsoSegment, &stride).unwrap();
            f.send_raw(&train);
        }
        for expected in 0..600u32 {
            let len = f.receive_inner(&mut buffer);
            assert_eq!((len, &buffer[..4]), (304, &expected.to_be_bytes()[..]));
        }
        assert_eq!(f.stats[2].tun_write_packets.get(), 600, "the owner of index 6 among 4 writes them all");
        f.finish();
    });
}

/// Workers without traffic are not woken by the traffic of others.
#[test]
fn workers_with_nothing_to_do_sleep() {
    in_namespace(|| {
        let mut f = Fixture::new(4);
        f.install_receive(1, true);
        let mut buffer = [0; 99];
        f.send_sealed(1, &inner_packet([10, 9, 0, 2], b"the first"));
        f.receive_inner(&mut buffer);
        // They may not be done with their configuration, however long ago they were told.
        f.until_asleep();
        let turns = |f: &Fixture| f.stats.iter().map(|stats| stats.turns.get()).collect::<Vec<_>>();
        let before = turns(&f);
        for _ in 0..200 {
            f.send_sealed(1, &inner_packet([10, 9, 0, 2], b"one more"));
            f.receive_inner(&mut buffer);
        }
        f.until_asleep();
        let after = turns(&f);
        assert!(after[1] >= before[1] + 200, "the owner works");
        for idle in [0, 2, 3] {
            assert_eq!(after[idle], before[idle], "worker {idle} had nothing to do");
        }
        f.finish();
    });
}

/// A burst that is there when a worker wakes costs it one turn, not one for each packet.
#[test]
fn a_burst_is_one_turn() {
    in_namespace(|| {
        let f = Fixture::new(1);
        f.install_send(0, false);
        f.until_asleep();
        let before = f.stats[0].turns.get();
        nix::sys::socket::setsockopt(&f.inner, nix::sys::socket::sockopt::UdpGsoSegment, &200).unwrap();
        f.inner.send_to(&[3; 200 * 40], "10.9.0.2:9").unwrap();
        for _ in 0..40 {
            f.receive();
        }
        f.until_asleep();
        assert_eq!(f.stats[0].udp_send_datagrams.get(), 40);
        // One that reads and sends, one that sees the send completed; what else woke it is the kernel's.
        let turns = f.stats[0].turns.get() - before;
        assert!(turns <= 4, "{turns} turns for one super-packet");
        f.finish();
    });
}

/// With busy polling a worker turns without end for as long as it was told to, and then sleeps.
#[test]
fn a_worker_polls_as_long_as_it_is_told_to() {
    in_namespace(|| {
        let busy_poll = Duration::from_millis(300);
        let mut f = Fixture::with(1, Offloads::ALL, busy_poll);
        f.install_receive(0, true);
        let mut buffer = [0; 99];
        let turns = |f: &Fixture| f.stats[0].turns.get();
        let deadline = Instant::now() + WAIT;
        loop {
            f.send_sealed(0, &inner_packet([10, 9, 0, 2], b"wake up"));
            f.receive_inner(&mut buffer);
            let (before, told) = (turns(&f), Instant::now() + busy_poll);
            while turns(&f) <= before + 1_000 && Instant::now() < told {
                std::thread::sleep(Duration::from_millis(1));
            }
            if turns(&f) > before + 1_000 {
                break;
            }
            // If the machine does not run it for all of that time, it has to be woken again.
            assert!(Instant::now() < deadline, "it does not poll");
        }
        f.until_asleep();
        let asleep = turns(&f);
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(turns(&f), asleep, "nothing has happened for longer than it polls");
        f.finish();
    });
}
