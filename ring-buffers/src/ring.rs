//! The ring: set up once, entered once a turn.

use crate::arena::{Arena, Shared};
use crate::mapping::PAGE;
use crate::pool::Pool;
use crate::{RingError, Token};
use io_uring::{IoUring, squeue, types};
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

const ENTER_GETEVENTS: u32 = 1;

/// Sizes of the two queues.
#[derive(Clone, Copy, Debug)]
pub struct RingConfig {
    /// Submission entries between two enters; a power of two.
    pub submissions: u32,
    /// Completions that wait to be reaped; a power of two. More than operations can be in flight, so that the
    /// kernel never has to park one.
    pub completions: u32,
}

impl Default for RingConfig {
    fn default() -> Self {
        Self { submissions: 256, completions: 1024 }
    }
}

/// Whether a turn may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until something completes.
    UntilCompletion,
    /// Not at all: submit and see what is there.
    No,
}

/// What came back from the kernel. Only a ring makes one, so that safe code cannot claim that an operation has ended.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    token: Token,
    result: i32,
    flags: u32,
}

impl Completion {
    /// Which operation.
    #[must_use]
    pub const fn token(self) -> Token {
        self.token
    }

    /// Its result: `-errno`, or what the operation defines.
    #[must_use]
    pub const fn result(self) -> i32 {
        self.result
    }

    /// Whether the operation goes on and completes again (`IORING_CQE_F_MORE`).
    #[must_use]
    pub fn has_more(self) -> bool {
        io_uring::cqueue::more(self.flags)
    }

    /// The provided buffer that the kernel filled, if it took one.
    #[must_use]
    pub fn buffer(self) -> Option<u16> {
        io_uring::cqueue::buffer_select(self.flags)
    }

    /// The result as bytes or the error.
    ///
    /// # Errors
    /// The `errno` that the operation ended with, as a positive number.
    pub fn outcome(self) -> Result<usize, i32> {
        usize::try_from(self.result).map_err(|_| -self.result)
    }
}

/// What the ring did so far; plain integers of one thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingCounters {
    /// `io_uring_enter` calls.
    pub enters: u64,
    /// Completions reaped.
    pub completions: u64,
    /// Extra enters because the submission queue was full.
    pub submission_full: u64,
}

/// One `io_uring`, used by the thread that made it.
pub struct Ring {
    // Dropped first: closes the ring while the memory below is still mapped.
    ring: IoUring,
    counters: RingCounters,
    /// The memory that the kernel was told about.
    memory: Vec<Arc<Shared>>,
    /// Fixed buffer [`Ring::ARENA_BUFFER`] is the worker's own arena.
    has_arena: bool,
}

impl Ring {
    /// Number of the fixed buffer that is the worker's own arena.
    pub const ARENA_BUFFER: u16 = 0;

    /// Sets up a ring for the calling thread: single issuer, completions only when asked for.
    ///
    /// # Errors
    /// [`RingError::Disabled`], or [`RingError::Missing`] where the kernel is older than 6.1.
    pub fn new(config: RingConfig) -> Result<Self, RingError> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_submit_all()
            .setup_cqsize(config.completions)
            .build(config.submissions)
            .map_err(|e| match e.raw_os_error() {
                Some(libc::EPERM | libc::ENOSYS | libc::EACCES) => RingError::Disabled(e),
                Some(libc::EINVAL) => RingError::Missing("IORING_SETUP_DEFER_TASKRUN".into()),
                _ => RingError::setup("io_uring_setup", e),
            })?;
        if !ring.params().is_feature_nodrop() {
            return Err(RingError::Missing("IORING_FEAT_NODROP".into()));
        }
        Ok(Self { ring, counters: RingCounters::default(), memory: Vec::new(), has_arena: false })
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

    /// Registers an arena as the ring's fixed buffer number 0, which pins its pages once and for all. What names that
    /// buffer saves the kernel the work of finding the pages for each operation; nothing else depends on it.
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

    /// Whether an arena is registered, so that operations may name [`Ring::ARENA_BUFFER`].
    #[must_use]
    pub fn has_arena(&self) -> bool {
        self.has_arena
    }

    fn register(&mut self, memory: &Arc<Shared>) -> Result<(), RingError> {
        // Even if this fails, operations will name the addresses.
        self.keep(memory.clone());
        let mapping = &memory.mapping;
        let whole = libc::iovec { iov_base: mapping.base().as_ptr().cast(), iov_len: mapping.len() };
        // SAFETY: the range is mapped, and stays so while the ring exists, because `memory` keeps the arena.
        let registered = unsafe { self.ring.submitter().register_buffers(&[whole]) };
        registered.map_err(|e| match e.raw_os_error() {
            Some(libc::ENOMEM) => RingError::LockedMemory { needed: mapping.len() },
            _ => RingError::setup("registering the arena", e),
        })?;
        self.has_arena = true;
        Ok(())
    }

    /// Registers a table of files; -1 leaves a place empty.
    ///
    /// # Errors
    /// [`RingError::Setup`] with the system's error.
    pub fn register_files(&mut self, files: &[RawFd]) -> Result<(), RingError> {
        self.ring.submitter().register_files(files).map_err(|e| RingError::setup("registering files", e))
    }

    /// Replaces a place in the table of files; -1 empties it. Operations in flight keep the file that they began with.
    ///
    /// # Errors
    /// [`RingError::Setup`] with the system's error.
    pub fn update_file(&mut self, place: u32, file: RawFd) -> Result<(), RingError> {
        match self.ring.submitter().register_files_update(place, &[file]) {
            Ok(_) => Ok(()),
            Err(e) => Err(RingError::setup("replacing a registered file", e)),
        }
    }

    /// Queues an operation; it is submitted with the next turn, or at once when the queue is full.
    ///
    /// # Safety
    /// Every address in `entry` must stay valid, and what the kernel writes must not be touched, until the
    /// operation's final completion was reaped or the ring is gone. Bytes of an arena are lent through
    /// [`crate::View::lend`]; everything else lives in an [`crate::Ops`] entry.
    ///
    /// # Errors
    /// The error of the `io_uring_enter` that was to make room.
    pub unsafe fn push(&mut self, entry: squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: the caller answers for the addresses in the entry.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return Ok(());
            }
            self.counters.submission_full += 1;
            self.enter(0)?;
        }
    }

    /// One turn: submits what is queued, lets the kernel finish what is due, and sleeps if told to and nothing is.
    ///
    /// # Errors
    /// Errors of `io_uring_enter` that do not pass by themselves.
    pub fn turn(&mut self, wait: Wait) -> io::Result<()> {
        let sleep = wait == Wait::UntilCompletion && self.ring.completion().is_empty();
        self.enter(u32::from(sleep))
    }

    /// Submits what is queued, without finishing what else is due: work that the kernel has deferred waits for the next
    /// turn. False: nothing was queued.
    ///
    /// # Errors
    /// As [`Ring::turn`].
    pub fn submit(&mut self) -> io::Result<bool> {
        if self.ring.submission().is_empty() {
            return Ok(false);
        }
        self.enter_with(0, 0).map(|()| true)
    }

    /// Whether a completion waits to be reaped.
    pub fn has_completed(&mut self) -> bool {
        !self.ring.completion().is_empty()
    }

    fn enter(&mut self, want: u32) -> io::Result<()> {
        // GETEVENTS even with nothing to wait for: deferred task work runs only then.
        self.enter_with(want, ENTER_GETEVENTS)
    }

    fn enter_with(&mut self, want: u32, flags: u32) -> io::Result<()> {
        let queued = self.ring.submission().len();
        self.counters.enters += 1;
        let queued = u32::try_from(queued).expect("the submission queue has at most 32,768 entries");
        // SAFETY: no argument pointer is passed; the entries were vouched for when they were pushed.
        let entered = unsafe { self.ring.submitter().enter::<libc::sigset_t>(queued, want, flags, None) };
        match entered {
            Ok(_) => Ok(()),
            // A signal; a completion queue to be reaped first; memory that the kernel is short of for the moment.
            // What was not submitted stays queued for the next turn.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EINTR | libc::EBUSY | libc::EAGAIN)) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Moves what has completed to the end of `batch`, up to its capacity; the rest stays for the next call.
    pub fn reap(&mut self, batch: &mut Vec<Completion>) {
        let room = batch.capacity() - batch.len();
        let before = batch.len();
        batch.extend(self.ring.completion().take(room).map(|c| Completion {
            token: Token::decode(c.user_data()),
            result: c.result(),
            flags: c.flags(),
        }));
        self.counters.completions += (batch.len() - before) as u64;
    }

    /// What the ring did so far.
    #[must_use]
    pub fn counters(&self) -> RingCounters {
        self.counters
    }

    /// Cancels every request and waits, at most a second, until the kernel has let go of them. Their completions can
    /// be reaped afterwards.
    ///
    /// # Errors
    /// `ETIME` if requests are still in flight after that second.
    pub fn cancel_all(&mut self) -> io::Result<()> {
        self.enter(0)?;
        let limit = types::Timespec::new().sec(1);
        match self.ring.submitter().register_sync_cancel(Some(limit), types::CancelBuilder::any()) {
            Err(e) if e.raw_os_error() != Some(libc::ENOENT) => Err(e),
            _ => self.enter(0),
        }
    }

    pub(crate) fn io_uring(&self) -> &IoUring {
        &self.ring
    }

    pub(crate) fn keep(&mut self, memory: Arc<Shared>) {
        self.memory.push(memory);
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // The kernel ends a closed ring's requests in its own time, and might still write into memory that is
        // unmapped, or mapped anew, by then. So they end first; if they will not, the memory stays.
        if self.cancel_all().is_err() {
            self.memory.drain(..).for_each(std::mem::forget);
        }
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("counters", &self.counters).finish_non_exhaustive()
    }
}
