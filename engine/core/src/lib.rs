//! The WireGuard protocol without I/O: handshakes, sessions, timers, routing.
//!
//! Nothing here opens a file descriptor, reads a clock or draws randomness: time, the wall clock and the random source
//! are arguments, and what the caller must do comes back as values. So every test can be exact, and a simulator can run
//! hours of protocol in a second.
//!
//! Import circle: `device`, `handover`. A handover holds the whole state of a device. Only the device can take that
//! from its own fields and put it back, and only the handover knows what else travels with it, and in which bytes.

#![forbid(unsafe_code)]

pub mod activity;
pub mod allowed_ips;
pub mod cell;
pub mod constants;
pub mod cookie;
pub mod crypto;
pub mod device;
pub mod diagnosis;
pub mod drops;
pub mod gate;
pub mod handover;
pub mod icmp;
pub mod ids;
mod index_filter;
pub mod keypair;
pub mod limiter;
pub mod looped;
mod marks;
pub mod node;
pub mod noise;
mod on_demand;
pub mod outpost;
pub mod packet;
mod part;
pub mod peer_counters;
pub mod peer_drops;
pub mod replay;
mod session_number;
mod shared;
pub mod suite;
pub mod tai64n;
pub mod time;
pub mod timers;
pub mod waiting;
pub mod whereabouts;
pub mod wire;

#[cfg(test)]
mod seeded_rng;
#[cfg(test)]
mod test_support;
