//! A reflector's conversation with one generator: what is asked is checked first, then carried.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::{Duration, Instant};

use ringfort_testbed::{Context, Error, Result};

use crate::crew::{Crew, Member, join};
use crate::hosts::half::{Bare, Half, Host, Threads};
use crate::hosts::learning::Learner;
use crate::hosts::wire::{Answer, Line, PROTOCOL, Part, REQUEST_LEN_MAX, Request, UdpAsk, VERSION};
use crate::hosts::{HELLO_PATIENCE, LOOK_EVERY, PATIENCE, ReflectorPlan};
use crate::receiver::Signals;
use crate::tcp::ends::{Drained, Sink, Window};
use crate::tcp::{Bulk, STALL, together, watch};
use crate::udp::numbered_routes;
use crate::{Load, Placement, sys};

/// The most that a generator may ask for: each packet of a load has a bit here, so this is a GiB.
const PACKETS_MAX: f64 = 8.0 * 1024.0 * 1024.0 * 1024.0;
const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);
const SETTLE_MAX: Duration = Duration::from_secs(60);
/// No two clocks differ by more: 73 years.
const OFFSET_MAX_NS: u64 = 1 << 61;

/// Serves a generator until it closes the connection. `welcomed` becomes true when it has said who it is.
///
/// # Errors
/// Something is not as it must be. The generator was told.
pub(crate) fn serve(stream: TcpStream, plan: &ReflectorPlan, welcomed: &mut bool) -> Result<()> {
    let mut session = Session { line: Line::new(stream, REQUEST_LEN_MAX)?, plan, welcomed };
    let outcome = session.converse();
    if let Err(error) = &outcome {
        // It may be the connection itself that has failed.
        let _ = session.line.send(&Answer::Failed { why: error.to_string() }, HELLO_PATIENCE);
    }
    outcome
}

struct Session<'a> {
    line: Line,
    plan: &'a ReflectorPlan,
    welcomed: &'a mut bool,
}

impl Session<'_> {
    fn converse(&mut self) -> Result<()> {
        let (lab, protocol) = (self.plan.lab.clone(), PROTOCOL.to_owned());
        self.answer(&Answer::Greeting { protocol, version: VERSION, lab })?;
        match self.line.receive(HELLO_PATIENCE)? {
            Request::Hello { version: VERSION, .. } => {
                let (addresses, host) = (self.plan.addresses.clone(), self.plan.host.clone());
                self.answer(&Answer::Welcome { addresses, host })?;
                *self.welcomed = true;
            }
            Request::Hello { version, lab } => {
                return Err(Error::new(format!(
                    "the generator (ringfort-bench {lab}) speaks version {version} of the control protocol, and this \
                     reflector version {VERSION}: use the same ringfort-bench on both hosts"
                )));
            }
            _ => return Err(out_of_turn()),
        }
        while let Some(request) = self.line.next(PATIENCE)? {
            let received_ns = sys::now_ns();
            match request {
                Request::Clock => {
                    let answered_ns = sys::now_ns();
                    self.answer(&Answer::Clock { received_ns, answered_ns })?;
                }
                Request::Udp(ask) => self.udp(ask)?,
                Request::Tcp { bulk, from, to } => self.tcp(bulk, from, to)?,
                _ => return Err(out_of_turn()),
            }
        }
        Ok(())
    }

    fn answer(&mut self, answer: &Answer) -> Result<()> {
        self.line.send(answer, PATIENCE)
    }

    fn udp(&mut self, ask: UdpAsk) -> Result<()> {
        let UdpAsk { load, from, to, offset_ns, lanes } = ask;
        let load = Load { placement: self.placement(&load.placement), ..load };
        self.admit(&load, from, to)?;
        if offset_ns.unsigned_abs() > OFFSET_MAX_NS {
            return Err(Error::new(format!("clocks that differ by {offset_ns} ns")));
        }
        let bare: Vec<Bare> = numbered_routes(&load)
            .map(|numbered| Bare::new(Host::Reflector, &load, numbered, to))
            .collect::<Result<_>>()?;
        if bare.len() != lanes.len() {
            return Err(Error::new(format!("ports of {} lanes for a load that has {}", lanes.len(), bare.len())));
        }
        let ports = bare.iter().map(Bare::ports).collect();
        let facing = bare.into_iter().zip(&lanes).map(|(bare, lane)| bare.facing(from, &lane.ports, &load, lane.tag));
        let halves: Vec<Half> = facing.collect::<Result<_>>()?;
        let learner = Learner::start(from, to)?;
        self.answer(&Answer::Prepared { port: learner.port, nonce: learner.nonce, lanes: ports })?;
        let Request::Begin { proof } = self.line.receive(PATIENCE)? else { return Err(out_of_turn()) };
        learner.finish(proof)?;
        let lanes = self.carry(&load, &halves, offset_ns)?;
        self.answer(&Answer::Udp { lanes })
    }

    /// Where threads run here: the generator does not know the CPUs of this host.
    fn placement(&self, asked: &Placement) -> Placement {
        Placement { lanes: asked.lanes, ..self.plan.placement.clone() }
    }

    fn admit(&self, load: &Load, from: IpAddr, to: IpAddr) -> Result<()> {
        self.admit_address(to)?;
        load.check(from, to)?;
        let seconds = load.duration.as_secs_f64();
        let packets = load.rate_pps as f64 * seconds;
        match load {
            Load { duration, .. } if *duration > DURATION_MAX => {
                Err(Error::new(format!("a load of {seconds:.0} s: {} at the most", DURATION_MAX.as_secs())))
            }
            Load { settle, .. } if *settle > SETTLE_MAX => {
                Err(Error::new(format!("stragglers are waited for {} s at the most", SETTLE_MAX.as_secs())))
            }
            _ if packets > PACKETS_MAX => Err(Error::new(format!(
                "{packets:.0} packets in one load: {PACKETS_MAX:.0} at the most between two hosts"
            ))),
            _ => Ok(()),
        }
    }

    fn admit_address(&self, to: IpAddr) -> Result<()> {
        if self.plan.addresses.contains(&to) {
            return Ok(());
        }
        Err(Error::new(format!("{to} is none of the addresses that it was given")))
    }

    /// Carries this half of a load, and says what was counted here.
    fn carry(&mut self, load: &Load, halves: &[Half], offset_ns: i64) -> Result<Vec<Part>> {
        let progress = AtomicU64::new(0);
        thread::scope(|scope| {
            let mut crew = Crew::new(scope, &load.placement);
            let mut threads: Vec<Threads<'_>> = Vec::new();
            for half in halves {
                threads.push(half.spawn(&mut crew, load, &load.placement, offset_ns, &progress));
            }
            let mut parts: Vec<Part> = halves.iter().map(|_| Part::default()).collect();
            let followed = self.follow(crew, load, halves, &mut threads, &mut parts);
            halves.iter().for_each(Half::stop);
            let pairs = threads.into_iter().zip(&mut parts);
            let joined: Vec<_> = pairs.map(|(threads, part)| threads.join(part)).collect();
            followed?;
            joined.into_iter().collect::<Result<()>>()?;
            Ok(parts)
        })
    }

    /// From the start until the generator waits for nothing more.
    fn follow(
        &mut self,
        crew: Crew<'_, '_>,
        load: &Load,
        halves: &[Half],
        threads: &mut [Threads<'_>],
        parts: &mut [Part],
    ) -> Result<()> {
        crew.begin()?;
        self.answer(&Answer::Begun)?;
        let announced = match self.line.receive(load.duration + PATIENCE)? {
            Request::Sent { packets } if packets.len() == halves.len() => packets,
            _ => return Err(out_of_turn()),
        };
        let deadline = Instant::now() + load.settle;
        let elsewhere = halves.iter().zip(announced).filter(|(half, _)| half.is_sent_elsewhere());
        elsewhere.for_each(|(half, sent)| half.announce(sent));
        // The senders here keep to their own schedule: nobody may leave them alone with it.
        while threads.iter().any(Threads::sends) {
            self.line.expect_silence()?;
            thread::sleep(LOOK_EVERY);
        }
        threads.iter_mut().zip(&mut *parts).try_for_each(|(threads, part)| threads.join_sender(part))?;
        let packets = parts.iter().map(Part::sent).collect();
        self.answer(&Answer::Sent { packets })?;
        let Request::Finish = self.line.receive(load.settle + PATIENCE)? else { return Err(out_of_turn()) };
        threads.iter().for_each(|threads| threads.settle(deadline));
        Ok(())
    }

    fn tcp(&mut self, bulk: Bulk, from: IpAddr, to: IpAddr) -> Result<()> {
        let bulk = Bulk { placement: self.placement(&bulk.placement), ..bulk };
        self.admit_address(to)?;
        bulk.check(from, to)?;
        if bulk.ramp_up.saturating_add(bulk.sustain) > DURATION_MAX {
            return Err(Error::new(format!("a transfer takes {} s at the most", DURATION_MAX.as_secs())));
        }
        let listener = TcpListener::bind((to, 0)).context(format_args!("listening on {to}"))?;
        let port = listener.local_addr().context("reading the listener's address")?.port();
        self.answer(&Answer::Listening { port })?;
        let streams = self.accept(&listener, from, bulk.streams)?;
        drop(listener);
        self.answer(&Answer::Accepted)?;
        let (drained, cpu_ns) = self.drain(&bulk, &streams)?;
        self.answer(&Answer::Tcp { drained, cpu_ns })?;
        // The generator writes until it has the answer: a connection that is closed before would be an error there.
        match self.line.receive(PATIENCE)? {
            Request::Finish => Ok(()),
            _ => Err(out_of_turn()),
        }
    }

    /// Receives from all connections: the bytes that were measured, and the CPU time of the threads.
    fn drain(&mut self, bulk: &Bulk, streams: &[TcpStream]) -> Result<(Drained, u64)> {
        let lanes = usize::from(bulk.placement.lanes);
        let signals = (0..lanes).map(|_| Signals::new()).collect::<Result<Vec<_>>>()?;
        let progress = AtomicU64::new(0);
        thread::scope(|scope| {
            let mut crew = Crew::new(scope, &bulk.placement);
            let mut sinks: Vec<Member<'_, Drained>> = Vec::new();
            for (lane, signals) in signals.iter().enumerate() {
                let fds: Vec<_> = streams.iter().skip(lane).step_by(lanes).map(AsRawFd::as_raw_fd).collect();
                let progress = &progress;
                sinks.push(crew.add(
                    move || Sink::new(fds, bulk.verify, signals, progress),
                    |sink, start_ns| sink.run(Window::new(start_ns, bulk.ramp_up, bulk.sustain)),
                ));
            }
            let begun = self.begin_to_drain(crew);
            // The generator waits for the result: if it is gone, nothing is worth measuring.
            let runs = || sinks.iter().any(|sink| !sink.is_finished()) && self.line.expect_silence().is_ok();
            let watched = begun.and_then(|()| watch(runs, &progress)).and_then(|()| self.line.expect_silence());
            signals.iter().for_each(Signals::stop);
            let drained: Vec<_> = sinks.into_iter().map(join).collect();
            watched?;
            let drained = drained.into_iter().collect::<Result<Vec<_>>>().context("receiving")?;
            let cpu_ns = drained.iter().map(|done| done.cpu_ns).sum();
            Ok((together(drained.iter().map(|done| &done.value)), cpu_ns))
        })
    }

    /// So many connections from that address. Others are closed.
    fn accept(&self, listener: &TcpListener, from: IpAddr, streams: u16) -> Result<Vec<TcpStream>> {
        listener.set_nonblocking(true).context("making the listener non-blocking")?;
        let (deadline, mut accepted) = (Instant::now() + STALL, Vec::new());
        let mut stranger: Option<SocketAddr> = None;
        while accepted.len() < usize::from(streams) {
            self.line.expect_silence()?;
            match listener.accept() {
                Ok((stream, peer)) if peer.ip() == from => accepted.push(stream),
                Ok((_, peer)) => stranger = Some(peer),
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                    thread::sleep(LOOK_EVERY);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let others = stranger.map_or(String::new(), |peer| format!(", but one from {peer}"));
                    let count = accepted.len();
                    return Err(Error::new(format!("{count} of {streams} connections came from {from}{others}")));
                }
                Err(error) => return Err(error).context("accepting connections"),
            }
        }
        Ok(accepted)
    }

    fn begin_to_drain(&mut self, crew: Crew<'_, '_>) -> Result<()> {
        let Request::Begin { proof: None } = self.line.receive(PATIENCE)? else { return Err(out_of_turn()) };
        crew.begin()?;
        self.answer(&Answer::Begun)
    }
}

fn out_of_turn() -> Error {
    Error::new("the generator asks for something that has no place there")
}
