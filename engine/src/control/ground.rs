//! What a gateway stands on: its interface, the queues of it, and what gives packets to these.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::sys::signalfd::SignalFd;
use ringfort_worker::Flows;
use tun_uring::{Given, Link, Offloads, Program};

use super::acquire::{self, TakenOver};
use super::error::DaemonError;
use super::handover::{Offer, Possessions};
use super::inheritance;
use super::interface::Interface;
use super::preflight::Means;
use crate::cli::Serve;
use crate::panics;

/// The interface.
pub struct Ground {
    /// As control sees it.
    pub interface: Interface,
    /// What it was like, if it was there before any gateway.
    pub given: Option<Given>,
    /// For what concerns it as a whole.
    pub link: Link,
    /// One for each worker.
    pub tun_queues: Vec<OwnedFd>,
    /// By which queues packets come; `None` where there is no choice.
    pub flows: Option<Flows>,
    /// Why there is none, if there could be one.
    pub unsteered: Option<String>,
    /// What chooses the queues, or will, once another process does not serve the interface any more.
    pub program: Option<Program>,
    /// What there is to know of it if it was there before us.
    pub taken_over: Option<TakenOver>,
    /// For a process that comes after this one.
    pub possessions: Possessions,
}

impl Ground {
    /// The interface that was left to us, that was offered, or that `cli` names.
    ///
    /// # Errors
    /// It cannot be had.
    pub fn of(
        cli: &Serve,
        inherited: Option<OwnedFd>,
        offer: Option<&mut Offer>,
        means: &Means,
        offloads: Offloads,
        signals: &SignalFd,
    ) -> Result<Self, DaemonError> {
        let is_heir = offer.is_some();
        let (mut tun, taken_over) = match offer {
            Some(offer) => (inheritance::interface(offer, means.cpus.len())?, None),
            None => acquire::interface(cli, inherited, means.cpus.len(), offloads, signals)?,
        };
        let (flows, unsteered) = match tun.flows() {
            Ok(flows) => (flows.map(Flows::new), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let (given, link, program, tun_queues) = (tun.given(), tun.link(), tun.take_program(), tun.into_queues());
        let interface = if is_heir { resume(&tun_queues[0], given) } else { watch(&tun_queues[0], given) }?;
        if given.is_none() && !is_heir {
            interface.refuse_link_local_address();
        }
        let possessions = inheritance::for_heirs(&tun_queues)?;
        Ok(Self { interface, given, link, tun_queues, flows, unsteered, program, taken_over, possessions })
    }
}

/// Watches the interface of `queue`, which another process looks after so far.
fn resume(queue: &OwnedFd, given: Option<Given>) -> Result<Interface, DaemonError> {
    let copy = queue.try_clone().map_err(|error| DaemonError::system("keep a queue of the interface", error))?;
    let mut interface = Interface::watch(Arc::new(copy), given)?;
    interface.leave();
    Ok(interface)
}

/// Watches the interface of `queue`. What was changed on a given one is put back if that fails, and by a panic.
fn watch(queue: &OwnedFd, given: Option<Given>) -> Result<Interface, DaemonError> {
    let restore = |_: &DaemonError| {
        if let Some(given) = given {
            given.restore(queue);
        }
    };
    let copy = queue.try_clone().map_err(|error| DaemonError::system("keep a queue of the interface", error));
    let copy = Arc::new(copy.inspect_err(restore)?);
    if let Some(given) = given {
        panics::restore_interface(given, Arc::downgrade(&copy));
    }
    Interface::watch(copy, given).inspect_err(restore)
}
