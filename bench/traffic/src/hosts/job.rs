//! What a generator carries at once, from making ready to the counts of both hosts.

use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::{Duration, Instant};

use ringfort_testbed::{Context, Error, Result};

use crate::clocks::Estimate;
use crate::crew::Crew;
use crate::hosts::PATIENCE;
use crate::hosts::generator::{Generator, out_of_turn};
use crate::hosts::half::{Bare, Host};
use crate::hosts::learning::learn;
use crate::hosts::messages::{Answer, Ask, Counted, LaneAsk, Part, Prepared, Request, TcpAsk, UdpAsk};
use crate::hosts::work::{Datagrams, Pipes, Running, Work};
use crate::prober::{Prober, Probing, Trips};
use crate::rrul::{Rrul, RrulOutcome};
use crate::schedule::headers_len;
use crate::sys::nanoseconds;
use crate::tally::LaneResult;
use crate::tcp::connections::Connections;
use crate::tcp::{self, Bulk, BulkOutcome, STALL};
use crate::udp::{next_tag, numbered_routes, outcome};
use crate::{Clocks, Direction, Load, Outcome, sys};

/// What is carried at once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Job<'a> {
    /// Datagrams.
    pub(crate) udp: Option<&'a Load>,
    /// Connections to the reflector.
    pub(crate) tcp: Option<&'a Bulk>,
    /// The same connections in both directions, with probes.
    pub(crate) rrul: Option<&'a Rrul>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) udp: Option<Outcome>,
    pub(crate) tcp: Option<BulkOutcome>,
    pub(crate) rrul: Option<RrulOutcome>,
}

/// What the counts do not say.
struct Said {
    theirs: Counted,
    /// In which time both directions of TCP were measured, on our clock.
    measured_ns: Range<u64>,
    /// When probes began, and what came of them.
    trips: Option<(u64, [Trips; 2])>,
}

impl Generator {
    /// Carries a load, as [`udp::run`](crate::udp::run) does on one host. `progress` counts what arrives on this host.
    ///
    /// Before it, learning datagrams are sent until one is answered: the way must be open in both directions. Both
    /// directions of a load begin within one round trip of the control connection.
    ///
    /// # Errors
    /// The load is not within the limits of either host, or sockets or rings cannot be made. Nothing gets through in
    /// five seconds, the reflector fails, or the kernel refuses every packet.
    pub fn udp(&mut self, load: &Load, progress: &AtomicU64) -> Result<Outcome> {
        let done = Job { udp: Some(load), ..Job::default() }.run(self, progress)?;
        done.udp.ok_or_else(out_of_turn)
    }

    /// Transfers to the reflector, as [`tcp::run`] does on one host. The ramp-up counts from when the
    /// reflector begins, one way of the control connection before the generator does.
    ///
    /// # Errors
    /// The bulk is not within its limits, a connection cannot be made or breaks, nothing moves for 20 seconds, or a
    /// byte arrives that was not sent.
    pub fn tcp(&mut self, bulk: &Bulk) -> Result<BulkOutcome> {
        let done = Job { tcp: Some(bulk), ..Job::default() }.run(self, &AtomicU64::new(0))?;
        done.tcp.ok_or_else(out_of_turn)
    }

    /// Loads both directions with TCP and times probes meanwhile, as [`rrul::run`](crate::rrul::run) does on one host.
    /// Probes go to the reflector and back, so one clock times them.
    ///
    /// # Errors
    /// As [`Generator::udp`] and [`Generator::tcp`].
    pub fn rrul(&mut self, rrul: &Rrul) -> Result<RrulOutcome> {
        let done = Job { rrul: Some(rrul), ..Job::default() }.run(self, &AtomicU64::new(0))?;
        done.rrul.ok_or_else(out_of_turn)
    }

    /// The same, with datagrams at once.
    ///
    /// # Errors
    /// As [`Generator::udp`] and [`Generator::tcp`].
    pub fn mixed(&mut self, rrul: &Rrul, load: &Load) -> Result<(RrulOutcome, Outcome)> {
        let job = Job { udp: Some(load), rrul: Some(rrul), ..Job::default() };
        let done = job.run(self, &AtomicU64::new(0))?;
        done.rrul.zip(done.udp).ok_or_else(out_of_turn)
    }
}

impl Job<'_> {
    /// Carries it. `arrived` counts datagrams.
    ///
    /// # Errors
    /// As [`Generator::udp`], [`Generator::tcp`] and [`Generator::rrul`].
    pub(crate) fn run(&self, link: &mut Generator, arrived: &AtomicU64) -> Result<Done> {
        self.check(link)?;
        let is_one_way = self.udp.is_some_and(|load| load.direction != Direction::RoundTrip);
        let before = if is_one_way { Some(link.estimate()?) } else { None };
        let (work, echo) = self.prepare(link, before.map_or(0, |estimate| estimate.offset_ns))?;
        let probing = self.probing(link, echo)?;
        let (ours, said) = work.carry(arrived, |crew, running| self.direct(link, crew, &work, running, probing))?;
        let after = if is_one_way { Some(link.estimate()?) } else { None };
        let clocks = before.zip(after).map(|(before, after): (Estimate, Estimate)| Clocks::over(before, after));
        self.evaluate(link, &work, ours, said, clocks)
    }

    fn check(&self, link: &Generator) -> Result<()> {
        let (from, to) = (link.from, link.to);
        self.udp.map_or(Ok(()), |load| load.check(from, to))?;
        self.tcp.map_or(Ok(()), |bulk| bulk.check(from, to))?;
        self.rrul.map_or(Ok(()), |rrul| rrul.check(from, to))
    }

    /// Connections, and whether they go both ways.
    fn bulk(&self) -> Option<(Bulk, bool)> {
        let one_way = self.tcp.map(|bulk| (bulk.clone(), false));
        one_way.or(self.rrul.map(|rrul| (rrul.bulk(), true)))
    }

    /// Binds what is here, has the reflector bind the rest, and opens the way between them. Returns where the echo is,
    /// too.
    fn prepare(&self, link: &mut Generator, offset_ns: i64) -> Result<(Work, Option<SocketAddr>)> {
        let (from, to) = (link.from, link.to);
        let bare: Vec<Bare> = self.udp.map_or(Ok(Vec::new()), |load| {
            numbered_routes(load).map(|numbered| Bare::new(Host::Generator, load, numbered, from)).collect()
        })?;
        let tags: Vec<u32> = bare.iter().map(|_| next_tag()).collect();
        let lanes = bare.iter().zip(&tags).map(|(bare, &tag)| LaneAsk { tag, ports: bare.ports() }).collect();
        let udp = self.udp.map(|load| UdpAsk { load: load.clone(), offset_ns, lanes });
        let tcp = self.bulk().map(|(bulk, both_ways)| TcpAsk { bulk, both_ways });
        let ask = Ask { from, to, udp, tcp, echo: self.rrul.is_some() };
        let answer = link.ask(&Request::Prepare(Box::new(ask)), PATIENCE)?;
        let Answer::Prepared(Prepared { port, nonce, lanes, tcp, echo }) = answer else { return Err(out_of_turn()) };
        if lanes.len() != bare.len() || echo.is_some() != self.rrul.is_some() {
            return Err(out_of_turn());
        }
        let udp = self.udp.map(|load| {
            let facing = |((bare, ports), tag): ((Bare, Vec<u16>), u32)| bare.facing(to, &ports, load, tag);
            let halves = bare.into_iter().zip(lanes).zip(tags).map(facing).collect::<Result<_>>()?;
            // The reflector's clock is the sender's here.
            Ok::<_, Error>(Datagrams { load: load.clone(), halves, offset_ns: -offset_ns })
        });
        let (udp, proof) = (udp.transpose()?, learn(from, SocketAddr::new(to, port), nonce)?);
        // Without a proof nothing is opened: the reflector knows whether anything has arrived, and from where.
        let pipes =
            self.bulk().filter(|_| proof.is_some()).map(|(bulk, both_ways)| connect(link, bulk, both_ways, &tcp));
        let tcp = pipes.transpose()?;
        let Answer::Opened = link.ask(&Request::Open { proof }, STALL + PATIENCE)? else { return Err(out_of_turn()) };
        Ok((Work::new(udp, tcp), echo.map(|port| SocketAddr::new(to, port))))
    }

    /// Sends nothing but probes at first.
    fn probing(&self, link: &Generator, echo: Option<SocketAddr>) -> Result<Option<Probing>> {
        let Some((rrul, echo)) = self.rrul.zip(echo) else { return Ok(None) };
        let probing = Prober::new(link.from, echo, rrul.probes_pps)?.begin(&rrul.placement);
        thread::sleep(rrul.quiet);
        Ok(Some(probing))
    }

    /// Step by step with the reflector.
    fn direct(
        &self,
        link: &mut Generator,
        crew: Crew<'_, '_>,
        work: &Work,
        running: &mut Running<'_, '_>,
        probing: Option<Probing>,
    ) -> Result<Said> {
        let ready = crew.assemble()?;
        let asked_ns = sys::now_ns();
        let Answer::Begun = link.ask(&Request::Begin, PATIENCE)? else { return Err(out_of_turn()) };
        // The reflector has begun since it was asked, and before we do.
        let start_ns = ready.begin()?;
        running.wait(|| link.expect_silence())?;
        running.announce_ours();
        // Where nothing comes back, the reflector receives all the time.
        let patience = work.time() + STALL + PATIENCE;
        let Answer::Sent { packets } = link.ask(&Request::Sent { packets: running.sent() }, patience)? else {
            return Err(out_of_turn());
        };
        running.announce_theirs(&packets);
        running.stop_filling();
        let deadline = Instant::now() + work.settle();
        // The last probes have their answers then, or never will. The echo ends with the rest.
        let trips = probing.map(|probing| Ok::<_, Error>((probing.start_ns, probing.end()?))).transpose()?;
        running.settle(deadline);
        let Answer::Counted(theirs) = link.ask(&Request::Finish, work.settle() + PATIENCE)? else {
            return Err(out_of_turn());
        };
        let [ramp_up, sustain] =
            self.rrul.map_or([Duration::ZERO; 2], |rrul| [rrul.ramp_up, rrul.sustain]).map(nanoseconds);
        Ok(Said { theirs, measured_ns: start_ns + ramp_up..asked_ns + ramp_up + sustain, trips })
    }

    /// Puts together what both hosts counted.
    fn evaluate(
        &self,
        link: &Generator,
        work: &Work,
        ours: Counted,
        Said { theirs, measured_ns, trips }: Said,
        clocks: Option<Clocks>,
    ) -> Result<Done> {
        let mut done = Done::default();
        if let Some(load) = self.udp {
            if theirs.lanes.len() != ours.lanes.len() {
                return Err(out_of_turn());
            }
            let lanes = ours.lanes.into_iter().zip(theirs.lanes);
            let results: Vec<LaneResult> = lanes.map(|(ours, theirs)| combine(ours, theirs)).collect::<Result<_>>()?;
            let lanes = work.halves().iter().map(|half| (half.route, &half.schedule)).zip(&results);
            done.udp = Some(Outcome { clocks, ..outcome(load, &lanes.collect::<Vec<_>>(), headers_len(link.from))? });
        }
        let Some((bulk, both_ways)) = self.bulk() else { return Ok(done) };
        let (ours, theirs) = (ours.tcp, theirs.tcp);
        let streams = usize::from(bulk.streams);
        if theirs.drained.streams.len() != streams || (both_ways && ours.drained.streams.len() != streams) {
            return Err(out_of_turn());
        }
        let bytes_all = ours.bytes_all + theirs.bytes_all;
        let cpu_ns = [[ours.cpu_ns[0], theirs.cpu_ns[1]], [theirs.cpu_ns[0], ours.cpu_ns[1]]];
        let forth = tcp::outcome(&bulk, theirs.drained, ours.retransmits, cpu_ns[0]);
        let Some((rrul, (probes_from_ns, trips))) = self.rrul.zip(trips) else {
            return Ok(Done { tcp: Some(forth), ..done });
        };
        let back = tcp::outcome(&bulk, ours.drained, theirs.retransmits, cpu_ns[1]);
        let loads = ([forth, back], bytes_all);
        done.rrul = Some(RrulOutcome::of(rrul, loads, (probes_from_ns, measured_ns), trips));
        Ok(done)
    }
}

/// Makes all connections, those over which the reflector sends as well.
fn connect(link: &Generator, bulk: Bulk, both_ways: bool, ports: &[u16]) -> Result<Pipes> {
    let make = |port: u16| -> Result<Connections> {
        let target = SocketAddr::new(link.to, port);
        let streams = (0..bulk.streams).map(|_| connect_one(link, target)).collect::<Result<Vec<_>>>()?;
        Connections::new(streams, bulk.placement.lanes)
    };
    let (filled, drained) = match (ports, both_ways) {
        ([there], false) => (make(*there)?, Connections::none()),
        ([there, back], true) => (make(*there)?, make(*back)?),
        _ => return Err(out_of_turn()),
    };
    Ok(Pipes { bulk, filled, drained })
}

fn connect_one(link: &Generator, target: SocketAddr) -> Result<TcpStream> {
    let from = link.from;
    sys::connect_from(from, target, STALL).context(format_args!("connecting from {from} to {target}"))
}

fn combine(ours: Part, theirs: Part) -> Result<LaneResult> {
    let incomplete = || Error::new("the reflector's counts of a lane are incomplete");
    Ok(LaneResult {
        sending: ours.sending.or(theirs.sending).ok_or_else(incomplete)?,
        arrivals: ours.arrivals.or(theirs.arrivals).ok_or_else(incomplete)?,
        reflection: theirs.reflection,
    })
}
