//! The four messages as they are on the wire (WireGuard paper, section 5.4), and the only place where bytes become one
//! of them. All integers are little-endian.

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::drops::Drop;

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
    /// The type in the lowest byte, the reserved bytes above it.
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
    /// Somebody wants a session.
    Initiation(&'a HandshakeInitiation),
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
/// [`Drop::Runt`], [`Drop::UnknownType`], [`Drop::BadReserved`] or [`Drop::BadLength`].
pub fn classify(datagram: &[u8]) -> Result<Message<'_>, Drop> {
    match message_type(datagram)? {
        TYPE_INITIATION => exact(datagram).map(Message::Initiation),
        TYPE_RESPONSE => exact(datagram).map(Message::Response),
        TYPE_COOKIE_REPLY => exact(datagram).map(Message::CookieReply),
        _ => data_header(datagram).map(Message::Data),
    }
}

/// Reads the header of a data message, given the whole message.
///
/// # Errors
/// As [`classify`]; another valid message type is [`Drop::UnknownType`].
pub fn parse_data_header(datagram: &[u8]) -> Result<DataHeader, Drop> {
    match message_type(datagram)? {
        TYPE_DATA => data_header(datagram),
        _ => Err(Drop::UnknownType),
    }
}

/// Writes the header of a data message.
pub fn write_data_header(header: &mut [u8; DATA_HEADER_LEN], receiver_index: u32, counter: u64) {
    let (start, counter_bytes) = header.split_at_mut(8);
    start[..4].copy_from_slice(&u32::from(TYPE_DATA).to_le_bytes());
    start[4..].copy_from_slice(&receiver_index.to_le_bytes());
    counter_bytes.copy_from_slice(&counter.to_le_bytes());
}

/// The type of a datagram, one of the four defined ones.
fn message_type(datagram: &[u8]) -> Result<u8, Drop> {
    match *datagram {
        [kind @ TYPE_INITIATION..=TYPE_DATA, 0, 0, 0, ..] => Ok(kind),
        [TYPE_INITIATION..=TYPE_DATA, _, _, _, ..] => Err(Drop::BadReserved),
        [_, _, _, _, ..] => Err(Drop::UnknownType),
        _ => Err(Drop::Runt),
    }
}

fn exact<T: FromBytes + KnownLayout + Immutable + Unaligned>(datagram: &[u8]) -> Result<&T, Drop> {
    T::ref_from_bytes(datagram).map_err(|_| Drop::BadLength)
}

fn data_header(datagram: &[u8]) -> Result<DataHeader, Drop> {
    if datagram.len() < DATA_LEN_MIN {
        return Err(Drop::BadLength);
    }
    let (raw, _) = RawDataHeader::ref_from_prefix(datagram).map_err(|_| Drop::BadLength)?;
    Ok(DataHeader { receiver: raw.receiver_index.get(), counter: raw.counter.get() })
}
