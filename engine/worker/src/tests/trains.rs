//! Trains as peers and applications make them: what is wrong with one segment concerns no other, and what is wrong with
//! the packet in a message does not unsay that the peer was there.

use ring_buffers::View;

use super::*;

/// The addresses of an inner IPv4 header.
const SOURCE: std::ops::Range<usize> = 12..16;
const DESTINATION: std::ops::Range<usize> = 16..20;

/// A message that delivers 200 times `n`.
fn message(f: &mut Solo, local_index: u32, n: u8) -> Vec<u8> {
    f.seal(local_index, &with_checksum(inner_packet([10, 9, 0, 2], &[n; 200])))
}

#[test]
fn of_a_train_only_the_segments_that_are_bad_are_lost() {
    in_namespace(|| {
        let mut f = Solo::new();
        f.install_receive(0, true);
        f.install_receive(8, true);
        f.settle();
        let mut train: Vec<_> = (0..10).map(|n| message(&mut f, 0, n)).collect();
        train[2][40] ^= 1;
        train[4] = train[1].clone();
        train[5] = message(&mut f, 8, 5);
        train[6] = message(&mut f, 16, 6);
        *train[7].last_mut().unwrap() ^= 0x80;
        train[8][0] = 9;
        f.send_train(&train);
        f.turn_until(|f| f.stats[0].udp_receive_datagrams.get() == 10);
        f.settle();
        assert_eq!(f.stats[0].udp_receive_trains.get(), 1, "they came as one");
        let mut buffer = [0; 300];
        for n in [0, 1, 3, 5, 9] {
            assert_eq!(f.receive_inner(&mut buffer), 200);
            assert_eq!(buffer[..200], [n; 200]);
        }
        assert_eq!(f.stats[0].tun_write_packets.get(), 5);
        let drops = [DropReason::BadTag, DropReason::Replay, DropReason::UnknownIndex, DropReason::UnknownType];
        assert_eq!(drops.map(|reason| f.dropped(reason)), [2, 1, 1, 1]);

        // What was lost can still come: neither its counter nor its session is spoilt.
        for (segment, bit) in [(2, 40), (7, train[7].len() - 1)] {
            train[segment][bit] ^= if segment == 2 { 1 } else { 0x80 };
            f.send_raw(&train[segment]);
            f.turn_until(|f| f.stats[0].tun_writes.get() > 0 && f.stats[0].tun_write_packets.get() > 5);
        }
        f.turn_until(|f| f.stats[0].tun_write_packets.get() == 7);
        f.finish();
    });
}

/// What is in the socket when a turn begins is opened at once, and in its order.
#[test]
fn datagrams_that_come_alone_in_one_turn_are_opened_together() {
    in_namespace(|| {
        let mut f = Solo::counting(vec![WorkerStats::with_stages(0, 1)]);
        f.install_receive(0, true);
        f.settle();
        let table = f.stats[0].stages().unwrap().clone();
        let received = table.of(Stage::UdpReceive).count();
        for n in 0..20 {
            let len = 100 + 16 * usize::from(n);
            let sealed = f.seal(0, &with_checksum(inner_packet([10, 9, 0, 2], &vec![n; len])));
            f.send_raw(&sealed);
        }
        f.turn_until(|f| f.stats[0].udp_receive_datagrams.get() == 20);
        assert_eq!(f.stats[0].udp_receive_trains.get(), 20, "each came alone");
        f.settle();
        let mut buffer = [0; 600];
        for n in 0..20 {
            let len = f.receive_inner(&mut buffer);
            assert_eq!((len, buffer[0]), (100 + 16 * usize::from(n), n));
        }
        // Nearly always the system has all of them ready for one turn.
        let (opened, turns) = (table.of(Stage::Open).count(), table.of(Stage::UdpReceive).count() - received);
        assert!(opened <= turns, "opened {opened} times in {turns} turns");
        f.finish();
    });
}

#[test]
fn a_packet_from_a_foreign_address_is_dropped_and_its_sender_was_heard_all_the_same() {
    in_namespace(|| {
        let mut f = Solo::new();
        // The other one has a part of what the first one has, by a longer prefix.
        let other = PeerId { index: 5, generation: 0 };
        let address = f.peer_address();
        f.add_peers(&[(PEER, "10.9.0.0/25", address), (other, "10.9.0.96/27", address)]);
        f.install_receive(0, true);
        f.install_send(0, false);
        f.settle();
        for (n, foreign) in [(1, [10, 9, 0, 100]), (2, [10, 9, 0, 200]), (3, [192, 0, 2, 1])] {
            let moved = UdpSocket::bind("127.0.0.1:0").unwrap();
            moved.set_read_timeout(Some(WAIT)).unwrap();
            let cell = f.cell.clone();
            let shared = cell.shared();
            shared.activity.reset();
            let before = shared.traffic().rx_bytes;
            while f.queues.control.next_event().is_some() {}

            let message = f.seal(0, &inner_packet(foreign, b"not mine"));
            moved.send_to(&message, ("127.0.0.1", f.sockets.port())).unwrap();
            f.turn_until(|f| f.dropped(DropReason::SourceNotAllowed) == n);
            assert_eq!(f.stats[0].tun_write_packets.get(), 0);
            assert_eq!(shared.traffic().rx_bytes - before, message.len() as u64);
            assert!(shared.activity.unreplied_since().is_some(), "a keepalive is due");
            assert!(shared.activity.last_traversal().is_some(), "the persistent one is put off");
            let events: Vec<_> = std::iter::from_fn(|| f.queues.control.next_event()).collect();
            assert!(events.contains(&PeerEvent::Awake(PEER)), "{events:?}");

            f.inner.send_to(b"to where it is now", "10.9.0.2:9").unwrap();
            f.turn_until(|f| f.stats[0].udp_send_datagrams.get() == n);
            f.settle();
            assert_eq!(receive_from(&moved, &mut [0; 200]), 16 + 48 + 16);
        }
        f.finish();
    });
}

/// A super-packet of UDP as the kernel gives it, to the peer: segments of 100 bytes.
pub(super) fn super_packet(f: &Solo, payload: &[u8]) -> View {
    let mut packet = inner_packet([10, 9, 0, 1], payload);
    packet[DESTINATION].copy_from_slice(&[10, 9, 0, 2]);
    assert_eq!(packet[SOURCE], [10, 9, 0, 1]);
    // Needs a checksum at 20 + 6; UDP segments (USO) of 100 bytes behind headers of 28.
    let fields = [1, 5, 28, 0, 100, 0, 20, 0, 6, 0];
    let mut view = f.worker.path.pool().claim_for(budget::line::TUN_READS).unwrap();
    view.truncate(tun_uring::VNET_HDR_LEN + packet.len());
    let (header, room) = view.split_at_mut(tun_uring::VNET_HDR_LEN);
    header.fill(0);
    header[..fields.len()].copy_from_slice(&fields);
    room.copy_from_slice(&packet);
    view
}

/// More than 64 segments, the most that a train has: kernels since 6.9 make 128 of UDP, and of TCP there is no limit.
#[test]
fn a_super_packet_of_more_segments_than_a_train_has_leaves_as_several() {
    in_namespace(|| {
        let mut f = Solo::new();
        nix::sys::socket::setsockopt(&f.outer, nix::sys::socket::sockopt::RcvBufForce, &(4 << 20)).unwrap();
        f.install_send(0, false);
        f.settle();
        let payload: Vec<u8> = (0..19_950u32).map(|n| (n % 251) as u8).collect();
        let view = super_packet(&f, &payload);
        f.worker.on_tun(tun_uring::TunEvent::Read(view)).unwrap();
        f.settle();
        for (n, part) in payload.chunks(100).enumerate() {
            let (counter, packet) = f.receive();
            assert_eq!(counter, n as u64);
            assert_eq!(&packet[28..28 + part.len()], part);
            assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), 28 + part.len());
        }
        let counted = [&f.stats[0].tun_read_packets, &f.stats[0].udp_send_datagrams, &f.stats[0].udp_send_trains];
        assert_eq!(counted.map(Counter::get), [200, 200, 4]);
        assert_eq!(DropReason::ALL.iter().map(|&reason| f.dropped(reason)).sum::<u64>(), 0);
        f.finish();
    });
}

#[test]
fn of_a_super_packet_of_more_segments_than_may_wait_the_last_ones_do() {
    in_namespace(|| {
        let mut f = Solo::new();
        let payload: Vec<u8> = (0..200u8).flat_map(|n| [n; 100]).collect();
        let view = super_packet(&f, &payload);
        f.worker.on_tun(tun_uring::TunEvent::Read(view)).unwrap();
        f.settle();
        let share = usize::from(budget::STAGED_LIMITS.per_peer);
        assert_eq!(f.stats[0].staged.get(), share as u64);
        assert_eq!(f.dropped(DropReason::StagedOverflow), (200 - share) as u64);
        let noted = f.cell.shared().drops.get(DropReason::StagedOverflow);
        assert_eq!(noted.map(|drop| drop.count), Some((200 - share) as u64));
        f.install_send(0, false);
        f.settle();
        for n in 200 - share..200 {
            assert_eq!(f.receive().1[28..128], [n as u8; 100]);
        }
        f.finish();
    });
}
