//! Whether the addresses that our peers are answered from are still the right ones.
//!
//! A peer is answered from the address that it wrote to. When an address, a route or a rule changes, each of these
//! sources is checked as the kernel's WireGuard does before it sends. The address must still be ours. The way from it
//! to the peer must leave through the interface on which the peer's datagrams arrive. If not, the kernel chooses.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use ringfort_core::device::Device;
use ringfort_core::ids::{Endpoint, LocalAddr, PeerId};
use ringfort_core::time::Time;
use route_netlink::{RouteMonitor, RouteSocket};

use super::error::DaemonError;

/// Peers checked in one turn: each takes some ten microseconds.
const PEERS_PER_STEP: usize = 128;
/// From the end of one check to the start of the next, at least, and a multiple of what the check took: a router that
/// takes up a full table sends changes all the time.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_FACTOR: u32 = 10;

/// How the kernel chooses the way out of our sockets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Way {
    /// The mark of outgoing packets.
    pub fwmark: u32,
    /// They are bound to a device, so the way out is known whatever the routes say.
    pub is_fixed: bool,
}

/// Checks sources, when it has to and a few at a time.
#[derive(Debug)]
pub struct SourceCheck {
    monitor: RouteMonitor,
    routes: RouteSocket,
    /// Those that remain of the present check.
    peers: VecDeque<PeerId>,
    started: Time,
    /// When the next check is due.
    due: Option<Time>,
    pause_until: Time,
}

impl SourceCheck {
    /// Watches the network namespace of the calling thread.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> Result<Self, DaemonError> {
        let failed = |error| DaemonError::system("watch the routes (netlink)", error);
        let monitor = RouteMonitor::open().map_err(failed)?;
        let routes = RouteSocket::open().map_err(failed)?;
        Ok(Self { monitor, routes, peers: VecDeque::new(), started: Time::ZERO, due: None, pause_until: Time::ZERO })
    }

    /// Readable when [`note_changes`](Self::note_changes) has something to read.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.monitor.as_fd()
    }

    /// Reads what has changed.
    ///
    /// # Errors
    /// The system's.
    pub fn note_changes(&mut self, now: Time) -> Result<(), DaemonError> {
        let changed = self.monitor.has_changed();
        if changed.map_err(|error| DaemonError::system("read from the kernel (netlink)", error))? {
            self.due.get_or_insert(self.pause_until.max(now));
        }
        Ok(())
    }

    /// When [`step`](Self::step) has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        if self.peers.is_empty() { self.due } else { Some(Time::ZERO) }
    }

    /// Checks some peers, if a check is due. Sources that are wrong now are forgotten.
    pub fn step(&mut self, now: Time, device: &mut Device, way: Way) {
        if self.peers.is_empty() {
            if self.due.is_none_or(|due| due > now) {
                return;
            }
            self.due = None;
            self.started = now;
            let with_source = device.peers().filter(|peer| peer.endpoint().is_some_and(|e| e.source.is_some()));
            self.peers = with_source.map(|peer| peer.id()).collect();
        }
        for peer in self.peers.drain(..self.peers.len().min(PEERS_PER_STEP)) {
            check(&self.routes, device, peer, way);
        }
        if self.peers.is_empty() {
            self.pause_until = now + PAUSE.max(now.since(self.started) * PAUSE_FACTOR);
            self.due = self.due.map(|due| due.max(self.pause_until));
        }
    }
}

/// Forgets a peer's source if it is wrong now.
fn check(routes: &RouteSocket, device: &mut Device, peer: PeerId, way: Way) {
    // The peer may have gone or roamed since the check began.
    let endpoint = device.status(peer).and_then(|status| status.endpoint());
    let Some(endpoint @ Endpoint { remote, source: Some(source) }) = endpoint else { return };
    match is_good(routes, remote.ip(), source, way) {
        Ok(true) => {}
        Ok(false) => {
            log::debug!("{} is no longer the address from which to write to {remote}", source.addr);
            device.source_failed(peer, endpoint);
        }
        Err(error) => log::warn!("cannot ask for the route to {remote}: {error}"),
    }
}

fn is_good(routes: &RouteSocket, remote: IpAddr, source: LocalAddr, way: Way) -> io::Result<bool> {
    let LocalAddr { addr, ifindex } = source;
    if !routes.is_local(addr, ifindex)? {
        return Ok(false);
    }
    if way.is_fixed {
        return Ok(true);
    }
    let interface = routes.interface_towards(remote, addr, ifindex, way.fwmark)?;
    Ok(interface.is_some_and(|interface| ifindex == 0 || interface == ifindex))
}

#[cfg(test)]
#[path = "sources_tests.rs"]
mod tests;
