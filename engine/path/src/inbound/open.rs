//! A run finds its session, and is opened in place.

use ringfort_aead::Geometry;
use ringfort_core::drops::DropReason;
use ringfort_core::ids::owner;
use ringfort_core::time::Time;

use super::{Accepted, Run};
use crate::{DataPath, SessionOrder, Stage, Watch};

impl<W: Watch> DataPath<W> {
    pub(super) fn open(&mut self, now: Time, mut run: Run<'_>, late: &mut dyn FnMut() -> Option<SessionOrder>) {
        if !self.sessions.contains_key(&run.receiver) && self.is_owner(run.receiver) {
            while let Some(order) = late() {
                self.handle_session(order);
            }
        }
        let Some(receiver) = self.sessions.get_mut(&run.receiver) else {
            return self.hand_over(now, run);
        };
        let session = &mut receiver.session;
        let segments = run.counters.len();
        if !session.usable(now) {
            return self.drop_received(now, run.receiver, DropReason::ExpiredSession, segments);
        }
        let Ok(geometry) = Geometry::of_received(run.view.len(), run.stride) else {
            return self.drop_received(now, run.receiver, DropReason::BadLength, segments);
        };
        self.watch.lap(Stage::Classify);
        let Ok(verdicts) = session.key().open_train(run.counters, &mut run.view, geometry) else {
            return self.drop_received(now, run.receiver, DropReason::BadLength, segments);
        };
        self.watch.lap(Stage::Open);
        let mut accepted = Accepted::default();
        let mut replays = 0;
        for (i, &counter) in run.counters.iter().enumerate() {
            if !verdicts.passed(i) {
                continue;
            }
            match session.accept(counter) {
                Ok(()) => accepted.note(i, geometry),
                Err(_) => replays += 1,
            }
        }
        let peer = receiver.cell().id();
        let forged = verdicts.failed_count();
        if forged > 0 {
            self.drop_received(now, run.receiver, DropReason::BadTag, forged);
        }
        if replays > 0 {
            self.drop_received(now, run.receiver, DropReason::Replay, replays);
        }
        if accepted.segments == 0 {
            return;
        }
        self.note_authentic(now, &run, peer, &accepted);
        let lengths = self.check(now, &mut run, peer, geometry, &accepted);
        self.watch.lap(Stage::Check);
        self.deliver(run.view, geometry, &lengths);
        self.watch.lap(Stage::Coalesce);
    }

    /// Whether this worker owns a receiver index.
    pub(super) const fn is_owner(&self, local_index: u32) -> bool {
        owner(local_index, self.config.workers) == self.config.worker
    }
}
