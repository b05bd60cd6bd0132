//! Packets from the TUN that no peer can have, and what their senders are told.

use ringfort_core::icmp::Allowance;

use super::*;

/// The inner socket wants to be told, and writes to `address` only.
fn connect(f: &Fixture, address: &str) {
    nix::sys::socket::setsockopt(&f.inner, nix::sys::socket::sockopt::Ipv4RecvErr, &true).unwrap();
    f.inner.connect(address).unwrap();
}

fn send_to(f: &Fixture, address: &str, count: usize) {
    connect(f, address);
    for _ in 0..count {
        // The error of an earlier one is given to whatever the socket is used for next.
        let _ = f.inner.send(b"anybody there?");
    }
}

fn is_told(f: &Fixture) {
    let error = uninterrupted(|| f.inner.recv(&mut [0; 9])).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(nix::errno::Errno::EHOSTUNREACH as i32), "{error}");
}

#[test]
fn a_sender_is_told_that_nobody_has_an_address() {
    in_namespace(|| {
        let f = Fixture::new(1);
        send_to(&f, "10.9.0.77:9", 1);
        is_told(&f);
        f.eventually(|| f.dropped(DropReason::NoRoute) == 1 && f.stats[0].icmp_sent.get() == 1);
        f.finish();
    });
}

#[test]
fn a_sender_is_told_that_a_peer_has_no_endpoint_or_is_gone() {
    in_namespace(|| {
        let f = Fixture::new(1);
        f.queues.workers[0].push_order(Order::RemovePeer { peer: PEER });
        let nowhere = PeerCell::new(PEER, Arc::new(PeerShared::new(1)));
        f.queues.workers[0].push_order(Order::AddPeer(Arc::new(nowhere)));
        f.until_asleep();
        send_to(&f, "10.9.0.2:9", 1);
        is_told(&f);
        f.eventually(|| f.dropped(DropReason::NoEndpoint) == 1);
        f.queues.workers[0].push_order(Order::RemovePeer { peer: PEER });
        f.until_asleep();
        send_to(&f, "10.9.0.2:9", 1);
        is_told(&f);
        f.eventually(|| f.dropped(DropReason::Down) == 1 && f.stats[0].icmp_sent.get() == 2);
        f.finish();
    });
}

#[test]
fn a_sender_is_told_once_of_a_super_packet() {
    in_namespace(|| {
        let f = Fixture::new(1);
        connect(&f, "10.9.0.77:9");
        nix::sys::socket::setsockopt(&f.inner, nix::sys::socket::sockopt::UdpGsoSegment, &1000).unwrap();
        f.inner.send(&[7; 5000]).unwrap();
        is_told(&f);
        f.eventually(|| f.dropped(DropReason::NoRoute) == 5 && f.stats[0].icmp_sent.get() == 1);
        f.finish();
    });
}

#[test]
fn senders_are_told_so_often_and_no_more() {
    in_namespace(|| {
        let f = Fixture::new(1);
        let count = 20 * Allowance::BURST as usize;
        // The kernel drops what finds the worker's queue full.
        while f.dropped(DropReason::NoRoute) < count as u64 {
            send_to(&f, "10.9.0.77:9", 100);
        }
        f.until_asleep();
        let [sent, suppressed] = [&f.stats[0].icmp_sent, &f.stats[0].icmp_suppressed].map(Counter::get);
        assert_eq!(sent + suppressed, f.dropped(DropReason::NoRoute), "each is counted");
        assert!(sent >= u64::from(Allowance::BURST) && suppressed > 0, "{sent} sent, {suppressed} not");
        f.finish();
    });
}

#[test]
fn our_own_datagrams_go_no_further() {
    in_namespace(|| {
        let f = Fixture::new(1);
        f.install_send(0, false);
        let message = |receiver| {
            let mut message = [0xee; 96];
            write_data_header(message.first_chunk_mut().unwrap(), receiver, 9);
            message
        };
        f.inner.connect("10.9.0.2:9").unwrap();
        f.inner.send(&message(REMOTE_INDEX)).unwrap();
        f.eventually(|| f.dropped(DropReason::LoopedEndpoint) == 1);
        // A train, which comes as one super-packet.
        nix::sys::socket::setsockopt(&f.inner, nix::sys::socket::sockopt::UdpGsoSegment, &96).unwrap();
        f.inner.send(&message(REMOTE_INDEX).repeat(10)).unwrap();
        f.eventually(|| f.dropped(DropReason::LoopedEndpoint) == 11);
        assert_eq!(f.stats[0].udp_send_datagrams.get(), 0);
        // Somebody else's tunnel through ours.
        f.inner.send(&message(REMOTE_INDEX + 1)).unwrap();
        assert_eq!(f.receive().1[28..124], message(REMOTE_INDEX + 1));
        assert_eq!(f.stats[0].icmp_sent.get(), 0);
        f.finish();
    });
}
