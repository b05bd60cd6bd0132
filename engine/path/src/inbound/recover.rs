//! Data under an index that nobody has: the session may have been lost with a former process.
//!
//! It is the last thing that happens to such data, and only for some time after a start. Anybody can send it, as fast
//! as the link carries. So it costs a look at one table, and what becomes of it is bounded twice: by the peer's own
//! word ([`LostSession`](ringfort_core::whereabouts::LostSession)), and here.

use std::time::Duration;

use ringfort_core::constants::RECOVERIES_PER_SECOND;
use ringfort_core::device::PeerEvent;
use ringfort_core::ids::PeerId;
use ringfort_core::time::Time;
use ringfort_core::whereabouts::Whereabouts;

use super::Run;
use crate::peers::PeerTable;
use crate::{DataPath, Watch};

/// More would only wait: this is what control does in all.
const TOLD_PER_SECOND: usize = RECOVERIES_PER_SECOND;

/// What control was told within a second.
#[derive(Debug, Default)]
pub(crate) struct Told {
    since: Time,
    count: usize,
}

impl Told {
    /// The peer that control has to be told of: it was last where the data comes from, and has no session, or its
    /// sessions are in doubt.
    fn choose(&mut self, now: Time, run: &Run<'_>, places: &Whereabouts, peers: &PeerTable) -> Option<PeerId> {
        let remote = run.origin.endpoint.remote;
        let chosen = places.find(now, remote).filter_map(|index| peers.at(index)).find(|peer| {
            let shared = peer.cell().shared();
            let is_there = shared.endpoint.get().is_some_and(|endpoint| endpoint.remote == remote);
            let is_lost = places.doubts_sessions(now) || !peer.has_session(now);
            is_there && is_lost && self.has_room(now) && shared.lost.tell(now)
        })?;
        self.count += 1;
        Some(chosen.cell().id())
    }

    /// Whether control may be told once more.
    fn has_room(&mut self, now: Time) -> bool {
        if now.since(self.since) >= Duration::from_secs(1) {
            *self = Self { since: now, count: 0 };
        }
        self.count < TOLD_PER_SECOND
    }
}

impl<W: Watch> DataPath<W> {
    /// Tells control of a peer that has lost its session, if the data came from where it was last.
    pub(super) fn note_lost_session(&mut self, now: Time, run: &Run<'_>) {
        if let Some(peer) =
            self.whereabouts.as_deref().and_then(|places| self.told.choose(now, run, places, &self.peers))
        {
            self.report(PeerEvent::LostSession(peer), None);
        }
    }
}
