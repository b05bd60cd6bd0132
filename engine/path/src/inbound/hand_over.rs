//! Data for a session that is not here: the reuseport program missed, or nobody has it.

use ring_buffers::{Parcel, View};
use ringfort_core::drops::DropReason;
use ringfort_core::ids::owner;
use ringfort_core::time::Time;

use super::{Run, TRAIN_ROOM};
use crate::budget::line;
use crate::outputs::Handoff;
use crate::{DataPath, Watch};

impl<W: Watch> DataPath<W> {
    #[cold]
    pub(super) fn hand_over(&mut self, now: Time, run: Run<'_>) -> Option<View> {
        let datagrams = run.counters.len();
        if run.handed || self.is_owner(run.receiver) {
            self.note_lost_session(now, &run);
            let &Run { stride, endpoint, ecn, .. } = &run;
            self.tap_stranger(now, run.bytes(), stride, endpoint, ecn, DropReason::UnknownIndex);
            self.worthless += datagrams as u64;
            self.counters.drop(DropReason::UnknownIndex, datagrams);
            return run.behind();
        }
        let Run { stride, endpoint, ecn, receiver, .. } = run;
        let (parcel, behind) = self.pack(run);
        match parcel {
            None => self.counters.drop(DropReason::NoSlot, datagrams),
            Some(parcel) => {
                let handoff = Handoff { parcel, datagrams, stride, endpoint, ecn };
                self.outputs.handoffs.push_back((owner(receiver, self.config.workers), handoff));
            }
        }
        behind
    }

    /// Makes a run ready to leave this core, and says what is behind it. However long the other one does not take it,
    /// what is reserved here for reading and sending stays.
    fn pack(&self, run: Run<'_>) -> (Option<Parcel>, Option<View>) {
        if run.view.len() == TRAIN_ROOM + run.len && run.view.is_unique() {
            let mut train = run.view;
            train.advance(TRAIN_ROOM);
            let counted = self.pool.transfer(&train, line::HANDOFFS);
            return (counted.then(|| train.send_away().ok()).flatten(), None);
        }
        // A piece cannot leave without the rest: it gets a slot of its own.
        let copy = self.pool.claim_for(line::HANDOFFS).and_then(|mut copy| {
            copy.advance(TRAIN_ROOM);
            copy.truncate(run.len);
            copy.copy_from_slice(run.bytes());
            copy.send_away().ok()
        });
        (copy, run.behind())
    }
}
