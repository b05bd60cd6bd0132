//! What people look at: tables in a terminal, a page with plots, and the comparison of two files.

pub mod diff;
mod elements;
pub mod html;
mod plots;
mod sections;
pub mod terminal;

use std::path::{Path, PathBuf};

use clap::Args;
use ringfort_testbed::{Context, Error, Result};
use serde::Deserialize;

use crate::results::model::Stage;
use crate::results::{self, Results};

/// What a person may choose.
#[derive(Args, Debug)]
pub struct Options {
    /// A file of results; a second one is compared with it
    #[arg(required = true, num_args = 1..=2, value_name = "FILE.json")]
    files: Vec<PathBuf>,
    /// Write a page with plots of the only file
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,
    /// Put the stages that `stages --json` wrote on that page, too
    #[arg(long, value_name = "FILE.json", requires = "html")]
    stages: Option<PathBuf>,
    /// Every figure, also those within the noise
    #[arg(long)]
    all: bool,
}

/// Shows one file, or compares two.
pub fn run(options: &Options) -> Result<()> {
    let mut loaded: Vec<Results> = options.files.iter().map(|path| Results::load(path)).collect::<Result<_>>()?;
    if let Some(path) = &options.stages {
        loaded[0].stages = load_stages(path)?;
    }
    match (loaded.as_slice(), &options.html) {
        ([results], Some(path)) => write_html(results, path),
        ([results], None) => {
            terminal::print(results);
            Ok(())
        }
        ([before, after], None) => diff::print(before, after, options.all),
        _ => Err(Error::new("--html renders one file: leave out the second, or --html")),
    }
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

/// Writes `NAME-TIME.json` and `NAME-TIME.html` into a directory, which is made if need be, and says where.
///
/// # Errors
/// The page cannot be drawn, or one of them not written.
pub fn write_both(results: &Results, directory: &Path, name: &str) -> Result<()> {
    std::fs::create_dir_all(directory).context(format_args!("making {}", directory.display()))?;
    let time: String = results.started.chars().filter(|character| !"-:".contains(*character)).collect();
    let [json, html] = ["json", "html"].map(|extension| directory.join(format!("{name}-{time}.{extension}")));
    results::write(&json, &results.to_json())?;
    write_html(results, &html)?;
    println!("results: {}\nreport:  {}", json.display(), html.display());
    Ok(())
}

#[cfg(test)]
pub mod synthetic;
