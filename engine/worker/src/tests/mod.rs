//! A worker on a real TUN and real sockets, in a network namespace of its own. The test plays control and the peer:
//! it hands out keys by mail and speaks the data protocol over a plain UDP socket.
//!
//! ```text
//!   inner socket 10.9.0.1 ── TUN ── worker ── 127.0.0.1:port ═══ 127.0.0.1:peer (the test)
//!            "to 10.9.0.2"                     data messages
//! ```

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ringfort_aead::{OpenKey, Plan, Provider, SealKey, Suite};
use ringfort_core::allowed_ips::{AllowedIps, Prefix};
use ringfort_core::cell::{PeerShared, SendState, SessionNumber};
use ringfort_core::device::{HandshakeReason, PeerEvent};
use ringfort_core::drops::DropReason;
use ringfort_core::ids::{Endpoint, PeerId};
use ringfort_core::keypair::{ReceiveSession, SendSession};
use ringfort_core::time::Time;
use ringfort_core::wire::{DATA_HEADER_LEN, parse_data_header, write_data_header};
use ringfort_path::budget;
use ringfort_path::{Order, PeerCell, Receiver, SessionOrder, Stage};
use tun_uring::{Merge, Offloads, Tun};
use udp_uring::{Segmentation, SocketConfig, SocketGroup};

use super::*;
use crate::clock::boot_time;
use crate::queues::{Mail, WorkerInbox};

mod answers;
mod cores;
mod fake;
mod first_answers;
mod fixture;
mod last_turn;
mod limits;
mod refused;
mod shown;
mod slots;
mod solo;
mod stages;
mod trains;
mod turned_back;
mod wakes;

use fixture::*;
use solo::Solo;

/// Datagrams that have left, and in how many trains: what leaves in one turn leaves as one.
fn sent(f: &Fixture) -> [u64; 2] {
    [f.stats[0].udp_send_datagrams.get(), f.stats[0].udp_send_trains.get()]
}

#[test]
fn packets_wait_for_a_key_and_leave_in_order_as_trains() {
    in_namespace(|| {
        let f = Fixture::new(1);
        for n in 0..20u8 {
            f.inner.send_to(&[n; 100], "10.9.0.2:9").unwrap();
        }
        let asked = PeerEvent::NeedHandshake { peer: PEER, reason: HandshakeReason::NoSession };
        assert_eq!(f.next_event(), asked);
        f.eventually(|| f.stats[0].staged.get() == 20);
        assert!(f.queues.control.next_event().is_none(), "asked once");
        f.install_send(0, false);
        for n in 0..20u8 {
            let (counter, packet) = f.receive();
            assert_eq!(counter, u64::from(n));
            assert_eq!(packet.len(), 128);
            assert_eq!(packet[28..], [n; 100]);
        }
        assert_eq!(f.next_event(), PeerEvent::Awake(PEER));
        f.eventually(|| sent(&f) == [20, 1]);
        f.eventually(|| f.stats[0].staged.get() == 0);
        f.finish();
    });
}

#[test]
fn a_super_packet_leaves_as_trains_of_its_segments() {
    in_namespace(|| {
        let f = Fixture::new(1);
        f.install_send(0, false);
        nix::sys::socket::setsockopt(&f.inner, nix::sys::socket::sockopt::UdpGsoSegment, &1000).unwrap();
        let payload: Vec<u8> = (0..10_500u32).map(|n| (n % 251) as u8).collect();
        f.inner.send_to(&payload, "10.9.0.2:9").unwrap();
        for (n, part) in payload.chunks(1000).enumerate() {
            let (counter, packet) = f.receive();
            assert_eq!(counter, n as u64);
            assert_eq!(&packet[28..28 + part.len()], part);
            assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), 28 + part.len());
        }
        f.eventually(|| sent(&f) == [11, 1]);
        f.finish();
    });
}

/// Packets of one length, in a super-packet and one by one, and keepalives: no train of them has an equal tail, or the
/// edge would have to send it datagram by datagram.
#[test]
fn ragged_trains_end_in_a_keepalive_where_nothing_else_is_shorter() {
    in_namespace(|| {
        let f = Fixture::segmenting(Segmentation::Ragged);
        for _ in 0..6 {
            f.inner.send_to(&[7; 200], "10.9.0.2:9").unwrap();
        }
        f.eventually(|| f.stats[0].staged.get() == 6);
        f.install_send(0, false);
        let lengths = |n: usize| (0..n).map(|_| f.receive().1.len()).collect::<Vec<_>>();
        assert_eq!(lengths(7), [240, 240, 240, 240, 240, 240, 0], "the packets of a turn");
        f.eventually(|| f.stats[0].keepalive_tails.get() == 1);
        nix::sys::socket::setsockopt(&f.inner, nix::sys::socket::sockopt::UdpGsoSegment, &900).unwrap();
        f.inner.send_to(&[8; 9_000], "10.9.0.2:9").unwrap();
        let mut expected = vec![928; 10];
        assert_eq!(
            lengths(11),
            {
                expected.push(0);
                expected
            },
            "a super-packet"
        );
        f.inner.send_to(&[9; 9_100], "10.9.0.2:9").unwrap();
        let mut expected = vec![928; 10];
        assert_eq!(
            lengths(11),
            {
                expected.push(128);
                expected
            },
            "one that is ragged by itself"
        );
        f.eventually(|| sent(&f) == [7 + 11 + 11, 3]);
        // 64 segments that a single train could carry, if they did not need a keepalive.
        nix::sys::socket::setsockopt(&f.inner, nix::sys::socket::sockopt::UdpGsoSegment, &100).unwrap();
        f.inner.send_to(&[10; 6_400], "10.9.0.2:9").unwrap();
        let mut expected = vec![128; 63];
        expected.extend([0, 128]);
        assert_eq!(lengths(65), expected, "63 and a keepalive, and one alone");
        f.eventually(|| f.stats[0].udp_send_trains.get() == 5);
        assert_eq!(f.stats[0].keepalive_tails.get(), 3);
        for _ in 0..3 {
            f.queues.workers[0].push_order(Order::SendKeepalive { peer: PEER });
        }
        assert_eq!(lengths(3), [0, 0, 0]);
        let figures: std::collections::BTreeMap<_, _> = f.stats[0].figures().into_iter().collect();
        assert_eq!((figures["udp_trains_split"], figures["udp_retries_unsegmented"]), (0, 0), "none had an equal tail");
        f.finish();
    });
}

#[test]
fn a_session_that_is_too_old_sends_nothing_and_asks_for_another() {
    in_namespace(|| {
        let f = Fixture::new(1);
        let lifetime = Duration::from_secs(180);
        // A machine that was booted just now has nothing that is so old.
        std::thread::sleep(lifetime.saturating_sub(boot_time().since(Time::ZERO)));
        let long_ago = Time::ZERO + boot_time().since(Time::ZERO + lifetime);
        let key = seal_key(&TO_PEER);
        f.send_under(SendSession::new(key, 7, REMOTE_INDEX, long_ago, true));
        for n in 0..3 {
            f.inner.send_to(&[n; 100], "10.9.0.2:9").unwrap();
        }
        f.eventually(|| f.stats[0].staged.get() == 3);
        let reason = HandshakeReason::KeyAging { local_index: 7 };
        assert_eq!(f.next_event(), PeerEvent::NeedHandshake { peer: PEER, reason });
        assert_eq!(f.stats[0].udp_send_datagrams.get(), 0);
        f.install_send(8, false);
        for n in 0..3 {
            assert_eq!(f.receive().1[28..], [n; 100]);
        }
        f.finish();
    });
}

#[test]
fn a_super_packet_waits_for_a_key_in_small_slots() {
    in_namespace(|| {
        let f = Fixture::new(1);
        nix::sys::socket::setsockopt(&f.inner, nix::sys::socket::sockopt::UdpGsoSegment, &1000).unwrap();
        f.inner.send_to(&[7; 5000], "10.9.0.2:9").unwrap();
        f.eventually(|| f.stats[0].staged.get() == 5);
        f.install_send(0, false);
        for n in 0..5 {
            let (counter, packet) = f.receive();
            assert_eq!((counter, &packet[28..1028]), (n, &[7; 1000][..]));
        }
        f.finish();
    });
}

#[test]
fn runs_of_a_flow_are_written_as_one_and_arrive_as_they_were_sent() {
    in_namespace(|| {
        let mut f = Fixture::new(1);
        f.install_receive(0, true);
        let mut train = Vec::new();
        for n in 0..20u8 {
            train.extend(f.seal(0, &with_checksum(inner_packet([10, 9, 0, 2], &[n; 1000]))));
        }
        let stride = train.len() / 20;
        nix::sys::socket::setsockopt(&f.outer, nix::sys::socket::sockopt::UdpGsoSegment, &(stride as i32)).unwrap();
        f.send_raw(&train);
        let mut buffer = [0; 2000];
        for n in 0..20u8 {
            assert_eq!(f.receive_inner(&mut buffer), 1000);
            assert_eq!(buffer[..1000], [n; 1000]);
        }
        f.eventually(|| f.stats[0].tun_write_packets.get() == 20);
        let writes = f.stats[0].tun_writes.get();
        assert!(writes <= f.stats[0].udp_receive_trains.get(), "{writes} writes for 20 packets of a flow");
        f.finish();
    });
}

#[test]
fn a_new_key_is_confirmed_with_an_empty_packet() {
    in_namespace(|| {
        let f = Fixture::new(2);
        f.install_send(1, true);
        assert_eq!(f.receive(), (0, vec![]));
        f.outer.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(f.outer.recv_from(&mut [0; 99]).is_err(), "one worker confirms");
        f.finish();
    });
}

#[test]
fn what_a_peer_sends_is_delivered_once_and_only_from_its_addresses() {
    in_namespace(|| {
        let mut f = Fixture::new(1);
        f.install_receive(8, false);
        let message = f.send_sealed(8, &inner_packet([10, 9, 0, 2], b"hello"));
        let mut buffer = [0; 99];
        f.inner.connect("10.9.0.2:4096").unwrap();
        let len = f.receive_inner(&mut buffer);
        assert_eq!(&buffer[..len], b"hello");
        assert_eq!(f.next_event(), PeerEvent::Confirmed(PEER));
        assert!(f.cell.endpoint().unwrap().source.is_some());
        assert_eq!(f.next_event(), PeerEvent::Moved(PEER), "for the file of endpoints");
        assert_eq!(f.next_event(), PeerEvent::Awake(PEER));

        f.send_raw(&message);
        f.eventually(|| f.dropped(DropReason::Replay) == 1);
        let mut forged = message.clone();
        *forged.last_mut().unwrap() ^= 1;
        f.send_raw(&forged);
        f.eventually(|| f.dropped(DropReason::BadTag) == 1);
        f.send_sealed(9, &[]);
        f.eventually(|| f.dropped(DropReason::UnknownIndex) == 1);
        f.send_sealed(8, &inner_packet([10, 9, 0, 3], b"not mine"));
        f.eventually(|| f.dropped(DropReason::SourceNotAllowed) == 1);
        f.send_sealed(8, b"\x70 is no version of IP");
        f.eventually(|| f.dropped(DropReason::NotIp) == 1);
        f.send_raw(&[4, 0, 0]);
        f.send_raw(&[9; 64]);
        f.eventually(|| f.dropped(DropReason::Runt) == 1 && f.dropped(DropReason::UnknownType) == 1);
        let told = PeerEvent::Dropped { peer: PEER, reason: DropReason::SourceNotAllowed };
        assert_eq!(f.next_event(), told, "only the operator can mend that");
        assert!(f.queues.control.next_event().is_none());
        let drops = &f.cell.shared().drops;
        let counted = drops.iter().map(|drop| (drop.reason, drop.count)).collect::<Vec<_>>();
        let expected = [DropReason::BadTag, DropReason::Replay, DropReason::SourceNotAllowed, DropReason::NotIp];
        assert_eq!(counted, expected.map(|reason| (reason, 1)));
        assert_eq!(drops.source(), Some("10.9.0.3".parse().unwrap()));

        f.send_sealed(8, &inner_packet([10, 9, 0, 2], b"still there"));
        assert_eq!(f.receive_inner(&mut buffer), 11);
        f.finish();
    });
}

#[test]
fn a_handshake_message_goes_to_control_with_its_path() {
    in_namespace(|| {
        let f = Fixture::new(1);
        let mut initiation = [0; 148];
        initiation[0] = 1;
        f.send_raw(&initiation);
        f.eventually(|| f.queues.control.handshakes_waiting() == 1);
        let datagram = f.queues.control.next_handshake().unwrap();
        assert_eq!(datagram.bytes(), initiation);
        assert_eq!(datagram.endpoint.remote, f.peer_address());
        assert_eq!(datagram.endpoint.source.unwrap().addr.to_string(), "127.0.0.1");
        f.finish();
    });
}

#[test]
fn each_worker_receives_what_its_indices_name() {
    in_namespace(|| {
        let mut f = Fixture::new(3);
        let mut buffer = [0; 99];
        for index in [0u32, 1, 2, 0x1234_5600 + 5] {
            f.install_receive(index, true);
            f.send_sealed(index, &inner_packet([10, 9, 0, 2], b"x"));
            f.receive_inner(&mut buffer);
        }
        let received: Vec<_> = f.stats.iter().map(|s| s.tun_write_packets.get()).collect();
        assert_eq!(received, [1, 1, 2]);
        assert_eq!(f.stats.iter().map(|s| s.handoffs.get()).sum::<u64>(), 0, "the reuseport program did not miss");
        f.finish();
    });
}

#[test]
fn a_train_that_lands_on_the_wrong_worker_is_handed_over_and_its_slot_comes_home() {
    in_namespace(|| {
        let mut f = Fixture::new(2);
        f.install_receive(1, true);
        // Worker 1 gets no socket of the group that the peer writes to, so the reuseport program cannot find it.
        let alone = SocketGroup::bind(&SocketConfig::new(0, 1)).unwrap();
        f.queues.workers[0].push_mail(Mail::Sockets(Some(alone.pair(0).try_clone().unwrap())));
        f.queues.workers[1].push_mail(Mail::Sockets(None));
        f.sockets = alone;
        let mut buffer = [0; 99];
        for _ in 0..300 {
            f.send_sealed(1, &inner_packet([10, 9, 0, 2], b"over there"));
            f.receive_inner(&mut buffer);
        }
        f.eventually(|| f.stats[0].handoffs.get() == 300 && f.stats[1].tun_write_packets.get() == 300);
        // Slots of worker 0 that worker 1 has released come home with its next turn.
        f.send_raw(&[0; 4]);
        f.eventually(|| f.dropped(DropReason::UnknownType) == 1);
        f.finish();
    });
}
