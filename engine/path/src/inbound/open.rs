//! A run finds its session, and is opened in place.

use ring_buffers::View;
use ringfort_aead::Geometry;
use ringfort_core::drops::DropReason;
use ringfort_core::ids::{PeerId, owner};
use ringfort_core::keypair::ReceiveSession;
use ringfort_core::time::Time;

use super::{Accepted, Run};
use crate::{DataPath, SessionOrder, Stage, Watch};

impl<W: Watch> DataPath<W> {
    /// Returns what is behind the run in its train.
    pub(super) fn open(
        &mut self,
        now: Time,
        mut run: Run<'_>,
        late: &mut dyn FnMut() -> Option<SessionOrder>,
    ) -> Option<View> {
        let index = run.origin.receiver;
        if !self.sessions.contains_key(&index) && self.is_owner(index) {
            while let Some(order) = late() {
                self.handle_session(now, order);
            }
        }
        let Some(receiver) = self.sessions.get_mut(&index) else {
            return self.hand_over(now, run);
        };
        let peer = receiver.cell().id();
        let session = &mut receiver.session;
        if !session.usable(now) {
            return self.drop_run(now, run, peer, DropReason::ExpiredSession);
        }
        let Ok(geometry) = Geometry::of_received(run.len, run.stride) else {
            return self.drop_run(now, run, peer, DropReason::BadLength);
        };
        if let Some(tap) = &mut self.tap {
            tap.hold(peer, run.bytes());
        }
        self.watch.lap(Stage::Classify);
        let Ok(verdicts) = session.key().open_train(run.counters, run.bytes_mut(), geometry) else {
            return self.drop_run(now, run, peer, DropReason::BadLength);
        };
        self.watch.lap(Stage::Open);
        let messages = run.counters.iter().enumerate();
        let mut accepted = accept(session, messages.map(|(i, &n)| (n, verdicts.passed(i), geometry.segment_len(i))));
        // To the timers a train is one arrival.
        accepted.data = accepted.data.min(1);
        if let Some(tap) = &mut self.tap {
            tap.opened(now, &run.datagrams(peer), |i| match verdicts.passed(i) {
                _ if accepted.has(i) => None,
                true => Some(DropReason::Replay),
                false => Some(DropReason::BadTag),
            });
        }
        self.drop_refused(now, index, &accepted);
        if accepted.segments == 0 {
            return run.behind();
        }
        // All but the last are of one length.
        let longest = geometry.segment_len(accepted.bits.trailing_zeros() as usize);
        self.note_authentic(now, &run.origin, longest, peer, &accepted);
        let lengths = self.check(now, &mut run, peer, geometry, &accepted);
        self.watch.lap(Stage::Check);
        let behind = self.deliver(run.view, geometry, &lengths);
        self.watch.lap(Stage::Coalesce);
        behind
    }

    /// Throws away all messages of a run.
    #[cold]
    fn drop_run(&mut self, now: Time, run: Run<'_>, peer: PeerId, reason: DropReason) -> Option<View> {
        if let Some(tap) = self.tap.as_mut().filter(|tap| tap.wants_peer(Some(peer))) {
            tap.received(now, &run.datagrams(peer), run.bytes(), Some(reason));
        }
        self.drop_received(now, run.origin.receiver, reason, run.counters.len());
        run.behind()
    }

    /// Counts the messages that were not accepted.
    #[inline]
    pub(super) fn drop_refused(&mut self, now: Time, local_index: u32, accepted: &Accepted) {
        if accepted.forged > 0 {
            self.drop_received(now, local_index, DropReason::BadTag, accepted.forged);
        }
        if accepted.replays > 0 {
            self.drop_received(now, local_index, DropReason::Replay, accepted.replays);
        }
    }

    /// Whether this worker owns a receiver index.
    pub(super) const fn is_owner(&self, local_index: u32) -> bool {
        owner(local_index, self.config.workers) == self.config.worker
    }
}

/// Marks the counters of messages that have verified. Of each message: its counter, whether its tag has verified, and
/// its bytes on the wire.
#[inline]
pub(super) fn accept<K>(
    session: &mut ReceiveSession<K>,
    messages: impl Iterator<Item = (u64, bool, usize)>,
) -> Accepted {
    let mut accepted = Accepted::default();
    for (i, (counter, has_verified, len)) in messages.enumerate() {
        if !has_verified {
            accepted.forged += 1;
            continue;
        }
        match session.accept(counter) {
            Ok(()) => accepted.note(i, len),
            Err(_) => accepted.replays += 1,
        }
    }
    accepted
}
