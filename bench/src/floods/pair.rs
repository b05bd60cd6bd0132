//! One transfer in which the flood arrives and is dropped, again and again.
//!
//! ```text
//!   ramp up │ settle │ arrives │ settle │  dropped  │ settle │  arrives  │ … │ settle │  dropped  │ settle │ arrives │
//!                     ◄─ ½ turn          ◄─ 1 turn ─►                                                     ½ turn ─►
//! ```
//!
//! Both are of one connection, so of the same queues, workers and cores: between two connections chance decides more
//! than most floods do. Turns are short, since what a connection gets changes within seconds. What drifts falls on both
//! alike. In every second pair dropped and arrives have changed places.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringfort_testbed::{Error, Result};

use super::attack::{Sent, Tally};
use super::place::Fate;
use super::roles::Moment;
use super::{Flood, RAMP_UP};
use crate::results::files::Findings;

/// How long a fate lasts before it is measured.
const SETTLE: Duration = Duration::from_millis(200);
/// For how long about it is measured at a time.
const TURN: Duration = Duration::from_millis(500);
/// What setting rules may take each time, on average.
const SLACK: Duration = Duration::from_millis(80);

/// How long the transfer of a pair lasts.
pub(super) fn duration(time: Duration) -> Duration {
    (SETTLE + SLACK) * (2 * turns(time) + 1) + time * 2
}

/// Into how many turns the time of each fate is divided.
fn turns(time: Duration) -> u32 {
    (time.as_secs_f64() / TURN.as_secs_f64()).round().max(1.0) as u32
}

/// Who has how long a turn, one after the other.
fn plan(first: Fate, time: Duration) -> impl Iterator<Item = (Fate, Duration)> {
    let (turns, other) = (turns(time), if first == Fate::Arrives { Fate::Dropped } else { Fate::Arrives });
    let (turn, last) = (time / turns, 2 * turns);
    (0..=last).map(move |n| {
        let fate = if n % 2 == 0 { first } else { other };
        (fate, if n == 0 || n == last { turn / 2 } else { turn })
    })
}

/// What was counted until a moment.
struct Reading {
    at: Instant,
    bytes: u64,
    sent: Sent,
    moment: Moment,
}

/// What was counted of one fate.
#[derive(Default)]
struct Sum {
    seconds: f64,
    bytes: u64,
    sent: u64,
    cookies: u64,
}

impl Flood<'_> {
    /// Measures each fate for `time`, `first` at the beginning and at the end, and notes both.
    pub(super) fn pair(&self, first: Fate, time: Duration, found: &mut Findings) -> Result<()> {
        let (mut arrives, mut dropped) = (Sum::default(), Sum::default());
        let end = Instant::now() + RAMP_UP + duration(time);
        self.beside_watched_transfer(duration(time), |arrived, tally| {
            thread::sleep(RAMP_UP);
            for (fate, time) in plan(first, time) {
                self.place.set_fate(fate)?;
                thread::sleep(SETTLE);
                let begin = self.read(arrived, tally)?;
                thread::sleep(time);
                let now = self.read(arrived, tally)?;
                let (sum, shares) = match fate {
                    Fate::Arrives => (&mut arrives, &mut found.cpu_arrives),
                    Fate::Dropped => (&mut dropped, &mut found.cpu_dropped),
                };
                sum.add(&begin, &now);
                begin.moment.add_to(shares, &now.moment, now.sent.cpu.saturating_sub(begin.sent.cpu));
            }
            if Instant::now() < end {
                return Ok(());
            }
            Err(Error::new("setting rules took longer than the transfer: the machine is too busy to measure floods"))
        })?;
        found.arrives.push(arrives.megabits_per_s());
        found.sent_pps.push(arrives.rate(arrives.sent));
        found.cookies_pps.push(arrives.rate(arrives.cookies));
        found.dropped.push(dropped.megabits_per_s());
        found.sent_when_dropped_pps.push(dropped.rate(dropped.sent));
        Ok(())
    }

    fn read(&self, arrived: &AtomicU64, tally: &Tally) -> Result<Reading> {
        let moment = Moment::now(self.place)?;
        Ok(Reading { at: Instant::now(), bytes: arrived.load(Ordering::Relaxed), sent: tally.now(), moment })
    }
}

impl Sum {
    fn add(&mut self, begin: &Reading, end: &Reading) {
        self.seconds += (end.at - begin.at).as_secs_f64();
        self.bytes += end.bytes - begin.bytes;
        self.sent += end.sent.sent - begin.sent.sent;
        self.cookies += end.sent.cookies - begin.sent.cookies;
    }

    fn rate(&self, count: u64) -> f64 {
        count as f64 / self.seconds
    }

    fn megabits_per_s(&self) -> f64 {
        self.rate(self.bytes) * 8.0 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_time_that_was_measured() {
        let sum = Sum { seconds: 2.0, bytes: 500_000, sent: 30, cookies: 7 };
        assert_eq!((sum.megabits_per_s(), sum.rate(sum.sent), sum.rate(sum.cookies)), (2.0, 15.0, 3.5));
    }

    #[test]
    fn each_fate_has_its_time_whoever_is_first() {
        for (millis, first) in [200, 500, 1_800, 8_000].into_iter().zip([Fate::Arrives, Fate::Dropped].repeat(2)) {
            let time = Duration::from_millis(millis);
            let turns: Vec<_> = plan(first, time).collect();
            for fate in [Fate::Arrives, Fate::Dropped] {
                let measured: Duration = turns.iter().filter(|turn| turn.0 == fate).map(|turn| turn.1).sum();
                assert!(measured.abs_diff(time) < Duration::from_micros(1), "{fate:?}: {measured:?} of {time:?}");
            }
            assert!(turns.windows(2).all(|pair| pair[0].0 != pair[1].0));
            assert!(turns.iter().map(|turn| SETTLE + SLACK + turn.1).sum::<Duration>() <= duration(time));
        }
    }
}
