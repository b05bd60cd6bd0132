//! Side effects of authenticated messages, independent of their payload: confirmation, roaming, timers, counters.
//!
//! What any core must know to answer is written before the packets go on; control hears of it whenever it does.

use ringfort_core::cell::Followed;
use ringfort_core::device::{HandshakeReason, PeerEvent};
use ringfort_core::ids::PeerId;
use ringfort_core::time::Time;

use super::{Accepted, Run};
use crate::{DataPath, Watch};

impl<W: Watch> DataPath<W> {
    pub(super) fn note_authentic(&mut self, now: Time, run: &Run<'_>, id: PeerId, accepted: &Accepted) {
        let Some(receiver) = self.sessions.get_mut(&run.receiver) else { return };
        let begins = receiver.note_authentic();
        let tells_confirmed = receiver.session.awaits_confirmation() && receiver.session.confirm();
        let shared = receiver.cell().shared();
        let followed = shared.endpoint.follow(run.endpoint);
        let tells_moved = followed != Followed::Same && shared.moves.note();
        let counters = &shared.counters[self.config.worker];
        counters.received(accepted.segments, accepted.bytes);
        counters.received_up_to(run.stride.min(run.len), receiver.session.missing());
        let activity = &shared.activity;
        let mut awakes = false;
        if accepted.any_data {
            awakes = activity.data_received(now);
        } else {
            activity.keepalive_received(now);
        }
        let asks = receiver.session.wants_rekey(now) && activity.request_handshake();
        if asks {
            receiver.session.note_rekey_asked();
        }
        if tells_confirmed {
            self.report(PeerEvent::Confirmed(id), Some(run.receiver));
        }
        if followed == Followed::Found {
            self.report(PeerEvent::Found(id), Some(run.receiver));
        }
        if tells_moved {
            self.report(PeerEvent::Moved(id), Some(run.receiver));
        }
        if awakes {
            self.report(PeerEvent::Awake(id), Some(run.receiver));
        }
        if asks {
            let reason = HandshakeReason::KeyAging { local_index: run.receiver };
            self.report(PeerEvent::NeedHandshake { peer: id, reason }, Some(run.receiver));
        }
        if begins {
            self.send_staged(now, id);
        }
    }
}
