//! Sending from the control thread.

use std::net::IpAddr;

use nix::errno::Errno;
use udp_uring::{Endpoint, LocalAddr, SentBy, SocketConfig, SocketGroup, send_handshake};

use crate::bench::{endpoint_to, far_end, in_namespace, receive_plain, set_int, sockets};

fn from(endpoint: Endpoint, source: &str) -> Endpoint {
    Endpoint { source: Some(LocalAddr { addr: source.parse().expect("literal"), ifindex: 0 }), ..endpoint }
}

#[test]
fn it_leaves_from_the_source_of_the_path() {
    in_namespace(&["link set lo up", "addr add fd00::5/128 dev lo"], || {
        let group = sockets(2);
        for (ip, source) in [("127.0.0.1", "127.0.0.9"), ("::1", "fd00::5")] {
            let far = far_end(ip);
            let sent = send_handshake(group.pair(0), &from(endpoint_to(&far), source), b"initiation", 0);
            assert_eq!(sent, Ok(SentBy::Endpoint));
            let (bytes, whence) = receive_plain(&far, 1).remove(0);
            assert_eq!(bytes, b"initiation");
            assert_eq!(whence.ip(), source.parse::<IpAddr>().expect("literal"));
            assert_eq!(whence.port(), group.port());
        }
    });
}

#[test]
fn a_source_that_has_gone_is_left_out_and_reported() {
    let group = sockets(1);
    for (ip, source) in [("127.0.0.1", "192.0.2.77"), ("::1", "2001:db8::77")] {
        let far = far_end(ip);
        let sent = send_handshake(group.pair(0), &from(endpoint_to(&far), source), b"response", 0);
        assert_eq!(sent, Ok(SentBy::RouteSource));
        assert_eq!(receive_plain(&far, 1)[0].1.ip(), ip.parse::<IpAddr>().expect("literal"));
    }
}

#[test]
fn a_link_local_source_works_with_its_link() {
    let commands = [
        "link set lo up",
        "link add near type veth peer name far",
        "link set near addrgenmode none",
        "link set far addrgenmode none",
        "link set near up",
        "link set far up",
        "addr add fe80::1/64 dev near nodad",
        "addr add fe80::2/64 dev near nodad",
    ];
    in_namespace(&commands, || {
        let ifindex = nix::net::if_::if_nametoindex("near").expect("it was just made");
        let group = sockets(1);
        let far = std::net::UdpSocket::bind(("::", 0)).expect("a port is free");
        let port = far.local_addr().expect("bound").port();
        let remote = std::net::SocketAddrV6::new("fe80::2".parse().expect("literal"), port, 0, ifindex);
        let source = LocalAddr { addr: "fe80::1".parse().expect("literal"), ifindex };
        let endpoint = Endpoint { remote: remote.into(), source: Some(source) };
        assert_eq!(send_handshake(group.pair(0), &endpoint, b"hello", 0), Ok(SentBy::Endpoint));
        assert_eq!(receive_plain(&far, 1)[0].1.ip(), source.addr);
    });
}

#[test]
fn the_traffic_class_goes_out() {
    let group = sockets(1);
    let to_self =
        [("127.0.0.1", libc::IPPROTO_IP, libc::IP_RECVTOS), ("::1", libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS)];
    for (ip, level, option) in to_self {
        let far = far_end(ip);
        set_int(&far, level, option, 1);
        let _ = send_handshake(group.pair(0), &endpoint_to(&far), b"marked", 0x8a).expect("sent");
        let mut buffer = [0; 64];
        let mut iov = [std::io::IoSliceMut::new(&mut buffer)];
        let mut space = vec![0; 128];
        let fd = std::os::fd::AsRawFd::as_raw_fd(&far);
        let flags = nix::sys::socket::MsgFlags::empty();
        let got = nix::sys::socket::recvmsg::<()>(fd, &mut iov, Some(&mut space), flags).expect("it arrives");
        let classes: Vec<_> = got
            .cmsgs()
            .expect("not cut off")
            .filter_map(|c| match c {
                nix::sys::socket::ControlMessageOwned::Ipv4Tos(t) => Some(i32::from(t)),
                nix::sys::socket::ControlMessageOwned::Ipv6TClass(t) => Some(t),
                _ => None,
            })
            .collect();
        assert_eq!(classes, [0x8a], "over {ip}");
    }
}

#[test]
fn failures_have_their_errno() {
    let group = sockets(1);
    let far = far_end("127.0.0.1");
    let too_long = vec![0; 70_000];
    assert_eq!(send_handshake(group.pair(0), &endpoint_to(&far), &too_long, 0), Err(Errno::EMSGSIZE));
    in_namespace(&[], || {
        // Not even loopback is up: there is no route to anywhere.
        let group = SocketGroup::bind(&SocketConfig::new(0, 1)).expect("a port is free");
        let endpoint = Endpoint::new("192.0.2.1:1".parse().expect("literal"));
        assert_eq!(send_handshake(group.pair(0), &endpoint, b"lost", 0), Err(Errno::ENETUNREACH));
        let endpoint = from(endpoint, "192.0.2.2");
        assert_eq!(
            send_handshake(group.pair(0), &endpoint, b"lost", 0),
            Err(Errno::ENETUNREACH),
            "tried without it too"
        );
    });
}
