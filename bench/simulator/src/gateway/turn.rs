//! One turn of a worker: slots, mail, trains, runs, packets, seals. Between any two steps another thread may run.

use std::time::Duration;

use ringfort_core::drops::DropReason;
use ringfort_core::ids::{Endpoint, LocalAddr, owner};
use ringfort_core::packet::ECN_CE;
use ringfort_core::time::Time;
use ringfort_core::wire::{DATA_LEN_MIN, DataHeader, Message, classify, parse_data_header};
use ringfort_path::budget::{KEEPALIVES, TRAINS_PER_READ, TUN_READS, UDP_READS, line};
use ringfort_path::turns::{self, HANDOFFS_PER_TURN, ORDERS_PER_TURN, SENDS_PER_READ, SESSIONS_PER_TURN};
use ringfort_path::{DataPath, Handoff, Order, Outcome, SessionOrder, TRAIN_ROOM, Train};

use super::congestion::Congestion;
use super::worker::Stage;
use super::{Gateway, Strangers};
use crate::network::Wire;
use crate::outside::Outside;
use crate::trace::{Step, Who};

/// Bounds of one turn, as the daemon's workers have them.
const TRAINS_PER_TURN: usize = UDP_READS as usize;
const PACKETS_PER_TURN: usize = TUN_READS as usize;
const SENDS: usize = turns::SENDS as usize;
/// The longest train that the kernel makes of datagrams.
pub(super) const TRAIN_MAX: usize = 65_000;
pub(super) const SEGMENTS_MAX: usize = 64;
/// The interface that datagrams arrive on.
const IFINDEX: u32 = 2;

impl Gateway {
    /// A worker wakes up, or goes on where it was interrupted.
    pub fn turn(&mut self, w: usize, out: &mut Outside) {
        let Some(worker) = self.workers.get_mut(w).filter(|worker| worker.wakes == Some(out.now)) else { return };
        worker.wakes = None;
        if out.now < worker.stopped {
            let at = worker.stopped;
            return self.wake_at(w, at, out);
        }
        while self.advance(w, out) != Stage::Begin {
            if out.rng.chance(self.site.interrupted) {
                return self.wake(w, out);
            }
        }
        let worker = &mut self.workers[w];
        worker.inbox.rung &= !worker.inbox.is_empty();
        let result = self.workers[w].check_books();
        out.check(result.map_err(|what| format!("g{} worker {w}: {what}", self.index)));
        if self.workers[w].has_work() {
            let at = self.next_turn(w, out);
            self.wake_at(w, at, out);
        }
    }

    /// Takes the next step of a turn, and what comes of it. Returns the stage of the one after it.
    pub(super) fn advance(&mut self, w: usize, out: &mut Outside) -> Stage {
        let stage = self.workers[w].stage;
        let next = self.step(w, stage, out);
        self.drain(w, out);
        self.check_sight(w, out);
        self.check_slots(w, out);
        self.note_drops(w, out);
        let worker = &mut self.workers[w];
        if next != stage {
            worker.steps = 0;
        }
        worker.stage = next;
        next
    }

    /// Takes one step of a stage. Returns the stage of the next.
    fn step(&mut self, w: usize, stage: Stage, out: &mut Outside) -> Stage {
        match stage {
            Stage::Begin => {
                self.workers[w].congestion = Congestion::default();
                self.complete(w, out.now);
                Stage::Mail
            }
            Stage::Mail => {
                if self.read_mail(w, out) {
                    Stage::Mail
                } else {
                    Stage::Handoffs
                }
            }
            Stage::Handoffs => match self.workers[w].inbox.handoffs.pop_front() {
                Some(handoff) if self.may_step(w, HANDOFFS_PER_TURN) => {
                    self.read_handoff(w, handoff, out);
                    Stage::Handoffs
                }
                Some(handoff) => {
                    self.workers[w].inbox.handoffs.push_front(handoff);
                    Stage::Wire
                }
                None => Stage::Wire,
            },
            Stage::Wire => {
                let read = self.may_step(w, TRAINS_PER_TURN) && self.read_train(w, out);
                if read { Stage::Wire } else { Stage::Runs }
            }
            Stage::Runs => {
                let now = self.now(out.now).mono;
                self.workers[w].path.flush_writes(now);
                self.workers[w].gathers = false;
                Stage::Tun
            }
            Stage::Tun => {
                self.workers[w].begin_returns();
                let read = self.may_step(w, PACKETS_PER_TURN) && self.read_packet(w, out);
                if read { Stage::Tun } else { Stage::Seal }
            }
            Stage::Seal => {
                let now = self.now(out.now).mono;
                self.workers[w].path.flush(now);
                self.check_returns(w, out);
                Stage::Begin
            }
        }
    }

    fn may_step(&mut self, w: usize, most: usize) -> bool {
        let worker = &mut self.workers[w];
        worker.steps += 1;
        worker.steps <= most
    }

    /// When a worker that could not do everything goes on.
    fn next_turn(&self, w: usize, out: &mut Outside) -> Time {
        let worker = &self.workers[w];
        let stuck = [(!worker.sends.is_empty(), self.stops.socket), (!worker.writes.is_empty(), self.stops.tun)];
        let stops = stuck.into_iter().filter_map(|(waits, until)| (waits && until > out.now).then_some(until)).min();
        let blocked = worker.inbox.is_empty() && stops.is_some();
        match stops {
            // Whatever else comes wakes it.
            Some(until) if blocked => until.min(out.now + Duration::from_millis(50)),
            _ => out.soon(),
        }
    }

    /// Reads mail: all about sessions, up to a bound, then one other. False: there is no more for now.
    fn read_mail(&mut self, w: usize, out: &mut Outside) -> bool {
        let (now, who) = (self.now(out.now).mono, Who::Worker(self.index, w));
        if self.workers[w].steps == 0 {
            for _ in 0..SESSIONS_PER_TURN {
                let worker = &mut self.workers[w];
                let Some(order) = worker.inbox.sessions.pop_front() else { break };
                let (order_name, number) = session_words(&order);
                worker.path.handle_session(now, order);
                out.note(who, Step::Ordered { order: order_name, number });
            }
        }
        if !self.may_step(w, ORDERS_PER_TURN) {
            return false;
        }
        let worker = &mut self.workers[w];
        let Some(order) = worker.inbox.orders.pop_front() else { return false };
        let (order_name, number) = order_words(&order);
        out.note(who, Step::Ordered { order: order_name, number });
        if let Order::Routes { routes, version } = &order {
            (worker.routes, worker.routes_version) = (routes.clone(), *version);
        }
        worker.books.fed += u64::from(matches!(order, Order::Offer { .. }));
        if let (Order::Tap(Some(_)), Some(onlooker)) = (&order, &mut worker.onlooker) {
            onlooker.begin(worker.path.counters().tun_write_packets);
        }
        let is_keepalive = matches!(order, Order::SendKeepalive { .. });
        let (in_flight, before) = (worker.sends.len(), worker.mark());
        let outcome = worker.path.handle_order(now, order);
        if is_keepalive {
            let result = worker.book_keepalives(1, true, before);
            out.check(result.map_err(|what| format!("g{} worker {w}: {what}", self.index)));
        }
        if outcome == Outcome::NoSlot && in_flight < KEEPALIVES.into() {
            out.check(Err(format!("g{} worker {w}: a keepalive finds no slot, and {in_flight} leave", self.index)));
        }
        self.resume(w, outcome, out);
        true
    }

    fn read_handoff(&mut self, w: usize, handoff: Handoff, out: &mut Outside) {
        let Handoff { parcel, stride, endpoint, ecn, .. } = handoff;
        // Whoever hands it over does not say whether a router has written that.
        self.workers[w].congestion.note(ecn, ecn == ECN_CE);
        let train = Train { view: parcel.arrive(), stride, endpoint, ecn, handed: true };
        self.handle_train(w, train, out);
    }

    /// Reads what came to the socket, if there is a slot.
    fn read_train(&mut self, w: usize, out: &mut Outside) -> bool {
        let worker = &mut self.workers[w];
        if worker.socket.is_empty() || self.leaving {
            return false;
        }
        let Some(mut view) = worker.path.pool().claim_for(line::UDP_READS) else { return false };
        let Some(first) = worker.socket.pop_front() else { return false };
        let Wire { from, to, ecn, mut marked, stride, .. } = first;
        view.advance(TRAIN_ROOM);
        let mut len = first.bytes.len();
        view[..len].copy_from_slice(&first.bytes);
        out.network.give_back(first.bytes);
        while let Some(next) = worker.socket.front()
            && len.is_multiple_of(stride)
            && (next.from, next.to, next.ecn) == (from, to, ecn)
            && (next.stride == stride || next.bytes.len() <= next.stride.min(stride))
            && len + next.bytes.len() <= TRAIN_MAX.min(SEGMENTS_MAX * stride)
            && out.network.merges()
        {
            view[len..len + next.bytes.len()].copy_from_slice(&next.bytes);
            len += next.bytes.len();
            if let Some(next) = worker.socket.pop_front() {
                marked |= next.marked;
                out.network.give_back(next.bytes);
            }
        }
        worker.socket_bytes -= len;
        worker.congestion.note(ecn, marked);
        view.truncate(len);
        let endpoint = Endpoint { remote: from, source: Some(LocalAddr { addr: to.ip(), ifindex: IFINDEX }) };
        self.handle_train(w, Train { view, stride, endpoint, ecn, handed: false }, out);
        true
    }

    fn handle_train(&mut self, w: usize, train: Train, out: &mut Outside) {
        let now = self.now(out.now).mono;
        let (from, kind, handed) = (train.endpoint.remote, train.view.first().copied().unwrap_or(0), train.handed);
        let header = parse_data_header(&train.view).ok();
        let (index, counter) = header.map_or((0, 0), |header| (header.receiver, header.counter));
        let count = train.view.len().div_ceil(train.stride);
        out.note(Who::Worker(self.index, w), Step::Received { from, kind, index, counter, count, handed });
        let worker = &mut self.workers[w];
        let last = train.view.len() - (count - 1) * train.stride;
        let keepalives = match (train.stride == DATA_LEN_MIN, last == DATA_LEN_MIN) {
            (true, true) => count,
            (true, false) => count - 1,
            (false, true) => 1,
            (false, false) => 0,
        };
        worker.books.fed += (count - keepalives) as u64;
        let strangers = self.count_strangers(w, &train);
        let worker = &mut self.workers[w];
        // What was handed over to this process begins with the name of another.
        let unknown = |path: &DataPath| {
            let drops = &path.counters().drops;
            drops.get(DropReason::UnknownIndex) + drops.get(DropReason::OtherNode)
        };
        let (before, mark) = (unknown(&worker.path), worker.mark());
        let others_follow = !worker.socket.is_empty();
        let is_alone = keepalives == count && !others_follow && !worker.gathers;
        worker.gathers = others_follow;
        let (path, sessions) = (&mut worker.path, &mut worker.inbox.sessions);
        let late = &mut || sessions.pop_front();
        if others_follow {
            path.gather_train(now, train, late)
        } else {
            path.handle_train(now, train, late)
        }
        let result = worker.book_keepalives(keepalives, is_alone, mark);
        out.check(result.map_err(|what| format!("g{} worker {w}: {what}", self.index)));
        if unknown(&worker.path) - before > strangers {
            out.check(Err(format!("g{} worker {w}: a session that control has made is not known", self.index)));
        }
    }

    /// How many datagrams of a train no session of this worker answers to.
    fn count_strangers(&mut self, w: usize, train: &Train) -> u64 {
        let (workers, receives) = (self.workers.len(), &self.receives);
        let Strangers { named, seen, handed } = &mut self.strangers;
        let count = if train.handed { handed } else { seen };
        let is_strange = |&datagram: &&[u8]| match classify(datagram) {
            Ok(Message::Data(DataHeader { receiver, .. })) => {
                let is_ours = owner(receiver, workers) == w && receives.contains(&receiver);
                *count += u64::from(!is_ours && !named.contains(&receiver));
                !is_ours
            }
            // They may answer what is over, or nothing.
            Ok(Message::Response(_) | Message::CookieReply(_)) => true,
            Ok(Message::Initiation(..)) | Err(_) => false,
        };
        train.view.chunks(train.stride).filter(is_strange).count() as u64
    }

    /// Reads a packet, if what comes of it can be sent.
    fn read_packet(&mut self, w: usize, out: &mut Outside) -> bool {
        let now = self.now(out.now).mono;
        if self.workers[w].tun.is_empty() || self.leaving {
            return false;
        }
        if !self.can_send(w) {
            // What was gathered may be what holds the slots.
            self.workers[w].path.flush(now);
            self.drain(w, out);
            self.complete(w, out.now);
        }
        if !self.can_send(w) {
            return false;
        }
        let worker = &mut self.workers[w];
        let Some(mut view) = worker.path.pool().claim_for(line::TUN_READS) else { return false };
        let Some(read) = worker.tun.pop_front() else { return false };
        let len = read.write(out.ledger.flows(), &mut view);
        view.truncate(len);
        worker.books.fed += read.packets();
        worker.returns.note(&read, self.stops.looped.is_some());
        worker.errors.note(&read);
        let outcome = worker.path.handle_packet(now, view);
        self.resume(w, outcome, out);
        true
    }

    fn can_send(&self, w: usize) -> bool {
        let worker = &self.workers[w];
        let free = SENDS.saturating_sub(worker.sends.len());
        worker.path.pool().available(line::TRAINS) >= TRAINS_PER_READ && free >= SENDS_PER_READ
    }

    /// What the last step has dropped.
    fn note_drops(&mut self, w: usize, out: &mut Outside) {
        let worker = &mut self.workers[w];
        let drops = &worker.path.counters().drops;
        let total = drops.total();
        if total == worker.drops.total() {
            return;
        }
        for ((reason, count), (_, before)) in drops.iter().zip(worker.drops.iter()).filter(|(now, then)| now != then) {
            out.note(Who::Worker(self.index, w), Step::Dropped { reason, count: count - before });
            if reason == DropReason::CongestionNotCapable {
                out.check(worker.congestion.check_drop().map_err(|what| format!("g{}: {what}", self.index)));
            }
            if reason == DropReason::NoSlot {
                // Many strays at once take all slots for other workers. A question or an answer may be among them.
                let is_needless = if out.is_only_flooded { Err("strangers take all slots") } else { Ok(()) };
                out.check(is_needless.map_err(|what| format!("g{}: {what}", self.index)));
                out.disturb(self.index, out.now);
            }
        }
        worker.drops = drops.clone();
    }

    fn check_slots(&self, w: usize, out: &mut Outside) {
        let accounting = self.workers[w].path.pool().accounting();
        if !accounting.adds_up() {
            out.check(Err(format!("g{} worker {w}: slots do not add up: {accounting:?}", self.index)));
        }
    }
}

const fn session_words(order: &SessionOrder) -> (&'static str, u32) {
    match order {
        SessionOrder::Begin(receiver) => ("session begins:", receiver.session.local_index()),
        SessionOrder::End { local_index } => ("session ends:", *local_index),
    }
}

fn order_words(order: &Order) -> (&'static str, u32) {
    match order {
        Order::AddPeer(cell) => ("there is a peer", cell.id().index),
        Order::RemovePeer { peer } => ("there is no peer", peer.index),
        Order::Routes { version, .. } => ("routes of version", *version as u32),
        Order::SendStaged { peer } => ("send what waits for peer", peer.index),
        Order::SendKeepalive { peer } => ("send a keepalive to peer", peer.index),
        Order::Offer { peer, .. } => ("what waited elsewhere, for peer", peer.index),
        Order::DropStaged { peer } => ("drop what waits for peer", peer.index),
        Order::Gate(gate) => ("ask handshake messages", u32::from(gate.is_some())),
        Order::Recover(places) => ("look for lost sessions", u32::from(places.is_some())),
        Order::LinkDown => ("the link is down", 0),
        Order::Passive(since) => ("stand by", since.is_some().into()),
        Order::Mtu(mtu) => ("the MTU is", *mtu),
        Order::Tap(tap) => ("somebody looks on", tap.is_some().into()),
    }
}
