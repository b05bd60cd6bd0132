//! The end that directs: what it asks of the reflector, and its own half of each load.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ringfort_testbed::{Context, Error, Result};
use serde_json::Value;

use crate::hosts::clocks::{Estimate, Probe};
use crate::hosts::job::Job;
use crate::hosts::messages::{ANSWER_LEN_MAX, Answer, PROTOCOL, Request, VERSION};
use crate::hosts::wire::Line;
use crate::hosts::{HELLO_PATIENCE, PATIENCE};
use crate::rrul::{Rrul, RrulOutcome};
use crate::tcp::{Bulk, BulkOutcome};
use crate::{Load, Outcome, sys};

/// A connection to a reflector, and the two addresses between which it measures.
#[derive(Debug)]
pub struct Generator {
    line: Line,
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
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
        let done = Job { udp: Some(load), ..Job::default() }.run(self, progress)?;
        done.udp.ok_or_else(out_of_turn)
    }

    /// Transfers to the reflector, as [`tcp::run`](crate::tcp::run) does on one host. The ramp-up counts from when the
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

    /// The reflector waits, too. If it has failed, it has said why.
    pub(crate) fn expect_silence(&mut self) -> Result<()> {
        self.line.expect_silence().map_err(|broken| match self.line.next(HELLO_PATIENCE) {
            Ok(Some(Answer::Failed { why })) => said(&why),
            _ => broken,
        })
    }

    /// How the clocks compare now.
    pub(crate) fn estimate(&mut self) -> Result<Estimate> {
        Estimate::by(|| {
            let left = sys::now_ns();
            let Answer::Clock { received_ns, answered_ns } = self.ask(&Request::Clock, PATIENCE)? else {
                return Err(out_of_turn());
            };
            Ok(Probe([left, received_ns, answered_ns, sys::now_ns()]))
        })
    }

    pub(crate) fn ask(&mut self, request: &Request, patience: Duration) -> Result<Answer> {
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

pub(crate) fn out_of_turn() -> Error {
    Error::new("the reflector answers something else than was asked")
}
