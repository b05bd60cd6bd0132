//! Tests of the control messages: what is written is what the macros of `cmsg(3)` read, and back.

use proptest::prelude::*;

use super::*;

/// The messages in `bytes` as libc's macros, the reference, find them.
fn by_macros(bytes: &[u8]) -> Vec<(i32, i32, Vec<u8>)> {
    // Copied to aligned memory, which the macros take for granted.
    let mut words = vec![0u64; bytes.len().div_ceil(8)];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks(8)) {
        let mut b = [0; 8];
        b[..chunk.len()].copy_from_slice(chunk);
        *word = u64::from_ne_bytes(b);
    }
    // SAFETY: all-zero bytes are a valid msghdr: null pointers and lengths of zero.
    let mut msg: libc::msghdr = unsafe { std::mem::zeroed() };
    msg.msg_control = words.as_mut_ptr().cast();
    msg.msg_controllen = bytes.len() as _;
    let mut out = Vec::new();
    // SAFETY: msg_control and msg_controllen describe `words`, which outlives the loop.
    let mut cmsg = unsafe { libc::CMSG_FIRSTHDR(&raw const msg) };
    while !cmsg.is_null() {
        // SAFETY: the macros return headers that lie inside the control buffer.
        let header = unsafe { cmsg.read() };
        // SAFETY: as above; the data follow the header.
        let data = unsafe { libc::CMSG_DATA(cmsg) };
        let len: usize = header.cmsg_len as _;
        // SAFETY: cmsg_len, which our own writer set, counts the header and the data behind it.
        let data = unsafe { std::slice::from_raw_parts(data, len - HEADER) };
        out.push((header.cmsg_level, header.cmsg_type, data.to_vec()));
        // SAFETY: cmsg is a header of msg.
        cmsg = unsafe { libc::CMSG_NXTHDR(&raw const msg, cmsg) };
    }
    out
}

fn endpoint(remote: &str, source: Option<(&str, u32)>) -> Endpoint {
    Endpoint {
        remote: remote.parse().expect("literal"),
        source: source.map(|(a, ifindex)| LocalAddr { addr: a.parse().expect("literal"), ifindex }),
    }
}

#[test]
fn a_full_ipv6_set_is_what_the_macros_read() {
    let mut control = SendControl::default();
    control.fill(&endpoint("[fe80::1%3]:1", Some(("fe80::2", 3))), 0x03, Some(1452));
    let messages = by_macros(control.as_bytes());
    let mut info = [0; 20];
    info[..2].copy_from_slice(&[0xfe, 0x80]);
    info[15] = 2;
    info[16..].copy_from_slice(&3u32.to_ne_bytes());
    assert_eq!(
        messages,
        [
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info.to_vec()),
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS, 3i32.to_ne_bytes().to_vec()),
            (libc::SOL_UDP, libc::UDP_SEGMENT, 1452u16.to_ne_bytes().to_vec()),
        ]
    );
    assert_eq!(control.as_bytes().len(), SEND_CONTROL_LEN, "the buffer is as large as the fullest set");
}

#[test]
fn a_full_ipv4_set_is_what_the_macros_read() {
    let mut control = SendControl::default();
    control.fill(&endpoint("192.0.2.1:1", Some(("192.0.2.2", 7))), 0x88, Some(100));
    let mut info = [0; 12];
    info[4..8].copy_from_slice(&[192, 0, 2, 2]);
    assert_eq!(
        by_macros(control.as_bytes()),
        [
            (libc::IPPROTO_IP, libc::IP_PKTINFO, info.to_vec()),
            (libc::IPPROTO_IP, libc::IP_TOS, 0x88i32.to_ne_bytes().to_vec()),
            (libc::SOL_UDP, libc::UDP_SEGMENT, 100u16.to_ne_bytes().to_vec()),
        ]
    );
}

#[test]
fn nothing_to_say_is_no_bytes_and_a_source_of_the_wrong_family_is_none() {
    let mut control = SendControl::default();
    control.fill(&endpoint("192.0.2.1:1", Some(("2001:db8::1", 7))), 0, None);
    assert!(control.as_bytes().is_empty());
}

#[test]
fn a_global_ipv6_source_does_not_bind_the_route_to_a_link() {
    let mut control = SendControl::default();
    control.fill(&endpoint("[2001:db8::1]:1", Some(("2001:db8::2", 9))), 0, None);
    assert_eq!(by_macros(control.as_bytes())[0].2[16..], [0; 4]);
}

#[test]
fn refilling_leaves_nothing_behind() {
    let mut control = SendControl::default();
    control.fill(&endpoint("[::1]:1", Some(("::1", 1))), 3, Some(9));
    control.fill(&endpoint("192.0.2.1:1", None), 0, Some(10));
    assert_eq!(by_macros(control.as_bytes()), [(libc::SOL_UDP, libc::UDP_SEGMENT, 10u16.to_ne_bytes().to_vec())]);
}

fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
    let mut out = vec![0; space(data.len())];
    out[LEN..LEN + 8].copy_from_slice(&(HEADER + data.len()).to_ne_bytes());
    out[LEVEL..LEVEL + 4].copy_from_slice(&level.to_ne_bytes());
    out[TYPE..TYPE + 4].copy_from_slice(&kind.to_ne_bytes());
    out[HEADER..HEADER + data.len()].copy_from_slice(data);
    out
}

#[test]
fn unknown_messages_are_passed_over() {
    let mut bytes = message(libc::SOL_SOCKET, libc::SCM_TIMESTAMP, &[1; 16]);
    bytes.extend(message(libc::IPPROTO_IP, libc::IP_TOS, &[0xb9]));
    bytes.extend(message(libc::SOL_UDP, libc::UDP_GRO, &1420i32.to_ne_bytes()));
    let control = ReceiveControl::parse(&bytes);
    assert_eq!(control, ReceiveControl { stride: Some(1420), ecn: 1, local: None });
}

#[test]
fn a_stride_that_is_not_positive_is_none() {
    for stride in [0i32, -1, i32::MIN] {
        let bytes = message(libc::SOL_UDP, libc::UDP_GRO, &stride.to_ne_bytes());
        assert_eq!(ReceiveControl::parse(&bytes).stride, None);
    }
}

#[test]
fn group_and_unspecified_addresses_are_no_source() {
    for addr in ["ff02::1", "::"] {
        let mut info = [0; 20];
        info[..16].copy_from_slice(&addr.parse::<Ipv6Addr>().expect("literal").octets());
        assert_eq!(ReceiveControl::parse(&message(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info)).local, None);
    }
    for addr in [[224, 0, 0, 1], [0, 0, 0, 0]] {
        let mut info = [0; 12];
        info[4..8].copy_from_slice(&addr);
        assert_eq!(ReceiveControl::parse(&message(libc::IPPROTO_IP, libc::IP_PKTINFO, &info)).local, None);
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let _ = ReceiveControl::parse(&bytes);
    }

    #[test]
    fn arbitrary_lengths_of_a_message_never_panic(
        len: usize, kind in 0..256i32, data in prop::collection::vec(any::<u8>(), 0..64), cut in 0..128usize,
    ) {
        for level in [libc::IPPROTO_IP, libc::IPPROTO_IPV6, libc::SOL_UDP] {
            let mut bytes = message(level, kind, &data);
            let mut second = message(level, kind, &data);
            second[LEN..LEN + 8].copy_from_slice(&len.to_ne_bytes());
            bytes.extend(second);
            bytes.truncate(cut);
            let _ = ReceiveControl::parse(&bytes);
        }
    }

    #[test]
    fn what_goes_out_would_come_in_as_the_same(
        remote: std::net::SocketAddr, addr: IpAddr, ifindex: u32, class: u8, segment in 1..=u16::MAX,
    ) {
        let endpoint = Endpoint { remote, source: Some(LocalAddr { addr, ifindex }) };
        let mut control = SendControl::default();
        control.fill(&endpoint, class, Some(segment));
        let back = ReceiveControl::parse(control.as_bytes());
        prop_assert_eq!(back.ecn, class & ECN_MASK);
        let sane = !addr.is_unspecified() && !addr.is_multicast();
        prop_assert_eq!(back.local.map(|l| l.addr), endpoint.usable_source().filter(|_| sane).map(|l| l.addr));
    }
}
