//! What may be asked of sockets: which are made, and which of their options.
//!
//! A capability is the right to far more than we use it for. With `CAP_NET_ADMIN`, options of IP reach the firewall's
//! old interface (`IPT_SO_SET_REPLACE`), and as root any service with a unix stream socket does what it is asked. So
//! options are named one by one, and of unix sockets there are datagrams only: the log's and the service manager's. A
//! lookup of a name may ask a local service by a unix stream socket, if it is neither root nor the daemon's user.

use libc::{c_int, c_long};
use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};

use super::calls::Role;
use super::rule::{Condition, Rule, Terms};

/// The type of a socket without its flags (`SOCK_TYPE_MASK` of `linux/net.h`).
const SOCKET_TYPE: u64 = 0xf;

/// The same number for IPv4 and IPv6 (`linux/icmp.h`, `icmpv6.h`).
const ICMP_FILTER: c_int = 1;

/// What `UdpSocket` and `udp-uring` set, and our netlink and raw sockets.
const SET_BY_CONTROL: &[(c_int, &[c_int])] = &[
    (
        libc::SOL_SOCKET,
        &[
            libc::SO_REUSEADDR,
            libc::SO_REUSEPORT,
            libc::SO_SNDBUF,
            libc::SO_RCVBUF,
            libc::SO_SNDBUFFORCE,
            libc::SO_RCVBUFFORCE,
            libc::SO_RCVTIMEO,
            libc::SO_SNDTIMEO,
            libc::SO_MARK,
            libc::SO_BINDTODEVICE,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            libc::SO_ATTACH_BPF,
            libc::SO_DETACH_FILTER,
        ],
    ),
    (libc::IPPROTO_IP, &[libc::IP_PKTINFO, libc::IP_RECVTOS, libc::IP_MTU_DISCOVER]),
    (libc::IPPROTO_IPV6, &[libc::IPV6_V6ONLY, libc::IPV6_RECVPKTINFO, libc::IPV6_RECVTCLASS, libc::IPV6_MTU_DISCOVER]),
    (libc::SOL_UDP, &[libc::UDP_GRO, libc::UDP_SEGMENT]),
    (libc::SOL_RAW, &[ICMP_FILTER]),
    (libc::IPPROTO_ICMPV6, &[ICMP_FILTER]),
];

/// What the C library's resolver and its modules set.
const SET_BY_LOOKUP: &[(c_int, &[c_int])] = &[
    (libc::SOL_SOCKET, &[libc::SO_SNDBUF, libc::SO_RCVBUF, libc::SO_RCVTIMEO, libc::SO_SNDTIMEO, libc::SO_PASSCRED]),
    // By these glibc hears that nobody listens at a name server.
    (libc::IPPROTO_IP, &[libc::IP_RECVERR]),
    (libc::IPPROTO_IPV6, &[libc::IPV6_V6ONLY, libc::IPV6_RECVERR]),
    // By musl, towards a name server.
    (libc::IPPROTO_TCP, &[libc::TCP_FASTOPEN_CONNECT]),
];

/// A log that is full must not hold up who writes to it.
const SET_BY_FILES: &[(c_int, &[c_int])] = &[(libc::SOL_SOCKET, &[libc::SO_SNDTIMEO])];

const GOT_BY_CONTROL: &[(c_int, &[c_int])] = &[
    (libc::IPPROTO_IP, &[libc::IP_MTU]),
    (libc::IPPROTO_IPV6, &[libc::IPV6_MTU]),
    (libc::SOL_UDP, &[libc::UDP_SEGMENT]),
];

/// No raw packets, no other protocol families: most holes of the kernel's network are in these.
pub(super) fn made(role: Role, terms: Terms) -> Vec<Rule> {
    let family = |family: c_int| Condition(0, Dword, Eq, family as u64);
    let kind = |kind: c_int| Condition(1, Dword, MaskedEq(SOCKET_TYPE), kind as u64);
    let local = vec![family(libc::AF_UNIX), kind(libc::SOCK_DGRAM)];
    let netlink = vec![family(libc::AF_NETLINK), Condition(2, Dword, Eq, libc::NETLINK_ROUTE as u64)];
    let all = match role {
        Role::Worker | Role::Metrics | Role::Capture => Vec::new(),
        Role::Files => vec![local],
        // TCP is for metrics, which listen before.
        Role::Control => vec![
            local,
            vec![family(libc::AF_INET), kind(libc::SOCK_DGRAM)],
            vec![family(libc::AF_INET), kind(libc::SOCK_RAW)],
            vec![family(libc::AF_INET6), kind(libc::SOCK_DGRAM)],
            vec![family(libc::AF_INET6), kind(libc::SOCK_RAW)],
            netlink,
        ],
        Role::Names | Role::Lookup => {
            let mut all = vec![
                vec![family(libc::AF_INET), kind(libc::SOCK_DGRAM)],
                vec![family(libc::AF_INET), kind(libc::SOCK_STREAM)],
                vec![family(libc::AF_INET6), kind(libc::SOCK_DGRAM)],
                vec![family(libc::AF_INET6), kind(libc::SOCK_STREAM)],
                netlink,
            ];
            // Services do what root asks them for, and the control socket shows its own user private keys.
            if terms.is_somebody_else {
                all.extend([vec![family(libc::AF_UNIX), kind(libc::SOCK_STREAM)], local]);
            }
            all
        }
    };
    all.into_iter().map(|conditions| (libc::SYS_socket, conditions)).collect()
}

/// The options that are set and read.
pub(super) fn options(role: Role) -> Vec<Rule> {
    let level = |level: c_int| Condition(1, Dword, Eq, level as u64);
    let (set, got) = match role {
        Role::Worker | Role::Capture => return Vec::new(),
        Role::Metrics => (&[][..], &[][..]),
        Role::Files => (SET_BY_FILES, &[][..]),
        Role::Control => (SET_BY_CONTROL, GOT_BY_CONTROL),
        Role::Names | Role::Lookup => (SET_BY_LOOKUP, &[][..]),
    };
    let named = |call: c_long, table: &[(c_int, &[c_int])]| -> Vec<Rule> {
        let each = table.iter().flat_map(|&(of, names)| names.iter().map(move |&name| (of, name)));
        each.map(|(of, name)| (call, vec![level(of), Condition(2, Dword, Eq, name as u64)])).collect()
    };
    let mut rules = named(libc::SYS_setsockopt, set);
    rules.extend(named(libc::SYS_getsockopt, got));
    // Whose socket it is, whether it has failed.
    rules.push((libc::SYS_getsockopt, vec![level(libc::SOL_SOCKET)]));
    if matches!(role, Role::Control | Role::Names | Role::Lookup) {
        // Of netlink there are sockets for routes only.
        rules.push((libc::SYS_setsockopt, vec![level(libc::SOL_NETLINK)]));
    }
    rules
}
