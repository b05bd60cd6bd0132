//! Prints what this machine's providers measure, and which ones would be chosen.
//! `cargo run --release -p ringfort-aead --example choose [auto|NAME]`

use std::error::Error;
use std::time::Instant;

use ringfort_aead::Selection;

fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1);
    let selection: Selection = name.as_deref().unwrap_or("auto").parse()?;
    let begin = Instant::now();
    let choice = selection.resolve()?;
    let elapsed_ms = begin.elapsed().as_millis();
    println!("{choice}\nself-tests and measurement took {elapsed_ms} ms");
    Ok(())
}
