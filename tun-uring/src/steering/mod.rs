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
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use ebpf_array::Array;

use hash::Seed;

/// `TUNSETSTEERINGEBPF` of `linux/if_tun.h`: `_IOR('T', 224, int)`.
const TUNSETSTEERINGEBPF: libc::Ioctl = 0x8004_54e0_u32 as libc::Ioctl;

/// A program that the kernel has taken. It can be attached again, when another process has attached its own meanwhile.
#[derive(Debug)]
pub struct Program(OwnedFd);

impl Program {
    /// From now on it chooses the queues of the device behind `queue`, in place of any other.
    ///
    /// # Errors
    /// The system's.
    pub fn attach(&self, queue: &impl AsFd) -> io::Result<()> {
        let fd = self.0.as_raw_fd();
        // SAFETY: the argument points to an int that lives until the call returns; the kernel keeps the program by
        // itself.
        let result = unsafe { libc::ioctl(queue.as_fd().as_raw_fd(), TUNSETSTEERINGEBPF, &raw const fd) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// Attaches the program to the device behind `queue`, which has that many queues, and returns it with its table.
///
/// # Errors
/// The system's: `EPERM` where `bpf(2)` is not allowed. The driver then goes on choosing by itself, and gives fragments
/// to another queue than the whole datagrams of their flow.
pub(crate) fn attach(queue: &impl AsFd, queues: usize) -> io::Result<(FlowTable, Program)> {
    let (table, program) = load(queues, None)?;
    program.attach(queue)?;
    Ok((table, program))
}

/// Keeps all packets of the device behind `queue` in its first queue, until [`detach`].
///
/// # Errors
/// The system's, as [`attach`].
pub(crate) fn hold(queue: &impl AsFd) -> io::Result<()> {
    Program(ebpf_array::load(&program::FIRST_QUEUE)?).attach(queue)
}

/// The program for a device with that many queues, and its table. It is attached to none yet. With the
/// [seed](FlowTable::seed) of another table, flows fall into the same buckets.
///
/// # Errors
/// As [`attach`].
pub(crate) fn load(queues: usize, seed: Option<[u32; 2]>) -> io::Result<(FlowTable, Program)> {
    let (table, map) = Array::new()?;
    let queues = u32::try_from(queues).map_err(|_| io::ErrorKind::InvalidInput)?;
    // Nobody outside can tell which flows share a bucket, and have them meet in one.
    let seed = match seed {
        Some([hash, pair]) => Seed { hash, pair },
        None => Seed { hash: getrandom::u32()?, pair: getrandom::u32()? },
    };
    let table = FlowTable::new(table, queues, seed);
    Ok((table, Program(ebpf_array::load(&program::program(map.as_raw_fd(), seed))?)))
}

/// Takes the program away from the device behind `queue`: the driver chooses the queues.
///
/// # Errors
/// The system's.
pub fn detach(queue: &impl AsFd) -> io::Result<()> {
    let none: libc::c_int = -1;
    // SAFETY: the argument points to an int that lives until the call returns.
    let result = unsafe { libc::ioctl(queue.as_fd().as_raw_fd(), TUNSETSTEERINGEBPF, &raw const none) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
