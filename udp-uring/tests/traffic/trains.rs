//! Trains out and in: contents, strides, addresses, ECN.

use std::net::{IpAddr, SocketAddr};

use ring_buffers::View;
use udp_uring::{
    Endpoint, LocalAddr, PAYLOAD_OFFSET, SEGMENTS_MAX, Segmentation, Sent, TRAIN_BYTES_MAX, Transmit, UdpEvent,
};

use crate::bench::{
    Bench, LOOPBACKS, Parts, datagrams, endpoint_to, far_end, in_namespace, pattern, receive_plain, set_int, sockets,
};

fn source(addr: &str) -> Option<LocalAddr> {
    Some(LocalAddr { addr: addr.parse().expect("literal"), ifindex: 0 })
}

fn sent(events: &[UdpEvent]) -> Vec<Sent> {
    events.iter().map(|e| if let UdpEvent::Sent(s) = e { *s } else { panic!("{e:?}") }).collect()
}

#[test]
fn a_train_leaves_with_one_call_and_arrives_as_its_datagrams() {
    let group = sockets(1);
    let mut bench = Bench::new(&group);
    for ip in LOOPBACKS {
        let far = far_end(ip);
        for (len, stride) in [(1452 * 10 + 100, 1452), (64, 64), (7, 3), (TRAIN_BYTES_MAX, 1452), (64, 1)] {
            let bytes = pattern(len);
            let expected = datagrams(&bytes, stride);
            let events = bench.send_and_settle(&bytes, stride, endpoint_to(&far), 0);
            let one = Sent { context: 42, segments: expected.len(), bytes: len, refused: None, lost: 0 };
            assert_eq!(sent(&events), [one]);
            let got = receive_plain(&far, expected.len());
            assert!(got.iter().all(|(_, from)| *from == SocketAddr::new(ip.parse().expect("literal"), group.port())));
            assert_eq!(got.into_iter().map(|(bytes, _)| bytes).collect::<Vec<_>>(), expected);
        }
    }
    assert_eq!(bench.edge.counters().retries_unsegmented, 0);
    bench.assert_all_home();
}

#[test]
fn a_train_that_is_too_long_for_one_call_leaves_in_single_datagrams() {
    let group = sockets(1);
    let mut bench = Bench::new(&group);
    let far = far_end("127.0.0.1");
    let bytes = pattern(100 * (SEGMENTS_MAX + 1));
    let events = bench.send_and_settle(&bytes, 100, endpoint_to(&far), 0);
    assert_eq!(sent(&events).len(), SEGMENTS_MAX + 1);
    let got: Vec<_> = receive_plain(&far, SEGMENTS_MAX + 1).into_iter().map(|(bytes, _)| bytes).collect();
    assert_eq!(got, datagrams(&bytes, 100));
    assert!(bench.edge.take_notice().is_none(), "the kernel was not asked");
    bench.assert_all_home();
}

/// Whoever makes the trains: none with an equal tail reaches the kernel.
#[test]
fn only_ragged_trains_leave_with_one_call_where_they_must_be_ragged() {
    for (segmentation, equal, ragged) in
        [(Segmentation::On, 1, 1), (Segmentation::Ragged, 10, 1), (Segmentation::Off, 10, 11)]
    {
        let group = sockets(1);
        let mut bench = Bench::with(&group, Parts { segmentation, ..Parts::default() });
        for ip in LOOPBACKS {
            let far = far_end(ip);
            for (len, calls) in [(14_520, equal), (14_520 + 32, ragged)] {
                let bytes = pattern(len);
                let expected = datagrams(&bytes, 1452);
                assert_eq!(bench.send_and_settle(&bytes, 1452, endpoint_to(&far), 0).len(), calls, "{segmentation:?}");
                let got: Vec<_> = receive_plain(&far, expected.len()).into_iter().map(|(bytes, _)| bytes).collect();
                assert_eq!(got, expected);
            }
            assert_eq!(bench.send_and_settle(b"lone", 4, endpoint_to(&far), 0).len(), 1);
        }
        assert_eq!(bench.edge.counters().retries_unsegmented, 0);
        bench.assert_all_home();
    }
}

#[test]
fn a_train_arrives_merged_and_in_its_place() {
    let group = sockets(1);
    let mut bench = Bench::new(&group);
    for ip in LOOPBACKS {
        let far = far_end(ip);
        set_int(&far, libc::SOL_UDP, libc::UDP_SEGMENT, 1000);
        let bytes = pattern(64_000 - 1);
        far.send_to(&bytes, (ip.parse::<IpAddr>().expect("literal"), group.port())).expect("loopback works");
        let received = bench.receive(bytes.len());
        assert!(received.iter().all(|r| r.stride == 1000 && r.ecn == 0));
        assert!(received.iter().all(|r| r.endpoint.remote == far.local_addr().expect("bound")));
        assert_eq!(received.iter().map(|r| r.view.to_vec()).collect::<Vec<_>>().concat(), bytes);
        assert_eq!(received.len(), 1, "loopback does not cut what it need not");
        assert!(received[0].view.as_ptr() as usize % 64 == PAYLOAD_OFFSET % 64, "at a cache line");
    }
    bench.assert_all_home();
}

#[test]
fn a_lone_datagram_is_a_train_of_one() {
    let group = sockets(1);
    let mut bench = Bench::new(&group);
    for ip in LOOPBACKS {
        for len in [1, 32, 148, 1452, 9000, TRAIN_BYTES_MAX] {
            let far = far_end(ip);
            let bytes = pattern(len);
            far.send_to(&bytes, (ip.parse::<IpAddr>().expect("literal"), group.port())).expect("loopback works");
            let received = bench.receive(len).remove(0);
            assert_eq!(&*received.view, bytes);
            assert_eq!(received.stride, len);
            let local = received.endpoint.source.expect("the kernel says where it came to");
            assert_eq!(local.addr, ip.parse::<IpAddr>().expect("literal"));
            assert_ne!(local.ifindex, 0);
        }
    }
    bench.assert_all_home();
}

#[test]
fn what_was_received_can_be_sent_back_from_where_it_lies() {
    let group = sockets(1);
    let mut bench = Bench::new(&group);
    let far = far_end("127.0.0.1");
    far.send_to(b"to and fro", ("127.0.0.1", group.port())).expect("loopback works");
    let received = bench.receive(1).remove(0);
    let (endpoint, view) = (received.endpoint, received.view);
    let transmit = Transmit { stride: view.len(), view, endpoint, ecn: 0, context: 0 };
    bench.edge.send(&mut bench.ring, transmit).expect("taken");
    bench.turn_until(|events| !events.is_empty());
    assert_eq!(receive_plain(&far, 1)[0].0, b"to and fro");
    bench.assert_all_home();
}

#[test]
fn memory_of_the_heap_can_be_sent_too() {
    let group = sockets(1);
    let mut bench = Bench::new(&group);
    let far = far_end("::1");
    let view = View::heap(pattern(3000));
    let transmit = Transmit { view, stride: 1000, endpoint: endpoint_to(&far), ecn: 0, context: 0 };
    bench.edge.send(&mut bench.ring, transmit).expect("taken");
    bench.turn_until(|events| !events.is_empty());
    let got: Vec<_> = receive_plain(&far, 3).into_iter().map(|(bytes, _)| bytes).collect();
    assert_eq!(got.concat(), pattern(3000));
}

#[test]
fn answers_leave_from_the_address_that_was_called() {
    in_namespace(&["link set lo up", "addr add fd00::5/128 dev lo"], || {
        let group = sockets(1);
        let mut bench = Bench::new(&group);
        for (ip, called) in [("127.0.0.1", "127.0.0.9"), ("::1", "fd00::5")] {
            let called: IpAddr = called.parse().expect("literal");
            let far = far_end(ip);
            far.send_to(b"call", (called, group.port())).expect("loopback works");
            let endpoint = bench.receive(1)[0].endpoint;
            assert_eq!(endpoint.source.map(|s| s.addr), Some(called));
            let events = bench.send_and_settle(&pattern(2500), 1000, endpoint, 0);
            assert!(sent(&events).iter().all(|s| s.refused.is_none()));
            for (_, from) in receive_plain(&far, 3) {
                assert_eq!(from, SocketAddr::new(called, group.port()));
            }
        }
    });
}

#[test]
fn a_source_that_has_gone_is_left_out_and_reported() {
    let group = sockets(1);
    let mut bench = Bench::new(&group);
    for (ip, gone) in [("127.0.0.1", "192.0.2.77"), ("::1", "2001:db8::77")] {
        let far = far_end(ip);
        let endpoint = Endpoint { source: source(gone), ..endpoint_to(&far) };
        let bytes = pattern(2500);
        let events = bench.send_and_settle(&bytes, 1000, endpoint, 0);
        let events = sent(&events);
        assert!(events.iter().all(|s| s.refused == Some(endpoint)), "{events:?}");
        // IPv6 says EINVAL, which might have been about segmentation: that is taken away first.
        assert_eq!(events.iter().map(|s| s.segments).sum::<usize>(), 3);
        let got: Vec<_> = receive_plain(&far, 3).into_iter().map(|(bytes, _)| bytes).collect();
        assert_eq!(got, datagrams(&bytes, 1000));
    }
    assert_eq!(bench.edge.counters().retries_without_source, 1 + 3);
    assert!(bench.edge.take_notice().is_none(), "segmentation was not to blame");
    assert_eq!(bench.edge.counters().trains_split, 0);
    bench.assert_all_home();
}

#[test]
fn ecn_crosses_both_ways() {
    let (group, far_group) = (sockets(1), sockets(1));
    let (mut near, mut far) = (Bench::new(&group), Bench::new(&far_group));
    for ip in LOOPBACKS {
        let endpoint = Endpoint::new(SocketAddr::new(ip.parse().expect("literal"), far_group.port()));
        for ecn in 0..=3 {
            let bytes = pattern(5000);
            near.send_and_settle(&bytes, 1000, endpoint, ecn);
            let received = far.receive(bytes.len());
            assert!(received.iter().all(|r| r.ecn == ecn), "{ecn} over {ip}");
        }
    }
}

#[test]
fn two_edges_exchange_trains() {
    let (group, far_group) = (sockets(1), sockets(1));
    let (mut near, mut far) = (Bench::new(&group), Bench::new(&far_group));
    for ip in LOOPBACKS {
        let endpoint = Endpoint::new(SocketAddr::new(ip.parse().expect("literal"), far_group.port()));
        for round in 0..50 {
            let bytes = pattern(1400 * (1 + round % 46));
            near.send_and_settle(&bytes, 1400, endpoint, 0);
            let received = far.receive(bytes.len());
            assert_eq!(received.iter().map(|r| r.view.to_vec()).collect::<Vec<_>>().concat(), bytes);
        }
    }
    near.assert_all_home();
    far.assert_all_home();
}
