//! The control plane: one thread that decides, and touches no packet.
//!
//! ```text
//!   cli ─► daemon ─► start ─► run ─┬─ server ── uapi      who configures us
//!                                  ├─ interface ┐
//!                                  ├─ sources ──┴ netlink what happens to the interface and the routes
//!                                  ├─ config, answer      what is set and what is shown
//!                                  └─ plane ── sockets    what the workers are told, what is sent
//! ```

mod alarm;
mod answer;
mod config;
pub mod daemon;
pub mod error;
mod interface;
pub mod logging;
pub mod netlink;
pub mod offloads;
mod plane;
pub mod preflight;
mod run;
pub mod server;
mod sockets;
mod sources;
mod start;
pub mod stats;
pub mod uapi;

pub use run::End;
pub use start::Daemon;
