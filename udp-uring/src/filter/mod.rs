//! A filter on the sockets: an eBPF program that drops floods before anything is queued or anybody is woken.
//!
//! What a flood costs is mostly its way through the socket. This program sees each datagram in front of that, on the
//! core that receives it from the network (`udp_queue_rcv_one_skb` in `net/ipv4/udp.c`). What it drops is silent. A
//! reuseport program could drop as well, but the kernel would answer that the port is unreachable.
//!
//! ```text
//!   datagram ─► a message by type and length? ─► an index that may be in use? ─► mac1 right? ─► under load? ─► socket
//!                        │                                  │                        │              │
//!                        └───────────────┬──────────────────┘                        │              ▼
//!                                        ▼                                           │     something of the cookie
//!                            more than a few just now? ─► dropped and counted ◄──────┴─────── budget is left?
//! ```
//!
//! * **Only floods are dropped.** Of what is worth nothing, some thousand pass in a second for each worker and kind of
//!   check, divided among CPUs. So a stray datagram is seen by whoever looks on, and diagnosis hears of it.
//! * **Under load**, initiations without mac2 get a cookie at best, and there are few of those. A quarter
//!   more pass than a worker has cookies for, by the same rule. So nobody is dropped here who would get one there. When
//!   the budget is used up, mac1 is not looked at before: it is most of what a datagram costs here.
//! * **What is not certain passes**: trains, which the kernel has merged; a mac2 of which any bit is set; indices while
//!   the filter is not told of them; what came while a key was changed.
//! * **Sessions that were lost are recovered by their data**, which has an unknown index. While that is wanted, data
//!   passes from where a peer may be.
//!
//! Program and owner share two values ([`shared`]). Nobody makes a system call to change or read them.
//!
//! There are two programs. The [whole one](Extent::Whole) takes `CAP_BPF` and `CAP_PERFMON`, a kernel that compiles
//! programs, and 14 KB of `net.core.optmem_max` for each socket. The [smaller one](Extent::Form) takes `CAP_BPF` and
//! 4 KB, and leaves handshake messages to the workers.

mod blake2s;
#[cfg(test)]
mod loading_tests;
mod mac1;
mod program;
mod shared;
mod source;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Relaxed, Release};

use ebpf_array::Array;
use nix::errno::Errno;

use crate::error::BindError;
use crate::socket::SocketGroup;
use program::{Maps, Parameters, program};
use shared::{Lane, Shared};

/// How many datagrams that are worth nothing pass in a window of 67 ms, of each kind and for each worker: a thousand in
/// a second. CPUs have equal shares, of which none is smaller than the second number: with 64 of them, four thousand.
const PASSED: u32 = 64;
const PASSED_ON_ONE_CPU: u32 = 4;

/// How much a filter looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Type, length, receiver index, mac1, and mac2 under load.
    Whole,
    /// Type, length and receiver index.
    Form,
}

/// What the top byte of a receiver index must be for the index to be ours: `byte & mask == value`. By default all are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopByte {
    /// The bits that count.
    pub mask: u8,
    /// What they are in all of our indices.
    pub value: u8,
}

/// Why the filter drops a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Junk {
    /// Too short for a type.
    Runt,
    /// There is no such type.
    UnknownType,
    /// The reserved bytes are not what they may be.
    BadReserved,
    /// The length is not that of the type.
    BadLength,
    /// Nobody has the receiver index.
    UnknownIndex,
    /// It is one of another gateway.
    OtherNode,
    /// The sender does not know the public key.
    BadMac1,
    /// There is load, the sender has not proved its address, and there would be no cookie for it. Most of these were
    /// not asked for mac1.
    CookieBudget,
}

impl Junk {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Runt,
        Self::UnknownType,
        Self::BadReserved,
        Self::BadLength,
        Self::UnknownIndex,
        Self::OtherNode,
        Self::BadMac1,
        Self::CookieBudget,
    ];
}

/// The filter of a gateway's sockets. One thread tells it things; any may read its counters.
pub struct JunkFilter {
    shared: Array<Shared>,
    /// Of each worker some, in its order.
    lanes: Array<[Lane]>,
    lane_count: usize,
    /// One for each worker, which differ in where they count.
    programs: Vec<OwnedFd>,
    /// Of the places of sources.
    seeds: [u32; 2],
    /// Where the next key of mac1 gets to.
    next_key: AtomicUsize,
}

impl JunkFilter {
    /// So many initiations that prove nothing pass for each worker in a second under load, and as many again from where
    /// peers are.
    pub const UNPROVEN_PER_SECOND: u64 = source::UNPROVEN_PER_SECOND;
    /// And so many of each at once.
    pub const UNPROVEN_AT_ONCE: u64 = source::UNPROVEN_AT_ONCE;

    /// A filter for so many workers. It knows no index and no key. `markers` are the reserved bytes that an initiation
    /// may have. What is dropped under an index that is not `ours` is counted apart.
    ///
    /// # Errors
    /// The system's: `EPERM` where `bpf(2)` is not allowed, `EACCES` or `EPERM` for the whole filter without
    /// `CAP_PERFMON`, `ENOMEM` if `net.core.optmem_max` is too small for it.
    pub fn new(workers: u8, markers: &[[u8; 3]], ours: TopByte, extent: Extent) -> io::Result<Self> {
        let lane_count = Lane::count(cpus());
        let passed = (PASSED / lane_count as u32).max(PASSED_ON_ONE_CPU);
        Self::with_allowance(workers, markers, (ours, extent), (lane_count, passed))
    }

    fn with_allowance(
        workers: u8,
        markers: &[[u8; 3]],
        (ours, extent): (TopByte, Extent),
        (lane_count, passed): (usize, u32),
    ) -> io::Result<Self> {
        if extent == Extent::Whole && cfg!(target_endian = "big") {
            return Err(io::Error::other("mac1 is computed on little-endian machines only"));
        }
        let (shared, map) = Array::<Shared>::new()?;
        shared.init();
        let (lanes, map_of_lanes) = Array::<[Lane]>::with_len(usize::from(workers.max(1)) * lane_count)?;
        // Nobody outside can tell which sources share a place.
        let seeds = [getrandom::u32()?, getrandom::u32()? | 1 << 31];
        let maps = Maps { shared: map.as_raw_fd(), lanes: map_of_lanes.as_raw_fd(), lane_count };
        let load = |worker| {
            let worker = usize::from(worker);
            let has_mac1 = extent == Extent::Whole;
            let parameters = Parameters { worker, markers, ours, seeds, passed, has_mac1 };
            ebpf_array::load(&program(maps, &parameters))
        };
        let programs = (0..workers).map(load).collect::<io::Result<Vec<_>>>()?;
        if let Some(program) = programs.first() {
            // An interpreted program would take longer for mac1 than a worker does with all of the datagram.
            if extent == Extent::Whole && !is_compiled(program) {
                return Err(io::Error::other("it does not compile programs (net.core.bpf_jit_enable=0)"));
            }
            // The kernel has a limit for each socket, which it looks at when one gets the program.
            attach(UnixDatagram::unbound()?.as_fd(), program)?;
        }
        Ok(Self { shared, lanes, lane_count, programs, seeds, next_key: AtomicUsize::new(0) })
    }

    /// Puts the filter on all sockets of a group, which may have more workers than the filter.
    ///
    /// # Errors
    /// The system's. Some of the sockets then work without.
    pub fn guard(&self, group: &SocketGroup) -> Result<(), BindError> {
        for (worker, program) in self.programs.iter().enumerate().take(group.workers()) {
            let pair = group.pair(worker);
            for socket in pair.v4().into_iter().chain(pair.v6()) {
                attach(socket, program).map_err(|errno| BindError::Option { option: "SO_ATTACH_BPF", errno })?;
            }
        }
        Ok(())
    }

    /// An index is in use from now on: to be called before anybody can know it.
    pub fn note_index(&self, index: u32) {
        let count = self.shared.index(index);
        // One thread writes: nothing comes between these two.
        count.store(count.load(Relaxed).saturating_add(1), Release);
    }

    /// An index is not in use any more.
    pub fn forget_index(&self, index: u32) {
        let count = self.shared.index(index);
        let before = count.load(Relaxed);
        // Of a counter that was full nobody knows what it should be.
        if before > 0 && before < u8::MAX {
            count.store(before - 1, Release);
        }
    }

    /// Initiations and responses have their mac1 under this key from now on. `None`: it is not looked at.
    pub fn set_mac1_key(&self, key: Option<&[u8; 32]>) {
        let state = key.map(blake2s::keyed_state);
        self.shared.set_mac1_state(self.next_key.fetch_add(usize::from(state.is_some()), Relaxed), state);
    }

    /// Whether data under an index that nobody has passes from where a peer may be: its session may have been lost. It
    /// does, until this says otherwise.
    pub fn set_recovering(&self, is_on: bool) {
        self.shared.is_settled.store(u32::from(!is_on), Release);
    }

    /// There is load until that time of the machine's `CLOCK_BOOTTIME`, in nanoseconds, which is not that of a time
    /// namespace. Of initiations without mac2, few pass.
    pub fn set_loaded_until(&self, nanos: u64) {
        self.shared.loaded_until.store(nanos, Relaxed);
    }

    /// About how many initiations with a right mac1 were dropped for load. It wraps.
    #[must_use]
    pub fn refused(&self) -> u32 {
        self.shared.refused(self.programs.len()) as u32
    }

    /// A peer may be here: what comes from here is the worker's to judge.
    pub fn locate(&self, source: SocketAddr) {
        self.shared.locate(self.seeds, source);
    }

    /// All peers are located anew from now on. Who is not until the next such call is not known any more after it.
    pub fn renew_places(&self) {
        self.shared.renew_places();
    }

    /// How many datagrams for a worker were dropped so far.
    #[must_use]
    pub fn dropped(&self, worker: usize, why: Junk) -> u64 {
        let lanes = self.lanes.chunks_exact(self.lane_count).nth(worker).unwrap_or_default();
        lanes.iter().map(|lane| lane.dropped(why)).sum()
    }
}

/// The CPUs that may take datagrams from the network: all of the machine, not those that we may run on.
fn cpus() -> usize {
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let last = online.trim().rsplit(['-', ',']).next().and_then(|last| last.parse().ok());
    last.map_or(Lane::COUNT_MAX, |last: usize| last + 1)
}

/// Whether the CPU runs the program itself. The setting of the machine cannot be read in a network namespace.
fn is_compiled(program: &OwnedFd) -> bool {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd())).unwrap_or_default();
    info.lines().filter_map(|line| line.strip_prefix("prog_jited:")).all(|value| value.trim() != "0")
}

/// Takes away what stands in front of the sockets, whoever has put it there.
pub fn unguard(group: &SocketGroup) {
    for worker in 0..group.workers() {
        let pair = group.pair(worker);
        for socket in pair.v4().into_iter().chain(pair.v6()) {
            // ENOENT: there is nothing.
            let _ = set(socket, libc::SO_DETACH_FILTER, 0);
        }
    }
}

fn attach(socket: BorrowedFd<'_>, program: &OwnedFd) -> Result<(), Errno> {
    set(socket, libc::SO_ATTACH_BPF, program.as_raw_fd())
}

fn set(socket: BorrowedFd<'_>, option: libc::c_int, value: libc::c_int) -> Result<(), Errno> {
    let len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the option's value is an int, which `value` is, and it outlives the call.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const value).cast(), len) };
    Errno::result(result).map(drop)
}

impl fmt::Debug for JunkFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JunkFilter").field("workers", &self.programs.len()).finish_non_exhaustive()
    }
}
