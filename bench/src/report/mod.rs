//! What people look at: tables in a terminal, a page with plots, and the comparison of two files.

mod cautions;
mod csv;
pub mod diff;
mod elements;
pub mod html;
pub mod other;
mod over_time;
mod pictures;
mod plots;
mod sections;
mod sheet;
mod soak;
pub mod terminal;

use std::path::{Path, PathBuf};

use clap::Args;
use ringfort_testbed::{Context, Error, Result};
use serde::Deserialize;

use crate::results::model::Stage;
use crate::results::{self, Results};
use crate::schema;
use crate::text::show;
use other::Any;

/// What a person may choose.
#[derive(Args, Debug)]
pub struct Options {
    /// A file of results, of any command that writes one; a second one of the same command is compared with it
    #[arg(required_unless_present = "schema", num_args = 1..=2, value_name = "FILE.json")]
    files: Vec<PathBuf>,
    /// Write a page with plots of the only file
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,
    /// Put the stages that `stages --json` wrote on the page of a comparison, too
    #[arg(long, value_name = "FILE.json", requires = "html")]
    stages: Option<PathBuf>,
    /// Print every figure of the only file as CSV
    #[arg(long, conflicts_with = "html")]
    csv: bool,
    /// Every figure, also those within the noise
    #[arg(long)]
    all: bool,
    /// Print the JSON Schema of all files of results
    #[arg(long, exclusive = true)]
    schema: bool,
}

/// Shows one file, or compares two.
pub fn run(options: &Options) -> Result<()> {
    if options.schema {
        show(schema::text().trim_end());
        return Ok(());
    }
    let mut loaded: Vec<Any> = options.files.iter().map(|path| Any::load(path)).collect::<Result<_>>()?;
    if let Some(path) = &options.stages {
        let Any::Session(results) = &mut loaded[0] else {
            return Err(Error::new("--stages goes on the page of a file of `compare`"));
        };
        results.stages = load_stages(path)?;
    }
    match (loaded.as_slice(), &options.html) {
        ([file], None) if options.csv => show(csv::text(file).trim_end()),
        (_, _) if options.csv => return Err(Error::new("--csv is of one file")),
        ([Any::Session(results)], Some(path)) => write_html(results, path)?,
        ([Any::Other(other)], Some(path)) => results::write(path, &html::page_of_other(other)?)?,
        ([Any::Session(results)], None) => terminal::print(results),
        ([Any::Other(other)], None) => sheet::print(other),
        ([Any::Session(before), Any::Session(after)], None) => diff::print(before, after, options.all)?,
        ([Any::Other(before), Any::Other(after)], None) if before.title() == after.title() => {
            sheet::compare(before, after);
        }
        ([_, _], None) => return Err(Error::new("two files of different commands have nothing to compare")),
        _ => return Err(Error::new("--html renders one file: leave out the second, or --html")),
    }
    Ok(())
}

/// The stages in a file of `ringfort-bench stages`.
fn load_stages(path: &Path) -> Result<Vec<Stage>> {
    /// What of the file belongs on the page.
    #[derive(Deserialize)]
    struct Findings {
        stages: Vec<Stage>,
    }
    let text = std::fs::read_to_string(path).context(format_args!("reading {}", path.display()))?;
    let findings: Findings = serde_json::from_str(&text).context(format_args!("{} has no stages", path.display()))?;
    Ok(findings.stages)
}

/// Writes the page of `results`.
///
/// # Errors
/// It cannot be drawn or written.
pub fn write_html(results: &Results, path: &Path) -> Result<()> {
    results::write(path, &html::page(results)?)
}

/// `NAME-TIME.json` in a directory.
pub fn file_in(directory: &Path, name: &str, results: &Results) -> PathBuf {
    let time: String = results.started.chars().filter(|character| !"-:".contains(*character)).collect();
    directory.join(format!("{name}-{time}.json"))
}

/// Writes a file of results, and its page beside it, and says where.
///
/// # Errors
/// The page cannot be drawn, or one of them not written.
pub fn write_both(results: &Results, json: &Path) -> Result<()> {
    let html = json.with_extension("html");
    results::write(json, &results.to_json())?;
    write_html(results, &html)?;
    println!("results: {}\nreport:  {}", json.display(), html.display());
    Ok(())
}

#[cfg(test)]
pub mod synthetic;
