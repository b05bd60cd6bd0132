//! What the workers report, and the handshake messages that they pass on: a bounded number of each in a turn.

use ringfort_core::device::PeerEvent;
use ringfort_core::drops::DropReason;
use ringfort_core::time::Now;
use ringfort_path::HandshakeMessage;
use ringfort_path::turns::{EVENTS_PER_TURN, HANDSHAKES_PER_TURN};

use super::super::key_text;
use super::Control;

/// As many of these make a handshake message, which is as much work as answering one.
const EVENTS_PER_INITIATION: usize = EVENTS_PER_TURN / HANDSHAKES_PER_TURN;

impl Control {
    /// Events and handshake messages, a bounded number of each. True: there are more.
    pub(super) fn take_messages(&mut self, now: Now) -> bool {
        let inbox = &self.queues.control;
        // Events first: they are of authenticated peers.
        let mut events = 0;
        while events < EVENTS_PER_TURN
            && let Some(event) = inbox.next_event()
        {
            self.keyless.note(&self.device, &event, now.mono);
            self.device.handle_event(now, event, &mut self.rng);
            events += if matches!(event, PeerEvent::NeedHandshake { .. }) { EVENTS_PER_INITIATION } else { 1 };
        }
        let plane = &mut self.plane;
        self.intake.fill(
            now.mono,
            &mut self.device,
            || inbox.next_handshake(),
            |device, message, reason| {
                note_dropped(message, reason);
                plane.show_received(device, now.mono, None, message, Err(reason));
            },
        );
        if self.intake.is_crowded() {
            self.device.note_load(now.mono, &mut self.rng);
        }
        for _ in 0..HANDSHAKES_PER_TURN {
            let Some(message) = self.intake.next() else { break };
            let admission = (message.proof, self.device.is_loaded(now.mono));
            let handled = self.device.handle_admitted(now, message.endpoint, message.bytes(), admission, &mut self.rng);
            let peer = self.device.blamed_id();
            self.plane.show_received(&self.device, now.mono, peer, &message, handled);
            if let Err(reason) = handled {
                match self.device.blamed() {
                    None => note_dropped(&message, reason),
                    Some((key, name)) => {
                        let (peer, remote) = (key_text::named(key, name), message.endpoint.remote);
                        log::debug!("a handshake message of {peer} from {remote} was dropped: {reason}");
                    }
                }
            }
        }
        events >= EVENTS_PER_TURN || self.intake.waiting() > 0 || inbox.handshakes_waiting() > 0
    }
}

fn note_dropped(message: &HandshakeMessage, reason: DropReason) {
    log::debug!("a handshake message from {} was dropped: {reason}", message.endpoint.remote);
}
