//! The four messages as they are on the wire (WireGuard paper, section 5.4), and the only place where bytes become one
//! of them. All integers are little-endian.

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::drops::DropReason;
use crate::suite::Suite;

/// Length of an AEAD tag in bytes.
pub const TAG_LEN: usize = 16;
/// Length of the header of a data message in bytes: type, receiver index, counter.
pub const DATA_HEADER_LEN: usize = 16;
/// Length of the shortest data message in bytes: a keepalive.
pub const DATA_LEN_MIN: usize = DATA_HEADER_LEN + TAG_LEN;
/// Length of mac1 and of mac2 in bytes.
pub const MAC_LEN: usize = 16;
/// Length of both macs at the end of a handshake message in bytes.
pub const MACS_LEN: usize = 2 * MAC_LEN;
/// Length of the longest message that is not a data message in bytes.
pub const HANDSHAKE_LEN_MAX: usize = size_of::<HandshakeInitiation>();

/// Type of [`HandshakeInitiation`].
pub const TYPE_INITIATION: u8 = 1;
/// Type of [`HandshakeResponse`].
pub const TYPE_RESPONSE: u8 = 2;
/// Type of [`CookieReply`].
pub const TYPE_COOKIE_REPLY: u8 = 3;
/// Type of a data message.
pub const TYPE_DATA: u8 = 4;

/// First message: initiator to responder (section 5.4.2).
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct HandshakeInitiation {
    /// The type in the lowest byte, above it the reserved bytes: the marker of the suite.
    pub message_type: U32,
    /// The index that the initiator wants the response to carry.
    pub sender_index: U32,
    /// The initiator's ephemeral public key.
    pub ephemeral: [u8; 32],
    /// The initiator's static public key, sealed.
    pub encrypted_static: [u8; 32 + TAG_LEN],
    /// The TAI64N timestamp, sealed.
    pub encrypted_timestamp: [u8; 12 + TAG_LEN],
    /// Proof of knowing the responder's public key.
    pub mac1: [u8; MAC_LEN],
    /// Proof of owning the source address, or zeros.
    pub mac2: [u8; MAC_LEN],
}

/// Second message: responder to initiator (section 5.4.3).
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct HandshakeResponse {
    /// The type in the lowest byte, the reserved bytes above it.
    pub message_type: U32,
    /// The index that the responder wants data messages to carry.
    pub sender_index: U32,
    /// The initiator's index.
    pub receiver_index: U32,
    /// The responder's ephemeral public key.
    pub ephemeral: [u8; 32],
    /// Nothing, sealed: only the tag.
    pub encrypted_nothing: [u8; TAG_LEN],
    /// Proof of knowing the initiator's public key.
    pub mac1: [u8; MAC_LEN],
    /// Proof of owning the source address, or zeros.
    pub mac2: [u8; MAC_LEN],
}

/// What a responder under load says instead of shaking hands (section 5.4.7).
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct CookieReply {
    /// The type in the lowest byte, the reserved bytes above it.
    pub message_type: U32,
    /// The sender index of the message that this answers.
    pub receiver_index: U32,
    /// The nonce of XChaCha20-Poly1305.
    pub nonce: [u8; 24],
    /// The cookie, sealed with the answered message's mac1 as associated data.
    pub encrypted_cookie: [u8; 16 + TAG_LEN],
}

/// The header of a data message (section 5.4.6); ciphertext and tag follow it.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawDataHeader {
    message_type: U32,
    receiver_index: U32,
    counter: U64,
}

const _: () = assert!(size_of::<HandshakeInitiation>() == 148, "section 5.4.2");
const _: () = assert!(size_of::<HandshakeResponse>() == 92, "section 5.4.3");
const _: () = assert!(size_of::<CookieReply>() == 64, "section 5.4.7");
const _: () = assert!(size_of::<RawDataHeader>() == DATA_HEADER_LEN, "section 5.4.6");
const _: () = assert!(size_of::<CookieReply>() < size_of::<HandshakeResponse>(), "a cookie reply never amplifies");

/// Which session a data message belongs to, and its place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataHeader {
    /// The receiver's index, chosen by the receiver.
    pub receiver: u32,
    /// The counter, which is also the nonce.
    pub counter: u64,
}

/// A datagram whose type and length are right, and nothing else known about it.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    /// Somebody wants a session under this suite.
    Initiation(Suite, &'a HandshakeInitiation),
    /// An answer to our initiation.
    Response(&'a HandshakeResponse),
    /// A loaded responder's answer to our initiation, or a loaded initiator's to our response.
    CookieReply(&'a CookieReply),
    /// Sealed payload.
    Data(DataHeader),
}

/// Tells the message that a whole datagram is.
///
/// # Errors
/// [`DropReason::Runt`], [`DropReason::UnknownType`], [`DropReason::BadReserved`] or [`DropReason::BadLength`].
pub fn classify(datagram: &[u8]) -> Result<Message<'_>, DropReason> {
    match message_type(datagram)? {
        (TYPE_INITIATION, suite) => exact(datagram).map(|message| Message::Initiation(suite, message)),
        (TYPE_RESPONSE, _) => exact(datagram).map(Message::Response),
        (TYPE_COOKIE_REPLY, _) => exact(datagram).map(Message::CookieReply),
        _ => data_header(datagram).map(Message::Data),
    }
}

/// Reads the header of a data message, given the whole message.
///
/// # Errors
/// As [`classify`]; another valid message type is [`DropReason::UnknownType`].
pub fn parse_data_header(datagram: &[u8]) -> Result<DataHeader, DropReason> {
    match message_type(datagram)? {
        (TYPE_DATA, _) => data_header(datagram),
        _ => Err(DropReason::UnknownType),
    }
}

/// Writes the header of a data message.
pub fn write_data_header(header: &mut [u8; DATA_HEADER_LEN], receiver_index: u32, counter: u64) {
    let (start, counter_bytes) = header.split_at_mut(8);
    start[..4].copy_from_slice(&u32::from(TYPE_DATA).to_le_bytes());
    start[4..].copy_from_slice(&receiver_index.to_le_bytes());
    counter_bytes.copy_from_slice(&counter.to_le_bytes());
}

/// The first four bytes of an initiation: its type, and the marker of its suite where the other messages have zeros.
pub(crate) fn initiation_type(suite: Suite) -> U32 {
    let [a, b, c] = suite.marker();
    U32::from_bytes([TYPE_INITIATION, a, b, c])
}

/// The type of a datagram, one of the four defined ones, and the suite that an initiation is marked with.
fn message_type(datagram: &[u8]) -> Result<(u8, Suite), DropReason> {
    match *datagram {
        [kind @ TYPE_INITIATION..=TYPE_DATA, 0, 0, 0, ..] => Ok((kind, Suite::default())),
        [TYPE_INITIATION, a, b, c, ..] => {
            Suite::from_marker([a, b, c]).map(|suite| (TYPE_INITIATION, suite)).ok_or(DropReason::BadReserved)
        }
        [TYPE_INITIATION..=TYPE_DATA, _, _, _, ..] => Err(DropReason::BadReserved),
        [_, _, _, _, ..] => Err(DropReason::UnknownType),
        _ => Err(DropReason::Runt),
    }
}

fn exact<T: FromBytes + KnownLayout + Immutable + Unaligned>(datagram: &[u8]) -> Result<&T, DropReason> {
    T::ref_from_bytes(datagram).map_err(|_| DropReason::BadLength)
}

fn data_header(datagram: &[u8]) -> Result<DataHeader, DropReason> {
    if datagram.len() < DATA_LEN_MIN {
        return Err(DropReason::BadLength);
    }
    let (raw, _) = RawDataHeader::ref_from_prefix(datagram).map_err(|_| DropReason::BadLength)?;
    Ok(DataHeader { receiver: raw.receiver_index.get(), counter: raw.counter.get() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A datagram of type `kind` with zeros after it.
    fn datagram(kind: u8, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        bytes[0] = kind;
        bytes
    }

    /// The type that was recognised, or the refusal.
    fn kind(bytes: &[u8]) -> Result<u8, DropReason> {
        classify(bytes).map(|message| match message {
            Message::Initiation(..) => TYPE_INITIATION,
            Message::Response(_) => TYPE_RESPONSE,
            Message::CookieReply(_) => TYPE_COOKIE_REPLY,
            Message::Data(_) => TYPE_DATA,
        })
    }

    #[test]
    fn nothing_is_in_less_than_four_bytes() {
        for len in 0..4 {
            assert_eq!(kind(&[1, 0, 0, 0][..len]), Err(DropReason::Runt));
            assert_eq!(parse_data_header(&[4, 0, 0, 0][..len]), Err(DropReason::Runt));
        }
    }

    #[test]
    fn four_types_exist() {
        for other in (0..=255).filter(|kind| !(1..=4).contains(kind)) {
            assert_eq!(kind(&datagram(other, 148)), Err(DropReason::UnknownType));
        }
    }

    #[test]
    fn reserved_bytes_are_zero() {
        for (message_type, len) in [(1, 148), (2, 92), (3, 64), (4, 32)] {
            for reserved in 1..4 {
                let mut bytes = datagram(message_type, len);
                bytes[reserved] = 1;
                assert_eq!(kind(&bytes), Err(DropReason::BadReserved));
                assert!(parse_data_header(&bytes).is_err());
            }
        }
    }

    #[test]
    fn only_initiations_are_marked() {
        let suite_of = |bytes: &[u8]| match classify(bytes) {
            Ok(Message::Initiation(suite, _)) => Ok(suite),
            other => Err(other.err()),
        };
        for &suite in Suite::ALL {
            let mut bytes = datagram(TYPE_INITIATION, 148);
            bytes[1..4].copy_from_slice(&suite.marker());
            assert_eq!(bytes[..4], *initiation_type(suite).as_bytes());
            assert_eq!(suite_of(&bytes), Ok(suite));
            assert_eq!(suite_of(&bytes[..147]), Err(Some(DropReason::BadLength)));
        }
        for (message_type, len) in [(2, 92), (3, 64), (4, 32)] {
            let mut bytes = datagram(message_type, len);
            bytes[1..4].copy_from_slice(&Suite::Aes256Gcm.marker());
            assert_eq!(kind(&bytes), Err(DropReason::BadReserved));
            assert!(parse_data_header(&bytes).is_err());
        }
        // No single flipped bit makes a marker of another.
        for bit in 8..32 {
            for &suite in Suite::ALL {
                let mut bytes = datagram(TYPE_INITIATION, 148);
                bytes[1..4].copy_from_slice(&suite.marker());
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(kind(&bytes), Err(DropReason::BadReserved));
            }
        }
    }

    #[test]
    fn lengths_are_exact_but_for_data() {
        for (message_type, right) in [(1, 148), (2, 92), (3, 64)] {
            for len in 4..300 {
                let expected = if len == right { Ok(message_type) } else { Err(DropReason::BadLength) };
                assert_eq!(kind(&datagram(message_type, len)), expected, "type {message_type}, {len} bytes");
            }
        }
        for len in 4..300 {
            let expected = if len >= 32 { Ok(TYPE_DATA) } else { Err(DropReason::BadLength) };
            assert_eq!(kind(&datagram(TYPE_DATA, len)), expected, "data, {len} bytes");
        }
    }

    #[test]
    fn fields_lie_where_the_paper_puts_them() {
        let bytes: Vec<u8> = [2, 0, 0, 0].into_iter().chain(4..92).collect();
        let Ok(Message::Response(response)) = classify(&bytes) else { panic!("a response") };
        assert_eq!(response.sender_index.get(), u32::from_le_bytes([4, 5, 6, 7]));
        assert_eq!(response.receiver_index.get(), u32::from_le_bytes([8, 9, 10, 11]));
        assert_eq!(response.ephemeral[0], 12);
        assert_eq!(response.encrypted_nothing[0], 44);
        assert_eq!(response.mac1[0], 60);
        assert_eq!(response.mac2[0], 76);

        let bytes: Vec<u8> = [1, 0, 0, 0].into_iter().chain(4..148).collect();
        let Ok(Message::Initiation(_, initiation)) = classify(&bytes) else { panic!("an initiation") };
        assert_eq!(initiation.sender_index.get(), u32::from_le_bytes([4, 5, 6, 7]));
        assert_eq!(initiation.ephemeral[0], 8);
        assert_eq!(initiation.encrypted_static[0], 40);
        assert_eq!(initiation.encrypted_timestamp[0], 88);
        assert_eq!(initiation.mac1[0], 116);
        assert_eq!(initiation.mac2[0], 132);

        let bytes: Vec<u8> = [3, 0, 0, 0].into_iter().chain(4..64).collect();
        let Ok(Message::CookieReply(reply)) = classify(&bytes) else { panic!("a cookie reply") };
        assert_eq!(reply.receiver_index.get(), u32::from_le_bytes([4, 5, 6, 7]));
        assert_eq!(reply.nonce[0], 8);
        assert_eq!(reply.encrypted_cookie[0], 32);
    }

    #[test]
    fn a_data_header_of_another_type_is_none() {
        for (message_type, len) in [(1, 148), (2, 92), (3, 64)] {
            assert_eq!(parse_data_header(&datagram(message_type, len)), Err(DropReason::UnknownType));
        }
    }

    proptest! {
        #[test]
        fn data_headers_round_trip(receiver: u32, counter: u64, rest in 16_usize..200) {
            let mut header = [0xff; DATA_HEADER_LEN];
            write_data_header(&mut header, receiver, counter);
            let mut bytes = header.to_vec();
            bytes.resize(DATA_HEADER_LEN + rest, 0xee);
            prop_assert_eq!(parse_data_header(&bytes), Ok(DataHeader { receiver, counter }));
            prop_assert_eq!(&header[..4], &[4, 0, 0, 0]);
            prop_assert_eq!(&header[4..8], &receiver.to_le_bytes());
            prop_assert_eq!(&header[8..], &counter.to_le_bytes());
        }

        #[test]
        fn any_bytes_are_a_message_or_a_drop(bytes in prop::collection::vec(any::<u8>(), 0..200), first in 0_u8..6) {
            let mut bytes = bytes;
            if let Some(start) = bytes.get_mut(..4) {
                start.copy_from_slice(&[first, 0, 0, 0]);
            }
            let data = matches!(classify(&bytes), Ok(Message::Data(_)));
            prop_assert_eq!(parse_data_header(&bytes).is_ok(), data);
        }
    }
}
