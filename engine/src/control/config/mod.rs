//! From a `set=1` to the device: as a whole, or not at all.
//!
//! A request is checked whole, and then applied a bounded part at a time, see [`Application::step`]. Control has its
//! turns in between, so 100,000 peers in one request keep nobody's handshake waiting. Whoever looks meanwhile sees the
//! peers up to a place as the request wants them, and the others as they were. A peer is never seen half changed,
//! except that its allowed IPs may be incomplete. What was accepted is finished, whether or not somebody still waits
//! for the answer.

mod budget;
mod checks;
mod peer;

use std::vec::IntoIter;

use ringfort_core::crypto::PrivateKey;
use ringfort_core::device::Device;
use ringfort_core::suite::Suite;
use ringfort_core::time::Time;

use super::data_plane::DataPlane;
use super::notices;
use super::sockets::Prepared;
use super::uapi::{DeviceUpdate, PeerUpdate, Refusal, SetRequest};
use budget::Budget;
use peer::PeerWork;

/// Changes of one step: about a millisecond of control's time.
const CHANGES_PER_STEP: usize = 1024;
/// What a peer counts for, beside one for each of its allowed IPs.
const CHANGES_PER_PEER: usize = 4;

/// A request that was accepted, and is applied step by step.
#[derive(Debug)]
pub struct Application {
    /// All peers are replaced: the slot to go on with.
    replaces: Option<u32>,
    suite: Option<Suite>,
    current: Option<PeerWork>,
    peers: IntoIter<PeerUpdate>,
}

impl Application {
    /// Accepts a request, and applies what does not concern single peers. All that can fail comes first.
    ///
    /// # Errors
    /// [`Refusal`], and nothing has changed.
    pub fn begin(request: SetRequest, device: &mut Device, plane: &mut DataPlane, now: Time) -> Result<Self, Refusal> {
        checks::check(&request, device)?;
        let DeviceUpdate { private_key, listen_port, fwmark, cipher_suite, replace_peers } = request.device;
        let mark_before = plane.sockets().fwmark();
        match plane.sockets_mut().prepare(listen_port, fwmark)? {
            Prepared::InPlace => {}
            Prepared::Rebind(rebind) => {
                plane.rebind(rebind, now);
                log::info!("listening on UDP port {}", plane.sockets().port());
            }
        }
        if plane.sockets().fwmark() != mark_before {
            // Sources that were learned under another mark may belong to another route.
            device.clear_sources(now);
        }
        if let Some(key) = private_key {
            let is_none = key.expose().iter().fold(0, |seen, byte| seen | byte) == 0;
            device.set_private_key(now, (!is_none).then(|| PrivateKey::copy_of(key.expose())));
        }
        let replaces = replace_peers.then_some(0);
        Ok(Self { replaces, suite: cipher_suite, current: None, peers: request.peers.into_iter() })
    }

    /// Applies the next part. True: there is more to do.
    pub fn step(&mut self, device: &mut Device, now: Time) -> bool {
        let mut budget = Budget::new(CHANGES_PER_STEP);
        loop {
            if let Some(work) = &mut self.current
                && work.go_on(&mut budget, device, now)
            {
                return true;
            }
            self.current = None;
            if budget.left() == 0 {
                return true;
            }
            budget.spend(CHANGES_PER_PEER);
            if let Some(slot) = self.replaces {
                let next = device.peers_from(slot).next().map(|peer| peer.id());
                self.replaces = next.map(|peer| peer.index + 1);
                self.current = next.map(PeerWork::replace);
            } else if let Some(suite) = self.suite.take() {
                apply_suite(suite, device, now);
            } else if let Some(update) = self.peers.next() {
                self.current = PeerWork::begin(update, device, now);
            } else {
                // Another private key, or suite, is still on its way to some of the peers.
                device.renew_some(now);
                return device.is_renewing();
            }
        }
    }

    /// Applies all that is left, for a daemon that serves nobody yet.
    pub fn finish(mut self, device: &mut Device, plane: &mut DataPlane, now: Time) {
        while self.step(device, now) {
            plane.carry_out(device, now);
        }
    }
}

/// The suite of all peers that have none of their own.
fn apply_suite(suite: Suite, device: &mut Device, now: Time) {
    notices::warn_of_slow_aes(suite);
    if suite != device.suite() {
        log::info!("the cipher suite of the interface is {suite}, for all peers without one of their own");
    }
    device.set_suite(now, suite);
}

#[cfg(test)]
mod tests;
