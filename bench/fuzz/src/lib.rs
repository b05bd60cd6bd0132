//! What hostile bytes meet, as functions from bytes to nothing that panic if an invariant breaks.
//!
//! Each target is a plain function, so the same code runs in several ways:
//!
//! * `scripts/fuzz TARGET [SECONDS]` has libFuzzer search, which sees what an input reaches (nightly Rust; `harness/`);
//! * `cargo test -p ringfort-fuzz` replays the corpus and a fixed number of its mutations, on stable Rust, as CI does;
//! * `cargo run --release -p ringfort-fuzz --example search TARGET [SECONDS]` goes on mutating without nightly Rust;
//! * `cargo run -p ringfort-fuzz --example replay TARGET FILE` replays one file.
//!
//! A target says more than "no panic": it holds the code against an oracle (a table of the paper, a list instead of a
//! trie, a set instead of a window), or against itself (what is cut up is what was merged).
//!
//! The corpus lies in `corpus/<target>/`. Files called `seed-*` are made by `cargo run -p ringfort-fuzz --example
//! seeds` from [`Target::seeds`]. libFuzzer found the others, and named them by their hash: each reaches something
//! that no smaller file does. `README.md` says how far the corpora reach, and how long the search was.

mod aead;
mod door;
mod gateway;
mod input;
pub mod mutate;
mod oracle;
mod packets;
mod remote;
mod rng;
mod targets;
mod told;
mod written;

pub use targets::TARGETS;

/// A piece of the gateway that takes bytes from outside, and what must be true of it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of its corpus directory, and the argument of the examples.
    pub name: &'static str,
    /// Longest input that is worth trying, in bytes.
    pub len_max: usize,
    /// Panics if an invariant does not hold.
    pub run: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Seed>,
}

/// An input of a corpus that is made rather than found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// The end of the file's name.
    pub name: &'static str,
    /// The file's content.
    pub bytes: Vec<u8>,
}

impl Target {
    /// The target of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Where its corpus lies.
    #[must_use]
    pub fn corpus(&self) -> std::path::PathBuf {
        [env!("CARGO_MANIFEST_DIR"), "corpus", self.name].iter().collect()
    }
}

impl Seed {
    pub(crate) fn new(name: &'static str, bytes: Vec<u8>) -> Self {
        Self { name, bytes }
    }

    /// The name of its file in the corpus.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("seed-{}", self.name)
    }
}
