//! Data for a session that is not here: the reuseport program missed, or nobody has it.

use ring_buffers::{Parcel, View};
use ringfort_core::drops::DropReason;
use ringfort_core::ids::owner;
use ringfort_core::time::Time;

use super::Run;
use crate::budget::line;
use crate::outputs::Handoff;
use crate::{DataPath, Watch};

impl<W: Watch> DataPath<W> {
    #[cold]
    pub(super) fn hand_over(&mut self, now: Time, run: Run<'_>) {
        let datagrams = run.counters.len();
        if run.handed || self.is_owner(run.receiver) {
            self.note_lost_session(now, &run);
            let Run { view, stride, endpoint, ecn, .. } = &run;
            self.tap_stranger(now, view, *stride, *endpoint, *ecn, DropReason::UnknownIndex);
            self.worthless += datagrams as u64;
            return self.counters.drop(DropReason::UnknownIndex, datagrams);
        }
        let Some(parcel) = self.pack(run.view) else {
            return self.counters.drop(DropReason::NoSlot, datagrams);
        };
        let handoff = Handoff { parcel, datagrams, stride: run.stride, endpoint: run.endpoint, ecn: run.ecn };
        self.outputs.handoffs.push_back((owner(run.receiver, self.config.workers), handoff));
    }

    /// Makes a train ready to leave this core. However long the other one does not take it, what is reserved here for
    /// reading and sending stays.
    fn pack(&self, train: View) -> Option<Parcel> {
        if train.is_unique() {
            let counted = self.pool.transfer(&train, line::HANDOFFS);
            return counted.then(|| train.send_away().ok()).flatten();
        }
        // A piece cannot leave without the rest: it gets a slot of its own.
        let mut copy = self.pool.claim_for(line::HANDOFFS)?;
        copy.truncate(train.len());
        copy.copy_from_slice(&train);
        copy.send_away().ok()
    }
}
