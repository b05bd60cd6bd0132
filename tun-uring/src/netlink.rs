//! The few requests to the kernel's router that this crate makes (`include/uapi/linux/rtnetlink.h`, `if_link.h`).

use crate::device;
use crate::link::Link;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use zerocopy::{Immutable, IntoBytes};

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Header {
    len: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
}

/// `struct ifinfomsg`.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct LinkMessage {
    family: u8,
    pad: u8,
    kind: u16,
    index: u32,
    flags: u32,
    change: u32,
}

/// `struct rtmsg`.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct RouteMessage {
    family: u8,
    destination_len: u8,
    source_len: u8,
    tos: u8,
    table: u8,
    protocol: u8,
    scope: u8,
    kind: u8,
    flags: u32,
}

const _: () = assert!(size_of::<Header>() == size_of::<libc::nlmsghdr>());
const _: () = assert!(size_of::<LinkMessage>() == size_of::<libc::ifinfomsg>());
const _: () = assert!(size_of::<RouteMessage>() == 12, "the uapi structure");

/// What `IFLA_LINKINFO` says of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkKind {
    /// Made by the TUN driver.
    Tun(TunInfo),
    /// Made by another driver.
    Other,
}

/// What the TUN driver says of an interface (`IFLA_TUN_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TunInfo {
    /// `IFF_TAP`: it carries Ethernet frames.
    pub(crate) is_tap: bool,
    /// Its packets have `struct tun_pi` in front. `TUNGETIFF` does not tell: `IFF_NO_PI` and `IFF_NOFILTER` are one
    /// bit.
    pub(crate) packet_information: bool,
    /// Its packets have a virtio-net header in front.
    pub(crate) header: bool,
    /// It stays when nobody has a queue of it.
    pub(crate) persistent: bool,
    /// It may have several queues.
    pub(crate) multi_queue: bool,
    /// How many it has, in use or not; 0 also if it has a single one, which the driver does not count.
    pub(crate) queues: u32,
}

/// Answers about interfaces with all their statistics take some kilobytes.
const ANSWER_LEN_MAX: usize = 32 << 10;
const ATTRIBUTE_HEADER_LEN: usize = 4;
/// The bits of an attribute's type that are not flags (`NLA_TYPE_MASK`).
const ATTRIBUTE_TYPE: u16 = 0x3fff;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_TUN_TYPE: u16 = 3;
const IFLA_TUN_PI: u16 = 4;
const IFLA_TUN_VNET_HDR: u16 = 5;
const IFLA_TUN_PERSIST: u16 = 6;
const IFLA_TUN_MULTI_QUEUE: u16 = 7;
const IFLA_TUN_NUM_QUEUES: u16 = 8;
const IFLA_TUN_NUM_DISABLED_QUEUES: u16 = 9;

/// Asks the kernel in the network namespace of the thread that opened it.
pub(crate) struct RouteSocket(File);

impl RouteSocket {
    pub(crate) fn open() -> io::Result<Self> {
        // NETLINK_ROUTE is protocol 0.
        device::socket(libc::AF_NETLINK, libc::SOCK_RAW).map(|fd| Self(File::from(fd)))
    }

    pub(crate) fn set_up(&mut self, link: Link) -> io::Result<()> {
        let up = libc::IFF_UP.cast_unsigned();
        let message = LinkMessage { family: 0, pad: 0, kind: 0, index: link.index(), flags: up, change: up };
        self.request(libc::RTM_NEWLINK, 0, message.as_bytes())
    }

    /// A route to a network, given by an address and the length of its prefix, through a device.
    pub(crate) fn add_route(&mut self, (network, prefix): (IpAddr, u8), through: Link) -> io::Result<()> {
        let family = if network.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let message = RouteMessage {
            family: family as u8,
            destination_len: prefix,
            source_len: 0,
            tos: 0,
            table: libc::RT_TABLE_MAIN,
            protocol: libc::RTPROT_STATIC,
            scope: libc::RT_SCOPE_LINK,
            kind: libc::RTN_UNICAST,
            flags: 0,
        };
        let mut body = message.as_bytes().to_vec();
        match network {
            IpAddr::V4(address) => push_attribute(&mut body, libc::RTA_DST, &address.octets()),
            IpAddr::V6(address) => push_attribute(&mut body, libc::RTA_DST, &address.octets()),
        }
        push_attribute(&mut body, libc::RTA_OIF, &through.index().to_ne_bytes());
        self.request(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &body)
    }

    /// What the interface of this name is; `None` if there is none.
    pub(crate) fn kind_of(&mut self, name: &str) -> io::Result<Option<LinkKind>> {
        let any = LinkMessage { family: 0, pad: 0, kind: 0, index: 0, flags: 0, change: 0 };
        let mut body = any.as_bytes().to_vec();
        push_attribute(&mut body, libc::IFLA_IFNAME, &[name.as_bytes(), &[0]].concat());
        let answer = self.ask(libc::RTM_GETLINK, libc::NLM_F_REQUEST, &body)?;
        let kind = answer.get(4..6).and_then(|kind| kind.first_chunk()).map(|kind| u16::from_ne_bytes(*kind));
        if kind == Some(libc::RTM_NEWLINK) {
            let attributes = answer.get(size_of::<Header>() + size_of::<LinkMessage>()..).unwrap_or_default();
            return Ok(Some(link_kind(attributes)));
        }
        match error_in(&answer) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
            Ok(()) => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// One request, one answer: an error number, which is 0 if all is well.
    fn request(&mut self, kind: u16, flags: libc::c_int, body: &[u8]) -> io::Result<()> {
        error_in(&self.ask(kind, flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK, body)?)
    }

    fn ask(&mut self, kind: u16, flags: libc::c_int, body: &[u8]) -> io::Result<Vec<u8>> {
        let len = (size_of::<Header>() + body.len()) as u32;
        let header = Header { len, kind, flags: flags as u16, sequence: 0, port: 0 };
        self.0.write_all(&[header.as_bytes(), body].concat())?;
        let mut answer = vec![0; ANSWER_LEN_MAX];
        let len = self.0.read(&mut answer)?;
        answer.truncate(len);
        Ok(answer)
    }
}

/// The error number of an answer that is nothing else.
fn error_in(answer: &[u8]) -> io::Result<()> {
    let error = answer.get(size_of::<Header>()..).and_then(|error| error.first_chunk());
    match error.map(|error| i32::from_ne_bytes(*error)) {
        Some(0) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(-errno)),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn link_kind(attributes: &[u8]) -> LinkKind {
    let info = attribute(attributes, libc::IFLA_LINKINFO).unwrap_or_default();
    if attribute(info, IFLA_INFO_KIND) != Some(b"tun\0") {
        return LinkKind::Other;
    }
    let data = attribute(info, IFLA_INFO_DATA).unwrap_or_default();
    let byte = |kind| attribute(data, kind).and_then(|value| value.first().copied()).unwrap_or(0);
    let word = |kind| attribute(data, kind).and_then(|value| value.first_chunk()).map_or(0, |n| u32::from_ne_bytes(*n));
    LinkKind::Tun(TunInfo {
        is_tap: libc::c_int::from(byte(IFLA_TUN_TYPE)) == libc::IFF_TAP,
        packet_information: byte(IFLA_TUN_PI) != 0,
        header: byte(IFLA_TUN_VNET_HDR) != 0,
        persistent: byte(IFLA_TUN_PERSIST) != 0,
        multi_queue: byte(IFLA_TUN_MULTI_QUEUE) != 0,
        queues: word(IFLA_TUN_NUM_QUEUES) + word(IFLA_TUN_NUM_DISABLED_QUEUES),
    })
}

/// The value of the first attribute of that type. The kernel pads each to four bytes.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let (len, kind) = (attributes.get(..2)?, attributes.get(2..4)?);
        let [len, kind] = [len, kind].map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
        let value = attributes.get(ATTRIBUTE_HEADER_LEN..usize::from(len))?;
        if kind & ATTRIBUTE_TYPE == wanted {
            return Some(value);
        }
        attributes = attributes.get(usize::from(len).next_multiple_of(4)..)?;
    }
}

/// `struct rtattr` and its value, padded.
fn push_attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend(((ATTRIBUTE_HEADER_LEN + value.len()) as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(list: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        list.iter().for_each(|(kind, value)| push_attribute(&mut bytes, *kind, value));
        bytes
    }

    #[test]
    fn what_the_driver_says() {
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
        let link = attributes(&[(libc::IFLA_IFNAME, b"rf0\0"), (libc::IFLA_LINKINFO, &info)]);
        let expected = TunInfo {
            is_tap: true,
            packet_information: true,
            header: true,
            persistent: true,
            multi_queue: true,
            queues: 3,
        };
        assert_eq!(link_kind(&link), LinkKind::Tun(expected));
        let info = attributes(&[(IFLA_INFO_KIND, b"veth\0")]);
        assert_eq!(link_kind(&attributes(&[(libc::IFLA_LINKINFO, &info)])), LinkKind::Other);
        assert_eq!(link_kind(&link[..link.len() - 1]), LinkKind::Other, "cut short");
        assert_eq!(link_kind(&[]), LinkKind::Other, "lo");
    }

    #[test]
    fn a_length_of_zero_ends_it() {
        assert_eq!(attribute(&[0; 16], 1), None);
    }
}
