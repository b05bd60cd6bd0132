//! House rules that a program can check: widths, lengths, one style of modules and imports, plain prose.
//!
//! Each rule in [`RULES`] says why it is there. Each problem says where it is and what to do. The test `tests/tree.rs`
//! runs every rule over the files that Git knows, so `cargo nextest run -p ringfort-tidy` checks a change in a second.
//! What rustfmt and clippy can check is left to them.
//!
//! A file may be excepted from a rule in [`allowed`], with a reason.
#![forbid(unsafe_code)]

pub mod allowed;
mod modules;
mod prose;
mod rules;
mod rust;
mod tree;

pub use crate::rules::{RULES, Rule};
pub use crate::tree::{File, Tree};

/// What a rule found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, from the root of the repository.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, and what to do about it.
    pub text: String,
}

impl Problem {
    fn new(file: &File, line: usize, text: impl Into<String>) -> Self {
        Self { path: file.path.clone(), line, text: text.into() }
    }
}

/// What `rule` finds in `tree`, without what is [allowed]. An exception that excepts nothing is a problem as well.
pub fn check(rule: &Rule, tree: &Tree) -> Vec<Problem> {
    let (excepted, mut found): (Vec<_>, Vec<_>) =
        (rule.check)(tree).into_iter().partition(|problem| allowed::covers(rule.name, &problem.path));
    for exception in allowed::PERMANENT.iter().filter(|exception| exception.rule == rule.name) {
        if !excepted.iter().any(|problem| exception.covers(rule.name, &problem.path)) {
            found.push(Problem {
                path: exception.path.to_owned(),
                line: 1,
                text: format!(
                    "nothing needs the exception from `{}`: remove it from bench/tidy/src/allowed.rs",
                    rule.name
                ),
            });
        }
    }
    found
}
