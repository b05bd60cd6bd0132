//! What waits to be taken from a data path.

use std::collections::VecDeque;

use ring_buffers::{Parcel, View};
use ringfort_core::activity::Activity;
use ringfort_core::device::{Datagram, PeerEvent};
use ringfort_core::drops::DropReason;
use ringfort_core::gate::Proof;
use ringfort_core::ids::{Endpoint, PeerId};
use ringfort_core::time::Time;

use crate::budget::SLOTS;
use crate::{DATAGRAMS_MAX, DataPath, LONE_MAX, Receiver, Watch};

/// DSCP AF41 and no ECN for handshakes, so they get through where data is queued: what the kernel's WireGuard sends
/// (`HANDSHAKE_DSCP` in `drivers/net/wireguard/messages.h`).
pub const HANDSHAKE_TRAFFIC_CLASS: u8 = 0x88;

/// A sealed train for the socket; a lone datagram is a train of one.
#[derive(Debug)]
pub struct Transmit {
    /// Whom it is for; [`PeerId::NOBODY`] for a cookie.
    pub peer: PeerId,
    /// The datagrams, side by side.
    pub view: View,
    /// Bytes of each datagram but the last, which may be shorter.
    pub stride: usize,
    /// Where it goes to, and where from.
    pub endpoint: Endpoint,
    /// The ECN field of the outer header, and the DSCP above it.
    pub ecn: u8,
    /// Not all of the datagrams are keepalives.
    pub any_data: bool,
}

impl Transmit {
    /// Number of datagrams.
    #[must_use]
    pub fn datagrams(&self) -> usize {
        self.view.len().div_ceil(self.stride)
    }

    /// What [`DataPath::handle_sent`] is told if the socket takes it.
    #[must_use]
    pub fn note(&self) -> Sent {
        Sent { peer: self.peer, any_data: self.any_data }
    }

    /// What [`DataPath::handle_left`] is told if the kernel sends all of it.
    #[must_use]
    pub fn all(&self) -> Left {
        Left { peer: self.peer, datagrams: self.datagrams(), bytes: self.view.len() }
    }
}

/// A transmission that the socket took. Whether it leaves, the kernel says later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// To whom.
    pub peer: PeerId,
    /// Not all of it were keepalives.
    pub any_data: bool,
}

/// A transmission that the kernel sent, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// To whom.
    pub peer: PeerId,
    /// Number of datagrams.
    pub datagrams: usize,
    /// Bytes of all of them.
    pub bytes: usize,
}

/// Sealed datagrams that will not leave.
#[derive(Clone, Copy, Debug)]
pub struct Unsent<'a> {
    /// Whom they were for; [`PeerId::NOBODY`] for a cookie.
    pub peer: PeerId,
    /// The datagrams, side by side.
    pub bytes: &'a [u8],
    /// Bytes of each datagram but the last, which may be shorter.
    pub stride: usize,
    /// Where they were to go to, and where from.
    pub endpoint: Endpoint,
    /// The ECN field of the outer header, and the DSCP above it.
    pub ecn: u8,
    /// What they are counted as.
    pub reason: DropReason,
}

/// A train for the worker that owns its receiver index.
#[derive(Debug)]
pub struct Handoff {
    /// The datagrams.
    pub parcel: Parcel,
    /// How many.
    pub datagrams: usize,
    /// Distance from one to the next, in bytes.
    pub stride: usize,
    /// Where they came from.
    pub endpoint: Endpoint,
    /// The ECN field of their outer header.
    pub ecn: u8,
}

/// A handshake message for control, copied out of its slot: control must not hold slots.
#[derive(Clone, Copy, Debug)]
pub struct HandshakeMessage {
    /// Where it came from, and to which address.
    pub endpoint: Endpoint,
    /// The message.
    pub datagram: Datagram,
    /// What its sender has proved.
    pub proof: Proof,
    /// The ECN field of its outer header.
    pub ecn: u8,
}

impl HandshakeMessage {
    /// Copies a message; `None` if it is longer than any handshake message.
    #[must_use]
    pub fn new(endpoint: Endpoint, message: &[u8], proof: Proof) -> Option<Self> {
        Some(Self { endpoint, datagram: Datagram::new(message)?, proof, ecn: 0 })
    }

    /// The message.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.datagram.as_ref()
    }
}

/// An event for control. If control has no room for it, it goes to [`DataPath::refuse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an event that control does not take must be refused"]
pub struct Report {
    /// The event.
    pub event: PeerEvent,
    /// The receiving half whose messages say so, if it was not learned from sending.
    session: Option<u32>,
}

/// Reports that one step can cause: three for each run of a train or of what waited before it, and some of what then
/// leaves.
const REPORTS_MAX: usize = 4 * (DATAGRAMS_MAX + LONE_MAX);

/// All queues of outputs. Their owner takes what one step has left before the next, so none of them grows.
pub(crate) struct Outputs {
    pub(crate) transmits: VecDeque<Transmit>,
    reports: VecDeque<Report>,
    pub(crate) handshakes: VecDeque<HandshakeMessage>,
    pub(crate) handoffs: VecDeque<(usize, Handoff)>,
}

impl Outputs {
    pub(crate) fn new() -> Self {
        Self {
            // Each holds a slot.
            transmits: VecDeque::with_capacity(SLOTS.into()),
            reports: VecDeque::with_capacity(REPORTS_MAX),
            handshakes: VecDeque::with_capacity(DATAGRAMS_MAX),
            handoffs: VecDeque::with_capacity(DATAGRAMS_MAX),
        }
    }
}

impl<W: Watch> DataPath<W> {
    /// Whether nothing waits for the socket, for the TUN, for control or for another worker.
    #[inline]
    #[must_use]
    pub fn is_drained(&self) -> bool {
        let Outputs { transmits, reports, handshakes, handoffs } = &self.outputs;
        let to_others = reports.len() + handshakes.len() + handoffs.len();
        transmits.is_empty() && self.merging.is_drained() && to_others == 0
    }

    /// The next train for the socket. If the socket takes it, or a part of it, [`DataPath::handle_sent`] must hear of
    /// it. What of it has left, [`DataPath::handle_left`] must hear.
    #[inline]
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        pop(&mut self.outputs.transmits)
    }

    /// The next write to the TUN. `pieces` is empty; it receives one piece, or many of one run. The first begins with a
    /// finished virtio-net header.
    #[inline]
    pub fn poll_write(&mut self, pieces: &mut Vec<View>) -> bool {
        self.merging.poll(pieces)
    }

    /// The next event for control.
    #[inline]
    pub fn poll_event(&mut self) -> Option<Report> {
        pop(&mut self.outputs.reports)
    }

    /// The next message for control. Whether control took it, [`DataPath::note_handshake`] must hear.
    #[inline]
    pub fn poll_handshake(&mut self) -> Option<HandshakeMessage> {
        pop(&mut self.outputs.handshakes)
    }

    /// The next train for another worker, and its number. Whether it took it, [`DataPath::note_handoff`] must hear.
    #[inline]
    pub fn poll_handoff(&mut self) -> Option<(usize, Handoff)> {
        pop(&mut self.outputs.handoffs)
    }

    /// Control took a handshake message, or it had no room, and gives it back.
    pub fn note_handshake(&mut self, now: Time, refused: Option<&HandshakeMessage>) {
        match refused {
            None => self.counters.handshakes += 1,
            Some(message) => self.drop_handshake(now, message),
        }
    }

    #[cold]
    fn drop_handshake(&mut self, now: Time, message: &HandshakeMessage) {
        let (bytes, reason) = (message.bytes(), DropReason::HandshakeQueueFull);
        self.counters.drop(reason, 1);
        self.tap_stranger(now, bytes, bytes.len(), message.endpoint, message.ecn, reason);
    }

    /// The socket took a train: timers are kept. They run as well if the train does not leave, as nobody answers then.
    pub fn handle_sent(&mut self, now: Time, sent: Sent) {
        let Sent { peer: id, any_data } = sent;
        let Some(peer) = self.peers.get(id) else { return };
        let shared = peer.cell().shared();
        if !any_data {
            shared.activity.keepalive_sent(now);
        } else if shared.activity.data_sent(now) {
            self.report(PeerEvent::Awake(id), None);
        }
    }

    /// The kernel sent a train, or a part of one: what is counted as sent has left, in as many sends as it left in.
    #[inline]
    pub fn handle_left(&mut self, left: Left) {
        let Left { peer, datagrams, bytes } = left;
        self.counters.udp_send_datagrams += datagrams as u64;
        self.counters.udp_send_trains.note(datagrams);
        if let Some(peer) = self.peers.get(peer) {
            peer.cell().shared().counters[self.config.worker].sent(datagrams as u64, bytes as u64);
        }
    }

    /// The socket refused the source of an endpoint: its address has gone, or its route has. A peer that has moved
    /// since is not concerned.
    pub fn handle_source_refused(&mut self, peer: PeerId, endpoint: Endpoint) {
        if let Some(peer) = self.peers.get(peer) {
            peer.cell().shared().endpoint.change(endpoint, endpoint.without_source());
        }
    }

    /// Control has no room for an event: the note that keeps it from being told again is undone.
    pub fn refuse(&mut self, report: Report) {
        match report.event {
            PeerEvent::Confirmed(_) => {
                if let Some(receiver) = self.receiver_of(report) {
                    receiver.session.retract_confirmation();
                }
            }
            PeerEvent::NeedHandshake { peer, .. } => {
                if let Some(receiver) = self.receiver_of(report) {
                    receiver.session.retract_rekey();
                }
                self.with_activity(peer, report, Activity::clear_request);
            }
            PeerEvent::Awake(peer) => self.with_activity(peer, report, Activity::disarm),
            // The next handshake message of the peer makes up for it.
            PeerEvent::Found(_) => {}
            PeerEvent::LostSession(peer) => {
                if let Some(peer) = self.peers.get(peer) {
                    peer.cell().shared().lost.untold();
                }
            }
            // Control is awake, since its queue is full, and looks whether anybody has moved.
            PeerEvent::Moved(peer) => {
                if let Some(peer) = self.peers.get(peer) {
                    peer.cell().shared().untold_move();
                }
            }
            PeerEvent::Dropped { peer, reason } => {
                if let Some(peer) = self.peers.get(peer) {
                    peer.cell().shared().drops.untold(reason);
                }
            }
            // It is counted, and told again after a moment.
            PeerEvent::Unrouted { .. } | PeerEvent::WrongKey { .. } => {}
        }
    }

    fn receiver_of(&mut self, report: Report) -> Option<&mut Receiver> {
        self.sessions.get_mut(&report.session?).map(Box::as_mut)
    }

    /// A session can be here before its peer is: orders about sessions are read before the others.
    fn with_activity(&mut self, peer: PeerId, report: Report, change: fn(&Activity)) {
        if let Some(known) = self.peers.get(peer) {
            change(&known.cell().shared().activity);
        } else if let Some(receiver) = self.receiver_of(report) {
            change(&receiver.cell().shared().activity);
        }
    }

    /// Tells control of something. `session` is the receiving half whose messages say so.
    pub(crate) fn report(&mut self, event: PeerEvent, session: Option<u32>) {
        let report = Report { event, session };
        if self.outputs.reports.len() == REPORTS_MAX {
            return self.refuse(report);
        }
        self.outputs.reports.push_back(report);
    }
}

/// The next of a queue. One that is empty begins anew at its first place: what is used again and again stays in the
/// cache.
#[inline]
pub(crate) fn pop<T>(queue: &mut VecDeque<T>) -> Option<T> {
    let next = queue.pop_front();
    if next.is_none() {
        queue.clear();
    }
    next
}
