//! What a soak goes through: gateways that the lab has started, or whatever lies between two hosts.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::{Duration, Instant};

use ringfort_testbed::{Error, Result};
use ringfort_traffic::hosts::Generator;
use ringfort_traffic::rrul::{self, Rrul, RrulOutcome};
use ringfort_traffic::{Load, Outcome, udp};

use crate::interrupt;
use crate::results::files::Gateways;
use crate::setup::SetUp;
use crate::setup::gateways::Before;

/// A reflector may need that long to notice that its generator has gone.
const RECONNECT_WITHIN: Duration = Duration::from_secs(10);
const RECONNECT_EVERY: Duration = Duration::from_millis(500);

/// See the module.
pub enum Place<'a> {
    /// Two gateways, or none, on this host.
    SetUp(&'a SetUp),
    /// An address of this host, and one of a reflector's.
    Hosts(FarEnd),
}

/// The reflector of a soak. After a failure it is connected to anew.
#[derive(Debug)]
pub struct FarEnd {
    /// Where it listens.
    pub control: SocketAddr,
    /// From where to where traffic goes.
    pub ends: [IpAddr; 2],
    /// The conversation, as long as nothing has failed in it.
    pub generator: Option<Generator>,
}

impl Place<'_> {
    /// TCP with probes, and UDP, at once.
    ///
    /// # Errors
    /// Something does not get through.
    pub fn carry(&mut self, mixed: &Rrul, load: &Load) -> Result<(RrulOutcome, Outcome)> {
        match self {
            Self::SetUp(set_up) => {
                let (from, to) = (set_up.end(0), set_up.end(1));
                thread::scope(|scope| {
                    let datagrams = scope.spawn(|| udp::run(load, from, to, &AtomicU64::new(0)));
                    let mixed = rrul::run(mixed, from, to, &AtomicU64::new(0));
                    let datagrams = datagrams.join().unwrap_or_else(|_| Err(Error::new("the UDP of a turn panicked")));
                    Ok((mixed?, datagrams?))
                })
            }
            Self::Hosts(link) => link.carry(mixed, load),
        }
    }

    /// The counters of gateways that the lab has started.
    ///
    /// # Errors
    /// One has died.
    pub fn counters(&self) -> Result<Option<Before>> {
        match self {
            Self::SetUp(set_up) => Before::of(set_up).map(Some),
            Self::Hosts(_) => Ok(None),
        }
    }

    /// What has changed in them.
    ///
    /// # Errors
    /// One has died.
    pub fn since(&self, before: Option<&Before>) -> Result<Option<Gateways>> {
        match (self, before) {
            (Self::SetUp(set_up), Some(before)) => Gateways::since(before, set_up),
            _ => Ok(None),
        }
    }

    /// What these gateways hold.
    pub fn memory_kib(&self) -> Option<[u64; 2]> {
        match self {
            Self::SetUp(set_up) => set_up.memory_kib(),
            Self::Hosts(_) => None,
        }
    }
}

impl FarEnd {
    fn carry(&mut self, mixed: &Rrul, load: &Load) -> Result<(RrulOutcome, Outcome)> {
        // A conversation in which something has failed is over: only one that went well is kept.
        let mut generator = match self.generator.take() {
            Some(generator) => generator,
            None => self.reconnect()?,
        };
        let carried = generator.mixed(mixed, load)?;
        self.generator = Some(generator);
        Ok(carried)
    }

    fn reconnect(&self) -> Result<Generator> {
        let deadline = Instant::now() + RECONNECT_WITHIN;
        loop {
            match Generator::connect(self.control, self.ends[0], self.ends[1], env!("CARGO_PKG_VERSION")) {
                Err(_) if Instant::now() < deadline && !interrupt::requested() => thread::sleep(RECONNECT_EVERY),
                connected => return connected,
            }
        }
    }
}
