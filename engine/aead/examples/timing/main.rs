//! Whether the time that a provider takes depends on secrets, by the method of dudect (Reparaz, Balasch, Verbauwhede:
//! "dude, is my code constant time?", 2017). It does the same operation on inputs of two classes, in random order, and
//! Welch's t-test on the times.
//!
//!     cargo run --release -p ringfort-aead --example timing [-- [--measurements N] [NAME...]]
//!
//! NAME is a suite or a provider; without one, all of them are tested. |t| below 4.5 is what two equal distributions
//! show; 10 and more they do not show. What lies between is measured again, four times as long: what is real grows with
//! that.
//!
//! Two controls come first: a comparison that stops at the first difference, which has to be found, and a difference
//! that is none, which must not be. If they fail, the machine is too noisy to say anything.
//!
//! **What this cannot say:** that there is no leak. It has seen none, of these inputs, by these times, on this CPU,
//! with this compiler. That no branch and no address depends on a secret can be read in the source only.

mod experiment;
mod welch;

use std::process::ExitCode;

use ringfort_aead::{Provider, Suite};

use experiment::{Control, Experiment, Shape, Subject};
use welch::{Outcome, measure};

const MEASUREMENTS: usize = 200_000;
/// How much longer what is unclear is measured again.
const AGAIN: usize = 4;

fn main() -> ExitCode {
    let (measurements, names) = match read(std::env::args().skip(1)) {
        Ok(read) => read,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    println!("{measurements} measurements each; |t| < 4.5: nothing seen, |t| ≥ 10: a leak");
    if !controls_hold(measurements) {
        println!(
            "The controls failed: this machine cannot tell now. Try again when it is idle, or with more measurements."
        );
        return ExitCode::from(3);
    }
    let mut leaks = 0;
    for subject in Subject::all().filter(|subject| names.iter().all(|name| subject.is_of_kind(name))) {
        for shape in Shape::ALL {
            println!("\n{subject}, {shape}");
            leaks += Experiment::ALL
                .iter()
                .filter(|experiment| leaks_in(**experiment, subject, shape, measurements))
                .count();
        }
    }
    match leaks {
        0 => {
            println!("\nNo dependence on secrets was seen. That is not a proof that there is none.");
            ExitCode::SUCCESS
        }
        _ => {
            println!("\n{leaks} experiments found the time to depend on a secret.");
            ExitCode::FAILURE
        }
    }
}

fn leaks_in(experiment: Experiment, subject: Subject, shape: Shape, measurements: usize) -> bool {
    let mut outcome = measure(experiment.bench(subject, shape), measurements);
    let mut note = "";
    if experiment.is_judged() && outcome.is_unclear() {
        outcome = measure(experiment.bench(subject, shape), AGAIN * measurements);
        note = " (measured again, longer)";
    }
    let leaks = experiment.is_judged() && !outcome.is_clean();
    let verdict = match (experiment.is_judged(), leaks) {
        (false, _) => "not judged: the verdict is no secret",
        (true, true) => "LEAK",
        (true, false) => "nothing seen",
    };
    println!("{}  {verdict}{note}", line(experiment.title(), &outcome));
    leaks
}

fn controls_hold(measurements: usize) -> bool {
    println!("\ncontrols");
    let found = measure(Control::stops_early(), measurements);
    let none = measure(Control::is_equal(), measurements);
    println!("{}  to be found", line("a comparison that stops at the first difference", &found));
    println!("{}  to be clean", line("random tags and random tags", &none));
    found.is_leak() && none.is_clean()
}

fn line(title: &str, outcome: &Outcome) -> String {
    let Outcome { t, mean_ns } = outcome;
    format!("  {title:<52}{:>8.1} ns {:>8.1} ns   |t| = {:>7.2}", mean_ns[0], mean_ns[1], t)
}

/// The number of measurements, and names.
fn read(mut arguments: impl Iterator<Item = String>) -> Result<(usize, Vec<String>), String> {
    let (mut measurements, mut names) = (MEASUREMENTS, Vec::new());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--measurements" => {
                let number = arguments.next().and_then(|number| number.parse().ok()).filter(|&number| number >= 10_000);
                measurements = number.ok_or("--measurements needs a number of at least 10000")?;
            }
            name if name.parse::<Suite>().is_ok() || name.parse::<Provider>().is_ok() => names.push(argument),
            _ => {
                return Err(format!("{argument:?} is no option, no suite and no provider; --measurements N [NAME...]"));
            }
        }
    }
    Ok((measurements, names))
}
