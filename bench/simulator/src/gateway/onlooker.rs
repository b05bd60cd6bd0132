//! Somebody looks on at a gateway. What he sees is what he asked for, and all of that.

use std::sync::Arc;

use ringfort_core::ids::PeerId;
use ringfort_path::tap::{CAPACITY_MIN, Direction, Filter, Seen, Side, TapReader, tap};
use ringfort_path::{Order, Transmit};

use super::Gateway;
use crate::outside::Outside;

/// Room for all that one step can show.
const CAPACITY: usize = 4 * CAPACITY_MIN;

/// Who looks on at one worker.
#[derive(Debug)]
pub(super) struct Onlooker {
    reader: TapReader,
    filter: Arc<Filter>,
    /// The worker has read that somebody does. By then it had delivered so many packets.
    since: Option<u64>,
    /// Datagrams that have left since, as far as he wants to see them, and those that he saw.
    left: u64,
    seen_left: u64,
    /// Packets that he saw on their way into the TUN device.
    seen_delivered: u64,
    bytes: Vec<u8>,
}

impl Onlooker {
    /// The worker shows him everything from now on.
    pub(super) const fn begin(&mut self, delivered: u64) {
        self.since = Some(delivered);
    }

    /// A train has left.
    pub(super) fn note_left(&mut self, transmit: &Transmit) {
        if self.since.is_some() && self.wants(Side::Cipher, Direction::Out) && self.is_of(transmit.peer) {
            self.left += transmit.datagrams() as u64;
        }
    }

    /// Looks at what a step has shown. `delivered`: packets for the TUN device so far.
    ///
    /// # Errors
    /// What he did not ask for, or did not see.
    fn look(&mut self, delivered: u64) -> Result<(), String> {
        while let Some(seen) = self.reader.next(&mut self.bytes) {
            self.check(&seen)?;
            match (seen.side, seen.direction, seen.dropped) {
                (Side::Cipher, Direction::Out, None) => self.seen_left += 1,
                (Side::Plain, Direction::In, None) => self.seen_delivered += 1,
                _ => {}
            }
        }
        if self.left != self.seen_left {
            return Err(format!("{} datagrams left, and {} were shown", self.left, self.seen_left));
        }
        let delivered = delivered - self.since.unwrap_or(delivered);
        let wants_all = self.filter.peers.is_empty() && self.wants(Side::Plain, Direction::In);
        if wants_all && delivered != self.seen_delivered {
            return Err(format!("{delivered} packets were delivered, and {} were shown", self.seen_delivered));
        }
        Ok(())
    }

    fn check(&self, seen: &Seen) -> Result<(), String> {
        let &Seen { side, direction, peer, dropped, len, lost, .. } = seen;
        let Filter { sides, drops_only, snap_len, .. } = &*self.filter;
        // What is dropped of strangers may be a peer's.
        let may_be_theirs = (side, direction, peer) == (Side::Cipher, Direction::In, None) && dropped.is_some();
        let is_wanted = sides[side as usize]
            && self.filter.direction.is_none_or(|only| only == direction)
            && (dropped.is_some() || !drops_only)
            && (may_be_theirs || peer.map_or(self.filter.peers.is_empty(), |peer| self.is_of(peer)));
        let is_whole = self.bytes.len() == len.min(*snap_len) && lost == 0;
        if is_wanted && is_whole {
            return Ok(());
        }
        Err(format!("{} bytes are shown of {seen:?}, for {:?}", self.bytes.len(), self.filter))
    }

    fn wants(&self, side: Side, direction: Direction) -> bool {
        let Filter { sides, direction: only, drops_only, .. } = &*self.filter;
        sides[side as usize] && only.is_none_or(|only| only == direction) && !drops_only
    }

    fn is_of(&self, peer: PeerId) -> bool {
        self.filter.peers.is_empty() || self.filter.peers.contains(&peer)
    }
}

impl Gateway {
    /// Somebody begins to look on at each worker, if the scenario has it.
    pub(super) fn begin_to_look(&mut self, out: &mut Outside) {
        let Some(sight) = self.site.sight else { return };
        let peers = sight.peer.and_then(|number| self.peer_id(number)).into_iter().collect();
        let (sides, direction, drops_only, snap_len) = (sight.sides, sight.direction, sight.drops_only, sight.snap_len);
        let filter = Arc::new(Filter { sides, direction, drops_only, peers, one_in: 1, snap_len });
        let mut taps = Vec::new();
        for worker in &mut self.workers {
            let (tap, reader) =
                tap(filter.clone(), CAPACITY, Arc::new(|| {})).expect("its memory can be kept out of dumps");
            let filter = filter.clone();
            let (since, left, seen_left, seen_delivered, bytes) = (None, 0, 0, 0, Vec::new());
            worker.onlooker = Some(Onlooker { reader, filter, since, left, seen_left, seen_delivered, bytes });
            taps.push(tap);
        }
        let mut taps = taps.into_iter();
        self.broadcast(|| Order::Tap(taps.next()), out);
    }

    /// What the last step has shown to whoever looks on is right.
    pub(super) fn check_sight(&mut self, w: usize, out: &mut Outside) {
        let worker = &mut self.workers[w];
        if let Some(onlooker) = &mut worker.onlooker {
            let result = onlooker.look(worker.path.counters().tun_write_packets);
            out.check(result.map_err(|what| format!("g{} worker {w}: {what}", self.index)));
        }
    }
}
