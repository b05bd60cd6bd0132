//! The end that directs: what it asks of the reflector, and its own half of each load.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::{Duration, Instant};

use ringfort_testbed::{Context, Error, Result};
use serde_json::Value;

use crate::crew::{Crew, Member, join};
use crate::hosts::clocks::{Estimate, Probe};
use crate::hosts::half::{Bare, Half, Host, Threads};
use crate::hosts::learning::learn;
use crate::hosts::wire::{ANSWER_LEN_MAX, Answer, LaneAsk, Line, PROTOCOL, Part, Request, UdpAsk, VERSION};
use crate::hosts::{Clocks, HELLO_PATIENCE, LOOK_EVERY, PATIENCE};
use crate::receiver::Signals;
use crate::schedule::headers_len;
use crate::tally::LaneResult;
use crate::tcp::ends::{Drained, Source};
use crate::tcp::{self, Bulk, BulkOutcome, STALL};
use crate::udp::{next_tag, numbered_routes, outcome};
use crate::{Direction, Load, Outcome, sys};

/// A connection to a reflector, and the two addresses between which it measures.
#[derive(Debug)]
pub struct Generator {
    line: Line,
    from: IpAddr,
    to: IpAddr,
    host: Value,
}

impl Generator {
    /// Connects to the reflector at `control`. Traffic will go from the address `from` of this host to the address `to`
    /// of the other one. `lab` is this program's version, for a person.
    ///
    /// # Errors
    /// Nobody is there, it is no reflector or one of another version, it serves another generator, or it does not take
    /// part at `to`.
    pub fn connect(control: SocketAddr, from: IpAddr, to: IpAddr, lab: &str) -> Result<Self> {
        if from.is_ipv4() != to.is_ipv4() {
            return Err(Error::new(format!("from {from} to {to}: two address families")));
        }
        let attempt = format!("connecting to the reflector at {control}");
        let stream = TcpStream::connect_timeout(&control, HELLO_PATIENCE).context(attempt)?;
        let mut line = Line::new(stream, ANSWER_LEN_MAX)?;
        let stranger = || format!("what answers at {control} is no reflector of ringfort-bench");
        greeted(&line.receive(HELLO_PATIENCE).context(stranger())?, control)?;
        let mut generator = Self { line, from, to, host: Value::Null };
        let hello = Request::Hello { version: VERSION, lab: lab.to_owned() };
        let Answer::Welcome { addresses, host } = generator.ask(&hello, HELLO_PATIENCE)? else {
            return Err(out_of_turn());
        };
        if !addresses.contains(&to) {
            let known: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
            let known = known.join(", ");
            return Err(Error::new(format!("the reflector at {control} takes part at {known} only, not at {to}")));
        }
        generator.host = host;
        Ok(generator)
    }

    /// What the reflector says of its machine.
    #[must_use]
    pub const fn host(&self) -> &Value {
        &self.host
    }

    /// Carries a load, as [`udp::run`](crate::udp::run) does on one host. `progress` counts what arrives on this host.
    ///
    /// Before it, learning datagrams are sent until one is answered: the way must be open in both directions. Both
    /// directions of a load begin within one round trip of the control connection.
    ///
    /// # Errors
    /// The load is not within the limits of either host, or sockets or rings cannot be made. Nothing gets through in
    /// five seconds, the reflector fails, or the kernel refuses every packet.
    pub fn udp(&mut self, load: &Load, progress: &AtomicU64) -> Result<Outcome> {
        load.check(self.from, self.to)?;
        let is_one_way = load.direction != Direction::RoundTrip;
        let before = if is_one_way { Some(self.estimate()?) } else { None };
        let offset_ns = before.map_or(0, |estimate| estimate.offset_ns);
        let (halves, proof) = self.prepare(load, offset_ns)?;
        let (ours, theirs) = self.carry(load, &halves, (offset_ns, proof), progress)?;
        let after = if is_one_way { Some(self.estimate()?) } else { None };
        if theirs.len() != halves.len() {
            return Err(out_of_turn());
        }
        let results: Vec<LaneResult> =
            ours.into_iter().zip(theirs).map(|(ours, theirs)| combine(ours, theirs)).collect::<Result<_>>()?;
        let lanes: Vec<_> = halves.iter().map(|half| (half.route, &half.schedule)).zip(&results).collect();
        let clocks = before.zip(after).map(|(before, after)| Clocks::over(before, after));
        Ok(Outcome { clocks, ..outcome(load, &lanes, headers_len(self.from))? })
    }

    /// Transfers to the reflector, as [`tcp::run`] does on one host. The ramp-up counts from when the reflector begins,
    /// one way of the control connection before the generator does.
    ///
    /// # Errors
    /// The bulk is not within its limits, a connection cannot be made or breaks, nothing moves for 20 seconds, or a
    /// byte arrives that was not sent.
    pub fn tcp(&mut self, bulk: &Bulk) -> Result<BulkOutcome> {
        bulk.check(self.from, self.to)?;
        let ask = Request::Tcp { bulk: bulk.clone(), from: self.from, to: self.to };
        let Answer::Listening { port } = self.ask(&ask, PATIENCE)? else { return Err(out_of_turn()) };
        let target = SocketAddr::new(self.to, port);
        let streams = (0..bulk.streams).map(|_| connect_from(self.from, target)).collect::<Result<Vec<_>>>()?;
        let Answer::Accepted = self.receive(PATIENCE)? else { return Err(out_of_turn()) };
        let lanes = usize::from(bulk.placement.lanes);
        let signals = (0..lanes).map(|_| Signals::new()).collect::<Result<Vec<_>>>()?;
        let fds = |lane| streams.iter().skip(lane).step_by(lanes).map(AsRawFd::as_raw_fd).collect::<Vec<_>>();
        let (drained, cpu_ns) = thread::scope(|scope| {
            let mut crew = Crew::new(scope, &bulk.placement);
            let sources: Vec<Member<'_, ()>> = signals
                .iter()
                .enumerate()
                .map(|(lane, signals)| {
                    let fds = fds(lane);
                    crew.add(move || Source::new(fds, signals), |source, start_ns| source.run(start_ns))
                })
                .collect();
            let carried = self.direct_tcp(crew, bulk);
            signals.iter().for_each(Signals::stop);
            let sent: Vec<_> = sources.into_iter().map(join).collect();
            let (drained, receiver_cpu_ns) = carried?;
            let sent = sent.into_iter().collect::<Result<Vec<_>>>().context("sending")?;
            Ok::<_, Error>((drained, [sent.iter().map(|done| done.cpu_ns).sum(), receiver_cpu_ns]))
        })?;
        let retransmits = streams.iter().map(sys::retransmits).sum::<std::io::Result<u64>>();
        let retransmits = retransmits.context("reading TCP_INFO")?;
        // The other end keeps its connections until nobody writes to them any more.
        self.line.send(&Request::Finish, PATIENCE)?;
        if drained.streams.len() != streams.len() {
            return Err(out_of_turn());
        }
        Ok(tcp::outcome(bulk, drained, retransmits, cpu_ns))
    }

    fn direct_tcp(&mut self, crew: Crew<'_, '_>, bulk: &Bulk) -> Result<(Drained, u64)> {
        let ready = crew.assemble()?;
        self.begin(None)?;
        ready.begin()?;
        match self.receive(bulk.ramp_up + bulk.sustain + STALL + PATIENCE)? {
            Answer::Tcp { drained, cpu_ns } => Ok((drained, cpu_ns)),
            _ => Err(out_of_turn()),
        }
    }

    /// Binds what is here, has the reflector bind the rest, and opens the way between them. Returns the proof,
    /// too.
    fn prepare(&mut self, load: &Load, offset_ns: i64) -> Result<(Vec<Half>, Option<u64>)> {
        let (from, to) = (self.from, self.to);
        let bare = |numbered| Bare::new(Host::Generator, load, numbered, from);
        let bare: Vec<Bare> = numbered_routes(load).map(bare).collect::<Result<_>>()?;
        let tags: Vec<u32> = bare.iter().map(|_| next_tag()).collect();
        let lanes = bare.iter().zip(&tags).map(|(bare, &tag)| LaneAsk { tag, ports: bare.ports() }).collect();
        let ask = Request::Udp(UdpAsk { load: load.clone(), from, to, offset_ns, lanes });
        let Answer::Prepared { port, nonce, lanes } = self.ask(&ask, PATIENCE)? else { return Err(out_of_turn()) };
        if lanes.len() != bare.len() {
            return Err(out_of_turn());
        }
        let facing = |((bare, ports), tag): ((Bare, Vec<u16>), u32)| bare.facing(to, &ports, load, tag);
        let halves = bare.into_iter().zip(lanes).zip(tags).map(facing).collect::<Result<_>>()?;
        let proof = learn(from, SocketAddr::new(to, port), nonce)?;
        if proof.is_none() {
            // It knows whether anything has arrived, and from where.
            self.begin(None)?;
            return Err(out_of_turn());
        }
        Ok((halves, proof))
    }

    /// What both hosts counted, lane by lane.
    fn carry(
        &mut self,
        load: &Load,
        halves: &[Half],
        (offset_ns, proof): (i64, Option<u64>),
        progress: &AtomicU64,
    ) -> Result<(Vec<Part>, Vec<Part>)> {
        thread::scope(|scope| {
            let mut crew = Crew::new(scope, &load.placement);
            let mut threads: Vec<Threads<'_>> = Vec::new();
            for half in halves {
                // The reflector's clock is the sender's here.
                threads.push(half.spawn(&mut crew, load, &load.placement, -offset_ns, progress));
            }
            let mut parts: Vec<Part> = halves.iter().map(|_| Part::default()).collect();
            let theirs = self.direct(crew, load, (halves, proof), &mut threads, &mut parts);
            halves.iter().for_each(Half::stop);
            let pairs = threads.into_iter().zip(&mut parts);
            let joined: Vec<_> = pairs.map(|(threads, part)| threads.join(part)).collect();
            let theirs = theirs?;
            joined.into_iter().collect::<Result<()>>()?;
            Ok((parts, theirs))
        })
    }

    fn direct(
        &mut self,
        crew: Crew<'_, '_>,
        load: &Load,
        (halves, proof): (&[Half], Option<u64>),
        threads: &mut [Threads<'_>],
        parts: &mut [Part],
    ) -> Result<Vec<Part>> {
        let ready = crew.assemble()?;
        self.begin(proof)?;
        ready.begin()?;
        while threads.iter().any(Threads::sends) {
            self.expect_silence()?;
            thread::sleep(LOOK_EVERY);
        }
        threads.iter_mut().zip(&mut *parts).try_for_each(|(threads, part)| threads.join_sender(part))?;
        let sent: Vec<u64> = parts.iter().map(Part::sent).collect();
        // What begins and ends here, as a round trip does, is known here.
        let ours = halves.iter().zip(&sent).filter(|(half, _)| !half.is_sent_elsewhere());
        ours.for_each(|(half, &sent)| half.announce(sent));
        let Answer::Sent { packets } = self.ask(&Request::Sent { packets: sent }, PATIENCE)? else {
            return Err(out_of_turn());
        };
        let announced = halves.iter().zip(packets).filter(|(half, _)| half.is_sent_elsewhere());
        announced.for_each(|(half, sent)| half.announce(sent));
        let deadline = Instant::now() + load.settle;
        threads.iter().for_each(|threads| threads.settle(deadline));
        match self.ask(&Request::Finish, load.settle + PATIENCE)? {
            Answer::Udp { lanes } => Ok(lanes),
            _ => Err(out_of_turn()),
        }
    }

    fn begin(&mut self, proof: Option<u64>) -> Result<()> {
        match self.ask(&Request::Begin { proof }, PATIENCE)? {
            Answer::Begun => Ok(()),
            _ => Err(out_of_turn()),
        }
    }

    /// The reflector waits, too. If it has failed, it has said why.
    fn expect_silence(&mut self) -> Result<()> {
        self.line.expect_silence().map_err(|broken| match self.line.next(HELLO_PATIENCE) {
            Ok(Some(Answer::Failed { why })) => said(&why),
            _ => broken,
        })
    }

    /// How the clocks compare now.
    fn estimate(&mut self) -> Result<Estimate> {
        Estimate::by(|| {
            let left = sys::now_ns();
            let Answer::Clock { received_ns, answered_ns } = self.ask(&Request::Clock, PATIENCE)? else {
                return Err(out_of_turn());
            };
            Ok(Probe([left, received_ns, answered_ns, sys::now_ns()]))
        })
    }

    fn ask(&mut self, request: &Request, patience: Duration) -> Result<Answer> {
        self.line.send(request, patience)?;
        self.receive(patience)
    }

    fn receive(&mut self, patience: Duration) -> Result<Answer> {
        match self.line.receive(patience)? {
            Answer::Failed { why } => Err(said(&why)),
            answer => Ok(answer),
        }
    }
}

fn greeted(answer: &Answer, control: SocketAddr) -> Result<()> {
    match answer {
        Answer::Greeting { protocol, version, .. } if protocol == PROTOCOL && *version == VERSION => Ok(()),
        Answer::Greeting { protocol, version, lab } if protocol == PROTOCOL => Err(Error::new(format!(
            "the reflector at {control} (ringfort-bench {lab}) speaks version {version} of the control protocol, and \
             this program version {VERSION}: use the same ringfort-bench on both hosts"
        ))),
        Answer::Failed { why } => Err(Error::new(format!("the reflector at {control}: {why}"))),
        _ => Err(Error::new(format!("what answers at {control} is no reflector of ringfort-bench"))),
    }
}

fn said(why: &str) -> Error {
    Error::new(format!("the reflector: {why}"))
}

fn out_of_turn() -> Error {
    Error::new("the reflector answers something else than was asked")
}

fn combine(ours: Part, theirs: Part) -> Result<LaneResult> {
    let incomplete = || Error::new("the reflector's counts of a lane are incomplete");
    Ok(LaneResult {
        sending: ours.sending.or(theirs.sending).ok_or_else(incomplete)?,
        arrivals: ours.arrivals.or(theirs.arrivals).ok_or_else(incomplete)?,
        reflection: theirs.reflection,
    })
}

/// A connection from a local address.
fn connect_from(from: IpAddr, target: SocketAddr) -> Result<TcpStream> {
    sys::connect_from(from, target, STALL).context(format_args!("connecting from {from} to {target}"))
}
