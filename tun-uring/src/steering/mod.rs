//! Which queue of a TUN device a packet leaves the kernel by: an eBPF program in place of the driver's own choice.
//!
//! Left to itself, the driver remembers by which queue the program *wrote* the packets of a flow, and gives it the
//! answers there (`tun_flow_update` in `drivers/net/tun.c`). That is right for answers: whoever is at work on a flow
//! sends them on the way, and nobody is woken. It is wrong for a flow that mainly goes out: a session is received on
//! one core, which therefore writes all flows of a peer, and every packet to that peer would come to that core alone.
//!
//! Here flows fall into [buckets](Bucket) by a hash of their addresses and ports, the same for both directions. Buckets
//! are spread over the queues, and a worker that receives much more in one than goes out can [claim](FlowTable::claim)
//! it. One that has too much to do can [assign](FlowTable::assign) it to another. The program counts what goes out, and
//! looks up the queue. Fragments go with the whole datagrams of their flow, although only the first of a datagram has
//! ports.
//!
//! The kernel takes the result modulo the number of queues (`tun_ebpf_select_queue`). A load past the end of a packet
//! ends the program with the result 0, which is a queue as good as any other.

mod hash;
mod program;
mod table;

pub use table::{Bucket, FlowTable, cost};

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use hash::Seed;
use program::Instruction;
use table::TABLE_LEN;

/// `TUNSETSTEERINGEBPF` of `linux/if_tun.h`: `_IOR('T', 224, int)`.
const TUNSETSTEERINGEBPF: libc::Ioctl = 0x8004_54e0_u32 as libc::Ioctl;
/// Of `linux/bpf.h`.
const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_F_MMAPABLE: u32 = 1 << 10;
const BPF_PROG_TYPE_SOCKET_FILTER: u32 = 1;

/// The part of `union bpf_attr` that making a map takes; the kernel reads what follows as zeros.
#[repr(C)]
struct MapAttributes {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
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

/// Attaches the program to the device behind `queue`, which has that many queues, and returns its table.
///
/// # Errors
/// The system's: `EPERM` where `bpf(2)` is not allowed. The driver then goes on choosing by itself, and gives fragments
/// to another queue than the whole datagrams of their flow.
pub(crate) fn attach(queue: &impl AsRawFd, queues: usize) -> io::Result<FlowTable> {
    let map = make_map()?;
    let queues = u32::try_from(queues).map_err(|_| io::ErrorKind::InvalidInput)?;
    // Nobody outside can tell which flows share a bucket, and have them meet in one.
    let seed = Seed { hash: getrandom::u32()?, pair: getrandom::u32()? };
    let table = FlowTable::map(map.as_fd(), queues, seed)?;
    let program = load_program(&program::program(map.as_raw_fd(), seed))?;
    let fd = program.as_raw_fd();
    // SAFETY: the argument points to an int that lives until the call returns; the kernel keeps the program by itself.
    let result = unsafe { libc::ioctl(queue.as_raw_fd(), TUNSETSTEERINGEBPF, &raw const fd) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(table) }
}

/// Takes the program away from the device behind `queue`.
///
/// # Errors
/// The system's.
pub(crate) fn detach(queue: &impl AsRawFd) -> io::Result<()> {
    let none: libc::c_int = -1;
    // SAFETY: the argument points to an int that lives until the call returns.
    let result = unsafe { libc::ioctl(queue.as_raw_fd(), TUNSETSTEERINGEBPF, &raw const none) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A map of one value, which is the table: the address of such a value can stand in a program.
fn make_map() -> io::Result<OwnedFd> {
    bpf(
        BPF_MAP_CREATE,
        &MapAttributes {
            map_type: BPF_MAP_TYPE_ARRAY,
            key_size: 4,
            value_size: TABLE_LEN as u32,
            max_entries: 1,
            map_flags: BPF_F_MMAPABLE,
        },
    )
}

fn load_program(instructions: &[Instruction]) -> io::Result<OwnedFd> {
    bpf(
        BPF_PROG_LOAD,
        &LoadAttributes {
            program_type: BPF_PROG_TYPE_SOCKET_FILTER,
            instruction_count: instructions.len() as u32,
            instructions: instructions.as_ptr() as u64,
            // No helper is called, so any licence will do.
            license: c"Dual MIT/GPL".as_ptr() as u64,
            log_level: 0,
            log_size: 0,
            log_buffer: 0,
            kernel_version: 0,
            flags: 0,
        },
    )
}

/// How often an interrupted call is repeated. Other loaders give up after five.
const ATTEMPTS: usize = 16;

/// bpf(2), for the commands that return a descriptor.
fn bpf<Attributes>(command: libc::c_int, attributes: &Attributes) -> io::Result<OwnedFd> {
    again_if_interrupted(|| bpf_once(command, attributes))
}

/// The verifier ends with `EAGAIN` when a signal waits for the thread, or work that the kernel has put off for it: that
/// of a ring that was just closed, for instance.
fn again_if_interrupted<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..ATTEMPTS {
        match attempt() {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => {}
            result => return result,
        }
    }
    attempt()
}

fn bpf_once<Attributes>(command: libc::c_int, attributes: &Attributes) -> io::Result<OwnedFd> {
    // SAFETY: the attributes, and what they point to, live until the call returns, in which the kernel reads that many
    // bytes of them.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *attributes, size_of::<Attributes>()) };
    let Ok(fd @ 0..) = i32::try_from(fd) else { return Err(io::Error::last_os_error()) };
    // SAFETY: the kernel has just made the descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests;
