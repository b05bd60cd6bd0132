//! Messages about routes, and what else may change the way of packets (`include/uapi/linux/rtnetlink.h`).

use std::net::IpAddr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Message, Request};

/// `struct rtmsg`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RouteMessage {
    family: u8,
    /// Lengths of prefixes in bits.
    destination_len: u8,
    source_len: u8,
    tos: u8,
    table: u8,
    protocol: u8,
    scope: u8,
    kind: u8,
    flags: u32,
}

const _: () = assert!(size_of::<RouteMessage>() == 12, "the uapi structure");

/// What the kernel answers about a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// The interface, 0 if none.
    pub(crate) interface: u32,
    /// The destination is an address of this machine (`RTN_LOCAL`).
    pub(crate) is_local: bool,
}

/// Asks which way packets of this mark from `source` to `destination` take: `RTM_GETROUTE`. A link-local destination
/// means nothing without its interface; 0 if it has none.
pub(crate) fn get(destination: IpAddr, source: Option<IpAddr>, interface: u32, mark: u32) -> Vec<u8> {
    let octets = octets(destination);
    let bits = 8 * octets.len() as u8;
    let message = RouteMessage {
        family: family(destination),
        destination_len: bits,
        source_len: source.map_or(0, |_| bits),
        ..RouteMessage::default()
    };
    let mut request = Request::new(libc::RTM_GETROUTE, &message).with(libc::RTA_DST, &octets);
    if let Some(source) = source {
        request = request.with(libc::RTA_SRC, &self::octets(source));
    }
    if interface != 0 {
        request = request.with(libc::RTA_OIF, &interface.to_ne_bytes());
    }
    request.with(libc::RTA_MARK, &mark.to_ne_bytes()).into_bytes()
}

/// Adds a route to a network, given by an address and the length of its prefix, through an interface, and asks for an
/// acknowledgement: `RTM_NEWROUTE`.
pub(crate) fn add((network, prefix_len): (IpAddr, u8), interface: u32) -> Vec<u8> {
    let message = RouteMessage {
        family: family(network),
        destination_len: prefix_len,
        table: libc::RT_TABLE_MAIN,
        protocol: libc::RTPROT_STATIC,
        scope: libc::RT_SCOPE_LINK,
        kind: libc::RTN_UNICAST,
        ..RouteMessage::default()
    };
    Request::new(libc::RTM_NEWROUTE, &message)
        .with_flags(libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL)
        .with(libc::RTA_DST, &octets(network))
        .with(libc::RTA_OIF, &interface.to_ne_bytes())
        .into_bytes()
}

/// The answer to [`get`], or the error number of a refusal: there is no route, or none from that source. `None` for
/// anything else.
pub(crate) fn answer(message: Message<'_>) -> Option<Result<Route, i32>> {
    if let Some(errno) = message.errno() {
        return Some(Err(errno));
    }
    if message.kind != libc::RTM_NEWROUTE {
        return None;
    }
    let (route, attributes) = message.parts::<RouteMessage>()?;
    let interface = attributes.u32(libc::RTA_OIF).unwrap_or(0);
    Some(Ok(Route { interface, is_local: route.kind == libc::RTN_LOCAL }))
}

/// Whether an address was removed, or routes or rules have changed. A new address takes nothing away; if it makes a
/// better way, that is a route.
pub(crate) fn is_change(message: Message<'_>) -> bool {
    matches!(
        message.kind,
        libc::RTM_DELADDR | libc::RTM_NEWROUTE | libc::RTM_DELROUTE | libc::RTM_NEWRULE | libc::RTM_DELRULE
    )
}

fn family(addr: IpAddr) -> u8 {
    (if addr.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }) as u8
}

fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::attributes;
    use super::*;

    #[test]
    fn the_answer_to_a_question_for_a_route() {
        let route = RouteMessage { kind: libc::RTN_LOCAL, ..RouteMessage::default() };
        let body = [route.as_bytes(), &attributes(&[(libc::RTA_OIF, &3_u32.to_ne_bytes())])].concat();
        let answer_of = |kind, body| answer(Message { kind, body });
        assert_eq!(answer_of(libc::RTM_NEWROUTE, &body), Some(Ok(Route { interface: 3, is_local: true })));
        assert_eq!(answer_of(libc::RTM_NEWROUTE, &[0; 12]), Some(Ok(Route { interface: 0, is_local: false })));
        assert_eq!(answer_of(libc::RTM_NEWROUTE, &[0; 11]), None, "cut short");
        let unreachable = (-libc::ENETUNREACH).to_ne_bytes();
        assert_eq!(answer_of(libc::NLMSG_ERROR as u16, &unreachable), Some(Err(libc::ENETUNREACH)));
    }

    #[test]
    fn a_new_address_changes_no_way() {
        let is_change = |kind| is_change(Message { kind, body: &[] });
        assert!(is_change(libc::RTM_DELADDR) && is_change(libc::RTM_NEWROUTE));
        assert!(!is_change(libc::RTM_NEWADDR) && !is_change(libc::RTM_NEWLINK));
    }
}
