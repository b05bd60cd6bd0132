//! From a `set=1` to the device: as a whole, or not at all.

use std::collections::HashSet;

use ringfort_core::constants::PEERS_MAX;
use ringfort_core::crypto::{PresharedKey, PrivateKey, PublicKey};
use ringfort_core::device::{AddPeerError, Device};
use ringfort_core::suite::Suite;
use ringfort_core::time::Time;

use super::data_plane::DataPlane;
use super::sockets::Prepared;
use super::uapi::{AllowedIpUpdate, DeviceUpdate, PeerSource, PeerSuite, PeerUpdate, Refusal, SetRequest};
use super::{key_text, notices};

/// Applies a request. All that can fail comes first.
///
/// # Errors
/// [`Refusal`], and nothing has changed.
pub fn apply(request: SetRequest, device: &mut Device, plane: &mut DataPlane, now: Time) -> Result<(), Refusal> {
    check_peer_count(&request, device)?;
    check_suite_count(&request, device)?;
    check_source_count(&request, device)?;
    check_name_count(&request, device)?;
    let DeviceUpdate { private_key, listen_port, fwmark, cipher_suite, replace_peers } = request.device;
    let mark_before = plane.sockets().fwmark();
    match plane.sockets_mut().prepare(listen_port, fwmark)? {
        Prepared::InPlace => {}
        Prepared::Rebind(rebind) => {
            plane.rebind(rebind);
            log::info!("listening on UDP port {}", plane.sockets().port());
        }
    }
    if plane.sockets().fwmark() != mark_before {
        // Sources that were learned under another mark may belong to another route.
        device.clear_sources();
    }
    if let Some(key) = private_key {
        let is_none = key.expose().iter().fold(0, |seen, byte| seen | byte) == 0;
        device.set_private_key(now, (!is_none).then(|| PrivateKey::new(*key.expose())));
    }
    if replace_peers {
        device.remove_all_peers();
    }
    if let Some(suite) = cipher_suite {
        notices::warn_of_slow_aes(suite);
        if suite != device.suite() {
            log::info!("the cipher suite of the interface is {suite}, for all peers without one of their own");
        }
        device.set_suite(now, suite);
    }
    for peer in request.peers {
        apply_peer(peer, device, now);
    }
    Ok(())
}

fn apply_peer(update: PeerUpdate, device: &mut Device, now: Time) {
    let key = PublicKey::new(update.public_key);
    let existing = device.peer(&key);
    if update.remove {
        if let Some(peer) = existing {
            device.remove_peer(peer);
        }
        return;
    }
    if let Some(suite) = update.cipher_suite {
        apply_peer_suite(key, suite, device, now);
    }
    if let Some(source) = update.source {
        apply_peer_source(key, source, device);
    }
    if let Some(name) = update.name
        && let Err(full) = device.set_peer_name(key, name.as_deref())
    {
        log::error!("a peer's name was left out: {full}, although they were counted before; this is a bug");
    }
    let peer = match existing {
        Some(peer) => peer,
        None if update.update_only => return,
        None => match device.add_peer(key) {
            Ok(peer) => {
                device.place_peer(now, peer, update.endpoint);
                peer
            }
            Err(AddPeerError::Exists(peer)) => peer,
            // As in wireguard-go, a peer with our own key is not an error and does nothing, so one list of peers
            // can be given to all of them.
            Err(AddPeerError::OwnKey) => return,
            Err(AddPeerError::Full) => {
                log::error!("a peer was left out: there is no room, although it was counted before; this is a bug");
                return;
            }
        },
    };
    if let Some(psk) = update.preshared_key {
        device.set_psk(peer, PresharedKey::new(*psk.expose()));
    }
    if update.replace_allowed_ips {
        device.clear_allowed_ips(peer);
    }
    for change in update.allowed_ips {
        match change {
            AllowedIpUpdate::Add(prefix) => device.insert_allowed_ip(peer, prefix),
            AllowedIpUpdate::Remove(prefix) => device.remove_allowed_ip(peer, prefix),
        }
    }
    // Where a new one is was said above.
    if let Some(remote) = update.endpoint.filter(|_| existing.is_some()) {
        device.set_endpoint(now, peer, remote);
    }
    if let Some(seconds) = update.persistent_keepalive {
        device.set_keepalive(now, peer, seconds);
    }
}

/// A peer's suite is set before the peer is made, and also if it is not.
fn apply_peer_suite(key: PublicKey, suite: PeerSuite, device: &mut Device, now: Time) {
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
fn apply_peer_source(key: PublicKey, source: PeerSource, device: &mut Device) {
    let source = match source {
        PeerSource::Any => None,
        PeerSource::Own(source) => Some(source),
    };
    if let Err(full) = device.set_peer_source(key, source) {
        log::error!("a peer's source was left out: {full}, although they were counted before; this is a bug");
    }
}

/// Sources of peers that the request may add to those that are remembered.
fn check_source_count(request: &SetRequest, device: &Device) -> Result<(), Refusal> {
    let sets = request.peers.iter().filter(|peer| !peer.remove && matches!(peer.source, Some(PeerSource::Own(_))));
    let is_new = |peer: &&PeerUpdate| device.peer_source(&PublicKey::new(peer.public_key)).is_none();
    let added: HashSet<_> = sets.filter(is_new).map(|peer| &peer.public_key).collect();
    if added.len() > device.source_room() { Err(Refusal::TooManySources) } else { Ok(()) }
}

/// Names of peers, likewise.
fn check_name_count(request: &SetRequest, device: &Device) -> Result<(), Refusal> {
    let sets = request.peers.iter().filter(|peer| !peer.remove && matches!(peer.name, Some(Some(_))));
    let is_new = |peer: &&PeerUpdate| device.peer_name(&PublicKey::new(peer.public_key)).is_none();
    let added: HashSet<_> = sets.filter(is_new).map(|peer| &peer.public_key).collect();
    if added.len() > device.name_room() { Err(Refusal::TooManyNames) } else { Ok(()) }
}

/// Suites of peers that the request may add to those that are remembered.
fn check_suite_count(request: &SetRequest, device: &Device) -> Result<(), Refusal> {
    let sets = request.peers.iter().filter(|peer| !peer.remove && matches!(peer.cipher_suite, Some(PeerSuite::Own(_))));
    let is_new = |peer: &&PeerUpdate| device.peer_suite(&PublicKey::new(peer.public_key)).is_none();
    let added: HashSet<_> = sets.filter(is_new).map(|peer| &peer.public_key).collect();
    if added.len() > device.suite_room() { Err(Refusal::TooManySuites) } else { Ok(()) }
}

/// Peers that the request may add, counted before anything is done. Removed peers free their places only when the
/// workers have been told, which is after the request, so they count.
fn check_peer_count(request: &SetRequest, device: &Device) -> Result<(), Refusal> {
    let room = PEERS_MAX.saturating_sub(device.peer_count());
    if request.peers.len() <= room {
        return Ok(());
    }
    let adds = request.peers.iter().filter(|peer| !peer.remove && !peer.update_only);
    // With replace_peers, those that exist are removed and added again.
    let exists = |key: &[u8; 32]| !request.device.replace_peers && device.peer(&PublicKey::new(*key)).is_some();
    let added: HashSet<_> = adds.map(|peer| &peer.public_key).filter(|key| !exists(key)).collect();
    if added.len() > room { Err(Refusal::TooManyPeers) } else { Ok(()) }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
