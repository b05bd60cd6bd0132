//! Receiving: one multishot `RECVMSG` per family into provided buffers.
//!
//! The kernel fills a buffer like this (`struct io_uring_recvmsg_out` of `<linux/io_uring.h>`, then room for an address
//! and for control messages of the lengths that the request named, then the payload):
//!
//! ```text
//!   0             16                 48                                192
//!   ├─ lengths ───┼─ sockaddr ───────┼─ control messages ───────────────┼─ payload …
//! ```

use ring_buffers::{JUMBO_SIZE, View};
use udp_endpoint::Endpoint;

use crate::cmsg::{RECEIVE_CONTROL_LEN, ReceiveControl};
use crate::sockaddr::{SOCKADDR_LEN_MAX, array, read_sockaddr};

/// `struct io_uring_recvmsg_out`: lengths of name, control and payload, and flags; each of 32 bits.
const LENGTHS: usize = 16;
/// A whole number of words, so the control messages behind it are aligned.
pub(crate) const NAME_LEN: usize = 32;
pub(crate) const CONTROL_LEN: usize = PAYLOAD_OFFSET - LENGTHS - NAME_LEN;

/// Where the payload begins in a received buffer: at a cache line, for the ciphers' sake.
pub const PAYLOAD_OFFSET: usize = 192;

/// Bytes of a slot to show the kernel for receiving: the longest datagram or train, and what stands before it.
pub const RECEIVE_BUFFER_LEN: usize = PAYLOAD_OFFSET + (1 << 16);

const _: () = {
    assert!(NAME_LEN >= SOCKADDR_LEN_MAX, "either address fits");
    assert!(CONTROL_LEN >= RECEIVE_CONTROL_LEN, "every control message that the sockets ask for fits");
    assert!(RECEIVE_BUFFER_LEN <= JUMBO_SIZE, "a jumbo slot takes the longest train");
};

/// A train as it came: datagrams of `stride` bytes side by side, the last may be shorter.
#[derive(Debug)]
pub struct Received {
    /// The payload of all of them; never empty.
    pub view: View,
    /// Whom it came from, and the local address and interface that it came to.
    pub endpoint: Endpoint,
    /// Bytes of each datagram but the last; at least 1, at most the view's length.
    pub stride: usize,
    /// ECN bits of the outer header. All datagrams of a train have the same: Linux merges no others since 6.9 (commit
    /// 5babae7), 6.8.10, 6.6.31 and 6.1.91. Before, these are the bits of the first one. We merge there as well. The
    /// release does not tell: those of Debian 12 are 6.1.0, with the correction and without. Trains spare every packet
    /// a call, and the fault takes a router on the way that marks some of a flow's packets.
    pub ecn: u8,
}

/// Why a buffer that the kernel filled holds nothing to work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveDrop {
    /// The datagram was longer than the buffer (`MSG_TRUNC`), or what was said beside it did not fit (`MSG_CTRUNC`),
    /// so nobody knows where its datagrams end.
    Truncated,
    /// A datagram without a byte.
    Empty,
    /// The kernel's description makes no sense: a bug, here or there.
    Malformed,
}

impl Received {
    /// Number of datagrams.
    #[must_use]
    pub fn datagrams(&self) -> usize {
        self.view.len().div_ceil(self.stride)
    }

    /// Takes apart a buffer that the kernel filled for a request of this crate.
    ///
    /// # Errors
    /// [`ReceiveDrop`]: the buffer goes home, and nothing else comes of it.
    pub fn parse(mut view: View) -> Result<Self, ReceiveDrop> {
        let flags = word(&view, 12)?;
        let name_len = length(&view, 0)?;
        let control_len = length(&view, 4)?;
        let payload_len = length(&view, 8)?;
        let truncated = libc::MSG_TRUNC | libc::MSG_CTRUNC;
        if flags & truncated.cast_unsigned() != 0 {
            return Err(ReceiveDrop::Truncated);
        }
        if name_len > NAME_LEN || control_len > CONTROL_LEN || view.len() != PAYLOAD_OFFSET + payload_len {
            return Err(ReceiveDrop::Malformed);
        }
        if payload_len == 0 {
            return Err(ReceiveDrop::Empty);
        }
        let remote = read_sockaddr(&view[LENGTHS..][..name_len]).ok_or(ReceiveDrop::Malformed)?;
        let control = ReceiveControl::parse(&view[LENGTHS + NAME_LEN..][..control_len]);
        view.advance(PAYLOAD_OFFSET);
        let stride = control.stride.map_or(payload_len, |stride| stride.min(payload_len));
        Ok(Self { view, endpoint: Endpoint { remote, source: control.local }, stride, ecn: control.ecn })
    }
}

fn word(view: &View, offset: usize) -> Result<u32, ReceiveDrop> {
    array(view, offset).map(u32::from_ne_bytes).ok_or(ReceiveDrop::Malformed)
}

fn length(view: &View, offset: usize) -> Result<usize, ReceiveDrop> {
    usize::try_from(word(view, offset)?).map_err(|_| ReceiveDrop::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn buffer(name: &[u8], control: &[u8], payload: &[u8], flags: i32) -> Vec<u8> {
        let mut bytes = vec![0; PAYLOAD_OFFSET];
        for (i, n) in [name.len() as u32, control.len() as u32, payload.len() as u32, flags as u32].iter().enumerate() {
            bytes[4 * i..4 * i + 4].copy_from_slice(&n.to_ne_bytes());
        }
        bytes[LENGTHS..LENGTHS + name.len()].copy_from_slice(name);
        bytes[LENGTHS + NAME_LEN..LENGTHS + NAME_LEN + control.len()].copy_from_slice(control);
        bytes.extend(payload);
        bytes
    }

    fn sockaddr() -> Vec<u8> {
        let mut out = [0; SOCKADDR_LEN_MAX];
        let len = crate::sockaddr::write_sockaddr(&"192.0.2.1:7".parse().expect("literal"), &mut out);
        out[..len].to_vec()
    }

    #[test]
    fn a_lone_datagram_is_a_train_of_one() {
        let received = Received::parse(View::heap(buffer(&sockaddr(), &[], b"hello", 0))).expect("well-formed");
        assert_eq!(&*received.view, b"hello");
        assert_eq!(received.stride, 5);
        assert_eq!(received.endpoint, Endpoint::new("192.0.2.1:7".parse().expect("literal")));
    }

    #[test]
    fn what_is_cut_off_is_named() {
        let outcome = |bytes| Received::parse(View::heap(bytes)).map(|_| ()).unwrap_err();
        let name = sockaddr();
        assert_eq!(outcome(buffer(&name, &[], b"cut", libc::MSG_TRUNC)), ReceiveDrop::Truncated);
        assert_eq!(outcome(buffer(&name, &[], b"cut", libc::MSG_CTRUNC)), ReceiveDrop::Truncated);
        assert_eq!(outcome(buffer(&name, &[], b"", 0)), ReceiveDrop::Empty);
        assert_eq!(outcome(buffer(&name[..1], &[], b"x", 0)), ReceiveDrop::Malformed);
        let mut short = buffer(&name, &[], b"full", 0);
        short.pop();
        assert_eq!(outcome(short), ReceiveDrop::Malformed, "fewer bytes than the description says");
    }

    proptest! {
        #[test]
        fn arbitrary_buffers_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400), lens: [u8; 3]) {
            let _ = Received::parse(View::heap(bytes.clone()));
            if bytes.len() >= LENGTHS {
                // Nearly sensible lengths reach further.
                for (i, len) in lens.iter().enumerate() {
                    bytes[4 * i..4 * i + 4].copy_from_slice(&u32::from(*len).to_ne_bytes());
                }
                bytes[12..16].fill(0);
                if let Ok(r) = Received::parse(View::heap(bytes)) {
                    prop_assert!(r.stride >= 1 && r.stride <= r.view.len());
                }
            }
        }
    }
}
