//! TCP over one connection through pairs of the same implementation, interleaved so that what else the machine does
//! falls on all of them alike.

use std::time::Duration;

use clap::{Args, ValueEnum};
use ringfort_testbed::daemon::Program;
use ringfort_testbed::tcp::{self, Amount};
use ringfort_testbed::tunnel::Peering;
use ringfort_testbed::{Context, Family, Implementation, Result, Tunnel};

use crate::report::{mebibytes, megabits, table};
use crate::{Gateway, stage};

/// What a person may choose.
#[derive(Args, Debug)]
pub struct Options {
    /// How long each run sends
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// How many runs each implementation gets
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Who takes part
    #[arg(long, value_delimiter = ',', default_values = ["ringfort", "wireguard-go", "boringtun"])]
    contenders: Vec<Contender>,
    #[command(flatten)]
    gateway: Gateway,
}

/// An implementation by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Contender {
    Ringfort,
    WireguardGo,
    Boringtun,
    Gotatun,
}

impl Contender {
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn program(self, gateway: &Gateway) -> Result<Program> {
        match self {
            Self::Ringfort => gateway.program(),
            Self::WireguardGo => Program::peer(Implementation::WireguardGo),
            Self::Boringtun => Program::peer(Implementation::Boringtun),
            Self::Gotatun => Program::peer(Implementation::Gotatun),
        }
    }
}

/// One run of one contender.
#[derive(Clone, Copy, Debug)]
struct Sample {
    megabits_per_s: f64,
    /// Peak memory of the sending and of the receiving gateway.
    memory_kib: [Option<u64>; 2],
}

/// Runs all rounds and prints the table.
pub fn run(options: &Options) -> Result<()> {
    let programs = options.contenders.iter().map(|contender| contender.program(&options.gateway));
    let programs: Vec<Program> = programs.collect::<Result<_>>()?;
    let time = Duration::from_secs(options.seconds);
    let mut samples = vec![Vec::new(); programs.len()];
    for round in 1..=options.rounds {
        for ((program, contender), samples) in programs.iter().zip(&options.contenders).zip(&mut samples) {
            let sample = measure(&contender.name(), program, time).context(contender.name())?;
            println!("  {round}/{} {:12} {}", options.rounds, contender.name(), megabits(sample.megabits_per_s));
            samples.push(sample);
        }
    }
    print_table(options, &samples);
    Ok(())
}

fn measure(name: &str, program: &Program, time: Duration) -> Result<Sample> {
    let mut tunnel = Tunnel::connected([program, program], &Peering::default())?;
    tunnel.wait_until_open(0, Duration::from_secs(15))?;
    let address = tunnel.sides[1].inner(Family::V4);
    let describe = |bytes, elapsed: Duration| megabits(bytes as f64 * 8.0 / 1e6 / elapsed.as_secs_f64());
    let report = stage::run(name, time, describe, |progress| {
        tcp::transfer(tunnel.namespace(0), tunnel.namespace(1), address, Amount::Time(time), progress)
    })?;
    let memory_kib = [0, 1].map(|side| tunnel.sides[side].daemon().memory_peak_kib());
    Ok(Sample { megabits_per_s: report.megabits_per_s(), memory_kib })
}

fn print_table(options: &Options, samples: &[Vec<Sample>]) {
    let rates: Vec<Vec<f64>> = samples.iter().map(|runs| sorted(runs.iter().map(|run| run.megabits_per_s))).collect();
    let reference = options.contenders.iter().position(|contender| *contender == Contender::WireguardGo);
    let reference = reference.map(|position| median(&rates[position]));
    let header = ["TCP, one connection", "median", "min – max", "× wireguard-go", "peak memory: sender", "receiver"];
    let mut rows = table(&header);
    for ((contender, rates), runs) in options.contenders.iter().zip(&rates).zip(samples) {
        let peak = |side: usize| runs.iter().filter_map(|run| run.memory_kib[side]).max();
        rows.add_row([
            contender.name(),
            megabits(median(rates)),
            format!("{:.0} – {:.0}", rates[0], rates[rates.len() - 1]),
            reference.map_or("–".to_owned(), |reference| format!("{:.2}", median(rates) / reference)),
            mebibytes(peak(0)),
            mebibytes(peak(1)),
        ]);
    }
    println!("\n{rows}");
    println!(
        "{} runs of {} s each, interleaved; every byte verified by the receiver.",
        options.rounds, options.seconds
    );
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The middle of sorted values, or the mean of the two in the middle.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&sorted([3.0, 1.0, 2.0].into_iter())), 2.0);
        assert_eq!(median(&sorted([4.0, 1.0, 2.0, 3.0].into_iter())), 2.5);
    }
}
