//! An enter of the fake kernel: what is taken, carried out and completed.

use super::buffers::{bytes_at, gathered_at};
use super::{Held, Message, State};
use crate::kernel::{Cqe, Request};

/// `IORING_CQE_F_BUFFER` and `IORING_CQE_F_MORE` of `<linux/io_uring.h>`, and where the buffer's number begins.
const F_BUFFER: u32 = 1;
const F_MORE: u32 = 2;
const BUFFER_SHIFT: u32 = 16;

/// How many enters an operation may be late.
const LATE_MAX: usize = 8;
/// How many enters pass at most while somebody waits.
const PATIENCE: usize = 2 * LATE_MAX;

impl Request {
    pub(super) const fn group(&self) -> Option<u16> {
        match *self {
            Self::ReadMulti { group, .. } | Self::RecvMulti { group, .. } | Self::RecvMsgMulti { group, .. } => {
                Some(group)
            }
            _ => None,
        }
    }

    pub(super) const fn place(&self) -> Option<u32> {
        match *self {
            Self::ReadMulti { place, .. }
            | Self::RecvMulti { place, .. }
            | Self::RecvMsgMulti { place, .. }
            | Self::PollMulti { place }
            | Self::Write { place, .. }
            | Self::Writev { place, .. }
            | Self::SendMsg { place, .. }
            | Self::Send { place, .. } => Some(place),
            Self::ReadCounter { .. } | Self::Cancel { .. } => None,
        }
    }
}

impl State {
    pub(super) fn enter(&mut self, want: u32, get_events: bool) -> Result<(), i32> {
        if let Some(errno) = self.broken {
            return Err(errno);
        }
        self.enters += 1;
        if self.dice.roll(self.script.refused) {
            self.done.refused += 1;
            return Err(self.dice.pick(self.script.enter_errnos));
        }
        // A kernel that has not taken all does not wait either: it has more to be told.
        if !self.take() || !get_events {
            return Ok(());
        }
        self.work();
        for _ in 0..PATIENCE {
            if want == 0 || !self.completed.is_empty() {
                return Ok(());
            }
            self.enters += 1;
            self.work();
        }
        self.done.slept += 1;
        Ok(())
    }

    /// Takes what was submitted, or a part of it. True: that was all.
    fn take(&mut self) -> bool {
        let mut count = self.queue.len();
        if count > 0 && self.dice.roll(self.script.partial) {
            count = self.dice.below(count);
        }
        for (request, user_data) in self.queue.drain(..count).collect::<Vec<_>>() {
            let has_file = |place: u32| self.files.get(place as usize).is_some_and(|&file| file >= 0);
            if !request.place().is_none_or(has_file) {
                self.post(user_data, -libc::EBADF, 0);
                continue;
            }
            let late = self.dice.roll(self.script.late);
            let due = self.enters + if late { 1 + self.dice.below(LATE_MAX) as u64 } else { 0 };
            self.held.push(Held { request, user_data, due, cancelled: false });
        }
        self.queue.is_empty()
    }

    /// Carries out what is due, and gives the completion queue what it has room for.
    fn work(&mut self) {
        if !self.stubborn {
            let mut held = std::mem::take(&mut self.held);
            for place in 1..held.len() {
                if self.dice.roll(self.script.reordered) {
                    let other = self.dice.below(place);
                    held.swap(place, other);
                }
            }
            // Cancellations find what was submitted with them.
            self.held = held.extract_if(.., |held| !matches!(held.request, Request::Cancel { .. })).collect();
            for Held { request, user_data, .. } in held {
                let Request::Cancel { user_data: target } = request else { continue };
                let found = self.held.iter_mut().find(|held| held.user_data == target);
                let result = found.map_or(-libc::ENOENT, |held| {
                    held.cancelled = true;
                    0
                });
                self.post(user_data, result, 0);
            }
            for mut held in std::mem::take(&mut self.held) {
                if !self.carry_out(&mut held) {
                    self.held.push(held);
                }
            }
        }
        while self.completed.len() < self.completions
            && let Some(cqe) = self.overflow.pop_front()
        {
            self.completed.push_back(cqe);
        }
    }

    fn post(&mut self, user_data: u64, result: i32, flags: u32) {
        let cqe = Cqe { user_data, result, flags };
        if self.completed.len() < self.completions && self.overflow.is_empty() {
            self.completed.push_back(cqe);
        } else {
            self.done.overflowed += 1;
            self.overflow.push_back(cqe);
        }
    }

    /// True: the operation has ended.
    fn carry_out(&mut self, held: &mut Held) -> bool {
        if held.cancelled {
            self.done.cancelled += 1;
            self.post(held.user_data, -libc::ECANCELED, 0);
            return true;
        }
        if held.due > self.enters {
            return false;
        }
        match held.request {
            Request::ReadMulti { .. } | Request::RecvMulti { .. } | Request::RecvMsgMulti { .. } => self.fill(held),
            Request::PollMulti { place } => self.poll(held, place),
            Request::ReadCounter { file, counter } => {
                // SAFETY: the counter's eight bytes are lent until this operation completes.
                let len = unsafe { libc::read(file, counter.cast(), 8) };
                if len == 8 {
                    self.post(held.user_data, 8, 0);
                }
                len == 8
            }
            Request::Cancel { .. } => true,
            _ => {
                self.write(held);
                true
            }
        }
    }

    /// Reads what there is, a buffer for each.
    fn fill(&mut self, held: &Held) -> bool {
        let (Some(place), Some(id)) = (held.request.place(), held.request.group()) else { return true };
        while self.inbound.get(&place).is_some_and(|inbound| !inbound.is_empty()) {
            let ends = self.dice.roll(self.script.ended);
            let errno = self.dice.pick(self.script.ends);
            if ends && errno != 0 {
                self.done.failed += 1;
                self.post(held.user_data, -errno, 0);
                return true;
            }
            let inbound = self.inbound.get_mut(&place).expect("it was there just now");
            let message = inbound.front().expect("it is not empty");
            let group = self.groups.iter_mut().find(|group| group.id == id);
            let Some((buffer, len)) = group.and_then(|group| laid_out(&held.request, message, |m| group.fill(m)))
            else {
                self.post(held.user_data, -libc::ENOBUFS, 0);
                return true;
            };
            inbound.pop_front();
            let more = if ends { 0 } else { F_MORE };
            self.post(held.user_data, len as i32, F_BUFFER | more | u32::from(buffer) << BUFFER_SHIFT);
            if ends {
                return true;
            }
        }
        false
    }

    fn poll(&mut self, held: &mut Held, place: u32) -> bool {
        if self.inbound.get(&place).is_none_or(std::collections::VecDeque::is_empty) {
            return false;
        }
        // Not again before somebody has had time to read.
        held.due = self.enters + 2;
        let ends = self.dice.roll(self.script.ended);
        self.post(held.user_data, libc::POLLIN.into(), if ends { 0 } else { F_MORE });
        ends
    }

    fn write(&mut self, held: &Held) {
        // SAFETY: this operation has not completed, so all that its request points to is lent to the kernel.
        let mut message = unsafe { message_of(&held.request) };
        if self.dice.roll(self.script.failed) {
            self.done.failed += 1;
            let errno = self.dice.pick(self.script.errnos);
            return self.post(held.user_data, -errno, 0);
        }
        if message.bytes.len() > 1 && self.dice.roll(self.script.short) {
            let len = 1 + self.dice.below(message.bytes.len() - 1);
            message.bytes.truncate(len);
        }
        self.post(held.user_data, message.bytes.len() as i32, 0);
        let place = held.request.place().expect("a write has a place");
        self.written.push((place, message));
    }
}

/// Fills a buffer as the request wants it: bytes only, or `struct io_uring_recvmsg_out` and what follows it.
fn laid_out(
    request: &Request,
    message: &Message,
    fill: impl FnOnce(&[&[u8]]) -> Option<(u16, usize)>,
) -> Option<(u16, usize)> {
    let Request::RecvMsgMulti { message: wanted, .. } = *request else { return fill(&[&message.bytes]) };
    // SAFETY: the operation has not completed, so its description is lent to the kernel.
    let wanted = unsafe { &*wanted };
    let padded = |bytes: &[u8], len: usize| {
        let mut bytes = bytes.to_vec();
        bytes.resize(len, 0);
        bytes
    };
    let lengths = [message.name.len(), message.control.len(), message.bytes.len(), 0];
    let header: Vec<u8> = lengths.iter().flat_map(|&len| (len as u32).to_ne_bytes()).collect();
    let name = padded(&message.name, wanted.msg_namelen as usize);
    let control = padded(&message.control, wanted.msg_controllen as _);
    fill(&[&header, &name, &control, &message.bytes])
}

/// What a request is to write or to send.
///
/// # Safety
/// All that it points to must be there, and not be written meanwhile.
unsafe fn message_of(request: &Request) -> Message {
    match *request {
        Request::Write { bytes, len, .. } => {
            // SAFETY: the caller answers for the bytes.
            Message { bytes: unsafe { bytes_at(bytes, len as usize) }, ..Message::default() }
        }
        Request::Writev { pieces, count, .. } => {
            // SAFETY: the caller answers for the pieces.
            Message { bytes: unsafe { gathered_at(pieces, count as usize) }, ..Message::default() }
        }
        Request::Send { bytes, len, name, name_len, .. } => {
            // SAFETY: the caller answers for the bytes.
            let bytes = unsafe { bytes_at(bytes, len as usize) };
            // SAFETY: and for the address.
            let name = unsafe { bytes_at(name, name_len.into()) };
            Message { name, bytes, ..Message::default() }
        }
        Request::SendMsg { message, .. } => {
            // SAFETY: the caller answers for the description.
            let header = unsafe { &*message };
            // SAFETY: and for what it points to.
            let name = unsafe { bytes_at(header.msg_name.cast(), header.msg_namelen as usize) };
            // SAFETY: as above.
            let control = unsafe { bytes_at(header.msg_control.cast(), header.msg_controllen as _) };
            // SAFETY: as above.
            let bytes = unsafe { gathered_at(header.msg_iov, header.msg_iovlen as _) };
            Message { name, control, bytes }
        }
        _ => Message::default(),
    }
}
