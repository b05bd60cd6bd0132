//! What a client is told when its request is refused.

use thiserror::Error;

/// The number on the `errno=` line that ends every answer.
///
/// Zero or a *negative* Linux errno: wireguard-go answers so, and `wg` negates it before it prints the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(i32);

impl Errno {
    /// The request was carried out.
    pub const OK: Self = Self(0);
    /// A key or a value is not valid.
    pub const INVALID: Self = Self(-libc::EINVAL);
    /// A line is not of the form `key=value`.
    pub const PROTOCOL: Self = Self(-libc::EPROTO);
    /// The listening port or the firewall mark could not be set.
    pub const PORT_IN_USE: Self = Self(-libc::EADDRINUSE);
    /// The request could not be read to its end.
    pub const IO: Self = Self(-libc::EIO);

    /// There are as many of those as there may be.
    pub const BUSY: Self = Self(-libc::EBUSY);
    /// Whoever asks may not.
    pub const ACCESS: Self = Self(-libc::EACCES);

    /// The number as it goes on the wire.
    pub fn get(self) -> i32 {
        self.0
    }
}

/// Why a request is refused. The configuration is at fault, never us and never a peer.
///
/// No variant carries text of the client: an operator who mistypes a key name may have put a secret on that line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// A line without `=`.
    #[error("a line is not of the form key=value")]
    NotKeyValue,
    /// A key that the interface section does not know (a peer's key before the first `public_key` among them).
    #[error("unknown key in the interface section")]
    UnknownInterfaceKey,
    /// A key that a peer section does not know (an interface's key after the first `public_key` among them).
    #[error("unknown key in a peer section")]
    UnknownPeerKey,
    /// The value of this key is empty, out of range or malformed.
    #[error("the value of {0} is not valid")]
    Value(&'static str),
    /// Something other than the blank line follows `get=1`, `stats=1` or `suites=1`.
    #[error("a get request is not followed by a blank line")]
    TrailingText,
    /// A line longer than [`LINE_LEN_MAX`](super::LINE_LEN_MAX).
    #[error("a line is too long")]
    LineTooLong,
    /// A request longer than [`REQUEST_LEN_MAX`](super::REQUEST_LEN_MAX), or than what other clients left of it.
    #[error("the request is too long")]
    RequestTooLong,
    /// The client hung up before the blank line.
    #[error("the request ended before its blank line")]
    Truncated,
    /// More peers than the device can hold.
    #[error("too many peers")]
    TooManyPeers,
    /// Cipher suites for more peers than the device can hold.
    #[error("cipher suites are set for too many peers")]
    TooManySuites,
    /// Sources for more peers than the device can hold.
    #[error("sources are set for too many peers")]
    TooManySources,
    /// Names for more peers than the device can hold.
    #[error("names are set for too many peers")]
    TooManyNames,
    /// Another socket holds the port.
    #[error("the listening port is in use")]
    PortInUse,
    /// The system refused new UDP sockets for another reason.
    #[error("the UDP sockets for that port cannot be made: the gateway's log says why")]
    Sockets,
    /// The kernel refused the firewall mark.
    #[error("the firewall mark cannot be set")]
    Fwmark,
}

impl Refusal {
    /// The number that the client gets for it, as wireguard-go chooses it.
    pub fn errno(self) -> Errno {
        match self {
            Self::NotKeyValue => Errno::PROTOCOL,
            Self::UnknownInterfaceKey
            | Self::UnknownPeerKey
            | Self::Value(_)
            | Self::TrailingText
            | Self::TooManyPeers
            | Self::TooManySuites
            | Self::TooManySources
            | Self::TooManyNames => Errno::INVALID,
            Self::LineTooLong | Self::RequestTooLong | Self::Truncated => Errno::IO,
            Self::PortInUse | Self::Sockets | Self::Fwmark => Errno::PORT_IN_USE,
        }
    }
}
