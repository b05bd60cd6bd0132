//! The eBPF program itself. Its hash of a flow is that of [`bucket`](super::hash::bucket).
//!
//! Only the first fragment of a datagram has its ports. It goes with its flow, and the program notes the flow's bucket
//! for the fragments behind it, under what all of them have: addresses, protocol and identification. So a datagram in
//! fragments and the whole ones around it leave by one queue, in order. A later fragment that comes before its first
//! one, or whose note was replaced by that of another datagram, uses the hash of its addresses.

use std::os::fd::RawFd;

use ebpf_array::{Instruction, code, op};

use super::hash::{BUCKET_MASK, FRAGMENT_HEADER, OFFSET_V4, OFFSET_V6, SPREAD, STIR, Seed};
use super::table::{ENTRY_LEN, NOTES, NOTES_COUNT, PACKET_COST, PLACE, SENT};

/// Any fragment of an IPv4 datagram: more to come, or an offset.
const FRAGMENT: u16 = 0x3fff;

/// Registers: what loads return, one that they do not preserve, the packet as loads want it, and ours, which they
/// preserve.
const R0: u8 = 0;
const R1: u8 = 1;
const CONTEXT: u8 = 6;
const HASH: u8 = 7;
const SCRATCH: u8 = 8;
const WORD: u8 = 9;
/// The end of the program's stack, on which a fragment's hashes are kept.
pub(super) const STACK: u8 = 10;
const KEPT_HASH: i16 = -8;
const KEPT_KEY: i16 = -16;

/// A program that chooses the first queue.
pub(super) const FIRST_QUEUE: [Instruction; 2] = [op(code::MOVE_CONSTANT_32, R0, 0, 0, 0), op(code::EXIT, 0, 0, 0, 0)];

const fn load(code: u8, at: i32) -> Instruction {
    op(code, 0, 0, 0, at)
}

/// Where a fragment has what concerns the program. Multi-byte fields are loaded as words or as half words.
struct Fragment {
    /// The load of the offset field, its place, and the bits that are the offset.
    offset: (u8, i32, u16),
    /// Of the transport protocol.
    protocol: i32,
    /// Of the last word of the source address: which of two ends that talk to each other sent the datagram.
    source: i32,
    /// The load and the place of the identification.
    identification: (u8, i32),
    /// Of the ports in a first fragment; `None`: behind the IPv4 header, whose length varies.
    ports: Option<i32>,
}

const FRAGMENT_V4: Fragment = Fragment {
    offset: (code::LOAD_HALF, 6, OFFSET_V4),
    protocol: 9,
    source: 12,
    identification: (code::LOAD_HALF, 4),
    ports: None,
};

const FRAGMENT_V6: Fragment = Fragment {
    offset: (code::LOAD_HALF, 42, OFFSET_V6),
    protocol: 40,
    source: 20,
    identification: (code::LOAD_WORD, 44),
    ports: Some(48),
};

/// Collects the program; jumps to the ends are closed when these are known.
struct Assembler {
    asm: ebpf_array::Assembler,
    seed: Seed,
    /// To where the hash is complete.
    to_end: Vec<usize>,
    /// To where the bucket is known.
    to_lookup: Vec<usize>,
}

impl Assembler {
    const fn new(table: RawFd, seed: Seed) -> Self {
        Self { asm: ebpf_array::Assembler::new(table), seed, to_end: Vec::new(), to_lookup: Vec::new() }
    }

    fn emit(&mut self, instruction: Instruction) -> usize {
        self.asm.emit(instruction)
    }

    /// Lets the jump at `from` lead to the next instruction.
    fn land(&mut self, from: usize) {
        self.asm.land(from);
    }

    /// Mixes R0 into the hash, as [`mix`](super::hash::mix) does. Registers have 64 bits, of which only the lower half
    /// is ever in use.
    fn mix(&mut self) {
        self.emit(op(code::XOR, HASH, R0, 0, 0));
        self.emit(op(code::MULTIPLY_CONSTANT_32, HASH, 0, 0, SPREAD.cast_signed()));
        self.emit(op(code::MOVE, SCRATCH, HASH, 0, 0));
        self.emit(op(code::SHIFT_RIGHT, SCRATCH, 0, 0, STIR as i32));
        self.emit(op(code::XOR, HASH, SCRATCH, 0, 0));
    }

    /// Mixes R0 and WORD into the hash, as [`mix_pair`](super::hash::mix_pair) does.
    fn mix_pair(&mut self) {
        self.emit(op(code::XOR_CONSTANT_32, R0, 0, 0, self.seed.pair.cast_signed()));
        self.emit(op(code::XOR_CONSTANT_32, WORD, 0, 0, self.seed.pair.cast_signed()));
        self.emit(op(code::MULTIPLY_32, R0, WORD, 0, 0));
        self.mix();
    }

    /// As [`mix_addresses`](super::hash::mix_addresses): `words` pairs of words, of which the second lies `apart`
    /// behind the first.
    fn mix_addresses(&mut self, first: i32, words: i32) {
        let apart = 4 * words;
        for at in (first..first + apart).step_by(4) {
            self.emit(load(code::LOAD_WORD, at));
            self.emit(op(code::MOVE, WORD, R0, 0, 0));
            self.emit(load(code::LOAD_WORD, at + apart));
            self.mix_pair();
        }
    }

    /// As [`mix_ports`](super::hash::mix_ports), of the word in R0.
    fn mix_ports(&mut self) {
        self.emit(op(code::MOVE, WORD, R0, 0, 0));
        self.emit(op(code::SHIFT_RIGHT, WORD, 0, 0, 16));
        self.emit(op(code::AND_CONSTANT, R0, 0, 0, 0xffff));
        self.mix_pair();
    }

    /// To the end unless the protocol number in R0 is that of TCP or UDP, which have ports.
    fn end_unless_ports(&mut self) {
        self.emit(op(code::JUMP_IF_EQUAL, R0, 0, 1, libc::IPPROTO_TCP));
        let to_end = self.emit(op(code::JUMP_UNLESS_EQUAL, R0, 0, 0, libc::IPPROTO_UDP));
        self.to_end.push(to_end);
    }

    /// Mixes the ports of an IPv4 packet, which lie behind a header of variable length.
    fn mix_ports_v4(&mut self) {
        self.emit(load(code::LOAD_BYTE, 0));
        self.emit(op(code::AND_CONSTANT, R0, 0, 0, 15));
        self.emit(op(code::SHIFT_LEFT, R0, 0, 0, 2));
        self.emit(op(code::MOVE, SCRATCH, R0, 0, 0));
        self.emit(op(code::LOAD_WORD_AT, 0, SCRATCH, 0, 0));
        self.mix_ports();
    }

    /// Makes the hash a bucket. It is mixed once more, since the lowest bits decide and have seen the least of the last
    /// word, which has the ports.
    fn bucket(&mut self) {
        self.emit(op(code::MOVE_CONSTANT_32, R0, 0, 0, 0));
        self.mix();
        self.emit(op(code::AND_CONSTANT, HASH, 0, 0, BUCKET_MASK.cast_signed()));
    }

    /// Lets SCRATCH point to the entry or note in the table whose number is in `index`: `len` bytes each, a power of
    /// two.
    fn address(&mut self, index: u8, len: usize) {
        self.emit(op(code::SHIFT_LEFT, index, 0, 0, len.ilog2() as i32));
        self.asm.address(SCRATCH, 0);
        self.emit(op(code::ADD, SCRATCH, index, 0, 0));
    }

    /// Lets SCRATCH point to the note of the datagram whose key is in R1.
    fn note_address(&mut self) {
        self.emit(op(code::MOVE, R0, R1, 0, 0));
        self.emit(op(code::AND_CONSTANT, R0, 0, 0, NOTES_COUNT as i32 - 1));
        self.address(R0, size_of::<u32>());
        self.emit(op(code::ADD_CONSTANT, SCRATCH, 0, 0, NOTES as i32));
    }

    /// The bucket of a fragment whose addresses are mixed into the hash.
    fn fragment(&mut self, at: &Fragment) {
        self.emit(load(code::LOAD_BYTE, at.protocol));
        self.end_unless_ports();
        // The datagram's key. `end_unless_ports` left the protocol in R0.
        self.emit(op(code::STORE_FIELD, STACK, HASH, KEPT_HASH, 0));
        self.mix();
        self.emit(load(code::LOAD_WORD, at.source));
        self.mix();
        self.emit(load(at.identification.0, at.identification.1));
        // No more than half a `mix`: so the lowest bits of two keys differ where those of the identification do, and
        // datagrams between two ends that follow each other have notes of their own.
        self.emit(op(code::XOR, HASH, R0, 0, 0));
        self.emit(op(code::MULTIPLY_CONSTANT_32, HASH, 0, 0, SPREAD.cast_signed()));
        self.emit(op(code::STORE_FIELD, STACK, HASH, KEPT_KEY, 0));
        let (width, offset, mask) = at.offset;
        self.emit(load(width, offset));
        self.emit(op(code::AND_CONSTANT, R0, 0, 0, mask.into()));
        let to_later = self.emit(op(code::JUMP_UNLESS_EQUAL, R0, 0, 0, 0));

        // A first fragment goes with its flow, and leaves a note.
        self.emit(op(code::LOAD_FIELD, HASH, STACK, KEPT_HASH, 0));
        match at.ports {
            Some(ports) => {
                self.emit(load(code::LOAD_WORD, ports));
                self.mix_ports();
            }
            None => self.mix_ports_v4(),
        }
        self.bucket();
        self.emit(op(code::LOAD_FIELD, R1, STACK, KEPT_KEY, 0));
        self.note_address();
        self.emit(op(code::AND_CONSTANT, R1, 0, 0, !BUCKET_MASK.cast_signed()));
        self.emit(op(code::OR, R1, HASH, 0, 0));
        self.emit(op(code::STORE_FIELD, SCRATCH, R1, 0, 0));
        let first_done = self.emit(op(code::JUMP, 0, 0, 0, 0));
        self.to_lookup.push(first_done);

        // A later one goes where the note says, if it is that of its datagram.
        self.land(to_later);
        self.emit(op(code::LOAD_FIELD, R1, STACK, KEPT_KEY, 0));
        self.note_address();
        self.emit(op(code::LOAD_FIELD, WORD, SCRATCH, 0, 0));
        self.emit(op(code::LOAD_FIELD, HASH, STACK, KEPT_HASH, 0));
        self.emit(op(code::XOR, R1, WORD, 0, 0));
        self.emit(op(code::SHIFT_RIGHT, R1, 0, 0, BUCKET_MASK.count_ones().cast_signed()));
        let not_its_own = self.emit(op(code::JUMP_UNLESS_EQUAL, R1, 0, 0, 0));
        self.to_end.push(not_its_own);
        self.emit(op(code::MOVE, HASH, WORD, 0, 0));
        self.emit(op(code::AND_CONSTANT, HASH, 0, 0, BUCKET_MASK.cast_signed()));
        let later_done = self.emit(op(code::JUMP, 0, 0, 0, 0));
        self.to_lookup.push(later_done);
    }

    /// Looks the bucket up: counts what the packet costs, and returns its place.
    fn finish(mut self) -> Vec<Instruction> {
        for from in std::mem::take(&mut self.to_end) {
            self.land(from);
        }
        self.bucket();
        for from in std::mem::take(&mut self.to_lookup) {
            self.land(from);
        }
        self.address(HASH, ENTRY_LEN);
        // `len` is the first field of `struct __sk_buff`.
        self.emit(op(code::LOAD_FIELD, R1, CONTEXT, 0, 0));
        self.emit(op(code::ADD_CONSTANT, R1, 0, 0, PACKET_COST as i32));
        self.emit(op(code::ADD_TO_MEMORY, SCRATCH, R1, SENT, 0));
        self.emit(op(code::LOAD_FIELD, R0, SCRATCH, PLACE, 0));
        self.emit(load(code::EXIT, 0));
        self.asm.finish()
    }
}

/// The program, with the descriptor of its table, and what its hash begins with. A TUN packet begins with its IP
/// header.
pub(super) fn program(table: RawFd, seed: Seed) -> Vec<Instruction> {
    let mut asm = Assembler::new(table, seed);
    asm.emit(op(code::MOVE, CONTEXT, R1, 0, 0));
    asm.emit(op(code::MOVE_CONSTANT_32, HASH, 0, 0, seed.hash.cast_signed()));
    asm.emit(load(code::LOAD_BYTE, 0));
    asm.emit(op(code::SHIFT_RIGHT, R0, 0, 0, 4));
    let to_v6 = asm.emit(op(code::JUMP_IF_EQUAL, R0, 0, 0, 6));

    // IPv4: addresses, then the ports.
    asm.mix_addresses(12, 1);
    asm.emit(load(code::LOAD_HALF, 6));
    asm.emit(op(code::AND_CONSTANT, R0, 0, 0, FRAGMENT.into()));
    let to_fragment_v4 = asm.emit(op(code::JUMP_UNLESS_EQUAL, R0, 0, 0, 0));
    asm.emit(load(code::LOAD_BYTE, 9));
    asm.end_unless_ports();
    asm.mix_ports_v4();
    let v4_done = asm.emit(op(code::JUMP, 0, 0, 0, 0));
    asm.to_end.push(v4_done);

    // IPv6: addresses, and ports unless there are extension headers before them, behind which nobody looks: neither the
    // whole datagrams nor the fragments of such a flow use its ports.
    asm.land(to_v6);
    asm.mix_addresses(8, 4);
    asm.emit(load(code::LOAD_BYTE, 6));
    let to_fragment_v6 = asm.emit(op(code::JUMP_IF_EQUAL, R0, 0, 0, FRAGMENT_HEADER.into()));
    asm.end_unless_ports();
    asm.emit(load(code::LOAD_WORD, 40));
    asm.mix_ports();
    let v6_done = asm.emit(op(code::JUMP, 0, 0, 0, 0));
    asm.to_end.push(v6_done);

    asm.land(to_fragment_v4);
    asm.fragment(&FRAGMENT_V4);
    asm.land(to_fragment_v6);
    asm.fragment(&FRAGMENT_V6);
    asm.finish()
}
