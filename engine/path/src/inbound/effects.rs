//! Side effects of authenticated messages, independent of their payload: confirmation, roaming, timers, counters.
//!
//! What any core must know to answer is written before the packets go on; control hears of it whenever it does.

use ringfort_core::cell::Followed;
use ringfort_core::device::{HandshakeReason, PeerEvent};
use ringfort_core::ids::PeerId;
use ringfort_core::time::Time;

use super::{Accepted, Origin};
use crate::{DataPath, Watch};

impl<W: Watch> DataPath<W> {
    /// `longest`: bytes on the wire of the longest of the messages that were accepted.
    pub(super) fn note_authentic(
        &mut self,
        now: Time,
        origin: &Origin,
        longest: usize,
        id: PeerId,
        accepted: &Accepted,
    ) {
        let index = origin.receiver;
        let Some(receiver) = self.sessions.get_mut(&index) else { return };
        let begins = receiver.note_authentic();
        let tells_confirmed = receiver.session.awaits_confirmation() && receiver.session.confirm();
        let shared = receiver.cell().shared();
        let followed = shared.endpoint.follow(origin.endpoint);
        let tells_moved = followed != Followed::Same && shared.note_move();
        let counters = &shared.counters[self.config.worker];
        counters.received(accepted.segments, accepted.bytes);
        counters.received_up_to(longest, receiver.session.missing());
        let activity = &shared.activity;
        let mut awakes = false;
        if accepted.data > 0 {
            awakes = activity.data_received(now);
            if accepted.data > 1 {
                // The timers tell one arrival from more.
                awakes |= activity.data_received(now);
            }
        } else {
            activity.keepalive_received(now);
        }
        let asks = receiver.session.wants_rekey(now) && activity.request_handshake();
        if asks {
            receiver.session.note_rekey_asked();
        }
        if tells_confirmed {
            self.report(PeerEvent::Confirmed(id), Some(index));
        }
        if followed == Followed::Found {
            self.report(PeerEvent::Found(id), Some(index));
        }
        if tells_moved {
            self.report(PeerEvent::Moved(id), Some(index));
        }
        if awakes {
            self.report(PeerEvent::Awake(id), Some(index));
        }
        if asks {
            let reason = HandshakeReason::KeyAging { local_index: index };
            self.report(PeerEvent::NeedHandshake { peer: id, reason }, Some(index));
        }
        if begins {
            self.send_staged(now, id);
        }
    }
}
