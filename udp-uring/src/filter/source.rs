//! The parts of the program that ask where a datagram is from.

use std::time::Duration;

use ebpf_array::{Register, code};

use super::Junk;
use super::program::{
    CONTEXT, Filter, INDEX_IN_OTHERS, KIND, MAC_LEN, NOW, R0, R1, R2, R3, R4, R5, UDP_HEADER_LEN, WINDOW, stack,
};
use super::shared::{KNOWN, SECOND_SHIFT, SOURCES, SPREAD, place};

/// Of `struct __sk_buff`.
const PROTOCOL: i16 = 16;

/// Functions of the kernel.
const SKB_LOAD_BYTES_RELATIVE: i32 = 68;
const KTIME_GET_BOOT_NS: i32 = 125;
/// For the first of them: from the IP header on.
const FROM_NETWORK_HEADER: i32 = 1;

/// The source's port, mixed.
const PORT: Register = WINDOW;
/// The time in units of 2^20 ns.
const NOW_MS: Register = WINDOW;
const MS_SHIFT: i32 = 20;

/// Load that is to last longer than this is none: a clock is not what it should be.
const LOADED_MAX: Duration = Duration::from_secs(2);

/// Under load, each worker lets so many pass that prove nothing, and as many again from where peers are: a quarter more
/// than it has cookies (`COOKIES_PER_SECOND` of the data path). So nobody is dropped here who would get one there,
/// whatever the two clocks differ by, and few pass in vain.
pub(super) const UNPROVEN_PER_SECOND: u64 = 1_600;
const UNPROVEN_NANOS: i32 = (1_000_000_000 / UNPROVEN_PER_SECOND) as i32;
/// So many may pass at once. Of the second half, one of each place in a second.
pub(super) const UNPROVEN_AT_ONCE: u64 = 128;
const BURST_NANOS: i32 = UNPROVEN_AT_ONCE as i32 * UNPROVEN_NANOS;
/// Of initiations beyond the budget, one of so many is asked for mac1. That one counts for all. A power of two.
pub(super) const SAMPLE: u64 = 16;
/// For so long a place was answered lately: a second.
const LATELY: i32 = 1_000_000_000 >> MS_SHIFT;

impl Filter<'_> {
    /// Data under an unknown index is junk, except while sessions are recovered, from where a peer may be.
    pub(super) fn unless_recovered(&mut self) {
        self.asm.address(R1, place::IS_SETTLED);
        self.emit(code::LOAD_FIELD, R1, R1, 0, 0);
        let settled = self.emit(code::JUMP_UNLESS_EQUAL, R1, 0, 0, 0);
        self.source();
        self.pass_if_known_place();
        self.asm.land(settled);
        self.junk_of_index(INDEX_IN_OTHERS);
    }

    /// Loads the place of the source into KIND, of 32 bits, as the owner computes it.
    fn source(&mut self) {
        self.emit(code::LOAD_HALF, 0, 0, 0, 0);
        self.emit(code::MOVE, PORT, R0, 0, 0);
        self.emit(code::MULTIPLY_CONSTANT_32, PORT, 0, 0, SPREAD.cast_signed());
        for at in [stack::ADDRESS, stack::ADDRESS + 4] {
            self.emit(code::STORE_CONSTANT, stack::END, 0, at, 0);
        }
        self.emit(code::LOAD_FIELD, KIND, CONTEXT, PROTOCOL, 0);
        self.emit(code::MOVE_CONSTANT, R2, 0, 0, 8);
        self.emit(code::MOVE_CONSTANT, R4, 0, 0, 8);
        let is_v6 = (libc::ETH_P_IPV6 as u16).to_be();
        let to_load = self.emit(code::JUMP_IF_EQUAL, KIND, 0, 0, is_v6.into());
        self.emit(code::MOVE_CONSTANT, R2, 0, 0, 12);
        self.emit(code::MOVE_CONSTANT, R4, 0, 0, 4);
        self.asm.land(to_load);
        self.emit(code::MOVE, R1, CONTEXT, 0, 0);
        self.emit(code::MOVE, R3, stack::END, 0, 0);
        self.emit(code::ADD_CONSTANT, R3, 0, 0, stack::ADDRESS.into());
        self.emit(code::MOVE_CONSTANT, R5, 0, 0, FROM_NETWORK_HEADER);
        self.call(SKB_LOAD_BYTES_RELATIVE);
        self.pass_if(code::JUMP_UNLESS_EQUAL, R0, 0);
        self.emit(code::LOAD_FIELD, R2, stack::END, stack::ADDRESS + 4, 0);
        self.emit(code::ADD_32, R2, PORT, 0, 0);
        self.emit(code::LOAD_FIELD, R1, stack::END, stack::ADDRESS, 0);
        for (word, seed) in [R1, R2].into_iter().zip(self.parameters.seeds) {
            self.emit(code::ADD_CONSTANT_32, word, 0, 0, seed.cast_signed());
        }
        self.emit(code::MULTIPLY, R1, R2, 0, 0);
        self.emit(code::SHIFT_RIGHT, R1, 0, 0, 32);
        self.emit(code::MOVE, KIND, R1, 0, 0);
    }

    /// Passes if a peer may be at the place in KIND: if it was told of in this generation, or in the one before.
    fn pass_if_known_place(&mut self) {
        let [now, before] = self.known_place();
        self.to_pass.extend([now, before]);
    }

    /// Two jumps that are taken if a peer may be at the place in KIND.
    fn known_place(&mut self) -> [usize; 2] {
        let first = self.told_of(0);
        let unknown = self.jump();
        first.into_iter().for_each(|from| self.asm.land(from));
        let second = self.told_of(SECOND_SHIFT);
        self.asm.land(unknown);
        second
    }

    /// Two jumps that are taken if the place in KIND, without its lowest bits, was told of.
    fn told_of(&mut self, shift: i32) -> [usize; 2] {
        self.emit(code::MOVE, R1, KIND, 0, 0);
        self.emit(code::SHIFT_RIGHT, R1, 0, 0, shift);
        self.emit(code::AND_CONSTANT, R1, 0, 0, KNOWN as i32 - 1);
        self.asm.address(R2, place::KNOWN);
        self.emit(code::ADD, R2, R1, 0, 0);
        self.emit(code::LOAD_FIELD_8, R2, R2, 0, 0);
        self.asm.address(R1, place::GENERATIONS);
        self.emit(code::LOAD_FIELD, R1, R1, 0, 0);
        self.emit(code::MOVE, R3, R1, 0, 0);
        self.emit(code::AND_CONSTANT, R3, 0, 0, 0xff);
        let now = self.emit(code::JUMP_IF_SAME, R2, R3, 0, 0);
        self.emit(code::SHIFT_RIGHT, R1, 0, 0, 8);
        let before = self.emit(code::JUMP_IF_SAME, R2, R1, 0, 0);
        [now, before]
    }

    /// Under load, once the budget is used up, what has no mac2 is dropped before mac1 is looked at: it takes longest.
    /// Some are asked all the same: load goes on by who knows our key, and not by junk. The jump that is returned is
    /// taken by these.
    pub(super) fn drop_before_mac1(&mut self, covered: i32) -> usize {
        let go_on = std::mem::take(&mut self.to_pass);
        self.unproven_under_load(covered);
        let left = self.within_budgets(|filter, _| filter.jump());
        let mut to_mac1 = std::mem::replace(&mut self.to_pass, go_on);
        to_mac1.extend(left);
        self.asm.address(R1, place::budget(self.parameters.worker));
        self.emit(code::LOAD_FIELD_64, R2, R1, place::UNSEEN, 0);
        self.emit(code::ADD_CONSTANT, R2, 0, 0, 1);
        self.emit(code::STORE_FIELD_64, R1, R2, place::UNSEEN, 0);
        self.emit(code::AND_CONSTANT, R2, 0, 0, SAMPLE as i32 - 1);
        let sampled = self.emit(code::JUMP_IF_EQUAL, R2, 0, 0, 0);
        self.drop_always(Junk::CookieBudget);
        to_mac1.into_iter().for_each(|from| self.asm.land(from));
        sampled
    }

    /// While there is load, an initiation without mac2 gets a cookie at best. Workers make few of them, so of those who
    /// prove nothing few pass. The worker looks at mac2: here any bit in it is enough.
    pub(super) fn under_load(&mut self, covered: i32) {
        self.unproven_under_load(covered);
        let taken = self.within_budgets(Self::take);
        self.to_pass.extend(taken);
        self.asm.address(R1, place::budget(self.parameters.worker));
        self.emit(code::MOVE_CONSTANT, R2, 0, 0, SAMPLE as i32);
        self.emit(code::ADD_TO_MEMORY, R1, R2, place::REFUSED, 0);
        self.drop_always(Junk::CookieBudget);
    }

    fn jump(&mut self) -> usize {
        self.emit(code::JUMP, 0, 0, 0, 0)
    }

    /// Passes unless there is load and mac2 is zero. NOW is the time.
    fn unproven_under_load(&mut self, covered: i32) {
        self.call(KTIME_GET_BOOT_NS);
        self.emit(code::MOVE, NOW, R0, 0, 0);
        self.asm.address(R1, place::LOADED_UNTIL);
        self.emit(code::LOAD_FIELD_64, R1, R1, 0, 0);
        self.emit(code::SUBTRACT, R1, NOW, 0, 0);
        // What is over has become a very large number.
        self.emit(code::ADD_CONSTANT, R1, 0, 0, -1);
        self.pass_if(code::JUMP_UNLESS_BELOW, R1, LOADED_MAX.as_nanos() as i32);
        self.load_message(UDP_HEADER_LEN + covered + MAC_LEN, stack::MAC, MAC_LEN);
        for word in (0..MAC_LEN as i16).step_by(4) {
            self.emit(code::LOAD_FIELD, R1, stack::END, stack::MAC + word, 0);
            self.pass_if(code::JUMP_UNLESS_EQUAL, R1, 0);
        }
    }

    /// Does what `then` emits if the worker's budget has something left, or its budget for places of peers if a peer
    /// may be there. Goes on if not. `then` gets which, and ends with a jump.
    fn within_budgets(&mut self, then: fn(&mut Self, i16) -> usize) -> [usize; 2] {
        self.source();
        let of_all = self.within_budget(place::PAID, then);
        let known = self.known_place();
        let refused = self.jump();
        known.into_iter().for_each(|from| self.asm.land(from));
        let of_peers = self.within_budget(place::PAID_FOR_PEERS, then);
        self.asm.land(refused);
        [of_all, of_peers]
    }

    /// Takes of a budget that has something left, as `Cookies::take` of the data path does. Two CPUs at once may take
    /// one too many: nothing is lost by that.
    fn take(&mut self, paid: i16) -> usize {
        let (budget, paid_until, answered) = (R1, R2, R4);
        self.emit(code::ADD_CONSTANT, paid_until, 0, 0, UNPROVEN_NANOS);
        self.emit(code::STORE_FIELD_64, budget, paid_until, paid, 0);
        self.emit(code::STORE_FIELD, answered, NOW_MS, 0, 0);
        self.jump()
    }

    /// Does what `then` emits if the worker's budget has something left. R1 points to the budget, R2 is until when it
    /// is paid for, R4 points to when this place last passed.
    fn within_budget(&mut self, paid: i16, then: fn(&mut Self, i16) -> usize) -> usize {
        let (budget, paid_until, owed, answered) = (R1, R2, R3, R4);
        self.asm.address(budget, place::budget(self.parameters.worker));
        self.emit(code::LOAD_FIELD_64, paid_until, budget, paid, 0);
        let is_owed = self.emit(code::JUMP_UNLESS_BELOW_OTHER, paid_until, NOW, 0, 0);
        self.emit(code::MOVE, paid_until, NOW, 0, 0);
        self.asm.land(is_owed);
        self.emit(code::MOVE, owed, paid_until, 0, 0);
        self.emit(code::SUBTRACT, owed, NOW, 0, 0);
        let exhausted = self.emit(code::JUMP_UNLESS_BELOW, owed, 0, 0, BURST_NANOS - UNPROVEN_NANOS + 1);
        // When this place last passed.
        self.emit(code::MOVE, R5, KIND, 0, 0);
        self.emit(code::AND_CONSTANT, R5, 0, 0, SOURCES as i32 - 1);
        self.emit(code::SHIFT_LEFT, R5, 0, 0, 2);
        self.asm.address(answered, place::ANSWERED);
        self.emit(code::ADD, answered, R5, 0, 0);
        self.emit(code::MOVE, NOW_MS, NOW, 0, 0);
        self.emit(code::SHIFT_RIGHT, NOW_MS, 0, 0, MS_SHIFT);
        let is_cheap = self.emit(code::JUMP_IF_BELOW, owed, 0, 0, BURST_NANOS / 2);
        self.emit(code::MOVE_32, R0, NOW_MS, 0, 0);
        self.emit(code::LOAD_FIELD, R5, answered, 0, 0);
        self.emit(code::SUBTRACT_32, R0, R5, 0, 0);
        let lately = self.emit(code::JUMP_IF_BELOW, R0, 0, 0, LATELY);
        self.asm.land(is_cheap);
        let jump = then(self, paid);
        self.asm.land(exhausted);
        self.asm.land(lately);
        jump
    }
}
