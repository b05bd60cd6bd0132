//! A reflector's conversation with one generator: what is asked is checked first, then carried.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::{Duration, Instant};

use ringfort_testbed::{Context, Error, Result};
use serde_json::Value;

use crate::crew::Crew;
use crate::hosts::half::{Bare, Half, Host};
use crate::hosts::learning::Learner;
use crate::hosts::messages::{Answer, Ask, PROTOCOL, Prepared, REQUEST_LEN_MAX, Request, TcpAsk, UdpAsk, VERSION};
use crate::hosts::wire::Line;
use crate::hosts::work::{Datagrams, Pipes, Running, Work};
use crate::hosts::{HELLO_PATIENCE, LOOK_EVERY, PATIENCE};
use crate::prober::Echo;
use crate::tcp::connections::Connections;
use crate::tcp::{Bulk, STALL};
use crate::udp::numbered_routes;
use crate::{Load, Placement, rrul, sys};

/// The most that a generator may ask for: each packet of a load has a bit here, so this is a GiB.
const PACKETS_MAX: f64 = 8.0 * 1024.0 * 1024.0 * 1024.0;
const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);
const SETTLE_MAX: Duration = Duration::from_secs(60);
/// No two clocks differ by more: 73 years.
const OFFSET_MAX_NS: u64 = 1 << 61;

/// What a reflector offers.
#[derive(Clone, Debug)]
pub struct ReflectorPlan {
    /// The addresses of this host that traffic may go to. No others are bound.
    pub addresses: Vec<IpAddr>,
    /// Where its threads run. How many lanes there are is the generator's to say.
    pub placement: Placement,
    /// This program's version, for a person.
    pub lab: String,
    /// About this machine, for the generator's file of results.
    pub host: Value,
}

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
                Request::Prepare(ask) => self.carry(*ask)?,
                _ => return Err(out_of_turn()),
            }
        }
        Ok(())
    }

    fn answer(&mut self, answer: &Answer) -> Result<()> {
        self.line.send(answer, PATIENCE)
    }

    /// All that is asked for is bound and checked before the way is opened, and nothing is sent before.
    fn carry(&mut self, ask: Ask) -> Result<()> {
        let Ask { from, to, udp, tcp, echo } = ask;
        self.admit_address(to)?;
        let (udp, lanes) = udp.map(|ask| self.datagrams(ask, (from, to))).transpose()?.unzip();
        let tcp = tcp.map(|ask| self.listeners(ask, (from, to))).transpose()?;
        let echo = echo.then(|| Echo::begin(to, from)).transpose()?;
        let learner = Learner::start(from, to)?;
        let listening = tcp.as_ref().map_or(&[][..], |(_, listeners)| listeners.as_slice());
        self.answer(&Answer::Prepared(Prepared {
            port: learner.port,
            nonce: learner.nonce,
            lanes: lanes.unwrap_or_default(),
            tcp: listening.iter().map(port_of).collect::<Result<_>>()?,
            echo: echo.as_ref().map(|echo| echo.address().port()),
        }))?;
        let Request::Open { proof } = self.line.receive(PATIENCE)? else { return Err(out_of_turn()) };
        learner.finish(proof)?;
        let tcp = tcp.map(|(bulk, listeners)| self.pipes(bulk, &listeners, from)).transpose()?;
        self.answer(&Answer::Opened)?;
        let work = Work::new(udp, tcp);
        let patience = if echo.is_some() { rrul::TIME_MAX + PATIENCE } else { PATIENCE };
        let (counted, ()) =
            work.carry(&AtomicU64::new(0), |crew, running| self.follow(crew, &work, running, patience))?;
        echo.map_or(Ok(()), Echo::end)?;
        self.answer(&Answer::Counted(counted))
    }

    /// The lanes of a load here, and their ports.
    fn datagrams(&self, ask: UdpAsk, (from, to): (IpAddr, IpAddr)) -> Result<(Datagrams, Vec<Vec<u16>>)> {
        let UdpAsk { load, offset_ns, lanes } = ask;
        let load = Load { placement: self.placement(&load.placement), ..load };
        admit(&load, from, to)?;
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
        Ok((Datagrams { load, halves, offset_ns }, ports))
    }

    /// One for the way there, and one for the way back if there is any.
    fn listeners(&self, ask: TcpAsk, (from, to): (IpAddr, IpAddr)) -> Result<(Bulk, Vec<TcpListener>)> {
        let TcpAsk { bulk, both_ways } = ask;
        let bulk = Bulk { placement: self.placement(&bulk.placement), ..bulk };
        bulk.check(from, to)?;
        if bulk.ramp_up.saturating_add(bulk.sustain) > DURATION_MAX {
            return Err(Error::new(format!("a transfer takes {} s at the most", DURATION_MAX.as_secs())));
        }
        let listen = |_| TcpListener::bind((to, 0)).context(format_args!("listening on {to}"));
        let listeners = (0..1 + usize::from(both_ways)).map(listen).collect::<Result<_>>()?;
        Ok((bulk, listeners))
    }

    /// The generator has made the connections.
    fn pipes(&self, bulk: Bulk, listeners: &[TcpListener], from: IpAddr) -> Result<Pipes> {
        let lanes = bulk.placement.lanes;
        let accept = |listener| Connections::new(self.accept(listener, from, bulk.streams)?, lanes);
        let mut accepted = listeners.iter().map(accept);
        let drained = accepted.next().unwrap_or_else(|| Ok(Connections::none()))?;
        let filled = accepted.next().unwrap_or_else(|| Ok(Connections::none()))?;
        Ok(Pipes { bulk, filled, drained })
    }

    /// Where threads run here: the generator does not know the CPUs of this host.
    fn placement(&self, asked: &Placement) -> Placement {
        Placement { lanes: asked.lanes, ..self.plan.placement.clone() }
    }

    fn admit_address(&self, to: IpAddr) -> Result<()> {
        if self.plan.addresses.contains(&to) {
            return Ok(());
        }
        Err(Error::new(format!("{to} is none of the addresses that it was given")))
    }

    /// From the start until the generator waits for nothing more. It begins within `patience`.
    fn follow(
        &mut self,
        crew: Crew<'_, '_>,
        work: &Work,
        running: &mut Running<'_, '_>,
        patience: Duration,
    ) -> Result<()> {
        let Request::Begin = self.line.receive(patience)? else { return Err(out_of_turn()) };
        crew.begin()?;
        self.answer(&Answer::Begun)?;
        let announced = match self.line.receive(work.time() + STALL + PATIENCE)? {
            Request::Sent { packets } if packets.len() == work.halves().len() => packets,
            _ => return Err(out_of_turn()),
        };
        let deadline = Instant::now() + work.settle();
        running.announce_theirs(&announced);
        // What is sent from here keeps to its own schedule: nobody may leave it alone with that.
        running.wait(|| self.line.expect_silence())?;
        self.answer(&Answer::Sent { packets: running.sent() })?;
        let Request::Finish = self.line.receive(work.settle() + PATIENCE)? else { return Err(out_of_turn()) };
        running.settle(deadline);
        Ok(())
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
}

/// What is more than a reflector gives memory and time for.
fn admit(load: &Load, from: IpAddr, to: IpAddr) -> Result<()> {
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
        _ if packets > PACKETS_MAX => {
            Err(Error::new(format!("{packets:.0} packets in one load: {PACKETS_MAX:.0} at the most between two hosts")))
        }
        _ => Ok(()),
    }
}

fn port_of(listener: &TcpListener) -> Result<u16> {
    Ok(listener.local_addr().context("reading the listener's address")?.port())
}

fn out_of_turn() -> Error {
    Error::new("the generator asks for something that has no place there")
}
