//! Packets in and out through a ring, with every mechanism that the kernel has.

use std::net::UdpSocket;
use std::time::Duration;

use ring_buffers::View;
use tun_uring::checksum::Sum;
use tun_uring::{Offloads, Received, SuperKind, TunEvent, VNET_HDR_LEN, WriteError, WriteRefusal, virtio};

use crate::namespace::{in_namespace, ip};
use crate::packets::{make_super, payload, port, receive, socket, udp_to};
use crate::rig::{Rig, Setup};

/// Runs a test once for each mechanism, each time in a new namespace.
fn with_each_mechanism(test: fn(Setup)) {
    for setup in Setup::mechanisms() {
        eprintln!("with {:?}", setup.capabilities);
        in_namespace(move || test(setup));
    }
}

#[test]
fn packets_of_all_sizes_come_out_in_order() {
    with_each_mechanism(|setup| {
        let mut rig = Rig::new(setup);
        let socket = socket();
        for round in 0..40 {
            let sizes = [0, 1, 18, 500, 1392, 9000, 65_507].map(|size| size - usize::from(size > 1) * (round % 7));
            for (i, size) in sizes.into_iter().enumerate() {
                socket.send_to(&payload(round * 7 + i, size), "10.7.0.2:9").expect("send");
            }
            for (i, size) in sizes.into_iter().enumerate() {
                let view = rig.read();
                assert_eq!(virtio::parse(&view), Ok(Received::Packet(None)));
                assert_eq!(view.len(), VNET_HDR_LEN + 28 + size);
                assert!(view[VNET_HDR_LEN + 28..] == payload(round * 7 + i, size), "round {round}, size {size}");
                assert!(view.tail_room() >= 31, "room for padding and tag");
            }
        }
        assert_eq!(rig.edge.counters().reads, 280);
        assert_eq!(rig.edge.counters().reads_begun, 1, "one multishot operation serves them all");
        rig.finish();
    });
}

#[test]
fn packets_go_in_from_slots_heap_and_pieces() {
    with_each_mechanism(|setup| {
        let mut rig = Rig::new(setup);
        let socket = socket();
        for (i, size) in [0, 1, 18, 500, 1392, 9000, 65_507].into_iter().enumerate() {
            let sent = payload(i, size);
            let packet = udp_to(port(&socket), &sent);
            // One at a time: a socket buffers two of the largest at the most.
            let arrives = |rig: &mut Rig, way: u64| {
                let event = rig.event();
                assert!(matches!(event, TunEvent::Wrote { context } if context == way), "{size}: {event:?}");
                assert!(receive(&socket) == sent, "size {size}, way {way}");
            };
            let view = rig.slot(&packet);
            rig.edge.write(&mut rig.ring, view, 1).expect("room");
            arrives(&mut rig, 1);
            rig.edge.write(&mut rig.ring, View::heap(packet.clone()), 2).expect("room");
            arrives(&mut rig, 2);
            // In pieces of the arena, cut at odd places; then with one piece from elsewhere.
            let mut whole = rig.slot(&packet);
            let mut pieces = vec![whole.split_to(VNET_HDR_LEN + 28)];
            while whole.len() > 1111 {
                pieces.push(whole.split_to(1111));
            }
            pieces.push(whole);
            rig.edge.write_gathered(&mut rig.ring, &mut pieces, 3).expect("room");
            assert!(pieces.is_empty());
            arrives(&mut rig, 3);
            pieces.push(rig.slot(&packet[..VNET_HDR_LEN + 28]));
            pieces.push(View::heap(sent.clone()));
            rig.edge.write_gathered(&mut rig.ring, &mut pieces, 4).expect("room");
            arrives(&mut rig, 4);
        }
        let counters = rig.edge.counters();
        assert_eq!((counters.write_errors, counters.late_completions), (0, 0));
        assert_eq!(counters.writes_unregistered, counters.writes / 2);
        rig.finish();
    });
}

#[test]
fn many_writes_in_flight_keep_their_order() {
    with_each_mechanism(|setup| {
        let mut rig = Rig::new(setup);
        let socket = socket();
        for round in 0..20 {
            let mut queued = 0;
            loop {
                let view = rig.slot(&udp_to(port(&socket), &payload(queued, 100)));
                match rig.edge.write(&mut rig.ring, view, queued as u64) {
                    Ok(()) => queued += 1,
                    Err(refused) => {
                        assert!(matches!(refused.why, WriteRefusal::Full));
                        assert!(refused.view[VNET_HDR_LEN + 28..] == payload(queued, 100));
                        break;
                    }
                }
            }
            assert_eq!(queued, usize::from(setup.writes), "round {round}");
            assert_eq!(rig.edge.writes_free(), 0);
            for number in 0..queued {
                assert!(matches!(rig.event(), TunEvent::Wrote { context } if context == number as u64));
                assert!(receive(&socket) == payload(number, 100));
            }
        }
        rig.finish();
    });
}

#[test]
fn gathers_are_limited_and_come_back() {
    with_each_mechanism(|setup| {
        let mut rig = Rig::new(setup);
        let socket = socket();
        for _ in 0..3 {
            let mut begun = 0;
            loop {
                let mut packet = rig.slot(&udp_to(port(&socket), b"in two pieces"));
                let mut pieces = vec![packet.split_to(50), packet];
                match rig.edge.write_gathered(&mut rig.ring, &mut pieces, begun) {
                    Ok(()) => begun += 1,
                    Err(why) => {
                        assert!(matches!(why, WriteRefusal::Full));
                        assert_eq!(pieces.len(), 2, "a refused write leaves the pieces");
                        break;
                    }
                }
            }
            assert_eq!(begun, 8);
            for _ in 0..begun {
                assert!(matches!(rig.event(), TunEvent::Wrote { .. }));
                assert_eq!(receive(&socket), b"in two pieces");
            }
        }
        let mut none = Vec::new();
        assert!(matches!(rig.edge.write_gathered(&mut rig.ring, &mut none, 0), Err(WriteRefusal::Pieces)));
        let mut many: Vec<View> = (0..66).map(|_| View::heap(vec![0])).collect();
        assert!(matches!(rig.edge.write_gathered(&mut rig.ring, &mut many, 0), Err(WriteRefusal::Pieces)));
        rig.finish();
    });
}

#[test]
fn reading_stands_still_without_slots_and_goes_on_with_them() {
    with_each_mechanism(|setup| {
        let mut rig = Rig::new(Setup { read_slots: 4, jumbo_slots: 6, ..setup });
        let socket = socket();
        for i in 0..30 {
            socket.send_to(&payload(i, 200), "10.7.0.2:9").expect("send");
        }
        let mut held: Vec<View> = (0..6).map(|_| rig.read()).collect();
        let more = rig.event_within(Duration::from_millis(100));
        assert!(more.is_none(), "every jumbo slot is held: {more:?}");
        assert!(rig.edge.is_starved() && !rig.edge.is_readable());
        assert!(rig.edge.counters().reads_starved > 0);
        for i in 0..30 {
            let view = if held.is_empty() { rig.read() } else { held.remove(0) };
            assert!(view[VNET_HDR_LEN + 28..] == payload(i, 200), "packet {i}");
        }
        rig.turn();
        assert!(!rig.edge.is_starved());
        rig.finish();
    });
}

#[test]
fn a_packet_that_the_kernel_finds_wrong_comes_back() {
    with_each_mechanism(|setup| {
        let mut rig = Rig::new(setup);
        let mut not_ip = udp_to(9, b"x");
        not_ip[VNET_HDR_LEN] = 0x15;
        let view = rig.slot(&not_ip);
        rig.edge.write(&mut rig.ring, view, 5).expect("room");
        let TunEvent::WriteFailed(failed) = rig.event() else { panic!("the kernel took what is not IP") };
        assert_eq!((failed.context, failed.error, failed.is_super()), (5, WriteError::Invalid, false));
        assert_eq!(failed.first[..], not_ip[..]);
        drop(failed);

        // A super-packet whose header is of no known type, in pieces.
        let mut bad = udp_to(9, &payload(0, 3000));
        make_super(&mut bad, 1000);
        bad[1] = 0x0f;
        let mut whole = rig.slot(&bad);
        let mut pieces = vec![whole.split_to(1044), whole.split_to(1000), whole];
        rig.edge.write_gathered(&mut rig.ring, &mut pieces, 6).expect("room");
        let TunEvent::WriteFailed(failed) = rig.event() else { panic!("the kernel took a bad GSO type") };
        assert_eq!((failed.context, failed.error, failed.is_super()), (6, WriteError::Invalid, true));
        let back: Vec<u8> = std::iter::once(&failed.first).chain(&failed.rest).flat_map(|v| v.to_vec()).collect();
        assert_eq!((back == bad, failed.rest.len()), (true, 2));
        assert_eq!(rig.edge.counters().write_errors, 2);
        drop(failed);
        rig.finish();
    });
}

#[test]
fn an_interface_that_is_down_is_named() {
    with_each_mechanism(|setup| {
        let mut rig = Rig::new(setup);
        ip("link set rf0 down");
        let view = rig.slot(&udp_to(9, b"x"));
        rig.edge.write(&mut rig.ring, view, 0).expect("room");
        assert!(matches!(rig.event(), TunEvent::WriteFailed(failed) if failed.error == WriteError::Down));
        ip("link set rf0 up");
        let socket = socket();
        let view = rig.slot(&udp_to(port(&socket), b"up again"));
        rig.edge.write(&mut rig.ring, view, 0).expect("room");
        assert!(matches!(rig.event(), TunEvent::Wrote { .. }));
        assert_eq!(receive(&socket), b"up again");
        socket.send_to(b"out", "10.7.0.2:9").expect("send");
        assert_eq!(rig.read()[VNET_HDR_LEN + 28..], *b"out");
        rig.finish();
    });
}

#[test]
fn a_device_that_is_deleted_is_gone() {
    with_each_mechanism(|setup| {
        let mut rig = Rig::new(setup);
        ip("link delete rf0");
        assert!(matches!(rig.event(), TunEvent::Gone));
        let view = rig.slot(&udp_to(9, b"x"));
        let refused = rig.edge.write(&mut rig.ring, view, 0).expect_err("gone");
        assert!(matches!(refused.why, WriteRefusal::Gone));
        drop(refused);
        assert!(rig.event_within(Duration::from_millis(50)).is_none(), "said once, and no spinning");
        rig.finish();
    });
}

#[test]
fn a_device_deleted_in_the_middle_of_reading_is_gone() {
    with_each_mechanism(|setup| {
        for _ in 0..3 {
            let mut rig = Rig::new(setup);
            // Bound while the address is there: the interface may be gone before the sender's thread has begun.
            let socket = socket();
            let sender = std::thread::spawn(move || while socket.send_to(&payload(0, 100), "10.7.0.2:9").is_ok() {});
            let remover = std::thread::spawn(|| ip("link delete rf0"));
            loop {
                match rig.event() {
                    TunEvent::Read(_) => {}
                    TunEvent::Gone => break,
                    other => panic!("{other:?}"),
                }
            }
            remover.join().expect("removed");
            sender.join().expect("no route any more");
            rig.finish();
        }
    });
}

#[test]
fn a_burst_beyond_every_queue_of_ours() {
    with_each_mechanism(|setup| {
        let mut rig = Rig::new(Setup { jumbo_slots: 200, ..setup });
        let socket = socket();
        for round in 0..5 {
            for i in 0..450 {
                socket.send_to(&payload(round + i, 64), "10.7.0.2:9").expect("send");
            }
            for i in 0..450 {
                assert!(rig.read()[VNET_HDR_LEN + 28..] == payload(round + i, 64), "round {round}, packet {i}");
            }
        }
        rig.finish();
    });
}

#[test]
fn a_write_tells_that_the_device_is_gone() {
    with_each_mechanism(|setup| {
        let mut rig = Rig::new(setup);
        let view = rig.slot(&udp_to(9, b"x"));
        ip("link delete rf0");
        rig.edge.write(&mut rig.ring, view, 0).expect("room");
        let (mut gone, mut failed) = (false, false);
        while !(gone && failed) {
            match rig.event() {
                TunEvent::Gone => gone = true,
                TunEvent::WriteFailed(f) => failed = f.error == WriteError::Gone,
                other => panic!("{other:?}"),
            }
        }
        rig.finish();
    });
}

#[test]
fn a_closed_edge_lets_go_of_everything() {
    with_each_mechanism(|setup| {
        let mut rig = Rig::new(setup);
        let socket = socket();
        for i in 0..10 {
            socket.send_to(&payload(i, 100), "10.7.0.2:9").expect("send");
            let view = rig.slot(&udp_to(port(&socket), b"x"));
            rig.edge.write(&mut rig.ring, view, 0).expect("room");
        }
        // Completions of both kinds are underway.
        rig.finish();
    });
}

/// A datagram socket whose datagrams the kernel cuts up at `size`, or hands to the device whole if that can do it.
fn segmenting_socket(size: u16) -> UdpSocket {
    let socket = socket();
    let size = libc::c_int::from(size);
    // SAFETY: the option's value is a live int of the size that is said.
    let result = unsafe {
        libc::setsockopt(
            std::os::fd::AsRawFd::as_raw_fd(&socket),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const size).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "UDP_SEGMENT");
    socket
}

#[test]
fn super_packets_go_in_and_arrive_in_segments() {
    with_each_mechanism(|setup| {
        let mut rig = Rig::new(setup);
        let socket = socket();
        let sent = payload(1, 10_500);
        let mut packet = udp_to(port(&socket), &sent);
        make_super(&mut packet, 1000);
        let mut whole = rig.slot(&packet);
        let mut pieces = vec![whole.split_to(VNET_HDR_LEN + 28)];
        while !whole.is_empty() {
            let n = whole.len().min(1000);
            pieces.push(whole.split_to(n));
        }
        drop(whole);
        rig.edge.write_gathered(&mut rig.ring, &mut pieces, 0).expect("room");
        let event = rig.event();
        assert!(matches!(event, TunEvent::Wrote { .. }), "USO needs Linux 6.2: {event:?}");
        for segment in sent.chunks(1000) {
            assert!(receive(&socket) == segment);
        }
        rig.finish();
    });
}

#[test]
fn super_packets_come_out_when_asked_for() {
    with_each_mechanism(|setup| {
        let mut rig = Rig::new(Setup { offloads: Offloads::ALL, ..setup });
        let sent = payload(1, 10_500);
        segmenting_socket(1000).send_to(&sent, "10.7.0.2:9").expect("send");
        let view = rig.read();
        let Ok(Received::Super(geometry)) = virtio::parse(&view) else { panic!("not a super-packet") };
        let want = (SuperKind::Udp4, 20, 28, 1000, 10_528);
        assert_eq!((geometry.kind, geometry.transport, geometry.header, geometry.segment, geometry.end), want);
        assert_eq!(geometry.segments(), 11);
        assert!(view[VNET_HDR_LEN + 28..] == sent);
        drop(view);

        // A lone packet now comes with its checksum left to us.
        socket().send_to(b"alone", "10.7.0.2:9").expect("send");
        let mut view = rig.read();
        let Ok(Received::Packet(Some(partial))) = virtio::parse(&view) else { panic!("a finished checksum") };
        let packet = &mut view[VNET_HDR_LEN..];
        partial.complete(packet).expect("it fits");
        assert!(Sum::pseudo_header(&packet[12..20], 17, 13).plus(Sum::of(&packet[20..])).is_valid());
        drop(view);
        rig.finish();
    });
}

#[test]
fn without_offloads_everything_comes_finished() {
    with_each_mechanism(|setup| {
        let mut rig = Rig::new(setup);
        let sent = payload(1, 10_500);
        segmenting_socket(1000).send_to(&sent, "10.7.0.2:9").expect("send");
        for segment in sent.chunks(1000) {
            let view = rig.read();
            assert_eq!(virtio::parse(&view), Ok(Received::Packet(None)));
            let packet = &view[VNET_HDR_LEN..];
            assert!(packet[28..] == *segment);
            let len = packet.len() as u32 - 20;
            assert!(Sum::pseudo_header(&packet[12..20], 17, len).plus(Sum::of(&packet[20..])).is_valid());
        }
        rig.finish();
    });
}
