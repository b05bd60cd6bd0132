//! All gateways and what is between them, from the beginning of a run to its end.

use std::collections::BTreeMap;
use std::time::Duration;

use ringfort_core::time::Time;

use crate::gateway::{Gateway, TunRead, inner_address};
use crate::ledger::Ends;
use crate::outside::{Outside, What};
use crate::packets::{FIRST_LEN, Flow, LATER_LEN, Number, Shape, Transport};
use crate::rng::mix;
use crate::scenario::{Disturbance, LATENCY, START, Scenario, Style, Talk};
use crate::trace::{Step, Who};

/// After the last packet the last keepalives leave, whoever does not answer is given up, and keys are zeroed.
const LAST_WORDS: Duration = Duration::from_secs(120);
const FORGOTTEN: Duration = Duration::from_secs(3_000);

/// A run has fewer steps, unless something goes round in it.
const STEPS_MAX: u64 = 4_000_000;

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Inner packets offered.
    pub offered: u64,
    /// Inner packets that arrived.
    pub delivered: u64,
    /// Outer datagrams that were sent.
    pub datagrams: u64,
    /// Steps.
    pub steps: u64,
    /// All steps in one number.
    pub hash: u64,
    /// Virtual time.
    pub lasted: Duration,
    /// What the last processes dropped, by reason.
    pub drops: BTreeMap<&'static str, u64>,
}

/// A run.
pub struct World {
    scenario: Scenario,
    gateways: Vec<Gateway>,
    /// Where it stands: shared with whoever looks when it fails.
    pub out: Outside,
    /// The flow of each talk.
    flows: Vec<u16>,
}

impl World {
    /// The beginning of a run.
    #[must_use]
    pub fn new(scenario: Scenario) -> Self {
        let mut out = Outside::new(&scenario);
        let gateways = (0..scenario.gateways.len()).map(|index| Gateway::new(index, &scenario, &mut out)).collect();
        let mut world = Self { scenario, gateways, out, flows: Vec::new() };
        for talk in 0..world.scenario.talks.len() {
            world.enter_talk(talk);
        }
        for (place, happening) in world.scenario.happenings.iter().enumerate() {
            let at = START + happening.at;
            world.out.agenda.enter(at, What::Happens { place, begins: true });
            world.out.agenda.enter(at + happening.lasts, What::Happens { place, begins: false });
        }
        world
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// What was wrong.
    pub fn run(&mut self) -> Result<(), String> {
        let talked = self.scenario.talked();
        self.run_until(talked + LAST_WORDS)?;
        self.out.ledger.check_complete(talked)?;
        self.gateways.iter().try_for_each(Gateway::check_strangers)?;
        let speaks = self.gateways.iter().any(Gateway::sends_keepalives);
        if speaks {
            self.run_until(talked + LAST_WORDS * 2)?;
            return self.gateways.iter_mut().try_for_each(Gateway::check_slots_at_home);
        }
        let last_sent = self.out.last_sent;
        self.run_until(talked + FORGOTTEN)?;
        if self.out.last_sent > last_sent {
            return Err("idle peers do not fall silent".to_owned());
        }
        self.gateways.iter_mut().try_for_each(Gateway::check_idle)
    }

    /// What it came to so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut drops = BTreeMap::new();
        for (reason, count) in self.gateways.iter().flat_map(Gateway::drops) {
            *drops.entry(reason).or_default() += count;
        }
        let Outside { ledger, trace, datagrams, now, .. } = &self.out;
        Summary {
            offered: ledger.offered,
            delivered: ledger.delivered,
            datagrams: *datagrams,
            steps: trace.steps(),
            hash: trace.hash(),
            lasted: now.since(START),
            drops,
        }
    }

    fn run_until(&mut self, until: Time) -> Result<(), String> {
        while let Some((at, what)) = self.out.agenda.next_until(until) {
            self.out.now = at;
            self.happen(what);
            if self.out.trace.steps() > STEPS_MAX {
                return Err("it never ends: something goes round".to_owned());
            }
            if let Some(failure) = self.out.failure.take() {
                return Err(failure);
            }
        }
        self.out.now = until;
        Ok(())
    }

    fn happen(&mut self, what: What) {
        let Self { gateways, out, .. } = self;
        match what {
            What::Arrive(wire) => match out.network.owner(wire.to) {
                Some(gateway) => gateways[gateway].arrive(wire, out),
                None => out.network.give_back(wire.bytes),
            },
            What::Carry { gateway, sender, packet } => gateways[gateway].carry(sender, packet, out),
            What::Turn { gateway, worker } => gateways[gateway].turn(worker, out),
            What::Control { gateway } => gateways[gateway].control_turn(out),
            What::Offer { talk } => self.offer(talk),
            What::Answer { flow, asked } => self.answer(flow, asked),
            What::Due { flow, sequence, asked } => {
                let result = out.check_answer(flow, sequence, asked);
                out.check(result);
            }
            What::FirstDue { flow } => {
                let result = out.check_first(flow);
                out.check(result);
            }
            What::Happens { place, begins } => self.happens(place, begins),
        }
    }

    fn happens(&mut self, place: usize, begins: bool) {
        let Self { gateways, out, scenario, .. } = self;
        let happening = &scenario.happenings[place];
        let (event, until) = (happening.what, START + happening.at + happening.lasts);
        let at = event.gateways()[0];
        out.note(Who::World, Step::Happens { place, begins });
        if begins {
            event.disturb(until, out);
            if let Disturbance::MovePrefix { at, of, to } = event {
                out.ledger.note_move(at, of, to, out.now, until);
            }
            return gateways[at].begin(event, until, out);
        }
        gateways[at].end(event, out);
        match event {
            Disturbance::NewKey { .. } => {
                gateways
                    .iter_mut()
                    .enumerate()
                    .filter(|(n, _)| *n != at)
                    .for_each(|(_, other)| other.learn(event, out));
            }
            Disturbance::NewPsk { peer, .. } | Disturbance::NewSuite { peer, .. } => gateways[peer].learn(event, out),
            _ => {}
        }
    }

    /// A talk becomes a flow, or two.
    fn enter_talk(&mut self, number: usize) {
        let talk = self.scenario.talks[number].clone();
        let Talk { from, to, v6, transport, segment, dscp, ecn, counts_up, style, .. } = talk;
        let lone = matches!(style, Style::Lone | Style::Partial);
        let count = self.scenario.gateways.len();
        let id = self.out.ledger.flows().len() as u16;
        let (source, destination) = (inner_address(from, v6), inner_address(to, v6));
        let flow = Flow { id, source, destination, transport, segment, dscp, ecn, lone, counts_up };
        let ends = Ends { from, to, to_phantom: to >= count };
        self.out.ledger.add(flow, ends);
        self.out.answers.push(None);
        self.flows.push(id);
        if talk.asks && to < count {
            let answers = Flow { id: id + 1, source: destination, destination: source, ..flow };
            self.out.ledger.add(answers, Ends { from: to, to: from, to_phantom: false });
            self.out.answers.push(None);
            self.out.answers[usize::from(id)] = Some(id + 1);
        }
        self.out.agenda.enter(START + talk.first, What::Offer { talk: number });
        if let Some(due) = talk.due {
            self.out.agenda.enter(START + talk.first + due, What::FirstDue { flow: id });
        }
    }

    /// A talk goes on.
    fn offer(&mut self, number: usize) {
        let talk = &self.scenario.talks[number];
        let (flow, now) = (self.flows[number], self.out.now);
        let next = now + talk.interval;
        if next <= self.scenario.talked() && talk.until.is_none_or(|until| next <= START + until) {
            self.out.agenda.enter(next, What::Offer { talk: number });
        }
        let burst = talk.burst;
        let sequence = self.out.ledger.offer(flow, burst, now);
        self.out.note(Who::World, Step::Offered { flow, sequence, count: burst });
        let gateway = &mut self.gateways[talk.from];
        let out = &mut self.out;
        match talk.style {
            Style::Lone | Style::Partial => {
                let partial = talk.style == Style::Partial;
                for sequence in sequence..sequence + u32::from(burst) {
                    let number = out.ledger.flows()[usize::from(flow)].number(sequence, length(talk, flow, sequence));
                    gateway.offer(flow, TunRead::Lone { number, partial }, out);
                }
            }
            Style::Super => {
                let whole = 64_000 / (talk.segment + 80);
                let (mut left, mut sequence) = (burst, sequence);
                if mix(u64::from(sequence)) & 3 == 0 {
                    // One by itself in front: it must stay there.
                    let number = out.ledger.flows()[usize::from(flow)].number(sequence, length(talk, flow, sequence));
                    gateway.offer(flow, TunRead::Lone { number, partial: true }, out);
                    (left, sequence) = (left - 1, sequence + 1);
                }
                while left > 0 {
                    let count = left.min(whole);
                    let last = length(talk, flow, sequence);
                    gateway.offer(flow, TunRead::Super { flow, sequence, count, last }, out);
                    sequence += u32::from(count);
                    left -= count;
                }
            }
            Style::Fragments => {
                let mut packets = sequence..sequence + u32::from(burst);
                while let Some(sequence) = packets.next() {
                    let is_cut = mix(u64::from(sequence) ^ u64::from(flow) << 32) & 1 == 0;
                    if let Some(later) = is_cut.then(|| packets.next()).flatten() {
                        let fragment = |shape, sequence, len| Number { flow, shape, sequence, len };
                        for number in
                            [fragment(Shape::First, sequence, FIRST_LEN), fragment(Shape::Later, later, LATER_LEN)]
                        {
                            gateway.offer(flow, TunRead::Lone { number, partial: false }, out);
                        }
                    } else {
                        let number = out.ledger.flows()[usize::from(flow)].number(sequence, talk.segment);
                        gateway.offer(flow, TunRead::Lone { number, partial: false }, out);
                    }
                }
            }
        }
    }

    /// A question was read.
    fn answer(&mut self, flow: u16, asked: Time) {
        let from = self.out.ledger.ends(flow).from;
        let sequence = self.out.ledger.offer(flow, 1, self.out.now);
        self.out.note(Who::World, Step::Offered { flow, sequence, count: 1 });
        let number = self.out.ledger.flows()[usize::from(flow)].number(sequence, 64);
        self.gateways[from].offer(flow, TunRead::Lone { number, partial: false }, &mut self.out);
        self.out.expect(flow, sequence, asked);
    }
}

/// The payload of a packet: mostly a full one. Where packets come one by one, a quarter of those of TCP are
/// acknowledgements alone, and some of UDP are empty.
fn length(talk: &Talk, flow: u16, sequence: u32) -> u16 {
    let random = mix(u64::from(flow) << 40 ^ u64::from(sequence));
    let is_empty = match (talk.transport, talk.style) {
        (Transport::Tcp, Style::Lone | Style::Partial) => random >> 3 & 3 == 0,
        (Transport::Udp, Style::Lone | Style::Partial) => random >> 3 & 7 == 0,
        _ => false,
    };
    if is_empty {
        return 0;
    }
    let shortest = crate::packets::NUMBER_LEN as u64;
    let shorter = shortest + (random >> 8) % (u64::from(talk.segment) - shortest + 1);
    if random & 7 == 0 { shorter as u16 } else { talk.segment }
}

const _: () = assert!(LATENCY.as_millis() > 0, "a packet is under way for some time");
