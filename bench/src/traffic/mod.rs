//! Loads of the lab's own generator through a tunnel: one at a set rate ([`udp`]), and the search for the rates that a
//! gateway can carry ([`rfc2544`]).

mod device;
mod numbers;
mod progress;
pub mod rfc2544;
mod shape;
pub mod udp;

use std::path::Path;

use ringfort_testbed::{Context, Result};
use serde::Serialize;

/// Writes results as JSON, to standard output for `-`.
fn write_json(path: &Path, results: &impl Serialize) -> Result<()> {
    let attempt = format!("writing {}", path.display());
    let mut text = serde_json::to_string_pretty(results).context(&attempt)?;
    text.push('\n');
    if path == Path::new("-") {
        print!("{text}");
        return Ok(());
    }
    std::fs::write(path, text).context(attempt)
}
