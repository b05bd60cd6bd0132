//! What rings, what waits, and what is full.

use ringfort_core::cell::PeerShared;
use ringfort_core::gate::Proof;
use ringfort_core::ids::{Endpoint, PeerId};
use ringfort_path::PeerCell;
use ringfort_path::turns::{ORDERS_PER_TURN, SESSIONS_PER_TURN};

use super::*;

fn endpoint() -> Endpoint {
    Endpoint::new("192.0.2.1:51820".parse().unwrap())
}

fn rings(waker: &Waker) -> bool {
    let mut poll = libc::pollfd { fd: waker.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid pollfd.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
}

#[test]
fn mail_arrives_in_order_and_rings_once() {
    let queues = Queues::new(2).unwrap();
    let inbox = &queues.workers[1];
    inbox.push_order(Order::Mtu(1));
    inbox.push_order(Order::Mtu(2));
    assert!(rings(inbox.waker()) && !rings(queues.workers[0].waker()));
    inbox.waker().clear();
    inbox.push_order(Order::Mtu(3));
    assert!(!rings(inbox.waker()), "rung and not yet heard");
    inbox.heard();
    let mtus = std::iter::from_fn(|| inbox.next_mail()).map(|m| match m {
        Mail::Order(Order::Mtu(mtu)) => mtu,
        other => panic!("{other:?}"),
    });
    assert_eq!(mtus.collect::<Vec<_>>(), [1, 2, 3]);
    inbox.push_mail(Mail::Stop);
    assert!(rings(inbox.waker()));
}

#[test]
fn what_can_wait_rings_only_when_much_of_it_does() {
    let mut queues = &Queues::new(2).unwrap();
    let inbox = &queues.workers[1];
    for n in 1..SESSIONS_PER_TURN as u32 {
        queues.session(1, SessionOrder::End { local_index: n });
    }
    assert!(!rings(inbox.waker()));
    queues.session(1, SessionOrder::End { local_index: 0 });
    assert!(rings(inbox.waker()), "more than a turn reads");

    inbox.waker().clear();
    inbox.heard();
    while inbox.next_session().is_some() {}
    let cell = Arc::new(PeerCell::new(PeerId { index: 0, generation: 0 }, Arc::new(PeerShared::new(2))));
    queues.wake(1);
    assert!(!rings(inbox.waker()), "there is nothing to read");
    for _ in 1..ORDERS_PER_TURN {
        queues.order(1, Order::AddPeer(cell.clone()));
    }
    assert!(!rings(inbox.waker()));
    queues.wake(1);
    assert!(rings(inbox.waker()), "it must not keep what waits for it any longer");

    inbox.waker().clear();
    inbox.heard();
    queues.order(1, Order::AddPeer(cell));
    assert!(rings(inbox.waker()), "more than a turn reads");
}

#[test]
fn a_full_handshake_queue_says_so() {
    let queues = Queues::new(1).unwrap();
    let datagram = HandshakeMessage::new(endpoint(), &[1; 148], Proof::Key).unwrap();
    for _ in 0..HANDSHAKES_WAITING {
        assert!(queues.control.push_handshake(datagram).is_none());
    }
    let last = HandshakeMessage::new(endpoint(), &[2; 148], Proof::Key).unwrap();
    assert_eq!(queues.control.push_handshake(last).unwrap().bytes(), &[2; 148], "it comes back");
    assert_eq!(queues.control.handshakes_waiting(), HANDSHAKES_WAITING);
    queues.control.heard();
    assert_eq!(queues.control.next_handshake().unwrap().bytes(), &[1; 148]);
    assert!(HandshakeMessage::new(endpoint(), &[0; 149], Proof::Key).is_none());
}

#[test]
fn routes_are_kept_until_the_slowest_worker_has_let_go() {
    let queues = Queues::new(2).unwrap();
    queues.control.acknowledge_routes(0, 7);
    assert_eq!(queues.control.oldest_routes_in_use(), 0);
    queues.control.acknowledge_routes(1, 5);
    assert_eq!(queues.control.oldest_routes_in_use(), 5);
}

#[test]
fn a_demotion_is_not_taken_for_the_one_before_it() {
    let control = &Queues::new(2).unwrap().control;
    (0..2).for_each(|worker| control.acknowledge_role(worker));
    assert!(control.have_obeyed(1), "a demotion");
    // Promoted and demoted again. One of the workers has heard of neither, and lets nothing pass so far.
    (0..2).for_each(|_| control.acknowledge_role(0));
    assert!(!control.have_obeyed(3));
    control.acknowledge_role(1);
    assert!(!control.have_obeyed(3), "it serves");
    control.acknowledge_role(1);
    assert!(control.have_obeyed(3));
}
