//! What is left out of a scenario, to find out what a failure needs.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{Disturbance, Faults, Scenario, Talk};

/// One thing that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// A happening, by its place.
    Happening(usize),
    /// A talk, by its place.
    Talk(usize),
    /// One of the faults of the network, by its place.
    Fault(usize),
    /// Gateways have one worker.
    Workers,
    /// Threads are not interrupted.
    Interrupts,
    /// Nobody sends persistent keepalives.
    Keepalives,
    /// Keys begin with counter 0.
    Counters,
    /// Tables of routes are small.
    LargeRoutes,
    /// What follows the settling is short.
    Calm,
    /// The time in which something may be lost: every loss is a failure. Only a test leaves this out.
    Patience,
    /// The last gateways, all but so many.
    Gateways(usize),
}

/// All that is left out, as it stands on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cuts(pub Vec<Cut>);

/// Faults of the network.
const FAULTS: usize = 9;
/// The shortest time that something is looked for.
const CALM_MIN: Duration = Duration::from_secs(2);

impl Cuts {
    /// All that could be left out of a scenario, the largest first.
    #[must_use]
    pub fn of(scenario: &Scenario) -> Vec<Cut> {
        let mut all = Vec::new();
        if !scenario.nested {
            all.extend((2..scenario.gateways.len()).map(Cut::Gateways));
        }
        all.extend((0..scenario.happenings.len()).map(Cut::Happening));
        all.extend((0..FAULTS).map(Cut::Fault));
        all.extend((0..scenario.talks.len()).map(Cut::Talk));
        all.extend([Cut::Calm, Cut::Keepalives, Cut::Counters, Cut::LargeRoutes, Cut::Interrupts, Cut::Workers]);
        all
    }

    /// Leaves all of it out.
    pub fn apply(&self, scenario: &mut Scenario) {
        let is_cut = |cut: Cut| self.0.contains(&cut);
        let mut place = 0..;
        scenario.happenings.retain(|_| !place.next().is_some_and(|n| is_cut(Cut::Happening(n))));
        let mut place = 0..;
        scenario.talks.retain(|_| !place.next().is_some_and(|n| is_cut(Cut::Talk(n))));
        for &cut in &self.0 {
            match cut {
                Cut::Happening(_) | Cut::Talk(_) => {}
                Cut::Fault(place) => scenario.network.clear(place),
                Cut::Workers => {
                    scenario.gateways.iter_mut().for_each(|site| site.workers = 1);
                    let happenings = scenario.happenings.iter_mut().map(|happening| &mut happening.what);
                    happenings.for_each(Disturbance::leave_one_worker);
                }
                Cut::Interrupts => scenario.gateways.iter_mut().for_each(|site| site.interrupted = 0),
                Cut::Keepalives => scenario.gateways.iter_mut().for_each(|site| site.keepalive_secs = 0),
                Cut::Counters => scenario.gateways.iter_mut().for_each(|site| site.first_counter = 0),
                Cut::LargeRoutes => scenario.gateways.iter_mut().for_each(|site| site.large_routes = false),
                Cut::Calm => scenario.calm = CALM_MIN,
                Cut::Patience => scenario.is_impatient = true,
                Cut::Gateways(count) => scenario.keep_gateways(count),
            }
        }
        scenario.repair();
    }
}

impl Scenario {
    /// Keeps the first gateways, and what concerns only them.
    fn keep_gateways(&mut self, count: usize) {
        let before = self.gateways.len();
        if count >= before {
            return;
        }
        self.gateways.truncate(count);
        // Phantoms are numbered from the last gateway on.
        self.talks.retain_mut(|talk| {
            let to_phantom = talk.to >= before;
            if to_phantom {
                talk.to -= before - count;
            }
            talk.from < count && (to_phantom || talk.to < count)
        });
        self.happenings.retain(|happening| happening.what.gateways().into_iter().all(|at| at < count));
    }
}

impl Scenario {
    /// Leaves out what could not be survived without what was left out: who changes its address is only known where it
    /// speaks, and who does not know the other waits to hear from it.
    pub(super) fn repair(&mut self) {
        let count = self.gateways.len();
        let talks = |a, b| self.talks.iter().filter(move |talk| (talk.from, talk.to) == (a, b));
        // Whoever says a word only now and then has not been heard when everything must arrive.
        let is_one_way = |a, b| talks(a, b).next().is_some() && !talks(b, a).any(Talk::is_heard_soon);
        let one_way: Vec<Vec<bool>> = (0..count).map(|a| (0..count).map(|b| is_one_way(a, b)).collect()).collect();
        let is_one_way = |a: usize, b: usize| one_way[a][b];
        for (low, high) in (1..count).flat_map(|high| (0..high).map(move |low| (low, high))) {
            if is_one_way(high, low) {
                self.unknown &= !Self::pair(low, high);
            }
        }
        for happening in &self.happenings {
            if let Disturbance::Move { at } | Disturbance::Rebind { at } = happening.what {
                // Whoever moves, and has forgotten everything, must find the others by itself.
                (0..at).for_each(|other| self.unknown &= !Self::pair(other, at));
            }
        }
        self.happenings.retain(|happening| match happening.what {
            Disturbance::Move { at } | Disturbance::Rebind { at } => {
                (0..count).all(|other| other == at || !is_one_way(other, at))
            }
            _ => true,
        });
    }
}

impl Disturbance {
    const fn leave_one_worker(&mut self) {
        if let Self::HandOver { workers, .. } = self {
            *workers = 1;
        }
    }
}

impl Faults {
    fn clear(&mut self, place: usize) {
        let Self { loss, duplication, corruption, truncation, stray, congestion, delay_max, cut, merge } = self;
        let chances = [loss, duplication, corruption, truncation, stray, congestion, cut, merge];
        match chances.into_iter().nth(place) {
            Some(chance) => *chance = 0,
            None => *delay_max = Duration::ZERO,
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Happening(n) => write!(f, "happening:{n}"),
            Self::Talk(n) => write!(f, "talk:{n}"),
            Self::Fault(n) => write!(f, "fault:{n}"),
            Self::Gateways(n) => write!(f, "gateways:{n}"),
            Self::Workers => f.write_str("workers"),
            Self::Interrupts => f.write_str("interrupts"),
            Self::Keepalives => f.write_str("keepalives"),
            Self::Counters => f.write_str("counters"),
            Self::LargeRoutes => f.write_str("large-routes"),
            Self::Calm => f.write_str("calm"),
            Self::Patience => f.write_str("patience"),
        }
    }
}

impl FromStr for Cut {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, number) = text.split_once(':').unwrap_or((text, "0"));
        let number = number.parse().map_err(|_| format!("{text:?} ends in no number"))?;
        match name {
            "happening" => Ok(Self::Happening(number)),
            "talk" => Ok(Self::Talk(number)),
            "fault" => Ok(Self::Fault(number)),
            "gateways" => Ok(Self::Gateways(number)),
            "workers" => Ok(Self::Workers),
            "interrupts" => Ok(Self::Interrupts),
            "keepalives" => Ok(Self::Keepalives),
            "counters" => Ok(Self::Counters),
            "large-routes" => Ok(Self::LargeRoutes),
            "calm" => Ok(Self::Calm),
            "patience" => Ok(Self::Patience),
            _ => Err(format!("{text:?} is nothing that can be left out")),
        }
    }
}

impl fmt::Display for Cuts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, cut) in self.0.iter().enumerate() {
            write!(f, "{}{cut}", if n == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl FromStr for Cuts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').filter(|cut| !cut.is_empty()).map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::draw;
    use super::*;

    #[test]
    fn cuts_are_read_as_they_are_written() {
        let all = Cuts(Cuts::of(&draw(3)));
        assert_eq!(all.to_string().parse(), Ok(all));
        assert!("happening:x".parse::<Cuts>().is_err() && "sense".parse::<Cuts>().is_err());
    }

    #[test]
    fn without_everything_nothing_happens() {
        for seed in 0..200 {
            let mut scenario = draw(seed);
            Cuts(Cuts::of(&scenario)).apply(&mut scenario);
            assert!(scenario.happenings.is_empty() && scenario.talks.is_empty());
            assert_eq!(scenario.gateways.len(), if scenario.nested { 4 } else { 2 });
            assert_eq!(format!("{:?}", scenario.network), format!("{:?}", Faults::default()));
        }
    }
}
