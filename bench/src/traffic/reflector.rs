//! The directed end of a measurement between two hosts.

use std::net::{IpAddr, SocketAddr};

use clap::Args;
use ringfort_testbed::{Context, Error, Result};
use ringfort_traffic::hosts::{Reflector, ReflectorPlan};

use super::allow_open_files;
use super::shape::Seats;
use crate::results::stamp::Stamp;

/// What a person may choose.
#[derive(Args, Debug)]
pub struct Options {
    /// Where generators connect: exactly this address and port. Whoever can connect can have this host receive and
    /// send test traffic: it belongs into the network of a laboratory
    #[arg(long, value_name = "ADDRESS:PORT")]
    control: SocketAddr,
    /// The addresses of this host to which test traffic may go, with commas between them; no others are bound
    #[arg(long, value_delimiter = ',', required = true, value_name = "ADDRESS")]
    address: Vec<IpAddr>,
    /// End when the first generator has finished. What connects and is none does not count
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    seats: Seats,
}

/// Serves generators, one at a time.
pub fn run(options: &Options) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::new("buffers that lose nothing need root: run this as root (sudo), on both hosts"));
    }
    allow_open_files()?;
    let plan = ReflectorPlan {
        addresses: options.address.clone(),
        placement: options.seats.placement(1),
        lab: env!("CARGO_PKG_VERSION").to_owned(),
        host: serde_json::to_value(Stamp::take()).context("describing this machine")?,
    };
    let reflector = Reflector::bind(options.control, plan)?;
    println!("waits for a generator at {}", reflector.control()?);
    reflector.serve(options.once, &|line: &str| println!("{line}"))
}
