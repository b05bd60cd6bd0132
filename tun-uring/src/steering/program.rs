//! The eBPF program itself, and the hash of a flow that it shares with [`Bucket::of`].

use super::table::{Bucket, ENTRY_LEN, PACKET_COST, PLACE, SENT};
use std::os::fd::RawFd;

/// An odd constant without a pattern (2^64 divided by the golden ratio): a multiplication with it spreads each bit upwards.
const SPREAD: u32 = 0x9e37_79b1;
const STIR: u32 = 15;

/// Any fragment of an IPv4 datagram: more to come, or an offset.
const FRAGMENT: u16 = 0x3fff;

/// One instruction, as `struct bpf_insn` has it: code, destination and source register, jump offset, constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Instruction {
    pub(super) code: u8,
    /// Destination in the lower half, source in the upper.
    pub(super) registers: u8,
    pub(super) offset: i16,
    pub(super) constant: i32,
}

/// Registers: what loads return, one that they do not preserve, the packet as loads want it, and ours, which they preserve.
const R0: u8 = 0;
const R1: u8 = 1;
const CONTEXT: u8 = 6;
const HASH: u8 = 7;
const SCRATCH: u8 = 8;
const WORD: u8 = 9;

/// In the place of a source register: the constant is a map's descriptor, and what is loaded the address of its value.
const PSEUDO_MAP_VALUE: u8 = 2;

pub(super) mod code {
    pub(in super::super) const LOAD_BYTE: u8 = 0x30;
    pub(in super::super) const LOAD_HALF: u8 = 0x28;
    pub(in super::super) const LOAD_WORD: u8 = 0x20;
    pub(in super::super) const LOAD_WORD_AT: u8 = 0x40;
    /// The first half of an instruction of twice the length.
    pub(in super::super) const LOAD_ADDRESS: u8 = 0x18;
    pub(in super::super) const LOAD_FIELD: u8 = 0x61;
    pub(in super::super) const ADD_TO_MEMORY: u8 = 0xdb;
    pub(in super::super) const MOVE: u8 = 0xbf;
    pub(in super::super) const MOVE_CONSTANT: u8 = 0xb7;
    pub(in super::super) const ADD: u8 = 0x0f;
    pub(in super::super) const ADD_CONSTANT: u8 = 0x07;
    pub(in super::super) const ADD_32: u8 = 0x0c;
    pub(in super::super) const XOR: u8 = 0xaf;
    pub(in super::super) const AND_CONSTANT: u8 = 0x57;
    pub(in super::super) const SHIFT_LEFT: u8 = 0x67;
    pub(in super::super) const SHIFT_RIGHT: u8 = 0x77;
    pub(in super::super) const MULTIPLY_32: u8 = 0x2c;
    pub(in super::super) const MULTIPLY_CONSTANT_32: u8 = 0x24;
    pub(in super::super) const JUMP: u8 = 0x05;
    pub(in super::super) const JUMP_IF_EQUAL: u8 = 0x15;
    pub(in super::super) const JUMP_UNLESS_EQUAL: u8 = 0x55;
    pub(in super::super) const EXIT: u8 = 0x95;
}

const fn op(code: u8, to: u8, from: u8, offset: i16, constant: i32) -> Instruction {
    Instruction { code, registers: from << 4 | to, offset, constant }
}

const fn load(code: u8, at: i32) -> Instruction {
    op(code, 0, 0, 0, at)
}

/// Collects the program; jumps to the end are closed when the end is known.
#[derive(Default)]
struct Assembler {
    program: Vec<Instruction>,
    to_end: Vec<usize>,
}

impl Assembler {
    fn emit(&mut self, instruction: Instruction) -> usize {
        self.program.push(instruction);
        self.program.len() - 1
    }

    /// Mixes R0 into the hash, as [`mix`] does. Registers have 64 bits, of which only the lower half is ever in use.
    fn mix(&mut self) {
        self.emit(op(code::XOR, HASH, R0, 0, 0));
        self.emit(op(code::MULTIPLY_CONSTANT_32, HASH, 0, 0, SPREAD.cast_signed()));
        self.emit(op(code::MOVE, SCRATCH, HASH, 0, 0));
        self.emit(op(code::SHIFT_RIGHT, SCRATCH, 0, 0, STIR as i32));
        self.emit(op(code::XOR, HASH, SCRATCH, 0, 0));
    }

    /// As [`mix_addresses`]: `words` pairs of words, of which the second lies `apart` behind the first.
    fn mix_addresses(&mut self, first: i32, words: i32) {
        let apart = 4 * words;
        for at in (first..first + apart).step_by(4) {
            self.emit(load(code::LOAD_WORD, at));
            self.emit(op(code::MOVE, WORD, R0, 0, 0));
            self.emit(load(code::LOAD_WORD, at + apart));
            self.emit(op(code::XOR, R0, WORD, 0, 0));
            self.mix();
        }
        // Both words of the last pair are in reach still: one is R0 ^ WORD, since `mix` leaves R0 alone.
        self.emit(op(code::XOR, R0, WORD, 0, 0));
        self.emit(op(code::ADD_32, R0, WORD, 0, 0));
        self.mix();
    }

    /// As [`mix_ports`], of the word in R0.
    fn mix_ports(&mut self) {
        self.emit(op(code::MOVE, WORD, R0, 0, 0));
        self.emit(op(code::SHIFT_RIGHT, WORD, 0, 0, 16));
        self.emit(op(code::AND_CONSTANT, R0, 0, 0, 0xffff));
        self.emit(op(code::MULTIPLY_32, R0, WORD, 0, 0));
        self.mix();
    }

    /// To the end unless the protocol number in R0 is that of TCP or UDP, which have ports.
    fn end_unless_ports(&mut self) {
        self.emit(op(code::JUMP_IF_EQUAL, R0, 0, 1, libc::IPPROTO_TCP));
        let to_end = self.emit(op(code::JUMP_UNLESS_EQUAL, R0, 0, 0, libc::IPPROTO_UDP));
        self.to_end.push(to_end);
    }

    /// Lets the jump at `from` lead to the next instruction.
    fn land(&mut self, from: usize) {
        let distance = self.program.len() - from - 1;
        self.program[from].offset = i16::try_from(distance).expect("the program is short");
    }

    /// Looks the bucket up: counts what the packet costs, and returns its place.
    fn finish(mut self, table: RawFd) -> Vec<Instruction> {
        for from in std::mem::take(&mut self.to_end) {
            self.land(from);
        }
        // Once more, since the lowest bits decide and have seen the least of the last word, which has the ports.
        self.emit(op(code::MOVE_CONSTANT, R0, 0, 0, 0));
        self.mix();
        self.emit(op(code::AND_CONSTANT, HASH, 0, 0, Bucket::COUNT as i32 - 1));
        self.emit(op(code::SHIFT_LEFT, HASH, 0, 0, ENTRY_LEN.ilog2() as i32));
        self.emit(op(code::LOAD_ADDRESS, SCRATCH, PSEUDO_MAP_VALUE, 0, table));
        self.emit(op(0, 0, 0, 0, 0));
        self.emit(op(code::ADD, SCRATCH, HASH, 0, 0));
        // `len` is the first field of `struct __sk_buff`.
        self.emit(op(code::LOAD_FIELD, R1, CONTEXT, 0, 0));
        self.emit(op(code::ADD_CONSTANT, R1, 0, 0, PACKET_COST as i32));
        self.emit(op(code::ADD_TO_MEMORY, SCRATCH, R1, SENT, 0));
        self.emit(op(code::LOAD_FIELD, R0, SCRATCH, PLACE, 0));
        self.emit(load(code::EXIT, 0));
        self.program
    }
}

/// The program, with the descriptor of its table. A TUN packet begins with its IP header.
pub(super) fn program(table: RawFd) -> Vec<Instruction> {
    let mut asm = Assembler::default();
    asm.emit(op(code::MOVE, CONTEXT, R1, 0, 0));
    asm.emit(op(code::MOVE_CONSTANT, HASH, 0, 0, 0));
    asm.emit(load(code::LOAD_BYTE, 0));
    asm.emit(op(code::SHIFT_RIGHT, R0, 0, 0, 4));
    let to_v6 = asm.emit(op(code::JUMP_IF_EQUAL, R0, 0, 0, 6));

    // IPv4: addresses; then, unless it is a fragment, the ports behind a header of variable length.
    asm.mix_addresses(12, 1);
    asm.emit(load(code::LOAD_HALF, 6));
    asm.emit(op(code::AND_CONSTANT, R0, 0, 0, FRAGMENT.into()));
    let fragment = asm.emit(op(code::JUMP_UNLESS_EQUAL, R0, 0, 0, 0));
    asm.to_end.push(fragment);
    asm.emit(load(code::LOAD_BYTE, 9));
    asm.end_unless_ports();
    asm.emit(load(code::LOAD_BYTE, 0));
    asm.emit(op(code::AND_CONSTANT, R0, 0, 0, 15));
    asm.emit(op(code::SHIFT_LEFT, R0, 0, 0, 2));
    asm.emit(op(code::MOVE, SCRATCH, R0, 0, 0));
    asm.emit(op(code::LOAD_WORD_AT, 0, SCRATCH, 0, 0));
    asm.mix_ports();
    let v4_done = asm.emit(op(code::JUMP, 0, 0, 0, 0));
    asm.to_end.push(v4_done);

    // IPv6: addresses, and ports unless there are extension headers before them.
    asm.land(to_v6);
    asm.mix_addresses(8, 4);
    asm.emit(load(code::LOAD_BYTE, 6));
    asm.end_unless_ports();
    asm.emit(load(code::LOAD_WORD, 40));
    asm.mix_ports();
    asm.finish(table)
}

/// `hash = (hash ^ word) * SPREAD`, then the upper bits down, where the next multiplication takes them up again.
const fn mix(hash: u32, word: u32) -> u32 {
    let product = (hash ^ word).wrapping_mul(SPREAD);
    product ^ product >> STIR
}

/// The same for both directions of a flow.
fn mix_addresses<const WORDS: usize>(mut hash: u32, from: &[[u8; 4]; WORDS], to: &[[u8; 4]; WORDS]) -> u32 {
    let words = from.iter().zip(to).map(|(a, b)| (u32::from_be_bytes(*a), u32::from_be_bytes(*b)));
    let mut sum = 0;
    for (a, b) in words {
        hash = mix(hash, a ^ b);
        sum = a.wrapping_add(b);
    }
    mix(hash, sum)
}

/// A product is the same for both directions too, and one to one where one of the ports is fixed.
fn mix_ports(hash: u32, ports: [u8; 4]) -> u32 {
    let [a, b, c, d] = ports;
    mix(hash, u32::from(u16::from_be_bytes([a, b])) * u32::from(u16::from_be_bytes([c, d])))
}

/// What [`program`] makes of a packet, and of the packets in the other direction of its flow; `None` where a load ends it.
pub(super) fn bucket(packet: &[u8]) -> Option<u32> {
    let hash = if packet.first()? >> 4 == 6 {
        let addresses = packet.get(8..40)?.as_chunks::<4>().0;
        let (from, to) = (addresses.first_chunk::<4>()?, addresses.last_chunk::<4>()?);
        let hash = mix_addresses(0, from, to);
        if has_ports(packet[6]) { mix_ports(hash, *packet.get(40..)?.first_chunk()?) } else { hash }
    } else {
        let (from, to) = (*packet.get(12..)?.first_chunk()?, *packet.get(16..)?.first_chunk()?);
        let hash = mix_addresses(0, &[from], &[to]);
        let is_fragment = u16::from_be_bytes([packet[6], packet[7]]) & FRAGMENT != 0;
        if is_fragment || !has_ports(packet[9]) {
            hash
        } else {
            let header_len = usize::from(packet[0] & 15) * 4;
            mix_ports(hash, *packet.get(header_len..)?.first_chunk()?)
        }
    };
    Some(mix(hash, 0) & (Bucket::COUNT as u32 - 1))
}

fn has_ports(protocol: u8) -> bool {
    matches!(i32::from(protocol), libc::IPPROTO_TCP | libc::IPPROTO_UDP)
}
