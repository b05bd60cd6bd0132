//! The results of a session: what is in the file, and what may be said about it.

pub mod files;
pub mod model;
pub mod stamp;
pub mod stats;
pub mod summary;

use std::path::Path;

use ringfort_testbed::{Context, Error, Result};
use serde::Deserialize;

use crate::interrupt;
pub use model::Results;
use model::{SCHEMA, SCHEMA_VERSION};

/// Writes a file of results as a whole or not at all.
///
/// # Errors
/// The directory is missing or full, or this was interrupted.
pub fn write(path: &Path, contents: &str) -> Result<()> {
    let _whole = interrupt::put_off()?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    let partial = path.with_file_name(name);
    let written = std::fs::write(&partial, contents).and_then(|()| std::fs::rename(&partial, path));
    if written.is_err() {
        // What failed is reported; there may be nothing to remove.
        let _ = std::fs::remove_file(&partial);
    }
    written.context(format_args!("writing {}", path.display()))
}

/// The time of day: RFC 3339 with whole seconds, UTC.
pub fn now() -> String {
    let now = jiff::Timestamp::now();
    now.round(jiff::Unit::Second).unwrap_or(now).to_string()
}

/// What every version of the file has.
#[derive(Deserialize)]
struct Head {
    schema: String,
    schema_version: u32,
}

/// Whether the contents of a file are of this kind, and of the version that this program reads.
fn check_head(text: &str, schema: &str, version: u32) -> Result<()> {
    let head: Head = serde_json::from_str(text).context("this is not a file of results of ringfort-bench")?;
    if head.schema != schema {
        return Err(Error::new(format!("its schema is {:?}, not {schema:?}", head.schema)));
    }
    if head.schema_version != version {
        let found = head.schema_version;
        let message = format!("it has schema version {found}, and this program reads version {version}");
        return Err(Error::new(message));
    }
    Ok(())
}

impl Results {
    /// Reads a file of this version.
    ///
    /// # Errors
    /// It cannot be read, is none of ours, or of another version.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).context(format_args!("reading {}", path.display()))?;
        Self::parse(&text).context(path.display())
    }

    /// The contents of such a file.
    ///
    /// # Errors
    /// As [`Results::load`].
    pub fn parse(text: &str) -> Result<Self> {
        check_head(text, SCHEMA, SCHEMA_VERSION)?;
        let mut results: Self = serde_json::from_str(text).context("it does not follow the schema")?;
        results.summary = summary::summarise(&results);
        Ok(results)
    }

    /// The contents of such a file.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("the model has string keys and finite numbers only") + "\n"
    }
}
