//! Who holds many slots for long keeps nobody else from working: packets for peers without a session, a worker that
//! does not take what is handed to it, a socket that takes nothing.

use std::os::fd::AsRawFd;

use ring_buffers::{SlotClass, View};
use ringfort_path::turns::ORDERS_PER_TURN;

use super::*;

const DEAD_PEERS: u8 = 8;
/// The inner addresses of the dead peers are 10.9.0.11 and so on.
const FIRST_DEAD: u8 = 11;
/// A peer that gets its key late.
const LATE: PeerId = PeerId { index: 40, generation: 3 };

fn dead(n: u8) -> PeerId {
    PeerId { index: 100 + u32::from(n), generation: 0 }
}

/// A worker with peers that never get a key; with a key for [`PEER`].
fn among_the_dead() -> Solo {
    let mut f = Solo::new();
    ip("link set rf0 txqueuelen 5000");
    let address = f.peer_address();
    let prefixes: Vec<_> = (0..DEAD_PEERS).map(|n| format!("10.9.0.{}/32", FIRST_DEAD + n)).collect();
    let mut peers = vec![(PEER, "10.9.0.2/32", address), (LATE, "10.9.0.3/32", address)];
    peers.extend(prefixes.iter().zip(0..).map(|(prefix, n)| (dead(n), prefix.as_str(), address)));
    f.add_peers(&peers);
    f.install_send(0, false);
    f.settle();
    f
}

/// Offers `count` packets of `len` bytes to each dead peer, and turns until the worker has dealt with them.
fn flood(f: &mut Solo, count: u64, len: usize) {
    let expected = f.stats[0].tun_read_packets.get() + count * u64::from(DEAD_PEERS);
    for _ in 0..count {
        for n in 0..DEAD_PEERS {
            f.inner.send_to(&vec![0; len], format!("10.9.0.{}:9", FIRST_DEAD + n)).unwrap();
        }
        // The device's queue has room for one round, whatever its driver makes of `txqueuelen`.
        f.turn();
    }
    f.turn_until(|f| f.stats[0].tun_read_packets.get() == expected);
    f.settle();
}

/// Asks for keepalives for the peer with a key, all in one turn, and receives them.
fn keepalives_leave(f: &mut Solo, count: usize) {
    for _ in 0..count {
        f.queues.workers[0].push_order(Order::SendKeepalive { peer: PEER });
    }
    f.settle();
    for _ in 0..count {
        assert_eq!(f.receive().1, [0_u8; 0]);
    }
    assert_eq!((f.dropped(DropReason::NoSlot), f.dropped(DropReason::SendFailed)), (0, 0));
}

#[test]
fn what_waits_for_dead_peers_leaves_keepalives_and_confirmations_alone() {
    in_namespace(|| {
        let mut f = among_the_dead();
        flood(&mut f, 150, 200);
        let staged = u64::from(budget::STAGED_LIMITS.in_all);
        assert_eq!(f.stats[0].staged.get(), staged);
        assert_eq!(f.dropped(DropReason::StagedOverflow), 150 * 8 - staged);
        keepalives_leave(&mut f, ORDERS_PER_TURN);
        f.install_send(8, true);
        f.settle();
        assert_eq!(f.receive(), (0, vec![]), "the confirmation of a new key");
        assert_eq!(f.stats[0].staged.get(), staged);
        f.finish();
    });
}

#[test]
fn who_has_little_that_waits_keeps_it_in_a_flood() {
    in_namespace(|| {
        let mut f = among_the_dead();
        for n in 0..30u8 {
            f.inner.send_to(&[n; 100], "10.9.0.3:9").unwrap();
        }
        f.turn_until(|f| f.worker.path.staged_for(LATE) == 30);
        flood(&mut f, 150, 200);
        for n in 30..40u8 {
            f.inner.send_to(&[n; 100], "10.9.0.3:9").unwrap();
        }
        f.turn_until(|f| f.worker.path.staged_for(LATE) == 40);
        let session = SendSession::new(seal_key(&TO_PEER), 16, REMOTE_INDEX, boot_time(), true);
        f.install(LATE, session, false);
        f.settle();
        for n in 0..40u8 {
            assert_eq!(f.receive().1[28..128], [n; 100]);
        }
        f.finish();
    });
}

/// Packets that no small slot can take wait where they were read. They must leave slots to read and to send with.
#[test]
fn large_packets_that_wait_do_not_stop_the_reading() {
    in_namespace(|| {
        let mut f = among_the_dead();
        ip("link set rf0 mtu 9000");
        f.queues.workers[0].push_order(Order::Mtu(9000));
        flood(&mut f, 20, 5_000);
        let staged = u64::from(budget::STAGED_JUMBO_LIMITS.in_all);
        assert_eq!(f.stats[0].staged.get(), staged);
        assert_eq!(f.dropped(DropReason::StagedOverflow), 20 * 8 - staged);
        for n in 0..100u8 {
            f.inner.send_to(&[n; 500], "10.9.0.2:9").unwrap();
            f.settle();
            assert_eq!(f.receive().1[28..528], [n; 500]);
        }
        keepalives_leave(&mut f, 1);
        // The small ones of others have their own.
        flood(&mut f, 30, 200);
        assert_eq!(f.stats[0].staged.get(), staged + 30 * u64::from(DEAD_PEERS));
        let large = (0..DEAD_PEERS).find_map(|n| f.worker.path.oldest_staged(dead(n), SlotClass::Jumbo)).unwrap();
        assert!(large.len() > 5_000);
        assert_eq!(f.worker.path.pool().charged(large), Some(budget::line::STAGED_JUMBO), "not to the reads");
        f.finish();
    });
}

/// The packets of peers that get their keys at once leave where they waited, all slots for trains being out.
#[test]
fn without_slots_for_trains_all_leaves_one_by_one() {
    in_namespace(|| {
        let mut f = among_the_dead();
        for n in 0..30u8 {
            f.inner.send_to(&[n; 100], "10.9.0.3:9").unwrap();
        }
        f.turn_until(|f| f.worker.path.staged_for(LATE) == 30);
        let trains: Vec<View> = std::iter::from_fn(|| f.worker.path.pool().claim_for(budget::line::TRAINS)).collect();
        assert!(trains.len() >= budget::TRAINS_PER_READ);
        let session = SendSession::new(seal_key(&TO_PEER), 16, REMOTE_INDEX, boot_time(), true);
        f.install(LATE, session, false);
        f.settle();
        for n in 0..30u8 {
            assert_eq!(f.receive().1[28..128], [n; 100]);
        }
        keepalives_leave(&mut f, 10);
        drop(trains);
        f.finish();
    });
}

/// A worker that does not run holds what was handed to it, for as long as that lasts.
#[test]
fn a_worker_that_does_not_run_stops_no_other() {
    in_namespace(|| {
        let mut f = Solo::among(2);
        f.install_receive(0, true);
        f.install_send(0, false);
        f.settle();
        // Whole trains, and trains of which only a piece is for the other one.
        for round in 0..200u64 {
            let packet = with_checksum(inner_packet([10, 9, 0, 2], &[0; 500]));
            let owner = |segment: u64| u32::from(round < 100 || segment < 5);
            let train: Vec<_> = (0..10).map(|segment| f.seal(owner(segment), &packet)).collect();
            f.send_train(&train);
            f.turn_until(|f| f.stats[0].udp_receive_datagrams.get() == 10 * (round + 1));
        }
        f.settle();
        assert!(f.stats[0].handoffs.get() > 0);
        assert!(f.dropped(DropReason::NoSlot) > 0, "what the other does not take is dropped by name");

        let written = f.stats[0].tun_write_packets.get();
        let train: Vec<_> = (0..40u8).map(|n| f.seal(0, &inner_packet([10, 9, 0, 2], &[n; 500]))).collect();
        f.send_train(&train);
        f.turn_until(|f| f.stats[0].tun_write_packets.get() == written + 40);
        nix::sys::socket::setsockopt(&f.inner, nix::sys::socket::sockopt::UdpGsoSegment, &1000).unwrap();
        f.inner.send_to(&[7; 40_000], "10.9.0.2:9").unwrap();
        f.settle();
        for _ in 0..40 {
            assert_eq!(f.receive().1[28..1028], [7; 1000]);
        }
        // The other one runs at last.
        while f.queues.workers[1].next_handoff().is_some() {}
        f.finish();
    });
}

/// Trains from other workers may be more than the TUN can be given at once.
#[test]
fn trains_from_other_workers_wait_for_writes() {
    in_namespace(|| {
        let mut f = Solo::new();
        f.install_receive(0, true);
        f.settle();
        let trains = 60;
        for _ in 0..trains {
            // Packets that cannot be merged, so each is a write.
            let train: Vec<_> = (0..64u16)
                .map(|port| {
                    let mut packet = inner_packet([10, 9, 0, 2], &[0; 100]);
                    packet[20..22].copy_from_slice(&port.to_be_bytes());
                    f.seal(0, &packet)
                })
                .collect();
            let parcel = View::heap(train.concat()).send_away().unwrap();
            let endpoint = Endpoint::new(f.peer_address());
            let handoff = ringfort_path::Handoff { datagrams: 1, parcel, stride: train[0].len(), endpoint, ecn: 0 };
            assert!(f.queues.workers[0].push_handoff(handoff).is_none());
        }
        f.turn_until(|f| f.stats[0].tun_write_packets.get() == trains * 64);
        f.settle();
        assert_eq!(f.dropped(DropReason::TunWriteFailed), 0);
        f.finish();
    });
}

/// The kernel gets no other buffers for packets that were read and wait their turn, wherever they wait.
#[test]
fn what_was_reaped_to_make_room_counts_as_read_ahead() {
    in_namespace(|| {
        let mut f = Solo::new();
        for n in 0..16 {
            f.inner.send_to(&[n; 100], "10.9.0.2:9").unwrap();
        }
        while f.worker.reads.len() < 16 {
            f.worker.make_room();
        }
        assert_eq!(f.worker.prepare().unwrap(), ring_buffers::Wait::No);
        let slots = f.worker.path.pool().accounting();
        assert_eq!((slots.held, slots.kernel), (16, usize::from(budget::TUN_READS + budget::UDP_READS) - 16));
        f.turn_until(|f| f.stats[0].tun_read_packets.get() == 16);
        f.finish();
    });
}

/// What ends first may be hundreds of writes, and behind them the send whose slot the next train takes.
#[test]
fn a_super_packet_waits_for_slots_behind_what_does_not_free_any() {
    in_namespace(|| {
        let mut f = Solo::new();
        nix::sys::socket::setsockopt(&f.outer, nix::sys::socket::sockopt::RcvBufForce, &(4 << 20)).unwrap();
        f.install_receive(0, true);
        f.install_send(0, false);
        f.settle();
        let read = trains::super_packet(&f, &[7; 20_000]);
        let mut taken: Vec<_> = std::iter::from_fn(|| f.worker.path.pool().claim_for(budget::line::TRAINS)).collect();
        taken.pop();
        for _ in 0..5 {
            let train: Vec<_> = (0..64).map(|_| f.seal(0, &inner_packet([10, 9, 0, 2], &[0; 100]))).collect();
            let (view, stride) = (View::heap(train.concat()), train[0].len());
            let endpoint = Endpoint::new(f.peer_address());
            f.worker.on_train(ringfort_path::Train { view, stride, endpoint, ecn: 0, handed: true });
        }
        f.worker.on_tun(tun_uring::TunEvent::Read(read)).unwrap();
        f.settle();
        assert_eq!(f.dropped(DropReason::NoSlot), 0);
        assert_eq!(f.stats[0].udp_send_datagrams.get(), 200);
        drop(taken);
        f.finish();
    });
}

/// Writes of several pieces are fewer than writes, and what completes first may be hundreds of others.
#[test]
fn runs_of_packets_wait_for_writes_of_their_kind() {
    in_namespace(|| {
        let mut f = Solo::new();
        f.install_receive(0, true);
        f.settle();
        let (mut lone, mut pairs) = (Vec::new(), Vec::new());
        for n in 0..5 * 64u16 {
            let mut packet = inner_packet([10, 9, 0, 2], &[0; 100]);
            packet[20..22].copy_from_slice(&n.to_be_bytes());
            lone.push(f.seal(0, &packet));
        }
        for n in 0..10 * 64u16 {
            let mut packet = inner_packet([10, 9, 0, 2], &[0; 100]);
            packet[20..22].copy_from_slice(&(n / 2).to_be_bytes());
            pairs.push(f.seal(0, &with_checksum(packet)));
        }
        for train in lone.chunks(64).chain(pairs.chunks(64)) {
            let parcel = View::heap(train.concat()).send_away().unwrap();
            let endpoint = Endpoint::new(f.peer_address());
            let handoff = ringfort_path::Handoff { datagrams: 64, parcel, stride: train[0].len(), endpoint, ecn: 0 };
            assert!(f.queues.workers[0].push_handoff(handoff).is_none());
        }
        f.turn();
        f.settle();
        assert_eq!(f.stats[0].tun_write_packets.get(), 15 * 64);
        assert_eq!(f.dropped(DropReason::TunWriteFailed), 0);
        assert_eq!(f.stats[0].tun_writes.get(), 5 * 64 + 10 * 32, "pairs were written together");
        f.finish();
    });
}

/// Makes the kernel cut no trains (EINVAL): it does not where it has no checksum to make.
fn refuse_segmentation(f: &Solo) {
    let off: std::ffi::c_int = 1;
    let (socket, value) = (f.sockets.pair(0).v4().expect("IPv4").as_raw_fd(), (&raw const off).cast());
    // SAFETY: the option's value is an int, which lives until the call returns.
    let set = unsafe { libc::setsockopt(socket, libc::SOL_SOCKET, libc::SO_NO_CHECK, value, 4) };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
}

/// Where the kernel does not cut trains, each datagram is a send of its own, and there are fewer of these than trains
/// could need.
#[test]
fn trains_that_leave_unsegmented_wait_for_sends() {
    in_namespace(|| {
        let mut f = Solo::new();
        ip("link set rf0 txqueuelen 5000");
        nix::sys::socket::setsockopt(&f.outer, nix::sys::socket::sockopt::RcvBufForce, &(64 << 20)).unwrap();
        refuse_segmentation(&f);
        f.install_send(0, false);
        f.settle();
        nix::sys::socket::setsockopt(&f.inner, nix::sys::socket::sockopt::UdpGsoSegment, &500).unwrap();
        let (supers, segments) = (100, 64);
        for _ in 0..supers {
            f.inner.send_to(&vec![0; 500 * segments], "10.9.0.2:9").unwrap();
        }
        let count = supers * segments as u64;
        f.turn_until(|f| f.stats[0].tun_read_packets.get() == count);
        f.settle();
        f.turn_until(|f| f.worker.udp.sends_in_flight() == 0);
        assert_eq!(DropReason::ALL.iter().map(|&reason| f.dropped(reason)).sum::<u64>(), 0);
        for _ in 0..count {
            receive_from(&f.outer, &mut [0; 2000]);
        }
        f.finish();
    });
}

/// A socket whose packets wait in the kernel, here for the link address of a neighbour who does not answer: what was
/// read from the TUN waits in its slots, and nothing more is read. What comes in goes on, and keepalives find a slot.
#[test]
fn a_socket_that_takes_nothing_stops_no_receiving() {
    receives_while_the_socket_takes_nothing(true);
}

/// Each train that waits is many sends then, and keepalives need some as well.
#[test]
fn a_socket_that_takes_nothing_stops_no_receiving_without_segmentation_either() {
    receives_while_the_socket_takes_nothing(false);
}

fn receives_while_the_socket_takes_nothing(segmentation: bool) {
    in_namespace(move || {
        let mut f = Solo::new();
        ip("link add slow0 type veth peer name slow1");
        ip("addr add 10.8.0.1/24 dev slow0");
        ip("link set slow0 up");
        ip("link set slow1 up");
        // Or else the kernel gives up after three seconds.
        std::fs::write("/proc/sys/net/ipv4/neigh/slow0/mcast_solicit", "1000000").unwrap();
        f.sockets = SocketGroup::bind(&SocketConfig { send_buffer: 16_384, ..SocketConfig::new(0, 1) }).unwrap();
        if !segmentation {
            refuse_segmentation(&f);
        }
        f.queues.workers[0].push_mail(Mail::Sockets(Some(f.sockets.pair(0).try_clone().unwrap())));
        let (address, nobody) = (f.peer_address(), "10.8.0.99:9".parse().unwrap());
        f.add_peers(&[(PEER, "10.9.0.2/32", address), (LATE, "10.9.0.3/32", nobody)]);
        f.install_receive(0, true);
        f.install_send(0, false);
        f.install(LATE, SendSession::new(seal_key(&TO_PEER), 8, REMOTE_INDEX, boot_time(), true), false);
        f.settle();
        let offered = UdpSocket::bind("10.9.0.1:0").unwrap();
        for segment in [600, 0] {
            nix::sys::socket::setsockopt(&offered, nix::sys::socket::sockopt::UdpGsoSegment, &segment).unwrap();
            for _ in 0..100 {
                // The device's queue is full before long.
                let _ = offered.send_to(&vec![7; if segment == 0 { 900 } else { 64 * 600 }], "10.9.0.3:9");
                f.turn();
            }
        }
        assert!(f.worker.udp.sends_in_flight() > 0 && f.stats[0].udp_send_datagrams.get() < 6_400, "sends wait");

        for round in 1..=20 {
            for _ in 0..20 {
                f.send_sealed(0, &inner_packet([10, 9, 0, 2], &[0; 500]));
            }
            f.turn_until(|f| f.stats[0].tun_write_packets.get() == 20 * round);
        }
        f.settle();
        if segmentation {
            // Each send that waits has a slot. The others wait for reads, or were read into and wait for sends.
            let slots = f.worker.path.pool().accounting();
            let of_reads = slots.kernel + slots.held - f.worker.udp.sends_in_flight();
            assert_eq!(of_reads, usize::from(budget::TUN_READS + budget::UDP_READS));
        }
        for _ in 0..ORDERS_PER_TURN {
            f.queues.workers[0].push_order(Order::SendKeepalive { peer: PEER });
        }
        f.settle();
        ip("neigh replace 10.8.0.99 lladdr 02:00:00:00:00:01 nud permanent dev slow0");
        f.turn_until(|f| f.worker.udp.sends_in_flight() == 0);
        for _ in 0..ORDERS_PER_TURN {
            assert_eq!(f.receive().1, [0_u8; 0]);
        }
        assert_eq!(DropReason::ALL.iter().map(|&reason| f.dropped(reason)).sum::<u64>(), 0);
        f.finish();
    });
}
