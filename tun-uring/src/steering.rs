//! Which queue of a TUN device a packet leaves the kernel by: an eBPF program in place of the driver's own choice.
//!
//! Left to itself, the driver remembers by which queue the program *wrote* the packets of a flow, and gives it the
//! answers there (`tun_flow_update` in `drivers/net/tun.c`). That is right for a program that serves a flow on one core.
//! Here a session is received on one core, which therefore writes all flows of a peer, and every packet to that peer would
//! come to that core alone. The program spreads flows over the queues by a hash of their addresses and ports instead; a
//! flow stays where it is. Fragments have no ports, and are spread by their addresses.
//!
//! The kernel takes the result modulo the number of queues (`tun_ebpf_select_queue`). A load past the end of a packet ends
//! the program with the result 0, which is a queue as good as any other.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `TUNSETSTEERINGEBPF` of `linux/if_tun.h`: `_IOR('T', 224, int)`.
const TUNSETSTEERINGEBPF: libc::c_ulong = 0x8004_54e0;
/// `BPF_PROG_LOAD` and `BPF_PROG_TYPE_SOCKET_FILTER` of `linux/bpf.h`.
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_TYPE_SOCKET_FILTER: u32 = 1;

/// An odd constant without a pattern (2^64 divided by the golden ratio): a multiplication with it spreads each bit upwards.
const SPREAD: i32 = 0x9e37_79b1_u32 as i32;

/// One instruction, as `struct bpf_insn` has it: code, destination and source register, jump offset, constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
struct Instruction {
    code: u8,
    /// Destination in the lower half, source in the upper.
    registers: u8,
    offset: i16,
    constant: i32,
}

/// The part of `union bpf_attr` that loading a program takes; the kernel reads what follows as zeros.
#[repr(C)]
struct LoadAttributes {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
}

/// Registers: what loads return, the packet as loads want it, and ours, which loads preserve.
const R0: u8 = 0;
const CONTEXT: u8 = 6;
const HASH: u8 = 7;
const SCRATCH: u8 = 8;

mod code {
    pub(super) const LOAD_BYTE: u8 = 0x30;
    pub(super) const LOAD_HALF: u8 = 0x28;
    pub(super) const LOAD_WORD: u8 = 0x20;
    pub(super) const LOAD_WORD_AT: u8 = 0x40;
    pub(super) const MOVE: u8 = 0xbf;
    pub(super) const MOVE_CONSTANT: u8 = 0xb7;
    pub(super) const XOR: u8 = 0xaf;
    pub(super) const AND_CONSTANT: u8 = 0x57;
    pub(super) const SHIFT_LEFT: u8 = 0x67;
    pub(super) const SHIFT_RIGHT: u8 = 0x77;
    pub(super) const MULTIPLY_32: u8 = 0x24;
    pub(super) const JUMP: u8 = 0x05;
    pub(super) const JUMP_IF_EQUAL: u8 = 0x15;
    pub(super) const JUMP_UNLESS_EQUAL: u8 = 0x55;
    pub(super) const EXIT: u8 = 0x95;
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

    /// Mixes what the last load returned into the hash: `hash = (hash ^ word) * SPREAD`, in 32 bits, then the upper bits
    /// down, where the next multiplication takes them up again.
    fn mix(&mut self) {
        self.emit(op(code::XOR, HASH, R0, 0, 0));
        self.stir();
    }

    fn stir(&mut self) {
        self.emit(op(code::MULTIPLY_32, HASH, 0, 0, SPREAD));
        self.emit(op(code::MOVE, SCRATCH, HASH, 0, 0));
        self.emit(op(code::SHIFT_RIGHT, SCRATCH, 0, 0, 15));
        self.emit(op(code::XOR, HASH, SCRATCH, 0, 0));
    }

    fn mix_words(&mut self, offsets: impl IntoIterator<Item = i32>) {
        for at in offsets {
            self.emit(load(code::LOAD_WORD, at));
            self.mix();
        }
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

    fn finish(mut self) -> Vec<Instruction> {
        for from in std::mem::take(&mut self.to_end) {
            self.land(from);
        }
        // Once more, since the lowest bits decide and have seen the least of the last word, which has the ports.
        self.stir();
        self.emit(op(code::MOVE, R0, HASH, 0, 0));
        self.emit(load(code::EXIT, 0));
        self.program
    }
}

/// The program. A TUN packet begins with its IP header.
fn program() -> Vec<Instruction> {
    let mut asm = Assembler::default();
    asm.emit(op(code::MOVE, CONTEXT, 1, 0, 0));
    asm.emit(op(code::MOVE_CONSTANT, HASH, 0, 0, 0));
    asm.emit(load(code::LOAD_BYTE, 0));
    asm.emit(op(code::SHIFT_RIGHT, R0, 0, 0, 4));
    let to_v6 = asm.emit(op(code::JUMP_IF_EQUAL, R0, 0, 0, 6));

    // IPv4: addresses; then, unless it is a fragment, the ports behind a header of variable length.
    asm.mix_words([12, 16]);
    asm.emit(load(code::LOAD_HALF, 6));
    asm.emit(op(code::AND_CONSTANT, R0, 0, 0, 0x3fff));
    let fragment = asm.emit(op(code::JUMP_UNLESS_EQUAL, R0, 0, 0, 0));
    asm.to_end.push(fragment);
    asm.emit(load(code::LOAD_BYTE, 9));
    asm.end_unless_ports();
    asm.emit(load(code::LOAD_BYTE, 0));
    asm.emit(op(code::AND_CONSTANT, R0, 0, 0, 15));
    asm.emit(op(code::SHIFT_LEFT, R0, 0, 0, 2));
    asm.emit(op(code::MOVE, SCRATCH, R0, 0, 0));
    asm.emit(op(code::LOAD_WORD_AT, 0, SCRATCH, 0, 0));
    asm.mix();
    let v4_done = asm.emit(op(code::JUMP, 0, 0, 0, 0));
    asm.to_end.push(v4_done);

    // IPv6: addresses, and ports unless there are extension headers before them.
    asm.land(to_v6);
    asm.mix_words((8..40).step_by(4));
    asm.emit(load(code::LOAD_BYTE, 6));
    asm.end_unless_ports();
    asm.mix_words([40]);
    asm.finish()
}

/// Attaches the program to the device behind `queue`.
///
/// # Errors
/// The system's: `EPERM` where `bpf(2)` is not allowed. The driver then goes on choosing by itself.
pub(crate) fn attach(queue: &impl AsRawFd) -> io::Result<()> {
    let program = load_program(&program())?;
    let fd = program.as_raw_fd();
    // SAFETY: the argument points to an int that lives until the call returns; the kernel keeps the program by itself.
    let result = unsafe { libc::ioctl(queue.as_raw_fd(), TUNSETSTEERINGEBPF, &raw const fd) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn load_program(instructions: &[Instruction]) -> io::Result<OwnedFd> {
    let attributes = LoadAttributes {
        program_type: BPF_PROG_TYPE_SOCKET_FILTER,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        // No helper is called, so that any licence will do.
        license: c"Dual MIT/GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buffer: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: the attributes, and the instructions and the string that they point to, live until the call returns.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const attributes, size_of::<LoadAttributes>()) };
    let Ok(fd @ 0..) = i32::try_from(fd) else { return Err(io::Error::last_os_error()) };
    // SAFETY: the kernel has just made the descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
#[path = "steering_tests.rs"]
mod tests;
