//! Route netlink messages (`include/uapi/linux/netlink.h`, `rtnetlink.h`, `if_link.h`), as far as we care.
//!
//! All fields are in the machine's own byte order. Lengths come from the kernel, and are checked all the same.

use std::net::IpAddr;

/// `struct nlmsghdr`: u32 length with header, u16 type, u16 flags, u32 sequence, u32 port.
const HEADER_LEN: usize = 16;
/// `struct ifinfomsg`: u8 family, u8 padding, u16 type, i32 index, u32 flags, u32 changed flags.
const IFINFO_LEN: usize = 16;
/// `struct rtmsg`: u8 family, u8 destination and u8 source prefix length, u8 TOS, u8 table, u8 protocol, u8 scope, u8
/// type, u32 flags.
const ROUTE_LEN: usize = 12;
/// `struct rtattr`: u16 length with header, u16 type.
const ATTRIBUTE_HEADER_LEN: usize = 4;

/// `struct rtgenmsg`, padded: u8 family.
const GENERIC_LEN: usize = 4;

/// `IFLA_TARGET_NETNSID` of `include/uapi/linux/if_link.h`: in which network namespace to look for the interface.
const IFLA_TARGET_NETNSID: u16 = 46;
/// `NETNSA_NSID` and `NETNSA_FD` of `include/uapi/linux/net_namespace.h`: the id of a namespace, and a descriptor of
/// it.
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
/// `NETNSA_NSID_NOT_ASSIGNED`. In a request: any that is free.
const NSID_NONE: i32 = -1;

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
    /// An interface is there, and something about it may have changed.
    Link { index: u32 },
    /// An interface is gone from its network namespace.
    LinkGone { index: u32 },
    /// An address was removed, or routes or rules have changed.
    Routing,
}

/// Where an interface is, as seen from the network namespace of our sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the same namespace.
    Home,
    /// In the one that ours knows by this id. An id keeps no namespace alive.
    Away(i32),
}

/// What the kernel answers about an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkAnswer {
    /// It is there.
    Link { index: u32, state: LinkState },
    /// The error number of a refusal.
    Refused(i32),
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

/// Asks which way packets of this mark from `source` to `destination` take: `RTM_GETROUTE`. A link-local destination
/// means nothing without its interface; 0 if it has none.
pub(super) fn route_request(destination: IpAddr, source: Option<IpAddr>, interface: u32, mark: u32) -> Vec<u8> {
    let octets = |addr: IpAddr| match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    };
    let destination_octets = octets(destination);
    let bits = 8 * destination_octets.len() as u8;
    let family = if destination.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut body = vec![family as u8, bits, source.map_or(0, |_| bits), 0, 0, 0, 0, 0, 0, 0, 0, 0];
    push_attribute(&mut body, libc::RTA_DST, &destination_octets);
    if let Some(source) = source {
        push_attribute(&mut body, libc::RTA_SRC, &octets(source));
    }
    if interface != 0 {
        push_attribute(&mut body, libc::RTA_OIF, &interface.to_ne_bytes());
    }
    push_attribute(&mut body, libc::RTA_MARK, &mark.to_ne_bytes());
    request(libc::RTM_GETROUTE, &body)
}

/// The answer to [`route_request`]; `None` for anything else.
pub(super) fn route_answer(datagram: &[u8]) -> Option<RouteAnswer> {
    let body = datagram.get(HEADER_LEN..u32_at(datagram, 0)? as usize)?;
    match u16_at(datagram, 4)? {
        kind if i32::from(kind) == libc::NLMSG_ERROR => Some(RouteAnswer::Refused(errno(body)?)),
        libc::RTM_NEWROUTE => {
            let is_local = *body.get(7)? == libc::RTN_LOCAL;
            let value = attribute(body.get(ROUTE_LEN..)?, libc::RTA_OIF);
            let interface = value.and_then(|value| u32_at(value, 0)).unwrap_or(0);
            Some(RouteAnswer::Route { interface, is_local })
        }
        _ => None,
    }
}

/// A request about the interface with this index: `RTM_GETLINK` asks for its state, `RTM_DELLINK` deletes it.
pub(super) fn link_request(kind: u16, place: Place, index: u32) -> Vec<u8> {
    let mut body = vec![0; IFINFO_LEN];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    push_place(&mut body, place);
    request(kind, &body)
}

/// Asks for the interface of this name: `RTM_GETLINK`.
pub(super) fn named_link_request(place: Place, name: &str) -> Vec<u8> {
    let mut body = vec![0; IFINFO_LEN];
    push_place(&mut body, place);
    push_attribute(&mut body, libc::IFLA_IFNAME, &[name.as_bytes(), &[0]].concat());
    request(libc::RTM_GETLINK, &body)
}

/// The answer to a request for a link; `None` for anything else.
pub(super) fn link_answer(datagram: &[u8]) -> Option<LinkAnswer> {
    let body = datagram.get(HEADER_LEN..u32_at(datagram, 0)? as usize)?;
    match u16_at(datagram, 4)? {
        kind if i32::from(kind) == libc::NLMSG_ERROR => Some(LinkAnswer::Refused(errno(body)?)),
        libc::RTM_NEWLINK => {
            let (index, flags) = (u32_at(body, 4)?, u32_at(body, 8)?);
            let mtu = attribute(body.get(IFINFO_LEN..)?, libc::IFLA_MTU).and_then(|value| u32_at(value, 0));
            Some(LinkAnswer::Link { index, state: LinkState { up: flags & libc::IFF_UP as u32 != 0, mtu } })
        }
        _ => None,
    }
}

/// Asks for the id of the namespace that a descriptor is of (`RTM_GETNSID`), or gives it one (`RTM_NEWNSID`).
pub(super) fn namespace_request(kind: u16, namespace: i32) -> Vec<u8> {
    let mut body = vec![0; GENERIC_LEN];
    push_attribute(&mut body, NETNSA_FD, &namespace.to_ne_bytes());
    if kind == libc::RTM_NEWNSID {
        push_attribute(&mut body, NETNSA_NSID, &NSID_NONE.to_ne_bytes());
    }
    request(kind, &body)
}

/// The answer to a request for an id: `Ok(None)` if it has none yet. `None` for anything else.
pub(super) fn namespace_answer(datagram: &[u8]) -> Option<Result<Option<i32>, i32>> {
    let body = datagram.get(HEADER_LEN..u32_at(datagram, 0)? as usize)?;
    match u16_at(datagram, 4)? {
        kind if i32::from(kind) == libc::NLMSG_ERROR => Some(Err(errno(body)?)),
        libc::RTM_NEWNSID => {
            let id = attribute(body.get(GENERIC_LEN..)?, NETNSA_NSID)?;
            let id = u32_at(id, 0)?.cast_signed();
            Some(Ok((id >= 0).then_some(id)))
        }
        _ => None,
    }
}

/// A request with this body. `RTM_NEWNSID` has no other answer than the acknowledgement.
fn request(kind: u16, body: &[u8]) -> Vec<u8> {
    let acknowledge = if kind == libc::RTM_NEWNSID { libc::NLM_F_ACK } else { 0 };
    let mut request = vec![0; HEADER_LEN];
    request.extend(body);
    let len = request.len() as u32;
    request[0..4].copy_from_slice(&len.to_ne_bytes());
    request[4..6].copy_from_slice(&kind.to_ne_bytes());
    request[6..8].copy_from_slice(&((libc::NLM_F_REQUEST | acknowledge) as u16).to_ne_bytes());
    request
}

fn push_place(body: &mut Vec<u8>, place: Place) {
    if let Place::Away(id) = place {
        push_attribute(body, IFLA_TARGET_NETNSID, &id.to_ne_bytes());
    }
}

fn push_attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend(((ATTRIBUTE_HEADER_LEN + value.len()) as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(aligned(body.len()), 0);
}

/// `struct nlmsgerr` begins with the negative error number, or 0.
fn errno(body: &[u8]) -> Option<i32> {
    Some(-u32_at(body, 0)?.cast_signed())
}

fn parse(kind: u16, body: &[u8]) -> Option<Message> {
    match kind {
        libc::RTM_NEWLINK | libc::RTM_DELLINK => {
            // Other families (AF_BRIDGE) speak of an interface that leaves a bridge, not of one that is gone.
            if i32::from(*body.first()?) != libc::AF_UNSPEC {
                return None;
            }
            let index = u32_at(body, 4)?;
            Some(if kind == libc::RTM_DELLINK { Message::LinkGone { index } } else { Message::Link { index } })
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
        let body = link(0, 7, 64, None);
        assert_eq!(all(&message(libc::RTM_NEWLINK, &body)), [Message::Link { index: 7 }]);
        assert_eq!(all(&message(libc::RTM_DELLINK, &body)), [Message::LinkGone { index: 7 }]);
    }

    #[test]
    fn the_state_of_a_link() {
        let answer = |flags, mtu| link_answer(&message(libc::RTM_NEWLINK, &link(0, 7, flags, mtu)));
        let up = libc::IFF_UP as u32;
        let expected = |up, mtu| Some(LinkAnswer::Link { index: 7, state: LinkState { up, mtu } });
        assert_eq!(answer(up | 64, Some(1420)), expected(true, Some(1420)));
        assert_eq!(answer(64, None), expected(false, None));
        let refused = message(libc::NLMSG_ERROR as u16, &(-libc::ENODEV).to_ne_bytes());
        assert_eq!(link_answer(&refused), Some(LinkAnswer::Refused(libc::ENODEV)));
        assert_eq!(link_answer(&message(libc::RTM_NEWROUTE, &[0; 16])), None);
    }

    #[test]
    fn the_id_of_a_namespace() {
        let answer = |id: i32| {
            let mut body = vec![0; GENERIC_LEN];
            push_attribute(&mut body, NETNSA_NSID, &id.to_ne_bytes());
            namespace_answer(&message(libc::RTM_NEWNSID, &body))
        };
        assert_eq!(answer(3), Some(Ok(Some(3))));
        assert_eq!(answer(NSID_NONE), Some(Ok(None)));
        let refused = message(libc::NLMSG_ERROR as u16, &(-libc::EPERM).to_ne_bytes());
        assert_eq!(namespace_answer(&refused), Some(Err(libc::EPERM)));
    }

    #[test]
    fn requests_are_as_long_as_they_say() {
        for request in [
            link_request(libc::RTM_DELLINK, Place::Home, 7),
            link_request(libc::RTM_GETLINK, Place::Away(1), 7),
            named_link_request(Place::Away(1), "wg0"),
            namespace_request(libc::RTM_NEWNSID, 9),
        ] {
            assert_eq!(u32_at(&request, 0), Some(request.len() as u32));
            assert_eq!(request.len() % 4, 0);
        }
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
            link_answer(&bytes);
            link_answer(&message(kind, &bytes));
            namespace_answer(&message(kind, &bytes));
            route_answer(&bytes);
            route_answer(&message(kind, &bytes));
            all(&message(kind, &bytes));
        }
    }
}
