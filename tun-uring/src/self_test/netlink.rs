//! The two requests to the kernel's router that a private network takes (`include/uapi/linux/rtnetlink.h`).

use crate::device::{self, Link};
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

/// Asks the kernel in the network namespace of the thread that opened it.
pub(super) struct RouteSocket(File);

impl RouteSocket {
    pub(super) fn open() -> io::Result<Self> {
        // NETLINK_ROUTE is protocol 0.
        device::socket(libc::AF_NETLINK, libc::SOCK_RAW).map(|fd| Self(File::from(fd)))
    }

    pub(super) fn set_up(&mut self, link: Link) -> io::Result<()> {
        let up = libc::IFF_UP.cast_unsigned();
        let message = LinkMessage { family: 0, pad: 0, kind: 0, index: link.index(), flags: up, change: up };
        self.request(libc::RTM_NEWLINK, 0, message.as_bytes())
    }

    /// A route to a network, given by an address and the length of its prefix, through a device.
    pub(super) fn add_route(&mut self, (network, prefix): (IpAddr, u8), through: Link) -> io::Result<()> {
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

    /// One request, one answer: an error number, which is 0 if all is well.
    fn request(&mut self, kind: u16, flags: libc::c_int, body: &[u8]) -> io::Result<()> {
        let flags = (flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        let len = (size_of::<Header>() + body.len()) as u32;
        let header = Header { len, kind, flags, sequence: 0, port: 0 };
        self.0.write_all(&[header.as_bytes(), body].concat())?;
        let mut answer = [0; 512];
        let len = self.0.read(&mut answer)?;
        let error = answer[..len].get(size_of::<Header>()..).and_then(|error| error.first_chunk());
        match error.map(|error| i32::from_ne_bytes(*error)) {
            Some(0) => Ok(()),
            Some(errno) => Err(io::Error::from_raw_os_error(-errno)),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// `struct rtattr` and its value; both of these have lengths that need no padding.
fn push_attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend(((4 + value.len()) as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
}
