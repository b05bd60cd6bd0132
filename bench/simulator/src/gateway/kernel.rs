//! What the kernel does with what it was given: it sends and writes it, or refuses it later, when it is done with it.

use ring_buffers::View;
use ringfort_core::ids::PeerId;
use ringfort_core::peer_drops::SendError;
use ringfort_core::time::Time;
use ringfort_path::turns::SENDS;
use ringfort_path::{Left, Outcome, Transmit};

use super::Gateway;
use crate::outside::Outside;
use crate::trace::{Step, Who};

/// What a system says that refuses to send.
const EPERM: i32 = 1;

/// Datagrams that the ring took, and that the kernel will not send.
#[derive(Debug)]
pub(super) struct Unsent {
    peer: PeerId,
    error: SendError,
    datagrams: usize,
}

/// A write that the kernel will not take.
#[derive(Debug)]
pub(super) struct Refused {
    pieces: Vec<View>,
    /// It says that super-packets are wrong.
    merged_is_wrong: bool,
}

impl Gateway {
    /// Gives a train to the socket. Returns how many of its datagrams leave, from the first on.
    pub(super) fn give_to_socket(&mut self, w: usize, transmit: &Transmit, out: &mut Outside) -> usize {
        let (now, all, peer) = (self.now(out.now).mono, transmit.datagrams(), transmit.peer);
        let worker = &mut self.workers[w];
        let (left, error) = match out.now < self.stops.sends && out.rng.chance(128) {
            false => (all, None),
            true => match out.rng.below(4) {
                0 => {
                    // There is no room in the ring.
                    worker.path.handle_send_failed(now, peer, SendError::Full, all);
                    worker.books.reported += all as u64;
                    return 0;
                }
                1 if all > 1 => (1 + out.rng.index(all - 1), Some(SendError::Partial)),
                _ => (0, Some(SendError::System(EPERM))),
            },
        };
        worker.path.handle_sent(now, transmit.note());
        worker.unsent.extend(error.map(|error| Unsent { peer, error, datagrams: all - left }));
        if left > 0 {
            let bytes = transmit.view.len().min(left * transmit.stride);
            worker.path.handle_left(Left { peer, datagrams: left, bytes });
        }
        left
    }

    /// Whether the kernel will refuse a write. Keeps it then.
    pub(super) fn refuses_write(&mut self, w: usize, pieces: &mut Vec<View>, out: &mut Outside) -> bool {
        let merged_is_wrong = out.now < self.stops.supers && pieces.len() > 1;
        let refuses = merged_is_wrong || out.now < self.stops.writes && out.rng.chance(96);
        if refuses {
            let pieces = std::mem::take(pieces);
            self.workers[w].refused.push(Refused { pieces, merged_is_wrong });
            self.wake(w, out);
        }
        refuses
    }

    /// What the kernel is done with comes home.
    pub(super) fn complete(&mut self, w: usize, now: Time) {
        let mono = self.now(now).mono;
        let worker = &mut self.workers[w];
        worker.path.pool().drain_returns();
        if now >= self.stops.socket {
            worker.sends.clear();
            for Unsent { peer, error, datagrams } in std::mem::take(&mut worker.unsent) {
                worker.path.handle_send_failed(mono, peer, error, datagrams);
                worker.books.reported += datagrams as u64;
            }
        }
        if now < self.stops.tun {
            return;
        }
        worker.writes.clear();
        for Refused { mut pieces, merged_is_wrong } in std::mem::take(&mut worker.refused) {
            let rest = pieces.split_off(1);
            let Some(first) = pieces.pop() else { continue };
            let packets = 1 + rest.len() as u64;
            if merged_is_wrong {
                // They come once more, in another turn than they were opened in.
                worker.books.written -= packets;
                worker.congestion.note_anything();
            } else {
                worker.books.reported += packets;
            }
            worker.path.handle_write_failed(mono, first, rest, merged_is_wrong);
        }
    }

    /// A step that found no slot is resumed once some may have come home.
    pub(super) fn resume(&mut self, w: usize, mut outcome: Outcome, out: &mut Outside) {
        let now = self.now(out.now).mono;
        let who = Who::Worker(self.index, w);
        while outcome == Outcome::NoSlot {
            self.drain(w, out);
            let before = self.workers[w].path.pool().accounting().free;
            self.complete(w, out.now);
            let freed = self.workers[w].path.pool().accounting().free > before;
            let resumed = freed && self.workers[w].sends.len() < usize::from(SENDS);
            out.note(who, Step::NoSlot { resumed });
            if !resumed {
                self.workers[w].path.give_up(now);
                return;
            }
            outcome = self.workers[w].path.resume(now);
        }
    }
}
