//! The sending thread of a lane: keeps to the schedule, whatever becomes of what it sent.

use std::sync::atomic::{AtomicBool, Ordering};

use ring_buffers::{SlotClass, View, Wait, Waker};
use ringfort_testbed::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::load::Placement;
use crate::port::{Port, PortEvent, PortPlan, descriptors};
use crate::schedule::Schedule;
use crate::sockets::Grid;
use crate::stamp::{Stamp, fill_pattern};
use crate::{Histogram, sys};

/// Packets between two looks at the clock.
const BATCH_LEN: u16 = 32;
/// Trains likewise.
const TRAINS_LEN: u16 = 4;
/// The shortest sleep. What comes due meanwhile leaves together.
const TICK_NS: u64 = 50_000;

/// What a sender did.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sending {
    /// Packets that the kernel took.
    pub(crate) sent: u64,
    /// Packets that it refused.
    pub(crate) refused: u64,
    /// The first reason for it.
    pub(crate) errno: Option<i32>,
    /// Packets that were given up because they were too late.
    pub(crate) skipped: u64,
    /// From the start of the schedule until the last one was handed over.
    #[serde(default)]
    pub(crate) took_ns: u64,
    /// How late packets were handed over.
    pub(crate) lateness: Histogram,
}

/// A sender that is ready to begin.
pub(crate) struct Sender<'a> {
    port: Port,
    grid: &'a Grid,
    schedule: &'a Schedule,
    tag: u32,
    /// Whether nobody wants the rest: who asked for it has gone.
    stop: &'a AtomicBool,
    free: Vec<View>,
    /// What was handed over in this turn, in packets: a send of a train counts all of them.
    sending: Sending,
}

impl<'a> Sender<'a> {
    /// Makes its ring; called on the thread that will send.
    pub(crate) fn new(grid: &'a Grid, schedule: &'a Schedule, tag: u32, stop: &'a AtomicBool) -> Result<Self> {
        let waker = Waker::new().map_err(|error| Error::new(format!("making an eventfd: {error}")))?;
        let train_bytes = schedule.payload_len_max() * schedule.train_len as usize;
        let slot = if train_bytes <= SlotClass::Packet.size() { SlotClass::Packet } else { SlotClass::Jumbo };
        let sends = if schedule.train_len > 1 { TRAINS_LEN } else { BATCH_LEN };
        let port = Port::new(&PortPlan {
            sockets: descriptors(&grid.sources),
            addresses: grid.sink_addresses.clone(),
            sends,
            receives: 0,
            slot,
            waker: &waker,
        })?;
        let mut free: Vec<View> = std::iter::from_fn(|| port.claim()).collect();
        for view in &mut free {
            for datagram in view.chunks_mut(schedule.payload_len_max()) {
                fill_pattern(datagram);
            }
        }
        Ok(Self { port, grid, schedule, tag, stop, free, sending: Sending::default() })
    }

    /// Sends everything that is planned, unless it is told to stop. The schedule counts from `start_ns`.
    pub(crate) fn run(mut self, placement: &Placement, start_ns: u64) -> Result<Sending> {
        sys::sleep_until_ns(start_ns);
        let mut next = 0;
        while next < self.schedule.planned && !self.stop.load(Ordering::Relaxed) {
            let elapsed_ns = sys::now_ns().saturating_sub(start_ns);
            let late_max_ns = self.schedule.late_max_ns;
            let too_late = elapsed_ns.checked_sub(late_max_ns).map_or(0, |time_ns| self.schedule.due_until(time_ns));
            if too_late > next {
                self.sending.skipped += u64::from(too_late - next);
                next = too_late;
            }
            let due = self.schedule.due_until(elapsed_ns);
            if next < due {
                next = self.send(next, due, start_ns, elapsed_ns)?;
            } else if next < self.schedule.planned && !placement.spin {
                let due_ns = self.schedule.due_ns(next).max(elapsed_ns + TICK_NS);
                sys::sleep_until_ns(start_ns + due_ns);
            }
        }
        self.sending.took_ns = sys::now_ns().saturating_sub(start_ns);
        Ok(self.sending)
    }

    /// Sends packets from `next` up to but not including `due`, as many as there are slots for, and returns the next.
    fn send(&mut self, mut next: u32, due: u32, start_ns: u64, elapsed_ns: u64) -> Result<u32> {
        while next < due
            && let Some(mut view) = self.free.pop()
        {
            let packets = self.schedule.train_len.min(due - next);
            let payload_len = self.schedule.payload_len(next);
            let due_ns = self.schedule.due_ns(next);
            for (number, datagram) in (next..next + packets).zip(view.chunks_mut(payload_len)) {
                Stamp { due_ns: start_ns + due_ns, number, tag: self.tag }.write(datagram);
                self.sending.lateness.record(elapsed_ns.saturating_sub(due_ns));
            }
            let (source, sink) = self.grid.places(self.schedule.flow(next));
            let address = (!self.grid.is_connected()).then_some(usize::from(sink));
            self.port.send(source, address, view, packets as usize * payload_len)?;
            next += packets;
        }
        self.port.turn(Wait::No)?;
        self.reap()?;
        Ok(next)
    }

    /// Takes the slots home. A send that does not wait has ended when the turn has.
    fn reap(&mut self) -> Result<()> {
        while let Some(event) = self.port.next_event()? {
            let (view, errno) = match event {
                PortEvent::Sent(view) => (view, None),
                PortEvent::Refused(view, errno) => (view, Some(errno)),
                _ => continue,
            };
            let first = Stamp::read(&view).map_or(0, |stamp| stamp.number);
            let packets = u64::from(self.schedule.train_len.min(self.schedule.planned - first));
            match errno {
                None => self.sending.sent += packets,
                Some(_) => self.sending.refused += packets,
            }
            self.sending.errno = self.sending.errno.or(errno);
            self.free.push(view);
        }
        Ok(())
    }
}
