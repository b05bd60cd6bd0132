//! Loads of the lab's own generator through a tunnel: one at a set rate ([`udp`]), and the search for the rates that a
//! gateway can carry ([`rfc2544`]).

pub mod device;
mod gateways;
pub mod numbers;
mod progress;
pub mod rfc2544;
mod shape;
pub mod udp;

use std::path::Path;

use ringfort_testbed::{Context, Error, Result};
use serde::Serialize;

use crate::compare::contenders::Contender;
use crate::results::stamp::Stamp;
use crate::results::{self, model};

/// What a file of results begins with.
const SCHEMA: &str = "ringfort-traffic";
/// Raised when a field changes its meaning or goes.
const SCHEMA_VERSION: u32 = 1;

/// A file of results.
#[derive(Serialize)]
struct File<T> {
    schema: &'static str,
    schema_version: u32,
    /// When it was written, RFC 3339.
    finished: String,
    command: Vec<String>,
    stamp: Stamp,
    /// What the load went through.
    contender: model::Contender,
    #[serde(flatten)]
    results: T,
}

/// Writes results as JSON, to standard output for `-`.
pub fn write_json(path: &Path, schema: &'static str, contender: &Contender, results: &impl Serialize) -> Result<()> {
    let file = File {
        schema,
        schema_version: SCHEMA_VERSION,
        finished: results::now(),
        command: std::env::args().collect(),
        stamp: Stamp::take(),
        contender: contender.describe(),
        results,
    };
    let mut text = serde_json::to_string_pretty(&file).context("writing results as JSON")?;
    text.push('\n');
    if path == Path::new("-") {
        print!("{text}");
        return Ok(());
    }
    results::write(path, &text)
}

/// Refuses a file of results that cannot be written before an hour of measuring, not after it.
pub fn check_writable(path: Option<&Path>) -> Result<()> {
    let Some(path) = path.filter(|path| *path != Path::new("-")) else { return Ok(()) };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.is_dir() || !directory.is_dir() {
        return Err(Error::new(format!("--json {}: there has to be a directory, and a name in it", path.display())));
    }
    Ok(())
}
