//! The eBPF program. It names what is wrong as `classify` and `Gate::admit` of the protocol do, in the same order.
//!
//! The packet begins with the UDP header. A load past its end would end the program, and drop: lengths are looked at
//! first. The result is how much of the packet is kept, so [`PASS`] keeps all.
//!
//! Functions of the kernel, and since when socket filters may call them: `skb_load_bytes` and `skb_load_bytes_relative`
//! 4.18, `ktime_get_boot_ns` 5.8, `ktime_get_coarse_ns` 5.11. Without mac1 the program has no loop, no two ways to one
//! calculated address, and no place on the stack that is calculated: `CAP_BPF` is enough for it.

use std::os::fd::RawFd;

use ebpf_array::{Assembler, Instruction, Register, code, op};

use super::shared::{Check, INDICES, place};
use super::{Junk, TopByte};

/// A window, as a power of two of nanoseconds: 67 ms.
const WINDOW_SHIFT: i32 = 26;

/// The result that keeps a packet of any length.
const PASS: i32 = -1;

/// Of `struct __sk_buff`: what we read of it here.
const LEN: i16 = 0;
/// Of each datagram in a train; 0 if there is one datagram.
const GSO_SIZE: i16 = 176;

/// Functions of the kernel. The clock is `CLOCK_MONOTONIC`, as of the last tick: only differences matter.
const GET_SMP_PROCESSOR_ID: i32 = 8;
const KTIME_GET_COARSE_NS: i32 = 160;

/// Registers: results, arguments, and those that calls preserve.
pub(super) const R0: Register = 0;
pub(super) const R1: Register = 1;
pub(super) const R2: Register = 2;
pub(super) const R3: Register = 3;
pub(super) const R4: Register = 4;
pub(super) const R5: Register = 5;
pub(super) const CONTEXT: Register = 6;
/// The length of the datagram, then the time.
const LENGTH: Register = 7;
pub(super) const NOW: Register = 7;
/// The type of the message, then the place of its source.
pub(super) const KIND: Register = 8;
/// The reserved bytes, then the window.
const RESERVED: Register = 9;
pub(super) const WINDOW: Register = 9;

/// The program's stack: where what is kept there begins, from its end.
pub(super) mod stack {
    use super::Register;

    /// The register that has its end.
    pub const END: Register = 10;
    pub const MESSAGE: i16 = -128;
    pub const STATE: i16 = MESSAGE - 64;
    pub const HASH: i16 = STATE - 32;
    pub const MAC: i16 = HASH - 16;
    pub const ADDRESS: i16 = MAC - 8;
    pub const ACTIVE_KEY: i16 = ADDRESS - 8;
}

pub(super) const UDP_HEADER_LEN: i32 = 8;

/// How messages look (WireGuard paper, section 5.4). Lengths in bytes, and where the receiver's index lies.
const INITIATION_LEN: i32 = 148;
const RESPONSE_LEN: i32 = 92;
const COOKIE_REPLY_LEN: i32 = 64;
const DATA_LEN_MIN: i32 = 32;
const INDEX_IN_RESPONSE: i32 = 8;
pub(super) const INDEX_IN_OTHERS: i32 = 4;
/// Of a word that was loaded, its last byte in the packet: the top one of an index.
const TOP_BYTE_BITS: i32 = 8;
/// Of mac1 and mac2, at the end of a message with macs.
pub(super) const MAC_LEN: i32 = 16;

/// The maps.
#[derive(Clone, Copy)]
pub(super) struct Maps {
    /// `Shared`.
    pub shared: RawFd,
    /// All lanes, one worker's after the other's.
    pub lanes: RawFd,
    /// How many each worker has: a power of two.
    pub lane_count: usize,
}

/// What programs differ in.
pub(super) struct Parameters<'a> {
    /// Who counts.
    pub worker: usize,
    /// The reserved bytes that an initiation may have.
    pub markers: &'a [[u8; 3]],
    /// Which indices are ours.
    pub ours: TopByte,
    /// Of the places of sources.
    pub seeds: [u32; 2],
    /// How many pass in a window and lane: a share of [`PASSED`](super::PASSED).
    pub passed: u32,
    /// Whether mac1 is looked at, and mac2 under load.
    pub has_mac1: bool,
}

/// Collects the program. Jumps to its ends are closed when these are known.
pub(super) struct Filter<'a> {
    pub(super) asm: Assembler,
    pub(super) parameters: &'a Parameters<'a>,
    maps: Maps,
    pub(super) to_pass: Vec<usize>,
    /// Within the allowance of their check they pass.
    to_junk: Vec<(Junk, usize)>,
    /// And these never.
    to_drop: Vec<(Junk, usize)>,
}

/// The program.
pub(super) fn program(maps: Maps, parameters: &Parameters<'_>) -> Vec<Instruction> {
    let mut filter = Filter {
        asm: Assembler::new(maps.shared),
        parameters,
        maps,
        to_pass: Vec::new(),
        to_junk: Vec::new(),
        to_drop: Vec::new(),
    };
    filter.classify();
    filter.finish()
}

impl Filter<'_> {
    pub(super) fn emit(&mut self, code: u8, to: Register, from: Register, offset: i16, constant: i32) -> usize {
        self.asm.emit(op(code, to, from, offset, constant))
    }

    pub(super) fn call(&mut self, function: i32) {
        self.emit(code::CALL, 0, 0, 0, function);
    }

    pub(super) fn pass(&mut self) {
        let jump = self.emit(code::JUMP, 0, 0, 0, 0);
        self.to_pass.push(jump);
    }

    pub(super) fn pass_if(&mut self, condition: u8, register: Register, constant: i32) {
        let jump = self.emit(condition, register, 0, 0, constant);
        self.to_pass.push(jump);
    }

    pub(super) fn junk(&mut self, why: Junk) {
        self.junk_if(code::JUMP, 0, 0, why);
    }

    pub(super) fn junk_if(&mut self, condition: u8, register: Register, constant: i32, why: Junk) {
        let jump = self.emit(condition, register, 0, 0, constant);
        self.to_junk.push((why, jump));
    }

    pub(super) fn drop_always(&mut self, why: Junk) {
        let jump = self.emit(code::JUMP, 0, 0, 0, 0);
        self.to_drop.push((why, jump));
    }

    /// What kind of message it is, and whether it looks like one.
    fn classify(&mut self) {
        self.emit(code::MOVE, CONTEXT, R1, 0, 0);
        self.emit(code::LOAD_FIELD, R0, CONTEXT, GSO_SIZE, 0);
        self.pass_if(code::JUMP_UNLESS_EQUAL, R0, 0);
        self.emit(code::LOAD_FIELD, LENGTH, CONTEXT, LEN, 0);
        self.emit(code::ADD_CONSTANT, LENGTH, 0, 0, -UDP_HEADER_LEN);
        self.junk_if(code::JUMP_IF_BELOW, LENGTH, 4, Junk::Runt);
        self.emit(code::LOAD_WORD, 0, 0, 0, UDP_HEADER_LEN);
        self.emit(code::MOVE, RESERVED, R0, 0, 0);
        self.emit(code::AND_CONSTANT, RESERVED, 0, 0, 0x00ff_ffff);
        self.emit(code::MOVE, KIND, R0, 0, 0);
        self.emit(code::SHIFT_RIGHT, KIND, 0, 0, 24);
        // The most frequent first.
        let of_type = |filter: &mut Self, kind| filter.emit(code::JUMP_IF_EQUAL, KIND, 0, 0, kind);
        let [data, initiation, response, cookie] = [4, 1, 2, 3].map(|kind| of_type(self, kind));
        self.junk(Junk::UnknownType);

        self.asm.land(data);
        self.junk_if(code::JUMP_UNLESS_EQUAL, RESERVED, 0, Junk::BadReserved);
        self.junk_if(code::JUMP_IF_BELOW, LENGTH, DATA_LEN_MIN, Junk::BadLength);
        self.pass_if_known(INDEX_IN_OTHERS);
        self.unless_recovered();

        self.asm.land(initiation);
        let markers = self.parameters.markers.iter().map(|&[a, b, c]| u32::from_be_bytes([0, a, b, c]));
        let marked: Vec<_> =
            markers.map(|marker| self.emit(code::JUMP_IF_EQUAL, RESERVED, 0, 0, marker.cast_signed())).collect();
        self.junk(Junk::BadReserved);
        marked.into_iter().for_each(|from| self.asm.land(from));
        self.junk_if(code::JUMP_UNLESS_EQUAL, LENGTH, INITIATION_LEN, Junk::BadLength);
        if self.parameters.has_mac1 {
            let beyond_budget = self.drop_before_mac1(INITIATION_LEN - 2 * MAC_LEN);
            self.mac1(INITIATION_LEN - 2 * MAC_LEN, Some(beyond_budget));
            self.under_load(INITIATION_LEN - 2 * MAC_LEN);
        } else {
            self.pass();
        }

        self.asm.land(cookie);
        self.junk_if(code::JUMP_UNLESS_EQUAL, RESERVED, 0, Junk::BadReserved);
        self.junk_if(code::JUMP_UNLESS_EQUAL, LENGTH, COOKIE_REPLY_LEN, Junk::BadLength);
        self.pass_if_known(INDEX_IN_OTHERS);
        self.junk_of_index(INDEX_IN_OTHERS);

        self.asm.land(response);
        self.junk_if(code::JUMP_UNLESS_EQUAL, RESERVED, 0, Junk::BadReserved);
        self.junk_if(code::JUMP_UNLESS_EQUAL, LENGTH, RESPONSE_LEN, Junk::BadLength);
        self.count_of_index(INDEX_IN_RESPONSE);
        let known = self.emit(code::JUMP_UNLESS_EQUAL, R1, 0, 0, 0);
        self.junk_of_index(INDEX_IN_RESPONSE);
        self.asm.land(known);
        if self.parameters.has_mac1 {
            self.mac1(RESPONSE_LEN - 2 * MAC_LEN, None);
        }
        self.pass();
    }

    /// Loads how many may have the index that lies at `offset` of the message.
    fn count_of_index(&mut self, offset: i32) {
        self.emit(code::LOAD_WORD, 0, 0, 0, UDP_HEADER_LEN + offset);
        self.emit(code::SHIFT_RIGHT, R0, 0, 0, TOP_BYTE_BITS);
        self.emit(code::AND_CONSTANT, R0, 0, 0, INDICES as i32 - 1);
        self.asm.address(R1, place::INDICES);
        self.emit(code::ADD, R1, R0, 0, 0);
        self.emit(code::LOAD_FIELD_8, R1, R1, 0, 0);
    }

    fn pass_if_known(&mut self, offset: i32) {
        self.count_of_index(offset);
        self.pass_if(code::JUMP_UNLESS_EQUAL, R1, 0);
    }

    /// Nobody has the index that lies at `offset` of the message: it is junk of ours, or of another gateway.
    pub(super) fn junk_of_index(&mut self, offset: i32) {
        let TopByte { mask, value } = self.parameters.ours;
        if mask != 0 {
            self.emit(code::LOAD_WORD, 0, 0, 0, UDP_HEADER_LEN + offset);
            self.emit(code::AND_CONSTANT, R0, 0, 0, mask.into());
            self.junk_if(code::JUMP_UNLESS_EQUAL, R0, value.into(), Junk::OtherNode);
        }
        self.junk(Junk::UnknownIndex);
    }

    /// Lets R1 point to what this CPU counts for this worker.
    fn lane(&mut self) {
        self.call(GET_SMP_PROCESSOR_ID);
        self.emit(code::AND_CONSTANT, R0, 0, 0, self.maps.lane_count as i32 - 1);
        self.emit(code::SHIFT_LEFT, R0, 0, 0, place::LANE_SHIFT);
        let first = place::lanes(self.parameters.worker, self.maps.lane_count);
        self.asm.address_in(self.maps.lanes, R1, first);
        self.emit(code::ADD, R1, R0, 0, 0);
    }

    /// Passes as long as few have. R1 points to the lane if not. Where CPUs share a lane, one more may pass: nothing is
    /// lost by that.
    pub(super) fn pass_a_few(&mut self, check: Check) {
        self.call(KTIME_GET_COARSE_NS);
        self.emit(code::SHIFT_RIGHT, R0, 0, 0, WINDOW_SHIFT);
        self.emit(code::MOVE_32, WINDOW, R0, 0, 0);
        self.lane();
        let (window, passed) = (place::allowance(check), place::allowance(check) + place::PASSED);
        self.emit(code::LOAD_FIELD, R2, R1, window, 0);
        let same = self.emit(code::JUMP_IF_SAME, R2, WINDOW, 0, 0);
        self.emit(code::STORE_FIELD, R1, WINDOW, window, 0);
        self.emit(code::STORE_CONSTANT, R1, 0, passed, 0);
        self.asm.land(same);
        self.emit(code::LOAD_FIELD, R2, R1, passed, 0);
        let exhausted = self.emit(code::JUMP_UNLESS_BELOW, R2, 0, 0, self.parameters.passed.cast_signed());
        self.emit(code::ADD_CONSTANT, R2, 0, 0, 1);
        self.emit(code::STORE_FIELD, R1, R2, passed, 0);
        self.pass();
        self.asm.land(exhausted);
    }

    /// The ends. Each reason has its own: without `CAP_PERFMON` an address must not depend on the way to it.
    fn finish(mut self) -> Vec<Instruction> {
        let (to_junk, to_drop) = (std::mem::take(&mut self.to_junk), std::mem::take(&mut self.to_drop));
        for why in Junk::ALL {
            if self.land_all(&to_junk, why) {
                let check =
                    if matches!(why, Junk::UnknownIndex | Junk::OtherNode) { Check::Index } else { Check::Form };
                self.pass_a_few(check);
                self.count_and_drop(why);
            }
            if self.land_all(&to_drop, why) {
                self.lane();
                self.count_and_drop(why);
            }
        }
        for from in std::mem::take(&mut self.to_pass) {
            self.asm.land(from);
        }
        self.emit(code::MOVE_CONSTANT_32, R0, 0, 0, PASS);
        self.emit(code::EXIT, 0, 0, 0, 0);
        self.asm.finish()
    }

    /// Lets those with this reason lead here; false if there are none.
    fn land_all(&mut self, jumps: &[(Junk, usize)], why: Junk) -> bool {
        let mut here = jumps.iter().filter(|(other, _)| *other == why).peekable();
        let any = here.peek().is_some();
        here.for_each(|&(_, from)| self.asm.land(from));
        any
    }

    /// R1 points to the lane.
    fn count_and_drop(&mut self, why: Junk) {
        self.emit(code::MOVE_CONSTANT, R2, 0, 0, 1);
        self.emit(code::ADD_TO_MEMORY, R1, R2, place::count(why), 0);
        self.emit(code::MOVE_CONSTANT, R0, 0, 0, 0);
        self.emit(code::EXIT, 0, 0, 0, 0);
    }
}
