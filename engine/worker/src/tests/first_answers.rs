//! What a worker has learned of a peer is known to whichever worker sends the answer, before control has heard of it.
//! Nobody plays control here: no event is taken from its queue.

use super::*;

/// Flows of the application: enough for each of four workers to send some of the answers.
const FLOWS: u16 = 24;

/// Sockets of the application, so many that their answers do not all leave by one worker.
fn application() -> Vec<UdpSocket> {
    let socket = |n| {
        let socket = UdpSocket::bind(("10.9.0.1", 5000 + n)).unwrap();
        socket.set_read_timeout(Some(WAIT)).unwrap();
        socket
    };
    (0..FLOWS).map(socket).collect()
}

/// A packet of the peer to the application's socket `n`.
fn request(n: u16) -> Vec<u8> {
    let mut packet = inner_packet([10, 9, 0, 2], &n.to_be_bytes());
    packet[22..24].copy_from_slice(&(5000 + n).to_be_bytes());
    packet
}

/// The application answers what it is asked. Nothing waits: the answer leaves as soon as the request has come up.
fn answer(socket: &UdpSocket, n: u16) {
    let mut buffer = [0; 99];
    let (len, from) = uninterrupted(|| socket.recv_from(&mut buffer)).expect("the request");
    assert_eq!(buffer[..len], n.to_be_bytes());
    socket.send_to(&n.to_be_bytes(), from).unwrap();
}

fn senders(f: &Fixture) -> usize {
    f.stats.iter().filter(|stats| stats.udp_send_datagrams.get() > 0).count()
}

/// The peer has restarted: it has the new key, and its first message under it is a request.
fn the_first_answer_is_under_the_new_key(workers: usize) {
    in_namespace(move || {
        let mut f = Fixture::new(workers);
        f.install_send(0, false);
        let application = application();
        for (n, socket) in (0..FLOWS).zip(&application) {
            let index = 0x100 * u32::from(n + 1) + u32::from(n) % workers as u32;
            f.install_receive(index, false);
            f.counter = 0;
            f.send_sealed(index, &request(n));
            answer(socket, n);
            let (receiver, counter, packet) = f.receive_any();
            assert_eq!((receiver, counter, &packet[28..30]), (ANSWERED, 0, &n.to_be_bytes()[..]), "session {n}");
        }
        assert!(workers == 1 || senders(&f) > 1, "other workers answer, too");
        f.finish();
    });
}

#[test]
fn one_worker_answers_a_restarted_peer() {
    the_first_answer_is_under_the_new_key(1);
}

#[test]
fn two_workers_answer_a_restarted_peer() {
    the_first_answer_is_under_the_new_key(2);
}

#[test]
fn four_workers_answer_a_restarted_peer() {
    the_first_answer_is_under_the_new_key(4);
}

/// The peer writes from another port each time, and is answered there.
fn the_first_answer_goes_to_where_the_peer_is(workers: usize) {
    in_namespace(move || {
        let mut f = Fixture::new(workers);
        f.install_send(0, false);
        f.install_receive(0, true);
        let application = application();
        for (n, socket) in (0..FLOWS).zip(&application) {
            f.outer = UdpSocket::bind("127.0.0.1:0").unwrap();
            f.outer.set_read_timeout(Some(WAIT)).unwrap();
            f.send_sealed(0, &request(n));
            answer(socket, n);
            assert_eq!(f.receive().1[28..30], n.to_be_bytes(), "move {n}");
        }
        assert!(workers == 1 || senders(&f) > 1, "other workers answer, too");
        f.finish();
    });
}

#[test]
fn one_worker_answers_a_peer_that_roams() {
    the_first_answer_goes_to_where_the_peer_is(1);
}

#[test]
fn two_workers_answer_a_peer_that_roams() {
    the_first_answer_goes_to_where_the_peer_is(2);
}

#[test]
fn four_workers_answer_a_peer_that_roams() {
    the_first_answer_goes_to_where_the_peer_is(4);
}

/// A receiving half is there before the data that it is for, however much other mail the worker has.
#[test]
fn a_key_does_not_wait_behind_other_mail() {
    in_namespace(|| {
        let mut f = Fixture::new(1);
        let mut buffer = [0; 99];
        for n in 1..200 {
            f.until_asleep();
            for _ in 0..500 {
                f.queues.workers[0].push_order(Order::Mtu(1420));
            }
            f.install_receive(n, false);
            f.counter = 0;
            f.send_sealed(n, &inner_packet([10, 9, 0, 2], b"first"));
            f.receive_inner(&mut buffer);
        }
        assert_eq!(f.dropped(DropReason::UnknownIndex), 0);
        f.finish();
    });
}

/// More sessions end and begin at once than a worker takes over in one turn.
#[test]
fn the_first_data_of_the_last_of_many_sessions_is_not_lost() {
    in_namespace(|| {
        let mut f = Fixture::new(1);
        let mut buffer = [0; 99];
        for round in 1..20 {
            for n in 0..2_000 {
                f.queues.workers[0].push_session(SessionOrder::End { local_index: 0x8000_0000 + n });
            }
            f.install_receive(round, false);
            f.counter = 0;
            f.send_sealed(round, &inner_packet([10, 9, 0, 2], b"first"));
            f.receive_inner(&mut buffer);
        }
        assert_eq!(f.dropped(DropReason::UnknownIndex), 0);
        f.finish();
    });
}

/// What waited for a key leaves before what comes after the key, also where nobody has said yet that the key is there.
#[test]
fn what_waits_is_not_overtaken_by_what_finds_the_key() {
    in_namespace(|| {
        let f = Fixture::new(1);
        for n in 0..5u8 {
            f.inner.send_to(&[n; 100], "10.9.0.2:9").unwrap();
        }
        f.eventually(|| f.stats[0].staged.get() == 5);
        f.send_under(SendSession::new(seal_key(&TO_PEER), 0, REMOTE_INDEX, boot_time(), true));
        f.inner.send_to(&[5; 100], "10.9.0.2:9").unwrap();
        for n in 0..6u8 {
            assert_eq!(f.receive().1[28..], [n; 100]);
        }
        f.finish();
    });
}

/// Control hears of a confirmation in the end, though its queue was full.
#[test]
fn a_confirmation_that_control_has_no_room_for_is_told_with_the_next_message() {
    in_namespace(|| {
        let mut f = Fixture::new(1);
        while f.queues.control.push_event(PeerEvent::Awake(PEER)) {}
        f.install_receive(3, false);
        let mut buffer = [0; 99];
        f.send_sealed(3, &inner_packet([10, 9, 0, 2], b"unheard"));
        f.receive_inner(&mut buffer);
        while f.queues.control.next_event().is_some() {}
        f.send_sealed(3, &inner_packet([10, 9, 0, 2], b"heard"));
        f.receive_inner(&mut buffer);
        assert_eq!(f.next_event(), PeerEvent::Confirmed(PEER));
        f.finish();
    });
}
