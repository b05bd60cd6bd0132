//! The ring: set up once, entered once a turn, and ended when the kernel has let go of everything.

mod launch;

pub use launch::{Memory, NotBegun};

use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::arena::{Arena, Shared};
use crate::completion::Completion;
use crate::enter::{EnterError, Entered, StillInFlight};
use crate::group::Group;
use crate::kernel::Kernel;
use crate::mapping::PAGE;
use crate::ops::{Gather, Kind, Op, Ops};
use crate::pool::Pool;
use crate::{Key, RingError};

const ENTER_GETEVENTS: u32 = 1;

/// How long the end of a ring waits for the kernel.
const END_PATIENCE: Duration = Duration::from_secs(1);
/// How long it waits before it asks again.
const END_WAIT: Duration = Duration::from_millis(10);
/// Operations with something to complete that end a [`Wait::Nap`].
const NAP_ENDS: usize = 2;

/// Sizes of the two queues, and of the table of operations.
#[derive(Clone, Copy, Debug)]
pub struct RingConfig {
    /// Submission entries between two enters; a power of two.
    pub submissions: u32,
    /// Completions that wait to be reaped; a power of two. More than operations can be in flight, so the
    /// kernel never has to park one.
    pub completions: u32,
    /// Operations in flight at once: a multishot operation, a doorbell, a write or a send is one each.
    pub operations: u16,
}

impl Default for RingConfig {
    fn default() -> Self {
        Self { submissions: 256, completions: 1024, operations: 512 }
    }
}

/// Whether a turn may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until something completes.
    UntilCompletion,
    /// For so long, or until two operations have something to complete: one that completes again and again, a receive
    /// for instance, does not end it.
    Nap(Duration),
    /// Not at all: submit and see what is there.
    No,
}

/// Names an operation in flight, to cancel it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpId(Key);

/// What the ring did so far; plain integers of one thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingCounters {
    /// `io_uring_enter` calls.
    pub enters: u64,
    /// Completions reaped.
    pub completions: u64,
    /// Extra enters because the submission queue was full.
    pub submission_full: u64,
    /// Completions of operations that were not in flight: a bug, of this crate or of the kernel.
    pub unexpected: u64,
}

/// One `io_uring`, used by the thread that made it, and all operations that it has in flight.
///
/// An operation belongs to the ring from its launch to its last completion, with all that the kernel may read or write
/// for it. Whoever launched it may go at any time. At its end the ring waits until the kernel has let go of
/// all. If that takes too long, it leaks what the kernel may still use.
///
/// A process that was forked has no ring: its copy may be dropped, which does nothing. To use it ends that process.
pub struct Ring {
    // Dropped before the memory below: what was leaked aside, the kernel has nothing by then.
    kernel: ManuallyDrop<Kernel>,
    /// The process that made it: another one has a copy of this value at most, and none of the queues.
    process: u32,
    counters: RingCounters,
    ops: ManuallyDrop<Ops>,
    /// Completions that were reaped to make room, and go before all others.
    set_aside: VecDeque<Completion>,
    groups: Vec<Rc<Group>>,
    /// The memory that is fixed buffer [`Ring::ARENA_BUFFER`].
    arena: Option<Arc<Shared>>,
    /// Memory that the kernel was told about.
    memory: Vec<Arc<Shared>>,
}

impl Ring {
    /// Number of the fixed buffer that is the worker's own arena.
    pub(crate) const ARENA_BUFFER: u16 = 0;

    /// Sets up a ring for the calling thread: single issuer, completions only when asked for.
    ///
    /// # Errors
    /// [`RingError::Disabled`], or [`RingError::Missing`] where the kernel is older than 6.1.
    pub fn new(config: RingConfig) -> Result<Self, RingError> {
        Ok(Self::on(Kernel::new(config)?, config))
    }

    pub(crate) fn on(kernel: Kernel, config: RingConfig) -> Self {
        Self {
            kernel: ManuallyDrop::new(kernel),
            process: std::process::id(),
            counters: RingCounters::default(),
            ops: ManuallyDrop::new(Ops::new(config.operations)),
            set_aside: VecDeque::new(),
            groups: Vec::new(),
            arena: None,
            memory: Vec::new(),
        }
    }

    /// Memory that the kernel charges to `RLIMIT_MEMLOCK` for a ring of these sizes, as Linux 6.14 and later do it:
    /// both queues and the entries, in whole pages. Earlier kernels charge nothing.
    #[must_use]
    pub const fn locked_len(config: RingConfig) -> usize {
        /// `struct io_rings` without its queues, rounded up.
        const HEAD: usize = 512;
        let (submissions, completions) = (config.submissions as usize, config.completions as usize);
        let queues = HEAD + completions * size_of::<[u64; 2]>() + submissions * size_of::<u32>();
        let entries = submissions * size_of::<[u64; 8]>();
        queues.next_multiple_of(PAGE) + entries.next_multiple_of(PAGE)
    }

    /// Makes room for `count` gathered writes in flight, of up to `pieces_max` pieces each.
    pub fn reserve_gathers(&mut self, count: u16, pieces_max: usize) {
        self.ops.gathers.extend((0..count).map(|_| Gather::new(pieces_max)));
    }

    /// Registers an arena, which pins its pages once and for all. Writes from it save the kernel the work of finding
    /// the pages for each operation; nothing else depends on it.
    ///
    /// # Errors
    /// [`RingError::LockedMemory`] if the locked-memory limit is too small. The ring works all the same.
    pub fn register_arena(&mut self, arena: &Arena) -> Result<(), RingError> {
        self.register(&arena.shared)
    }

    /// The same for an arena that has become a pool.
    ///
    /// # Errors
    /// As [`Ring::register_arena`].
    pub fn register_pool(&mut self, pool: &Pool) -> Result<(), RingError> {
        self.register(&pool.0.shared)
    }

    /// Whether an arena is registered.
    #[must_use]
    pub fn has_arena(&self) -> bool {
        self.arena.is_some()
    }

    fn register(&mut self, memory: &Arc<Shared>) -> Result<(), RingError> {
        // Even if this fails, the kernel was told the address.
        self.memory.push(memory.clone());
        let mapping = &memory.mapping;
        let whole = libc::iovec { iov_base: mapping.base().as_ptr().cast(), iov_len: mapping.len() };
        // SAFETY: the range is mapped, and stays so while the kernel has the ring, because `memory` keeps it.
        let registered = unsafe { self.kernel.register_buffer(whole) };
        registered.map_err(|e| match e.raw_os_error() {
            Some(libc::ENOMEM) => RingError::LockedMemory { needed: mapping.len() },
            _ => RingError::setup("registering the arena", e),
        })?;
        self.arena = Some(memory.clone());
        Ok(())
    }

    /// Registers a table of files; `None` leaves a place empty. The ring keeps each file open.
    ///
    /// # Errors
    /// [`RingError::Setup`] with the system's error.
    pub fn register_files(&mut self, files: &[Option<BorrowedFd<'_>>]) -> Result<(), RingError> {
        let files: Vec<_> = files.iter().copied().map(number_of).collect();
        self.kernel.register_files(&files).map_err(|e| RingError::setup("registering files", e))
    }

    /// Replaces a place in the table of files; `None` empties it. Operations in flight keep the file that they began
    /// with.
    ///
    /// # Errors
    /// [`RingError::Setup`] with the system's error.
    pub fn update_file(&mut self, place: u32, file: Option<BorrowedFd<'_>>) -> Result<(), RingError> {
        let file = number_of(file);
        self.kernel.update_file(place, file).map_err(|e| RingError::setup("replacing a registered file", e))
    }

    /// One turn: submits what is queued, lets the kernel finish what is due, and sleeps if told to and nothing is.
    ///
    /// # Errors
    /// [`EnterError`]: the ring cannot be entered any more.
    pub fn turn(&mut self, wait: Wait) -> Result<Entered, EnterError> {
        if let Wait::Nap(time) = wait
            && !self.has_completed()
        {
            self.counters.enters += 1;
            return self.kernel.enter_for(NAP_ENDS, time).map_or_else(Entered::of, |()| Ok(Entered::Done));
        }
        let sleep = wait == Wait::UntilCompletion && !self.has_completed();
        // GETEVENTS even with nothing to wait for: deferred task work runs only then.
        self.enter(u32::from(sleep), ENTER_GETEVENTS)
    }

    /// Submits what is queued, without finishing what else is due: work that the kernel has deferred waits for the next
    /// turn. False: nothing was queued.
    ///
    /// # Errors
    /// As [`Ring::turn`].
    pub fn submit(&mut self) -> Result<bool, EnterError> {
        if self.kernel.queued() == 0 {
            return Ok(false);
        }
        self.enter(0, 0).map(|_| true)
    }

    /// Whether a completion waits to be reaped.
    pub fn has_completed(&mut self) -> bool {
        !self.set_aside.is_empty() || self.kernel.has_completed()
    }

    /// Operations that the kernel has, or will have with the next turn.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.ops.in_kernel
    }

    fn enter(&mut self, want: u32, flags: u32) -> Result<Entered, EnterError> {
        self.counters.enters += 1;
        self.kernel.enter(want, flags).map_or_else(Entered::of, |()| Ok(Entered::Done))
    }

    /// Gives what has completed to `each`, up to `max` completions, in the order of completion; the rest stays for the
    /// next call.
    #[inline]
    pub fn reap(&mut self, max: usize, mut each: impl FnMut(Completion)) {
        let mut left = max;
        while left > 0
            && let Some(completion) = self.set_aside.pop_front()
        {
            left -= 1;
            each(completion);
        }
        let Self { kernel, ops, counters, .. } = self;
        let reaped = kernel.drain(left, |cqe| ops.resolve(cqe, &mut each));
        counters.completions += reaped as u64;
    }

    /// Reaps so that the kernel has room; what that gives comes first with the next [`Ring::reap`].
    fn make_room(&mut self) {
        let Self { kernel, ops, counters, set_aside, .. } = self;
        let reaped =
            kernel.drain(usize::MAX, |cqe| ops.resolve(cqe, &mut |completion| set_aside.push_back(completion)));
        counters.completions += reaped as u64;
    }

    /// What the ring did so far.
    #[must_use]
    pub fn counters(&self) -> RingCounters {
        RingCounters { unexpected: self.ops.unexpected, ..self.counters }
    }

    /// Cancels every operation and waits, at most a second, until the kernel has let go of all of them. Their
    /// completions come with the next [`Ring::reap`].
    ///
    /// # Errors
    /// [`StillInFlight`] after that second.
    pub fn cancel_all(&mut self) -> Result<(), StillInFlight> {
        let end = Instant::now() + END_PATIENCE;
        loop {
            // What is queued is submitted first: it can be cancelled then, and was asked for.
            let entered = self.enter(0, ENTER_GETEVENTS);
            self.make_room();
            if self.ops.in_kernel == 0 {
                return Ok(());
            }
            // With `ANY` the kernel cancels what it finds, and returns a count. It waits for nothing.
            self.kernel.cancel_any();
            let waited = self.kernel.enter_for(1, END_WAIT).map_or_else(Entered::of, |()| Ok(Entered::Done));
            self.make_room();
            if self.ops.in_kernel > 0 && (Instant::now() >= end || entered.is_err() && waited.is_err()) {
                return Err(StillInFlight { operations: self.ops.in_kernel });
            }
        }
    }

    pub(crate) fn register_group(&mut self, group: &Rc<Group>, count: u16) -> Result<(), RingError> {
        // SAFETY: the entries are mapped and page-aligned, and `groups` keeps them while the kernel has the ring.
        let registered = unsafe { self.kernel.register_group(group.entries(), count, group.number()) };
        registered.map_err(|e| RingError::setup("registering a buffer ring", e))?;
        self.groups.push(group.clone());
        Ok(())
    }

    pub(crate) fn unregister_group(&mut self, group: &Rc<Group>) -> Result<(), RingError> {
        let place = self.groups.iter().position(|known| Rc::ptr_eq(known, group));
        let Some(place) = place else { return Err(RingError::ForeignGroup(group.id())) };
        if group.users() > 0 {
            return Err(RingError::GroupInUse { group: group.id(), operations: group.users() });
        }
        let ended = self.kernel.unregister_group(group.number());
        ended.map_err(|e| RingError::setup("unregistering a buffer ring", e))?;
        group.close();
        self.groups.swap_remove(place);
        Ok(())
    }
}

/// As the kernel counts: -1 is an empty place.
fn number_of(file: Option<BorrowedFd<'_>>) -> RawFd {
    file.map_or(-1, |file| file.as_raw_fd())
}

impl Drop for Ring {
    fn drop(&mut self) {
        // Leaked by whatever leaves this function early, a panic too.
        let groups = ManuallyDrop::new(std::mem::take(&mut self.groups));
        let memory = ManuallyDrop::new(std::mem::take(&mut self.memory));
        if std::process::id() != self.process {
            // After a fork: the operations are the parent's, and where the queues were there may be anything.
            groups.iter().for_each(|group| group.abandon());
            return;
        }
        if self.cancel_all().is_err() {
            // The kernel ends a closed ring's operations in its own time, and may write what they borrowed until then.
            // So that is never freed, and no slot of it is given out again.
            groups.iter().for_each(|group| group.abandon());
            // SAFETY: dropped here for the only time, and not used afterwards.
            return unsafe { ManuallyDrop::drop(&mut self.kernel) };
        }
        for group in ManuallyDrop::into_inner(groups) {
            // If this fails, its entries stay as they are: no operation is left to look at them.
            let _ = self.kernel.unregister_group(group.number());
            group.close();
        }
        // The kernel has no operation any more. It keeps pins of the memory, no more, until it is closed.
        // SAFETY: dropped here for the only time, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.kernel) };
        self.memory = ManuallyDrop::into_inner(memory);
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.ops) };
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let in_flight = self.ops.in_kernel;
        f.debug_struct("Ring").field("in_flight", &in_flight).field("counters", &self.counters).finish_non_exhaustive()
    }
}
