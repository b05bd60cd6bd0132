//! The control plane: one thread that decides, and touches no packet.
//!
//! ```text
//!   cli ─┬─► daemon ─► start ─► run ─┬─ server ── uapi      who configures us
//!        ├─► inherited, acquire      │   the descriptors and the interface that are there already
//!        ├─► settings                ├─ interface, sources  what happens to the interface and the routes
//!        └─► ask                     │
//!                                    ├─ config, answer      what is set and what is shown
//!                                    └─ plane ── sockets    what the workers are told, what is sent
//! ```

mod acquire;
mod alarm;
mod answer;
pub mod ask;
mod config;
pub mod daemon;
pub mod error;
pub mod inherited;
mod intake;
mod interface;
pub mod key_text;
pub mod limits;
pub mod logging;
pub mod notices;
pub mod offloads;
mod plane;
pub mod preflight;
mod run;
pub mod server;
pub mod settings;
mod signals;
mod sockets;
mod sources;
mod start;
pub mod uapi;

pub use run::End;
pub use start::Daemon;
