//! Operations: how each begins.

use std::rc::Rc;

use super::{ENTER_GETEVENTS, Kind, Op, OpId, Ring};
use crate::doorbell::Waker;
use crate::enter::{Entered, PushError};
use crate::group::BufferGroup;
use crate::kernel::Request;
use crate::message::{Envelope, Message};
use crate::ops::{CANCEL, Filler};
use crate::view::{Lent, View};
use crate::{Key, Tag};

/// How often the kernel is asked to make room in a full submission queue.
const PUSH_ATTEMPTS: usize = 4;

/// An operation that was not begun, and its bytes.
#[derive(Debug)]
pub struct NotBegun {
    /// The bytes as they were given.
    pub view: View,
    /// Why.
    pub why: PushError,
}

/// Where the bytes of a write lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// In the arena that is registered with the ring.
    Registered,
    /// Elsewhere: the kernel has to find the pages first.
    Other,
}

impl Ring {
    /// Reads from the file at `place` into buffers of `group`, a [`crate::Completion::Read`] for each, until it ends.
    /// Linux 6.7 and later.
    ///
    /// # Errors
    /// [`PushError`]: it was not begun.
    pub fn read_multishot(&mut self, place: u32, group: &BufferGroup, tag: Tag) -> Result<OpId, PushError> {
        self.fill(group, Filler::Read, tag, |group, _| Request::ReadMulti { place, group })
    }

    /// Receives from the socket at `place` into buffers of `group`, a [`crate::Completion::Received`] for each.
    ///
    /// # Errors
    /// [`PushError`]: it was not begun.
    pub fn receive_multishot(&mut self, place: u32, group: &BufferGroup, tag: Tag) -> Result<OpId, PushError> {
        self.fill(group, Filler::Receive, tag, |group, _| Request::RecvMulti { place, group })
    }

    /// The same with the sender's address and control messages: each buffer begins with `struct io_uring_recvmsg_out`,
    /// then has `name_len` bytes for an address and `control_len` for control messages.
    ///
    /// # Errors
    /// [`PushError`]: it was not begun.
    pub fn receive_messages(
        &mut self,
        place: u32,
        group: &BufferGroup,
        (name_len, control_len): (usize, usize),
        tag: Tag,
    ) -> Result<OpId, PushError> {
        self.fill(group, Filler::Receive, tag, |group, message| {
            let message = message.describe_room(name_len, control_len);
            Request::RecvMsgMulti { place, message, group }
        })
    }

    /// Says whenever the file at `place` can be read, as [`crate::Completion::Polled`].
    ///
    /// # Errors
    /// [`PushError`]: it was not begun.
    pub fn poll_multishot(&mut self, place: u32, tag: Tag) -> Result<OpId, PushError> {
        self.launch(tag, Kind::Poll, |_, _| Request::PollMulti { place }).map_err(|(_, why)| why)
    }

    /// Writes the bytes of a view to the file at `place`.
    ///
    /// # Errors
    /// [`NotBegun`] gives the view back.
    pub fn write(&mut self, place: u32, view: View, tag: Tag) -> Result<Memory, NotBegun> {
        let memory = self.memory_of(&view);
        let launched = self.launch(tag, Kind::Write(view.lend()), |kind, _| {
            let Kind::Write(lent) = kind else { unreachable!("it is what it was launched as") };
            let fixed = memory == Memory::Registered;
            Request::Write { place, bytes: lent.as_ptr().cast_const(), len: lent.len() as u32, fixed }
        });
        launched.map(|_| memory).map_err(NotBegun::of)
    }

    /// Writes bytes that live as long as the program, by a send that waits until the socket at `place` takes some.
    ///
    /// # Errors
    /// [`PushError`]: it was not begun.
    pub fn write_static(&mut self, place: u32, bytes: &'static [u8], tag: Tag) -> Result<OpId, PushError> {
        let (bytes, len) = (bytes.as_ptr(), bytes.len().min(1 << 30) as u32);
        let request = Request::Send { place, bytes, len, flags: 0, name: std::ptr::null(), name_len: 0 };
        self.launch(tag, Kind::WriteStatic, |_, _| request).map_err(|(_, why)| why)
    }

    /// Writes the bytes of several views as one; `pieces` is empty afterwards. `may_fix`: the kernel has
    /// `IORING_OP_WRITEV_FIXED`.
    ///
    /// # Errors
    /// [`PushError`]; `pieces` is as it was.
    pub fn write_gathered(
        &mut self,
        place: u32,
        pieces: &mut Vec<View>,
        may_fix: bool,
        tag: Tag,
    ) -> Result<Memory, PushError> {
        let mut gather = self.ops.gathers.pop().ok_or(PushError::Full)?;
        if pieces.is_empty() || pieces.len() > gather.pieces_max() {
            self.ops.gathers.push(gather);
            return Err(PushError::Pieces);
        }
        let registered = pieces.iter().all(|piece| self.memory_of(piece) == Memory::Registered);
        gather.load(pieces);
        let launched = self.launch(tag, Kind::Gather(gather), |kind, _| {
            let Kind::Gather(gather) = kind else { unreachable!("it is what it was launched as") };
            let (iovecs, count) = gather.iovecs();
            Request::Writev { place, pieces: iovecs, count, fixed: registered && may_fix }
        });
        let Err((kind, why)) = launched else {
            return Ok(if registered { Memory::Registered } else { Memory::Other });
        };
        let Kind::Gather(mut gather) = kind else { unreachable!("it comes back as it was given") };
        // SAFETY: the operation was never submitted.
        unsafe { gather.settle(|view| pieces.push(view)) };
        self.ops.gathers.push(gather);
        Err(why)
    }

    /// Sends the bytes of a view from the socket at `place`; `fill` writes the address and the control messages.
    ///
    /// # Errors
    /// [`NotBegun`] gives the view back.
    #[inline]
    pub fn send_message(
        &mut self,
        place: u32,
        view: View,
        tag: Tag,
        fill: impl FnOnce(&mut Envelope<'_>),
    ) -> Result<OpId, NotBegun> {
        let Some(index) = self.ops.slab.vacancy() else { return Err(NotBegun { view, why: PushError::Full }) };
        // Before the view is lent: a `fill` that panics drops it, and no operation was begun.
        self.ops.messages.get(index).address(fill);
        let launched = self.launch(tag, Kind::Send(view.lend()), |kind, message| {
            let Kind::Send(lent) = kind else { unreachable!("it is what it was launched as") };
            Request::SendMsg { place, message: message.describe(lent.as_ptr(), lent.len()) }
        });
        launched.map_err(NotBegun::of)
    }

    /// Sends the first `len` bytes of a view from the socket at `place` to an address, as in `sockaddr`; to where the
    /// socket is connected if that is empty. What the socket cannot take at once has failed. The whole view comes back.
    ///
    /// # Errors
    /// [`NotBegun`] gives the view back.
    pub fn send(&mut self, place: u32, view: View, len: usize, address: &[u8], tag: Tag) -> Result<OpId, NotBegun> {
        let launched = self.launch(tag, Kind::Send(view.lend()), |kind, message| {
            let Kind::Send(lent) = kind else { unreachable!("it is what it was launched as") };
            let (name, name_len) = message.keep_name(address);
            let (bytes, len) = (lent.as_ptr().cast_const(), len.min(lent.len()) as u32);
            Request::Send { place, bytes, len, flags: libc::MSG_DONTWAIT, name, name_len }
        });
        launched.map_err(NotBegun::of)
    }

    /// Cancels an operation. It ends with a completion all the same, if it has not ended already.
    ///
    /// # Errors
    /// [`PushError`]: nobody will cancel it.
    pub fn cancel(&mut self, operation: OpId) -> Result<(), PushError> {
        // SAFETY: the request has no address in it.
        unsafe { self.push(&Request::Cancel { user_data: operation.0.encode() }, CANCEL) }
    }

    /// Reads the counter of an eventfd, once.
    pub(crate) fn listen(&mut self, waker: &Waker, tag: Tag) -> Result<OpId, PushError> {
        let file = waker.as_raw_fd();
        let kind = Kind::Doorbell { _waker: waker.clone() };
        let launched = self.launch(tag, kind, |_, message| Request::ReadCounter { file, counter: message.counter() });
        launched.map_err(|(_, why)| why)
    }

    fn fill(
        &mut self,
        group: &BufferGroup,
        by: Filler,
        tag: Tag,
        request: impl FnOnce(u16, &mut Message) -> Request,
    ) -> Result<OpId, PushError> {
        let group = group.shared().clone();
        if !self.groups.iter().any(|known| Rc::ptr_eq(known, &group)) {
            return Err(PushError::ForeignGroup);
        }
        let number = group.number();
        let kind = Kind::Fill { group: group.clone(), by };
        let launched = self.launch(tag, kind, |_, message| request(number, message));
        let operation = launched.map_err(|(_, why)| why)?;
        group.begin_use();
        Ok(operation)
    }

    /// Puts an operation into the table, describes it to the kernel and queues it.
    ///
    /// # Errors
    /// The operation as it was, if it was not queued.
    #[inline]
    fn launch(
        &mut self,
        tag: Tag,
        kind: Kind,
        describe: impl FnOnce(&mut Kind, &mut Message) -> Request,
    ) -> Result<OpId, (Kind, PushError)> {
        let ops = &mut *self.ops;
        let (key, op) = ops.slab.insert(Op { tag, kind }).map_err(|op| (op.kind, PushError::Full))?;
        let request = describe(&mut op.kind, ops.messages.get(key.index));
        // SAFETY: what the request points to is in the operation or lent to it, in its message, or lives as long as the
        // program. Operation and message stay where they are until the final completion; a ring that ends before leaks
        // them. What a group's operation writes is the group's, whose slots are nobody else's meanwhile.
        match unsafe { self.push(&request, key.encode()) } {
            Ok(()) => Ok(OpId(key)),
            Err(why) => Err((self.take_back(key), why)),
        }
    }

    /// An operation that the kernel never saw.
    #[cold]
    fn take_back(&mut self, key: Key) -> Kind {
        self.ops.slab.remove(key).expect("it was inserted just now").kind
    }

    /// # Safety
    /// As for [`crate::kernel::Real::push`].
    #[inline]
    unsafe fn push(&mut self, request: &Request, user_data: u64) -> Result<(), PushError> {
        // SAFETY: the caller answers for the addresses.
        let pushed = unsafe { self.kernel.push(request, user_data) };
        if !pushed {
            // SAFETY: as above.
            unsafe { self.push_into_full(request, user_data) }?;
        }
        self.ops.in_kernel += 1;
        Ok(())
    }

    /// # Safety
    /// As for [`crate::kernel::Real::push`].
    #[cold]
    unsafe fn push_into_full(&mut self, request: &Request, user_data: u64) -> Result<(), PushError> {
        let mut last = Entered::Done;
        for _ in 0..PUSH_ATTEMPTS {
            self.counters.submission_full += 1;
            last = self.enter(0, ENTER_GETEVENTS)?;
            // SAFETY: the caller answers for the addresses.
            if unsafe { self.kernel.push(request, user_data) } {
                return Ok(());
            }
            if last == Entered::ReapFirst {
                self.make_room();
            }
        }
        Err(PushError::Stuck(last))
    }

    fn memory_of(&self, view: &View) -> Memory {
        match &self.arena {
            Some(arena) if view.lies_in(arena) => Memory::Registered,
            _ => Memory::Other,
        }
    }
}

impl NotBegun {
    fn of((kind, why): (Kind, PushError)) -> Self {
        let (Kind::Write(lent) | Kind::Send(lent)) = kind else { unreachable!("it comes back as it was given") };
        Self { view: take_back(lent), why }
    }
}

fn take_back(lent: Lent) -> View {
    // SAFETY: the operation was never submitted.
    unsafe { lent.settle() }
}
