//! Other sockets at run time: nothing is lost but what was on its way to the old ones.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use udp_uring::{SocketConfig, SocketGroup, UdpEvent};

use crate::bench::{Bench, LOOPBACKS, endpoint_to, far_end, pattern, receive_plain, sockets, when_free};

#[test]
fn the_new_port_is_served_and_the_old_one_is_free() {
    let first = sockets(1);
    let old_port = first.port();
    let mut bench = Bench::new(&first);
    bench.turn();
    let second = sockets(1);
    bench.edge.rebind(&mut bench.ring, second.pair(0)).expect("sockets are taken");
    assert!(bench.edge.is_releasing());
    drop(first);
    for ip in LOOPBACKS {
        let far = far_end(ip);
        far.send_to(b"to the new", (ip.parse::<IpAddr>().expect("literal"), second.port())).expect("loopback works");
        let received = bench.receive(1);
        assert_eq!(&*received[0].view, b"to the new");
        bench.send_and_settle(&pattern(2000), 1000, received[0].endpoint, 0);
        assert!(receive_plain(&far, 2).iter().all(|(_, from)| from.port() == second.port()));
    }
    while bench.edge.is_releasing() {
        bench.turn();
    }
    let again = when_free(|| SocketGroup::bind(&SocketConfig::new(old_port, 1)));
    drop(again);
    bench.assert_all_home();
}

/// For a process that goes on with the same sockets.
#[test]
fn what_comes_to_an_edge_that_rests_waits_in_the_socket() {
    let group = sockets(1);
    let mut bench = Bench::new(&group);
    bench.turn();
    bench.edge.rest();
    while !bench.edge.is_idle() {
        bench.turn();
    }
    for ip in LOOPBACKS {
        let far = far_end(ip);
        far.send_to(b"waits", (ip.parse::<IpAddr>().expect("literal"), group.port())).expect("loopback works");
        (0..3).for_each(|_| drop(bench.turn()));
        assert!(bench.edge.is_idle(), "nothing is received");
    }
    bench.edge.go_on();
    assert!(bench.receive(10).iter().all(|received| &*received.view == b"waits"));
    bench.assert_all_home();
}

#[test]
fn a_closed_edge_is_deaf_and_can_be_opened_again_on_the_same_port() {
    let first = sockets(2);
    let port = first.port();
    let mut bench = Bench::new(&first);
    let far = far_end("127.0.0.1");
    far.send_to(b"before", ("127.0.0.1", port)).expect("loopback works");
    // Which of the two workers has it is up to the hash; only one of them is here.
    bench.turn();
    bench.edge.close(&mut bench.ring).expect("closing works");
    while bench.edge.is_releasing() {
        bench.turn();
    }
    drop(first);
    let second = when_free(|| SocketGroup::bind(&SocketConfig::new(port, 1)));
    bench.edge.rebind(&mut bench.ring, second.pair(0)).expect("sockets are taken");
    far.send_to(b"after", ("127.0.0.1", port)).expect("loopback works");
    assert_eq!(&*bench.receive(1)[0].view, b"after");
    bench.assert_all_home();
}

#[test]
fn sockets_change_under_traffic_and_every_slot_is_accounted_for() {
    let groups = [sockets(1), sockets(1), sockets(1)];
    let mut bench = Bench::new(&groups[0]);
    let stop = Arc::new(AtomicBool::new(false));
    let ports: Vec<_> = groups.iter().map(SocketGroup::port).collect();
    let blasters: Vec<_> = LOOPBACKS
        .into_iter()
        .map(|ip| {
            let (stop, ports) = (stop.clone(), ports.clone());
            let far = far_end(ip);
            crate::bench::set_int(&far, libc::SOL_UDP, libc::UDP_SEGMENT, 1200);
            thread::spawn(move || {
                let train = pattern(12_000);
                while !stop.load(Ordering::Relaxed) {
                    for &port in &ports {
                        // A full buffer of a socket that is not read at the moment is no error of ours.
                        let _ = far.send_to(&train, (ip.parse::<IpAddr>().expect("literal"), port));
                    }
                    thread::yield_now();
                }
            })
        })
        .collect();
    let sink = far_end("127.0.0.1");
    let mut trains = 0;
    for round in 1..=60 {
        let events = bench.turn_until(|events| events.iter().any(|e| matches!(e, UdpEvent::Received(_))));
        trains += events.iter().filter(|e| matches!(e, UdpEvent::Received(r) if r.view.len() % 1200 == 0)).count();
        let expected =
            |e: &UdpEvent| matches!(e, UdpEvent::Received(_) | UdpEvent::Sent(_) | UdpEvent::Late { datagrams: 1.. });
        assert!(events.iter().all(expected), "{events:?}");
        drop(events);
        // Receives and sends are in flight when the sockets change under them, some not even submitted.
        bench.edge.prepare(&mut bench.ring).expect("receives are armed");
        bench.send(&pattern(3000), 1000, endpoint_to(&sink), 0);
        bench.edge.rebind(&mut bench.ring, groups[round % 3].pair(0)).expect("sockets are taken");
    }
    stop.store(true, Ordering::Relaxed);
    blasters.into_iter().for_each(|b| b.join().expect("the thread ends well"));
    assert!(trains >= 60);
    bench.edge.close(&mut bench.ring).expect("closing works");
    while bench.edge.is_releasing() || bench.edge.sends_in_flight() > 0 {
        bench.turn();
    }
    assert!(bench.edge.counters().late_completions > 0, "the old receives did end late");
    bench.assert_all_home();
}

#[test]
fn what_came_to_former_sockets_is_counted_to_the_datagram() {
    let groups = [sockets(1), sockets(1)];
    let mut bench = Bench::new(&groups[0]);
    for ip in LOOPBACKS {
        let far = far_end(ip);
        crate::bench::set_int(&far, libc::SOL_UDP, libc::UDP_SEGMENT, 100);
        bench.edge.rebind(&mut bench.ring, groups[0].pair(0)).expect("sockets are taken");
        bench.turn_until(|_| true);
        bench.edge.prepare(&mut bench.ring).expect("receives are armed");
        far.send_to(&pattern(450), (ip.parse::<IpAddr>().expect("literal"), groups[0].port())).expect("loopback works");
        crate::bench::eventually("a train is received", || {
            bench.ring.turn(ring_buffers::Wait::No).expect("the ring turns");
            bench.ring.has_completed().then_some(())
        });
        // Nobody has looked at it yet.
        bench.edge.rebind(&mut bench.ring, groups[1].pair(0)).expect("sockets are taken");
        let late = |events: &[UdpEvent]| {
            events.iter().map(|e| if let UdpEvent::Late { datagrams } = e { *datagrams } else { 0 }).sum::<usize>()
        };
        assert_eq!(late(&bench.turn_until(|events| late(events) > 0)), 5);
    }
    bench.assert_all_home();
}
