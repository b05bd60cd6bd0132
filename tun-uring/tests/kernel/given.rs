//! Interfaces that somebody else has made.

use std::ffi::c_int;
use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, OwnedFd};

use tun_uring::device::MTU_DEFAULT;
use tun_uring::{Link, Offloads, Tun, TunError, Unusable, interface_of};

use crate::namespace::{eventually, in_namespace, ip};

const OURS: c_int = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR;

/// A queue of the interface "rf0", opened as another program would.
fn open(flags: c_int) -> OwnedFd {
    let queue = unattached();
    // SAFETY: ifreq is a C structure of integers, arrays and addresses, for which all zeroes are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"rf0") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq at the address, which is that of a live one.
    let result = unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    assert_eq!(result, 0, "TUNSETIFF: {}", std::io::Error::last_os_error());
    queue
}

fn unattached() -> OwnedFd {
    OpenOptions::new().read(true).write(true).open("/dev/net/tun").expect("open").into()
}

fn header_len(queue: &OwnedFd) -> c_int {
    let mut len = 0;
    // SAFETY: TUNGETVNETHDRSZ stores one int at the address, which is that of a live one.
    let result = unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNGETVNETHDRSZ, &raw mut len) };
    assert_eq!(result, 0);
    len
}

fn exists() -> bool {
    std::fs::read_to_string("/proc/thread-self/net/dev").expect("/proc is mounted").contains("rf0:")
}

/// Children of other tests hold copies of the queues until they execute their program.
fn take(queues: usize) -> Tun {
    let mut taken = None;
    eventually("the interface can be taken", || match Tun::take("rf0", queues, Offloads::NONE) {
        Err(TunError::InUse(_)) => false,
        result => taken.replace(result.expect("take")).is_none(),
    });
    taken.expect("just now")
}

#[test]
fn persistent_interfaces_of_every_kind_are_taken_and_left() {
    for (flags, queues) in [("", 1), ("vnet_hdr", 1), ("pi", 1), ("multi_queue", 3), ("multi_queue vnet_hdr pi", 3)] {
        in_namespace(move || {
            ip(&format!("tuntap add dev rf0 mode tun {flags}"));
            // Twice: the next one finds what the first has left.
            for _ in 0..2 {
                let tun = take(3);
                let given = tun.given().expect("we have not made it");
                assert_eq!((tun.queue_count(), tun.flows().is_ok_and(|flows| flows.is_some())), (queues, queues > 1));
                assert_eq!(tun.link().name().expect("name"), "rf0");
                let all = tun.into_queues();
                assert_eq!((interface_of(&all[0]).expect("flags"), header_len(&all[0])), ("rf0".to_owned(), 24));
                given.restore(&all[0]);
                assert_eq!(header_len(&all[0]), 10, "what the driver begins with");
                drop(all);
                assert!(exists(), "it is not ours to delete");
            }
        });
    }
}

/// It had no time to put it back.
#[test]
fn the_header_of_a_daemon_that_was_killed_is_not_taken_for_the_first() {
    in_namespace(|| {
        ip("tuntap add dev rf0 mode tun");
        drop(take(1));
        let tun = take(1);
        let given = tun.given().expect("we have not made it");
        let all = tun.into_queues();
        given.restore(&all[0]);
        assert_eq!(header_len(&all[0]), 10);
    });
}

#[test]
fn a_chosen_mtu_stays() {
    for (mtu, expected) in [(1500, MTU_DEFAULT), (1300, 1300), (9000, 9000)] {
        in_namespace(move || {
            ip("tuntap add dev rf0 mode tun");
            ip(&format!("link set rf0 mtu {mtu}"));
            let link: Link = take(1).link();
            assert_eq!(link.mtu().expect("mtu"), mtu, "not before everything else is there");
            link.replace_driver_mtu().expect("set");
            assert_eq!(link.mtu().expect("mtu"), expected);
        });
    }
}

#[test]
fn what_is_no_tun_interface_is_refused() {
    in_namespace(|| {
        ip("tuntap add dev rf0 mode tap multi_queue vnet_hdr");
        let refused = Tun::take("rf0", 1, Offloads::NONE);
        assert!(matches!(&refused, Err(TunError::Unusable { why: Unusable::Tap, .. })), "{refused:?}");
        ip("link add rf1 type veth peer name rf1-peer");
        assert!(matches!(Tun::take("rf1", 1, Offloads::NONE), Err(TunError::Taken(name)) if name == "rf1"));
        assert!(matches!(Tun::take("rf2", 1, Offloads::NONE), Err(TunError::Taken(_))), "there is none");
    });
}

#[test]
fn what_another_program_uses_is_refused_and_left_alone() {
    for (kind, flags) in [("", OURS), ("multi_queue", OURS | libc::IFF_MULTI_QUEUE)] {
        in_namespace(move || {
            ip(&format!("tuntap add dev rf0 mode tun {kind}"));
            let theirs = open(flags);
            let refused = Tun::take("rf0", 1, Offloads::ALL);
            assert!(matches!(&refused, Err(TunError::InUse(name)) if name == "rf0"), "{refused:?}");
            assert_eq!(header_len(&theirs), 10);
        });
        // One that goes with its last queue, which is theirs.
        in_namespace(move || {
            let theirs = open(flags);
            assert!(matches!(Tun::take("rf0", 1, Offloads::ALL), Err(TunError::InUse(_))));
            drop(theirs);
        });
    }
}

#[test]
fn a_queue_is_adopted_with_others_beside_it_if_there_may_be_others() {
    for (flags, queues) in [(OURS, 1), (OURS | libc::IFF_MULTI_QUEUE, 3)] {
        in_namespace(move || {
            let theirs = open(flags);
            assert_eq!(interface_of(&theirs).expect("a good one"), "rf0");
            let copy = theirs.try_clone().expect("clone");
            let tun = Tun::adopt(copy, 3, Offloads::NONE).expect("adopt");
            let given = tun.given().expect("we have not made it");
            assert_eq!((tun.queue_count(), tun.link().mtu().expect("mtu")), (queues, 1500));
            let all = tun.into_queues();
            // SAFETY: F_GETFL takes no pointer.
            let status = unsafe { libc::fcntl(all[0].as_raw_fd(), libc::F_GETFL) };
            assert_ne!(status & libc::O_NONBLOCK, 0);
            given.restore(&all[0]);
            drop(all);
            assert_eq!(header_len(&theirs), 10);
            assert!(exists(), "who has handed it over has it still");
        });
    }
}

#[test]
fn queues_that_do_not_suit_are_refused() {
    let refused = |queue: OwnedFd, expected: Unusable| {
        let result = Tun::adopt(queue, 1, Offloads::ALL);
        assert!(matches!(&result, Err(TunError::Unusable { why, .. }) if *why == expected), "{expected:?}: {result:?}");
    };
    in_namespace(move || {
        refused(open(libc::IFF_TUN | libc::IFF_VNET_HDR), Unusable::PacketInformation);
        eventually("it is gone", || !exists());
        refused(open(libc::IFF_TUN | libc::IFF_NO_PI), Unusable::NoHeader);
        eventually("it is gone", || !exists());
        refused(open(libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR), Unusable::Tap);
        refused(unattached(), Unusable::Unattached);
        refused(OpenOptions::new().read(true).open("/dev/null").expect("open").into(), Unusable::NotTun);
    });
    in_namespace(move || {
        let queue = open(OURS);
        in_namespace(move || refused(queue, Unusable::Elsewhere));
    });
    in_namespace(|| {
        let (queue, _other) = (open(OURS | libc::IFF_MULTI_QUEUE), open(OURS | libc::IFF_MULTI_QUEUE));
        assert!(matches!(Tun::adopt(queue, 1, Offloads::ALL), Err(TunError::InUse(_))));
    });
}
