//! io_uring: whether we may have a ring, and what it can do.

use super::{Finding, Subject, System};
use crate::doctor::system::{CAP_SYS_ADMIN, NoRing};

/// It is this process that was refused a ring. A daemon that runs has one.
const OURS: &str = "self";
const SWITCH: &str = "proc/sys/kernel/io_uring_disabled";

pub(super) fn check(system: &System, _: &Subject) -> Vec<Finding> {
    let mut findings = vec![permission(system)];
    findings.extend(operations(system));
    findings
}

fn permission(system: &System) -> Finding {
    const CHECK: &str = "io_uring.permission";
    const WHY: &str = "every packet goes through io_uring: without it the gateway does not start";
    // 1 leaves it to CAP_SYS_ADMIN and to a group.
    match (system.number(SWITCH).unwrap_or(0), &system.facts.ring) {
        (2, _) => Finding::fault(CHECK, "io_uring is switched off for everybody (kernel.io_uring_disabled = 2)", WHY)
            .remedy("sysctl -w kernel.io_uring_disabled=1"),
        (1, Err(NoRing::Forbidden)) if !system.has_capability(OURS, CAP_SYS_ADMIN) => {
            let group = system.number("proc/sys/kernel/io_uring_group").unwrap_or(-1);
            let what = format!("io_uring is for CAP_SYS_ADMIN and group {group} only (kernel.io_uring_disabled = 1)");
            Finding::fault(CHECK, what, WHY)
                .remedy("sysctl -w kernel.io_uring_group=GID, with the group that the gateway runs in")
        }
        (_, Err(NoRing::Forbidden)) => {
            let is_filtered = system.status(OURS, "Seccomp").is_some_and(|mode| mode != "0");
            let (what, remedy) = if is_filtered {
                (
                    "a seccomp filter forbids io_uring, as the default profiles of container runtimes do",
                    "use /usr/share/ringfort/container/seccomp.json (docker run --security-opt seccomp=FILE), or allow \
                     io_uring_setup, io_uring_enter and io_uring_register (SystemCallFilter= in a service)",
                )
            } else {
                ("the kernel refuses io_uring", "use a kernel that is built with CONFIG_IO_URING")
            };
            Finding::fault(CHECK, what, WHY).remedy(remedy)
        }
        (_, Err(NoRing::Other(error))) => Finding::fault(CHECK, format!("a ring could not be made: {error}"), WHY)
            .remedy("see what the error says; mostly a limit is in the way (ulimit -l, ulimit -n)"),
        (_, Ok(_) | Err(NoRing::Missing(_))) => Finding::good(CHECK, "io_uring may be used"),
    }
}

fn operations(system: &System) -> Option<Finding> {
    const CHECK: &str = "io_uring.operations";
    match &system.facts.ring {
        Err(NoRing::Missing(what)) => {
            let why = "the data path cannot do without it";
            let finding = Finding::fault(CHECK, format!("this kernel's io_uring lacks {what}"), why);
            Some(finding.remedy("install Linux 6.12 or later, or allow the operation if a filter forbids it"))
        }
        Err(_) => None,
        Ok(capabilities) => {
            let optional = [
                (capabilities.read_multishot, "READ_MULTISHOT (Linux 6.7)"),
                (capabilities.writev_fixed, "WRITEV_FIXED (Linux 6.15)"),
            ];
            let missing: Vec<&str> = optional.iter().filter(|(has, _)| !has).map(|&(_, name)| name).collect();
            Some(if missing.is_empty() {
                Finding::good(CHECK, "io_uring has all operations that are used")
            } else {
                let why = "another operation does the same, with more work for each packet";
                Finding::note(CHECK, format!("io_uring lacks {}", missing.join(" and ")), why)
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::Severity;
    use super::super::super::subject::fake::planned;
    use super::super::super::system::fake::Machine;
    use super::super::tests::found;
    use super::*;

    fn of(machine: &Machine) -> Vec<Finding> {
        check(&machine.system, &planned(&[0]))
    }

    fn forbidden() -> Machine {
        Machine::new().facts(|facts| facts.ring = Err(NoRing::Forbidden))
    }

    #[test]
    fn all_is_well() {
        let findings = of(&Machine::new().file(SWITCH, "0\n"));
        assert!(findings.len() == 2 && findings.iter().all(|finding| finding.severity == Severity::Good));
    }

    #[test]
    fn who_forbids_it_is_named() {
        let off = forbidden().file(SWITCH, "2\n");
        let group = forbidden().file(SWITCH, "1\n").file("proc/sys/kernel/io_uring_group", "-1\n");
        let group = group.file("proc/self/status", "CapEff:\t0000000000001000\nSeccomp:\t0\n");
        let filter = forbidden().file(SWITCH, "0\n").file("proc/self/status", "Seccomp:\t2\n");
        let other = Machine::new().facts(|facts| facts.ring = Err(NoRing::Other("ENOMEM".to_owned())));
        for (machine, word) in
            [(off, "= 2"), (group, "group -1"), (filter, "seccomp"), (forbidden(), "kernel refuses"), (other, "ENOMEM")]
        {
            let findings = of(&machine);
            let (severity, finding) = found(&findings, "io_uring.permission");
            assert!(severity == Severity::Fault && finding.what.contains(word), "{finding:?}");
        }
    }

    /// Whoever may have a ring all the same is not told to change anything.
    #[test]
    fn a_switch_that_does_not_concern_us() {
        let machine = Machine::new().file(SWITCH, "1\n");
        assert_eq!(found(&of(&machine), "io_uring.permission").0, Severity::Good);
    }

    #[test]
    fn operations_that_are_missing() {
        let old = Machine::new().facts(|facts| {
            facts.ring = Ok(ring_buffers::Capabilities { read_multishot: false, writev_fixed: false });
        });
        let findings = of(&old);
        let (severity, finding) = found(&findings, "io_uring.operations");
        assert!(severity == Severity::Note && finding.what.contains("6.7") && finding.what.contains("6.15"));
        let older = Machine::new().facts(|facts| facts.ring = Err(NoRing::Missing("IORING_OP_SENDMSG".to_owned())));
        assert_eq!(found(&of(&older), "io_uring.operations").0, Severity::Fault);
    }
}
