//! What comes out of a data path is taken after each step, and looked at.

use std::net::SocketAddr;

use ring_buffers::View;
use ringfort_core::ids::PeerId;
use ringfort_core::wire::{DATA_LEN_MIN, Message, classify, parse_data_header};
use ringfort_path::{Handoff, Transmit};

use super::Gateway;
use crate::network::Wire;
use crate::outer::{unwrap, wrap};
use crate::outside::Outside;
use crate::packets::{Number, Written, check};
use crate::trace::{Step, Who, words};

/// Room where there is hardly any.
const HARDLY_ANY: usize = 1;

/// What leaves for nobody is one cookie.
fn check_cookie(transmit: &Transmit) -> Result<(), String> {
    let Transmit { view, stride, .. } = transmit;
    let is_one = matches!(classify(view), Ok(Message::CookieReply(_))) && *stride == view.len();
    is_one.then_some(()).ok_or_else(|| format!("{} bytes for nobody are no cookie", view.len()))
}

impl Gateway {
    /// Takes all that waits.
    pub(super) fn drain(&mut self, w: usize, out: &mut Outside) {
        while !self.workers[w].path.is_drained() {
            while let Some(transmit) = self.workers[w].path.poll_transmit() {
                self.transmit(w, transmit, out);
            }
            self.write_all(w, out);
            self.tell_control(w, out);
            self.hand_over(w, out);
        }
    }

    fn transmit(&mut self, w: usize, transmit: Transmit, out: &mut Outside) {
        let is_cookie = transmit.peer == PeerId::NOBODY;
        let result = if is_cookie { check_cookie(&transmit) } else { self.spend(w, &transmit, out) };
        out.check(result.and_then(|()| self.check_class(&transmit, out)));
        let datagrams = transmit.datagrams();
        let keepalives =
            transmit.view.chunks(transmit.stride).filter(|datagram| datagram.len() == DATA_LEN_MIN).count();
        let worker = &mut self.workers[w];
        if let Some(onlooker) = &mut worker.onlooker {
            onlooker.note_left(&transmit);
        }
        // What a cookie answers is dropped under a name: nothing went through.
        worker.books.out += if is_cookie { 0 } else { (datagrams - keepalives) as u64 };
        let left = self.give_to_socket(w, &transmit, out);
        let (from, works) = out.network.source(self.index, &transmit.endpoint);
        if left > 0 && !works {
            self.workers[w].path.handle_source_refused(transmit.peer, transmit.endpoint);
        }
        let Transmit { view, stride, endpoint, ecn, .. } = transmit;
        let to = endpoint.remote;
        let leaves = &view[..view.len().min(left * stride)];
        if self.stops.looped.is_some_and(|peer| out.network.owner(to) == Some(peer)) {
            leaves.chunks(stride).for_each(|datagram| self.loop_back(w, from, to, datagram, out));
        } else if left > 0 {
            let mut bytes = out.network.buffer();
            bytes.extend_from_slice(leaves);
            self.send(Wire { from, to, ecn, marked: false, stride, bytes, stray: None }, out);
        }
        self.workers[w].sends.push(view);
    }

    /// Puts datagrams on the network, or into the tunnel that they run in.
    pub(super) fn send(&self, wire: Wire, out: &mut Outside) {
        let is_within = out.network.owner(wire.to).is_some_and(|to| to >= 2);
        match self.carrier.filter(|_| is_within) {
            Some(carrier) => out.carry(carrier, self.index, &wire),
            None => out.send(wire),
        }
    }

    /// The nonces of a train are used now, and never again.
    fn spend(&self, w: usize, transmit: &Transmit, out: &mut Outside) -> Result<(), String> {
        let now = self.now(out.now).mono;
        let mut datagrams = transmit.view.chunks(transmit.stride);
        let header = |datagram: Option<&[u8]>| datagram.and_then(|datagram| parse_data_header(datagram).ok());
        let first = header(datagrams.next()).ok_or("what leaves is no data message")?;
        let mut count = 1;
        for datagram in datagrams {
            let next = header(Some(datagram)).ok_or("what leaves in a train is no data message")?;
            if (next.receiver, next.counter) != (first.receiver, first.counter + count) {
                return Err(format!("a train of {first:?} has {next:?} in place {count}"));
            }
            count += 1;
        }
        let (len, mut tag) = (transmit.view.len(), [0; 8]);
        tag.copy_from_slice(&transmit.view[len - 8..]);
        let step = Step::Sent {
            to: transmit.endpoint.remote,
            index: first.receiver,
            counter: first.counter,
            count: count as usize,
            stride: transmit.stride,
            tag: u64::from_le_bytes(tag),
        };
        out.note(Who::Worker(self.index, w), step);
        let equal_tail = count > 1 && len.is_multiple_of(transmit.stride);
        if self.site.ragged && equal_tail {
            return Err(format!("g{}: a train of {count} whose last segment is as long as the others", self.index));
        }
        let is_settled = out.is_settled() && !out.nonces.asks(self.index, transmit.endpoint.remote, now);
        out.nonces.spend((self.index, first.receiver), (first.counter, count), now, is_settled)
    }

    /// A route leads one of our own datagrams back to us.
    pub(super) fn loop_back(&mut self, w: usize, from: SocketAddr, to: SocketAddr, datagram: &[u8], out: &mut Outside) {
        let packet = wrap(from, to, 0, datagram);
        if self.workers[w].tun.len() < super::TUN_READS {
            self.workers[w].tun.push_back(super::TunRead::Raw(packet));
            self.wake(w, out);
        }
    }

    /// Packets come out of the TUN device.
    fn write_all(&mut self, w: usize, out: &mut Outside) {
        let mut pieces = std::mem::take(&mut self.workers[w].pieces);
        while self.workers[w].path.poll_write(&mut pieces) {
            let count = pieces.len();
            self.workers[w].books.written += count as u64;
            if self.refuses_write(w, &mut pieces, out) {
                continue;
            }
            let result = self.look_at(w, &pieces, out);
            out.check(result);
            self.workers[w].writes.append(&mut pieces);
        }
        self.workers[w].pieces = pieces;
    }

    /// Compares a write with what was offered.
    fn look_at(&mut self, w: usize, pieces: &[View], out: &mut Outside) -> Result<(), String> {
        let (at, now) = (self.index, out.now);
        if let [packet] = pieces
            && self.carries
            && let Some(wire) = unwrap(packet)
        {
            out.arrive_within(wire);
            return Ok(());
        }
        let mut seen: Option<(Number, u32)> = None;
        let mut questions = Vec::new();
        let bytes: Vec<&[u8]> = pieces.iter().map(|piece| &**piece).collect();
        let (mut numbers, congestion) = (Vec::with_capacity(pieces.len()), self.workers[w].congestion);
        let written = check(&bytes, out.ledger.flows(), &mut |number, ecn| {
            numbers.push(number);
            congestion.check(out.ledger.flows()[usize::from(number.flow)].ecn, ecn)
        })?;
        for number in numbers {
            out.ledger.deliver(number, at, now)?;
            self.check_source(w, number.flow, out)?;
            if out.answers[usize::from(number.flow)].is_some() {
                questions.push(number);
            }
            seen = Some(seen.map_or((number, 1), |(first, count)| (first, count + 1)));
        }
        for question in questions {
            let asked = out.ledger.offered_at(question.flow, question.sequence);
            out.read(question.flow, asked);
        }
        match (written, seen) {
            (Written::Numbered, Some((number, count))) => {
                let (flow, sequence) = (number.flow, number.sequence);
                out.note(Who::Worker(at, w), Step::Delivered { flow, sequence, count });
                Ok(())
            }
            (Written::IcmpError, None) => self.check_icmp_error(w, &pieces[0], out),
            (written, _) => Err(format!("g{at}: a write that is {written:?}")),
        }
    }

    /// A packet may come from nobody but the peer that its source address belongs to.
    fn check_source(&self, w: usize, flow: u16, out: &Outside) -> Result<(), String> {
        let source = out.ledger.flows()[usize::from(flow)].source;
        let owner = self.workers[w].routes.lookup(source).and_then(|id| self.names.get(&id));
        let from = out.ledger.ends(flow).from;
        if owner == Some(&from) {
            return Ok(());
        }
        Err(format!("g{}: a packet of g{from} has the source {source}, which belongs to {owner:?}", self.index))
    }

    fn tell_control(&mut self, w: usize, out: &mut Outside) {
        let who = Who::Worker(self.index, w);
        let scarce = out.now < self.stops.events;
        let room = if scarce { HARDLY_ANY } else { self.site.queues.events };
        while let Some(report) = self.workers[w].path.poll_event() {
            let taken = self.control.events.len() < room && !(scarce && out.rng.chance(160));
            let (event, peer) = words(report.event);
            out.note(who, Step::Told { event, peer, taken });
            if taken {
                self.control.events.push_back(report.event);
                self.wake_control(out);
            } else {
                self.workers[w].path.refuse(report);
            }
        }
        let room = if out.now < self.stops.queues { HARDLY_ANY } else { self.site.queues.handshakes };
        let now = self.now(out.now).mono;
        while let Some(message) = self.workers[w].path.poll_handshake() {
            let taken = self.control.handshakes.len() < room;
            let worker = &mut self.workers[w];
            worker.path.note_handshake(now, (!taken).then_some(&message));
            worker.books.out += 1;
            if taken {
                self.control.handshakes.push_back(message);
                self.wake_control(out);
            } else {
                worker.books.reported += 1;
            }
        }
    }

    fn hand_over(&mut self, w: usize, out: &mut Outside) {
        let room = if out.now < self.stops.queues { HARDLY_ANY } else { self.site.queues.handoffs };
        let now = self.now(out.now).mono;
        while let Some((to, handoff)) = self.workers[w].path.poll_handoff() {
            let Handoff { datagrams, stride, .. } = handoff;
            let taken = self.workers[to].inbox.handoffs.len() < room;
            let worker = &mut self.workers[w];
            // A keepalive at its end is one of those that were counted when it came.
            worker.books.out += if stride == DATA_LEN_MIN { 0 } else { datagrams as u64 };
            worker.books.reported += if taken { 0 } else { datagrams as u64 };
            let refused = if taken {
                self.workers[to].inbox.handoffs.push_back(handoff);
                self.wake(to, out);
                None
            } else {
                // It held what was asked until now, or the answer: a stray datagram found the queue full.
                out.disturb(self.index, out.now);
                Some(handoff)
            };
            self.workers[w].path.note_handoff(now, refused);
        }
    }
}
