//! Loads between two hosts, through whatever lies between two addresses: a tunnel of the kernel, a router, a remote
//! gateway. A [`Generator`] on one host directs a [`Reflector`] on the other over a control connection.
//!
//! ```text
//!        host of the generator                                        host of the reflector
//!   ┌───────────────────────────┐      control connection (TCP)     ┌───────────────────────────┐
//!   │ generator ────────────────┼───────────────────────────────────┼──► reflector              │
//!   │   sockets on `from` ══════╪═══►  what is measured  ═══════════╪══► sockets on `to`        │
//!   └───────────────────────────┘                                   └───────────────────────────┘
//! ```
//!
//! Threads, schedules and accounts are those of one host: each host runs its half of a lane, and its ends of
//! connections. Each has a clock of its
//! own, so one-way times have an error, and [`Clocks`] says how large it may be. Round trips have none.
//!
//! A reflector trusts nobody much. It binds only the addresses that it was given, and serves one generator at a time.
//! It sends only where a number was read that it had sent there. It stops when the generator has closed the control
//! connection, or its host has not answered for half a minute. Nothing here is encrypted or authenticated: it belongs
//! into a laboratory's network.

mod generator;
mod half;
mod job;
mod learning;
mod messages;
mod reflector;
mod session;
mod wire;
mod work;

use std::time::Duration;

pub use generator::Generator;
pub use reflector::Reflector;
pub use session::ReflectorPlan;

pub use crate::clocks::Clocks;

/// How long an answer may take for which nothing has to be waited, and the other end may say nothing in between.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the other end may take to say who it is.
const HELLO_PATIENCE: Duration = Duration::from_secs(10);
/// How often a host that carries a load looks whether the other one is still there.
const LOOK_EVERY: Duration = Duration::from_millis(5);
