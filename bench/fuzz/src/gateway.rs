//! One worker's data path with peers at its other ends, and what must be true of all that leaves it.

use std::collections::VecDeque;
use std::sync::Arc;

use ring_buffers::{Arena, Pool, View};
use ringfort_aead::Suite;
use ringfort_core::allowed_ips::{AllowedIps, Prefix};
use ringfort_core::ids::{Endpoint, PeerId};
use ringfort_core::looped::Nesting;
use ringfort_core::node::Node;
use ringfort_core::packet;
use ringfort_core::peer_drops::SendError;
use ringfort_core::time::Time;
use ringfort_path::budget::{budget, line};
use ringfort_path::tap::{Filter, TapReader};
use ringfort_path::{Config, Counters, DataPath, Order, Outcome, SessionOrder, Train, Transmit, bare};
use vnet_packets::Merge;

use crate::door::Door;
use crate::oracle::plain;
use crate::remote::Remote;

pub(crate) const PEERS: usize = 4;
const WORKERS: usize = 2;

/// What the shell would be asked to do differently.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mood {
    /// The TUN refuses the next write; with `merged_is_wrong`, because of how it was merged.
    pub(crate) refuses_write: bool,
    pub(crate) merged_is_wrong: bool,
    /// Control has room for no events, and no worker for a train.
    pub(crate) is_full: bool,
    /// The socket takes nothing.
    pub(crate) is_stuck: bool,
    /// The socket refuses the next train; with `source_is_gone`, because of where it would come from.
    pub(crate) refuses_send: bool,
    pub(crate) source_is_gone: bool,
}

/// Datagrams that came together.
pub(crate) struct Arrived<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) stride: usize,
    pub(crate) port: u8,
    pub(crate) ecn: u8,
    /// Another worker has handed it over.
    pub(crate) handed: bool,
}

/// How much of what matters an input has had done.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Reached {
    /// Packets of ours that left for peers.
    pub(crate) sent: u64,
    /// The most packets that waited.
    pub(crate) staged: usize,
    /// Packets from inside that were answered with an ICMP error.
    pub(crate) answered: u64,
    /// Steps that found no slot.
    pub(crate) stalled: u64,
    /// Packets for the TUN.
    pub(crate) written: usize,
    /// Handshake messages that reached control.
    pub(crate) passed: u64,
    pub(crate) cookies: u64,
    /// Trains that were handed to another worker.
    pub(crate) handoffs: u64,
    /// What control was told.
    pub(crate) events: u64,
    /// What somebody who looks on has seen.
    pub(crate) seen: u64,
}

pub(crate) struct Gateway {
    pub(crate) path: DataPath,
    pub(crate) remotes: Vec<Remote>,
    pub(crate) now: Time,
    pub(crate) mood: Mood,
    pieces: Vec<View>,
    /// Packets that the TUN must get, or must have been offered.
    expected: Vec<Vec<u8>>,
    /// Messages may wait for others to be opened.
    may_wait: bool,
    pub(crate) written: Vec<Vec<u8>>,
    /// Trains that the socket has not taken.
    stuck: VecDeque<Transmit>,
    /// A session that lies in the mailbox still.
    late: Option<SessionOrder>,
    pub(crate) is_passive: bool,
    /// Datagrams that another worker handed over.
    handed: u64,
    pub(crate) reached: Reached,
    pub(crate) door: Option<Door>,
    /// Who looks on, and at what.
    pub(crate) reader: Option<(Filter, TapReader)>,
}

pub(crate) fn endpoint(port: u8) -> Endpoint {
    Endpoint::new(([192, 0, 2, 1], 4000 + u16::from(port)).into())
}

impl Gateway {
    /// Four peers: one that the gateway answers, one that it asks, one without a session, one without an endpoint.
    pub(crate) fn new(pool: Pool, ragged: bool) -> Self {
        let suites = [Suite::Aes256Gcm, Suite::ChaCha20Poly1305, Suite::Aes256Gcm, Suite::ChaCha20Poly1305];
        let remote = |(index, suite)| Remote::new(index, suite, (index != 3).then(|| endpoint(0)));
        let merge = Merge::ALL;
        let config = Config { worker: 0, workers: WORKERS, node: Node::SINGLE, mtu: 1420, merge, ragged };
        let mut gateway = Self {
            path: DataPath::new(config, pool, Arc::new(Nesting::new()), ringfort_path::Unwatched),
            remotes: (0..).zip(suites).map(remote).collect(),
            now: Time::from_secs(1_000),
            mood: Mood::default(),
            pieces: Vec::with_capacity(64),
            expected: Vec::new(),
            may_wait: false,
            written: Vec::new(),
            stuck: VecDeque::new(),
            late: None,
            is_passive: false,
            handed: 0,
            reached: Reached::default(),
            door: None,
            reader: None,
        };
        let mut routes = AllowedIps::new();
        for remote in &gateway.remotes {
            let prefixes = [Prefix::new(remote.net4().into(), 16), Prefix::new(remote.net6().into(), 16)];
            prefixes.into_iter().flatten().for_each(|prefix| _ = routes.insert(prefix, remote.id()));
        }
        let cells: Vec<_> = gateway.remotes.iter().map(|remote| remote.cell.clone()).collect();
        cells.into_iter().for_each(|cell| gateway.order(Order::AddPeer(cell)));
        gateway.order(Order::Routes { routes, version: 1 });
        gateway.begin(0, false);
        gateway.begin(1, true);
        gateway
    }

    /// An arena as a worker has it, without a ring.
    pub(crate) fn pool() -> Pool {
        Pool::new(Arena::heap(&budget()))
    }

    /// A new session for a peer; the one before does not receive any more.
    pub(crate) fn begin(&mut self, peer: usize, initiator: bool) {
        self.begin_late(peer, initiator);
        self.read_mailbox();
    }

    /// The same, and data under it may come before the worker has read of it.
    pub(crate) fn begin_late(&mut self, peer: usize, initiator: bool) {
        self.end(peer);
        self.late = Some(self.remotes[peer].begin(self.now, initiator));
    }

    fn read_mailbox(&mut self) {
        if let Some(order) = self.late.take() {
            self.path.handle_session(self.now, order);
        }
    }

    pub(crate) fn end(&mut self, peer: usize) {
        self.open_waiting();
        self.read_mailbox();
        let remote = &mut self.remotes[peer];
        remote.is_open = false;
        self.path.handle_session(self.now, SessionOrder::End { local_index: remote.local_index });
    }

    pub(crate) fn order(&mut self, order: Order) {
        self.read_mailbox();
        let outcome = self.path.handle_order(self.now, order);
        self.finish(outcome, false);
    }

    /// The TUN was read.
    pub(crate) fn packet(&mut self, read: &[u8]) {
        let Some(view) = bare::filled(&self.path, line::TUN_READS, read) else { return };
        let outcome = self.path.handle_packet(self.now, view);
        self.finish(outcome, true);
    }

    /// A train arrived, and others follow, or none. `delivers` are the packets that must come of it.
    pub(crate) fn train(&mut self, train: &Arrived<'_>, others_follow: bool, delivers: &[Vec<u8>]) {
        let &Arrived { bytes, stride, port, ecn, handed } = train;
        if self.path.pool().available(line::UDP_READS) == 0 {
            self.open_waiting();
        }
        let Some(view) = bare::filled(&self.path, line::UDP_READS, bytes) else { return };
        let dropped_before = self.path.counters().drops.total();
        self.note_places(endpoint(port));
        let train = Train { view, stride, endpoint: endpoint(port), ecn, handed };
        self.expected.extend(delivers.iter().map(|packet| plain(packet)));
        if others_follow {
            self.path.gather_train(self.now, train, &mut || self.late.take());
            self.may_wait = true;
        } else {
            self.path.handle_train(self.now, train, &mut || self.late.take());
            self.check_delivered();
        }
        let after = self.path.counters();
        // What another worker hands over has come there.
        self.handed += if handed { bytes.len().div_ceil(stride) as u64 } else { 0 };
        assert!(after.drops.total() - dropped_before <= after.udp_receive_datagrams + self.handed, "more than came");
        self.finish(Outcome::Done, false);
    }

    /// What may be known of peers from now on: they are where they were, or where this comes from.
    fn note_places(&mut self, from: Endpoint) {
        for remote in &mut self.remotes {
            if !self.may_wait {
                remote.was_at.clear();
            }
            remote.was_at.extend(remote.cell.endpoint());
            remote.was_at.push(from);
        }
    }

    /// Nothing waits: all packets have come that must.
    fn check_delivered(&mut self) {
        self.may_wait = false;
        assert_eq!(self.path.counters().tun_write_packets, self.expected.len() as u64, "packets for the TUN");
    }

    /// What comes next is no train.
    pub(crate) fn open_waiting(&mut self) {
        if self.may_wait {
            self.path.flush_writes(self.now);
            self.check_delivered();
            self.finish(Outcome::Done, false);
        }
    }

    /// The end of a batch: what was held goes out.
    pub(crate) fn flush(&mut self) {
        self.path.flush(self.now);
        self.path.flush_writes(self.now);
        self.check_delivered();
        self.finish(Outcome::Done, false);
    }

    /// The socket takes what it did not take before.
    pub(crate) fn unstick(&mut self) {
        while let Some(transmit) = self.stuck.pop_front() {
            self.path.handle_sent(self.now, transmit.note());
            self.path.handle_left(transmit.all());
        }
        self.drain(false);
    }

    /// Everything has left: nothing is lost, and no slot.
    pub(crate) fn end_all(mut self) -> Reached {
        self.mood = Mood::default();
        self.flush();
        self.unstick();
        self.order(Order::LinkDown);
        self.look_through();
        assert_eq!(self.path.staged(), 0);
        self.expected.sort();
        self.written.sort();
        assert!(self.expected == self.written, "the TUN got other packets than the peers have sent");
        let accounting = self.path.pool().accounting();
        assert_eq!((accounting.free, accounting.held, accounting.kernel), (accounting.total, 0, 0));
        let &Counters { cookies_sent: cookies, handoffs, .. } = self.path.counters();
        Reached { written: self.written.len(), cookies, handoffs, ..self.reached }
    }

    /// Takes what a step has left; frees slots and resumes it as often as it asks for that.
    fn finish(&mut self, mut outcome: Outcome, answers: bool) {
        self.drain(answers);
        self.reached.staged = self.reached.staged.max(self.path.staged());
        while outcome == Outcome::NoSlot {
            self.reached.stalled += 1;
            if self.stuck.is_empty() {
                self.path.give_up(self.now);
                break;
            }
            self.unstick();
            outcome = self.path.resume(self.now);
            self.drain(answers);
        }
        assert!(self.path.is_drained());
        assert!(self.path.pool().accounting().adds_up());
    }

    /// `answers`: what is written are ICMP errors of our own.
    fn drain(&mut self, answers: bool) {
        while !self.path.is_drained() {
            while let Some(transmit) = self.path.poll_transmit() {
                self.sent(transmit);
            }
            let mut pieces = std::mem::take(&mut self.pieces);
            while self.path.poll_write(&mut pieces) {
                self.write(&mut pieces, answers);
            }
            self.pieces = pieces;
            while let Some(report) = self.path.poll_event() {
                self.reached.events += 1;
                if self.mood.is_full {
                    self.path.refuse(report);
                }
            }
            while let Some(message) = self.path.poll_handshake() {
                self.check_passed(message.bytes());
                self.reached.passed += 1;
                self.path.note_handshake(self.now, self.mood.is_full.then_some(&message));
            }
            while let Some((worker, handoff)) = self.path.poll_handoff() {
                assert_eq!(worker, 1, "the only other worker");
                if self.mood.is_full {
                    self.path.note_handoff(self.now, Some(handoff));
                    continue;
                }
                let view = handoff.parcel.arrive();
                assert_eq!(view.len().div_ceil(handoff.stride), handoff.datagrams);
                drop(view);
                self.path.note_handoff(self.now, None);
            }
            self.path.pool().drain_returns();
        }
    }

    /// Each datagram of a train is for its peer, under a counter of its own, and carries a packet that is routed there.
    fn sent(&mut self, transmit: Transmit) {
        assert!(transmit.stride > 0 && !transmit.view.is_empty());
        if transmit.peer == PeerId::NOBODY {
            self.check_cookie(&transmit);
            return self.leave(transmit);
        }
        let remote = &mut self.remotes[transmit.peer.index as usize];
        // Sealed before or after a peer was found elsewhere in the same step.
        let (known, was_at) = (remote.cell.endpoint(), &remote.was_at);
        assert!(
            known == Some(transmit.endpoint) || was_at.contains(&transmit.endpoint),
            "{:?} is not where the peer is: {known:?}, {was_at:?}",
            transmit.endpoint
        );
        for datagram in transmit.view.chunks(transmit.stride) {
            let plaintext = remote.receive(datagram);
            if plaintext.is_empty() {
                continue;
            }
            let inner = packet::parse(&plaintext).expect("what was routed is a packet");
            self.reached.sent += 1;
            assert!(remote.has(inner.destination), "routed to another peer");
            assert!(plaintext.len() - inner.len < 16 && plaintext[inner.len..].iter().all(|&byte| byte == 0));
            assert_eq!(transmit.ecn, inner.ecn);
            assert!(transmit.any_data);
        }
        self.leave(transmit);
    }

    /// The socket takes a train, now or later, or it does not.
    fn leave(&mut self, transmit: Transmit) {
        let (peer, datagrams) = (transmit.peer, transmit.datagrams());
        if std::mem::take(&mut self.mood.refuses_send) {
            if self.mood.source_is_gone {
                self.path.handle_source_refused(peer, transmit.endpoint);
            }
            self.path.handle_send_failed(self.now, peer, SendError::System(1), datagrams);
        } else if self.mood.is_stuck {
            self.stuck.push_back(transmit);
        } else {
            self.path.handle_sent(self.now, transmit.note());
            self.path.handle_left(transmit.all());
        }
    }
}
