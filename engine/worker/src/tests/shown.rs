//! What the kernel refuses is shown to whoever looks on.

use std::net::Ipv4Addr;

use ringfort_core::peer_drops::SendError;
use ringfort_path::tap::{CAPACITY_MIN, Direction, Filter, Seen, Side, TapReader, tap};

use super::*;

/// Looks at what is dropped from now on.
fn look(f: &mut Solo) -> TapReader {
    let filter = Filter { drops_only: true, ..Filter::default() };
    let (tap, reader) = tap(Arc::new(filter), CAPACITY_MIN, Arc::new(|| {})).unwrap();
    f.queues.workers[0].push_order(Order::Tap(Some(tap)));
    f.settle();
    reader
}

fn seen(reader: &mut TapReader) -> Vec<(Seen, Vec<u8>)> {
    let mut bytes = Vec::new();
    std::iter::from_fn(|| reader.next(&mut bytes).map(|seen| (seen, bytes.clone()))).collect()
}

/// Sends to the peer until so many were refused, and returns the next of them as they were seen. They are noted with
/// the peer.
fn refused(f: &mut Solo, reader: &mut TapReader, numbers: std::ops::Range<u8>, reason: DropReason) -> Vec<u64> {
    let noted = |f: &Solo| f.cell.shared().drops.get(reason).map_or(0, |drop| drop.count);
    let before = (f.dropped(reason), noted(f));
    for n in numbers.clone() {
        f.inner.send_to(&[n; 100], "10.9.0.2:9").unwrap();
    }
    f.turn_until(|f| f.dropped(reason) == before.0 + numbers.len() as u64);
    assert_eq!(noted(f), before.1 + numbers.len() as u64);
    let seen = seen(reader);
    let counters = seen.iter().map(|(seen, bytes)| {
        let common = (seen.side, seen.direction, seen.peer, seen.dropped);
        assert_eq!(common, (Side::Cipher, Direction::Out, Some(PEER), Some(reason)));
        assert_eq!(seen.endpoint, f.cell.endpoint());
        parse_data_header(bytes).unwrap().counter
    });
    counters.collect()
}

fn send_error(f: &Solo) -> Option<SendError> {
    f.cell.shared().drops.send_error()
}

#[test]
fn datagrams_that_the_kernel_does_not_send() {
    in_namespace(|| {
        let mut f = Solo::new();
        let mut reader = look(&mut f);
        // There is no route.
        f.cell.shared().endpoint.set(Endpoint::new("198.51.100.1:9".parse().unwrap()));
        f.install_send(0, false);
        assert_eq!(refused(&mut f, &mut reader, 0..3, DropReason::SendFailed), [0, 1, 2]);
        assert_eq!(send_error(&f), Some(SendError::System(libc::ENETUNREACH)));
        // There is a socket of the other family only.
        let bind = udp_uring::Bind::Address(Ipv4Addr::LOCALHOST.into());
        let bound = SocketGroup::bind(&SocketConfig { bind, ..SocketConfig::new(0, 1) }).unwrap();
        f.queues.workers[0].push_mail(Mail::Sockets(Some(bound.pair(0).try_clone().unwrap())));
        f.cell.shared().endpoint.set(Endpoint::new("[::1]:9".parse().unwrap()));
        f.settle();
        assert_eq!(refused(&mut f, &mut reader, 3..5, DropReason::SendFailed), [3, 4]);
        assert_eq!(send_error(&f), Some(SendError::System(libc::EAFNOSUPPORT)));
        // There is no socket.
        f.queues.workers[0].push_mail(Mail::Sockets(None));
        f.settle();
        assert_eq!(refused(&mut f, &mut reader, 5..7, DropReason::Down), [5, 6]);
        f.finish();
    });
}

#[test]
fn packets_that_the_interface_does_not_take() {
    in_namespace(|| {
        let mut f = Solo::new();
        f.install_receive(0, true);
        let mut reader = look(&mut f);
        let packet = |n: u8| with_checksum(inner_packet([10, 9, 0, 2], &[n; 1000]));
        let packets: Vec<_> = (0..20).map(packet).collect();
        let train: Vec<_> = packets.iter().map(|packet| f.seal(0, packet)).collect();
        f.send_train(&train);
        // It is written with the turn after.
        f.turn_until(|f| f.stats[0].udp_receive_trains.get() == 1);
        ip("link set rf0 down");
        f.settle();
        ip("link set rf0 up");
        let seen = seen(&mut reader);
        // They were merged, which renumbers IPv4 packets that must not be fragmented.
        let payload = |packet: &Vec<u8>| packet[28..].to_vec();
        let payloads: Vec<_> = seen.iter().map(|(_, packet)| payload(packet)).collect();
        assert_eq!(payloads, packets.iter().map(payload).collect::<Vec<_>>());
        for (seen, _) in seen {
            let common = (seen.side, seen.direction, seen.peer, seen.dropped);
            assert_eq!(common, (Side::Plain, Direction::In, Some(PEER), Some(DropReason::TunWriteFailed)));
        }
        f.finish();
    });
}
