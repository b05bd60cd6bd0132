//! The end that directs: its connection to a reflector, and what it asks of it.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use ringfort_testbed::{Context, Error, Result};
use serde_json::Value;

use crate::clocks::{Estimate, Probe};
use crate::hosts::messages::{ANSWER_LEN_MAX, Answer, PROTOCOL, Request, VERSION};
use crate::hosts::wire::Line;
use crate::hosts::{HELLO_PATIENCE, PATIENCE};
use crate::sys;

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
