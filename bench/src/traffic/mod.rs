//! Loads of the lab's own generator through a tunnel: one at a set rate ([`udp`]), and the search for the rates that a
//! gateway can carry ([`rfc2544`]). The same between two hosts, through anything ([`generator`] and [`reflector`]).

pub mod device;
mod gateways;
pub mod generator;
pub mod numbers;
mod progress;
pub mod reflector;
pub mod rfc2544;
mod shape;
pub mod udp;
