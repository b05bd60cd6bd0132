//! What must hold before any of a request is applied: there is room for all that it adds.

use std::collections::{HashMap, HashSet};

use ringfort_core::constants::PEERS_MAX;
use ringfort_core::crypto::PublicKey;
use ringfort_core::device::Device;

use crate::control::uapi::{PeerSource, PeerSuite, PeerUpdate, Refusal, SetRequest};

/// Whether there is room for what the request adds: peers, and what is kept by their keys.
///
/// # Errors
/// [`Refusal`].
pub fn check(request: &SetRequest, device: &Device) -> Result<(), Refusal> {
    check_peer_count(request, device)?;
    // Of each kind no more can be new than the request names. With room for those, nobody has to be looked up.
    let (mut suites, mut sources, mut names) = (0, 0, 0);
    for peer in request.peers.iter().filter(|peer| !peer.remove) {
        suites += usize::from(sets_suite(peer));
        sources += usize::from(sets_source(peer));
        names += usize::from(sets_name(peer));
    }
    let is_new = |peer: &PeerUpdate| device.peer_suite(&PublicKey::new(peer.public_key)).is_none();
    if suites > device.suite_room() && added(request, sets_suite, is_new) > device.suite_room() {
        return Err(Refusal::TooManySuites);
    }
    let is_new = |peer: &PeerUpdate| device.peer_source(&PublicKey::new(peer.public_key)).is_none();
    if sources > device.source_room() && added(request, sets_source, is_new) > device.source_room() {
        return Err(Refusal::TooManySources);
    }
    let is_new = |peer: &PeerUpdate| device.peer_name(&PublicKey::new(peer.public_key)).is_none();
    if names > device.name_room() && added(request, sets_name, is_new) > device.name_room() {
        return Err(Refusal::TooManyNames);
    }
    Ok(())
}

const fn sets_suite(peer: &PeerUpdate) -> bool {
    matches!(peer.cipher_suite, Some(PeerSuite::Own(_)))
}

const fn sets_source(peer: &PeerUpdate) -> bool {
    matches!(peer.source, Some(PeerSource::Own(_)))
}

const fn sets_name(peer: &PeerUpdate) -> bool {
    matches!(peer.name, Some(Some(_)))
}

/// How many keys get what they do not have yet.
fn added(request: &SetRequest, sets: fn(&PeerUpdate) -> bool, is_new: impl Fn(&PeerUpdate) -> bool) -> usize {
    let sets = request.peers.iter().filter(|peer| !peer.remove && sets(peer) && is_new(peer));
    sets.map(|peer| &peer.public_key).collect::<HashSet<_>>().len()
}

/// Peers that the request may add, counted before anything is done. Removed peers free their places only when the
/// workers have been told, which is after the request, so they count.
fn check_peer_count(request: &SetRequest, device: &Device) -> Result<(), Refusal> {
    let room = PEERS_MAX.saturating_sub(device.peer_count());
    if request.peers.len() <= room {
        return Ok(());
    }
    // With replace_peers, those that exist are removed and added again.
    let exists = |key: &[u8; 32]| !request.device.replace_peers && device.peer(&PublicKey::new(*key)).is_some();
    if places(&request.peers, exists) > room { Err(Refusal::TooManyPeers) } else { Ok(()) }
}

/// How many places these lines take, if they follow on peers of which it is known whether each `exists`. One that is
/// removed and added again takes another place.
fn places(lines: &[PeerUpdate], exists: impl Fn(&[u8; 32]) -> bool) -> usize {
    let (mut places, mut known) = (0, HashMap::new());
    for line in lines {
        let is_there = known.entry(&line.public_key).or_insert_with_key(|key| exists(key));
        let adds = !line.remove && !line.update_only && !*is_there;
        places += usize::from(adds);
        *is_there = !line.remove && (*is_there || adds);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its former place is free only when the workers have been told.
    #[test]
    fn who_is_removed_and_comes_again_takes_another_place() {
        let line = |key: u8| PeerUpdate::new([key; 32]);
        let remove = |key| PeerUpdate { remove: true, ..line(key) };
        let update = |key| PeerUpdate { update_only: true, ..line(key) };
        let places = |lines: &[PeerUpdate]| places(lines, |key| key[0] < 10);
        assert_eq!(places(&[line(1), update(1), remove(1), update(1), remove(20), update(20)]), 0);
        assert_eq!(places(&[line(20), line(20), line(21), update(20)]), 2, "each is added once");
        assert_eq!(places(&[remove(1), line(1), line(1)]), 1);
        assert_eq!(places(&[line(20), remove(20), line(20), remove(20), line(20)]), 3);
    }
}
