//! Messages, as `netlink-packet-core` cuts and writes them (`include/uapi/linux/netlink.h`).
//!
//! Lengths come from the kernel, and are checked all the same.

use std::net::IpAddr;

use netlink_packet_core::{
    NLA_HEADER_SIZE, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkMessage,
    NlasIterator, parse_i32, parse_ip, parse_u8, parse_u32,
};
use netlink_packet_route::RouteNetlinkMessage;

use crate::error::KernelRefusal;

/// The kernel's explanation in an answer (`NLMSGERR_ATTR_MSG`).
const NLMSGERR_ATTR_MSG: u16 = 1;
/// `struct nlmsghdr`.
pub(crate) const NETLINK_HEADER_LEN: usize = 16;
const ERRNO_LEN: usize = size_of::<i32>();

/// One message of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// Its type.
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    /// That of the request which it answers.
    pub(crate) sequence: u32,
    /// What follows the header.
    pub(crate) body: &'a [u8],
}

/// The messages of one datagram, up to the first whose length cannot be right.
pub(crate) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let message = NetlinkBuffer::new_checked(datagram).ok()?;
        datagram = datagram.get(aligned(message.length() as usize)..).unwrap_or_default();
        Some(Message {
            kind: message.message_type(),
            flags: message.flags(),
            sequence: message.sequence_number(),
            body: message.payload(),
        })
    })
}

impl<'a> Message<'a> {
    /// A refusal, or an acknowledgement (`Ok`); `None` for any other message. `struct nlmsgerr` begins with the error
    /// number, negative. The request follows, or its header alone, and then attributes.
    pub(crate) fn outcome(&self) -> Option<Result<(), KernelRefusal>> {
        if i32::from(self.kind) != libc::NLMSG_ERROR {
            return None;
        }
        let errno = parse_i32(self.body.get(..ERRNO_LEN)?).ok()?.checked_neg()?;
        if errno == 0 {
            return Some(Ok(()));
        }
        Some(Err(KernelRefusal { errno, text: self.explanation() }))
    }

    fn explanation(&self) -> Option<String> {
        if self.flags & NLM_F_ACK_TLVS == 0 {
            return None;
        }
        let request = NetlinkBuffer::new(self.body.get(ERRNO_LEN..).filter(|rest| rest.len() >= NETLINK_HEADER_LEN)?);
        let request_len = if self.flags & NLM_F_CAPPED == 0 { request.length() as usize } else { NETLINK_HEADER_LEN };
        let attributes = Attributes(self.body.get(ERRNO_LEN.checked_add(aligned(request_len))?..)?);
        attributes.text(NLMSGERR_ATTR_MSG).filter(|text| !text.is_empty())
    }

    /// Whether it ends a dump, and then the error number if the kernel could not go on.
    pub(crate) fn end_of_dump(&self) -> Option<Result<(), KernelRefusal>> {
        if i32::from(self.kind) != libc::NLMSG_DONE {
            return None;
        }
        let code = self.body.get(..ERRNO_LEN).and_then(|bytes| parse_i32(bytes).ok()).unwrap_or(0);
        Some(if code < 0 { Err(KernelRefusal { errno: code.saturating_neg(), text: None }) } else { Ok(()) })
    }

    /// Whether what a dump tells has changed meanwhile.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.flags & NLM_F_DUMP_INTR != 0
    }

    /// What `parse` makes of the structure that the body begins with, and the attributes behind its `len` bytes.
    pub(crate) fn parts<T, E>(
        &self,
        len: usize,
        parse: impl Fn(&'a [u8]) -> Result<T, E>,
    ) -> Option<(T, Attributes<'a>)> {
        let attributes = self.body.get(len..)?;
        Some((parse(self.body).ok()?, Attributes(attributes)))
    }
}

/// Attributes, one behind the other, each padded to four bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Attributes<'a> {
    /// The value of the first attribute of that type, whatever flags it has.
    pub(crate) fn find(self, wanted: u16) -> Option<&'a [u8]> {
        let attribute = NlasIterator::new(self.0).map_while(Result::ok).find(|attribute| attribute.kind() == wanted)?;
        let len = usize::from(attribute.length());
        attribute.into_inner().get(NLA_HEADER_SIZE..len)
    }

    pub(crate) fn u32(self, wanted: u16) -> Option<u32> {
        parse_u32(self.find(wanted)?).ok()
    }

    pub(crate) fn byte(self, wanted: u16) -> Option<u8> {
        parse_u8(self.find(wanted)?).ok()
    }

    pub(crate) fn address(self, wanted: u16) -> Option<IpAddr> {
        parse_ip(self.find(wanted)?).ok()
    }

    /// Up to the zero that ends it.
    pub(crate) fn text(self, wanted: u16) -> Option<String> {
        let bytes = self.find(wanted)?.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    /// The attributes that are the value of an attribute; none if it is not there.
    pub(crate) fn nested(self, wanted: u16) -> Self {
        Self(self.find(wanted).unwrap_or_default())
    }
}

/// A request with these flags beside `NLM_F_REQUEST`, as bytes.
pub(crate) fn encode(request: RouteNetlinkMessage, flags: u16, sequence: u32) -> Vec<u8> {
    let mut message = NetlinkMessage::from(request);
    message.header.flags = NLM_F_REQUEST | flags;
    message.header.sequence_number = sequence;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// `NLMSG_ALIGN`: to four bytes.
fn aligned(len: usize) -> usize {
    len.saturating_add(3) & !3
}

#[cfg(test)]
#[path = "message_tests.rs"]
pub(crate) mod tests;
