//! From the socket to the TUN: a received train, opened in place, checked, and written packet by packet.

use super::budget::line;
use super::stages::Stage;
use super::turn::Worker;
use crate::link::{Handoff, HandshakeDatagram};
use ring_buffers::{Parcel, View};
use ringfort_aead::{Geometry, MAX_SEGMENTS};
use ringfort_core::device::{HandshakeReason, PeerEvent};
use ringfort_core::drops::DropReason;
use ringfort_core::ids::{Endpoint, PeerId, Source};
use ringfort_core::packet;
use ringfort_core::wire::{DATA_HEADER_LEN, DATA_LEN_MIN, TAG_LEN, TYPE_DATA, classify, parse_data_header};
use tun_uring::VNET_HDR_LEN;
use udp_uring::{Path, Received};

// The header that a data message gives up is the room that the TUN wants in front of a packet.
const _: () = assert!(VNET_HDR_LEN == DATA_HEADER_LEN, "an opened packet is written from where it lies");

/// What stands at the front of a train, as far as it is of one kind.
enum Front {
    /// Data messages under one receiver index, with their counters in the scratch space.
    Data { receiver: u32, segments: usize },
    /// One message for control.
    Handshake,
    /// One datagram to be dropped.
    Bad(DropReason),
}

type Counters = [u64; MAX_SEGMENTS];

impl Worker {
    /// A train has come.
    pub(super) fn inbound(&mut self, received: Received) {
        let Received { view, path, stride, ecn } = received;
        self.stats.udp_receive_trains.add(1);
        self.stats.udp_receive_datagrams.add(view.len().div_ceil(stride) as u64);
        self.train(view, stride, endpoint_of(&path), ecn, false);
    }

    /// Takes a train apart into runs of one kind. The kernel coalesces by addresses and lengths only, so that a train
    /// may hold messages of several sessions, and handshakes.
    pub(super) fn train(&mut self, view: View, stride: usize, endpoint: Endpoint, ecn: u8, handed: bool) {
        let mut counters = [0; MAX_SEGMENTS];
        let mut rest = Some(view);
        while let Some(mut run) = rest.take() {
            let front = front(&run, stride, &mut counters);
            let segments = if let Front::Data { segments, .. } = front { segments } else { 1 };
            if segments * stride < run.len() {
                let behind = run.split_to(segments * stride);
                rest = Some(std::mem::replace(&mut run, behind));
            }
            match front {
                Front::Data { receiver, segments } => {
                    let run = Run { view: run, stride, endpoint, ecn, receiver, counters: &counters[..segments] };
                    self.data(run, handed);
                }
                Front::Handshake => self.handshake(&run, endpoint),
                Front::Bad(reason) => self.stats.count_drop(reason, 1),
            }
        }
    }

    fn handshake(&mut self, message: &View, endpoint: Endpoint) {
        let queued = HandshakeDatagram::new(endpoint, message).is_some_and(|d| self.link.control.push_handshake(d));
        if queued {
            self.stats.handshakes.add(1);
        } else {
            self.stats.count_drop(DropReason::HandshakeQueueFull, 1);
        }
    }

    fn data(&mut self, mut run: Run<'_>, handed: bool) {
        if !self.sessions.contains_key(&run.receiver) && self.link.owner(run.receiver) == self.index {
            // It may have begun since this turn did.
            self.read_sessions(usize::MAX);
        }
        let Some(receiver) = self.sessions.get_mut(&run.receiver) else {
            return self.data_for_another(run, handed);
        };
        let session = &mut receiver.session;
        let segments = run.counters.len();
        if !session.usable(self.now) {
            return self.stats.count_drop(DropReason::ExpiredSession, segments);
        }
        let Ok(geometry) = Geometry::of_received(run.view.len(), run.stride) else {
            return self.stats.count_drop(DropReason::BadLength, segments);
        };
        self.stopwatch.lap(Stage::Classify);
        let Ok(verdicts) = session.key().open_train(run.counters, &mut run.view, geometry) else {
            return self.stats.count_drop(DropReason::BadLength, segments);
        };
        self.stopwatch.lap(Stage::Open);
        self.stats.count_drop(DropReason::BadTag, verdicts.failed_count());
        let mut accepted = Accepted::default();
        for (i, &counter) in run.counters.iter().enumerate() {
            if !verdicts.passed(i) {
                continue;
            }
            match session.accept(counter) {
                Ok(()) => accepted.note(i, geometry),
                Err(_) => self.stats.count_drop(DropReason::Replay, 1),
            }
        }
        if accepted.segments == 0 {
            return;
        }
        let peer = receiver.cell().id();
        self.authenticated(&run, peer, &accepted);
        let lengths = self.check(&mut run, peer, geometry, &accepted);
        self.stopwatch.lap(Stage::Check);
        self.deliver(run.view, geometry, &lengths);
        self.stopwatch.lap(Stage::Coalesce);
    }

    /// Data for a session that is not here: steering missed, or nobody has it.
    fn data_for_another(&mut self, run: Run<'_>, handed: bool) {
        let segments = run.counters.len();
        let owner = self.link.owner(run.receiver);
        if owner == self.index || handed {
            return self.stats.count_drop(DropReason::UnknownIndex, segments);
        }
        let Some(parcel) = self.pack(run.view) else {
            return self.stats.count_drop(DropReason::NoSlot, segments);
        };
        let handoff = Handoff { parcel, stride: run.stride, endpoint: run.endpoint, ecn: run.ecn };
        if self.link.workers[owner].push_handoff(handoff) {
            self.stats.handoffs.add(1);
        } else {
            self.stats.count_drop(DropReason::HandoffFull, segments);
        }
    }

    /// Makes a train ready to leave this core. However long the other one does not take it, what is reserved here for
    /// reading and sending stays.
    fn pack(&self, train: View) -> Option<Parcel> {
        if train.is_unique() {
            let counted = self.pool.transfer(&train, line::HANDOFFS);
            return counted.then(|| train.send_away().ok()).flatten();
        }
        // A piece cannot leave without the rest, so that it gets a slot of its own.
        let mut copy = self.pool.claim_for(line::HANDOFFS)?;
        copy.truncate(train.len());
        copy.copy_from_slice(&train);
        copy.send_away().ok()
    }

    /// Side effects of authenticated messages, independent of their payload: confirmation, roaming, timers, counters.
    ///
    /// What any core must know to answer is written before the packets go on; control hears of it whenever it does.
    fn authenticated(&mut self, run: &Run<'_>, id: PeerId, accepted: &Accepted) {
        let control = &self.link.control;
        let Some(receiver) = self.sessions.get_mut(&run.receiver) else { return };
        let begins = receiver.note_authentic();
        // Noted only once control has been told: until then each message tries again.
        if receiver.session.awaits_confirmation() && control.push_event(PeerEvent::Confirmed(id)) {
            receiver.session.confirm();
        }
        let shared = receiver.cell().shared();
        if shared.endpoint.set(run.endpoint).is_none() {
            // Lost if there is no room; the next handshake message of the peer makes up for it.
            let _ = control.push_event(PeerEvent::Found(id));
        }
        shared.counters[self.index].received(accepted.segments, accepted.bytes);
        let activity = &shared.activity;
        if !accepted.any_data {
            activity.keepalive_received(self.now);
        } else if activity.data_received(self.now) && !control.push_event(PeerEvent::Awake(id)) {
            activity.disarm();
        }
        if receiver.session.wants_rekey(self.now) && activity.request_handshake() {
            let reason = HandshakeReason::KeyAging { local_index: run.receiver };
            if control.push_event(PeerEvent::NeedHandshake { peer: id, reason }) {
                receiver.session.note_rekey_asked();
            } else {
                activity.clear_request();
            }
        }
        if begins {
            self.send_staged(id);
        }
    }

    /// Looks into each opened message of a run: how long the packet is that may go on.
    fn check(&self, run: &mut Run<'_>, peer: PeerId, geometry: Geometry, accepted: &Accepted) -> Lengths {
        let mut lengths = [0; MAX_SEGMENTS];
        let segments = run.view.chunks_mut(geometry.stride()).enumerate();
        for ((i, segment), length) in segments.zip(&mut lengths) {
            if accepted.has(i) && segment.len() > DATA_LEN_MIN {
                match self.check_packet(segment, peer, run.ecn) {
                    Ok(len) => *length = len,
                    Err(reason) => self.stats.count_drop(reason, 1),
                }
            }
        }
        lengths
    }

    /// One opened data message: 16 bytes of room, the packet, padding, and what was the tag.
    fn check_packet(&self, segment: &mut [u8], peer: PeerId, ecn: u8) -> Result<usize, DropReason> {
        let end = segment.len() - TAG_LEN;
        let packet = &mut segment[DATA_HEADER_LEN..end];
        let inner = packet::parse(packet)?;
        if self.routes.lookup(inner.source) != Some(peer) {
            return Err(DropReason::SourceNotAllowed);
        }
        packet::apply_outer_ecn(&mut packet[..inner.len], ecn)?;
        Ok(inner.len)
    }

    /// Writes the packets that were checked.
    fn deliver(&mut self, mut train: View, geometry: Geometry, lengths: &Lengths) {
        for (i, &len) in lengths[..geometry.count()].iter().enumerate() {
            let mut segment = train.split_to(geometry.segment_len(i));
            if len > 0 {
                segment.truncate(DATA_HEADER_LEN + len);
                self.write_packet(segment);
            }
        }
    }
}

/// Of each packet in a run, in bytes; 0 where there is none, or none that may go on.
type Lengths = [usize; MAX_SEGMENTS];

/// Data messages under one receiver index, side by side.
struct Run<'a> {
    view: View,
    stride: usize,
    endpoint: Endpoint,
    ecn: u8,
    receiver: u32,
    counters: &'a [u64],
}

/// The messages of a run that were opened and are new.
#[derive(Default)]
struct Accepted {
    bits: u64,
    segments: u64,
    bytes: u64,
    any_data: bool,
}

impl Accepted {
    fn note(&mut self, i: usize, geometry: Geometry) {
        self.bits |= 1 << i;
        self.segments += 1;
        self.bytes += geometry.segment_len(i) as u64;
        self.any_data |= geometry.plaintext_len(i) > 0;
    }

    fn has(&self, i: usize) -> bool {
        self.bits >> i & 1 == 1
    }
}

fn front(train: &[u8], stride: usize, counters: &mut Counters) -> Front {
    let mut datagrams = train.chunks(stride);
    let first = datagrams.next().unwrap_or_default();
    if first.first() != Some(&TYPE_DATA) {
        return match classify(first) {
            Ok(_) => Front::Handshake,
            Err(reason) => Front::Bad(reason),
        };
    }
    let header = match parse_data_header(first) {
        Ok(header) => header,
        Err(reason) => return Front::Bad(reason),
    };
    counters[0] = header.counter;
    let mut segments = 1;
    for (datagram, counter) in datagrams.zip(&mut counters[1..]) {
        match parse_data_header(datagram) {
            Ok(next) if next.receiver == header.receiver => *counter = next.counter,
            _ => break,
        }
        segments += 1;
    }
    Front::Data { receiver: header.receiver, segments }
}

/// A received datagram's path, as control and the peers know it.
pub(super) fn endpoint_of(path: &Path) -> Endpoint {
    let source = path.usable_source().map(|local| Source { addr: local.addr, ifindex: local.ifindex });
    Endpoint { remote: path.remote, source }
}
