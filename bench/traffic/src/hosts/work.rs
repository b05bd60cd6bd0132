//! What one of two hosts does of a load, whichever it is: its half of each lane of datagrams, and its ends of
//! connections.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringfort_testbed::{Context, Result};

use crate::crew::{Crew, Done, Member, join};
use crate::hosts::LOOK_EVERY;
use crate::hosts::half::{self, Half};
use crate::hosts::messages::{Counted, Part, TcpPart};
use crate::tcp::connections::Connections;
use crate::tcp::ends::Drained;
use crate::tcp::{Bulk, together, watch};
use crate::{Load, Placement};

/// All that is made ready.
#[derive(Debug)]
pub(crate) struct Work {
    /// Where the threads run.
    placement: Placement,
    /// Datagrams, if there are any.
    pub(crate) udp: Option<Datagrams>,
    /// Connections, if there are any.
    pub(crate) tcp: Option<Pipes>,
}

/// A load of datagrams, and the lanes of it.
#[derive(Debug)]
pub(crate) struct Datagrams {
    pub(crate) load: Load,
    pub(crate) halves: Vec<Half>,
    /// What our clock shows beyond the other host's.
    pub(crate) offset_ns: i64,
}

/// The ends of connections that are here.
#[derive(Debug)]
pub(crate) struct Pipes {
    pub(crate) bulk: Bulk,
    /// Over these something is sent from here.
    pub(crate) filled: Connections,
    /// Over these it arrives.
    pub(crate) drained: Connections,
}

/// Threads at work.
pub(crate) struct Running<'scope, 'env> {
    work: &'env Work,
    lanes: Vec<(half::Threads<'scope>, Part)>,
    sources: Vec<Member<'scope, ()>>,
    sinks: Vec<Member<'scope, Drained>>,
    /// What has arrived over connections.
    bytes: &'env AtomicU64,
}

impl Work {
    /// The threads run where the one or the other says.
    pub(crate) fn new(udp: Option<Datagrams>, tcp: Option<Pipes>) -> Self {
        let of_tcp = tcp.as_ref().map(|pipes| &pipes.bulk.placement);
        let placement = udp.as_ref().map(|udp| &udp.load.placement).or(of_tcp);
        Self { placement: placement.cloned().unwrap_or_default(), udp, tcp }
    }

    /// The lanes of datagrams.
    pub(crate) fn halves(&self) -> &[Half] {
        self.udp.as_ref().map_or(&[], |udp| &udp.halves)
    }

    /// How long something is sent.
    pub(crate) fn time(&self) -> Duration {
        let udp = self.udp.as_ref().map_or(Duration::ZERO, |udp| udp.load.duration);
        udp.max(self.tcp.as_ref().map_or(Duration::ZERO, |pipes| pipes.bulk.ramp_up + pipes.bulk.sustain))
    }

    /// How long stragglers are waited for after that.
    pub(crate) fn settle(&self) -> Duration {
        self.udp.as_ref().map_or(Duration::ZERO, |udp| udp.load.settle)
    }

    /// Carries it: `talk` lets the crew begin, and agrees with the other host on each step. `arrived` counts datagrams.
    ///
    /// # Errors
    /// Those of `talk`, and those of the threads.
    pub(crate) fn carry<T>(
        &self,
        arrived: &AtomicU64,
        talk: impl FnOnce(Crew<'_, '_>, &mut Running<'_, '_>) -> Result<T>,
    ) -> Result<(Counted, T)> {
        let bytes = AtomicU64::new(0);
        thread::scope(|scope| {
            let mut crew = Crew::new(scope, &self.placement);
            let mut running = self.spawn(&mut crew, arrived, &bytes);
            let talked = talk(crew, &mut running);
            self.halves().iter().for_each(Half::stop);
            running.stop_filling();
            self.tcp.iter().for_each(|pipes| pipes.drained.stop());
            let counted = running.join();
            let talked = talked?;
            Ok((counted?, talked))
        })
    }

    fn spawn<'scope, 'env>(
        &'env self,
        crew: &mut Crew<'scope, 'env>,
        arrived: &'env AtomicU64,
        bytes: &'env AtomicU64,
    ) -> Running<'scope, 'env> {
        let mut running = Running { work: self, lanes: Vec::new(), sources: Vec::new(), sinks: Vec::new(), bytes };
        if let Some(Datagrams { load, halves, offset_ns }) = &self.udp {
            for half in halves {
                let threads = half.spawn(crew, load, &self.placement, *offset_ns, arrived);
                running.lanes.push((threads, Part::default()));
            }
        }
        if let Some(Pipes { bulk, filled, drained }) = &self.tcp {
            running.sources = filled.lanes.iter().map(|lane| lane.fill(crew)).collect();
            running.sinks = drained.lanes.iter().map(|lane| lane.drain(crew, bulk, bytes)).collect();
        }
        running
    }
}

impl Running<'_, '_> {
    /// Waits for the senders of datagrams, and until the time of receiving over connections is over. `look` says
    /// whether the other host still wants it.
    ///
    /// # Errors
    /// The other host does not, a sender has failed, or a transfer stands still.
    pub(crate) fn wait(&mut self, mut look: impl FnMut() -> Result<()>) -> Result<()> {
        while self.lanes.iter().any(|(threads, _)| threads.sends()) {
            look()?;
            thread::sleep(LOOK_EVERY);
        }
        let mut looked = Ok(());
        let receives = || {
            let is_on = self.sinks.iter().any(|sink| !sink.is_finished());
            // A source ends before its time only by an error.
            let broken = self.sources.iter().any(|source| source.is_finished());
            if is_on && !broken {
                looked = look();
            }
            is_on && !broken && looked.is_ok()
        };
        watch(receives, self.bytes)?;
        looked?;
        self.lanes.iter_mut().try_for_each(|(threads, part)| threads.join_sender(part))
    }

    /// How many packets each lane has sent from here.
    pub(crate) fn sent(&self) -> Vec<u64> {
        self.lanes.iter().map(|(_, part)| part.sent()).collect()
    }

    /// What begins and ends here, as a round trip does, was sent in so many packets.
    pub(crate) fn announce_ours(&self) {
        let lanes = self.work.halves().iter().zip(self.sent());
        lanes.filter(|(half, _)| !half.is_sent_elsewhere()).for_each(|(half, sent)| half.announce(sent));
    }

    /// The other host has sent so many packets in each lane.
    pub(crate) fn announce_theirs(&self, packets: &[u64]) {
        let lanes = self.work.halves().iter().zip(packets);
        lanes.filter(|(half, _)| half.is_sent_elsewhere()).for_each(|(half, &sent)| half.announce(sent));
    }

    /// Nothing more is sent over connections.
    pub(crate) fn stop_filling(&self) {
        self.work.tcp.iter().for_each(|pipes| pipes.filled.stop());
    }

    /// Waits until no datagram is missing, or the time is over.
    pub(crate) fn settle(&self, deadline: Instant) {
        self.lanes.iter().for_each(|(threads, _)| threads.settle(deadline));
    }

    /// Waits for all threads, which were told to stop.
    fn join(self) -> Result<Counted> {
        let Self { work, lanes, sources, sinks, bytes } = self;
        let join_lane = |(threads, mut part): (half::Threads<'_>, Part)| threads.join(&mut part).map(|()| part);
        let lanes: Vec<_> = lanes.into_iter().map(join_lane).collect();
        let sent: Vec<_> = sources.into_iter().map(join).collect();
        let drained: Vec<_> = sinks.into_iter().map(join).collect();
        let lanes = lanes.into_iter().collect::<Result<_>>()?;
        let sent = sent.into_iter().collect::<Result<Vec<_>>>().context("sending")?;
        let drained = drained.into_iter().collect::<Result<Vec<_>>>().context("receiving")?;
        let tcp = TcpPart {
            cpu_ns: [cpu_ns(&sent), cpu_ns(&drained)],
            drained: together(drained.iter().map(|done| &done.value)),
            bytes_all: bytes.load(Ordering::Relaxed),
            retransmits: work.tcp.as_ref().map_or(Ok(0), |pipes| pipes.filled.retransmits())?,
        };
        Ok(Counted { lanes, tcp })
    }
}

fn cpu_ns<T>(threads: &[Done<T>]) -> u64 {
    threads.iter().map(|done| done.cpu_ns).sum()
}
