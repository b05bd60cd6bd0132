//! Runs a target once with the content of each file: to see an input fail again.
//!
//!     cargo run -p ringfort-fuzz --example replay TARGET FILE...

use std::process::ExitCode;
use std::{env, fs};

use ringfort_fuzz::{TARGETS, Target};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let Some((target, files)) = arguments.split_first().and_then(|(name, files)| Some((Target::named(name)?, files)))
    else {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("replay TARGET FILE...; the targets are {}", names.join(", "));
        return ExitCode::from(2);
    };
    for file in files {
        let input = match fs::read(file) {
            Ok(input) => input,
            Err(error) => {
                eprintln!("cannot read {file}: {error}");
                return ExitCode::FAILURE;
            }
        };
        println!("{file}: {} bytes", input.len());
        (target.run)(&input);
    }
    ExitCode::SUCCESS
}
