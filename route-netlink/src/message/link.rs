//! Messages about interfaces (`include/uapi/linux/rtnetlink.h`, `if_link.h`, `if_tun.h`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Attributes, Message, Request};

/// `struct ifinfomsg`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct LinkMessage {
    family: u8,
    pad: u8,
    kind: u16,
    index: u32,
    flags: u32,
    /// Which of the flags to change.
    change: u32,
}

const _: () = assert!(size_of::<LinkMessage>() == size_of::<libc::ifinfomsg>());

/// In which network namespace to look for the interface.
const IFLA_TARGET_NETNSID: u16 = 46;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_TUN_TYPE: u16 = 3;
const IFLA_TUN_PI: u16 = 4;
const IFLA_TUN_VNET_HDR: u16 = 5;
const IFLA_TUN_PERSIST: u16 = 6;
const IFLA_TUN_MULTI_QUEUE: u16 = 7;
const IFLA_TUN_NUM_QUEUES: u16 = 8;
const IFLA_TUN_NUM_DISABLED_QUEUES: u16 = 9;

/// Where an interface is, as seen from the network namespace of our sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the same namespace.
    Home,
    /// In the one that ours knows by this id. An id keeps no namespace alive.
    Away(i32),
}

/// An interface at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// `IFF_UP`: the operator wants it to work.
    pub up: bool,
    /// In bytes; `None` if the message did not say.
    pub mtu: Option<u32>,
}

/// Which driver has made an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// The TUN driver.
    Tun(TunInfo),
    /// Another.
    Other,
}

/// What the TUN driver says of an interface (`IFLA_TUN_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TunInfo {
    /// `IFF_TAP`: it carries Ethernet frames.
    pub is_tap: bool,
    /// Its packets have `struct tun_pi` in front. `TUNGETIFF` does not tell: `IFF_NO_PI` and `IFF_NOFILTER` are one
    /// bit.
    pub packet_information: bool,
    /// Its packets have a virtio-net header in front.
    pub header: bool,
    /// It stays when nobody has a queue of it.
    pub persistent: bool,
    /// It may have several queues.
    pub multi_queue: bool,
    /// How many it has, in use or not; 0 also if it has a single one, which the driver does not count.
    pub queues: u32,
}

/// What the kernel tells of interfaces unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// An interface is there, and something about it may have changed.
    Changed { index: u32 },
    /// An interface is gone from its network namespace.
    Gone { index: u32 },
}

/// An interface, as the kernel answers a question for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) state: LinkState,
    pub(crate) kind: LinkKind,
}

/// Asks for the interface with this index: `RTM_GETLINK`.
pub(crate) fn get(place: Place, index: u32) -> Vec<u8> {
    at(place, Request::new(libc::RTM_GETLINK, &LinkMessage { index, ..LinkMessage::default() })).into_bytes()
}

/// Asks for the interface of this name: `RTM_GETLINK`.
pub(crate) fn get_named(place: Place, name: &str) -> Vec<u8> {
    let request = at(place, Request::new(libc::RTM_GETLINK, &LinkMessage::default()));
    request.with(libc::IFLA_IFNAME, &[name.as_bytes(), &[0]].concat()).into_bytes()
}

/// Deletes the interface with this index: `RTM_DELLINK`.
pub(crate) fn delete(place: Place, index: u32) -> Vec<u8> {
    at(place, Request::new(libc::RTM_DELLINK, &LinkMessage { index, ..LinkMessage::default() })).into_bytes()
}

/// Sets an interface up, and asks for an acknowledgement: `RTM_NEWLINK`.
pub(crate) fn set_up(index: u32) -> Vec<u8> {
    let up = libc::IFF_UP.cast_unsigned();
    let message = LinkMessage { index, flags: up, change: up, ..LinkMessage::default() };
    Request::new(libc::RTM_NEWLINK, &message).with_flags(libc::NLM_F_ACK).into_bytes()
}

fn at(place: Place, request: Request) -> Request {
    match place {
        Place::Home => request,
        Place::Away(id) => request.with(IFLA_TARGET_NETNSID, &id.to_ne_bytes()),
    }
}

/// What an unasked message says of an interface.
pub(crate) fn news(message: Message<'_>) -> Option<News> {
    let (link, _) = message.parts::<LinkMessage>()?;
    // Other families (AF_BRIDGE) speak of an interface that leaves a bridge, not of one that is gone.
    if i32::from(link.family) != libc::AF_UNSPEC {
        return None;
    }
    match message.kind {
        libc::RTM_NEWLINK => Some(News::Changed { index: link.index }),
        libc::RTM_DELLINK => Some(News::Gone { index: link.index }),
        _ => None,
    }
}

/// The answer to a question for an interface, or the error number of a refusal; `None` for anything else.
pub(crate) fn answer(message: Message<'_>) -> Option<Result<Link, i32>> {
    if let Some(errno) = message.errno() {
        return Some(Err(errno));
    }
    if message.kind != libc::RTM_NEWLINK {
        return None;
    }
    let (link, attributes) = message.parts::<LinkMessage>()?;
    let state = LinkState { up: link.flags & libc::IFF_UP.cast_unsigned() != 0, mtu: attributes.u32(libc::IFLA_MTU) };
    Some(Ok(Link { index: link.index, state, kind: kind_in(attributes.nested(libc::IFLA_LINKINFO)) }))
}

fn kind_in(info: Attributes<'_>) -> LinkKind {
    if info.find(IFLA_INFO_KIND) != Some(b"tun\0") {
        return LinkKind::Other;
    }
    let data = info.nested(IFLA_INFO_DATA);
    let is_set = |kind| data.byte(kind).is_some_and(|byte| byte != 0);
    let count = |kind| data.u32(kind).unwrap_or(0);
    LinkKind::Tun(TunInfo {
        is_tap: data.byte(IFLA_TUN_TYPE).map(libc::c_int::from) == Some(libc::IFF_TAP),
        packet_information: is_set(IFLA_TUN_PI),
        header: is_set(IFLA_TUN_VNET_HDR),
        persistent: is_set(IFLA_TUN_PERSIST),
        multi_queue: is_set(IFLA_TUN_MULTI_QUEUE),
        queues: count(IFLA_TUN_NUM_QUEUES).saturating_add(count(IFLA_TUN_NUM_DISABLED_QUEUES)),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::attributes;
    use super::*;

    const UP: u32 = libc::IFF_UP.cast_unsigned();

    fn body(family: u8, flags: u32, attributes: &[u8]) -> Vec<u8> {
        let link = LinkMessage { family, index: 7, flags, ..LinkMessage::default() };
        [link.as_bytes(), attributes].concat()
    }

    #[test]
    fn what_is_told_unasked() {
        let body = body(0, 64, &[]);
        let news = |kind| news(Message { kind, body: &body });
        assert_eq!(news(libc::RTM_NEWLINK), Some(News::Changed { index: 7 }));
        assert_eq!(news(libc::RTM_DELLINK), Some(News::Gone { index: 7 }));
        assert_eq!(news(libc::RTM_NEWROUTE), None);
    }

    #[test]
    fn leaving_a_bridge_is_not_the_end_of_an_interface() {
        let body = body(libc::AF_BRIDGE as u8, 0, &[]);
        assert_eq!(news(Message { kind: libc::RTM_DELLINK, body: &body }), None);
    }

    #[test]
    fn the_state_of_a_link() {
        let state = |flags, attributes: &[u8]| {
            let body = body(0, flags, attributes);
            answer(Message { kind: libc::RTM_NEWLINK, body: &body }).unwrap().unwrap().state
        };
        // A name of three letters and its end makes the next attribute start after padding.
        let named = attributes(&[(libc::IFLA_IFNAME, b"wg0\0\0"), (libc::IFLA_MTU, &1420_u32.to_ne_bytes())]);
        assert_eq!(state(UP | 64, &named), LinkState { up: true, mtu: Some(1420) });
        assert_eq!(state(64, &[]), LinkState { up: false, mtu: None });
        assert_eq!(answer(Message { kind: libc::RTM_NEWROUTE, body: &[0; 16] }), None);
        let refused = Message { kind: libc::NLMSG_ERROR as u16, body: &(-libc::ENODEV).to_ne_bytes() };
        assert_eq!(answer(refused), Some(Err(libc::ENODEV)));
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

    #[test]
    fn requests_are_as_long_as_they_say() {
        for request in [get(Place::Home, 7), get_named(Place::Away(1), "wg0"), delete(Place::Away(1), 7), set_up(7)] {
            assert_eq!(u32::from_ne_bytes(*request.first_chunk().unwrap()), request.len() as u32);
            assert_eq!(request.len() % 4, 0);
        }
    }
}
