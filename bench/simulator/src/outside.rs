//! All that is not a gateway: the clock, the network, the users, and whoever watches.

use std::time::Duration;

use ringfort_core::time::Time;

use crate::agenda::Agenda;
use crate::ledger::{Ends, Ledger};
use crate::network::{Network, Wire};
use crate::nonces::Nonces;
use crate::outer::wrap;
use crate::rng::Rng;
use crate::scenario::{LATENCY, Scenario};
use crate::trace::{Step, Trace, Who};

/// How long a datagram that left before its sender moved may still be on its way.
pub const LATE: Duration = Duration::from_millis(5 * LATENCY.as_millis() as u64);
/// An answer that could leave at once is there after that time. It covers a session that ran out just then.
const ANSWERED: Duration = Duration::from_millis(6_500);
/// From one gateway of a machine to another.
const HOST: Duration = Duration::from_micros(1);

/// What can be on the agenda.
#[derive(Debug)]
pub enum What {
    /// Datagrams reach an address.
    Arrive(Wire),
    /// A route leads a datagram of another gateway into the TUN device of this one.
    Carry { gateway: usize, sender: usize, packet: Vec<u8> },
    /// A worker wakes up, or goes on.
    Turn { gateway: usize, worker: usize },
    /// Control wakes up, or goes on.
    Control { gateway: usize },
    /// A talk goes on.
    Offer { talk: usize },
    /// A question was read, and is answered.
    Answer { flow: u16, asked: Time },
    /// An answer must have arrived.
    Due { flow: u16, sequence: u32, asked: Time },
    /// The first packet of a flow must have arrived.
    FirstDue { flow: u16 },
    /// A happening begins, or ends.
    Happens { place: usize, begins: bool },
}

/// All that is not a gateway.
#[derive(Debug)]
pub struct Outside {
    /// The clock.
    pub now: Time,
    /// What will happen.
    pub agenda: Agenda<What>,
    /// How threads interleave.
    pub rng: Rng,
    /// What is between the gateways.
    pub network: Network,
    /// What was offered and arrived.
    pub ledger: Ledger,
    /// What was sealed.
    pub nonces: Nonces,
    /// What happened.
    pub trace: Trace,
    /// Until when something is wrong with a gateway that an answer can suffer from.
    pub disturbed: Vec<Time>,
    /// By flow: the flow of its answers, and that it is one.
    pub answers: Vec<Option<u16>>,
    /// When the last datagram left any gateway.
    pub last_sent: Time,
    /// What was found to be wrong. A run ends with the first.
    pub failure: Option<String>,
    /// Datagrams that left.
    pub datagrams: u64,
    /// Nothing happens but floods of trains.
    pub is_only_flooded: bool,
    /// From then on nothing may be lost or late.
    settled: Time,
}

impl Outside {
    /// At the beginning of a scenario.
    #[must_use]
    pub fn new(scenario: &Scenario) -> Self {
        let count = scenario.gateways.len();
        let now = crate::scenario::START;
        // Whose keys wear out within seconds keeps others waiting for the next.
        let is_worn = scenario.gateways.iter().any(|site| site.first_counter > 0);
        Self {
            now,
            agenda: Agenda::default(),
            rng: Rng::new(scenario.seed, 3),
            network: Network::new(scenario),
            ledger: Ledger::new(scenario.in_order(), scenario.settled(), scenario.complete()),
            nonces: Nonces::default(),
            trace: Trace::default(),
            disturbed: vec![if is_worn { scenario.settled() } else { Time::ZERO }; count],
            answers: Vec::new(),
            last_sent: now,
            failure: None,
            datagrams: 0,
            is_only_flooded: scenario.is_only_flooded(),
            settled: scenario.settled(),
        }
    }

    /// Notes a step.
    pub fn note(&mut self, who: Who, step: Step) {
        self.trace.note(self.now, who, step);
    }

    /// Notes what is wrong.
    pub fn check(&mut self, result: Result<(), String>) {
        if let Err(what) = result {
            self.failure.get_or_insert(what);
        }
    }

    /// Whether everything has recovered from the last fault.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.now >= self.settled
    }

    /// Something is wrong with a gateway until some time.
    pub fn disturb(&mut self, gateway: usize, until: Time) {
        self.disturbed[gateway] = self.disturbed[gateway].max(until);
    }

    /// A thread wakes up a little later.
    pub fn soon(&mut self) -> Time {
        self.now + Duration::from_nanos(self.rng.between(500, 40_000))
    }

    /// Control wakes up: now and then it takes its time.
    pub fn later(&mut self) -> Time {
        let soon = self.soon();
        if self.rng.chance(64) { soon + Duration::from_micros(self.rng.below(2_000)) } else { soon }
    }

    /// A route leads datagrams into the tunnel of another gateway.
    pub fn carry(&mut self, gateway: usize, sender: usize, wire: &Wire) {
        self.last_sent = self.now;
        for datagram in wire.bytes.chunks(wire.stride) {
            let packet = wrap(wire.from, wire.to, wire.ecn, datagram);
            self.agenda.enter(self.now + HOST, What::Carry { gateway, sender, packet });
        }
    }

    /// What came out of the tunnel is for another gateway beside it.
    pub fn arrive_within(&mut self, wire: Wire) {
        self.agenda.enter(self.now + HOST, What::Arrive(wire));
    }

    /// Puts datagrams on the network.
    pub fn send(&mut self, wire: Wire) {
        self.last_sent = self.now;
        self.datagrams += wire.bytes.len().div_ceil(wire.stride) as u64;
        let Self { now, agenda, network, .. } = self;
        network.send(*now, wire, &mut |at, wire| agenda.enter(at, What::Arrive(wire)));
    }

    /// A packet has come out of a TUN device: if it is a question, somebody answers.
    pub fn read(&mut self, flow: u16, asked: Time) {
        if let Some(answer) = self.answers[usize::from(flow)] {
            let at = self.soon();
            self.agenda.enter(at, What::Answer { flow: answer, asked });
        }
    }

    /// An answer was offered: it must arrive.
    pub fn expect(&mut self, flow: u16, sequence: u32, asked: Time) {
        self.agenda.enter(self.now + ANSWERED, What::Due { flow, sequence, asked });
    }

    /// The first packet of a flow must have arrived.
    ///
    /// # Errors
    /// It did not.
    pub fn check_first(&self, flow: u16) -> Result<(), String> {
        if self.ledger.has_arrived(flow, 0) {
            return Ok(());
        }
        let Ends { from, to, .. } = self.ledger.ends(flow);
        Err(format!("what g{from} had to say to g{to} still waits: flow {flow}"))
    }

    /// The time of an answer is over.
    ///
    /// # Errors
    /// It was lost, although nothing was wrong.
    pub fn check_answer(&mut self, flow: u16, sequence: u32, asked: Time) -> Result<(), String> {
        let ends = self.ledger.ends(flow);
        let is_excused = [ends.from, ends.to].into_iter().any(|at| self.disturbed[at] >= asked);
        if is_excused || self.network.loses_since(asked) || self.ledger.has_arrived(flow, sequence) {
            return Ok(());
        }
        let (from, to, us) = (ends.from, ends.to, asked.as_nanos() / 1_000);
        Err(format!("g{from} was asked by g{to} at {us} µs, and the answer is lost: flow {flow}, packet {sequence}"))
    }
}
