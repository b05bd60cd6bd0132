//! Who gets the port, and with which options.

use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::thread;

use nix::errno::Errno;
use udp_uring::{BindError, Family, SocketConfig, SocketGroup};

use crate::bench::{eventually, far_end, get_int, in_namespace, set_int, sockets, when_free};

fn bind(port: u16, workers: u8) -> Result<SocketGroup, BindError> {
    SocketGroup::bind(&SocketConfig::new(port, workers))
}

#[test]
fn a_free_port_is_the_same_in_both_families_and_for_all_workers() {
    let group = sockets(3);
    assert_ne!(group.port(), 0);
    assert_eq!(group.workers(), 3);
    assert!(group.has_v6(), "the test machine has IPv6");
    assert!(group.offloads().gso && group.offloads().gro, "Linux 5.0 has both");
    for worker in 0..3 {
        for fd in [group.pair(worker).v4().expect("IPv4"), group.pair(worker).v6().expect("as above")] {
            let socket = UdpSocket::from(fd.try_clone_to_owned().expect("a descriptor is free"));
            assert_eq!(socket.local_addr().expect("bound").port(), group.port());
        }
    }
}

#[test]
fn a_second_gateway_is_refused_and_the_first_goes_on() {
    for workers in [1, 2] {
        let first = sockets(workers);
        for second in [1, 2] {
            let refused = bind(first.port(), second).expect_err("the port has an owner");
            assert_eq!(refused, BindError::PortInUse { port: first.port(), family: Family::V4 });
            assert_eq!(refused.errno(), Errno::EADDRINUSE);
        }
        let far = far_end("127.0.0.1");
        far.send_to(b"still there", ("127.0.0.1", first.port())).expect("loopback works");
        let having = || {
            let has_it = |&w: &usize| {
                let socket = UdpSocket::from(
                    first.pair(w).v4().expect("IPv4").try_clone_to_owned().expect("a descriptor is free"),
                );
                socket.recv(&mut [0; 16]).is_ok()
            };
            (0..usize::from(workers)).filter(has_it).count()
        };
        // Loopback delivers within the send, unless the kernel leaves that to a thread of its own.
        let all = eventually("it arrives", || Some(having()).filter(|&n| n > 0));
        assert_eq!(all, 1, "exactly one worker has it");
    }
}

#[test]
fn a_foreign_socket_that_would_share_the_port_is_not_joined() {
    let foreign = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Inet,
        nix::sys::socket::SockType::Datagram,
        nix::sys::socket::SockFlag::empty(),
        None,
    )
    .expect("a socket");
    set_int(&foreign, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1);
    let any = nix::sys::socket::SockaddrIn::new(0, 0, 0, 0, 0);
    nix::sys::socket::bind(std::os::fd::AsRawFd::as_raw_fd(&foreign), &any).expect("a port is free");
    let foreign = UdpSocket::from(foreign);
    let port = foreign.local_addr().expect("bound").port();
    assert_eq!(bind(port, 2).expect_err("taken"), BindError::PortInUse { port, family: Family::V4 });
}

#[test]
fn a_port_that_is_taken_in_ipv6_only_is_refused_and_left_free_in_ipv4() {
    // Where nobody else can have that port in IPv4.
    in_namespace(&["link set lo up"], || {
        let foreign = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).expect("a port is free");
        let port = foreign.local_addr().expect("bound").port();
        assert_eq!(bind(port, 2).expect_err("taken"), BindError::PortInUse { port, family: Family::V6 });
        // Nothing of the attempt is left.
        when_free(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)));
    });
}

#[test]
fn a_free_port_is_looked_for_again_when_ipv6_has_it() {
    // Four ports to choose from, and IPv6 has three of them.
    in_namespace(&["link set lo up"], || {
        let range = "/proc/sys/net/ipv4/ip_local_port_range";
        std::fs::write(range, "40000 40003").expect("the namespace is ours");
        let _taken: Vec<_> =
            [40_000, 40_001, 40_002].map(|p| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, p)).expect("free")).into();
        let group = sockets(2);
        assert_eq!(group.port(), 40_003);
        assert_eq!(bind(0, 1).expect_err("none is left").errno(), Errno::EADDRINUSE);
    });
}

#[test]
fn without_ipv6_there_is_ipv4() {
    // IPv6 cannot be disabled for a thread, but its sockets can be refused, as they are with `ipv6.disable=1`.
    thread::spawn(|| {
        refuse_ipv6_sockets();
        let group = sockets(2);
        assert!(!group.has_v6());
        let far = far_end("127.0.0.1");
        far.send_to(b"hello", ("127.0.0.1", group.port())).expect("loopback works");
    })
    .join()
    .expect("the thread ends well");
}

/// Makes `socket(AF_INET6, …)` fail with `EAFNOSUPPORT` on this thread, by a seccomp filter.
fn refuse_ipv6_sockets() {
    let stmt = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let skip_unless = |k: u32, n: u8| libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: 0,
        jf: n,
        k,
    };
    let load = |offset: u32| stmt(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
    let ret = |k: u32| stmt(libc::BPF_RET | libc::BPF_K, k);
    // Offsets in `struct seccomp_data`: the call's number, and the low half of its first argument.
    let mut filter = [
        load(0),
        skip_unless(libc::SYS_socket as u32, 3),
        load(16),
        skip_unless(libc::AF_INET6 as u32, 1),
        ret(libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT as u32),
        ret(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: takes no pointers.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the program and its instructions outlive the call, which copies them.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn options_are_as_asked_for() {
    let config = SocketConfig { receive_buffer: 100_000, send_buffer: 50_000, ..SocketConfig::new(0, 2) };
    let group = SocketGroup::bind(&config).expect("a port is free");
    for worker in 0..2 {
        let (v4, v6) =
            (group.pair(worker).v4().expect("IPv4"), group.pair(worker).v6().expect("the test machine has IPv6"));
        for fd in [v4, v6] {
            // The kernel doubles what it is asked for, to have room for its own.
            assert_eq!(get_int(&fd, libc::SOL_SOCKET, libc::SO_RCVBUF), 200_000);
            assert_eq!(get_int(&fd, libc::SOL_SOCKET, libc::SO_SNDBUF), 100_000);
            assert_eq!(get_int(&fd, libc::SOL_UDP, libc::UDP_GRO), 1);
            let flags = nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_GETFL).expect("an open descriptor");
            assert_ne!(flags & libc::O_NONBLOCK, 0);
            let flags = nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_GETFD).expect("an open descriptor");
            assert_ne!(flags & libc::FD_CLOEXEC, 0);
        }
        assert_eq!(get_int(&v4, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER), libc::IP_PMTUDISC_OMIT);
        assert_eq!(get_int(&v6, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER), libc::IPV6_PMTUDISC_OMIT);
        assert_eq!(get_int(&v6, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY), 1);
    }
}

#[test]
fn the_mark_is_set_on_all_sockets_and_cleared() {
    let group = sockets(2);
    for mark in [0xca6c, 0] {
        match group.set_fwmark(mark) {
            Err(e) => assert_eq!(e.errno(), Errno::EPERM, "only the privilege may be missing"),
            Ok(()) => {
                for worker in 0..2 {
                    let pair = group.pair(worker);
                    assert_eq!(get_int(&pair.v4().expect("IPv4"), libc::SOL_SOCKET, libc::SO_MARK), mark as i32);
                    assert_eq!(get_int(&pair.v6().expect("IPv6"), libc::SOL_SOCKET, libc::SO_MARK), mark as i32);
                }
            }
        }
    }
}

#[test]
fn no_workers_no_sockets() {
    assert_eq!(bind(0, 0).expect_err("refused"), BindError::NoWorkers);
}

#[test]
fn descriptors_that_run_out_are_named() {
    // In a child process, since the limit is the whole process's.
    let exe = std::env::current_exe().expect("the test's own path");
    if std::env::var_os("UDP_URING_FEW_DESCRIPTORS").is_none() {
        let status = std::process::Command::new(exe)
            .args(["--exact", "sockets::descriptors_that_run_out_are_named", "--nocapture"])
            .env("UDP_URING_FEW_DESCRIPTORS", "1")
            .status()
            .expect("the test runs again");
        assert!(status.success());
        return;
    }
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, 24, 24).expect("lowering is allowed");
    let refused = bind(0, 64).expect_err("there are not that many descriptors");
    assert_eq!(refused, BindError::Descriptors { errno: Errno::EMFILE });
    assert!(refused.to_string().contains("ulimit -n"));
    drop(bind(0, 2).expect("the failed attempt left nothing open"));
}
