//! What may stand in front of a gateway's sockets, and drop floods before they wake anybody.

use std::fmt::Debug;
use std::net::SocketAddr;

use crate::crypto::KEY_LEN;
use crate::time::Time;

/// Is told what it must know to tell junk from messages. What it is not told of, it lets pass.
///
/// It never drops what may be a message of a peer: an index is noted before the message leaves that tells others of it.
pub trait Outpost: Debug + Send + Sync {
    /// An index is in use from now on.
    fn note_index(&self, index: u32);

    /// An index is not in use any more.
    fn forget_index(&self, index: u32);

    /// Handshake messages have their mac1 under this key from now on. `None`: there is no private key.
    fn set_mac1_key(&self, key: Option<&[u8; KEY_LEN]>);

    /// Whether data under an index that nobody has is worth something: its session may have been lost.
    fn set_recovering(&self, is_on: bool);

    /// Handshake messages must prove their addresses until then. Of strangers who do not, few need pass.
    fn set_loaded_until(&self, until: Time);

    /// About how many it has dropped for that whose mac1 is right. It wraps.
    fn refused(&self) -> u32;

    /// A peer is here, as far as is known: what comes from there passes.
    fn locate(&self, remote: SocketAddr);

    /// All peers are told anew from now on, one by one. Who is not told of until the next such call may be forgotten
    /// then, and nobody before.
    fn renew_places(&self);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::constants::RECOVERY_TIME;
    use crate::cookie::mac1_key;
    use crate::crypto::{Portable, PrivateKey, PublicKey};
    use crate::device::{Action, Device, HandshakeReason, Outgoing, PeerEvent};
    use crate::gate::{LOADED_FOR, LOADED_REFUSED, Load};
    use crate::handover::Progress;
    use crate::ids::PeerId;
    use crate::tai64n::Tai64N;
    use crate::test_support::SeededRng;
    use crate::time::Now;

    const NOW: Time = Time::from_secs(100);

    /// What it was told.
    #[derive(Debug, Default)]
    struct Told {
        indices: BTreeSet<u32>,
        key: Option<[u8; KEY_LEN]>,
        is_recovering: bool,
        loaded_until: Time,
        places: BTreeSet<SocketAddr>,
        /// Those who were told of before the last renewal, and not since.
        old_places: BTreeSet<SocketAddr>,
    }

    impl Told {
        fn knows(&self, place: SocketAddr) -> bool {
            self.places.contains(&place) || self.old_places.contains(&place)
        }
    }

    #[derive(Debug, Default)]
    struct Fake {
        told: Mutex<Told>,
        refused: AtomicU32,
    }

    impl Outpost for Fake {
        fn note_index(&self, index: u32) {
            assert!(self.told.lock().unwrap().indices.insert(index));
        }

        fn forget_index(&self, index: u32) {
            assert!(self.told.lock().unwrap().indices.remove(&index), "it was noted");
        }

        fn set_mac1_key(&self, key: Option<&[u8; KEY_LEN]>) {
            self.told.lock().unwrap().key = key.copied();
        }

        fn set_recovering(&self, is_on: bool) {
            self.told.lock().unwrap().is_recovering = is_on;
        }

        fn set_loaded_until(&self, until: Time) {
            self.told.lock().unwrap().loaded_until = until;
        }

        fn refused(&self) -> u32 {
            self.refused.load(Ordering::Relaxed)
        }

        fn locate(&self, remote: SocketAddr) {
            self.told.lock().unwrap().places.insert(remote);
        }

        fn renew_places(&self) {
            let mut told = self.told.lock().unwrap();
            told.old_places = std::mem::take(&mut told.places);
        }
    }

    fn guarded() -> (Device, Arc<Fake>) {
        let (mut device, fake) = (Device::new(1), Arc::new(Fake::default()));
        device.set_outpost(fake.clone());
        (device, fake)
    }

    fn at(mono: Time) -> Now {
        Now { mono, wall: Tai64N::from_unix(1_000, 0) }
    }

    fn place() -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 7], 51_820))
    }

    #[test]
    fn it_has_the_key_of_mac1_as_long_as_there_is_a_private_key() {
        let (mut device, fake) = guarded();
        device.set_private_key(NOW, Some(PrivateKey::new([7; 32])));
        assert_eq!(fake.told.lock().unwrap().key, device.public_key().map(mac1_key));
        device.set_private_key(NOW, None);
        assert_eq!(fake.told.lock().unwrap().key, None);
    }

    /// One that has asked its peer for a session.
    fn asking() -> (Device, Arc<Fake>, SeededRng, PeerId) {
        let ((mut device, fake), mut rng) = (guarded(), SeededRng::new(1));
        device.set_private_key(NOW, Some(PrivateKey::new([7; 32])));
        device.link_up(NOW);
        let peer = device.add_peer(PublicKey::new([0x40; 32])).unwrap();
        device.place_peer(NOW, peer, Some(place()));
        device.handle_event(at(NOW), PeerEvent::NeedHandshake { peer, reason: HandshakeReason::NoSession }, &mut rng);
        (device, fake, rng, peer)
    }

    #[test]
    fn it_knows_an_index_before_the_message_leaves_that_tells_others() {
        let (mut device, fake, _, peer) = asking();
        let index = std::iter::from_fn(|| device.poll_action()).find_map(|action| match action {
            Action::Outgoing(Outgoing::Send { datagram, .. }) => {
                Some(u32::from_le_bytes(*datagram.as_ref()[4..].first_chunk().unwrap()))
            }
            _ => None,
        });
        assert_eq!(fake.told.lock().unwrap().indices, BTreeSet::from_iter(index));
        assert!(index.is_some());
        device.remove_peer(peer);
        assert!(fake.told.lock().unwrap().indices.is_empty());
    }

    #[test]
    fn in_another_process_it_is_told_of_all_that_is_handed_over() {
        let (mut device, fake, mut rng, _) = asking();
        device.settle(at(NOW), &mut rng);
        while device.poll_action().is_some() {}
        let handover = device.hand_over(NOW, &Progress::default(), []).unwrap();
        let there = Arc::new(Fake::default());
        let _device = Device::take_over(NOW, 2, &Portable, Some(there.clone()), handover).unwrap();
        let (here, there) = (fake.told.lock().unwrap(), there.told.lock().unwrap());
        assert_eq!((there.indices.len(), &there.indices, &there.places), (1, &here.indices, &here.places));
        assert_eq!((there.is_recovering, there.key.is_some(), there.key), (true, true, here.key));
    }

    #[test]
    fn it_knows_where_peers_are_and_for_how_long_sessions_are_recovered() {
        let ((mut device, fake), mut rng) = (guarded(), SeededRng::new(1));
        device.set_private_key(NOW, Some(PrivateKey::new([7; 32])));
        let peer = device.add_peer(PublicKey::new([0x40; 32])).unwrap();
        device.place_peer(NOW, peer, Some(place()));
        assert_eq!(fake.told.lock().unwrap().places, BTreeSet::from([place()]));
        assert!(!fake.told.lock().unwrap().is_recovering);
        device.link_up(NOW);
        assert!(fake.told.lock().unwrap().is_recovering);
        let end = NOW + RECOVERY_TIME;
        while let Some(due) = device.poll_timeout().filter(|&due| due < end) {
            device.handle_timeout(at(due.max(NOW)), &mut rng);
            while device.poll_action().is_some() {}
        }
        assert!(fake.told.lock().unwrap().is_recovering);
        assert_eq!(device.poll_timeout(), Some(end), "nobody else wakes it up");
        device.handle_timeout(at(end), &mut rng);
        assert!(!fake.told.lock().unwrap().is_recovering);
        assert_eq!(device.poll_timeout(), None);
    }

    #[test]
    fn under_load_all_peers_are_told_anew_and_none_is_unknown_meanwhile() {
        let ((mut device, fake), mut rng) = (guarded(), SeededRng::new(1));
        device.set_private_key(NOW, Some(PrivateKey::new([7; 32])));
        let peer = device.add_peer(PublicKey::new([0x40; 32])).unwrap();
        device.place_peer(NOW, peer, Some(place()));
        let former = SocketAddr::from(([192, 0, 2, 8], 1));
        fake.locate(former);
        device.note_load(NOW, &mut rng);
        assert_eq!(fake.told.lock().unwrap().loaded_until, NOW + LOADED_FOR);
        assert!([place(), former].into_iter().all(|place| fake.told.lock().unwrap().knows(place)));
        // Another key, and another secret with it, before anybody was told anew: that is no reason to forget anybody.
        for n in 8..11 {
            device.set_private_key(NOW, Some(PrivateKey::new([n; 32])));
            device.note_load(NOW, &mut rng);
            assert!(fake.told.lock().unwrap().knows(place()));
        }
        device.handle_timeout(at(NOW), &mut rng);
        assert_eq!(fake.told.lock().unwrap().places, BTreeSet::from([place()]));
        device.set_private_key(NOW, Some(PrivateKey::new([11; 32])));
        device.note_load(NOW, &mut rng);
        assert!(fake.told.lock().unwrap().knows(place()) && !fake.told.lock().unwrap().knows(former));
    }

    #[test]
    fn load_goes_on_as_long_as_it_refuses_enough() {
        let (_, fake) = guarded();
        let load = Load::behind(fake.clone());
        load.note(NOW);
        let mut now = NOW + LOADED_FOR;
        assert!(!load.is_on(now), "nobody was refused");
        load.note(now);
        for _ in 0..3 {
            fake.refused.fetch_add(LOADED_REFUSED, Ordering::Relaxed);
            now += LOADED_FOR;
            assert!(load.is_on(now));
            assert_eq!(fake.told.lock().unwrap().loaded_until, now + LOADED_FOR);
        }
        fake.refused.fetch_add(LOADED_REFUSED - 1, Ordering::Relaxed);
        assert!(!load.is_on(now + LOADED_FOR));
        fake.refused.fetch_add(LOADED_REFUSED, Ordering::Relaxed);
        assert!(!load.is_on(now + 2 * LOADED_FOR), "that was long ago");
    }
}
