//! Mutates the corpus of a target for as long as it is told to, with another seed in each run, and keeps an input that
//! the target does not survive.
//!
//!     cargo run --release -p ringfort-fuzz --example search TARGET [SECONDS]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs, io};

use ringfort_fuzz::mutate::Mutator;
use ringfort_fuzz::{TARGETS, Target};

/// Unless another time is given.
const SECONDS_DEFAULT: u64 = 60;

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let target = arguments.next().and_then(|name| Target::named(&name));
    let seconds = arguments.next().map_or(Ok(SECONDS_DEFAULT), |text| text.parse());
    let (Some(target), Ok(seconds)) = (target, seconds) else {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("search TARGET [SECONDS]; the targets are {}", names.join(", "));
        return ExitCode::from(2);
    };
    match search(target, Duration::from_secs(seconds)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("the corpus of {}: {error}", target.name);
            ExitCode::FAILURE
        }
    }
}

fn search(target: &Target, time: Duration) -> io::Result<ExitCode> {
    let mut corpus = Vec::new();
    for entry in fs::read_dir(target.corpus())? {
        corpus.push(fs::read(entry?.path())?);
    }
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let mut mutator = Mutator::new(&corpus, target.len_max, seed);
    let begin = Instant::now();
    let mut count = 0_u64;
    while begin.elapsed() < time {
        let input = mutator.next_input();
        if catch_unwind(AssertUnwindSafe(|| (target.run)(&input))).is_err() {
            let kept = env::temp_dir().join(format!("{}-failed-{seed}-{count}", target.name));
            fs::write(&kept, &input)?;
            println!("{} failed on input {count}; it is in {}", target.name, kept.display());
            return Ok(ExitCode::FAILURE);
        }
        count += 1;
    }
    println!("{}: {count} inputs from seed {seed} in {} s, and none failed", target.name, time.as_secs());
    Ok(ExitCode::SUCCESS)
}
