//! Names that travel between control and the workers: which peer, and where it is on the network.

pub use udp_endpoint::{Endpoint, LocalAddr};

use crate::constants::PEERS_MAX;

/// A peer's slot in the device, and which occupant of that slot is meant.
///
/// A slot is reused after its peer was removed; the generation keeps a late event about the old occupant from being
/// taken for one about the new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId {
    /// The slot.
    pub index: u32,
    /// How often the slot was given away before.
    pub generation: u32,
}

impl PeerId {
    /// No peer: there are never so many slots ([`PEERS_MAX`]).
    pub const NOBODY: Self = Self { index: u32::MAX, generation: u32::MAX };
}

const _: () = assert!(PEERS_MAX < u32::MAX as usize, "nobody is no peer");

/// The worker, of `workers`, that owns a receiver index: its low byte names it.
///
/// The reuseport program of the sockets computes the same from the datagram.
///
/// # Panics
/// If there are no workers.
#[must_use]
pub const fn owner(local_index: u32, workers: usize) -> usize {
    (local_index & 0xff) as usize % workers
}

/// The index nearest to `random` that belongs to `worker` of `workers` by [`owner`]: its low byte is changed by as
/// little as that takes.
pub(crate) const fn owned_by(random: u32, worker: u32, workers: u32) -> u32 {
    let low = random & 0xff;
    let wanted = low - low % workers + worker;
    // Past the end of the byte there is a whole round of workers to go back, since worker < workers.
    random & !0xff | if wanted > 0xff { wanted - workers } else { wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_low_byte_of_an_index_names_its_owner() {
        assert_eq!(owner(0xffff_ff00, 3), 0);
        assert_eq!(owner(0x0000_00ff, 2), 1);
        assert_eq!(owner(0x1234_5605, 4), 1);
    }

    #[test]
    fn an_index_belongs_to_the_worker_that_it_is_made_for() {
        for workers in 1..=255 {
            for worker in 0..workers {
                for low in 0..=255 {
                    let index = owned_by(0xabcd_ef00 | low, worker, workers);
                    let owned = owner(index, workers as usize);
                    assert_eq!((index >> 8, owned), (0xab_cdef, worker as usize), "{low} of {workers}");
                }
            }
        }
    }

    /// All that an owner depends on: every low byte and every number of workers. The reuseport program has the same
    /// test.
    #[test]
    fn every_low_byte_has_one_owner_among_any_number_of_workers() {
        for workers in 1..=255 {
            for low in 0..=255_u32 {
                let expected = (0..workers).cycle().nth(low as usize);
                for high in [0, 0x5a5a_5a00, 0xffff_ff00] {
                    assert_eq!(Some(owner(high | low, workers)), expected, "{low} of {workers}");
                }
            }
        }
    }
}
