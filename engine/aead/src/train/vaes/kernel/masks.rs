//! What hides the tags: the key stream's block number 1 of each message (NIST SP 800-38D, section 7.1).

use core::hint::black_box;

use arrayvec::ArrayVec;

use super::key::Key;
use super::registers::{BLOCK, Registers};
use super::stream::{REGISTERS, last_round, rounds};
use crate::Message;

/// Messages whose masks are made at once: one in each lane.
pub(super) const fn section_len<V: Registers>() -> usize {
    REGISTERS * V::WIDTH
}

/// Lanes of the widest register.
const LANES_MAX: usize = 4;

/// The masks of some messages. Who knows one can forge that message's tag if he knows another of the same key: they are
/// wiped when this is dropped, also by a panic.
pub(super) struct Masks<V: Registers> {
    v: V,
    /// As bytes, so one that is asked for leaves no copy of its neighbours. Of each register as many as it has lanes.
    made: ArrayVec<[[u8; BLOCK]; LANES_MAX], REGISTERS>,
}

impl<V: Registers> Masks<V> {
    /// The masks of at most [`section_len`] messages, of which there is one at least.
    #[inline(always)]
    pub(super) fn new(v: V, key: Key<'_>, messages: &[Message<'_>]) -> Self {
        let mut masks = Self { v, made: ArrayVec::new() };
        // A few numbers of registers, each with code of its own.
        match messages.len().div_ceil(V::WIDTH) {
            ..=1 => masks.make::<1>(key, messages),
            2 => masks.make::<2>(key, messages),
            3 | 4 => masks.make::<4>(key, messages),
            _ => masks.make::<REGISTERS>(key, messages),
        }
        masks
    }

    #[inline(always)]
    fn make<const N: usize>(&mut self, key: Key<'_>, messages: &[Message<'_>]) {
        let v = self.v;
        let mut blocks = [[v.zero(); N]];
        let last = messages.len() - 1;
        for (index, block) in blocks[0].iter_mut().enumerate() {
            // Lanes without a message have that of the last.
            let counter = |lane| messages[last.min(index * V::WIDTH + lane)].counter();
            let numbers = v.each(|lane| u128::from(counter(lane)) << 32 | 1);
            *block = v.xor(v.reverse(numbers), v.splat(&key.rounds[0]));
        }
        rounds(v, key, &mut blocks, |_| {});
        for block in blocks[0] {
            self.made.push([[0; BLOCK]; LANES_MAX]);
            let place = self.made.last_mut().expect("it was pushed just now");
            v.store(place.as_flattened_mut(), last_round(v, key, block, v.zero()));
        }
    }

    /// Where they are.
    #[cfg(test)]
    pub(super) fn places(&self) -> impl Iterator<Item = &[u8; BLOCK]> {
        self.made.iter().flat_map(|lanes| &lanes[..V::WIDTH])
    }

    /// The mask of a message, in the first lane; zeros in the others.
    #[inline(always)]
    pub(super) fn of(&self, message: usize) -> V::Register {
        self.v.load_block(&self.made[message / V::WIDTH][message % V::WIDTH])
    }
}

impl<V: Registers> Drop for Masks<V> {
    fn drop(&mut self) {
        self.made.as_flattened_mut().fill([0; BLOCK]);
        // For all that the compiler knows, somebody reads the zeros here.
        black_box(&mut self.made);
    }
}
