//! What packets and the buffers of sockets may take together, and how that is divided.
//!
//! ```text
//!   bound ─► workers × ( arena + 2 sockets × ( receive buffer, send buffer, a train too much in each ) )
//! ```
//!
//! An arena has one size, because each of its lines is what a walk needs. So there are as many workers as the bound has
//! room for, and what their arenas leave goes to the buffers of their sockets.

use std::fmt;

use ringfort_config::{MemoryBound, SocketBuffer};
use ringfort_path::budget::budget;
use udp_uring::SocketConfig;

/// A worker has a socket for each of IPv4 and IPv6.
const SOCKETS: usize = 2;
/// The kernel may take twice what a buffer is set to, for what it keeps beside the bytes (`socket(7)`).
const BOOKED: usize = 2;
/// A buffer takes a last datagram or train as long as it is not full. That may be so much over.
const OVERSHOOT: usize = 128 << 10;
/// A send buffer is one of so many parts of the receive buffer beside it.
const SENDING: usize = 4;
/// With less in each receive buffer, more is lost while a worker waits for its CPU than a further worker gains.
const RECEIVE_BUFFER_ENOUGH: usize = 1 << 20;
/// Memory is given in pages.
const PAGE: usize = 4096;
/// Without `--memory`, one of so many parts of the machine's memory.
pub const PARTS: usize = 4;

/// What may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// What `--memory` says. More than that is refused.
    Asked(usize),
    /// One of [`PARTS`] parts of what the machine, or our control group, has. It decides what nobody has decided.
    Usual(usize),
    /// That cannot be known, and nobody says.
    None,
}

impl Bound {
    /// What was asked for, or else a part of that many bytes.
    #[must_use]
    pub fn of(asked: Option<MemoryBound>, machine: Option<usize>) -> Self {
        match (asked, machine) {
            (Some(MemoryBound(bytes)), _) => Self::Asked(bytes),
            (None, Some(machine)) => Self::Usual(machine / PARTS),
            (None, None) => Self::None,
        }
    }

    /// In bytes, if there is one.
    #[must_use]
    pub const fn limit(self) -> Option<usize> {
        match self {
            Self::Asked(bytes) | Self::Usual(bytes) => Some(bytes),
            Self::None => None,
        }
    }

    /// Without one, there is room for anything.
    fn bytes(self) -> usize {
        self.limit().unwrap_or(usize::MAX)
    }
}

/// What is there to be divided, and what was said about the parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub bound: Bound,
    /// The size of receive buffers, if somebody has said it.
    pub receive_buffer: Option<usize>,
}

impl Memory {
    /// How many of `wanted` workers there is memory for: as many as get a receive buffer of some size, and at least
    /// one. If the operator `insists` on that number, all of them or none.
    ///
    /// # Errors
    /// [`TooLittleMemory`], if `--memory` is not even enough with the smallest buffers.
    pub fn workers(&self, wanted: usize, insists: bool) -> Result<usize, TooLittleMemory> {
        let least = if insists { wanted } else { 1 };
        let needed = least.saturating_mul(of_worker(self.receive_buffer.unwrap_or(SocketBuffer::MIN)));
        match self.bound {
            Bound::Asked(memory) if memory < needed => Err(TooLittleMemory { memory, workers: least, needed }),
            _ if insists => Ok(wanted),
            bound => {
                let enough = self.receive_buffer.unwrap_or(RECEIVE_BUFFER_ENOUGH);
                Ok((bound.bytes() / of_worker(enough)).clamp(1, wanted.max(1)))
            }
        }
    }

    /// What so many workers get, which [`workers`](Self::workers) has allowed.
    #[must_use]
    pub fn divide(&self, workers: usize) -> Division {
        let receive_buffer = self.receive_buffer.unwrap_or_else(|| {
            let share = self.bound.bytes() / workers.max(1);
            // Of a page of a receive buffer; the rest of a worker is the same whatever the buffers are.
            let of_page = of_worker(PAGE) - of_worker(0);
            let pages = share.saturating_sub(of_worker(0)) / of_page;
            pages.saturating_mul(PAGE).clamp(SocketBuffer::MIN, SocketConfig::RECEIVE_BUFFER_LEN)
        });
        Division { bound: self.bound, workers, receive_buffer }
    }
}

/// What each worker gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Division {
    /// For all of them.
    pub bound: Bound,
    /// How many they are.
    pub workers: usize,
    /// The size of each receive buffer, as it is asked for.
    pub receive_buffer: usize,
}

impl Division {
    /// The size of each send buffer, as it is asked for.
    #[must_use]
    pub const fn send_buffer(&self) -> usize {
        self.receive_buffer / SENDING
    }

    /// Bytes of packet memory, of all workers.
    #[must_use]
    pub fn packets(&self) -> usize {
        self.workers * arena()
    }

    /// Bytes that the kernel may take for their sockets.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.workers * (of_worker(self.receive_buffer) - arena())
    }

    /// Both.
    #[must_use]
    pub fn total(&self) -> usize {
        self.packets() + self.sockets()
    }

    /// Whether it is more than is meant to be taken: what somebody has decided counts more than what is usual.
    #[must_use]
    pub fn exceeds(&self) -> bool {
        self.total() > self.bound.bytes()
    }
}

/// For the log.
impl fmt::Display for Division {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bound, workers, receive_buffer } = *self;
        let plural = if workers == 1 { "" } else { "s" };
        write!(
            f,
            "memory: {} for packets and {} for buffers of sockets at most ({workers} worker{plural}, receive buffers \
             of {}), ",
            Mib(self.packets()),
            Mib(self.sockets()),
            Mib(receive_buffer)
        )?;
        match bound {
            Bound::Asked(bytes) => write!(f, "of {} that --memory allows", Mib(bytes)),
            Bound::Usual(bytes) if self.exceeds() => write!(
                f,
                "more than {}, a quarter of what there is here: use fewer workers (--workers) or smaller buffers \
                 (--socket-buffer), or say with --memory what may be taken",
                Mib(bytes)
            ),
            Bound::Usual(bytes) => write!(f, "of {}, a quarter of what there is here", Mib(bytes)),
            Bound::None => write!(f, "and there is no bound"),
        }
    }
}

/// A bound that is too low for what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{memory} bytes of memory are too few: the packets of {workers} workers and the buffers of their sockets take \
     {needed} at least. Allow {needed} (--memory, or Memory in the file), or use fewer workers (--workers) or smaller \
     buffers (--socket-buffer)"
)]
pub struct TooLittleMemory {
    memory: usize,
    workers: usize,
    needed: usize,
}

/// Bytes as people read them.
#[derive(Clone, Copy, Debug)]
pub struct Mib(pub usize);

impl fmt::Display for Mib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} MiB", self.0 as f64 / f64::from(1 << 20))
    }
}

/// The least that a gateway can do with: one worker, with the smallest buffers.
#[must_use]
pub fn least() -> usize {
    of_worker(SocketBuffer::MIN)
}

/// The packet memory of a worker.
fn arena() -> usize {
    budget().bytes().next_multiple_of(PAGE)
}

/// What a worker takes whose receive buffers have that many bytes.
fn of_worker(receive_buffer: usize) -> usize {
    let buffers = BOOKED * (receive_buffer + receive_buffer / SENDING);
    arena() + SOCKETS * (buffers + 2 * OVERSHOOT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn asked(bytes: usize, receive_buffer: Option<usize>) -> Memory {
        Memory { bound: Bound::Asked(bytes), receive_buffer }
    }

    fn on_machine_of(mib: usize) -> Memory {
        Memory { bound: Bound::of(None, Some(mib * MIB)), receive_buffer: None }
    }

    /// The sum, line by line, of what is known to be taken.
    fn sum(Division { workers, receive_buffer, .. }: Division) -> usize {
        let slots = budget().lines().iter().map(|line| usize::from(line.count) * line.class.size()).sum::<usize>();
        let kernel_of_socket = 2 * receive_buffer + 2 * (receive_buffer / 4) + 2 * OVERSHOOT;
        workers * (slots + 2 * kernel_of_socket)
    }

    /// Whatever is allowed and asked for, all of it together is no more.
    #[test]
    fn nothing_takes_more_than_it_may() {
        let buffers = [None, Some(SocketBuffer::MIN), Some(300 << 10), Some(4 * MIB), Some(SocketBuffer::MAX)];
        for mib in (1..64).chain([90, 128, 200, 300, 1 << 10, 1 << 14]) {
            for (wanted, buffer) in (1..=16).chain([255]).flat_map(|wanted| buffers.map(|buffer| (wanted, buffer))) {
                for insists in [false, true] {
                    let memory = asked(mib * MIB, buffer);
                    let Ok(workers) = memory.workers(wanted, insists) else { continue };
                    assert!((1..=wanted).contains(&workers) && (!insists || workers == wanted));
                    let division = memory.divide(workers);
                    assert_eq!(division.packets() + division.sockets(), sum(division));
                    assert!(sum(division) <= mib * MIB, "{mib} MiB, {wanted} wanted, {insists}: {division:?}");
                    assert!(buffer.is_none_or(|buffer| division.receive_buffer == buffer));
                }
            }
        }
    }

    #[test]
    fn fewer_workers_rather_than_small_buffers() {
        let workers = |mib: usize, wanted, insists| asked(mib * MIB, None).workers(wanted, insists);
        assert_eq!(workers(128, 4, false), Ok(4));
        assert_eq!(workers(32, 4, false), Ok(2), "each has 6.1 MiB for packets, and a MiB or more to receive into");
        assert_eq!(workers(8, 4, false), Ok(1), "with small buffers, but there");
        assert_eq!(workers(32, 4, true), Ok(4), "who names a number has it");
        assert!(asked(32 * MIB, None).divide(2).receive_buffer > RECEIVE_BUFFER_ENOUGH);
        assert_eq!(asked(8 * MIB, None).divide(1).receive_buffer % PAGE, 0);
    }

    /// What is left after a division would not make each buffer a page larger.
    #[test]
    fn the_buffers_get_all_that_there_is() {
        for (mib, workers) in [(8, 1), (20, 2), (64, 3), (100, 2)] {
            let division = asked(mib * MIB, None).divide(workers);
            let larger = Division { receive_buffer: division.receive_buffer + PAGE, ..division };
            assert!(!division.exceeds() && larger.exceeds(), "{division}");
        }
        let plenty = asked(1 << 40, None).divide(2);
        assert_eq!(plenty.receive_buffer, SocketConfig::RECEIVE_BUFFER_LEN, "more is of no use");
    }

    #[test]
    fn too_little_is_refused_with_the_number_that_helps() {
        for (workers, insists, buffer) in [(4, false, None), (4, true, None), (3, true, Some(16 * MIB))] {
            let error = asked(5 * MIB, buffer).workers(workers, insists).unwrap_err();
            let enough = asked(error.needed, buffer);
            assert_eq!(enough.workers(workers, insists), Ok(if insists { workers } else { 1 }));
            assert!(asked(error.needed - 1, buffer).workers(workers, insists).is_err(), "the least");
            assert!(error.to_string().contains(&format!("Allow {} ", error.needed)), "{error}");
        }
        assert!(asked(least(), None).workers(1, true).is_ok() && least() < 8 * MIB, "as the documentation says");
    }

    /// What nobody has said follows from the memory of the machine, and nothing is refused because of it.
    #[test]
    fn a_machine_gives_a_quarter() {
        let of = |mib: usize, cpus| {
            let memory = on_machine_of(mib);
            memory.divide(memory.workers(cpus, false).unwrap())
        };
        let small = of(128, 4);
        assert!(!small.exceeds() && small.workers == 2 && small.receive_buffer > RECEIVE_BUFFER_ENOUGH, "{small}");
        let tiny = of(16, 4);
        assert!(tiny.workers == 1 && tiny.receive_buffer == SocketBuffer::MIN && tiny.exceeds(), "{tiny}");
        let usual = of(1 << 10, 2);
        assert_eq!((usual.workers, usual.receive_buffer), (2, SocketConfig::RECEIVE_BUFFER_LEN), "{usual}");
        assert_eq!(on_machine_of(128).workers(8, true), Ok(8), "who asks for more has it");
        let unknown = Memory { bound: Bound::of(None, None), receive_buffer: None };
        let division = unknown.divide(unknown.workers(16, false).unwrap());
        assert_eq!((division.workers, division.receive_buffer), (16, SocketConfig::RECEIVE_BUFFER_LEN));
    }

    #[test]
    fn the_log_says_what_came_of_it() {
        let text = asked(32 * MIB, None).divide(2).to_string();
        assert!(text.contains("2 workers") && text.contains("of 32.0 MiB that --memory allows"), "{text}");
        let text = on_machine_of(128).divide(5).to_string();
        assert!(text.contains("more than 32.0 MiB") && text.contains("--workers"), "{text}");
    }
}
