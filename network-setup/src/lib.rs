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
//! ```no_run
//! use network_setup::{Setup, apply, fwmark_for};
//!
//! let mut setup = Setup {
//!     interface: "wg0".to_owned(),
//!     addresses: vec!["10.0.0.1/24".parse()?],
//!     allowed_ips: vec!["0.0.0.0/0".parse()?],
//!     ..Setup::default()
//! };
//! setup.fwmark = fwmark_for(&setup)?;
//! // Here the gateway opens its sockets with this mark.
//! let mut applied = apply(&setup)?;
//! setup.allowed_ips.push("10.9.0.0/16".parse()?);
//! println!("changed: {}", applied.update(&setup)?);
//! applied.take_back()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
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
mod invocation;
mod kernel;
mod prefix;
#[cfg(test)]
mod scratch;
mod setup;
mod tables;
mod target;

pub use applied::{Applied, apply, fwmark_for, resume, take_back};
pub use changes::Changes;
pub use error::Error;
pub use invocation::{Ended, Input, Invocation, NotOurs, delegate};
pub use prefix::{Prefix, PrefixError};
pub use setup::{Dns, Mtu, Setup, Table, is_domain};
pub use tables::{Family, TableChange, TableContent};
