//! How fast each provider seals and opens, with each suite that it has. The tables have nanoseconds per packet and
//! gigabytes per second for lone packets, trains and bursts of mixed lengths. They also have the ratio to aws-lc in the
//! same rounds.
//!
//!     cargo bench -p ringfort-aead [-- [--rounds N] [NAME...]]
//!
//! NAME is a suite or a provider: the others are left out, except aws-lc, which everything is compared with.
//! The ratios are what to compare between machines and days; the nanoseconds are this machine's, now.

mod measure;
mod table;

use std::process::ExitCode;

use ringfort_aead::{PACKET_SIZES, Shape};

use measure::{Contender, Options};

/// A lone packet, a short burst, a super-packet of 64 KiB at full size.
const COUNTS: [usize; 3] = [1, 8, 44];
/// The range of lengths in a mixed burst, in bytes of plaintext.
const MIXED: std::ops::RangeInclusive<usize> = 64..=1420;
/// Packets in the mixed bursts.
const MIXED_COUNTS: [usize; 3] = [4, 16, 44];

fn main() -> ExitCode {
    let (options, names) = match read(std::env::args().skip(1)) {
        Ok(read) => read,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let trains = PACKET_SIZES.iter().flat_map(|&len| COUNTS.iter().map(move |&count| Shape::Train { len, count }));
    let bursts = MIXED_COUNTS.iter().map(|&count| Shape::burst(MIXED, count));
    let shapes: Vec<Shape> = trains.chain(bursts).collect();
    println!("{} rounds of {} ms for each cell, interleaved\n", options.rounds, options.round.as_millis());
    for suite in ringfort_aead::Suite::ALL {
        let contenders: Vec<Contender> = Contender::all(suite).filter(|contender| contender.is_named(&names)).collect();
        if contenders.iter().any(|contender| !contender.is_reference()) || names.is_empty() {
            let results: Vec<_> =
                shapes.iter().map(|shape| measure::interleaved(options, &contenders, shape)).collect();
            print!("{}", table::Tables { suite, contenders: &contenders, shapes: &shapes, results: &results });
        }
    }
    ExitCode::SUCCESS
}

/// Options and names. Cargo adds `--bench`.
fn read(arguments: impl Iterator<Item = String>) -> Result<(Options, Vec<String>), String> {
    let (mut options, mut names) = (Options::default(), Vec::new());
    let mut arguments = arguments.filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--rounds" => {
                let rounds = arguments.next().and_then(|rounds| rounds.parse().ok()).filter(|&rounds| rounds > 0);
                options.rounds = rounds.ok_or("--rounds needs a number of at least 1")?;
            }
            name if Contender::is_known(name) => names.push(argument),
            _ => return Err(format!("{argument:?} is no option, no suite and no provider; --rounds N [NAME...]")),
        }
    }
    Ok((options, names))
}
