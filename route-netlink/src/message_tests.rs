//! Messages by hand, and bytes that no kernel would send.

use netlink_packet_route::link::LinkMessage;
use proptest::prelude::*;

use super::*;
use crate::{link, route, setup};

const NLMSG_ERROR: u16 = libc::NLMSG_ERROR as u16;

/// One message without flags.
pub(crate) fn message(kind: u16, body: &[u8]) -> Message<'_> {
    Message { kind, flags: 0, sequence: 0, body }
}

/// A datagram of one message.
pub(crate) fn datagram(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let len = (NETLINK_HEADER_LEN + body.len()) as u32;
    let mut bytes = [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8], body].concat();
    bytes.resize(aligned(bytes.len()), 0);
    bytes
}

/// Attributes of these types and values.
pub(crate) fn attributes(list: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, value) in list {
        let len = (NLA_HEADER_SIZE + value.len()) as u16;
        bytes.extend([&len.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat());
        bytes.resize(aligned(bytes.len()), 0);
    }
    bytes
}

fn kinds(datagram: &[u8]) -> Vec<u16> {
    messages(datagram).map(|message| message.kind).collect()
}

#[test]
fn several_messages_in_one_datagram() {
    let all = [datagram(24, 0, &[0; 13]), datagram(999, 0, &[0; 5]), datagram(21, 0, &[])].concat();
    assert_eq!(kinds(&all), [24, 999, 21]);
    assert_eq!(messages(&all).next().unwrap().body.len(), 13, "without the padding");
}

#[test]
fn a_length_beyond_the_datagram_or_below_the_header_ends_it() {
    let mut bytes = datagram(24, 0, &[0; 12]);
    for len in [29, 0, 15, u32::MAX] {
        bytes[0..4].copy_from_slice(&len.to_ne_bytes());
        assert_eq!(kinds(&bytes), [0_u16; 0]);
    }
}

#[test]
fn a_refusal_and_an_acknowledgement() {
    let errno = |body: &[u8]| message(NLMSG_ERROR, body).outcome().map(|outcome| outcome.map_err(|no| no.errno));
    assert_eq!(errno(&(-libc::ENODEV).to_ne_bytes()), Some(Err(libc::ENODEV)));
    assert_eq!(errno(&[0; 20]), Some(Ok(())));
    assert_eq!(errno(&i32::MIN.to_ne_bytes()), None);
    assert_eq!(errno(&[0; 3]), None);
    assert_eq!(message(libc::RTM_NEWLINK, &[0; 4]).outcome(), None);
}

#[test]
fn a_refusal_in_words() {
    let words = attributes(&[(2, &[0; 4]), (NLMSGERR_ATTR_MSG, b"Invalid prefix\0")]);
    let request = datagram(24, 0, &[0; 12]);
    let errno = (-libc::EINVAL).to_ne_bytes();
    let text = |flags, body: &[u8]| match (Message { flags, ..message(NLMSG_ERROR, body) }).outcome() {
        Some(Err(refusal)) => refusal.text,
        _ => panic!("a refusal"),
    };
    let whole = [&errno[..], &request, &words].concat();
    let capped = [&errno[..], &request[..NETLINK_HEADER_LEN], &words].concat();
    assert_eq!(text(NLM_F_ACK_TLVS, &whole).as_deref(), Some("Invalid prefix"));
    assert_eq!(text(NLM_F_ACK_TLVS | NLM_F_CAPPED, &capped).as_deref(), Some("Invalid prefix"));
    assert_eq!(text(0, &whole), None);
    assert_eq!(text(NLM_F_ACK_TLVS, &capped[..8]), None, "cut short");
    let refusal = KernelRefusal { errno: libc::EINVAL, text: Some("Invalid prefix.".to_owned()) };
    assert_eq!(refusal.to_string(), "Invalid prefix (Invalid argument (os error 22))");
}

#[test]
fn attributes_are_found_behind_padding_and_whatever_flags_they_have() {
    let bytes = attributes(&[(1, b"wg0\0\0"), (0x8002, &[7]), (2, &[8])]);
    let found = Attributes(&bytes);
    assert_eq!((found.find(1), found.byte(2), found.find(3)), (Some(&b"wg0\0\0"[..]), Some(7), None));
    assert_eq!(found.text(1).as_deref(), Some("wg0"));
    assert_eq!(Attributes(&[0; 16]).find(1), None, "a length of zero ends it");
}

#[test]
fn a_request_is_as_long_as_it_says() {
    let mut link = LinkMessage::default();
    link.attributes.push(netlink_packet_route::link::LinkAttribute::IfName("wg0".to_owned()));
    let bytes = encode(RouteNetlinkMessage::GetLink(link), NLM_F_DUMP_INTR, 7);
    let message = messages(&bytes).next().unwrap();
    assert_eq!((message.kind, message.sequence), (libc::RTM_GETLINK, 7));
    assert_eq!((message.flags, message.body.len()), (NLM_F_REQUEST | NLM_F_DUMP_INTR, 24));
    assert_eq!(bytes.len(), NETLINK_HEADER_LEN + 24);
}

fn read_as_everything(bytes: &[u8]) {
    for message in messages(bytes) {
        let _ = (message.outcome(), message.end_of_dump(), message.is_interrupted());
        link::read_as_everything(message);
        route::read_as_everything(message);
        setup::read_as_everything(message);
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        kind in 0_u16..100,
        flags: u16,
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        read_as_everything(&datagram(kind, flags, &bytes));
        read_as_everything(&bytes);
    }

    /// Attributes of lengths that are nearly right, inside each other.
    #[test]
    fn hostile_attributes_never_panic(
        kind in 2_u16..36,
        header in prop::collection::vec(any::<u8>(), 0..20),
        list in prop::collection::vec((0_u16..24, -1_i32..6, prop::collection::vec(any::<u8>(), 0..20)), 0..6),
    ) {
        let mut bytes = header;
        for (kind, excess, value) in list {
            let len = (NLA_HEADER_SIZE + value.len()) as i32 + excess;
            bytes.extend([&(len as u16).to_ne_bytes()[..], &kind.to_ne_bytes(), &value].concat());
        }
        read_as_everything(&datagram(kind, 0x300, &bytes));
    }
}
