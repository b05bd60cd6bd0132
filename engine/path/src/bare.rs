//! A shell without a ring, for tests and measurements. The socket takes each train at once, the TUN each write, and
//! control each event.

use ring_buffers::{LineId, View};
use ringfort_core::time::Time;

use crate::{DataPath, Outcome, TRAIN_ROOM, Train, Transmit, Watch};

/// A slot with these bytes, and room in front of them, as the kernel would have filled it. `None`: none is free.
#[must_use]
pub fn filled<W: Watch>(path: &DataPath<W>, line: LineId, bytes: &[u8]) -> Option<View> {
    let mut view = path.pool().claim_for(line)?;
    view.advance(TRAIN_ROOM);
    view.truncate(bytes.len());
    let len = view.len();
    view.copy_from_slice(&bytes[..len]);
    Some(view)
}

/// A turn that reads the TUN: `reads` go in, and what leaves is added to `sent`.
///
/// # Panics
/// If a packet finds no slot. Nothing is in flight here, so waiting would not help.
#[inline]
pub fn turn_out<W: Watch>(path: &mut DataPath<W>, now: Time, reads: &mut Vec<View>, sent: &mut Vec<Transmit>) {
    for read in reads.drain(..) {
        assert_eq!(path.handle_packet(now, read), Outcome::Done, "a slot is free");
    }
    path.flush(now);
    take_transmits(path, now, sent);
    while path.poll_event().is_some() {}
}

/// Adds to `sent` what is ready to leave.
#[inline]
pub fn take_transmits<W: Watch>(path: &mut DataPath<W>, now: Time, sent: &mut Vec<Transmit>) {
    while let Some(transmit) = path.poll_transmit() {
        path.handle_sent(now, transmit.note());
        path.handle_left(transmit.all());
        sent.push(transmit);
    }
}

/// A turn that reads the socket: `trains` go in. What is written goes through `pieces`, so nothing is allocated here.
#[inline]
pub fn turn_in<W: Watch>(path: &mut DataPath<W>, now: Time, trains: &mut Vec<Train>, pieces: &mut Vec<View>) {
    let mut trains = trains.drain(..);
    while let Some(train) = trains.next() {
        if trains.len() > 0 {
            path.gather_train(now, train, &mut || None);
        } else {
            path.handle_train(now, train, &mut || None);
        }
    }
    path.flush_writes(now);
    while path.poll_write(pieces) {
        pieces.clear();
    }
    while path.poll_event().is_some() {}
}
