//! What a step of the data path has left goes to its place: trains to the socket, writes to the TUN, the rest to
//! control and to other workers.

use ring_buffers::{Completion, View, Wait};
use ringfort_aead::SEGMENTS_MAX;
use ringfort_core::peer_drops::SendError;
use ringfort_path::{Stage, TRAIN_BYTES_MAX, Transmit, Watch as _};
use tun_uring::{TunEvent, VNET_HDR_LEN};
use udp_uring::{SendFailed, TrainRefusal, TrainRefused};

use super::events::context_of;
use super::turn::{BATCH, Worker, brought};

const _: () = assert!(tun_uring::SEGMENTS_MAX <= tun_uring::PIECES_MAX, "the longest run is what one write can carry");
// Ciphers, TUN and sockets know nothing of each other, so each has the number of its own.
const _: () = assert!(SEGMENTS_MAX == udp_uring::SEGMENTS_MAX, "the longest train is what one send can carry");
const _: () = assert!(SEGMENTS_MAX == tun_uring::SEGMENTS_MAX, "what one train brings can be one write");
const _: () = assert!(TRAIN_BYTES_MAX == udp_uring::TRAIN_BYTES_MAX, "the longest train is what one send can carry");

impl Worker {
    /// Takes all that the data path has left to its place.
    #[inline]
    pub(super) fn drain(&mut self) {
        if !self.path.is_drained() {
            self.send_trains();
            self.write_packets();
            self.tell_others();
        }
    }

    fn send_trains(&mut self) {
        let mut sends = false;
        while let Some(transmit) = self.path.poll_transmit() {
            // As many as it takes if the kernel does not cut the train.
            while self.sends_free() < SEGMENTS_MAX && self.make_room_after(Stage::Transmit) {}
            self.send(transmit);
            sends = true;
        }
        if sends {
            self.path.watch().lap(Stage::Transmit);
        }
    }

    fn send(&mut self, transmit: Transmit) {
        let (note, len) = (transmit.note(), transmit.view.len());
        let Transmit { peer, view, stride, endpoint, ecn, .. } = transmit;
        let context = context_of(peer);
        let train = udp_uring::Transmit { view, stride, endpoint, ecn, context };
        match self.udp.send(&mut self.ring, train) {
            Ok(()) => self.path.handle_sent(self.now, note),
            Err(TrainRefused { view, rest, segments, why }) => {
                let errno = why.errno();
                let failed = SendFailed { context, segments, errno, view, rest, stride, endpoint, ecn };
                match why {
                    TrainRefusal::Closed => self.on_closed(&failed),
                    TrainRefusal::NoSocket => self.on_send_failed(&failed, SendError::System(errno as i32)),
                    TrainRefusal::Full | TrainRefusal::Ring(_) => self.on_send_failed(&failed, SendError::Full),
                }
                // Only a ring that is at its end takes a part.
                if len.div_ceil(stride) > segments {
                    self.path.handle_sent(self.now, note);
                }
            }
        }
    }

    fn write_packets(&mut self) {
        let mut pieces = std::mem::take(&mut self.pieces);
        let mut writes = false;
        while self.path.poll_write(&mut pieces) {
            // The first completions may all be of the other kind.
            while !self.can_write(&pieces) && self.make_room_after(Stage::Coalesce) {}
            self.write(&mut pieces);
            pieces.clear();
            writes = true;
        }
        self.pieces = pieces;
        if writes {
            self.path.watch().lap(Stage::Coalesce);
        }
    }

    fn can_write(&self, pieces: &[View]) -> bool {
        let free = if pieces.len() == 1 { self.tun.writes_free() } else { self.tun.gathers_free() };
        free > 0
    }

    fn write(&mut self, pieces: &mut Vec<View>) {
        let packets = pieces.len();
        if let Some(first) = pieces.first() {
            self.claims.note_received(&first[VNET_HDR_LEN..], pieces.iter().map(|piece| piece.len()).sum());
        }
        if let Some(lone) = pieces.pop_if(|_| packets == 1) {
            if let Err(refused) = self.tun.write(&mut self.ring, lone, 0) {
                self.path.drop_write(self.now, &refused.view, &[]);
            }
        } else if self.tun.write_gathered(&mut self.ring, pieces, 0).is_err()
            && let [first, rest @ ..] = &pieces[..]
        {
            self.path.drop_write(self.now, first, rest);
        }
    }

    fn tell_others(&mut self) {
        while let Some((worker, handoff)) = self.path.poll_handoff() {
            let refused = self.queues.workers[worker].push_handoff(handoff);
            self.path.note_handoff(self.now, refused);
        }
        while let Some(message) = self.path.poll_handshake() {
            let refused = self.queues.control.push_handshake(message);
            self.path.note_handshake(self.now, refused.as_ref());
        }
        while let Some(report) = self.path.poll_event() {
            if !self.queues.control.push_event(report.event) {
                self.path.refuse(report);
            }
        }
    }

    /// [`make_room`](Self::make_room) in the middle of a stage: the part that is done is measured as of that stage.
    #[cold]
    fn make_room_after(&mut self, stage: Stage) -> bool {
        self.path.watch().lap(stage);
        self.make_room()
    }

    /// Has the kernel carry out what was queued in this turn: writes and sends free their operations and slots. Up to
    /// [`BATCH`] completions are looked at. True: a write or a send was among them, and there may be more.
    ///
    /// What else completes is left for later. No step of the data path is taken meanwhile.
    pub(super) fn make_room(&mut self) -> bool {
        if self.enter(Wait::No).is_err() {
            // The next turn meets the same error, and can end the worker with it.
            return false;
        }
        let mut freed = false;
        let mut reaped = std::mem::take(&mut self.reaped);
        self.ring.reap(BATCH, |completion| reaped.push(completion));
        self.path.watch().entered(|| brought(&reaped));
        for completion in reaped.drain(..) {
            match completion {
                Completion::Wrote(_) => {
                    freed = true;
                    if let TunEvent::WriteFailed(failed) = self.tun.complete(completion) {
                        self.on_write_failed(failed);
                    }
                }
                Completion::Sent(_) => {
                    freed = true;
                    let event = self.udp.complete(&mut self.ring, completion);
                    self.on_sent(event);
                }
                Completion::Read(_) => self.reads.push_back(completion),
                later => self.completed.push_back(later),
            }
        }
        self.reaped = reaped;
        self.path.watch().lap(Stage::Turn);
        freed
    }
}
