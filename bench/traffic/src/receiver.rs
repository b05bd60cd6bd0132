//! The receiving thread of a lane: looks at every datagram, and ends when nothing is missing or nothing more is waited
//! for.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ring_buffers::{SlotClass, Wait, Waker};
use ringfort_testbed::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::ledger::{Arrival, Ledger};
use crate::port::{Port, PortEvent, PortPlan, descriptors};
use crate::schedule::Schedule;
use crate::stamp::{STAMP_LEN, Stamp, fill_pattern};
use crate::{Histogram, Placement, sys};

/// Buffers that the kernel has: for lone datagrams, and for merged ones.
const PACKETS: u16 = 512;
const TRAINS: u16 = 64;

/// What the coordinator tells the receiver of a lane while it runs.
#[derive(Debug)]
pub(crate) struct Signals {
    /// Packets that were sent; `u64::MAX` until that is known.
    sent: AtomicU64,
    stop: AtomicBool,
    /// Rings at the receiver's ring.
    pub(crate) waker: Waker,
}

impl Signals {
    pub(crate) fn new() -> Result<Self> {
        let waker = Waker::new().context("making an eventfd")?;
        Ok(Self { sent: AtomicU64::new(u64::MAX), stop: AtomicBool::new(false), waker })
    }

    /// The sender has ended, with that many packets sent.
    pub(crate) fn announce(&self, sent: u64) {
        self.sent.store(sent, Ordering::Release);
        self.waker.wake();
    }

    /// Nothing more is waited for.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether [`Signals::stop`] was called.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

/// Of the packets that were due in a slice of a load.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Slice {
    /// Those that arrived.
    pub(crate) received: u64,
    /// Their times together.
    pub(crate) latency_ns_sum: u64,
    /// The longest of them.
    pub(crate) latency_ns_max: u64,
}

/// What arrived.
#[derive(Debug)]
struct Reception {
    /// Which packets.
    ledger: Ledger,
    damaged: u64,
    foreign: u64,
    latency: Histogram,
    slices: Vec<Slice>,
}

/// What arrived, in numbers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Arrivals {
    /// See [`Ledger`].
    pub(crate) received: u64,
    /// See [`Ledger`].
    pub(crate) duplicated: u64,
    /// See [`Ledger`].
    pub(crate) reordered: u64,
    /// See [`Ledger`].
    pub(crate) distance_max: u32,
    /// Arrivals with other bytes, or another length, than sent.
    pub(crate) damaged: u64,
    /// Arrivals that are not of this lane.
    pub(crate) foreign: u64,
    /// From when packets were due to when they were seen here.
    pub(crate) latency: Histogram,
    /// The same over the time of the load.
    #[serde(default)]
    pub(crate) slices: Vec<Slice>,
}

impl Reception {
    fn arrivals(self) -> Arrivals {
        let Self { ledger, damaged, foreign, latency, slices } = self;
        let Ledger { received, duplicated, reordered, distance_max, .. } = ledger;
        Arrivals { received, duplicated, reordered, distance_max, damaged, foreign, latency, slices }
    }

    /// Takes in the first arrival of a packet of that slice.
    fn record(&mut self, slice: usize, latency_ns: u64) {
        self.latency.record(latency_ns);
        let slice = &mut self.slices[slice];
        slice.received += 1;
        slice.latency_ns_sum += latency_ns;
        slice.latency_ns_max = slice.latency_ns_max.max(latency_ns);
    }
}

/// A receiver that is ready to begin.
pub(crate) struct Receiver<'a> {
    port: Port,
    schedule: &'a Schedule,
    signals: &'a Signals,
    progress: &'a AtomicU64,
    tag: u32,
    /// What our clock shows beyond the sender's, in nanoseconds.
    offset_ns: i64,
    /// A payload without its stamp.
    pattern: Vec<u8>,
    reception: Reception,
}

impl<'a> Receiver<'a> {
    /// Makes its ring and begins to receive on all sockets; called on the thread that will receive.
    pub(crate) fn new(
        sockets: &[UdpSocket],
        schedule: &'a Schedule,
        tag: u32,
        merged: bool,
        signals: &'a Signals,
        progress: &'a AtomicU64,
    ) -> Result<Self> {
        let lone = !merged && schedule.payload_len_max() <= SlotClass::Packet.size();
        let (slot, receives) = if lone { (SlotClass::Packet, PACKETS) } else { (SlotClass::Jumbo, TRAINS) };
        let sockets = descriptors(sockets);
        let plan = PortPlan { sockets, addresses: Vec::new(), sends: 0, receives, slot, waker: &signals.waker };
        let mut pattern = vec![0; schedule.payload_len_max()];
        fill_pattern(&mut pattern);
        let ledger = Ledger::new(schedule.clone());
        let slices = vec![Slice::default(); schedule.slices];
        let reception = Reception { ledger, damaged: 0, foreign: 0, latency: Histogram::default(), slices };
        Ok(Self { port: Port::new(&plan)?, schedule, signals, progress, tag, offset_ns: 0, pattern, reception })
    }

    /// The same where the sender reads another clock. Ours shows so many nanoseconds beyond that one.
    pub(crate) const fn with_clock_offset(mut self, offset_ns: i64) -> Self {
        self.offset_ns = offset_ns;
        self
    }

    /// Receives until everything that was sent has arrived, or until it is told to stop.
    pub(crate) fn run(mut self, placement: &Placement) -> Result<Arrivals> {
        let wait = if placement.spin { Wait::No } else { Wait::UntilCompletion };
        loop {
            self.port.turn(wait)?;
            // On the sender's clock.
            let now_ns = sys::now_ns().saturating_add_signed(-self.offset_ns);
            let before = self.reception.ledger.received;
            while let Some(event) = self.port.next_event()? {
                if let PortEvent::Received { bytes, .. } = event {
                    self.take(&bytes, now_ns);
                }
            }
            let received = self.reception.ledger.received;
            self.progress.fetch_add(received - before, Ordering::Relaxed);
            if received == self.signals.sent.load(Ordering::Acquire) || self.signals.is_stopped() {
                return Ok(self.reception.arrivals());
            }
        }
    }

    /// Takes in a datagram, or several that the kernel merged: they are told apart by the length that each must have.
    fn take(&mut self, mut bytes: &[u8], now_ns: u64) {
        loop {
            let Some(stamp) = Stamp::read(bytes).filter(|stamp| self.is_ours(*stamp)) else {
                self.reception.foreign += 1;
                return;
            };
            let payload_len = self.schedule.payload_len(stamp.number);
            let whole = bytes.len() >= payload_len;
            let (datagram, rest) = bytes.split_at(payload_len.min(bytes.len()));
            if !whole || datagram[STAMP_LEN..] != self.pattern[STAMP_LEN..payload_len] {
                self.reception.damaged += 1;
            } else if self.reception.ledger.arrive(stamp.number) == Arrival::New {
                let slice = self.schedule.slice_of(stamp.number);
                self.reception.record(slice, now_ns.saturating_sub(stamp.due_ns));
            }
            if rest.is_empty() {
                return;
            }
            bytes = rest;
        }
    }

    fn is_ours(&self, stamp: Stamp) -> bool {
        stamp.tag == self.tag && stamp.number < self.schedule.planned
    }
}
