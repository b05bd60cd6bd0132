//! Packets without a key wait, each in a slot of its own size, until there is one.

use ring_buffers::{PACKET_SIZE, Pool, SlotClass, View};
use ringfort_core::device::HandshakeReason;
use ringfort_core::drops::DropReason;
use ringfort_core::ids::PeerId;
use ringfort_core::packet;
use ringfort_core::time::Time;
use ringfort_core::wire::{DATA_HEADER_LEN, TAG_LEN};
use vnet_packets::Segments;

use crate::budget::{GATHERED_MAX, staging_line};
use crate::staging::Staged;
use crate::{DataPath, ENTERED_MAX, Watch};

/// Padding and tag behind the longest packet in a packet slot.
const STAGED_PACKET_MAX: usize = PACKET_SIZE - TAG_LEN - 15;

impl<W: Watch> DataPath<W> {
    /// Lets a packet wait until the peer has a key.
    pub(super) fn stage(&mut self, now: Time, id: PeerId, view: View) {
        let Some(reason) = self.peers.get(id).map(|peer| peer.lacks()) else {
            return self.drop_outgoing(now, Some(id), DropReason::Down, &view);
        };
        if view.len() <= DATA_HEADER_LEN {
            // A keepalive says "I am here", and the handshake will.
            return self.request_handshake(id, reason);
        }
        self.wait_for_session(id, reason);
        let class = class_of(view.len());
        let waiting = match class {
            // It has waited before.
            _ if self.pool.charged(&view) == Some(staging_line(class)) => Ok(view),
            SlotClass::Packet => match self.claim_to_wait(now, id, class) {
                Some(mut slot) => {
                    slot.truncate(view.len());
                    slot.copy_from_slice(&view);
                    Ok(slot)
                }
                None => Err(view),
            },
            SlotClass::Jumbo => {
                let transferred = |pool: &Pool| pool.transfer(&view, staging_line(class)).then_some(());
                let there_is_room = self.with_room(now, id, class, transferred).is_some();
                if there_is_room { Ok(view) } else { Err(view) }
            }
        };
        match waiting {
            Ok(view) => self.push_staged(now, id, class, view),
            Err(view) => self.drop_outgoing(now, Some(id), DropReason::StagedOverflow, &view),
        }
    }

    /// A packet that has waited in another process leaves, or goes on waiting.
    pub(crate) fn offer(&mut self, now: Time, id: PeerId, packet: &[u8]) {
        let len = DATA_HEADER_LEN + packet.len();
        let inner = match packet::parse(packet) {
            Ok(inner) => inner,
            Err(reason) => return self.drop_of(now, id, reason, 1),
        };
        let Some(mut view) = self.claim_to_wait(now, id, class_of(len)) else {
            return self.drop_of(now, id, DropReason::StagedOverflow, 1);
        };
        if view.len() < len {
            return self.drop_of(now, id, DropReason::Oversized, 1);
        }
        view.truncate(len);
        view[DATA_HEADER_LEN..].copy_from_slice(packet);
        self.admit(now, id, view, packet::outer_ecn(inner.ecn));
    }

    /// Lets each segment of a super-packet wait: it must not pin 64 KiB until there is a key.
    pub(super) fn stage_super(&mut self, now: Time, id: PeerId, segments: Segments<'_>) {
        let Some(reason) = self.peers.get(id).map(|peer| peer.lacks()) else {
            return self.drop_segments(now, id, DropReason::Down, segments);
        };
        self.wait_for_session(id, reason);
        for segment in segments {
            let len = DATA_HEADER_LEN + segment.len();
            let class = class_of(len);
            let Some(mut view) = self.claim_to_wait(now, id, class) else {
                self.drop_segments(now, id, DropReason::StagedOverflow, std::iter::once(segment));
                continue;
            };
            view.truncate(len);
            segment.write(&mut view[DATA_HEADER_LEN..]);
            self.push_staged(now, id, class, view);
        }
    }

    /// Sends what waited for a key, in the order in which it came.
    pub(crate) fn send_staged(&mut self, now: Time, id: PeerId) {
        if self.staging.waiting(id) == 0 {
            return;
        }
        // What is taken at once finds an empty line.
        self.seal_gathered(now);
        let mut left = self.staging.waiting(id);
        while left > 0 {
            let batch = left.min(GATHERED_MAX);
            for _ in 0..batch {
                let Some(view) = self.staging.pop(id) else { break };
                let ecn = packet::parse(&view[DATA_HEADER_LEN..]).map_or(0, |inner| packet::outer_ecn(inner.ecn));
                self.line_up(now, id, view, ecn);
            }
            left -= batch;
            self.seal_gathered(now);
            if self.staging.waiting(id) > left {
                return self.stay_behind(now, id, left);
            }
        }
    }

    /// The key has refused packets, which now wait behind the first `left`: these came after them, and go behind them.
    #[cold]
    fn stay_behind(&mut self, now: Time, id: PeerId, left: usize) {
        for _ in 0..left {
            let Some(view) = self.staging.pop(id) else { return };
            self.stage(now, id, view);
        }
    }

    /// Enters the worker among those that hold packets of a peer back, then asks for a session. Not the other way
    /// round: who gives the handshake up forgets the request first, and then has those who are entered drop what they
    /// hold. So a packet is dropped, or asks anew.
    fn wait_for_session(&mut self, id: PeerId, reason: HandshakeReason) {
        if self.peers.get(id).is_some_and(|peer| peer.cell().shared().waiting.enter(self.config.worker)) {
            self.entered.push(id);
        }
        self.request_handshake(id, reason);
    }

    /// Whatever comes next may enter this worker once for each packet, and the list does not grow.
    pub(super) fn make_room_to_enter(&mut self, now: Time) {
        if self.entered.len() >= ENTERED_MAX {
            self.look_again(now);
        }
    }

    /// Looks once more for sessions that were not there when their packets came: who made one before this worker was
    /// entered has told it nothing.
    #[cold]
    pub(super) fn look_again(&mut self, now: Time) {
        while let Some(id) = self.entered.pop() {
            if self.peers.get(id).is_some_and(|peer| peer.has_session(now)) {
                self.send_staged(now, id);
            }
        }
    }

    /// Gives up what waits for a peer.
    pub(crate) fn drop_staged(&mut self, now: Time, id: PeerId, reason: DropReason) {
        while let Some(view) = self.staging.pop(id) {
            self.drop_outgoing(now, Some(id), reason, &view);
        }
    }

    /// A slot for a packet that has to wait.
    fn claim_to_wait(&mut self, now: Time, id: PeerId, class: SlotClass) -> Option<View> {
        self.with_room(now, id, class, |pool| pool.claim_for(staging_line(class)))
    }

    /// Tries to get a slot, and once more after the oldest packet of the greediest peer has made room.
    fn with_room<T>(
        &mut self,
        now: Time,
        id: PeerId,
        class: SlotClass,
        attempt: impl Fn(&Pool) -> Option<T>,
    ) -> Option<T> {
        if !self.staging.is_full(class)
            && let Some(got) = attempt(&self.pool)
        {
            return Some(got);
        }
        if let Some(evicted) = self.staging.make_room(id, class) {
            self.drop_waiting(now, DropReason::StagedOverflow, &evicted);
        }
        attempt(&self.pool)
    }

    /// Lets a packet wait that is in a slot of its own size.
    fn push_staged(&mut self, now: Time, id: PeerId, class: SlotClass, view: View) {
        if let Some(evicted) = self.staging.push(id, class, view) {
            self.drop_waiting(now, DropReason::StagedOverflow, &evicted);
        }
    }

    /// Gives up all that waits, for whichever peer.
    pub(crate) fn drop_all_staged(&mut self, now: Time, reason: DropReason) {
        while let Some(staged) = self.staging.take_any() {
            self.drop_waiting(now, reason, &staged);
        }
    }

    /// Throws away a packet that has waited, of whichever peer.
    fn drop_waiting(&mut self, now: Time, reason: DropReason, staged: &Staged) {
        self.drop_outgoing(now, Some(staged.peer), reason, &staged.view);
    }
}

/// The class of the slots in which a message of so many bytes waits.
const fn class_of(len: usize) -> SlotClass {
    if len <= STAGED_PACKET_MAX { SlotClass::Packet } else { SlotClass::Jumbo }
}
