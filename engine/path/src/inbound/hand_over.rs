//! Data for a session that is not here: the reuseport program missed, or nobody has it.

use ring_buffers::{Parcel, View};
use ringfort_core::drops::DropReason;
use ringfort_core::ids::owner;
use ringfort_core::time::Time;

use super::{Origin, Run, TRAIN_ROOM};
use crate::budget::line;
use crate::outputs::Handoff;
use crate::{DataPath, Watch};

impl<W: Watch> DataPath<W> {
    #[cold]
    pub(super) fn hand_over(&mut self, now: Time, run: Run<'_>) -> Option<View> {
        let datagrams = run.counters.len();
        let Origin { receiver, endpoint, ecn } = run.origin;
        // Anybody can send a train whose datagrams are for one worker after the other, and the program that steers sees
        // the first. What no session answers to goes to nobody else: it would cost a slot, a copy and a wake for each.
        if run.handed || self.is_owner(receiver) || !self.screen.may_know(receiver) {
            self.note_lost_session(now, &run);
            let reason = self.reason_or_passive(self.config.node.unknown(receiver));
            self.tap_stranger(now, run.bytes(), run.stride, endpoint, ecn, reason);
            self.worthless += datagrams as u64;
            self.counters.drop(reason, datagrams);
            return run.behind();
        }
        let stride = run.stride;
        let (parcel, behind) = self.pack(now, run);
        match parcel {
            None => {
                self.worthless += datagrams as u64;
                self.counters.drop(DropReason::NoSlot, datagrams);
            }
            Some(parcel) => {
                let handoff = Handoff { parcel, datagrams, stride, endpoint, ecn };
                self.outputs.handoffs.push_back((owner(receiver, self.config.workers), handoff));
            }
        }
        behind
    }

    /// Another worker took a train, or it had no room, and gives it back.
    pub fn note_handoff(&mut self, now: Time, refused: Option<Handoff>) {
        match refused {
            None => self.counters.handoffs += 1,
            Some(handoff) => self.drop_handoff(now, handoff),
        }
    }

    #[cold]
    fn drop_handoff(&mut self, now: Time, handoff: Handoff) {
        let Handoff { parcel, datagrams, stride, endpoint, ecn } = handoff;
        self.counters.drop(DropReason::HandoffFull, datagrams);
        if self.tap.is_some() {
            self.tap_stranger(now, &parcel.arrive(), stride, endpoint, ecn, DropReason::HandoffFull);
        }
    }

    /// Makes a run ready to leave this core, and says what is behind it. However long the other one does not take it,
    /// what is reserved here for reading and sending stays.
    fn pack(&mut self, now: Time, run: Run<'_>) -> (Option<Parcel>, Option<View>) {
        if run.view.len() == TRAIN_ROOM + run.len && run.view.is_unique() {
            if self.pool.transfer(&run.view, line::HANDOFFS) {
                let mut train = run.view;
                train.advance(TRAIN_ROOM);
                return (train.send_away().ok(), None);
            }
        } else if let Some(mut copy) = self.pool.claim_for(line::HANDOFFS) {
            // A piece cannot leave without the rest: it gets a slot of its own.
            copy.advance(TRAIN_ROOM);
            copy.truncate(run.len);
            copy.copy_from_slice(run.bytes());
            return (copy.send_away().ok(), run.behind());
        }
        let Origin { endpoint, ecn, .. } = run.origin;
        self.tap_stranger(now, run.bytes(), run.stride, endpoint, ecn, DropReason::NoSlot);
        (None, run.behind())
    }
}
