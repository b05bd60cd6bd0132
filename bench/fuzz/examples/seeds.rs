//! Writes the seeds of every target into its corpus directory, and removes those that are no seeds any more.
//!
//!     cargo run -p ringfort-fuzz --example seeds

use std::{fs, io};

use ringfort_fuzz::TARGETS;

fn main() -> io::Result<()> {
    for target in TARGETS {
        let corpus = target.corpus();
        fs::create_dir_all(&corpus)?;
        for entry in fs::read_dir(&corpus)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("seed-") {
                fs::remove_file(entry.path())?;
            }
        }
        let seeds = (target.seeds)();
        for seed in &seeds {
            fs::write(corpus.join(seed.file_name()), &seed.bytes)?;
        }
        println!("{}: {} seeds", target.name, seeds.len());
    }
    Ok(())
}
