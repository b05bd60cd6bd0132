//! The part of the program that computes mac1: BLAKE2s over a message, on the stack. So it needs no memory that another
//! program of the same CPU could be at, also where softirqs are preempted (`PREEMPT_RT`).
//!
//! A loop, and a place on the stack that depends on the round: the verifier takes neither without `CAP_PERFMON`.

use ebpf_array::{Register, code};

use super::Junk;
use super::blake2s::{BLOCK_LEN, IV, MIXED, SIGMA};
use super::program::{CONTEXT, Filter, MAC_LEN, R0, R1, R2, R3, R4, R5, UDP_HEADER_LEN, WINDOW, stack};
use super::shared::{Check, KEYS, place};

/// A function of the kernel: copies bytes of the packet.
const SKB_LOAD_BYTES: i32 = 26;

/// How far into the table of rounds it is.
const ROUND: Register = WINDOW;

impl Filter<'_> {
    /// A message whose mac1 covers so many bytes. A few pass without; not those that jump from `beyond_budget`.
    pub(super) fn mac1(&mut self, covered: i32, beyond_budget: Option<usize>) {
        self.pass_a_few(Check::Mac1);
        beyond_budget.into_iter().for_each(|from| self.asm.land(from));
        self.load_key();
        self.load_message(UDP_HEADER_LEN, stack::MESSAGE, covered);
        let blocks = covered.cast_unsigned().div_ceil(BLOCK_LEN as u32).cast_signed();
        for at in (covered..blocks * BLOCK_LEN as i32).step_by(4) {
            self.emit(code::STORE_CONSTANT, stack::END, 0, stack::MESSAGE + at as i16, 0);
        }
        self.load_message(UDP_HEADER_LEN + covered, stack::MAC, MAC_LEN);
        for block in 0..blocks {
            let is_last = block + 1 == blocks;
            // The key's block comes first.
            let end = BLOCK_LEN as i32 + if is_last { covered } else { (block + 1) * BLOCK_LEN as i32 };
            self.compress(stack::MESSAGE + block as i16 * BLOCK_LEN as i16, end, is_last);
        }
        // All words, whatever the first ones are.
        self.emit(code::MOVE_CONSTANT, R0, 0, 0, 0);
        for word in (0..MAC_LEN as i16).step_by(4) {
            self.emit(code::LOAD_FIELD, R1, stack::END, stack::HASH + word, 0);
            self.emit(code::LOAD_FIELD, R2, stack::END, stack::MAC + word, 0);
            self.emit(code::XOR_32, R1, R2, 0, 0);
            self.emit(code::OR, R0, R1, 0, 0);
        }
        let right = self.emit(code::JUMP_IF_EQUAL, R0, 0, 0, 0);
        // The key was changed meanwhile: the worker knows by which of them it must be right.
        self.asm.address(R1, place::ACTIVE_KEY);
        self.emit(code::LOAD_FIELD, R1, R1, 0, 0);
        self.emit(code::LOAD_FIELD, R2, stack::END, stack::ACTIVE_KEY, 0);
        let changed = self.emit(code::JUMP_UNLESS_SAME, R1, R2, 0, 0);
        self.to_pass.push(changed);
        self.drop_always(Junk::BadMac1);
        self.asm.land(right);
    }

    /// Begins the hash with the present key. Without one, it passes.
    fn load_key(&mut self) {
        self.asm.address(R1, place::ACTIVE_KEY);
        self.emit(code::LOAD_FIELD, R1, R1, 0, 0);
        self.pass_if(code::JUMP_IF_EQUAL, R1, 0);
        self.emit(code::STORE_FIELD, stack::END, R1, stack::ACTIVE_KEY, 0);
        self.emit(code::ADD_CONSTANT, R1, 0, 0, -1);
        self.emit(code::AND_CONSTANT, R1, 0, 0, KEYS as i32 - 1);
        self.emit(code::SHIFT_LEFT, R1, 0, 0, place::KEY_SHIFT);
        self.asm.address(R2, place::KEYS);
        self.emit(code::ADD, R2, R1, 0, 0);
        self.copy_words((R2, 0), stack::HASH);
    }

    /// Copies bytes of the packet to a place on the stack. All of them are there: if not, it passes.
    pub(super) fn load_message(&mut self, from: i32, to: i16, len: i32) {
        self.emit(code::MOVE, R1, CONTEXT, 0, 0);
        self.emit(code::MOVE_CONSTANT, R2, 0, 0, from);
        self.emit(code::MOVE, R3, stack::END, 0, 0);
        self.emit(code::ADD_CONSTANT, R3, 0, 0, to.into());
        self.emit(code::MOVE_CONSTANT, R4, 0, 0, len);
        self.call(SKB_LOAD_BYTES);
        self.pass_if(code::JUMP_UNLESS_EQUAL, R0, 0);
    }

    /// Copies eight words to a place on the stack.
    fn copy_words(&mut self, (from, offset): (Register, i16), to: i16) {
        for word in (0..32).step_by(4) {
            self.emit(code::LOAD_FIELD, R1, from, offset + word, 0);
            self.emit(code::STORE_FIELD, stack::END, R1, to + word, 0);
        }
    }

    /// Takes in the block at this place on the stack, as `compress` in [`blake2s`](super::blake2s) does. `end` bytes
    /// are hashed with it.
    fn compress(&mut self, block: i16, end: i32, is_last: bool) {
        self.copy_words((stack::END, stack::HASH), stack::STATE);
        for (word, at) in IV.into_iter().zip((8..).map(state)) {
            self.emit(code::STORE_CONSTANT, stack::END, 0, at, word.cast_signed());
        }
        self.emit(code::STORE_CONSTANT, stack::END, 0, state(12), IV[4].cast_signed() ^ end);
        if is_last {
            self.emit(code::STORE_CONSTANT, stack::END, 0, state(14), !IV[6].cast_signed());
        }
        self.emit(code::MOVE_CONSTANT, ROUND, 0, 0, 0);
        let again = self.asm.here();
        self.asm.address(R0, place::SIGMA);
        self.emit(code::ADD, R0, ROUND, 0, 0);
        for (words, order) in MIXED.into_iter().zip((0..).step_by(2)) {
            self.mix(words, order, block);
        }
        let round_len = size_of_val(&SIGMA[0]) as i32;
        self.emit(code::ADD_CONSTANT, ROUND, 0, 0, round_len);
        let back = self.emit(code::JUMP_IF_BELOW, ROUND, 0, 0, SIGMA.len() as i32 * round_len);
        self.asm.lead(back, again);
        for (word, at) in (0..8).zip((stack::HASH..).step_by(4)) {
            self.emit(code::LOAD_FIELD, R1, stack::END, at, 0);
            for other in [state(word), state(word + 8)] {
                self.emit(code::LOAD_FIELD, R2, stack::END, other, 0);
                self.emit(code::XOR_32, R1, R2, 0, 0);
            }
            self.emit(code::STORE_FIELD, stack::END, R1, at, 0);
        }
    }

    /// A quarter of a round, with the words of the block that stand at `order` in it. R0 is the round's row of SIGMA.
    fn mix(&mut self, words: [usize; 4], order: i16, block: i16) {
        let [a, b, c, d] = [R1, R2, R3, R4];
        for (register, word) in [a, b, c, d].into_iter().zip(words) {
            self.emit(code::LOAD_FIELD, register, stack::END, state(word as i16), 0);
        }
        for (half, [first, second]) in (0..).zip([[16, 12], [8, 7]]) {
            self.emit(code::LOAD_FIELD_8, R5, R0, order + half, 0);
            // It is no more than that. The verifier cannot know.
            self.emit(code::AND_CONSTANT, R5, 0, 0, BLOCK_LEN as i32 - 4);
            self.emit(code::ADD, R5, stack::END, 0, 0);
            self.emit(code::LOAD_FIELD, R5, R5, block, 0);
            self.emit(code::ADD_32, a, b, 0, 0);
            self.emit(code::ADD_32, a, R5, 0, 0);
            self.emit(code::XOR_32, d, a, 0, 0);
            self.rotate_right(d, first);
            self.emit(code::ADD_32, c, d, 0, 0);
            self.emit(code::XOR_32, b, c, 0, 0);
            self.rotate_right(b, second);
        }
        for (register, word) in [a, b, c, d].into_iter().zip(words) {
            self.emit(code::STORE_FIELD, stack::END, register, state(word as i16), 0);
        }
    }

    /// Of 32 bits. There is no instruction for it. A multiplication that puts the word into a register twice is
    /// shorter. With that, mac1 takes an eighth longer.
    fn rotate_right(&mut self, register: Register, bits: i32) {
        self.emit(code::MOVE_32, R5, register, 0, 0);
        self.emit(code::SHIFT_LEFT_32, R5, 0, 0, 32 - bits);
        self.emit(code::SHIFT_RIGHT_32, register, 0, 0, bits);
        self.emit(code::OR_32, register, R5, 0, 0);
    }
}

/// Where a word of the state is.
const fn state(word: i16) -> i16 {
    stack::STATE + 4 * word
}
