//! The reuseport program: which socket of a reuseport group a datagram is for.
//!
//! A receiver index names its worker: `(index & 0xff) % workers`, and it lies little-endian in the datagram, so its
//! low byte is its first. The program is classic BPF, attached with `SO_ATTACH_REUSEPORT_CBPF` (`socket(7)`), and
//! answers with the position of the socket in the group, which is the order of binding. Some traps:
//!
//! * Offset 0 is the UDP payload. `ld` (a word) would be big-endian: bytes are loaded instead.
//! * A load past the end ends the program with the result 0, so short junk would all meet worker 0. The length
//!   is looked at first.
//! * A result that is out of range lets the hash of addresses and ports decide. It serves for everything that
//!   carries no receiver index of ours: initiations, junk.
//! * Merged datagrams (GRO) are judged by their first. That is right for one remote's run of one session. Who means ill
//!   can mix indices of several workers, so whoever takes a train apart hands over only what somebody may have.

use std::os::fd::AsFd;

use nix::sys::socket::{setsockopt, sockopt};

use crate::error::BindError;

/// A result that no group can hold.
const LET_THE_HASH_DECIDE: u32 = u32::MAX;

/// Shortest datagram that can carry a receiver index at offset 8 (a handshake response): below, the hash decides.
const LEN_MIN: u32 = 12;

/// Message types with the receiver's index, and where it lies (section 5.4 of the WireGuard paper).
const RESPONSE: u32 = 2;
const COOKIE_REPLY: u32 = 3;
const DATA: u32 = 4;
const INDEX_IN_RESPONSE: u32 = 8;
const INDEX_IN_OTHERS: u32 = 4;

const INSTRUCTIONS: usize = 12;

/// The program for a group of `workers` sockets.
#[must_use]
pub fn reuseport_program(workers: u8) -> [libc::sock_filter; INSTRUCTIONS] {
    // A jump skips that many of the instructions that follow it.
    [
        stmt(libc::BPF_LD | libc::BPF_W | libc::BPF_LEN, 0),
        jump(libc::BPF_JGE, LEN_MIN, 0, 9),
        load_byte(0),
        jump(libc::BPF_JEQ, RESPONSE, 4, 0),
        jump(libc::BPF_JEQ, COOKIE_REPLY, 1, 0),
        jump(libc::BPF_JEQ, DATA, 0, 5),
        load_byte(INDEX_IN_OTHERS),
        stmt(libc::BPF_JMP | libc::BPF_JA, 1),
        load_byte(INDEX_IN_RESPONSE),
        stmt(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, u32::from(workers.max(1))),
        stmt(libc::BPF_RET | BPF_A, 0),
        stmt(libc::BPF_RET | libc::BPF_K, LET_THE_HASH_DECIDE),
    ]
}

/// Attaches the program to the group that `member` is in. All members must be bound.
///
/// # Errors
/// [`BindError::Option`] with the system's error.
pub fn attach(member: &impl AsFd, workers: u8) -> Result<(), BindError> {
    let mut program = reuseport_program(workers);
    let program = libc::sock_fprog { len: INSTRUCTIONS as u16, filter: program.as_mut_ptr() };
    setsockopt(member, sockopt::AttachReusePortCbpf, &program)
        .map_err(|errno| BindError::Option { option: "SO_ATTACH_REUSEPORT_CBPF", errno })
}

/// Return what the accumulator holds (`BPF_A` of `<linux/filter.h>`).
const BPF_A: u32 = 0x10;

const fn stmt(code: u32, k: u32) -> libc::sock_filter {
    instruction(code, k, 0, 0)
}

const fn load_byte(offset: u32) -> libc::sock_filter {
    stmt(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, offset)
}

const fn jump(condition: u32, k: u32, if_true: u8, if_false: u8) -> libc::sock_filter {
    instruction(libc::BPF_JMP | condition | libc::BPF_K, k, if_true, if_false)
}

#[allow(clippy::cast_possible_truncation, reason = "instruction codes have 16 bits")]
const fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the few instructions that the program is made of, as `Documentation/networking/filter.rst` has them.
    fn run(program: &[libc::sock_filter], payload: &[u8]) -> u32 {
        let (mut a, mut pc) = (0u32, 0);
        loop {
            let i = program[pc];
            pc += 1;
            let code = u32::from(i.code);
            match code & 0x07 {
                libc::BPF_LD if code & 0xe0 == libc::BPF_LEN => a = payload.len() as u32,
                libc::BPF_LD => match payload.get(i.k as usize) {
                    Some(&byte) => a = u32::from(byte),
                    None => return 0,
                },
                libc::BPF_ALU => a %= i.k,
                libc::BPF_JMP => {
                    pc += match code & 0xf0 {
                        libc::BPF_JA => i.k as usize,
                        libc::BPF_JEQ => usize::from(if a == i.k { i.jt } else { i.jf }),
                        libc::BPF_JGE => usize::from(if a >= i.k { i.jt } else { i.jf }),
                        other => panic!("unexpected jump {other:#x}"),
                    };
                }
                libc::BPF_RET => return if code & 0x18 == BPF_A { a } else { i.k },
                other => panic!("unexpected class {other:#x}"),
            }
        }
    }

    #[test]
    fn the_low_byte_of_the_index_picks_the_worker() {
        for workers in 1..=255u8 {
            let program = reuseport_program(workers);
            for low in 0..=255u8 {
                for (kind, offset) in [(2, 8), (3, 4), (4, 4)] {
                    let mut datagram = [0xa5; 32];
                    datagram[0] = kind;
                    datagram[offset] = low;
                    assert_eq!(run(&program, &datagram), u32::from(low % workers));
                }
            }
        }
    }

    #[test]
    fn everything_else_is_left_to_the_hash() {
        let program = reuseport_program(3);
        for kind in (0..=255u8).filter(|k| ![2, 3, 4].contains(k)) {
            assert_eq!(run(&program, &[kind; 148]), LET_THE_HASH_DECIDE);
        }
        for len in 0..12 {
            assert_eq!(run(&program, &[4; 12][..len]), LET_THE_HASH_DECIDE, "too short for an index");
        }
    }
}
