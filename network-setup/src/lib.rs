//! The network of a WireGuard interface: addresses, MTU, routes, rules and name servers, set as `wg-quick(8)` sets them
//! on Linux, and taken back.
//!
//! ```text
//!   Setup ──► fwmark_for() ──► the mark of the UDP sockets, if there is a default route
//!     │
//!     ├────► apply() ──► Applied ──► update(other Setup) ──► Changes
//!     │                     └──────► take_back()
//!     └────  take_back(interface): what a killed process left behind
//! ```
//!
//! All of it happens, or nothing: what was done before something failed is taken back. An update makes only the
//! difference to what the kernel has. Everything is in the network namespace of the calling thread.

#![forbid(unsafe_code)]

mod applied;
mod changes;
mod converge;
mod dns;
mod error;
mod firewall;
mod host;
mod kernel;
mod prefix;
#[cfg(test)]
mod scratch;
mod setup;
mod target;

pub use applied::{Applied, apply, fwmark_for, take_back};
pub use changes::Changes;
pub use error::Error;
pub use prefix::{Prefix, PrefixError};
pub use setup::{Dns, Mtu, Setup, Table};
