//! What the namespace tests and the performance lab stand on: network namespaces, gateways of several
//! implementations inside them, and traffic whose every byte is verified.
//!
//! ```text
//!        namespace a                                      namespace b
//!  ┌───────────────────────────┐                    ┌───────────────────────────┐
//!  │ sockets of the test       │                    │       sockets of the test │
//!  │     │                     │                    │                     │     │
//!  │ [tunnel]  10.77.0.1/24    │                    │    10.77.0.2/24  [tunnel] │
//!  │     │     fd00:77::1/64   │                    │   fd00:77::2/64     │     │
//!  │ gateway, UDP port 51820   │                    │   gateway, UDP port 51820 │
//!  │     │                     │                    │                     │     │
//!  │ [veth0]   10.200.0.1/24   │        veth        │   10.200.0.2/24   [veth0] │
//!  │           fd00:200::1/64 ─┼────────────────────┼─ fd00:200::2/64           │
//!  └───────────────────────────┘                    └───────────────────────────┘
//! ```
//!
//! Everything is named after the process id of the owner, and a [`janitor`] outside of the process removes all of it
//! when the owner is gone, however it ended. Nothing here links against the gateway: it is a program under test.

pub mod capture;
pub mod command;
pub mod daemon;
mod error;
pub mod forge;
pub mod janitor;
pub mod kernel;
pub mod keys;
pub mod memory;
pub mod netns;
pub mod payload;
pub mod ping;
pub mod process;
mod programs;
pub mod scratch;
pub mod tcp;
pub mod tunnel;
pub mod uapi;
pub mod udp;

pub use daemon::{Daemon, Implementation};
pub use error::{Context, Error, Result};
pub use keys::{Key, KeyPair};
pub use netns::{InterfaceCounters, Namespace, Wire};
pub use tunnel::{Family, Side, Tunnel};
