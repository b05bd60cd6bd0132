//! One seed from beginning to end, whatever happens on the way.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::scenario::{Cut, Cuts, Scenario, draw};
use crate::trace::Trace;
use crate::world::{Summary, World};

/// A run that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was wrong.
    pub what: String,
    /// The last steps.
    pub trace: Trace,
    /// How many steps there were.
    pub steps: u64,
    /// When it failed, in virtual time from the start.
    pub after: std::time::Duration,
}

/// The scenario of a seed without what is left out.
#[must_use]
pub fn scenario(seed: u64, cuts: &Cuts) -> Scenario {
    let mut scenario = draw(seed);
    cuts.apply(&mut scenario);
    scenario
}

/// Runs one seed.
///
/// # Errors
/// What was wrong: an invariant, or a panic.
pub fn run(seed: u64, cuts: &Cuts) -> Result<Summary, Box<Failure>> {
    let mut world = World::new(scenario(seed, cuts));
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    let what = match result {
        Ok(Ok(())) => return Ok(world.summary()),
        Ok(Err(what)) => what,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            format!("panic: {}", text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words"))
        }
    };
    let summary = world.summary();
    let trace = std::mem::take(&mut world.out.trace);
    // What is dropped now is in the middle of something.
    std::mem::forget(world);
    Err(Box::new(Failure { what, trace, steps: summary.steps, after: summary.lasted }))
}

/// Leaves out of a failing run what it fails without. Returns all that is left out, and how it then fails.
#[must_use]
pub fn shrink(seed: u64, mut cuts: Cuts, mut failure: Box<Failure>) -> (Cuts, Box<Failure>) {
    let candidates: Vec<Cut> = Cuts::of(&scenario(seed, &Cuts::default()));
    // Once more from the start: what could not be left out may be when something else is.
    for cut in candidates.iter().chain(&candidates) {
        if cuts.0.contains(cut) {
            continue;
        }
        let mut fewer = cuts.clone();
        fewer.0.push(*cut);
        if let Err(still) = run(seed, &fewer)
            && kind(&still.what) == kind(&failure.what)
        {
            (cuts, failure) = (fewer, still);
        }
    }
    (cuts, failure)
}

/// What is wrong, without the numbers in it.
fn kind(what: &str) -> String {
    what.chars().filter(|c| !c.is_ascii_digit()).take(40).collect()
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
