//! Operations in flight: what each has borrowed, where the kernel finds it, and what a completion makes of it.
//!
//! The kernel follows addresses into an operation until its final completion. So an operation belongs to the ring from
//! its launch to that completion, nothing in it moves, and a ring that cannot wait for it leaks it.

use std::rc::Rc;

use crate::completion::{Completion, Filled, Polled, Rang, Returned, Sent, Tag, Wrote};
use crate::doorbell::Waker;
use crate::group::Group;
use crate::kernel::Cqe;
use crate::message::Messages;
use crate::slab::{Key, Slab};
use crate::view::{Lent, View};

/// The `user_data` of cancellations, which borrow nothing. As a key it names entry 65,535, which no table has.
pub(crate) const CANCEL: u64 = u64::MAX;

pub(crate) struct Ops {
    pub(crate) slab: Slab<Op>,
    pub(crate) messages: Messages,
    /// Gathers that no operation uses.
    pub(crate) gathers: Vec<Gather>,
    /// Operations and cancellations that the kernel has, or finds in the submission queue.
    pub(crate) in_kernel: usize,
    /// Completions of operations that are not in flight.
    pub(crate) unexpected: u64,
}

/// One operation, with what it borrows.
pub(crate) struct Op {
    pub(crate) tag: Tag,
    pub(crate) kind: Kind,
}

pub(crate) enum Kind {
    /// Reads into a group until it ends.
    Fill {
        group: Rc<Group>,
        by: Filler,
    },
    Poll,
    Write(Lent),
    /// From memory that lives as long as the program.
    WriteStatic,
    Gather(Gather),
    Send(Lent),
    /// The waker keeps the eventfd open.
    Doorbell {
        _waker: Waker,
    },
}

/// Which operation fills buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filler {
    Read,
    Receive,
}

impl Ops {
    pub(crate) fn new(capacity: u16) -> Self {
        Self {
            slab: Slab::new(capacity),
            messages: Messages::new(capacity),
            gathers: Vec::new(),
            in_kernel: 0,
            unexpected: 0,
        }
    }

    /// Gives `each` what a completion is, if it is anything for anybody.
    #[inline(always)]
    pub(crate) fn resolve(&mut self, cqe: Cqe, each: &mut impl FnMut(Completion)) {
        let key = Key::decode(cqe.user_data);
        if cqe.has_more() {
            return self.goes_on(key, cqe, each);
        }
        let Some(Op { tag, kind }) = self.slab.remove(key) else { return self.resolve_other(cqe) };
        self.in_kernel -= 1;
        let result = cqe.result;
        match kind {
            // SAFETY: this is the operation's final completion, and the slab hands the operation out once.
            Kind::Send(lent) => each(Completion::Sent(Sent { tag, result, view: unsafe { lent.settle() } })),
            Kind::Write(lent) => {
                // SAFETY: as above.
                let mut view = unsafe { lent.settle() };
                let written = usize::try_from(result).unwrap_or(0);
                // A pipe or a stream takes what it has room for.
                let returned = if result < 0 || written < view.len() {
                    view.advance(written);
                    returned(view, Vec::new())
                } else {
                    None
                };
                each(Completion::Wrote(Wrote { returned, tag, result, is_gathered: false }));
            }
            Kind::WriteStatic => each(Completion::Wrote(Wrote { returned: None, tag, result, is_gathered: false })),
            Kind::Gather(gather) => {
                let returned = self.end_gather(gather, result < 0);
                each(Completion::Wrote(Wrote { returned, tag, result, is_gathered: true }));
            }
            Kind::Fill { group, by } => {
                // Before `each`, which may panic.
                group.end_use();
                by.give(fill(&group, tag, cqe), each);
            }
            Kind::Poll => each(Completion::Polled(Polled { tag, result, goes_on: false })),
            Kind::Doorbell { .. } => each(Completion::Rang(Rang { tag, result })),
        }
    }

    /// A completion of an operation that goes on: it keeps what it has.
    #[inline]
    fn goes_on(&mut self, key: Key, cqe: Cqe, each: &mut impl FnMut(Completion)) {
        let Some(Op { tag, kind }) = self.slab.get_mut(key) else { return self.resolve_other(cqe) };
        match kind {
            Kind::Fill { group, by } => by.give(fill(group, *tag, cqe), each),
            Kind::Poll => each(Completion::Polled(Polled { tag: *tag, result: cqe.result, goes_on: true })),
            // None of the others completes twice.
            _ => {}
        }
    }

    #[cold]
    fn resolve_other(&mut self, cqe: Cqe) {
        if cqe.user_data == CANCEL {
            self.in_kernel -= 1;
        } else {
            self.unexpected += 1;
        }
    }

    /// Takes the pieces of a gathered write, which go home unless it failed.
    fn end_gather(&mut self, mut gather: Gather, failed: bool) -> Option<Box<Returned>> {
        let mut pieces = Vec::new();
        // SAFETY: `resolve` took the operation out of the slab at its final completion.
        unsafe {
            gather.settle(|view| {
                if failed {
                    pieces.push(view)
                }
            })
        };
        self.gathers.push(gather);
        if pieces.is_empty() {
            return None;
        }
        let first = pieces.remove(0);
        returned(first, pieces)
    }
}

#[cold]
fn returned(first: View, rest: Vec<View>) -> Option<Box<Returned>> {
    Some(Box::new(Returned { first, rest }))
}

impl Filler {
    #[inline]
    fn give(self, filled: Filled, each: &mut impl FnMut(Completion)) {
        each(match self {
            Self::Read => Completion::Read(filled),
            Self::Receive => Completion::Received(filled),
        });
    }
}

#[inline]
fn fill(group: &Rc<Group>, tag: Tag, cqe: Cqe) -> Filled {
    let len = usize::try_from(cqe.result).unwrap_or(0);
    // A buffer that the kernel took comes home, whatever else the completion says.
    let taken = cqe.buffer().map(|buffer| group.take(buffer, len));
    let (view, result) = match taken {
        Some(Some(view)) => (Some(view), cqe.result),
        // The kernel does not have that buffer: a bug, here or there. Nobody may look at it.
        Some(None) => (None, -libc::EPROTO),
        None => (None, cqe.result),
    };
    Filled { tag, result, goes_on: cqe.has_more(), view }
}

/// The pieces of one write, and what the kernel reads to find them. Allocated once.
pub(crate) struct Gather {
    lent: Vec<Lent>,
    iovecs: Vec<libc::iovec>,
}

impl Gather {
    pub(crate) fn new(pieces_max: usize) -> Self {
        Self { lent: Vec::with_capacity(pieces_max), iovecs: Vec::with_capacity(pieces_max) }
    }

    pub(crate) fn pieces_max(&self) -> usize {
        self.lent.capacity()
    }

    /// Lends the pieces to the kernel, of which there are no more than it has room for.
    pub(crate) fn load(&mut self, pieces: &mut Vec<View>) {
        for piece in pieces.drain(..) {
            let lent = piece.lend();
            // The kernel takes an empty piece of registered memory for an error (EFAULT).
            if lent.len() > 0 {
                self.iovecs.push(libc::iovec { iov_base: lent.as_ptr().cast(), iov_len: lent.len() });
            }
            self.lent.push(lent);
        }
    }

    /// Address and number of the `iovec`s.
    pub(crate) fn iovecs(&self) -> (*const libc::iovec, u32) {
        (self.iovecs.as_ptr(), self.iovecs.len() as u32)
    }

    /// Takes the pieces back, in order.
    ///
    /// # Safety
    /// As for [`Lent::settle`].
    pub(crate) unsafe fn settle(&mut self, mut each: impl FnMut(View)) {
        self.iovecs.clear();
        for lent in self.lent.drain(..) {
            // SAFETY: the caller vouches that the kernel is done with all pieces.
            each(unsafe { lent.settle() });
        }
    }
}
