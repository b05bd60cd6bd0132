//! The two ends of bulk connections: a source that keeps every connection full, and a sink that counts and compares.

use std::os::fd::BorrowedFd;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ring_buffers::{SlotClass, Wait};
use ringfort_testbed::{Context, Error, Result};
use serde::{Deserialize, Serialize};

use crate::port::{Port, PortEvent, PortPlan};
use crate::receiver::Signals;
use crate::schedule::slice;
use crate::sys::{self, nanoseconds};

/// After how many bytes a connection's content repeats: a prime, so no shift by whole segments goes unnoticed.
const PERIOD: usize = 65_521;
/// Bytes offered to the kernel at a time.
pub(crate) const WRITE_LEN: usize = 131_072;
/// Buffers of 65 KiB for receiving.
const READS: u16 = 64;

/// What all connections carry: the byte at any position, and all that may be written or read from there.
static CONTENT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut content = vec![0; PERIOD + WRITE_LEN];
    // xorshift32 over one period, then the same again.
    let mut state = 0x9e37_79b9_u32;
    for byte in &mut content[..PERIOD] {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        *byte = (state >> 24) as u8;
    }
    for position in PERIOD..content.len() {
        content[position] = content[position - PERIOD];
    }
    content
});

/// What a connection carries from its byte number `position`.
pub(crate) fn content(position: u64, len: usize) -> &'static [u8] {
    let start = (position % PERIOD as u64) as usize;
    &CONTENT[start..start + len]
}

/// The time that is measured, on the clock of [`sys::now_ns`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    begin_ns: u64,
    end_ns: u64,
    /// What arrives is also counted for each of these.
    interval_ns: u64,
}

impl Window {
    pub(crate) fn new(start_ns: u64, ramp_up: Duration, sustain: Duration) -> Self {
        let begin_ns = start_ns.saturating_add(nanoseconds(ramp_up));
        let end_ns = begin_ns.saturating_add(nanoseconds(sustain));
        Self { begin_ns, end_ns, interval_ns: nanoseconds(slice(sustain)) }
    }

    /// Whether what happens now counts.
    pub(crate) fn counts(&self, now_ns: u64) -> bool {
        (self.begin_ns..self.end_ns).contains(&now_ns)
    }

    /// Whether it is over.
    pub(crate) fn is_over(&self, now_ns: u64) -> bool {
        now_ns >= self.end_ns
    }

    fn intervals(self) -> usize {
        usize::try_from((self.end_ns - self.begin_ns).div_ceil(self.interval_ns)).unwrap_or(usize::MAX)
    }

    /// In which interval a time lies, of those that are measured.
    fn interval_of(self, now_ns: u64) -> Option<usize> {
        let elapsed_ns = now_ns.checked_sub(self.begin_ns).filter(|_| now_ns < self.end_ns)?;
        usize::try_from(elapsed_ns / self.interval_ns).ok()
    }
}

/// What came out of the connections of a lane while it was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Drained {
    /// Bytes of each connection.
    pub(crate) streams: Vec<u64>,
    /// Bytes of all of them in each interval.
    pub(crate) intervals: Vec<u64>,
}

/// The sending end of a lane.
pub(crate) struct Source<'a> {
    port: Port,
    /// Bytes that went into each connection.
    positions: Vec<u64>,
    signals: &'a Signals,
}

impl<'a> Source<'a> {
    pub(crate) fn new(sockets: Vec<BorrowedFd<'_>>, signals: &'a Signals) -> Result<Self> {
        let positions = vec![0; sockets.len()];
        let slot = SlotClass::Packet;
        let plan = PortPlan { sockets, addresses: Vec::new(), sends: 0, receives: 0, slot, waker: &signals.waker };
        Ok(Self { port: Port::new(&plan)?, positions, signals })
    }

    /// Writes to every connection whatever it takes, until it is told to stop.
    pub(crate) fn run(mut self, start_ns: u64) -> Result<()> {
        sys::sleep_until_ns(start_ns);
        for place in 0..self.positions.len() {
            self.port.write(place as u16, content(0, WRITE_LEN))?;
        }
        while !self.signals.is_stopped() {
            self.port.turn(Wait::UntilCompletion)?;
            while let Some(event) = self.port.next_event()? {
                let PortEvent::Written { place, outcome } = event else { continue };
                let written = outcome.map_err(std::io::Error::from_raw_os_error).context("writing to a connection")?;
                let position = &mut self.positions[usize::from(place)];
                *position += written as u64;
                self.port.write(place, content(*position, WRITE_LEN))?;
            }
        }
        Ok(())
    }
}

/// The receiving end of a lane.
pub(crate) struct Sink<'a> {
    port: Port,
    /// Bytes that came out of each connection.
    positions: Vec<u64>,
    /// Of these, while it was measured.
    measured: Vec<u64>,
    verify: bool,
    signals: &'a Signals,
    progress: &'a AtomicU64,
}

impl<'a> Sink<'a> {
    pub(crate) fn new(
        sockets: Vec<BorrowedFd<'_>>,
        verify: bool,
        signals: &'a Signals,
        progress: &'a AtomicU64,
    ) -> Result<Self> {
        let positions = vec![0; sockets.len()];
        let (receives, slot) = (READS, SlotClass::Jumbo);
        let plan = PortPlan { sockets, addresses: Vec::new(), sends: 0, receives, slot, waker: &signals.waker };
        Ok(Self { port: Port::new(&plan)?, measured: positions.clone(), positions, verify, signals, progress })
    }

    /// Reads until the time is over, or until it is told to stop.
    pub(crate) fn run(mut self, window: Window) -> Result<Drained> {
        let (mut now_ns, mut intervals) = (0, vec![0; window.intervals()]);
        while !window.is_over(now_ns) && !self.signals.is_stopped() {
            self.port.turn(Wait::UntilCompletion)?;
            now_ns = sys::now_ns();
            let interval = window.interval_of(now_ns);
            let mut bytes_read = 0;
            while let Some(event) = self.port.next_event()? {
                match event {
                    PortEvent::Received { place, bytes } => {
                        self.take(usize::from(place), &bytes, interval.is_some())?;
                        bytes_read += bytes.len() as u64;
                    }
                    PortEvent::Closed => return Err(Error::new("a connection was closed before its time")),
                    _ => {}
                }
            }
            self.progress.fetch_add(bytes_read, Ordering::Relaxed);
            if let Some(count) = interval.and_then(|interval| intervals.get_mut(interval)) {
                *count += bytes_read;
            }
        }
        Ok(Drained { streams: self.measured, intervals })
    }

    fn take(&mut self, place: usize, bytes: &[u8], counts: bool) -> Result<()> {
        let position = &mut self.positions[place];
        if self.verify && bytes != content(*position, bytes.len()) {
            let len = bytes.len();
            return Err(Error::new(format!("{len} bytes after the first {position} are not those that were sent")));
        }
        *position += bytes.len() as u64;
        if counts {
            self.measured[place] += bytes.len() as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_repeats_after_its_period_only() {
        assert_eq!(content(7, 1_000), content(7 + 3 * PERIOD as u64, 1_000));
        assert_ne!(content(0, 1_000), content(1_448, 1_000));
        assert_eq!(content(PERIOD as u64 - 1, WRITE_LEN).len(), WRITE_LEN);
        assert_eq!(content(5, 100)[50..], *content(55, 50));
    }

    #[test]
    fn what_is_measured_comes_after_the_ramp_up() {
        let window = Window::new(1_000, Duration::from_nanos(10), Duration::from_nanos(5));
        assert_eq!([1_009, 1_010, 1_014, 1_015].map(|now_ns| window.counts(now_ns)), [false, true, true, false]);
        assert_eq!([1_014, 1_015].map(|now_ns| window.is_over(now_ns)), [false, true]);
    }

    #[test]
    fn intervals_are_tenths_of_a_second_and_600_at_the_most() {
        let window = Window::new(0, Duration::from_secs(1), Duration::from_millis(2_050));
        assert_eq!(window.intervals(), 21);
        let of = |ms: u64| window.interval_of(ms * 1_000_000);
        assert_eq!([999, 1_000, 1_099, 1_100, 3_049, 3_050].map(of), [None, Some(0), Some(0), Some(1), Some(20), None]);
        for seconds in [61, 100, 6_000] {
            assert_eq!(Window::new(0, Duration::ZERO, Duration::from_secs(seconds)).intervals(), 600);
        }
    }
}
