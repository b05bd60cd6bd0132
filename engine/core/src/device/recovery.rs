//! Sessions that were lost with a former process, or while the link was down.
//!
//! Whoever still has such a session sends under it, and learns nothing from our silence for 15 s. A peer that sends
//! only keepalives learns nothing for two minutes: nobody expects an answer to a keepalive, so it goes on until
//! Rekey-After-Time. So a peer is asked for a new session as soon as data comes from where it was last
//! ([`Whereabouts`]). That data may be anybody's. One message answers it, once in Rekey-Timeout: nothing is repeated,
//! since a peer that is there sends again. All of them together are limited as well.
//!
//! Without that data a packet for the peer does the same, as always.
//!
//! Of several gateways with one key ([`Node`](crate::node::Node)), one that dies takes its sessions with it. Whoever
//! leads its peers to the others tells these so ([`Device::recover`]). Some of its peers were theirs a while ago. They
//! still have a session with such a peer, and believe in it. The same is true of two gateways that both served for a
//! while, since their network was cut in two. So from then on data under an unknown index counts from peers that have
//! sessions as well.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand_core::CryptoRng;

use super::Device;
use super::api::Action;
use super::outbox::Outbox;
use super::peer::{Env, Peer};
use super::places::Filling;
use crate::constants::{RECOVERIES_PER_SECOND, RECOVERY_TIME, ZERO_KEYS_AFTER_TIME};
use crate::ids::PeerId;
use crate::time::{Now, Time};
use crate::timers::Timer;
use crate::whereabouts::Whereabouts;

/// Peers that wait to be asked: as many as a second has room for. Who finds no place is told of with its next datagram.
const WAITING_MAX: usize = RECOVERIES_PER_SECOND;
/// Peers that one step asks: a few milliseconds of Curve25519.
const ASKED_PER_STEP: usize = 16;
const SECOND: Duration = Duration::from_secs(1);

/// What recovery needs to know beside the peers.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// When it ends. Later times have no table.
    until: Time,
    /// Who stands in front of the sockets knows that it goes on.
    is_told: bool,
    table: Option<Arc<Whereabouts>>,
    /// Entries that the table has, or will have when it is filled.
    entered: usize,
    /// The workers' table lacks somebody.
    outdated: bool,
    /// Until then, who has a session here may have a newer one elsewhere. Recovery may go on after that.
    doubts_until: Time,
    /// The table, until all peers are in it.
    pub filling: Option<Filling>,
    /// Many addresses have neighbouring places: tables get twice the size.
    crowded: bool,
    /// Tables that workers may still use. They are freed here, not there.
    retired: Vec<Arc<Whereabouts>>,
    /// Peers to ask, and since when.
    waiting: VecDeque<(Time, PeerId)>,
    /// When peers were asked within the last second.
    asked: VecDeque<Time>,
}

impl Recovery {
    /// Sessions may have been lost just now.
    pub fn open(&mut self, now: Time, out: &Outbox) {
        self.until = now + RECOVERY_TIME;
        self.tell(true, out);
        match &self.table {
            Some(table) => table.set_until(self.until),
            None => self.outdated = true,
        }
    }

    /// Peers may have sessions with another gateway that are newer than those that they have here.
    pub fn doubt(&mut self, now: Time, out: &Outbox) {
        self.doubts_until = now + RECOVERY_TIME;
        self.open(now, out);
        // A table that there is lacks those who were seen since it was made.
        self.outdated = true;
    }

    /// Until when it is open.
    pub const fn until(&self) -> Time {
        self.until
    }

    /// Whether sessions that are here are in doubt.
    pub fn doubts_sessions(&self, now: Time) -> bool {
        now < self.doubts_until
    }

    /// Another process had it open until then.
    pub fn resume(&mut self, until: Time, doubts: bool, out: &Outbox) {
        (self.until, self.outdated) = (until, true);
        self.doubts_until = if doubts { until } else { Time::ZERO };
        self.tell(true, out);
    }

    /// A peer is somewhere else than before, as far as we know.
    pub fn locate(&mut self, remote: SocketAddr, peer: PeerId) {
        if let Some(table) = &self.table
            && !self.outdated
            && !table.holds(remote, peer.index)
        {
            self.outdated = self.entered >= table.room() || !table.enter(remote, peer.index);
            self.entered += 1;
        }
    }

    /// From now on nothing is recovered.
    pub fn close(&mut self, out: &mut Outbox) {
        self.until = Time::ZERO;
        self.tell(false, out);
        self.outdated = false;
        self.crowded = false;
        self.doubts_until = Time::ZERO;
        self.filling = None;
        self.waiting.clear();
        if let Some(table) = self.table.take() {
            self.retired.push(table);
            out.push(Action::Recover(None));
        }
    }

    fn tell(&mut self, is_on: bool, out: &Outbox) {
        if let Some(outpost) = &out.indices.outpost {
            outpost.set_recovering(is_on);
            self.is_told = is_on;
        }
    }

    /// Somebody found no place in the table that is being filled. In one of twice the size there may be one.
    pub const fn note_crowded(&mut self) {
        self.outdated |= !self.crowded;
        self.crowded = true;
    }

    /// Notes that time passes.
    pub fn step(&mut self, now: Time, out: &mut Outbox) {
        if now >= self.until && (self.table.is_some() || self.is_told) {
            self.close(out);
        }
        self.retired.retain(|table| Arc::strong_count(table) > 1);
    }

    /// When the next peer may be asked, if one waits, or who stands in front of the sockets must be told of the end.
    pub fn next_deadline(&self) -> Option<Time> {
        let end = self.is_told.then_some(self.until);
        self.next_asked().into_iter().chain(end).min()
    }

    fn next_asked(&self) -> Option<Time> {
        let &(since, _) = self.waiting.front()?;
        let full = self.asked.len() >= RECOVERIES_PER_SECOND;
        let earliest = self.asked.front().filter(|_| full).map(|&first| first + SECOND);
        Some(earliest.map_or(since, |earliest| earliest.max(since)))
    }

    fn next_due(&mut self, now: Time) -> Option<PeerId> {
        self.next_asked().filter(|&due| due <= now)?;
        self.waiting.pop_front().map(|(_, peer)| peer)
    }

    fn note_asked(&mut self, now: Time) {
        if self.asked.len() >= RECOVERIES_PER_SECOND {
            self.asked.pop_front();
        }
        self.asked.push_back(now);
    }
}

impl Device {
    /// Another gateway with our key may have served our peers meanwhile, or until now: for Reject-After-Time, a peer
    /// that sends under a session that we do not have is asked for a new one, also if we have an older one. Sessions
    /// stay as they are. False: nothing happens, as nobody is served while the link is down or we are passive. It
    /// begins when we serve again.
    pub fn recover(&mut self, now: Time) -> bool {
        if self.up {
            self.recovery.doubt(now, &self.out);
        }
        self.up
    }

    /// A peer sends under a session that we do not have.
    pub(super) fn note_lost_session(&mut self, now: Time, id: PeerId) {
        let Some(peer) = self.peers.get(id) else { return };
        if self.recovery.waiting.len() < WAITING_MAX {
            self.recovery.waiting.push_back((now, id));
        } else {
            peer.shared.lost.untold();
        }
    }

    /// Asks peers that wait to be asked.
    pub(super) fn recover_due(&mut self, now: Now, rng: &mut dyn CryptoRng) {
        self.recovery.step(now.mono, &mut self.out);
        let doubts = self.recovery.doubts_sessions(now.mono);
        for _ in 0..ASKED_PER_STEP {
            let Some(peer) = self.recovery.next_due(now.mono) else { return };
            if self.step(now, peer, rng, |peer, env| peer.ask_once(doubts, env)) == Some(true) {
                self.recovery.note_asked(now.mono);
            }
        }
    }

    /// Gives the workers a table of where all peers are, if theirs lacks some. The first peers are in it, the others
    /// follow ([`Device::fill_table`]).
    pub(super) fn publish_whereabouts(&mut self) {
        let recovery = &mut self.recovery;
        if self.peers.len() == 0 || !std::mem::take(&mut recovery.outdated) {
            return;
        }
        let room = Whereabouts::room_for(self.peers.len()) << u32::from(recovery.crowded);
        let table = Arc::new(Whereabouts::new(room, recovery.until));
        table.doubt_sessions_until(recovery.doubts_until);
        recovery.entered = self.peers.len();
        recovery.filling = Some(Filling::new(table.clone()));
        recovery.retired.extend(recovery.table.replace(table.clone()));
        self.out.push(Action::Recover(Some(table)));
        self.fill_table();
    }
}

impl Peer {
    /// Asks for a session without repeating it, unless there is one that is not in doubt, or one was asked for. True: a
    /// message left.
    fn ask_once(&mut self, doubts: bool, env: &mut Env<'_>) -> bool {
        let now = env.now.mono;
        let has_one = !doubts && self.sessions.current().is_some_and(|session| session.valid(now, 0));
        let asking = self.timers.get(Timer::Retransmit).is_some();
        let asked = self.next_initiation_at().is_some_and(|at| now < at);
        if has_one || asking || asked || !self.can_initiate(env) {
            return false;
        }
        let Some(endpoint) = self.initiation_endpoint() else { return false };
        if !self.send_initiation(endpoint, env) {
            return false;
        }
        self.unanswered_since.get_or_insert(now);
        self.initiations_unanswered = self.initiations_unanswered.saturating_add(1);
        self.shared.lost.asked(now);
        // If nobody answers, the handshake must not be kept for ever.
        if self.timers.get(Timer::ZeroKeys).is_none() {
            self.timers.set(Timer::ZeroKeys, now + ZERO_KEYS_AFTER_TIME);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::crypto::{PrivateKey, PublicKey};

    const NOW: Time = Time::from_secs(100);
    /// One less than a power of two.
    const PEERS: usize = 1_023;

    fn place(n: usize) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::from_bits(0x0a00_0000 + n as u32), 51_820))
    }

    /// A gateway that recovers sessions of many peers, each at a place.
    fn crowded() -> (Device, Vec<PeerId>) {
        let mut device = Device::new(1);
        device.set_private_key(NOW, Some(PrivateKey::new([7; 32])));
        device.link_up(NOW);
        let peers = (0..PEERS).map(|n| {
            let mut key = [0x40; 32];
            key[..8].copy_from_slice(&n.to_le_bytes());
            let peer = device.add_peer(PublicKey::new(key)).expect("there is room");
            device.place_peer(NOW, peer, Some(place(n)));
            peer
        });
        let peers = peers.collect();
        (device, peers)
    }

    /// How many tables the workers get.
    fn tables(device: &mut Device) -> usize {
        std::iter::from_fn(|| device.poll_action()).filter(|action| matches!(action, Action::Recover(Some(_)))).count()
    }

    #[test]
    fn peers_that_are_set_elsewhere_get_into_the_table_that_there_is() {
        let (mut device, peers) = crowded();
        assert_eq!(tables(&mut device), 1);
        for (n, &peer) in peers.iter().take(PEERS / 4).enumerate() {
            device.set_endpoint(NOW, peer, place(100_000 + n));
            assert_eq!(tables(&mut device), 0, "{n} have moved");
        }
    }

    #[test]
    fn who_is_set_where_it_is_takes_no_room() {
        let (mut device, peers) = crowded();
        assert_eq!(tables(&mut device), 1);
        for n in 0..10 * PEERS {
            device.set_endpoint(NOW, peers[n % PEERS], place(n % PEERS));
        }
        assert_eq!(tables(&mut device), 0);
    }

    #[test]
    fn whoever_serves_recovers_again_when_told() {
        let (mut device, _) = crowded();
        assert_eq!(tables(&mut device), 1);
        let later = NOW + 2 * RECOVERY_TIME;
        device.recovery.step(later, &mut device.out);
        assert_eq!((device.recovery.table.is_none(), tables(&mut device)), (true, 0));
        assert!(device.recover(later));
        assert_eq!((tables(&mut device), device.recovery.until()), (1, later + RECOVERY_TIME));
        assert!(device.recover(later + RECOVERY_TIME / 2), "it is prolonged");
        assert_eq!((tables(&mut device), device.recovery.until()), (1, later + RECOVERY_TIME * 3 / 2));
        device.set_passive(later, true);
        assert!(!device.recover(later));
        device.set_passive(later, false);
        device.link_down(later);
        assert!(!device.recover(later));
    }

    /// Peers are added that were here before, which prolongs recovery. It prolongs no doubt.
    #[test]
    fn doubts_end_by_themselves() {
        let (mut device, _) = crowded();
        assert!(device.recover(NOW));
        device.publish_whereabouts();
        let half = NOW + RECOVERY_TIME / 2;
        device.recovery.open(half, &device.out);
        let (end, last) = (NOW + RECOVERY_TIME, NOW + (RECOVERY_TIME - Duration::from_nanos(1)));
        let table = device.recovery.table.clone().expect("there are peers");
        assert!(device.recovery.doubts_sessions(last) && table.doubts_sessions(last));
        assert!(!device.recovery.doubts_sessions(end) && !table.doubts_sessions(end));
        assert_eq!((device.recovery.until(), table.until()), (half + RECOVERY_TIME, half + RECOVERY_TIME));
    }

    #[test]
    fn entries_of_former_places_end_with_the_table_that_they_fill() {
        let (mut device, peers) = crowded();
        assert_eq!(tables(&mut device), 1);
        let room = device.recovery.table.as_ref().expect("sessions are recovered").room();
        let moves = (0..).take_while(|n| {
            device.set_endpoint(NOW, peers[0], place(100_000 + n));
            tables(&mut device) == 0
        });
        assert_eq!(moves.count(), room - PEERS);
    }
}
