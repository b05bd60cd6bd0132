//! The cross-platform configuration protocol of WireGuard, as pure code: bytes in, requests out, and back.
//!
//! Source: <https://www.wireguard.com/xplatform/#configuration-protocol>. Where that text is silent, wireguard-go's
//! `device/uapi.go` is the reference for which value is refused with which error, with one deliberate difference: a
//! request here is a transaction. wireguard-go applies each line as it reads it; we apply nothing until the blank line
//! that ends the request has arrived and every line before it was valid.
//!
//! ```text
//!   client bytes ──► RequestReader ──► Request::{Get, Set, Stats} ──► (the control loop)
//!                    one bounded line      │ SetParser, line by line
//!                    at a time             ▼
//!   client bytes ◄── Reply ◄────────── serialize: name=value lines, then `errno=N` and a blank line
//! ```

mod errno;
mod reader;
mod reply;
mod request;
mod secret;
mod set;
mod value;

pub use errno::{Errno, Refusal};
pub use reader::{Event, LINE_LEN_MAX, REQUEST_LEN_MAX, RequestReader};
pub use reply::{InterfaceStatus, PeerStatus, Reply};
pub use request::{AllowedIpUpdate, DeviceUpdate, PeerUpdate, Request, SetRequest};
pub use secret::SecretKey;
pub use set::SetParser;

#[cfg(test)]
mod tests;
