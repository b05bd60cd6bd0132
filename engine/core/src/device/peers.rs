//! All peers of a device, by slot and by public key.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};

use super::peer::Peer;
use crate::crypto::PublicKey;
use crate::ids::PeerId;

#[derive(Default)]
struct Slot {
    generation: u32,
    peer: Option<Box<Peer>>,
}

/// The range of all keys, or of those after one.
pub(super) fn keys_after(key: Option<PublicKey>) -> (Bound<PublicKey>, Bound<PublicKey>) {
    (key.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)
}

#[derive(Default)]
pub(super) struct Peers {
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_key: BTreeMap<PublicKey, PeerId>,
}

impl Peers {
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    pub fn by_key(&self, key: &PublicKey) -> Option<PeerId> {
        self.by_key.get(key).copied()
    }

    pub fn get(&self, id: PeerId) -> Option<&Peer> {
        let slot = self.slots.get(id.index as usize).filter(|slot| slot.generation == id.generation)?;
        slot.peer.as_deref()
    }

    pub fn get_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        let slot = self.slots.get_mut(id.index as usize).filter(|slot| slot.generation == id.generation)?;
        slot.peer.as_deref_mut()
    }

    /// All peers, in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.slots.iter().filter_map(|slot| slot.peer.as_deref())
    }

    /// As [`Peers::iter`], from this slot on.
    pub fn iter_from(&self, slot: u32) -> impl Iterator<Item = &Peer> {
        self.slots.iter().skip(slot as usize).filter_map(|slot| slot.peer.as_deref())
    }

    /// How many slots there are, with peers or without.
    pub fn slot_count(&self) -> usize {
        self.slots.len()
    }

    /// The peers in some of the slots.
    pub fn slice(&self, slots: Range<usize>) -> impl Iterator<Item = &Peer> {
        self.slots.iter().skip(slots.start).take(slots.len()).filter_map(|slot| slot.peer.as_deref())
    }

    /// As [`Peers::slice`].
    pub fn slice_mut(&mut self, slots: Range<usize>) -> impl Iterator<Item = &mut Peer> {
        self.slots.iter_mut().skip(slots.start).take(slots.len()).filter_map(|slot| slot.peer.as_deref_mut())
    }

    /// Puts a peer into a free slot. The caller has checked that nobody has its key.
    pub fn add(&mut self, key: PublicKey, make: impl FnOnce(PeerId) -> Peer) -> PeerId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        let id = PeerId { index, generation: slot.generation };
        slot.peer = Some(Box::new(make(id)));
        self.by_key.insert(key, id);
        id
    }

    /// Takes a peer out. Its slot stays occupied until [`Peers::release`], so the workers never see a slot's next
    /// occupant before they have forgotten the last.
    pub fn remove(&mut self, id: PeerId) -> Option<Box<Peer>> {
        self.get(id)?;
        let slot = &mut self.slots[id.index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        let peer = slot.peer.take()?;
        self.by_key.remove(peer.remote.public());
        Some(peer)
    }

    /// Makes the slot of a removed peer available.
    pub fn release(&mut self, id: PeerId) {
        self.free.push(id.index);
    }
}
