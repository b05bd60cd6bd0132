//! A worker that has something to do does not sleep, and one that sleeps can be woken.

use ring_buffers::{Wait, Waker};

use super::*;

fn is_rung(waker: &Waker) -> bool {
    let mut poll = libc::pollfd { fd: waker.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid pollfd.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
}

fn completions(f: &Solo) -> u64 {
    f.stats[0].figures().iter().find(|(name, _)| *name == "ring_completions").unwrap().1
}

/// As when data under an unknown index makes the worker read mail that came after this turn had looked at the inbox:
/// the ring for it is heard when there is nothing left to read.
#[test]
fn a_ring_for_what_was_read_already_does_not_make_the_worker_deaf() {
    in_namespace(|| {
        let mut f = Solo::new();
        for round in 0..10 {
            let before = completions(&f);
            f.queues.workers[0].push_session(SessionOrder::End { local_index: 0x1234_5600 });
            f.queues.workers[0].wake();
            f.worker.read_sessions(usize::MAX);
            f.turn_until(|f| completions(f) > before);
            f.settle();
            assert!(f.queues.workers[0].is_empty() && !is_rung(f.queues.workers[0].waker()));
            f.queues.workers[0].push_order(Order::Mtu(1420));
            assert!(is_rung(f.queues.workers[0].waker()), "round {round}: the worker would sleep for ever");
            f.settle();
        }
        f.finish();
    });
}

/// Datagrams that came while the worker made room for sends at the end of its turn.
#[test]
fn what_was_reaped_to_make_room_is_no_reason_to_sleep() {
    in_namespace(|| {
        let mut f = Solo::new();
        f.install_receive(0, true);
        f.settle();
        f.worker.busy_poll = Duration::ZERO;
        f.send_sealed(0, &inner_packet([10, 9, 0, 2], b"in the meantime"));
        let deadline = Instant::now() + WAIT;
        while f.worker.completed.is_empty() {
            assert!(Instant::now() < deadline, "the datagram came");
            f.worker.make_room();
        }
        assert!(matches!(f.worker.prepare().unwrap(), Wait::No));
        f.turn();
        assert_eq!(f.stats[0].tun_write_packets.get(), 1);
        f.worker.busy_poll = Duration::MAX;
        f.finish();
    });
}

/// An authenticated peer that writes from another port each time costs control nothing.
#[test]
fn a_peer_that_roams_with_each_datagram_tells_control_once_that_it_was_found() {
    in_namespace(|| {
        let mut f = Solo::new();
        f.install_receive(0, true);
        f.settle();
        let ports = [UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap()];
        for n in 1..=50_u64 {
            let message = f.seal(0, &inner_packet([10, 9, 0, 2], b"from here and there"));
            let port = &ports[usize::from(n % 2 == 0)];
            port.send_to(&message, ("127.0.0.1", f.sockets.port())).unwrap();
            f.turn_until(|f| f.stats[0].tun_write_packets.get() == n);
            assert_eq!(f.cell.endpoint().unwrap().remote, port.local_addr().unwrap());
        }
        let events: Vec<_> = std::iter::from_fn(|| f.queues.control.next_event()).collect();
        assert_eq!(events, [PeerEvent::Moved(PEER), PeerEvent::Awake(PEER)], "control has not looked yet");
        f.finish();
    });
}

/// Control says what to drop before it says that the sockets go, and in between packets are read.
#[test]
fn packets_that_were_read_after_the_link_went_down_do_not_wait_for_the_next_time() {
    in_namespace(|| {
        let mut f = Solo::new();
        f.queues.workers[0].push_order(Order::DropStaged { peer: PEER });
        f.settle();
        f.inner.send_to(&[1; 100], "10.9.0.2:9").unwrap();
        f.turn_until(|f| f.stats[0].staged.get() == 1);
        f.queues.workers[0].push_mail(Mail::Sockets(None));
        f.settle();
        assert_eq!((f.stats[0].staged.get(), f.dropped(DropReason::Down)), (0, 1));
        f.finish();
    });
}

/// An answered handshake is of two workers' concern: that of the key, which reads it before the data, and whoever holds
/// packets back.
#[test]
fn a_session_rings_who_waits_for_it_and_nobody_else() {
    in_namespace(|| {
        let mut f = Solo::new();
        f.settle();
        let rung = |f: &Solo| is_rung(f.queues.workers[0].waker());
        f.queues.workers[0].push_session(SessionOrder::End { local_index: 0x1234_5600 });
        f.queues.workers[0].push_order(Order::AddPeer(f.cell.clone()));
        assert!(!rung(&f), "nothing is to be done");
        assert!(!f.cell.shared().waiting.take().contains(0), "nothing waits");

        f.inner.send_to(&[1; 100], "10.9.0.2:9").unwrap();
        f.turn_until(|f| f.stats[0].staged.get() == 1);
        assert!(f.queues.workers[0].is_empty(), "a turn reads what is quiet");
        assert!(f.cell.shared().waiting.take().contains(0));
        f.queues.workers[0].push_order(Order::SendStaged { peer: PEER });
        assert!(rung(&f));
        f.settle();
        assert_eq!(f.stats[0].staged.get(), 1, "there is still no session");
        assert!(f.cell.shared().waiting.take().contains(0), "so it waits again");
        f.finish();
    });
}
