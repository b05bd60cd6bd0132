//! What the kernel refuses, and what runs out.

use std::net::{IpAddr, SocketAddr};

use nix::errno::Errno;
use ring_buffers::{RingConfig, SlotClass, Wait};
use udp_uring::{
    Endpoint, Family, GsoNotice, LocalAddr, PAYLOAD_OFFSET, ReceiveDrop, SocketGroup, TrainRefusal, TrainRefused,
    Transmit, UdpEvent,
};

use crate::bench::{
    Bench, LOOPBACKS, Parts, datagrams, endpoint_to, far_end, in_namespace, in_thread_of_its_own, ip, pattern,
    receive_plain, refuse_system_call, set_int, sockets,
};

/// `UDP_NO_CHECK6_TX` of `<linux/udp.h>`.
const UDP_NO_CHECK6_TX: i32 = 101;

/// Makes the kernel refuse segmentation on the sockets with `EINVAL`: it takes checksums for granted.
fn refuse_segmentation(group: &SocketGroup) {
    set_int(&group.pair(0).v4().expect("IPv4"), libc::SOL_SOCKET, libc::SO_NO_CHECK, 1);
    set_int(&group.pair(0).v6().expect("IPv6"), libc::SOL_UDP, UDP_NO_CHECK6_TX, 1);
}

fn count_sent(events: &[UdpEvent]) -> usize {
    events.iter().map(|e| if let UdpEvent::Sent(s) = e { s.segments } else { panic!("{e:?}") }).sum()
}

fn assert_refused(refused: &TrainRefused, segments: usize, why: TrainRefusal, bytes: &[u8]) {
    assert_eq!((refused.segments, refused.why), (segments, why));
    assert!(refused.view[..] == *bytes, "{refused:?}");
}

fn bytes_of(got: Vec<(Vec<u8>, SocketAddr)>) -> Vec<Vec<u8>> {
    got.into_iter().map(|(bytes, _)| bytes).collect()
}

#[test]
fn refused_trains_go_out_again_one_by_one_and_segmentation_is_left_alone() {
    for (ip, family) in LOOPBACKS.into_iter().zip([Family::V4, Family::V6]) {
        let group = sockets(1);
        refuse_segmentation(&group);
        let mut bench = Bench::new(&group);
        let far = far_end(ip);
        if family == Family::V6 {
            set_int(&far, libc::SOL_UDP, UDP_NO_CHECK6_TX + 1, 1); // and to accept datagrams without checksum
        }
        let bytes = pattern(14_520 + 9);
        for round in 0..3 {
            let events = bench.send_and_settle(&bytes, 1452, endpoint_to(&far), 0);
            assert_eq!(count_sent(&events), 11);
            assert_eq!(bytes_of(receive_plain(&far, 11)), datagrams(&bytes, 1452), "in order, each once");
            let notice = GsoNotice { family, errno: Errno::EINVAL, remote: ip.parse().expect("literal") };
            assert_eq!(bench.edge.take_notice(), (round == 0).then_some(notice), "told once");
        }
        assert_eq!(bench.edge.counters().retries_unsegmented, 1, "tried once");
        assert_eq!(bench.edge.counters().trains_split, 2);
        bench.assert_all_home();
    }
}

#[test]
fn a_refused_train_with_a_source_loses_neither() {
    let group = sockets(1);
    refuse_segmentation(&group);
    let mut bench = Bench::new(&group);
    let far = far_end("127.0.0.1");
    let source = Some(LocalAddr { addr: "127.0.0.9".parse().expect("literal"), ifindex: 1 });
    let endpoint = Endpoint { source, ..endpoint_to(&far) };
    for _ in 0..2 {
        let events = bench.send_and_settle(&pattern(3000), 1000, endpoint, 0);
        assert!(events.iter().all(|e| matches!(e, UdpEvent::Sent(s) if s.refused.is_none())), "{events:?}");
        let from = receive_plain(&far, 3).into_iter().map(|(_, from)| from.ip());
        assert!(from.eq([endpoint.source.expect("set").addr; 3]), "an address that others know us by");
    }
    assert_eq!(bench.edge.counters().retries_without_source, 0);
    bench.assert_all_home();
}

#[test]
fn trains_leave_singly_in_order_even_with_few_operations() {
    let group = sockets(1);
    refuse_segmentation(&group);
    let mut bench = Bench::with(&group, Parts { operations: 3, ..Parts::default() });
    let far = far_end("127.0.0.1");
    let bytes = pattern(20 * 100 + 1);
    for _ in 0..2 {
        let events = bench.send_and_settle(&bytes, 100, endpoint_to(&far), 0);
        assert_eq!(count_sent(&events), 21);
        assert_eq!(bytes_of(receive_plain(&far, 21)), datagrams(&bytes, 100));
    }
    bench.assert_all_home();
}

#[test]
fn a_narrow_path_fragments_until_it_widens() {
    in_namespace(&["link set lo up mtu 1300"], || {
        let group = sockets(1);
        let mut bench = Bench::new(&group);
        let far = far_end("127.0.0.1");
        let bytes = pattern(14_000);
        for round in 0..2 {
            let events = bench.send_and_settle(&bytes, 1400, endpoint_to(&far), 0);
            assert_eq!(count_sent(&events), 10);
            assert_eq!(bytes_of(receive_plain(&far, 10)), datagrams(&bytes, 1400));
            let remote = "127.0.0.1".parse().expect("literal");
            let notice = GsoNotice { family: Family::V4, errno: Errno::EMSGSIZE, remote };
            assert_eq!(bench.edge.take_notice(), (round == 0).then_some(notice));
        }
        let events = bench.send_and_settle(&bytes, 1200, endpoint_to(&far), 0);
        assert_eq!(events.len(), 1, "shorter segments still leave with one call");
        assert_eq!(bytes_of(receive_plain(&far, 12)), datagrams(&bytes, 1200));
        assert_eq!(bench.edge.counters().retries_unsegmented, 1);
        // It does not widen by itself: one train is refused again, now and then.
        while bench.edge.counters().retries_unsegmented < 2 {
            bench.send_and_settle(&bytes, 1400, endpoint_to(&far), 0);
            receive_plain(&far, 10);
        }
        ip("link set lo mtu 1500");
        let whole = |events: &[UdpEvent]| events.len() == 1;
        let singly = (0..1000).take_while(|_| {
            let events = bench.send_and_settle(&bytes, 1400, endpoint_to(&far), 0);
            assert_eq!(bytes_of(receive_plain(&far, 10)), datagrams(&bytes, 1400));
            !whole(&events)
        });
        assert_eq!(singly.count(), 64, "then one is tried, and they are whole again");
        assert!(whole(&bench.send_and_settle(&bytes, 1400, endpoint_to(&far), 0)));
        bench.assert_all_home();
    });
}

/// One way goes through a narrow device, the other does not; both are IPv6 here, which is the stricter one.
#[test]
fn a_narrow_device_costs_no_other_path() {
    let commands = [
        "link set lo up",
        "link add narrow mtu 1300 type veth peer name far0",
        "link set far0 up",
        "link set narrow up",
        "addr add fd00:1::1/64 dev narrow nodad",
        "neigh add fd00:1::2 lladdr 02:00:00:00:00:02 dev narrow",
    ];
    in_namespace(&commands, || {
        let group = sockets(1);
        let mut bench = Bench::new(&group);
        let wide = far_end("::1");
        let bytes = pattern(14_000);
        let narrow = Endpoint::new("[fd00:1::2]:9".parse().expect("literal"));
        for _ in 0..3 {
            assert_eq!(bench.send_and_settle(&bytes, 1400, narrow, 0).len(), 10, "one by one");
            assert_eq!(bench.send_and_settle(&bytes, 1400, endpoint_to(&wide), 0).len(), 1, "with one call");
            receive_plain(&wide, 10);
        }
        assert_eq!(bench.edge.counters().retries_unsegmented, 1);
        bench.assert_all_home();
    });
}

/// The ring takes nothing any more in the middle of a train: each datagram is in an outcome or in the refusal.
#[test]
fn what_the_ring_does_not_take_is_counted_to_the_datagram() {
    in_thread_of_its_own(|| {
        let group = sockets(1);
        let ring = RingConfig { submissions: 8, completions: 512, ..RingConfig::default() };
        let mut bench = Bench::with(&group, Parts { ring, ..Parts::default() });
        bench.turn();
        refuse_system_call(libc::SYS_io_uring_enter, libc::EIO);
        let transmit = |bench: &Bench, len: usize| {
            let endpoint = Endpoint::new("127.0.0.1:9".parse().expect("literal"));
            Transmit { view: bench.view(&pattern(len)), stride: 10, endpoint, ecn: 0, context: 0 }
        };
        let train = transmit(&bench, 10 * 65);
        let refused = bench.edge.send(&mut bench.ring, train).expect_err("the queue has eight places");
        let ninth = &pattern(10 * 65)[80..90];
        assert_refused(&refused, 65 - 8, TrainRefusal::Ring(Errno::EIO), ninth);
        assert_eq!(refused.rest.as_deref(), Some(&pattern(10 * 65)[90..]));
        assert_eq!(bench.edge.sends_in_flight(), 8);
        // One that could leave with one call.
        let train = transmit(&bench, 10 * 5);
        let refused = bench.edge.send(&mut bench.ring, train).expect_err("it is full");
        assert_refused(&refused, 5, TrainRefusal::Ring(Errno::EIO), &pattern(50));
        assert!(refused.rest.is_none());
        assert_eq!(bench.edge.sends_in_flight(), 8);
    });
}

#[test]
fn what_waits_for_an_operation_and_cannot_follow_is_counted() {
    in_thread_of_its_own(|| {
        let group = sockets(1);
        let ring = RingConfig { submissions: 1, completions: 64, operations: 16 };
        let mut bench = Bench::with(&group, Parts { ring, operations: 3, ..Parts::default() });
        let far = far_end("127.0.0.1");
        bench.turn();
        // Too many for one call: two leave, and the others wait behind the third.
        bench.send(&pattern(10 * 65), 10, endpoint_to(&far), 0);
        bench.ring.turn(Wait::No).expect("the ring turns");
        refuse_system_call(libc::SYS_io_uring_enter, libc::EIO);
        let events = bench.reap();
        let left = bench.edge.take_left_behind().expect("some waited");
        let ends = (left.context, left.segments, left.errno, left.stride, left.endpoint);
        assert_eq!(ends, (42, 61, Errno::EIO, 10, endpoint_to(&far)));
        let bytes = [&left.view[..], left.rest.as_deref().unwrap_or_default()].concat();
        assert_eq!(bytes, pattern(10 * 65)[40..]);
        assert!(bench.edge.take_left_behind().is_none());
        let sent: usize = events.iter().map(|e| if let UdpEvent::Sent(s) = e { s.segments } else { 0 }).sum();
        let lost: usize = events.iter().map(|e| if let UdpEvent::Sent(s) = e { s.lost } else { 0 }).sum();
        // The queue has one place.
        assert_eq!((sent, lost, bench.edge.sends_in_flight()), (3, 61, 1), "{events:?}");
    });
}

#[test]
fn an_endpoint_that_nothing_can_be_sent_to_harms_nobody_else() {
    let group = sockets(1);
    let mut bench = Bench::new(&group);
    let nowhere = Endpoint::new("127.0.0.1:0".parse().expect("literal"));
    let events = bench.send_and_settle(&pattern(3000), 1000, nowhere, 0);
    assert_eq!(events.len(), 3);
    for (event, bytes) in events.iter().zip(pattern(3000).chunks(1000)) {
        let UdpEvent::SendFailed(failed) = event else { panic!("{event:?}") };
        assert_eq!((failed.context, failed.segments, failed.errno), (42, 1, Errno::EINVAL));
        assert_eq!((failed.endpoint, failed.stride, &failed.view[..]), (nowhere, 1000, bytes));
    }
    drop(events);
    assert!(bench.edge.take_notice().is_none());
    let far = far_end("127.0.0.1");
    assert_eq!(bench.send_and_settle(&pattern(3000), 1000, endpoint_to(&far), 0).len(), 1, "segmentation is still on");
    bench.assert_all_home();
}

#[test]
fn unreachable_remotes_fail_and_come_back() {
    in_namespace(&[], || {
        let group = sockets(1);
        let mut bench = Bench::new(&group);
        let remote = Endpoint::new("127.0.0.1:9".parse().expect("literal"));
        let events = bench.send_and_settle(&pattern(2000), 1000, remote, 0);
        let UdpEvent::SendFailed(failed) = &events[0] else { panic!("{events:?}") };
        assert_eq!((failed.errno, failed.segments), (Errno::ENETUNREACH, 2));
        assert_eq!((failed.stride, &failed.view[..]), (1000, &pattern(2000)[..]), "in one piece");
        drop(events);
        let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("ip(8) runs");
        assert!(up.success());
        // Nobody listens there, and the ICMP errors that come back disturb nothing.
        for _ in 0..3 {
            assert_eq!(count_sent(&bench.send_and_settle(&pattern(2000), 1000, remote, 0)), 2);
        }
        let far = far_end("127.0.0.1");
        far.send_to(b"hello", ("127.0.0.1", group.port())).expect("loopback is up");
        assert_eq!(&*bench.receive(1)[0].view, b"hello");
        bench.assert_all_home();
    });
}

#[test]
fn a_full_table_takes_no_train() {
    let group = sockets(1);
    let mut bench = Bench::with(&group, Parts { operations: 2, ..Parts::default() });
    let far = far_end("127.0.0.1");
    bench.send(b"one", 3, endpoint_to(&far), 0);
    bench.send(b"two", 3, endpoint_to(&far), 0);
    let view = bench.view(b"three!");
    let transmit = Transmit { view, stride: 5, endpoint: endpoint_to(&far), ecn: 0, context: 0 };
    let refused = bench.edge.send(&mut bench.ring, transmit).expect_err("there is no room");
    assert_refused(&refused, 2, TrainRefusal::Full, b"three!");
    drop(refused);
    bench.turn_until(|events| events.len() == 2);
    assert_eq!(bytes_of(receive_plain(&far, 2)), [b"one", b"two"]);
    bench.assert_all_home();
}

#[test]
fn a_closed_edge_takes_no_train() {
    let group = sockets(1);
    let mut bench = Bench::new(&group);
    bench.edge.close(&mut bench.ring).expect("closing works");
    let transmit = Transmit {
        view: bench.view(b"x"),
        stride: 1,
        endpoint: Endpoint::new("[::1]:9".parse().expect("literal")),
        ecn: 0,
        context: 0,
    };
    let refused = bench.edge.send(&mut bench.ring, transmit).expect_err("there is no socket");
    assert_refused(&refused, 1, TrainRefusal::Closed, b"x");
}

#[test]
fn a_receiver_without_buffers_goes_on_when_they_come_home() {
    let group = sockets(1);
    let mut bench = Bench::with(&group, Parts { slots: 4, quota: 4, ..Parts::default() });
    let far = far_end("127.0.0.1");
    let mut held = Vec::new();
    for round in 0..3 {
        for n in 0..10u8 {
            far.send_to(&[n; 50], ("127.0.0.1", group.port())).expect("loopback works");
        }
        let mut numbers = Vec::new();
        while numbers.len() < 10 {
            for event in bench.turn() {
                let UdpEvent::Received(r) = event else { panic!("{event:?}") };
                numbers.push(r.view[0]);
                held.push(r.view);
            }
            // A slow consumer: it lets go only when everything is with it.
            if held.len() == 4 {
                assert!(bench.edge.is_starved());
                assert!(bench.pool.claim(SlotClass::Jumbo).is_none());
                bench.turn();
                held.clear();
            }
        }
        assert_eq!(numbers, (0..10).collect::<Vec<_>>(), "round {round}: nothing lost, in order");
        held.clear();
    }
    assert!(bench.edge.counters().receives_starved > 0);
    bench.assert_all_home();
}

#[test]
fn what_is_longer_than_a_buffer_is_dropped_and_the_receiver_lives_on() {
    let group = sockets(1);
    let mut bench = Bench::with(&group, Parts { buffer_len: PAYLOAD_OFFSET + 100, ..Parts::default() });
    for ip in LOOPBACKS {
        let to = (ip.parse::<IpAddr>().expect("literal"), group.port());
        let far = far_end(ip);
        for len in [101, 60_000] {
            far.send_to(&pattern(len), to).expect("loopback works");
            let events = bench.turn_until(|events| !events.is_empty());
            assert!(matches!(events[..], [UdpEvent::Dropped(ReceiveDrop::Truncated)]), "{events:?}");
        }
        far.send_to(&pattern(100), to).expect("loopback works");
        assert_eq!(&*bench.receive(100)[0].view, pattern(100));
    }
    bench.assert_all_home();
}

#[test]
fn empty_datagrams_are_dropped_and_the_receiver_lives_on() {
    let group = sockets(1);
    let mut bench = Bench::new(&group);
    for ip in LOOPBACKS {
        let to = (ip.parse::<IpAddr>().expect("literal"), group.port());
        let far = far_end(ip);
        for _ in 0..5 {
            far.send_to(&[], to).expect("loopback works");
            far.send_to(b"x", to).expect("loopback works");
        }
        let received = |events: &[UdpEvent]| events.iter().filter(|e| matches!(e, UdpEvent::Received(_))).count();
        let events = bench.turn_until(|events| received(events) == 5);
        let dropped = events.iter().filter(|e| matches!(e, UdpEvent::Dropped(ReceiveDrop::Empty))).count();
        assert_eq!(dropped, 5);
    }
    bench.assert_all_home();
}

#[test]
fn everything_in_flight_comes_home_when_the_ring_ends() {
    let group = sockets(1);
    let mut bench = Bench::new(&group);
    let far = far_end("127.0.0.1");
    bench.turn();
    bench.send(&pattern(5000), 1000, endpoint_to(&far), 0);
    bench.ring.cancel_all().expect("the kernel lets go");
    let before = bench.pool.accounting();
    assert_eq!((before.kernel, before.held), (16, 1), "16 to receive into, one in a completion");
    bench.edge.close(&mut bench.ring).expect("closing works");
    bench.ring.turn(Wait::No).expect("the ring turns");
    bench.turn();
    assert_eq!(bench.edge.sends_in_flight(), 0);
    assert!(!bench.edge.is_releasing());
    bench.assert_all_home();
}

#[test]
fn full_queues_of_the_ring_lose_nothing() {
    let (group, far_group) = (sockets(1), sockets(1));
    let ring = RingConfig { submissions: 8, completions: 16, ..RingConfig::default() };
    let mut bench = Bench::with(&group, Parts { operations: 512, ring, ..Parts::default() });
    let mut far = Bench::with(&far_group, Parts { ring, ..Parts::default() });
    let endpoint = Endpoint::new(SocketAddr::new("127.0.0.1".parse().expect("literal"), far_group.port()));
    // All of them share one slot, and none is reaped before the last is queued.
    let bytes = pattern(400 * 10);
    let mut views = bench.view(&bytes);
    for _ in 0..400 {
        let transmit = Transmit { view: views.split_to(10), stride: 10, endpoint, ecn: 0, context: 0 };
        bench.edge.send(&mut bench.ring, transmit).expect("taken");
    }
    drop(views);
    assert_eq!(bench.edge.sends_in_flight(), 400);
    assert!(bench.ring.counters().submission_full > 0, "the submission queue was full");
    let events = bench.turn_until(|events| events.len() == 400);
    assert_eq!(count_sent(&events), 400);
    // Not kept as they come, or there would soon be no slot to receive into.
    let mut received: Vec<u8> = Vec::new();
    while received.len() < bytes.len() {
        let events = far.turn_until(|events| !events.is_empty());
        received
            .extend(events.iter().flat_map(|e| if let UdpEvent::Received(r) = e { &*r.view } else { panic!("{e:?}") }));
    }
    assert_eq!(received, bytes);
    bench.assert_all_home();
    far.assert_all_home();
}

/// More arrives on one socket than there are buffers, turn for turn.
#[test]
fn a_flood_at_one_socket_leaves_buffers_to_the_other() {
    for (flooded, other) in [(LOOPBACKS[0], LOOPBACKS[1]), (LOOPBACKS[1], LOOPBACKS[0])] {
        let group = sockets(1);
        let mut bench = Bench::new(&group);
        let [flooder, sender] = [flooded, other].map(|ip| {
            let far = far_end(ip);
            far.connect((ip.parse::<IpAddr>().expect("literal"), group.port())).expect("loopback is there");
            far
        });
        let from = sender.local_addr().expect("bound");
        let mut turn = || {
            for _ in 0..4 * Parts::default().quota {
                flooder.send(&[7; 9]).expect("a socket that is full drops it");
            }
            // A worker with much to do begins several turns before it sees that both have ended.
            bench.edge.prepare(&mut bench.ring).expect("receives are armed");
            let events = bench.turn();
            events.iter().any(|event| matches!(event, UdpEvent::Received(got) if got.endpoint.remote == from))
        };
        (0..10).for_each(|_| assert!(!turn(), "nobody has sent"));
        for _ in 0..10 {
            sender.send(&[8; 9]).expect("there is room");
            let turns = (0..100).take_while(|_| !turn()).count();
            assert!(turns <= 4, "{turns} turns of a flood at {flooded}");
        }
    }
}
