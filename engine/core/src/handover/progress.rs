//! What the workers know of the sessions: how far each of them is.
//!
//! Control makes sessions, and knows their keys. The workers count: the sending half is in the peer's cell, the
//! receiving half with its owner. So a state is complete only with what they say once they have stopped.

use std::collections::BTreeMap;

use crate::cell::{PeerCell, Receiver};
use crate::ids::PeerId;
use crate::keypair::Received;
use crate::part::{Malformed, Part, Reader, Sink, parts};

/// How far the sending half of a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendHalf {
    /// Nobody sends under it any more.
    Over,
    /// It is the one to send with, and the next message has this counter.
    InUse(u64),
    /// So it will be, once the peer has shown that it has the key.
    Next(u64),
}

/// A session that goes on in another process.
#[derive(Clone, Debug)]
pub struct Resumed {
    /// Its receiving half.
    pub received: Received,
    /// Its sending half.
    pub send: SendHalf,
}

/// The receiving half of a session, as its owner reports it.
#[derive(Clone, Debug)]
pub struct ReceiverReport {
    local_index: u32,
    received: Received,
    /// The first counter of its sending half, if that still waits for the peer's first message.
    next: Option<u64>,
}

impl ReceiverReport {
    /// What a worker that has stopped knows of a session.
    pub fn of<O, S>(receiver: &Receiver<O, S>) -> Self {
        let next = receiver.next_counter();
        Self { local_index: receiver.session.local_index(), received: receiver.session.received(), next }
    }
}

/// What the workers know of all sessions.
#[derive(Debug, Default)]
pub struct Progress {
    receivers: BTreeMap<u32, ReceiverReport>,
    /// The session that each peer is sent under, and the counter of the next message.
    sending: BTreeMap<PeerId, (u32, u64)>,
}

impl Progress {
    /// A receiving half.
    pub fn note_receiver(&mut self, report: ReceiverReport) {
        self.receivers.insert(report.local_index, report);
    }

    /// What a peer is sent under, once nobody sends any more.
    pub fn note_cell<K>(&mut self, cell: &PeerCell<K>) {
        if let Some(session) = cell.sending().session() {
            self.sending.insert(cell.id(), (session.local_index(), session.next_counter()));
        }
    }

    /// A session that has just been resumed.
    #[cfg(test)]
    pub(crate) fn note_resumed(&mut self, peer: PeerId, local_index: u32, resumed: Resumed) {
        let Resumed { received, send } = resumed;
        let next = if let SendHalf::Next(counter) = send { Some(counter) } else { None };
        if let SendHalf::InUse(counter) = send {
            self.sending.insert(peer, (local_index, counter));
        }
        self.note_receiver(ReceiverReport { local_index, received, next });
    }

    /// How far a session of this peer is. `None`: no worker has reported it.
    pub(crate) fn of(&self, peer: PeerId, local_index: u32) -> Option<Resumed> {
        let report = self.receivers.get(&local_index)?;
        let sending = self.sending.get(&peer).filter(|(sending, _)| *sending == local_index);
        let send = match (sending, report.next) {
            (Some(&(_, counter)), _) => SendHalf::InUse(counter),
            (None, Some(counter)) => SendHalf::Next(counter),
            (None, None) => SendHalf::Over,
        };
        Some(Resumed { received: report.received.clone(), send })
    }
}

parts!(Resumed { received, send });

impl Part for SendHalf {
    fn put(&self, to: &mut dyn Sink) {
        match *self {
            Self::Over => 0_u8.put(to),
            Self::InUse(counter) => (1_u8, counter).put(to),
            Self::Next(counter) => (2_u8, counter).put(to),
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::take(from)? {
            0 => Ok(Self::Over),
            1 => u64::take(from).map(Self::InUse),
            2 => u64::take(from).map(Self::Next),
            _ => Err(from.bad("the sending half of a session")),
        }
    }
}
