use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::thread;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{MsgFlags, recv};
use ringfort_core::ids::owner;
use ringfort_core::wire::{DATA_HEADER_LEN, write_data_header};
use ringfort_testbed::scratch::in_namespace;

use super::*;

const NOW: Time = Time::from_secs(100);

/// Sockets of an interface that is up.
fn open_sockets(workers: u8) -> Sockets {
    let mut sockets = Sockets::new(SocketConfig::new(0, workers)).unwrap();
    sockets.want(NOW);
    assert_eq!(sockets.open_if_due(NOW).unwrap().len(), usize::from(workers));
    sockets
}

/// A port that was just let go of is free, except while children of other tests hold copies of its socket until
/// they execute their program.
fn when_free<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        assert!(Instant::now() < deadline, "the port is still in use");
        thread::sleep(Duration::from_millis(1));
    }
}

fn is_free(port: u16) -> bool {
    UdpSocket::bind(("0.0.0.0", port)).is_ok()
}

#[test]
fn a_taken_port_leaves_everything_as_it_is() {
    in_namespace(|| {
        let mut sockets = open_sockets(2);
        let before = sockets.port();
        let taken = UdpSocket::bind("0.0.0.0:0").unwrap();
        let wanted = taken.local_addr().unwrap().port();
        assert_eq!(sockets.prepare(Some(wanted), None).unwrap_err(), Refusal::PortInUse);
        assert_eq!(sockets.port(), before);
        drop(taken);
        let Prepared::Rebind(rebind) = when_free(|| sockets.prepare(Some(wanted), None).ok()) else {
            panic!("a new port")
        };
        assert_eq!(sockets.port(), before, "nothing changes before it is adopted");
        assert_eq!(sockets.adopt(rebind).len(), 2);
        assert_eq!(sockets.port(), wanted);
    });
}

/// Which of the sockets the next datagram is at, which is taken.
fn next_arrival(group: &SocketGroup) -> usize {
    let sockets: Vec<_> = (0..group.workers()).map(|worker| group.pair(worker).v4().expect("IPv4")).collect();
    let mut polled: Vec<_> = sockets.iter().map(|&socket| PollFd::new(socket, PollFlags::POLLIN)).collect();
    assert_eq!(poll(&mut polled, 30_000_u16), Ok(1), "one datagram arrives");
    let worker = polled.iter().position(|polled| polled.any() == Some(true)).expect("one is readable");
    recv(sockets[worker].as_raw_fd(), &mut [0; 256], MsgFlags::empty()).expect("a datagram is there");
    worker
}

#[test]
fn the_kernel_steers_an_index_to_the_worker_that_owns_it() {
    let far = UdpSocket::bind("127.0.0.1:0").unwrap();
    for workers in [1, 2, 3, 5, 8] {
        let group = SocketGroup::bind(&SocketConfig::new(0, workers)).unwrap();
        for low in 0..=255 {
            let index = 0x89ab_cd00 | low;
            let mut header = [0; DATA_HEADER_LEN];
            write_data_header(&mut header, index, 0);
            far.send_to(&header, ("127.0.0.1", group.port())).unwrap();
            assert_eq!(next_arrival(&group), owner(index, workers.into()), "{index:#x} of {workers}");
        }
    }
}

#[test]
fn the_port_that_we_have_is_not_bound_again() {
    let mut sockets = open_sockets(1);
    let port = sockets.port();
    assert!(matches!(sockets.prepare(Some(0), None), Ok(Prepared::InPlace)));
    assert!(matches!(sockets.prepare(Some(port), Some(0)), Ok(Prepared::InPlace)));
    assert!(matches!(sockets.prepare(Some(0), None), Ok(Prepared::Rebind(_))), "now any other port is asked for");
}

#[test]
fn while_the_interface_is_down_a_port_is_only_remembered() {
    in_namespace(|| {
        let mut sockets = Sockets::new(SocketConfig::new(0, 2)).unwrap();
        assert_eq!((sockets.port(), sockets.next_attempt()), (0, None));
        let taken = UdpSocket::bind("0.0.0.0:41999").unwrap();
        assert!(matches!(sockets.prepare(Some(41_999), Some(7)), Ok(Prepared::InPlace)));
        assert_eq!((sockets.port(), sockets.fwmark(), sockets.are_open()), (41_999, 7, false));
        drop(taken);
        sockets.want(NOW);
        when_free(|| sockets.open_if_due(NOW + 2 * RETRY_PAUSES.1));
        assert_eq!(sockets.port(), 41_999);
        assert!(!is_free(41_999));
        sockets.close();
        assert_eq!((sockets.port(), sockets.next_attempt()), (41_999, None));
        when_free(|| is_free(41_999).then_some(()));
    });
}

#[test]
fn a_chosen_port_is_chosen_again_if_it_is_free() {
    in_namespace(|| {
        let mut sockets = open_sockets(1);
        let port = sockets.port();
        sockets.close();
        assert_eq!(sockets.port(), port);
        let taken = when_free(|| UdpSocket::bind(("0.0.0.0", port)).ok());
        sockets.want(NOW);
        assert!(sockets.open_if_due(NOW).is_some(), "any port is good enough");
        assert_ne!(sockets.port(), port);
        drop(taken);
        // A port that was asked for is no port to be chosen again.
        sockets.close();
        sockets.prepare(Some(41_998), None).unwrap();
        sockets.prepare(Some(0), None).unwrap();
        assert_eq!(sockets.port(), 0);
    });
}

#[test]
fn a_port_that_is_taken_when_the_interface_comes_up_is_tried_again() {
    in_namespace(|| {
        let mut sockets = Sockets::new(SocketConfig::new(0, 1)).unwrap();
        let taken = UdpSocket::bind("0.0.0.0:41999").unwrap();
        sockets.prepare(Some(41_999), None).unwrap();
        sockets.want(NOW);
        let mut attempts = Vec::new();
        for _ in 0..10 {
            let due = sockets.next_attempt().unwrap();
            attempts.push(due.since(NOW).as_millis());
            assert!(sockets.open_if_due(due).is_none());
        }
        assert_eq!(attempts, [0, 10, 30, 70, 150, 310, 630, 1270, 2270, 3270]);
        // Another port can be had at once.
        assert_eq!(sockets.prepare(Some(41_999), None).map(|_| ()), Ok(()), "it is what we wait for");
        let Ok(Prepared::Rebind(rebind)) = sockets.prepare(Some(41_998), None) else { panic!("a free port") };
        sockets.adopt(rebind);
        assert_eq!((sockets.port(), sockets.next_attempt()), (41_998, None));
        drop(taken);
    });
}
