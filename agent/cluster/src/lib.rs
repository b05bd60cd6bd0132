//! A cluster in network namespaces: gateways with their agents, etcd, BIRD, a router and clients. The tests of the
//! agent are made of it, and so is `scripts/cluster`, which shows what clients lose when a part of it fails.
//!
//! Needs root, what `scripts/install-test-peers` installs, and `ringfort` and `ringfort-agent`, built beside it. It
//! panics where something does not work: whoever uses it has nothing else to do.

#![forbid(unsafe_code)]

pub mod bird;
pub mod demo;
pub mod etcd;
pub mod harness;
mod programs;
pub mod traffic;
mod ways;

pub use harness::{Cluster, NETWORK, eventually};
