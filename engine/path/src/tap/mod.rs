//! A tap shows packets to somebody who looks on: what goes through the tunnel, what goes over the wire, and what is
//! dropped for which reason.
//!
//! ```text
//!   out   route ──► gather ──► seal ──────────────► poll_transmit
//!           │                   ╎ plain    cipher ╎
//!           └ dropped ╌╌╌╌╌╌╌╌╌╌┴╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌┴╌╌► a bounded queue of bytes ──► TapReader, on a thread of its own
//!           ┌ dropped ╌╌╌╌╌╌╌╌╌╌┬╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌┬╌╌►
//!   in    classify ──────► open ╎ cipher   plain ╎ check ──► deliver
//! ```
//!
//! There is none unless somebody asked for it ([`Order::Tap`](crate::Order)). Then a step tests one pointer for each
//! train. With a tap, packets are copied into memory that was allocated before. What finds no room is counted as lost:
//! the data path never waits for who looks on.
//!
//! What is seen has not arrived: the kernel may refuse it, or a queue may be full. It is then seen again, as dropped.

mod filter;
mod outer;
mod points;
mod record;

pub use filter::{Direction, Filter, Side};
pub use outer::{OUTER_LEN_MAX, outer_header};
pub(crate) use points::Datagrams;
pub use record::{Seen, TapReader};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ring_buffers::{JUMBO_SIZE, RingError, leave_out_of_dumps, left_out_of_dumps};
use ringfort_core::drops::DropReason;
use ringfort_core::ids::{Endpoint, PeerId};
use ringfort_core::time::Time;
use rtrb::{Producer, RingBuffer};
use zerocopy::IntoBytes as _;

use crate::outputs::HandshakeMessage;
use record::{Head, RECORD_LEN_MAX};

/// The smallest queue that a tap can have, in bytes: some of the longest packets fit.
pub const CAPACITY_MIN: usize = 1 << 18;
const _: () = assert!(CAPACITY_MIN >= 2 * RECORD_LEN_MAX, "the longest packet fits");

/// Tells the reader that there is something new.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// The end of a tap that a data path has, or whoever else sends and receives.
pub struct Tap {
    filter: Arc<Filter>,
    queue: Producer<u8>,
    counts: Arc<TapCounts>,
    wake: Wake,
    /// Whether anything was pushed since the reader was told.
    has_news: bool,
    /// By side: how many were lost since the last one that was not.
    lost: [u32; Side::COUNT],
    /// What was received and is opened in place: its bytes before that.
    held: Vec<u8>,
    /// Counts what has no counter of its own to be sampled by.
    ordinal: u64,
}

/// By side, since the tap was made. One thread writes, any may read.
#[derive(Debug, Default)]
pub struct TapCounts {
    seen: [AtomicU64; Side::COUNT],
    left_out: [AtomicU64; Side::COUNT],
    lost: [AtomicU64; Side::COUNT],
}

impl TapCounts {
    /// Packets that the filter wants, before they were sampled.
    #[must_use]
    pub fn seen(&self, side: Side) -> u64 {
        self.seen[side as usize].load(Ordering::Relaxed)
    }

    /// Of those, what the sample leaves out.
    #[must_use]
    pub fn left_out(&self, side: Side) -> u64 {
        self.left_out[side as usize].load(Ordering::Relaxed)
    }

    /// Of those, what found no room.
    #[must_use]
    pub fn lost(&self, side: Side) -> u64 {
        self.lost[side as usize].load(Ordering::Relaxed)
    }
}

/// By what a packet is sampled.
#[derive(Clone, Copy, Debug)]
enum Pick {
    /// By its name on the wire. Both its sides are seen or neither, and the same packets at the other gateway.
    Message { receiver: u32, counter: u64 },
    /// It has none: each is as likely as the others.
    Next,
    /// It is rare, and seen in any case.
    Always,
}

/// What a step has at hand of a packet.
struct Packet<'a> {
    direction: Direction,
    peer: Option<PeerId>,
    pick: Pick,
    dropped: Option<DropReason>,
    /// Its bytes, in two pieces.
    parts: [&'a [u8]; 2],
}

/// The two ends of a tap with a queue of so many bytes, but [`CAPACITY_MIN`] at least.
///
/// # Errors
/// [`RingError::Dumped`]: packets would be in core dumps.
pub fn tap(filter: Arc<Filter>, capacity: usize, wake: Wake) -> Result<(Box<Tap>, TapReader), RingError> {
    let (mut queue, consumer) = RingBuffer::new(capacity.max(CAPACITY_MIN));
    prepare(&mut queue)?;
    let counts = Arc::new(TapCounts::default());
    let tap = Tap {
        filter,
        queue,
        counts: counts.clone(),
        wake,
        has_news: false,
        lost: [0; Side::COUNT],
        held: left_out_of_dumps(JUMBO_SIZE)?,
        ordinal: 0,
    };
    Ok((Box::new(tap), TapReader::new(consumer, counts)))
}

/// Has the kernel provide the memory now, and not while packets pass; and leave it out of core dumps.
fn prepare(queue: &mut Producer<u8>) -> Result<(), RingError> {
    // All of it is free, and zeroed by this. Nothing of it is given to the reader.
    if let Ok(mut chunk) = queue.write_chunk(queue.buffer().capacity()) {
        let (all, none) = chunk.as_mut_slices();
        debug_assert!(none.is_empty(), "an empty queue begins at its beginning");
        leave_out_of_dumps(all)?;
    }
    Ok(())
}

impl Tap {
    /// A handshake message left, or did not, of a thread that sends no others.
    pub fn handshake_sent(
        &mut self,
        now: Time,
        peer: Option<PeerId>,
        endpoint: Endpoint,
        class: u8,
        message: &[u8],
        verdict: Result<(), DropReason>,
    ) {
        if self.filter.wants_peer(peer) {
            let (direction, dropped) = (Direction::Out, verdict.err());
            let packet = Packet { direction, peer, pick: Pick::Always, dropped, parts: [message, &[]] };
            self.cipher(now, &packet, Some(endpoint), class);
        }
        self.tell();
    }

    /// A handshake message that came was dealt with by a thread that opens no others, and accepted or dropped. Whoever
    /// wants certain peers alone wants those of their messages, too, that cannot be told to be theirs: `is_there` says
    /// whether one came from where this peer is.
    pub fn handshake_received(
        &mut self,
        now: Time,
        peer: Option<PeerId>,
        message: &HandshakeMessage,
        verdict: Result<(), DropReason>,
        is_there: impl Fn(PeerId) -> bool,
    ) {
        let is_wanted = self.filter.wants_peer(peer) || self.filter.peers.iter().any(|&peer| is_there(peer));
        if is_wanted && self.filter.side(Side::Cipher) {
            let (direction, dropped) = (Direction::In, verdict.err());
            // What is dropped may be a flood.
            let pick = if dropped.is_none() { Pick::Always } else { Pick::Next };
            let packet = Packet { direction, peer, pick, dropped, parts: [message.bytes(), &[]] };
            let head = Head::new(now, &packet).on_the_wire(Some(message.endpoint), message.ecn);
            self.push(Side::Cipher, &packet, if dropped.is_none() { head.accepted() } else { head });
        }
        self.tell();
    }

    /// Tells the reader if there is something new. To be called at the end of a turn.
    pub fn tell(&mut self) {
        if std::mem::take(&mut self.has_news) {
            (self.wake)();
        }
    }

    /// What goes through the tunnel.
    fn plain(&mut self, now: Time, packet: &Packet<'_>) {
        self.push(Side::Plain, packet, Head::new(now, packet));
    }

    /// What goes over the wire.
    fn cipher(&mut self, now: Time, packet: &Packet<'_>, endpoint: Option<Endpoint>, class: u8) {
        if self.filter.side(Side::Cipher) {
            self.push(Side::Cipher, packet, Head::new(now, packet).on_the_wire(endpoint, class));
        }
    }

    fn push(&mut self, side: Side, packet: &Packet<'_>, mut head: Head) {
        if !self.filter.wants(side, packet.direction, packet.dropped.is_some()) {
            return;
        }
        let place = side as usize;
        add(&self.counts.seen[place], 1);
        if !self.is_picked(packet.pick) {
            return add(&self.counts.left_out[place], 1);
        }
        let [first, second] = packet.parts;
        let room = self.filter.snap_len.min(RECORD_LEN_MAX);
        let first = &first[..first.len().min(room)];
        let second = &second[..second.len().min(room - first.len())];
        let len = first.len() + second.len();
        if self.queue.slots() < size_of::<Head>() + len {
            self.lost[place] = self.lost[place].saturating_add(1);
            return add(&self.counts.lost[place], 1);
        }
        head.holds(len, std::mem::take(&mut self.lost[place]));
        // There is room for all of it, so each succeeds. The reader waits for what a head announces.
        for part in [head.as_bytes(), first, second] {
            let _ = self.queue.push_entire_slice(part);
        }
        self.has_news = true;
    }

    fn is_picked(&mut self, pick: Pick) -> bool {
        match pick {
            _ if self.filter.one_in <= 1 => true,
            Pick::Always => true,
            Pick::Message { receiver, counter } => self.filter.picks(receiver, counter),
            Pick::Next => {
                self.ordinal += 1;
                self.filter.picks(0, self.ordinal)
            }
        }
    }
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tap").field("filter", &self.filter).field("counts", &self.counts).finish_non_exhaustive()
    }
}

/// Nobody else writes, so it needs no locked instruction.
fn add(count: &AtomicU64, n: u64) {
    count.store(count.load(Ordering::Relaxed) + n, Ordering::Relaxed);
}
