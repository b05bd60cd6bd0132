//! The process that runs commands and programs for a gateway of `ringfort up`: hooks of its file, `nft`, `resolvconf`.
//!
//! ```text
//!   daemon (no execve)                         runner (as it was started)
//!     steward ── Ask: hook, program, stop ──►    reads the file itself ──► /bin/sh -c …
//!             ◄── Answer: how it ended ──────                              nft, resolvconf, resolvectl
//! ```
//!
//! The daemon gives up what it needs no more, and what it starts would inherit that: a hook could neither use `sudo`
//! nor load a kernel module. So the commands are run by a process that was forked before. It also believes nothing. A
//! hook is run only if it stands in the file as this process reads it, and a program only with arguments that
//! [`network_setup`] has a use for. Whoever takes over the daemon gains no shell by it, unless that may write to the
//! file: with `SaveConfig` it may.
//!
//! It has one thread, no memory of packets and no keys, and ends with the daemon.

mod client;
mod process;
mod wire;

pub use client::Runner;
pub(in crate::control) use process::hear_no_signal;
pub use process::{Forked, RunnerProcess, fork};
