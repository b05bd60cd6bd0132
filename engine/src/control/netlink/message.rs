//! Route netlink messages (`include/uapi/linux/netlink.h`, `rtnetlink.h`, `if_link.h`), as far as we care.
//!
//! All fields are in the machine's own byte order. Lengths come from the kernel, and are checked all the same.

use std::net::IpAddr;

/// `struct nlmsghdr`: u32 length with header, u16 type, u16 flags, u32 sequence, u32 port.
const HEADER_LEN: usize = 16;
/// `struct ifinfomsg`: u8 family, u8 padding, u16 type, i32 index, u32 flags, u32 changed flags.
const IFINFO_LEN: usize = 16;
/// `struct rtmsg`: u8 family, u8 destination and u8 source prefix length, u8 TOS, u8 table, u8 protocol, u8 scope, u8 type,
/// u32 flags.
const ROUTE_LEN: usize = 12;
/// `struct rtattr`: u16 length with header, u16 type.
const ATTRIBUTE_HEADER_LEN: usize = 4;

/// Our interface at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// `IFF_UP`: the operator wants it to work.
    pub up: bool,
    /// In bytes; `None` if the message did not say.
    pub mtu: Option<u32>,
}

/// One message of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// An interface is there, in this state.
    Link { index: u32, state: LinkState },
    /// An interface is gone from this network namespace.
    LinkGone { index: u32 },
    /// An address was removed, or routes or rules have changed.
    Routing,
}

/// What the kernel answers about a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RouteAnswer {
    /// Packets take this way.
    Route {
        /// The interface, 0 if none.
        interface: u32,
        /// The destination is an address of this machine (`RTN_LOCAL`).
        is_local: bool,
    },
    /// There is none, or none from that source.
    Refused(i32),
}

/// The messages of one datagram. What is malformed or unknown is skipped.
pub(super) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message> + '_ {
    std::iter::from_fn(move || {
        while datagram.len() >= HEADER_LEN {
            let len = u32_at(datagram, 0)? as usize;
            let message = datagram.get(..len)?;
            let kind = u16_at(message, 4)?;
            datagram = datagram.get(aligned(len)..).unwrap_or_default();
            if let Some(message) = parse(kind, message.get(HEADER_LEN..)?) {
                return Some(message);
            }
        }
        None
    })
}

/// Asks which way packets of this mark from `source` to `destination` take: `RTM_GETROUTE`. A link-local destination means
/// nothing without its interface; 0 if it has none.
pub(super) fn route_request(destination: IpAddr, source: Option<IpAddr>, interface: u32, mark: u32) -> Vec<u8> {
    let octets = |addr: IpAddr| match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    };
    let destination_octets = octets(destination);
    let bits = 8 * destination_octets.len() as u8;
    let family = if destination.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut request = vec![0; HEADER_LEN];
    request.extend([family as u8, bits, source.map_or(0, |_| bits), 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut attribute = |kind: u16, value: &[u8]| {
        // All values are whole words, so that no padding is needed.
        request.extend(((ATTRIBUTE_HEADER_LEN + value.len()) as u16).to_ne_bytes());
        request.extend(kind.to_ne_bytes());
        request.extend(value);
    };
    attribute(libc::RTA_DST, &destination_octets);
    if let Some(source) = source {
        attribute(libc::RTA_SRC, &octets(source));
    }
    if interface != 0 {
        attribute(libc::RTA_OIF, &interface.to_ne_bytes());
    }
    attribute(libc::RTA_MARK, &mark.to_ne_bytes());
    let len = request.len() as u32;
    request[0..4].copy_from_slice(&len.to_ne_bytes());
    request[4..6].copy_from_slice(&libc::RTM_GETROUTE.to_ne_bytes());
    request[6..8].copy_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    request
}

/// The answer to [`route_request`]; `None` for anything else.
pub(super) fn route_answer(datagram: &[u8]) -> Option<RouteAnswer> {
    let body = datagram.get(HEADER_LEN..u32_at(datagram, 0)? as usize)?;
    match u16_at(datagram, 4)? {
        // `struct nlmsgerr` begins with the negative error number.
        kind if i32::from(kind) == libc::NLMSG_ERROR => Some(RouteAnswer::Refused(-u32_at(body, 0)?.cast_signed())),
        libc::RTM_NEWROUTE => {
            let is_local = *body.get(7)? == libc::RTN_LOCAL;
            let value = attribute(body.get(ROUTE_LEN..)?, libc::RTA_OIF);
            let interface = value.and_then(|value| u32_at(value, 0)).unwrap_or(0);
            Some(RouteAnswer::Route { interface, is_local })
        }
        _ => None,
    }
}

/// A request about one interface: `RTM_GETLINK` asks for its state, `RTM_DELLINK` deletes it.
pub(super) fn link_request(kind: u16, index: u32) -> [u8; HEADER_LEN + IFINFO_LEN] {
    let mut request = [0; HEADER_LEN + IFINFO_LEN];
    let len = request.len() as u32;
    request[0..4].copy_from_slice(&len.to_ne_bytes());
    request[4..6].copy_from_slice(&kind.to_ne_bytes());
    request[6..8].copy_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    request[20..24].copy_from_slice(&index.to_ne_bytes());
    request
}

fn parse(kind: u16, body: &[u8]) -> Option<Message> {
    match kind {
        libc::RTM_NEWLINK | libc::RTM_DELLINK => {
            // Other families (AF_BRIDGE) speak of an interface that leaves a bridge, not of one that is gone.
            if i32::from(*body.first()?) != libc::AF_UNSPEC {
                return None;
            }
            let (index, flags) = (u32_at(body, 4)?, u32_at(body, 8)?);
            if kind == libc::RTM_DELLINK {
                return Some(Message::LinkGone { index });
            }
            let mtu = attribute(body.get(IFINFO_LEN..)?, libc::IFLA_MTU).and_then(|value| u32_at(value, 0));
            let up = flags & libc::IFF_UP as u32 != 0;
            Some(Message::Link { index, state: LinkState { up, mtu } })
        }
        // A new address takes nothing away; if it makes a better way, that is a route.
        libc::RTM_DELADDR | libc::RTM_NEWROUTE | libc::RTM_DELROUTE | libc::RTM_NEWRULE | libc::RTM_DELRULE => {
            Some(Message::Routing)
        }
        _ => None,
    }
}

/// The value of the first attribute of that type.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let len = usize::from(u16_at(attributes, 0)?);
        let value = attributes.get(ATTRIBUTE_HEADER_LEN..len)?;
        if u16_at(attributes, 2)? == wanted {
            return Some(value);
        }
        attributes = attributes.get(aligned(len)..)?;
    }
}

/// `NLMSG_ALIGN` and `RTA_ALIGN`: to four bytes.
fn aligned(len: usize) -> usize {
    len.saturating_add(3) & !3
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(((HEADER_LEN + body.len()) as u32).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    fn link(family: u8, index: u32, flags: u32, mtu: Option<u32>) -> Vec<u8> {
        let mut body = vec![family, 0, 0, 0];
        body.extend(index.to_ne_bytes());
        body.extend(flags.to_ne_bytes());
        body.extend([0; 4]);
        // A name of three letters and its end: six bytes of value make the next attribute start after padding.
        body.extend(10_u16.to_ne_bytes());
        body.extend(libc::IFLA_IFNAME.to_ne_bytes());
        body.extend(b"wg0\0\0\0\0\0");
        if let Some(mtu) = mtu {
            body.extend(8_u16.to_ne_bytes());
            body.extend(libc::IFLA_MTU.to_ne_bytes());
            body.extend(mtu.to_ne_bytes());
        }
        body
    }

    fn all(datagram: &[u8]) -> Vec<Message> {
        messages(datagram).collect()
    }

    #[test]
    fn link_messages() {
        let up = libc::IFF_UP as u32;
        let state = |up, mtu| LinkState { up, mtu };
        assert_eq!(
            all(&message(libc::RTM_NEWLINK, &link(0, 7, up | 64, Some(1420)))),
            [Message::Link { index: 7, state: state(true, Some(1420)) }]
        );
        assert_eq!(
            all(&message(libc::RTM_NEWLINK, &link(0, 7, 64, None))),
            [Message::Link { index: 7, state: state(false, None) }]
        );
        assert_eq!(all(&message(libc::RTM_DELLINK, &link(0, 7, 0, None))), [Message::LinkGone { index: 7 }]);
    }

    #[test]
    fn leaving_a_bridge_is_not_the_end_of_an_interface() {
        assert_eq!(all(&message(libc::RTM_DELLINK, &link(libc::AF_BRIDGE as u8, 7, 0, None))), []);
    }

    #[test]
    fn several_messages_in_one_datagram() {
        let mut datagram = message(libc::RTM_NEWROUTE, &[0; 13]);
        datagram.extend(message(999, &[0; 5]));
        datagram.extend(message(libc::RTM_DELADDR, &[0; 8]));
        datagram.extend(message(libc::RTM_NEWADDR, &[0; 8]));
        assert_eq!(all(&datagram), [Message::Routing, Message::Routing]);
    }

    #[test]
    fn a_length_beyond_the_datagram_or_below_the_header_ends_it() {
        let mut datagram = message(libc::RTM_NEWROUTE, &[0; 12]);
        datagram[0] += 1;
        assert_eq!(all(&datagram), []);
        datagram[0..4].copy_from_slice(&0_u32.to_ne_bytes());
        assert_eq!(all(&datagram), []);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(kind in 14_u16..36, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            all(&bytes);
            route_answer(&bytes);
            route_answer(&message(kind, &bytes));
            all(&message(kind, &bytes));
        }
    }
}
