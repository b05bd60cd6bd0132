//! The control plane: one thread that decides, and touches no packet.
//!
//! ```text
//!   cli ─┬─► background ─► start ─► event_loop ─┬─ server ── uapi      who configures us
//!        ├─► inherited, acquire                 ├─ interface, sources  what happens to the interface and the routes
//!        ├─► file ─► steward ──────────────────►├─ jobs ── config      what is set, a part in each turn
//!        ├─► runner, a process for commands     ├─ answer, listing     what is shown
//!        └─► ask                                └─ plane ── sockets    what the workers are told, what is sent
//! ```
//!
//! `inherited` and `acquire` have the descriptors and the interface that are there already. `endpoints` keeps where
//! peers were for the next process.

mod acquire;
mod alarm;
mod answer;
pub mod ask;
pub mod background;
mod capture;
mod ciphers;
mod config;
mod cores;
mod data_plane;
pub mod endpoints;
pub mod error;
mod event_loop;
pub mod file;
mod former_ports;
mod gather;
mod ground;
mod handover;
mod inheritance;
pub mod inherited;
mod intake;
mod interface;
mod jobs;
mod keyless;
pub mod limits;
mod listing;
pub mod logging;
pub mod names;
pub mod notices;
pub mod offloads;
pub mod peers;
pub mod places;
pub mod preflight;
pub mod runner;
pub mod secrecy;
pub mod server;
mod signals;
mod sockets;
mod sources;
mod start;
mod supervisor;
pub mod uapi;
mod unreachable;
pub mod user;
mod watch;
mod words;
mod workers;

pub use event_loop::End;
pub use peers::words::age;
pub use ringfort_config::key_text;
pub use start::Daemon;
