//! Deterministic simulation of whole gateways.
//!
//! The real control core and the real data path, several workers each, run on a virtual clock and a virtual network.
//! One seed decides what goes wrong, who is interrupted when, and what users send. Whatever happens, the invariants
//! hold at every step: a nonce is used once, a packet arrives once, intact, where it belongs, slots add up, drops have
//! names. [`run()`] says what a seed came to, [`shrink`] what a failure needs.

#![forbid(unsafe_code)]

mod agenda;
mod gateway;
mod ledger;
mod network;
mod nonces;
mod outer;
mod outside;
mod packets;
mod rng;
mod run;
mod scenario;
mod trace;
mod world;

#[cfg(test)]
mod mistakes_tests;

pub use run::{Failure, run, scenario, shrink};
pub use scenario::{Cut, Cuts};
pub use trace::Trace;
pub use world::Summary;
