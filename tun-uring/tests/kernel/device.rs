//! Interfaces made and changed.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use tun_uring::device::{self, MTU_DEFAULT};
use tun_uring::{Bucket, Offloads, Tun, TunError, detach};

use crate::namespace::{disable_ipv6, drop_capabilities, eventually, in_namespace, ip};

fn exists(name: &str) -> bool {
    let devices = std::fs::read_to_string("/proc/thread-self/net/dev").expect("/proc is mounted");
    devices.lines().any(|line| line.trim_start().starts_with(&format!("{name}:")))
}

#[test]
fn an_interface_with_queues_appears_and_disappears() {
    in_namespace(|| {
        let tun = Tun::create("rf0", 4, Offloads::NONE).expect("create");
        let link = tun.link();
        assert_eq!(link.name().expect("name"), "rf0");
        assert!(link.index() > 0);
        assert_eq!(link.mtu().expect("mtu"), MTU_DEFAULT);
        assert_eq!(tun.offloads(), Offloads::NONE);
        let queues = tun.into_queues();
        assert_eq!(queues.len(), 4);
        for queue in &queues {
            // SAFETY: F_GETFL takes no pointer.
            let status = unsafe { libc::fcntl(queue.as_raw_fd(), libc::F_GETFL) };
            assert_ne!(status & libc::O_NONBLOCK, 0);
            // SAFETY: F_GETFD takes no pointer.
            let flags = unsafe { libc::fcntl(queue.as_raw_fd(), libc::F_GETFD) };
            assert_ne!(flags & libc::FD_CLOEXEC, 0);
        }
        assert!(exists("rf0"));
        drop(queues);
        // At once, unless children of other tests still hold copies of the queues until they execute ip(8).
        eventually("the interface goes with its last queue", || !exists("rf0"));
        assert!(matches!(link.mtu(), Err(TunError::Step { .. })));
    });
}

/// As when another process has attached its own meanwhile, and has ended.
#[test]
fn the_program_that_chooses_queues_can_be_attached_again() {
    in_namespace(|| {
        let mut tun = Tun::create("rf0", 2, Offloads::NONE).expect("create");
        let table = tun.flows().expect("the kernel takes the program").expect("there is a choice");
        let program = tun.take_program().expect("it is kept");
        let queues = tun.into_queues();
        ip("address add 10.7.0.1/24 dev rf0");
        ip("link set rf0 up");
        let socket = UdpSocket::bind("10.7.0.1:0").unwrap();
        let sent = || Bucket::all().map(|bucket| table.sent(bucket)).sum::<u64>();
        let send = || {
            let before = sent();
            socket.send_to(b"a datagram", "10.7.0.2:9").unwrap();
            sent() - before
        };
        assert!(send() > 0);
        detach(&queues[0]).unwrap();
        assert_eq!(send(), 0, "the driver chooses");
        program.attach(&queues[0]).unwrap();
        assert!(send() > 0);
    });
}

#[test]
fn an_interface_that_exists_is_refused_and_left_alone() {
    in_namespace(|| {
        let first = Tun::create("rf0", 1, Offloads::NONE).expect("create");
        first.link().set_mtu(1300).expect("set");
        assert!(matches!(Tun::create("rf0", 1, Offloads::NONE), Err(TunError::Taken(name)) if name == "rf0"));
        assert_eq!(first.link().mtu().expect("mtu"), 1300);
        ip("link add rf1 type veth peer name rf1-peer");
        assert!(matches!(Tun::create("rf1", 1, Offloads::NONE), Err(TunError::Taken(_))));
        // A persistent TUN interface could be attached to, so it takes the flag to keep us off.
        ip("tuntap add dev rf2 mode tun multi_queue vnet_hdr");
        assert!(matches!(Tun::create("rf2", 1, Offloads::NONE), Err(TunError::Taken(_))));
    });
}

#[test]
fn the_mtu_within_the_limits_of_the_kernel() {
    in_namespace(|| {
        let tun = Tun::create("rf0", 1, Offloads::NONE).expect("create");
        for mtu in [68, 1280, 9000, 65_535] {
            tun.link().set_mtu(mtu).expect("set");
            assert_eq!(tun.link().mtu().expect("mtu"), mtu);
        }
        for mtu in [0, 67, 65_536, u32::MAX] {
            assert!(matches!(tun.link().set_mtu(mtu), Err(TunError::Step { .. })), "{mtu}");
        }
        assert_eq!(tun.link().mtu().expect("mtu"), 65_535);
    });
}

#[test]
fn the_handle_follows_a_rename() {
    in_namespace(|| {
        let tun = Tun::create("rf0", 1, Offloads::NONE).expect("create");
        ip("link set rf0 name renamed0");
        assert_eq!(tun.link().name().expect("name"), "renamed0");
        tun.link().set_mtu(1400).expect("set");
        assert_eq!(tun.link().mtu().expect("mtu"), 1400);
    });
}

#[test]
fn offloads_are_given_as_far_as_the_kernel_knows_them() {
    in_namespace(|| {
        let tun = Tun::create("rf0", 1, Offloads::ALL).expect("create");
        let given = tun.offloads();
        assert!(given.checksum && given.tcp, "every supported kernel has these: {given:?}");
        let queues = tun.into_queues();
        assert_eq!(device::negotiate(&queues[0], Offloads::NONE).expect("off"), Offloads::NONE);
        assert_eq!(device::negotiate(&queues[0], given).expect("on"), given);
    });
}

#[test]
fn bad_requests_leave_nothing_behind() {
    in_namespace(|| {
        assert!(matches!(Tun::create("rf0", 0, Offloads::NONE), Err(TunError::Queues(0))));
        assert!(matches!(Tun::create("rf0", 257, Offloads::NONE), Err(TunError::Queues(257))));
        assert!(matches!(Tun::create("rf%d", 1, Offloads::NONE), Err(TunError::Name { .. })));
        assert!(!exists("rf0"));
    });
}

#[test]
fn no_permission_is_named() {
    in_namespace(|| {
        drop_capabilities();
        let refused = Tun::create("rf0", 1, Offloads::NONE).expect_err("not root");
        assert!(matches!(refused, TunError::Permission { .. }), "{refused}");
        assert!(refused.to_string().contains("CAP_NET_ADMIN"), "{refused}");
    });
}

#[test]
fn all_queues_of_the_kernel() {
    in_namespace(|| {
        let tun = Tun::create("rf0", device::QUEUES_MAX, Offloads::NONE).expect("create");
        assert_eq!(tun.into_queues().len(), device::QUEUES_MAX);
    });
}

#[test]
fn queues_do_not_block_and_have_the_long_header() {
    in_namespace(|| {
        let tun = Tun::create("rf0", 1, Offloads::NONE).expect("create");
        disable_ipv6("rf0");
        ip("address add 10.7.0.1/24 dev rf0");
        ip("link set rf0 up");
        let mut queue = File::from(tun.into_queues().remove(0));
        let mut buffer = [0; 2048];
        let nothing = queue.read(&mut buffer).expect_err("no packet yet");
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        let socket = UdpSocket::bind("10.7.0.1:0").expect("bind");
        socket.send_to(b"hello", "10.7.0.2:9").expect("send");
        let n = queue.read(&mut buffer).expect("one packet");
        assert_eq!(n, tun_uring::VNET_HDR_LEN + 28 + 5);
        assert_eq!(tun_uring::virtio::parse(&buffer[..n]), Ok(tun_uring::Received::Packet(None)));
        assert_eq!(&buffer[n - 5..n], b"hello");
    });
}

/// Another process gets more queues than there are, while packets come.
#[test]
fn queues_that_wait_for_another_process_take_no_packet() {
    const DATAGRAMS: u32 = 20_000;
    in_namespace(|| {
        let tun = Tun::create("rf0", 1, Offloads::NONE).expect("create");
        disable_ipv6("rf0");
        ip("link set rf0 txqueuelen 30000");
        ip("address add 10.9.0.1/24 dev rf0");
        ip("link set rf0 up");
        let queue = File::from(tun.into_queues().remove(0));
        let sockets: Vec<_> = (0..8).map(|_| UdpSocket::bind("10.9.0.1:0").expect("bind")).collect();
        let over = AtomicBool::new(false);
        let mut grown = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..DATAGRAMS {
                    // Of many flows, which a driver with two queues would spread.
                    let socket = &sockets[number as usize % sockets.len()];
                    socket.send_to(&number.to_be_bytes(), "10.9.0.2:9").expect("send");
                }
                over.store(true, Ordering::Relaxed);
            });
            while !over.load(Ordering::Relaxed) {
                let one = OwnedFd::from(queue.try_clone().expect("clone"));
                let resumed = Tun::resume(vec![one], 3, None, None).expect("resume");
                grown += usize::from(resumed.queue_count() == 3);
            }
        });
        assert!(grown > 0);
        let mut packet = [0; 2_000];
        let arrived = std::iter::from_fn(|| (&queue).read(&mut packet).ok()).count();
        assert_eq!(arrived, DATAGRAMS as usize, "after {grown} times");
    });
}
