//! Authenticated messages that control asks for.

use ringfort_core::ids::PeerId;
use ringfort_core::time::Time;
use ringfort_core::wire::{DATA_HEADER_LEN, DATA_LEN_MIN, TAG_LEN};

use super::Stalled;
use crate::budget::line;
use crate::{DataPath, Outcome, Watch};

const _: () = assert!(DATA_HEADER_LEN + TAG_LEN == DATA_LEN_MIN, "a keepalive is header and tag");

impl<W: Watch> DataPath<W> {
    /// Sends what waits for a peer, or an empty packet if nothing does.
    pub(crate) fn send_something(&mut self, now: Time, id: PeerId) -> Outcome {
        if self.peers.get(id).is_none() {
            return Outcome::Done;
        }
        if self.staging.waiting(id) > 0 {
            self.send_staged(now, id);
            return Outcome::Done;
        }
        let Some(mut view) = self.pool.claim_for(line::KEEPALIVES) else {
            self.stalled = Some(Stalled::Keepalive(id));
            return Outcome::NoSlot;
        };
        view.truncate(DATA_HEADER_LEN);
        self.admit(now, id, view, 0);
        self.seal_gathered(now);
        Outcome::Done
    }
}
