//! Interfaces: what the kernel of this machine answers, and messages by hand.

use super::*;
use crate::message::tests::{attributes, message};

fn header(family: AddressFamily, flags: u32) -> Vec<u8> {
    let mut header = vec![0; LINK_HEADER_LEN];
    header[0] = family.into();
    header[4..8].copy_from_slice(&7_u32.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header
}

#[test]
fn an_interface_is_found_by_name_and_by_index() {
    let socket = LinkSocket::open().unwrap();
    let of_lo = |file| std::fs::read_to_string(format!("/sys/class/net/lo/{file}")).unwrap().trim().parse().unwrap();
    let (index, state) = socket.find(Place::Home, "lo").unwrap().unwrap();
    assert_eq!((index, state.mtu), (of_lo("ifindex"), Some(of_lo("mtu"))));
    assert_eq!(socket.state(Place::Home, index).unwrap(), Some(state));
    assert_eq!(socket.kind("lo").unwrap(), Some(LinkKind::Other));
    assert_eq!(socket.find(Place::Home, "surely-not").unwrap(), None);
    assert_eq!(socket.state(Place::Away(i32::MAX), index).unwrap(), None, "no such namespace");
}

#[test]
fn an_answer_that_nobody_read_is_not_taken_for_the_next() {
    let socket = LinkSocket::open().unwrap();
    socket.delete(Place::Home, i32::MAX as u32).unwrap();
    assert!(socket.find(Place::Home, "lo").unwrap().is_some(), "the refusal came first");
}

#[test]
fn nothing_is_news_at_first() {
    let monitor = LinkMonitor::open().unwrap();
    // Of an index that no interface has: other tests make and delete theirs.
    assert_eq!(monitor.news(i32::MAX as u32).unwrap(), LinkNews::None);
}

#[test]
fn every_namespace_can_be_listened_to() {
    let monitor = LinkMonitor::open_everywhere().unwrap();
    monitor.listen(true).unwrap();
    monitor.listen(false).unwrap();
    assert_eq!(monitor.news(i32::MAX as u32).unwrap(), LinkNews::None);
}

#[test]
fn what_is_told_unasked() {
    let body = header(AddressFamily::Unspec, 64);
    let news = |kind| news_of(message(kind, &body));
    assert_eq!(news(libc::RTM_NEWLINK), Some((7, LinkNews::Changed)));
    assert_eq!(news(libc::RTM_DELLINK), Some((7, LinkNews::Left)));
    assert_eq!(news(libc::RTM_NEWROUTE), None);
    assert_eq!(news_of(message(libc::RTM_NEWLINK, &body[..15])), None, "cut short");
}

#[test]
fn leaving_a_bridge_is_not_the_end_of_an_interface() {
    assert_eq!(news_of(message(libc::RTM_DELLINK, &header(AddressFamily::Bridge, 0))), None);
}

#[test]
fn the_state_of_a_link() {
    let state = |flags, attributes: &[u8]| {
        let body = [&header(AddressFamily::Unspec, flags), attributes].concat();
        link_in(message(libc::RTM_NEWLINK, &body)).unwrap().state
    };
    let up = LinkFlags::Up.bits();
    // A name of three letters and its end makes the next attribute start after padding. The last one is what a newer
    // kernel might send.
    let named = attributes(&[
        (libc::IFLA_IFNAME, b"wg0\0\0"),
        (libc::IFLA_MTU, &1420_u32.to_ne_bytes()),
        (libc::IFLA_STATS, b"?"),
    ]);
    assert_eq!(state(up | 64, &named), LinkState { up: true, mtu: Some(1420) });
    assert_eq!(state(64, &[]), LinkState { up: false, mtu: None });
    assert_eq!(link_in(message(libc::RTM_NEWROUTE, &[0; 16])), None);
}

#[test]
fn the_id_of_a_namespace() {
    let answer_of = |id: i32| {
        let body = [vec![0; 4], attributes(&[(NETNSA_NSID, &id.to_ne_bytes())])].concat();
        namespace_id_in(message(libc::RTM_NEWNSID, &body))
    };
    assert_eq!(answer_of(3), Some(Some(3)));
    assert_eq!(answer_of(NSID_NONE), Some(None));
}

#[test]
fn what_the_tun_driver_says() {
    let data = attributes(&[
        (IFLA_TUN_TYPE, &[2]),
        (IFLA_TUN_PI, &[1]),
        (IFLA_TUN_VNET_HDR, &[1]),
        (IFLA_TUN_PERSIST, &[1]),
        (IFLA_TUN_MULTI_QUEUE, &[1]),
        (IFLA_TUN_NUM_QUEUES, &2_u32.to_ne_bytes()),
        (IFLA_TUN_NUM_DISABLED_QUEUES, &1_u32.to_ne_bytes()),
    ]);
    // The kernel marks nested attributes (`NLA_F_NESTED`).
    let info = attributes(&[(IFLA_INFO_KIND, b"tun\0"), (IFLA_INFO_DATA | 0x8000, &data)]);
    let expected = TunInfo {
        is_tap: true,
        packet_information: true,
        header: true,
        persistent: true,
        multi_queue: true,
        queues: 3,
    };
    assert_eq!(kind_in(Attributes(&info)), LinkKind::Tun(expected));
    let cut = attributes(&[(IFLA_INFO_KIND, b"tun\0")]);
    assert_eq!(kind_in(Attributes(&cut)), LinkKind::Tun(TunInfo::default()));
    let other = attributes(&[(IFLA_INFO_KIND, b"veth\0")]);
    assert_eq!(kind_in(Attributes(&other)), LinkKind::Other);
    assert_eq!(kind_in(Attributes(&[])), LinkKind::Other, "lo");
}
