//! UDP at a set rate, with every datagram accounted for.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringfort_testbed::{Context, Result};

use crate::crew::{Crew, Member, join};
use crate::receiver::{Arrivals, Receiver, Signals};
use crate::reflector::{Reflection, Reflector};
use crate::schedule::{Schedule, headers_len};
use crate::sender::{Sender, Sending};
use crate::sockets::{Grid, merge, open_the_way};
use crate::tally::{LaneResult, Tally};
use crate::{Direction, Endpoint, Leg, Load, Outcome, Route};

/// Tells the datagrams of one lane of one run from all others of this process, and most of others.
static NEXT_TAG: AtomicU32 = AtomicU32::new(0);

/// On one host senders run to their end: there is nobody else who could have gone.
static NEVER: AtomicBool = AtomicBool::new(false);

/// One lane in one direction: everything that its threads share.
struct Lane {
    route: Route,
    grid: Grid,
    schedule: Schedule,
    tag: u32,
    receiving: Signals,
    reflecting: Signals,
}

/// The threads of a lane.
struct Threads<'scope> {
    sender: Member<'scope, Sending>,
    receiver: Member<'scope, Arrivals>,
    reflector: Option<Member<'scope, Reflection>>,
}

/// Carries a load between two namespaces. `progress` counts the distinct packets that have arrived so far.
///
/// Before the load begins, single datagrams are sent until one arrives, so neighbours are resolved and tunnels are
/// up.
///
/// # Errors
/// The load is not within the limits, sockets or rings cannot be made, nothing gets through within five seconds, or the
/// kernel refuses every packet.
pub fn run(load: &Load, from: Endpoint<'_>, to: Endpoint<'_>, progress: &AtomicU64) -> Result<Outcome> {
    load.check(from.address, to.address)?;
    open_the_way(from, to)?;
    if load.direction != Direction::OneWay {
        open_the_way(to, from)?;
    }
    let lanes = lanes(load, from, to)?;
    let results = carry(load, &lanes, progress)?;
    let parts: Vec<_> = lanes.iter().map(|lane| (lane.route, &lane.schedule)).zip(&results).collect();
    outcome(load, &parts, headers_len(from.address))
}

/// What is reported of a load, lane by lane.
///
/// # Errors
/// The kernel refused every packet.
pub(crate) fn outcome(load: &Load, lanes: &[((Route, &Schedule), &LaneResult)], headers_len: u16) -> Result<Outcome> {
    let outcome = summarise(load, lanes);
    match (&outcome.total.refusal, outcome.total.sent) {
        (Some(refusal), 0) => Err(ringfort_testbed::Error::new(format!(
            "the kernel refused all {} packets of up to {} bytes: {refusal}",
            outcome.total.refused,
            lanes[0].0.1.payload_len_max() + usize::from(headers_len),
        ))),
        _ => Ok(outcome),
    }
}

fn lanes(load: &Load, from: Endpoint<'_>, to: Endpoint<'_>) -> Result<Vec<Lane>> {
    let ends = |route| if route == Route::Backward { (to, from) } else { (from, to) };
    numbered_routes(load).map(|(number, route)| Lane::new(load, number, route, ends(route))).collect()
}

/// Number and route of each lane of a load.
pub(crate) fn numbered_routes(load: &Load) -> impl Iterator<Item = (u16, Route)> + use<> {
    let routes: &'static [Route] = match load.direction {
        Direction::OneWay => &[Route::Forward],
        Direction::BothWays => &[Route::Forward, Route::Backward],
        Direction::RoundTrip => &[Route::RoundTrip],
    };
    (0..load.placement.lanes).flat_map(move |number| routes.iter().map(move |&route| (number, route)))
}

/// A tag for the datagrams of a lane.
pub(crate) fn next_tag() -> u32 {
    std::process::id().wrapping_mul(0x9e37_79b1) ^ NEXT_TAG.fetch_add(1, Ordering::Relaxed)
}

impl Lane {
    fn new(load: &Load, number: u16, route: Route, (from, to): (Endpoint<'_>, Endpoint<'_>)) -> Result<Self> {
        let schedule = Schedule::new(load, number, from.address);
        let grid = Grid::new(from, to, schedule.flows)?;
        if schedule.train_len > 1 {
            grid.segment(schedule.payload_len_max())?;
        }
        if load.gro {
            merge(grid.receiving(route))?;
        }
        Ok(Self { route, grid, schedule, tag: next_tag(), receiving: Signals::new()?, reflecting: Signals::new()? })
    }

    fn spawn<'scope, 'env>(
        &'env self,
        crew: &mut Crew<'scope, 'env>,
        load: &'env Load,
        progress: &'env AtomicU64,
    ) -> Threads<'scope> {
        let sockets = self.grid.receiving(self.route);
        Threads {
            sender: crew.add(
                || Sender::new(&self.grid, &self.schedule, self.tag, &NEVER),
                |sender, start_ns| sender.run(&load.placement, start_ns),
            ),
            receiver: crew.add(
                move || Receiver::new(sockets, &self.schedule, self.tag, load.gro, &self.receiving, progress),
                |receiver, _| receiver.run(&load.placement),
            ),
            reflector: (self.route == Route::RoundTrip).then(|| {
                crew.add(
                    || Reflector::new(&self.grid, &self.schedule, self.tag, &self.reflecting),
                    |reflector, _| reflector.run(),
                )
            }),
        }
    }
}

/// Runs all lanes at once and waits for their stragglers.
fn carry(load: &Load, lanes: &[Lane], progress: &AtomicU64) -> Result<Vec<LaneResult>> {
    thread::scope(|scope| {
        let mut crew = Crew::new(scope, &load.placement);
        let threads: Vec<Threads<'_>> = lanes.iter().map(|lane| lane.spawn(&mut crew, load, progress)).collect();
        let begun = crew.begin();
        let results: Vec<_> =
            lanes.iter().zip(threads).map(|(lane, threads)| lane.finish(threads, load.settle)).collect();
        begun?;
        results.into_iter().collect()
    })
}

impl Lane {
    /// Waits for the sender, then as long as `settle` for what is under way. Whatever fails, no thread is left waiting.
    fn finish(&self, threads: Threads<'_>, settle: Duration) -> Result<LaneResult> {
        let sending = join(threads.sender);
        if let Ok(sending) = &sending {
            self.receiving.announce(sending.value.sent);
            let deadline = Instant::now() + settle;
            while !threads.receiver.is_finished() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(1));
            }
        }
        self.receiving.stop();
        let arrivals = join(threads.receiver);
        self.reflecting.stop();
        let reflection = threads.reflector.map(join).transpose();
        Ok(LaneResult {
            sending: sending.context("sending")?,
            arrivals: arrivals.context("receiving")?,
            reflection: reflection.context("reflecting")?,
        })
    }
}

fn summarise(load: &Load, lanes: &[((Route, &Schedule), &LaneResult)]) -> Outcome {
    let tally_of = |route: Option<Route>| {
        let mut tally = Tally::default();
        let chosen = lanes.iter().filter(|((of, _), _)| route.is_none_or(|route| route == *of));
        chosen.for_each(|((_, schedule), result)| tally.add(schedule, result));
        tally
    };
    let mut routes: Vec<Route> = lanes.iter().map(|((route, _), _)| *route).collect();
    routes.truncate(if load.direction == Direction::BothWays { 2 } else { 1 });
    let legs = routes.iter().map(|&route| Leg { route, traffic: tally_of(Some(route)).traffic(load, 1) });
    let reflections = lanes.iter().filter_map(|(_, result)| result.reflection.as_ref());
    Outcome {
        load: load.clone(),
        packet_bytes_mean: load.size.packet_bytes_mean(),
        legs: legs.collect(),
        total: tally_of(None).traffic(load, routes.len() as u64),
        reflected: (load.direction == Direction::RoundTrip).then(|| reflections.map(|done| done.value.reflected).sum()),
        clocks: None,
    }
}
