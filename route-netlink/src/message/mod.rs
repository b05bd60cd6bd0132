//! Netlink messages (`include/uapi/linux/netlink.h`): a header, a structure of its own for each type, and attributes.
//!
//! All fields are in the machine's own byte order. Lengths come from the kernel, and are checked all the same.

pub(crate) mod link;
pub(crate) mod namespace;
pub(crate) mod route;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The bits of an attribute's type that are not flags (`NLA_TYPE_MASK`).
const ATTRIBUTE_TYPE: u16 = 0x3fff;

/// `struct nlmsghdr`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    /// With the header.
    len: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
}

/// `struct rtattr`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct AttributeHeader {
    /// With the header, without the padding.
    len: u16,
    kind: u16,
}

const _: () = assert!(size_of::<Header>() == size_of::<libc::nlmsghdr>());
const _: () = assert!(size_of::<AttributeHeader>() == 4, "the uapi structure");

/// One message of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// Its type.
    pub(crate) kind: u16,
    /// What follows the header.
    pub(crate) body: &'a [u8],
}

/// The messages of one datagram, up to the first whose length cannot be right.
pub(crate) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let (header, _) = Header::read_from_prefix(datagram).ok()?;
        let body = datagram.get(size_of::<Header>()..header.len as usize)?;
        datagram = datagram.get(aligned(header.len as usize)..).unwrap_or_default();
        Some(Message { kind: header.kind, body })
    })
}

impl<'a> Message<'a> {
    /// The error number of a refusal, 0 for an acknowledgement; `None` for any other message. `struct nlmsgerr` begins
    /// with the number, negative.
    pub(crate) fn errno(&self) -> Option<i32> {
        (i32::from(self.kind) == libc::NLMSG_ERROR).then(|| i32_of(self.body))?.and_then(i32::checked_neg)
    }

    /// The structure that a message of this type begins with, and its attributes.
    fn parts<T: FromBytes + KnownLayout + Immutable>(&self) -> Option<(T, Attributes<'a>)> {
        let (structure, attributes) = T::read_from_prefix(self.body).ok()?;
        Some((structure, Attributes(attributes)))
    }
}

/// Attributes, one behind the other, each padded to four bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// The value of the first attribute of that type.
    fn find(self, wanted: u16) -> Option<&'a [u8]> {
        let mut rest = self.0;
        loop {
            let (header, _) = AttributeHeader::read_from_prefix(rest).ok()?;
            let value = rest.get(size_of::<AttributeHeader>()..usize::from(header.len))?;
            if header.kind & ATTRIBUTE_TYPE == wanted {
                return Some(value);
            }
            rest = rest.get(aligned(usize::from(header.len))..)?;
        }
    }

    fn u32(self, wanted: u16) -> Option<u32> {
        self.find(wanted).and_then(|value| value.first_chunk()).map(|value| u32::from_ne_bytes(*value))
    }

    fn byte(self, wanted: u16) -> Option<u8> {
        self.find(wanted).and_then(|value| value.first().copied())
    }

    /// The attributes that are the value of an attribute; none if it is not there.
    fn nested(self, wanted: u16) -> Self {
        Self(self.find(wanted).unwrap_or_default())
    }
}

/// A request that is being written.
#[derive(Debug)]
struct Request {
    header: Header,
    body: Vec<u8>,
}

impl Request {
    /// A request of this type with its structure.
    fn new(kind: u16, structure: &(impl IntoBytes + Immutable)) -> Self {
        let header = Header { kind, flags: libc::NLM_F_REQUEST as u16, ..Header::default() };
        Self { header, body: structure.as_bytes().to_vec() }
    }

    /// With these flags beside `NLM_F_REQUEST`.
    fn with_flags(mut self, flags: libc::c_int) -> Self {
        self.header.flags |= flags as u16;
        self
    }

    fn with(mut self, kind: u16, value: &[u8]) -> Self {
        push_attribute(&mut self.body, kind, value);
        self
    }

    fn into_bytes(mut self) -> Vec<u8> {
        self.header.len = (size_of::<Header>() + self.body.len()) as u32;
        [self.header.as_bytes(), &self.body].concat()
    }
}

fn push_attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let len = (size_of::<AttributeHeader>() + value.len()) as u16;
    body.extend(AttributeHeader { len, kind }.as_bytes());
    body.extend(value);
    body.resize(aligned(body.len()), 0);
}

/// `NLMSG_ALIGN` and `RTA_ALIGN`: to four bytes.
fn aligned(len: usize) -> usize {
    len.saturating_add(3) & !3
}

fn i32_of(bytes: &[u8]) -> Option<i32> {
    bytes.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A datagram of one message.
    pub(crate) fn datagram(kind: u16, body: &[u8]) -> Vec<u8> {
        let header = Header { len: (size_of::<Header>() + body.len()) as u32, kind, ..Header::default() };
        let mut bytes = [header.as_bytes(), body].concat();
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    /// Attributes of these types and values.
    pub(crate) fn attributes(list: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        list.iter().for_each(|(kind, value)| push_attribute(&mut bytes, *kind, value));
        bytes
    }

    fn kinds(datagram: &[u8]) -> Vec<u16> {
        messages(datagram).map(|message| message.kind).collect()
    }

    #[test]
    fn several_messages_in_one_datagram() {
        let all = [datagram(24, &[0; 13]), datagram(999, &[0; 5]), datagram(21, &[])].concat();
        assert_eq!(kinds(&all), [24, 999, 21]);
        assert_eq!(messages(&all).next().unwrap().body.len(), 13, "without the padding");
    }

    #[test]
    fn a_length_beyond_the_datagram_or_below_the_header_ends_it() {
        let mut bytes = datagram(24, &[0; 12]);
        bytes[0] += 1;
        assert_eq!(kinds(&bytes), [0_u16; 0]);
        bytes[0..4].copy_from_slice(&0_u32.to_ne_bytes());
        assert_eq!(kinds(&bytes), [0_u16; 0]);
        bytes[0..4].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(kinds(&bytes), [0_u16; 0]);
    }

    #[test]
    fn a_refusal_and_an_acknowledgement() {
        let errno = |body: &[u8]| Message { kind: libc::NLMSG_ERROR as u16, body }.errno();
        assert_eq!(errno(&(-libc::ENODEV).to_ne_bytes()), Some(libc::ENODEV));
        assert_eq!(errno(&[0; 20]), Some(0));
        assert_eq!(errno(&i32::MIN.to_ne_bytes()), None);
        assert_eq!(errno(&[0; 3]), None);
        assert_eq!(Message { kind: libc::RTM_NEWLINK, body: &[0; 4] }.errno(), None);
    }

    #[test]
    fn attributes_are_found_behind_padding_and_whatever_flags_they_have() {
        let bytes = attributes(&[(1, b"wg0\0\0"), (0x8002, &[7]), (2, &[8])]);
        let found = Attributes(&bytes);
        assert_eq!((found.find(1), found.byte(2), found.find(3)), (Some(&b"wg0\0\0"[..]), Some(7), None));
        assert_eq!(Attributes(&[0; 16]).find(1), None, "a length of zero ends it");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(kind in 0_u16..100, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for datagram in [datagram(kind, &bytes), bytes] {
                for message in messages(&datagram) {
                    message.errno();
                    link::news(message);
                    link::answer(message);
                    namespace::answer(message);
                    route::is_change(message);
                    route::answer(message);
                }
            }
        }
    }
}
