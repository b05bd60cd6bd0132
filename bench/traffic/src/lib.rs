//! Traffic for measurements: a UDP generator that keeps to its schedule, a receiver that accounts for every datagram, a
//! reflector, bulk TCP, and requests with answers. All of them use `io_uring` and are pinned, each end in its own
//! network namespace.
//!
//! ```text
//!        namespace `from`                                          namespace `to`
//!   schedule ──► sender ──► sockets ──► what is measured ──► sockets ──► receiver ──► ledger, latencies
//!                (ring)                                                  (ring)
//!   round trip:  receiver ◄── sockets ◄── what is measured ◄── sockets ◄── reflector
//! ```
//!
//! * [`udp::run`] carries a [`Load`]: a rate, a size or the [`Imix`], up to 10,000 flows, one way, both ways or there
//!   and back.
//! * [`tcp::run`] carries a [`Bulk`](tcp::Bulk) transfer over up to 128 connections.
//! * [`hosts`] carries the same loads between two hosts, through anything that lies between two addresses.
//! * [`probe::round_trips`] is ping over the same sockets.
//! * [`rrul::run`] loads both directions with TCP, and times probes meanwhile.
//! * [`transactions::run`] asks and answers over up to 256 TCP connections.
//! * [`search::ndr_pdr`] finds the no-drop and the partial-drop rate of anything that can be asked for a trial, and
//!   [`rfc2544::measure`] adds the latencies below them and the longest burst.
//!
//! # What the words mean
//! A **size** is that of the inner IP packet in bytes, its IP header included, as the tunnel's interface sees it; the
//! frame sizes of RFC 2544 add Ethernet's 18. A **rate** is in packets per second, for each direction. Traffic is
//! **open loop**: datagram *n* is due *n* / rate after the start, whatever became of those before it, and its latency
//! counts from when it was *due*. What holds up the sender is therefore part of the latency instead of missing from it
//! (there is no coordinated omission), and is stated by itself as lateness. Both namespaces read one clock,
//! `CLOCK_MONOTONIC`, so one-way latency is exact. Two hosts have a clock each: [`Clocks`] says by how much it may be
//! wrong.

pub mod back_to_back;
mod clocks;
mod crew;
pub mod hosts;
pub mod latency;
mod ledger;
pub mod load;
pub mod outcome;
mod port;
pub mod probe;
mod prober;
mod receiver;
mod reflector;
pub mod rfc2544;
pub mod rrul;
mod schedule;
pub mod search;
mod seconds;
mod sender;
mod sockets;
mod stamp;
mod sys;
mod tally;
pub mod tcp;
pub mod transactions;
pub mod udp;

pub use clocks::Clocks;
pub use latency::{Histogram, Percentiles};
pub use load::{Cpus, Direction, Endpoint, Imix, Load, Placement, Size};
pub use outcome::{Interval, Leg, Outcome, Route, Traffic};
pub use prober::Answers;
