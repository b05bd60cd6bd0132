//! The checks, by what they look at. Each is a function of the machine and of whom it is about.

mod cgroup;
mod container;
mod cpu;
mod io_uring;
mod kernel;
mod memory;
mod network;
mod role;
mod sandbox;

use super::finding::Finding;
use super::subject::Subject;
use super::system::System;

pub(super) use cpu::card_node;
pub(super) use memory::memory_of;
pub(super) use network::default_device;

/// All of them, in the order in which a start would fail. The first says whom they are about.
pub(super) fn all(system: &System, subject: &Subject) -> Vec<Finding> {
    let groups: [fn(&System, &Subject) -> Vec<Finding>; 9] = [
        role::running,
        kernel::check,
        io_uring::check,
        container::check,
        memory::check,
        network::check,
        cpu::check,
        sandbox::check,
        role::check,
    ];
    groups.iter().flat_map(|check| check(system, subject)).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::finding::Severity;
    use super::*;

    /// How bad a check takes it, and what it says.
    #[track_caller]
    pub fn found<'a>(findings: &'a [Finding], check: &str) -> (Severity, &'a Finding) {
        let finding = findings.iter().find(|finding| finding.check == check);
        let finding = finding.unwrap_or_else(|| panic!("no {check} among {findings:#?}"));
        if finding.severity >= Severity::Warning {
            assert!(!finding.why.is_empty() && !finding.remedy.is_empty(), "what is wrong has a remedy: {finding:?}");
        }
        (finding.severity, finding)
    }
}
