//! `ringfort doctor`: what of this machine keeps a gateway from starting, or from being fast.
//!
//! ```text
//!   System (files, facts) ─┐
//!                          ├─► checks ─► findings ─► Report: text or JSON
//!   Subject (whom) ────────┘
//! ```
//!
//! A check is a function of the two and asks nobody else, so tests show it machines that we do not have.

mod checks;
mod ethtool;
mod finding;
mod subject;
mod system;

use std::path::Path;

pub use finding::{Report, Severity};
use subject::Subject;
use system::{Facts, System};

/// The CPUs on the NUMA node of the card of the default route; empty if there is one node, or it is not known.
#[must_use]
pub fn cpus_near_the_card() -> Vec<usize> {
    checks::card_node(&System::at(Path::new("/"), Facts::default())).map_or_else(Vec::new, |node| node.cpus)
}

/// The bytes that we and all others here have together: what our control group allows, or those of the machine if they
/// are fewer.
#[must_use]
pub fn memory_for_us() -> Option<usize> {
    let system = System::at(Path::new("/"), Facts::default());
    usize::try_from(checks::memory_of(&system, Subject::OURSELVES)?).ok()
}

/// Looks at this machine, and at the daemon that serves `interface`, if one does.
#[must_use]
pub fn examine(interface: Option<&str>) -> Report {
    let mut system = System::at(Path::new("/"), Facts::ask());
    system.facts.nic = checks::default_device(&system).and_then(|device| ethtool::ask(&device).ok());
    let subject = Subject::find(interface, &system);
    Report::new(interface.map(str::to_owned), subject.runs(), checks::all(&system, &subject))
}
