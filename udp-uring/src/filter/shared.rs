//! What the program and its owner share. 2.3 MiB, of which what is not touched costs no cache, and a little for each
//! worker and CPU.

use std::mem::offset_of;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

use ebpf_array::Value;

use super::Junk;
use super::blake2s::SIGMA;

/// Counters of indices. With 130,000 in use, one stranger in eight passes.
pub(super) const INDICES: usize = 1 << 20;
/// Workers that there may be.
const WORKERS: usize = 255;
/// Places of sources that were let through under load.
pub(super) const SOURCES: usize = 1 << 16;
/// Places of sources where peers may be. Each peer has two, so of 100,000 peers' places one stranger in 30 has both.
pub(super) const KNOWN: usize = 1 << 20;
/// The second place of a source is in the upper bits of its number.
pub(super) const SECOND_SHIFT: i32 = 12;
/// Mixes the port of a source.
pub(super) const SPREAD: u32 = 0x9e37_79b1;
/// Keys of mac1 that were the last ones. A place is written again after so many changes of the key.
pub(super) const KEYS: usize = 16;

/// See the module. Only atomics, in an order that keeps each aligned.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Shared {
    /// How many indices of each place are in use. Written by the owner.
    indices: [AtomicU8; INDICES],
    /// In each round of BLAKE2s, the offsets of the words of the block in their order.
    sigma: [[AtomicU8; 16]; SIGMA.len()],
    /// States of BLAKE2s that have hashed a key of mac1. Written by the owner.
    keys: [[AtomicU32; 8]; KEYS],
    /// Which of the keys is the present one, plus one. 0: there is none.
    active_key: AtomicU32,
    /// Whether data under an unknown index is worth nothing.
    pub is_settled: AtomicU32,
    /// Until when initiations must prove their addresses: nanoseconds of the machine's `CLOCK_BOOTTIME`. Written by the
    /// owner.
    pub loaded_until: AtomicU64,
    /// The present generation of the known places, and the one before it in the second byte.
    generations: AtomicU32,
    /// Where there may be peers, by the generation that each was told in. Written by the owner.
    known: [AtomicU8; KNOWN],
    /// When an initiation of each place last passed under load, in milliseconds of 2^20 ns. The program's.
    answered: [AtomicU32; SOURCES],
    /// Of each worker.
    budgets: [Budget; WORKERS],
}

/// What of unproven initiations passes under load: as `Cookies` of the data path has it, and a quarter more. Written
/// by the program on all CPUs.
#[derive(Debug)]
#[repr(C, align(128))]
struct Budget {
    /// When all that have passed are paid for, and the same of those from where peers are.
    paid: AtomicU64,
    paid_for_peers: AtomicU64,
    /// How many were dropped that know our key, by those of which that was looked at.
    refused: AtomicU64,
    /// How many were to be dropped before that was looked at.
    unseen: AtomicU64,
}

/// What one CPU counts for one worker: no other CPU writes to this line, or those beyond [`Lane::COUNT_MAX`] do.
#[derive(Debug)]
#[repr(C, align(128))]
pub(super) struct Lane {
    allowances: [Allowance; Check::COUNT],
    pub counts: [AtomicU64; Junk::ALL.len()],
}

/// How many have passed in a window.
#[derive(Debug)]
#[repr(C)]
struct Allowance {
    window: AtomicU32,
    passed: AtomicU32,
}

// SAFETY: all that is in it are atomic integers, and padding.
unsafe impl Value for Shared {}
// SAFETY: as above.
unsafe impl Value for Lane {}

/// What a datagram has failed, each with an allowance of its own.
#[derive(Clone, Copy)]
pub(super) enum Check {
    /// Type and length.
    Form,
    /// The receiver index.
    Index,
    /// Not failed yet: mac1 is looked at beyond the allowance.
    Mac1,
}

impl Check {
    const COUNT: usize = 3;
}

impl Shared {
    /// What the program needs before it runs.
    pub(super) fn init(&self) {
        for (places, round) in self.sigma.iter().zip(SIGMA) {
            places.iter().zip(round).for_each(|(place, word)| place.store(4 * word, Relaxed));
        }
        // A place that is zero was never told.
        self.generations.store(generations(1, u8::MAX), Relaxed);
    }

    /// The state that has hashed the key of mac1 from now on, or none. One thread calls this.
    ///
    /// The program takes the number of a key first, and its words by that number. No CPU gets older words than that:
    /// they are found through the number. A number's words are not written before [`KEYS`] - 1 others were.
    pub(super) fn set_mac1_state(&self, next: usize, state: Option<[u32; 8]>) {
        let Some(state) = state else { return self.active_key.store(0, Release) };
        for (word, value) in self.keys[next % KEYS].iter().zip(state) {
            word.store(value, Relaxed);
        }
        self.active_key.store((next % KEYS) as u32 + 1, Release);
    }

    /// A peer is here, as far as is known in this generation.
    pub(super) fn locate(&self, seeds: [u32; 2], source: SocketAddr) {
        let [now, ..] = self.generations.load(Relaxed).to_le_bytes();
        let place = place_of(seeds, source);
        for known in [place, place >> SECOND_SHIFT] {
            self.known[known as usize % KNOWN].store(now, Release);
        }
    }

    /// Another generation of known places. Those of the present one are still known, and those before it are not.
    pub(super) fn renew_places(&self) {
        let [now, ..] = self.generations.load(Relaxed).to_le_bytes();
        // It comes round after 255 of them: then places are known for a while at which nobody is. They pass.
        self.generations.store(generations(now.checked_add(1).unwrap_or(1), now), Release);
    }

    /// The program has the bytes in the packet's order. The top one is left out: it may be the same in all indices,
    /// since it names the gateway. Of the lowest, which names a worker, the lower half is looked at: each worker has as
    /// many indices as any other.
    pub(super) fn index(&self, index: u32) -> &AtomicU8 {
        &self.indices[(index.swap_bytes() >> 8) as usize % INDICES]
    }

    /// About how many initiations with a right mac1 were dropped for load.
    pub(super) fn refused(&self, workers: usize) -> u64 {
        self.budgets.iter().take(workers).map(|budget| budget.refused.load(Relaxed)).fold(0, u64::wrapping_add)
    }
}

impl Lane {
    /// CPUs that count for themselves. Beyond these, two or more share a lane.
    pub(super) const COUNT_MAX: usize = 64;

    /// How many of them each worker has on a machine with so many CPUs: a power of two.
    pub(super) fn count(cpus: usize) -> usize {
        cpus.clamp(1, Self::COUNT_MAX).next_power_of_two()
    }

    pub(super) fn dropped(&self, why: Junk) -> u64 {
        self.counts[why as usize].load(Acquire)
    }
}

/// Where a source is among others, which only the seeds tell. Of IPv6 it is where the network is.
fn place_of(seeds: [u32; 2], source: SocketAddr) -> u32 {
    let word = |bytes: &[u8]| bytes.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
    let (first, second) = match source.ip() {
        IpAddr::V4(ip) => (word(&ip.octets()), 0),
        IpAddr::V6(ip) => (word(&ip.octets()), word(&ip.octets()[4..])),
    };
    let second = second.wrapping_add(u32::from(source.port()).wrapping_mul(SPREAD));
    let [first, second] = [(first, seeds[0]), (second, seeds[1])].map(|(word, seed)| word.wrapping_add(seed));
    ((u64::from(first) * u64::from(second)) >> 32) as u32
}

const fn generations(now: u8, before: u8) -> u32 {
    u32::from_le_bytes([now, before, 0, 0])
}

/// Where things are, for the program.
pub(super) mod place {
    use super::{Allowance, Budget, Check, Junk, Lane, Shared, offset_of};

    pub const INDICES: usize = offset_of!(Shared, indices);
    pub const SIGMA: usize = offset_of!(Shared, sigma);
    pub const KEYS: usize = offset_of!(Shared, keys);
    /// A key is found by a shift.
    pub const KEY_SHIFT: i32 = size_of::<[u32; 8]>().ilog2() as i32;
    pub const ACTIVE_KEY: usize = offset_of!(Shared, active_key);
    pub const IS_SETTLED: usize = offset_of!(Shared, is_settled);
    pub const LOADED_UNTIL: usize = offset_of!(Shared, loaded_until);
    pub const GENERATIONS: usize = offset_of!(Shared, generations);
    pub const KNOWN: usize = offset_of!(Shared, known);
    pub const ANSWERED: usize = offset_of!(Shared, answered);
    /// In a budget.
    pub const PAID: i16 = offset_of!(Budget, paid) as i16;
    pub const PAID_FOR_PEERS: i16 = offset_of!(Budget, paid_for_peers) as i16;
    pub const REFUSED: i16 = offset_of!(Budget, refused) as i16;
    pub const UNSEEN: i16 = offset_of!(Budget, unseen) as i16;
    /// In an allowance.
    pub const PASSED: i16 = offset_of!(Allowance, passed) as i16;

    /// A lane is found by a shift.
    pub const LANE_SHIFT: i32 = size_of::<Lane>().ilog2() as i32;
    const _: () = assert!(size_of::<Lane>().is_power_of_two() && size_of::<Budget>() == 128);

    pub const fn budget(worker: usize) -> usize {
        offset_of!(Shared, budgets) + worker * size_of::<Budget>()
    }

    /// Among the lanes of all workers, the first of this one.
    pub const fn lanes(worker: usize, count: usize) -> usize {
        worker * count * size_of::<Lane>()
    }

    /// In a lane.
    pub const fn allowance(check: Check) -> i16 {
        (offset_of!(Lane, allowances) + check as usize * size_of::<Allowance>()) as i16
    }

    /// In a lane.
    pub const fn count(why: Junk) -> i16 {
        (offset_of!(Lane, counts) + why as usize * size_of::<u64>()) as i16
    }
}

#[cfg(test)]
mod tests {
    use ebpf_array::Array;

    use super::*;

    /// A program that has taken the number of a key may be at its words until then.
    #[test]
    fn the_words_of_a_key_stay_while_all_others_are_written() {
        let (shared, _map) = Array::<Shared>::new().expect("bpf(2) makes it; this test needs root");
        let active = || shared.active_key.load(Relaxed).checked_sub(1).map(|number| number as usize);
        let words = |number: usize| shared.keys[number].each_ref().map(|word| word.load(Relaxed));
        assert_eq!(active(), None);
        for first in 0..2 * KEYS as u32 {
            shared.set_mac1_state(first as usize, Some([first; 8]));
            let number = active().expect("there is a key");
            for next in first + 1..first + KEYS as u32 {
                shared.set_mac1_state(next as usize, Some([next; 8]));
                assert_eq!((active() == Some(number), words(number)), (false, [first; 8]));
            }
            shared.set_mac1_state(0, None);
            assert_eq!((active(), words(number)), (None, [first; 8]));
        }
    }

    #[test]
    fn each_cpu_has_a_line_of_its_own_up_to_64() {
        assert_eq!([0, 1, 2, 3, 64, 65, 4_096].map(Lane::count), [1, 1, 2, 4, 64, 64, 64]);
        assert_eq!((align_of::<Lane>(), size_of::<Lane>()), (128, 128), "two lines: neighbours are fetched in pairs");
        assert_eq!(place::lanes(3, 4), 12 * 128);
    }
}
