//! The handbook in `docs/`, as programs read it: its pages, the commands in them, and what they say must come of them.
//!
//! ```text
//!   docs/src/*.md ─► Page ─┬─► Block ─► engine/tests/namespaces/handbook runs it
//!                          ├─► Region  ─► packaging/manual writes what is generated
//!                          └─► links, headings ─► tests/links.rs
//! ```
//!
//! **How a block is tested** stands above it, in comments of HTML that readers do not see:
//!
//! | Comment | Means |
//! |---|---|
//! | none | it runs, on the gateway |
//! | `on: laptop` | it runs there |
//! | `before: COMMAND` | this runs before it |
//! | `status: 0 1` | each of its commands ends with one of these |
//! | `in: scripts/NAME` | that script has each of its commands, or is it |
//! | `not run: REASON` | it does not run |
//!
//! A block of `sh` is commands. A block of `console` is commands behind `# `, each with the output that follows. `…` is
//! any text there, and a line of it is any lines. What is in CAPITALS is put in by who runs it.
//!
//! Gateways of the tests are told which cipher to use, by a hidden line: measuring all of them at each start takes
//! longer than all else.
//!
//! A page begins with `scene: tunnel` if the tunnel of `first-tunnel.md` must be there.

#![forbid(unsafe_code)]

mod block;
mod output;
mod page;

pub use block::{Block, Exchange, How, Machine};
pub use output::matches;
pub use page::{Heading, Hyperlink, Page, Region};

use std::path::{Path, PathBuf};

/// The page that the tunnel of all others comes from.
pub const TUNNEL: &str = "first-tunnel.md";

/// The root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where the pages are.
#[must_use]
pub fn directory() -> PathBuf {
    root().join("docs/src")
}

/// All pages, in the order of the table of contents.
///
/// # Errors
/// One cannot be read, or is wrong: the text says where, and what.
pub fn pages() -> Result<Vec<Page>, String> {
    let contents = read(&directory().join("SUMMARY.md"))?;
    let contents = Page::parse("SUMMARY.md", &contents)?;
    contents.links().iter().map(|link| page(&link.target)).collect()
}

/// One page, by the name of its file.
///
/// # Errors
/// As [`pages`].
pub fn page(file: &str) -> Result<Page, String> {
    Page::parse(file, &read(&directory().join(file))?)
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}
