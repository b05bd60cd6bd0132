//! The agent of a cluster of Ringfort gateways.
//!
//! ```text
//!            etcd                                              the gateway of this node
//!  peers/KEY ───── watch ────►┌───────────────────────┐──── set=1: peers ──────────► control socket
//!  sessions/KEY ◄─ lease ─────│ agent: one thread      │◄─── watch=1: sessions ────── of `ringfort`
//!            ────── watch ───►│ state/ decides         │
//!                             └───────────────────────┘──── routes ──► kernel ──► BIRD, FRR ──► the network
//!                                          ▲
//!                       `ringfort-agent status`, `drain`, `resume`
//! ```
//!
//! Each node has a gateway and an agent. All gateways have the same private key, and the same address for the outside.
//! An agent keeps the peers of its gateway as etcd has them. It claims in etcd whoever confirmed a session with its
//! gateway, and has a route for each. Whoever carries routes (BIRD, FRR) carries them to the rest of the network, so
//! what is sent to a peer reaches the gateway that has its session.
//!
//! [`state`] decides, and does no I/O. Around it are thin shells, each a task of one thread: [`gateway`] and [`uapi`]
//! speak with the gateway, [`etcd`] and [`claims`] with etcd, [`kernel`] with the kernel, [`control`] with whoever runs
//! a command. [`agent`] passes things between them.
//!
//! A tunnel needs none of this to go on: without the agent, or without etcd, the gateway serves the peers that it has.

#![forbid(unsafe_code)]

pub mod agent;
pub mod claims;
pub mod cli;
pub mod control;
pub mod error;
pub mod etcd;
pub mod gateway;
pub mod kernel;
pub mod keys;
pub mod logging;
pub mod state;
pub mod uapi;
pub mod value;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => agent::run(args).map(|()| ExitCode::SUCCESS),
        Command::Status(args) => control::client::status(&args),
        Command::Drain(args) => control::client::drain(&args),
        Command::Resume(args) => control::client::resume(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("ringfort-agent: {error}");
        ExitCode::from(error.exit_status())
    })
}
