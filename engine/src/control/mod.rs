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
//!
//! Import circle: `ask`, `background`, `config`, `data_plane`, `error`, `file`, `handover`, `inherited`, `jobs`,
//! `listing`, `logging`, `names`, `preflight`, `runner`, `server`, `signals`, `sockets`, `sources`, `uapi`, `watch`.
//! The program is server and client of one protocol, and what fails in either has one type:
//!
//! * `error` is all that ends the daemon or a command, and says whose fault it is. It names the errors of `file`,
//!   `preflight` and `uapi`, which return it, as do most of the others.
//! * `uapi` reads requests, among them those of a process that takes over, in the words of `handover` and `server`.
//!   `server` reads them with it, and keeps what is unfinished of `jobs`, `listing` and `watch`. Their answers are
//!   written in its words.
//! * `handover` and `ask` are the other end of a `server`, and find it where that has put its socket.
//! * `file` has its commands run by `runner` and its names resolved by `names`. They begin with nothing that was
//!   `inherited`, and `runner` writes the file as `file` does.

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
mod slice;
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
