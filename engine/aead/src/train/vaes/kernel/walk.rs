//! Which messages of a batch are worked on side by side.
//!
//! A message of a few registers keeps the CPU waiting: each round of AES needs the one before it. So consecutive
//! messages of as many registers share the [eight](REGISTERS) that are worked on at once. A long message has them for
//! itself.

use super::registers::Registers;
use super::stream::REGISTERS;
use crate::Message;

/// What is done with messages, by their places.
pub(super) trait Work {
    /// Their registers.
    type V: Registers;

    /// One without text.
    fn empty(&mut self, place: usize);
    /// `M` messages of `N` registers each, the last of which need not be full.
    fn group<const M: usize, const N: usize>(&mut self, place: usize);
    /// One of more than [`REGISTERS`].
    fn long(&mut self, place: usize);
}

/// Registers that a text takes.
#[inline(always)]
pub(super) fn registers<V: Registers>(message: &Message<'_>) -> usize {
    message.text().len().div_ceil(V::BYTES)
}

/// How many messages, from the first on, are worked on together: a power of two.
#[inline(always)]
pub(super) fn group_len<V: Registers>(messages: &[Message<'_>]) -> usize {
    let first = registers::<V>(&messages[0]);
    let most = REGISTERS.checked_div(first).unwrap_or(1);
    let alike = messages.iter().take(most).take_while(|message| registers::<V>(message) == first).count();
    // Of one group of three and one of one, the first would need code of its own.
    if alike == 0 { 1 } else { 1 << alike.ilog2() }
}

/// Does the work for the `len` messages of a group that begins at `place`, all of so many registers.
#[inline(always)]
pub(super) fn step<W: Work>(work: &mut W, v: W::V, place: usize, registers: usize, len: usize) {
    macro_rules! dispatch {
        ($($messages:literal $registers:literal)*) => {
            match (len, registers) {
                (_, 0) => work.empty(place),
                $(($messages, $registers) => v.run(
                    #[inline(always)]
                    || work.group::<$messages, $registers>(place),
                ),)*
                _ => v.run(
                    #[inline(always)]
                    || work.long(place),
                ),
            }
        };
    }
    dispatch! {
        8 1 4 1 2 1 1 1
        4 2 2 2 1 2
        2 3 1 3
        2 4 1 4
        1 5 1 6 1 7 1 8
    }
}
