//! Loads of the lab's own generator through a tunnel: one at a set rate ([`udp`]), and the search for the rates that a
//! gateway can carry ([`rfc2544`]). The same between two hosts, through anything ([`generator`] and [`reflector`]).

pub mod bulk;
pub mod generator;
pub mod numbers;
mod progress;
pub mod reflector;
mod resume;
pub mod rfc2544;
mod shape;
pub mod udp;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use ringfort_testbed::{Context, Result};

/// As many open files as this process may have: a lane has up to 200 sockets, and a load 64 lanes.
fn allow_open_files() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("reading the limit on open files")?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("raising the limit on open files")
}
