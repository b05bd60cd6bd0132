//! A session at the end of its counters (WireGuard paper, section 6.1).

use ringfort_core::constants::{REJECT_AFTER_MESSAGES, REKEY_AFTER_MESSAGES};

use super::*;

/// A session whose next counter is `next`. It is not ours by initiative: then age alone never makes it ask.
fn session(local_index: u32, next: u64) -> SendSession<SealKey> {
    let session = SendSession::new(seal_key(&TO_PEER), local_index, REMOTE_INDEX, boot_time(), false);
    session.reserve(boot_time(), next).unwrap();
    session
}

fn key_aging(local_index: u32) -> PeerEvent {
    PeerEvent::NeedHandshake { peer: PEER, reason: HandshakeReason::KeyAging { local_index } }
}

fn events(f: &Solo) -> Vec<PeerEvent> {
    std::iter::from_fn(|| f.queues.control.next_event()).collect()
}

/// Sends a datagram into the tunnel, and turns until the worker has dealt with it.
fn offer(f: &mut Solo, n: u8) {
    let before = f.stats[0].tun_read_packets.get();
    f.inner.send_to(&[n; 100], "10.9.0.2:9").unwrap();
    f.turn_until(|f| f.stats[0].tun_read_packets.get() > before);
    f.settle();
}

#[test]
fn after_rekey_after_messages_the_session_asks_for_another_and_sends_on() {
    in_namespace(|| {
        let mut f = Solo::new();
        f.install(PEER, session(7, REKEY_AFTER_MESSAGES - 2), false);
        f.settle();
        offer(&mut f, 1);
        assert_eq!(events(&f), [PeerEvent::Awake(PEER)], "one is left");
        offer(&mut f, 2);
        assert_eq!(events(&f), [key_aging(7)]);
        offer(&mut f, 3);
        assert_eq!(events(&f), [], "asked once");
        for n in 1..=3 {
            let (counter, packet) = f.receive();
            assert_eq!(counter, REKEY_AFTER_MESSAGES - 3 + u64::from(n));
            assert_eq!(packet[28..128], [n; 100]);
        }
        f.finish();
    });
}

#[test]
fn at_reject_after_messages_nothing_is_sent_and_what_comes_waits_for_the_next_session() {
    in_namespace(|| {
        let mut f = Solo::new();
        f.install(PEER, session(7, REJECT_AFTER_MESSAGES - 3), false);
        f.settle();
        for n in 1..=5 {
            offer(&mut f, n);
        }
        for n in 1..=3 {
            let (counter, packet) = f.receive();
            assert_eq!(counter, REJECT_AFTER_MESSAGES - 4 + u64::from(n));
            assert_eq!(packet[28..128], [n; 100]);
        }
        f.turn_until(|f| f.stats[0].udp_send_datagrams.get() == 3);
        assert_eq!(f.stats[0].staged.get(), 2);
        assert!(events(&f).contains(&key_aging(7)));
        f.queues.workers[0].push_order(Order::SendKeepalive { peer: PEER });
        f.settle();
        assert_eq!(f.stats[0].udp_send_datagrams.get(), 3, "not even a keepalive");
        f.install_send(8, false);
        f.settle();
        for n in 4..=5 {
            let (counter, packet) = f.receive();
            assert_eq!((counter, &packet[28..128]), (u64::from(n) - 4, &[n; 100][..]));
        }
        f.finish();
    });
}

/// A train takes all of its counters or none.
#[test]
fn a_train_that_the_rest_of_the_counters_is_too_few_for_waits_whole() {
    in_namespace(|| {
        let mut f = Solo::new();
        f.install(PEER, session(7, REJECT_AFTER_MESSAGES - 4), false);
        f.settle();
        nix::sys::socket::setsockopt(&f.inner, nix::sys::socket::sockopt::UdpGsoSegment, &100).unwrap();
        let payload: Vec<u8> = (0..5u8).flat_map(|n| [n; 100]).collect();
        f.inner.send_to(&payload, "10.9.0.2:9").unwrap();
        f.turn_until(|f| f.stats[0].staged.get() == 5);
        assert_eq!(f.stats[0].udp_send_datagrams.get(), 0);
        assert!(events(&f).contains(&key_aging(7)));
        f.install_send(8, false);
        f.settle();
        for n in 0..5u8 {
            let (counter, packet) = f.receive();
            assert_eq!((counter, &packet[28..128]), (u64::from(n), &[n; 100][..]));
        }
        f.finish();
    });
}

#[test]
fn counters_from_reject_after_messages_on_are_not_accepted() {
    in_namespace(|| {
        let mut f = Solo::new();
        f.install_receive(0, true);
        f.settle();
        let send = |f: &mut Solo, counter| {
            // Not by the fixture, which counts on afterwards, and cannot from the last number.
            let packet = inner_packet([10, 9, 0, 2], b"counted");
            let mut message = vec![0; 32 + packet.len().next_multiple_of(16)];
            let (header, rest) = message.split_first_chunk_mut().unwrap();
            write_data_header(header, 0, counter);
            seal_key(&FROM_PEER).seal_from(counter, &packet, rest).unwrap();
            f.send_raw(&message);
            let done = |f: &Solo| f.stats[0].tun_write_packets.get() + f.dropped(DropReason::Replay);
            let before = done(f);
            f.turn_until(|f| done(f) > before);
        };
        let refused = [REJECT_AFTER_MESSAGES, REJECT_AFTER_MESSAGES + 1, u64::MAX];
        refused.iter().for_each(|&counter| send(&mut f, counter));
        assert_eq!((f.dropped(DropReason::Replay), f.stats[0].tun_write_packets.get()), (3, 0));
        for counter in [0, REJECT_AFTER_MESSAGES - 1, REJECT_AFTER_MESSAGES - 2] {
            send(&mut f, counter);
        }
        assert_eq!((f.dropped(DropReason::Replay), f.stats[0].tun_write_packets.get()), (3, 3));
        refused.iter().for_each(|&counter| send(&mut f, counter));
        assert_eq!((f.dropped(DropReason::Replay), f.stats[0].tun_write_packets.get()), (6, 3));
        f.finish();
    });
}
