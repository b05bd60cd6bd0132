//! A kernel that misbehaves by a script, to see what becomes of those above it.
//!
//! It holds what was submitted and completes it as the [`Script`] says: late, in another order, in part, cancelled, or
//! with an error. Its submission queue fills up and its completion queue overflows. It does nothing that a kernel must
//! not do. What is read comes from the test ([`FakeKernel::deliver`]), and what is written goes to it
//! ([`FakeKernel::take_written`]).
//!
//! What a ring calls while it turns is never inlined: who counts the instructions of those above can leave it out.

mod buffers;
mod carry_out;
mod loan;
mod script;

pub use loan::Loan;
pub use script::Script;

use std::cell::{RefCell, RefMut};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::Duration;

use super::{Cqe, Request};
use crate::{Ring, RingConfig};
use buffers::Buffers;
use script::Dice;

/// Groups of buffers below this number are kept after their end.
const GROUPS_KEPT: u16 = 64;

/// A handle to the kernel of one ring; the ring has another.
#[derive(Clone)]
pub struct FakeKernel(Rc<RefCell<State>>);

/// What comes in at a place, to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The address that it is from, or goes to, as in `sockaddr`.
    pub name: Vec<u8>,
    /// The control messages beside it.
    pub control: Vec<u8>,
    /// The bytes themselves.
    pub bytes: Vec<u8>,
}

/// What the kernel has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Completions that found no room in their queue at once.
    pub overflowed: u64,
    /// Enters that were refused.
    pub refused: u64,
    /// Submissions that did not fit into their queue.
    pub full: u64,
    /// Operations that ended by being cancelled.
    pub cancelled: u64,
    /// Operations that failed.
    pub failed: u64,
    /// Enters that were to wait, though nothing would ever have completed by itself.
    pub slept: u64,
}

struct State {
    script: Script,
    dice: Dice,
    submissions: usize,
    completions: usize,
    queue: VecDeque<(Request, u64)>,
    completed: VecDeque<Cqe>,
    overflow: VecDeque<Cqe>,
    held: Vec<Held>,
    files: Vec<RawFd>,
    /// Files that were taken out of the table. Kernels before 6.13 keep them until all operations on files of the table
    /// have ended that were in flight then, whatever their place: these, by their `user_data`.
    kept: Vec<(RawFd, BTreeSet<u64>)>,
    groups: Vec<Buffers>,
    /// How far groups were read that have ended: kernels before 6.8 keep the first 64, and go on from there.
    heads: BTreeMap<u16, u16>,
    inbound: BTreeMap<u32, VecDeque<Message>>,
    written: Vec<(u32, Message)>,
    enters: u64,
    /// Every enter fails with this.
    broken: Option<i32>,
    /// The next replacement of a file fails with this.
    update_refused: Option<i32>,
    /// Nothing is let go of.
    stubborn: bool,
    done: Done,
}

/// An operation that was submitted and has not ended.
struct Held {
    request: Request,
    user_data: u64,
    /// The enter at which it is carried out, at the earliest.
    due: u64,
    cancelled: bool,
}

impl Ring {
    /// A ring on a kernel that does what the test wants.
    #[must_use]
    pub fn on_fake(config: RingConfig, script: Script) -> (Self, FakeKernel) {
        let state = State {
            script,
            dice: Dice::new(script.seed),
            submissions: config.submissions as usize,
            completions: config.completions as usize,
            queue: VecDeque::new(),
            completed: VecDeque::new(),
            overflow: VecDeque::new(),
            held: Vec::new(),
            files: Vec::new(),
            kept: Vec::new(),
            groups: Vec::new(),
            heads: BTreeMap::new(),
            inbound: BTreeMap::new(),
            written: Vec::new(),
            enters: 0,
            broken: None,
            update_refused: None,
            stubborn: false,
            done: Done::default(),
        };
        let kernel = FakeKernel(Rc::new(RefCell::new(state)));
        (Self::on(super::Kernel::Fake(kernel.clone()), config), kernel)
    }
}

impl FakeKernel {
    /// From now on it behaves like that.
    pub fn follow(&self, script: Script) {
        let mut state = self.state();
        state.script = script;
        state.dice = Dice::new(script.seed);
    }

    /// The next replacement of a file fails with this `errno`, and the file stays.
    pub fn refuse_update(&self, errno: i32) {
        self.state().update_refused = Some(errno);
    }

    /// Whether there is a file at a place.
    #[must_use]
    pub fn has_file(&self, place: u32) -> bool {
        self.state().files.get(place as usize).is_some_and(|&file| file >= 0)
    }

    /// Files that are in no place any more, and are not let go of yet.
    #[must_use]
    pub fn kept_files(&self) -> usize {
        let mut state = self.state();
        state.let_go_of_files();
        state.kept.len()
    }

    /// Something comes in at a place.
    pub fn deliver(&self, place: u32, message: Message) {
        self.state().inbound.entry(place).or_default().push_back(message);
    }

    /// How much came in at a place and was not read.
    #[must_use]
    pub fn unread(&self, place: u32) -> usize {
        self.state().inbound.get(&place).map_or(0, VecDeque::len)
    }

    /// What was written or sent since the last call, and at which place.
    #[must_use]
    pub fn take_written(&self) -> Vec<(u32, Message)> {
        std::mem::take(&mut self.state().written)
    }

    /// Operations that it has, queued ones among them, without those whose completions wait to be reaped.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        let state = self.state();
        state.held.len() + state.queue.len()
    }

    /// From now on every enter fails with `errno`, or none does.
    pub fn break_enter(&self, errno: Option<i32>) {
        self.state().broken = errno;
    }

    /// From now on nothing is cancelled or carried out any more.
    pub fn grow_stubborn(&self) {
        self.state().stubborn = true;
    }

    /// What it has done so far.
    #[must_use]
    pub fn done(&self) -> Done {
        self.state().done
    }

    fn state(&self) -> RefMut<'_, State> {
        self.0.borrow_mut()
    }

    /// # Safety
    /// As for [`super::Real::push`].
    #[inline(never)]
    pub(crate) unsafe fn push(&mut self, request: &Request, user_data: u64) -> bool {
        let mut state = self.state();
        let fits = state.queue.len() < state.submissions;
        if fits {
            state.queue.push_back((*request, user_data));
        } else {
            state.done.full += 1;
        }
        fits
    }

    #[inline(never)]
    pub(crate) fn queued(&self) -> usize {
        self.state().queue.len()
    }

    #[inline(never)]
    pub(crate) fn enter(&self, want: u32, flags: u32) -> Result<(), i32> {
        self.state().enter(want, flags != 0)
    }

    pub(crate) fn enter_for(&self, _want: usize, _time: Duration) -> Result<(), i32> {
        let mut state = self.state();
        state.enter(1, true)?;
        if state.completed.is_empty() { Err(libc::ETIME) } else { Ok(()) }
    }

    #[inline(never)]
    pub(crate) fn has_completed(&self) -> bool {
        !self.state().completed.is_empty()
    }

    pub(crate) fn drain(&self, max: usize, mut each: impl FnMut(Cqe)) -> usize {
        let len = max.min(self.completions());
        for _ in 0..len {
            each(self.next_completion());
        }
        len
    }

    #[inline(never)]
    fn completions(&self) -> usize {
        self.state().completed.len()
    }

    #[inline(never)]
    fn next_completion(&self) -> Cqe {
        self.state().completed.pop_front().expect("there are that many")
    }

    pub(crate) fn cancel_any(&self) {
        let mut state = self.state();
        if !state.stubborn {
            state.held.iter_mut().for_each(|held| held.cancelled = true);
        }
    }

    /// # Safety
    /// As for [`super::Real::register_buffer`].
    pub(crate) unsafe fn register_buffer(&self, _buffer: libc::iovec) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn register_files(&self, files: &[RawFd]) -> io::Result<()> {
        self.state().files = files.to_vec();
        Ok(())
    }

    pub(crate) fn update_file(&self, place: u32, file: RawFd) -> io::Result<()> {
        let mut state = self.state();
        if let Some(errno) = state.update_refused.take() {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let known = state.files.get_mut(place as usize);
        let former = std::mem::replace(known.ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?, file);
        if former >= 0 {
            let users = state.held.iter().filter(|held| held.request.place().is_some()).map(|held| held.user_data);
            let users = users.collect();
            state.kept.push((former, users));
            state.let_go_of_files();
        }
        Ok(())
    }

    /// # Safety
    /// As for [`super::Real::register_group`].
    pub(crate) unsafe fn register_group(&self, entries: *mut u8, count: u16, id: u16) -> io::Result<()> {
        let mut state = self.state();
        if state.groups.iter().any(|group| group.id == id) {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        let head = state.heads.get(&id).copied().unwrap_or(0);
        state.groups.push(Buffers::new(id, entries, count, head));
        Ok(())
    }

    pub(crate) fn unregister_group(&self, id: u16) -> io::Result<()> {
        let mut state = self.state();
        let users = state.held.iter().filter(|held| held.request.group() == Some(id)).count();
        assert_eq!(users, 0, "the kernel has no check of its own, and would write into slots of others");
        let State { groups, heads, .. } = &mut *state;
        for ended in groups.extract_if(.., |group| group.id == id).filter(|group| group.id < GROUPS_KEPT) {
            heads.insert(id, ended.head);
        }
        Ok(())
    }
}

impl State {
    fn let_go_of_files(&mut self) {
        let Self { kept, held, .. } = self;
        kept.retain(|(_, users)| held.iter().any(|held| users.contains(&held.user_data)));
    }
}

impl std::fmt::Debug for FakeKernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state();
        f.debug_struct("FakeKernel").field("script", &state.script).field("done", &state.done).finish_non_exhaustive()
    }
}
