//! One peer of a request: all that is set for it, or as much as there is time for.

use std::net::SocketAddr;
use std::vec::IntoIter;

use ringfort_core::crypto::{PresharedKey, PublicKey};
use ringfort_core::device::{AddPeerError, Device};
use ringfort_core::ids::PeerId;
use ringfort_core::suite::Suite;
use ringfort_core::time::Time;

use super::budget::Budget;
use crate::control::uapi::{AllowedIpUpdate, PeerSource, PeerSuite, PeerUpdate};
use crate::control::{key_text, notices};

/// What is still to be done for a peer that is there.
#[derive(Debug)]
pub struct PeerWork {
    peer: PeerId,
    /// Its allowed IPs are taken away first.
    clears: bool,
    then: Then,
}

#[derive(Debug)]
enum Then {
    /// It is removed. With `returns`, where it was is remembered: it may be added again.
    Remove { returns: bool },
    /// It gets these allowed IPs, and then the rest.
    Change { allowed_ips: IntoIter<AllowedIpUpdate>, endpoint: Option<SocketAddr>, keepalive: Option<u16> },
}

impl PeerWork {
    /// The peer is one of all that are replaced.
    pub const fn replace(peer: PeerId) -> Self {
        Self { peer, clears: true, then: Then::Remove { returns: true } }
    }

    /// Begins with a peer of the request: all but its allowed IPs and what comes after them. `None`: nothing is left to
    /// do.
    pub fn begin(update: PeerUpdate, device: &mut Device, now: Time) -> Option<Self> {
        let key = PublicKey::new(update.public_key);
        let existing = device.peer(&key);
        if update.remove {
            return existing.map(|peer| Self { peer, clears: true, then: Then::Remove { returns: false } });
        }
        if let Some(suite) = update.cipher_suite {
            apply_suite(key, suite, device, now);
        }
        if let Some(source) = update.source {
            apply_source(key, source, device);
        }
        if let Some(name) = update.name
            && let Err(full) = device.set_peer_name(key, name.as_deref())
        {
            log::error!("a peer's name was left out: {full}, although they were counted before; this is a bug");
        }
        let peer = match existing {
            Some(peer) => peer,
            None if update.update_only => return None,
            None => add(key, update.endpoint, device, now)?,
        };
        if let Some(psk) = update.preshared_key {
            device.set_psk(peer, PresharedKey::copy_of(psk.expose()));
        }
        let allowed_ips = update.allowed_ips.into_iter();
        // Where a new one is was said when it was made.
        let endpoint = update.endpoint.filter(|_| existing.is_some());
        let then = Then::Change { allowed_ips, endpoint, keepalive: update.persistent_keepalive };
        Some(Self { peer, clears: update.replace_allowed_ips, then })
    }

    /// Goes on within the budget. True: there is more to do.
    pub fn go_on(&mut self, budget: &mut Budget, device: &mut Device, now: Time) -> bool {
        let peer = self.peer;
        while self.clears {
            let most = budget.left();
            if most == 0 {
                return true;
            }
            let cleared = device.clear_some_allowed_ips(peer, most);
            budget.spend(cleared);
            self.clears = cleared == most;
        }
        match &mut self.then {
            Then::Remove { returns: true } => device.replace_peer(peer),
            Then::Remove { returns: false } => device.remove_peer(peer),
            Then::Change { allowed_ips, endpoint, keepalive } => {
                while !allowed_ips.as_slice().is_empty() {
                    if budget.left() == 0 {
                        return true;
                    }
                    budget.spend(1);
                    match allowed_ips.next() {
                        Some(AllowedIpUpdate::Add(prefix)) => device.insert_allowed_ip(peer, prefix),
                        Some(AllowedIpUpdate::Remove(prefix)) => device.remove_allowed_ip(peer, prefix),
                        None => {}
                    }
                }
                if let Some(remote) = *endpoint {
                    device.set_endpoint(now, peer, remote);
                }
                if let Some(seconds) = *keepalive {
                    device.set_keepalive(now, peer, seconds);
                }
            }
        }
        false
    }
}

/// Adds a peer that is not there. `None`: it is none of ours.
fn add(key: PublicKey, endpoint: Option<SocketAddr>, device: &mut Device, now: Time) -> Option<PeerId> {
    match device.add_peer(key) {
        Ok(peer) => {
            device.place_peer(now, peer, endpoint);
            Some(peer)
        }
        Err(AddPeerError::Exists(peer)) => Some(peer),
        // As in wireguard-go, a peer with our own key is not an error and does nothing, so one list of peers can be
        // given to all of them.
        Err(AddPeerError::OwnKey) => None,
        Err(AddPeerError::Full) => {
            log::error!("a peer was left out: there is no room, although it was counted before; this is a bug");
            None
        }
    }
}

/// A peer's suite is set before the peer is made, and also if it is not.
fn apply_suite(key: PublicKey, suite: PeerSuite, device: &mut Device, now: Time) {
    let suite = match suite {
        PeerSuite::Interface => None,
        PeerSuite::Own(suite) => Some(suite),
    };
    suite.into_iter().for_each(notices::warn_of_slow_aes);
    if suite != device.peer_suite(&key) {
        let (peer, suite) = (key_text::short(&key), suite.map_or("that of the interface", Suite::name));
        log::info!("the cipher suite of {peer} is {suite}");
    }
    if let Err(full) = device.set_peer_suite(now, key, suite) {
        log::error!("a peer's cipher suite was left out: {full}, although they were counted before; this is a bug");
    }
}

/// A peer's source, likewise.
fn apply_source(key: PublicKey, source: PeerSource, device: &mut Device) {
    let source = match source {
        PeerSource::Any => None,
        PeerSource::Own(source) => Some(source),
    };
    if let Err(full) = device.set_peer_source(key, source) {
        log::error!("a peer's source was left out: {full}, although they were counted before; this is a bug");
    }
}
