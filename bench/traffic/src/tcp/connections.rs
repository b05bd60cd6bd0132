//! The connections of a transfer that end on this host: divided among lanes, each with a thread.

use std::io;
use std::net::TcpStream;
use std::os::fd::BorrowedFd;
use std::sync::atomic::AtomicU64;

use ringfort_testbed::{Context, Result};

use crate::crew::{Crew, Member};
use crate::port::descriptors;
use crate::receiver::Signals;
use crate::sys;
use crate::tcp::Bulk;
use crate::tcp::ends::{Drained, Sink, Source, Window};

/// All of them are filled here, or all of them drained.
#[derive(Debug)]
pub(crate) struct Connections {
    pub(crate) lanes: Vec<Lane>,
}

/// Those of one thread, and what it is told.
#[derive(Debug)]
pub(crate) struct Lane {
    streams: Vec<TcpStream>,
    signals: Signals,
}

impl Connections {
    /// Deals connections to so many lanes.
    ///
    /// # Errors
    /// The kernel has no eventfd left.
    pub(crate) fn new(streams: Vec<TcpStream>, lanes: u16) -> Result<Self> {
        let mut dealt: Vec<Vec<TcpStream>> = (0..lanes).map(|_| Vec::new()).collect();
        for (number, stream) in streams.into_iter().enumerate() {
            dealt[number % usize::from(lanes)].push(stream);
        }
        let lanes = dealt.into_iter().map(|streams| Ok(Lane { streams, signals: Signals::new()? }));
        Ok(Self { lanes: lanes.collect::<Result<_>>()? })
    }

    /// Where nothing goes this way.
    pub(crate) const fn none() -> Self {
        Self { lanes: Vec::new() }
    }

    /// Tells all threads to end.
    pub(crate) fn stop(&self) {
        self.lanes.iter().for_each(|lane| lane.signals.stop());
    }

    /// Segments that were sent again from here.
    ///
    /// # Errors
    /// The kernel does not say.
    pub(crate) fn retransmits(&self) -> Result<u64> {
        let streams = self.lanes.iter().flat_map(|lane| &lane.streams);
        streams.map(sys::retransmits).sum::<io::Result<u64>>().context("reading TCP_INFO")
    }
}

impl Lane {
    /// Adds a thread that keeps them full until it is told to stop.
    pub(crate) fn fill<'scope, 'env>(&'env self, crew: &mut Crew<'scope, 'env>) -> Member<'scope, ()> {
        crew.add(|| Source::new(self.descriptors(), &self.signals), |source, start_ns| source.run(start_ns))
    }

    /// Adds a thread that takes what arrives until the time of `bulk` is over. `progress` counts the bytes.
    pub(crate) fn drain<'scope, 'env>(
        &'env self,
        crew: &mut Crew<'scope, 'env>,
        bulk: &'env Bulk,
        progress: &'env AtomicU64,
    ) -> Member<'scope, Drained> {
        crew.add(
            || Sink::new(self.descriptors(), bulk.verify, &self.signals, progress),
            |sink, start_ns| sink.run(Window::new(start_ns, bulk.ramp_up, bulk.sustain)),
        )
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        descriptors(&self.streams)
    }
}
