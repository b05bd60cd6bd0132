//! From the wire to the TUN, one file for each step. A train is taken apart into runs, and each run is opened in place.
//! Then what follows from it is done, and its packets are checked and delivered. Messages that come alone in one turn
//! are opened together.

mod check;
mod classify;
mod deliver;
mod effects;
mod hand_over;
mod lone;
mod open;
mod recover;
mod screen;

pub(crate) use deliver::Merging;
pub(crate) use lone::Lone;
pub(crate) use recover::Told;
pub use screen::COOKIES_PER_SECOND;
pub(crate) use screen::Screen;

use ring_buffers::View;
use ringfort_aead::SEGMENTS_MAX;
use ringfort_core::drops::DropReason;
use ringfort_core::ids::{Endpoint, PeerId};
use ringfort_core::time::Time;
use ringfort_core::wire::{DATA_HEADER_LEN, DATA_LEN_MIN, HandshakeResponse, TAG_LEN};
use vnet_packets::VNET_HDR_LEN;

use crate::tap::Datagrams;
use crate::{DataPath, SessionOrder, Watch};
use classify::{Front, front};

/// Bytes in front of a received train. Its view grows over them while it is alone in its backing: in front of a packet,
/// the TUN wants so much more room than its data header leaves. What follows the first packet of a train finds that
/// room in the tag before it.
pub const TRAIN_ROOM: usize = VNET_HDR_LEN - DATA_HEADER_LEN;

const _: () = assert!(TRAIN_ROOM <= TAG_LEN, "the tag of one packet is room enough for the next");

/// Datagrams that came together, side by side.
#[derive(Debug)]
pub struct Train {
    /// All of them. Where the backing has no [`TRAIN_ROOM`] in front of them, or is shared, they are copied to the
    /// heap.
    pub view: View,
    /// Bytes of each but the last, which may be shorter. At least 1.
    pub stride: usize,
    /// Where they came from, and to which address.
    pub endpoint: Endpoint,
    /// The ECN field of their outer header.
    pub ecn: u8,
    /// Another worker has received it and handed it over.
    pub handed: bool,
}

/// Bytes of the shortest message that has macs, which only a cookie may answer.
const SHORTEST_WITH_MACS: usize = size_of::<HandshakeResponse>();

/// The counters of a run.
type Counters = [u64; SEGMENTS_MAX];

/// Under which session messages came, and from where.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Origin {
    receiver: u32,
    endpoint: Endpoint,
    ecn: u8,
}

/// Data messages under one receiver index, side by side.
struct Run<'a> {
    /// [`TRAIN_ROOM`], the run, and what is behind it in the train.
    view: View,
    /// Bytes of the run.
    len: usize,
    stride: usize,
    origin: Origin,
    counters: &'a [u64],
    handed: bool,
}

impl Run<'_> {
    fn bytes(&self) -> &[u8] {
        &self.view[TRAIN_ROOM..][..self.len]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.view[TRAIN_ROOM..][..self.len]
    }

    /// What is behind the run, with room in front of it.
    fn behind(self) -> Option<View> {
        behind(self.view, self.len)
    }

    /// For whoever looks on.
    const fn datagrams(&self, peer: PeerId) -> Datagrams {
        let Origin { endpoint, ecn, .. } = self.origin;
        Datagrams { peer: Some(peer), stride: self.stride, endpoint: Some(endpoint), ecn }
    }
}

/// The messages of one origin that were opened and are new, and how many of the others are neither.
#[derive(Default)]
struct Accepted {
    bits: u64,
    segments: u64,
    bytes: u64,
    /// How often data came. Keepalives are none.
    data: u64,
    forged: usize,
    replays: usize,
}

impl Accepted {
    /// A message of so many bytes on the wire.
    fn note(&mut self, i: usize, len: usize) {
        self.bits |= 1 << i;
        self.segments += 1;
        self.bytes += len as u64;
        self.data += u64::from(len > DATA_LEN_MIN);
    }

    fn has(&self, i: usize) -> bool {
        self.bits >> i & 1 == 1
    }
}

impl<W: Watch> DataPath<W> {
    /// A train came from the wire, or from another worker. `late` takes from the mailbox of session orders. It is read
    /// to its end before an index of this worker's is called unknown: the session may have begun since the turn did.
    ///
    /// The kernel coalesces by addresses and lengths only, so a train may hold messages of several sessions, and
    /// handshakes.
    pub fn handle_train(&mut self, now: Time, train: Train, late: &mut dyn FnMut() -> Option<SessionOrder>) {
        if self.waiting.is_empty() {
            self.take_apart(now, train, late);
        } else {
            self.gather_train(now, train, late);
            self.open_waiting(now);
        }
    }

    /// The same for a train that others follow in this turn. If it is one data message, that waits for theirs, and all
    /// of one session are opened together.
    ///
    /// The waiting ends with whatever else comes, with the next [`DataPath::handle_train`], with any order, and with
    /// [`DataPath::flush_writes`]. To whoever looks at what comes of it, each was opened when it came.
    pub fn gather_train(&mut self, now: Time, train: Train, late: &mut dyn FnMut() -> Option<SessionOrder>) {
        match self.may_wait(now, &train) {
            Some(header) => self.let_wait(now, train, header),
            None => {
                // In the order in which they came: the mailbox may hold the end of a session.
                self.open_waiting(now);
                self.take_apart(now, train, late);
            }
        }
    }

    fn take_apart(&mut self, now: Time, train: Train, late: &mut dyn FnMut() -> Option<SessionOrder>) {
        self.begin_train(now, &train);
        let Train { view, stride, endpoint, ecn, handed } = train;
        let stride = stride.max(1);
        let mut counters = [0; SEGMENTS_MAX];
        let mut rest = Some(with_room(view));
        while let Some(view) = rest.take() {
            let datagrams = &view[TRAIN_ROOM..];
            let front = front(datagrams, stride, &mut counters);
            if let Front::Data { receiver, segments } = front {
                let (len, counters) = (datagrams.len().min(segments * stride), &counters[..segments]);
                let origin = Origin { receiver, endpoint, ecn };
                rest = self.open(now, Run { view, len, stride, origin, counters, handed }, late);
                continue;
            }
            let datagram = &datagrams[..stride.min(datagrams.len())];
            let dropped = if let Front::Bad(reason) = front {
                self.worthless += 1;
                self.counters.drop(reason, 1);
                Some(reason)
            } else {
                self.screen(now, datagram, endpoint, ecn)
            };
            // What goes on to control is shown by control, which knows whose it is and what becomes of it.
            if let Some(reason) = dropped {
                self.tap_stranger(now, datagram, stride, endpoint, ecn, reason);
            }
            let len = datagram.len();
            rest = behind(view, len);
        }
    }

    /// A new step begins, with this train.
    #[inline]
    fn begin_train(&mut self, now: Time, train: &Train) {
        self.give_up(now);
        if !train.handed {
            let datagrams = train.view.len().div_ceil(train.stride.max(1));
            self.counters.udp_receive_trains.note(datagrams);
            self.counters.udp_receive_datagrams += datagrams as u64;
        }
    }

    /// Shows whoever looks on datagrams that are dropped and that no session of ours names. Of interest are those from
    /// where a peer is that is of interest.
    #[inline]
    pub(crate) fn tap_stranger(
        &mut self,
        now: Time,
        bytes: &[u8],
        stride: usize,
        endpoint: Endpoint,
        ecn: u8,
        reason: DropReason,
    ) {
        let Some(tap) = &mut self.tap else { return };
        let is_there = |&peer: &PeerId| {
            let known = self.peers.get(peer).and_then(|peer| peer.cell().endpoint());
            known.is_some_and(|known| known.remote == endpoint.remote)
        };
        if tap.wants_peer(None) || tap.peers().iter().any(is_there) {
            tap.received(now, &Datagrams { peer: None, stride, endpoint: Some(endpoint), ecn }, bytes, Some(reason));
        }
    }
}

/// Takes in the room in front of a train.
#[inline]
fn with_room(mut view: View) -> View {
    match view.reserve_head(TRAIN_ROOM) {
        Ok(()) => view,
        Err(_) => copied_with_room(&view),
    }
}

/// The socket's edge leaves room: this is for owners without one.
#[cold]
fn copied_with_room(datagrams: &[u8]) -> View {
    View::heap([&[0; TRAIN_ROOM], datagrams].concat())
}

/// What is behind the first `len` bytes of a train, with room in front of it: these are used up.
fn behind(mut view: View, len: usize) -> Option<View> {
    view.advance(len);
    (view.len() > TRAIN_ROOM).then_some(view)
}
