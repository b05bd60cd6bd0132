//! The control side of a WireGuard interface, without I/O.

mod api;

pub use api::{Action, AddPeerError, Datagram, HandshakeReason, PeerEvent};
