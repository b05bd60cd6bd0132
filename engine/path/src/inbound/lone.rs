//! Data messages that come alone in one turn are opened together, those of one session at once. To a cipher that works
//! across packets they are as good as a train.
//!
//! Only the opening is put off, and only until the turn has nothing more at hand. What follows from the messages
//! happens in the order in which they came.

use arrayvec::ArrayVec;
use ring_buffers::View;
use ringfort_aead::{Message, OpenKey, Verdicts};
use ringfort_core::time::Time;
use ringfort_core::wire::{DATA_HEADER_LEN, DATA_LEN_MIN, DataHeader, parse_data_header};

use super::open::accept;
use super::{Origin, TRAIN_ROOM, Train, with_room};
use crate::{DataPath, LONE_MAX, Stage, Watch};

/// A data message that came alone, under a session that was here then.
pub(crate) struct Lone {
    /// [`TRAIN_ROOM`], and the message.
    view: View,
    counter: u64,
    origin: Origin,
}

impl Lone {
    /// Bytes on the wire.
    fn len(&self) -> usize {
        self.view.len() - TRAIN_ROOM
    }

    /// The message, header included.
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.view[TRAIN_ROOM..]
    }

    /// What is sealed of it.
    fn sealed(&mut self) -> Message<'_> {
        let counter = self.counter;
        Message::of_body(counter, &mut self.bytes_mut()[DATA_HEADER_LEN..]).expect("at least as long as a keepalive")
    }
}

impl<W: Watch> DataPath<W> {
    /// The header of a train that is one data message, and would be opened if it did not wait. Whoever looks on copies
    /// messages as they came, so then none waits.
    #[inline]
    pub(super) fn may_wait(&self, now: Time, train: &Train) -> Option<DataHeader> {
        let len = train.view.len();
        if len > train.stride || len < DATA_LEN_MIN || self.tap.is_some() {
            return None;
        }
        let header = parse_data_header(&train.view).ok()?;
        let receiver = self.sessions.get(&header.receiver)?;
        receiver.session.usable(now).then_some(header)
    }

    /// Puts a train that may wait behind the others.
    #[inline]
    pub(super) fn let_wait(&mut self, now: Time, train: Train, header: DataHeader) {
        self.begin_train(now, &train);
        let DataHeader { receiver, counter } = header;
        let origin = Origin { receiver, endpoint: train.endpoint, ecn: train.ecn };
        self.waiting.push(Lone { view: with_room(train.view), counter, origin });
        if self.waiting.len() == LONE_MAX {
            self.open_waiting(now);
        }
    }

    /// The end of the waiting, if any message waits.
    #[inline]
    pub(crate) fn open_waiting(&mut self, now: Time) {
        if !self.waiting.is_empty() {
            self.open_lone(now);
        }
    }

    fn open_lone(&mut self, now: Time) {
        let mut waiting = std::mem::take(&mut self.waiting);
        self.watch.lap(Stage::Classify);
        let verified = self.open_by_session(&mut waiting);
        self.watch.lap(Stage::Open);
        let mut lengths = [0; LONE_MAX];
        let mut begin = 0;
        for run in waiting.chunk_by_mut(|one, next| one.origin == next.origin) {
            let end = begin + run.len();
            self.take_in(now, run, verified >> begin, &mut lengths[begin..end]);
            begin = end;
        }
        self.watch.lap(Stage::Check);
        for (lone, len) in waiting.drain(..).zip(lengths) {
            self.deliver_one(lone.view, len);
        }
        self.watch.lap(Stage::Coalesce);
        self.waiting = waiting;
    }

    /// Opens all that wait, those of one session together. Returns one bit for each: its tag has verified.
    fn open_by_session(&self, waiting: &mut [Lone]) -> u64 {
        let mut verified = 0;
        let mut left = u64::MAX >> (u64::BITS as usize - waiting.len());
        while left != 0 {
            let first = left.trailing_zeros() as usize;
            let index = waiting[first].origin.receiver;
            let mut places = 0;
            let mut messages = ArrayVec::<_, LONE_MAX>::new();
            for (place, lone) in waiting.iter_mut().enumerate().skip(first) {
                if lone.origin.receiver == index {
                    places |= 1 << place;
                    messages.push(lone.sealed());
                }
            }
            left &= !places;
            if let Some(receiver) = self.sessions.get(&index) {
                verified |= spread(open_together(receiver.session.key(), &mut messages), places);
            }
        }
        verified
    }

    /// What follows from messages of one origin, one after the other. `verified` has a bit for each; `lengths` gets how
    /// long the packet in each is that may go on.
    fn take_in(&mut self, now: Time, run: &mut [Lone], verified: u64, lengths: &mut [usize]) {
        let origin = run[0].origin;
        let Some(receiver) = self.sessions.get_mut(&origin.receiver) else {
            return debug_assert!(false, "a session ends only when nothing waits");
        };
        let peer = receiver.cell().id();
        let messages = run.iter().enumerate();
        let messages = messages.map(|(i, lone)| (lone.counter, verified >> i & 1 == 1, lone.len()));
        let accepted = accept(&mut receiver.session, messages);
        self.drop_refused(now, origin.receiver, &accepted);
        if accepted.segments == 0 {
            return;
        }
        let authentic = run.iter().enumerate().filter(|(i, _)| accepted.has(*i));
        let longest = authentic.map(|(_, lone)| lone.len()).max().unwrap_or_default();
        self.note_authentic(now, &origin, longest, peer, &accepted);
        let before = self.last_source(origin.receiver);
        let mut source = before;
        for (i, (lone, length)) in run.iter_mut().zip(lengths).enumerate() {
            if accepted.has(i) {
                *length = self.check_message(now, lone.bytes_mut(), peer, &mut source, origin.ecn);
            }
        }
        self.keep_source(origin.receiver, before, source);
    }
}

// Not inlined: what the cipher takes is told from the rest by it (bench/instructions).
#[inline(never)]
fn open_together(key: &OpenKey, messages: &mut [Message<'_>]) -> Verdicts {
    key.open_batch(messages).expect("no more than a batch holds, and no longer than a datagram")
}

/// The verdicts on messages, at the places of these messages.
fn spread(verdicts: Verdicts, places: u64) -> u64 {
    if verdicts.all_passed() {
        return places;
    }
    let mut left = places;
    let mut verified = 0;
    for has_verified in verdicts.iter() {
        let place = left & left.wrapping_neg();
        verified |= if has_verified { place } else { 0 };
        left ^= place;
    }
    verified
}
