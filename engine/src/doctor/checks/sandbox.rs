//! What a daemon that runs has given up.

use super::{Finding, Subject, System};

const CHECK: &str = "sandbox.threads";
const WHY: &str = "who finds a hole in the gateway can do whatever it could do at its start";

/// Nothing can be said before it runs.
pub(super) fn check(system: &System, subject: &Subject) -> Vec<Finding> {
    if subject.runs() { vec![of(system, &subject.process)] } else { Vec::new() }
}

fn of(system: &System, process: &str) -> Finding {
    let threads: Vec<String> =
        system.names(&format!("proc/{process}/task")).iter().map(|task| format!("{process}/task/{task}")).collect();
    let count = |field: &str, value: &str| {
        threads.iter().filter(|thread| system.status(thread, field).as_deref() == Some(value)).count()
    };
    let (filtered, all) = (count("Seccomp", "2"), threads.len());
    let is_worker = |thread: &&String| {
        system.read(&format!("proc/{thread}/comm")).is_some_and(|name| name.starts_with("ringfort-w"))
    };
    let bound = count("NoNewPrivs", "1");
    let mut workers = threads.iter().filter(is_worker);
    let keeps_capabilities = |thread: &String| {
        let set = system.status(thread, "CapEff").and_then(|set| u64::from_str_radix(&set, 16).ok());
        set.is_some_and(|set| set != 0)
    };
    if filtered < all {
        let what = format!("{} of {all} threads make any system call they like", all - filtered);
        return Finding::warning(CHECK, what, WHY).remedy("start it without --sandbox off");
    }
    if bound < all {
        let what = format!("{} of {all} threads could gain rights by what they execute (no_new_privs)", all - bound);
        return Finding::warning(CHECK, what, WHY).remedy("look for \"the sandbox has a gap\" in the log of its start");
    }
    if workers.any(keeps_capabilities) {
        return Finding::warning(CHECK, "the sandbox only reports", WHY)
            .remedy("look for audit: type=1326 in the kernel's log, then start it without --sandbox report");
    }
    Finding::good(CHECK, format!("all {all} threads are in the sandbox"))
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::Severity;
    use super::super::super::subject::fake::planned;
    use super::super::super::system::fake::Machine;
    use super::super::tests::found;
    use super::*;

    /// A daemon of a control thread and a worker, with these modes of seccomp and capabilities of the worker.
    fn machine(control: u8, worker: u8, capabilities: u64) -> Machine {
        bound(control, worker, capabilities, 1)
    }

    /// The same, with the worker's `no_new_privs`.
    fn bound(control: u8, worker: u8, capabilities: u64, no_new_privs: u8) -> Machine {
        let mut machine = Machine::new();
        let tasks = [(10, "ringfort", control, 0x7400, 1), (11, "ringfort-w0", worker, capabilities, no_new_privs)];
        for (task, name, mode, set, bound) in tasks {
            machine = machine.file(&format!("proc/9/task/{task}/comm"), &format!("{name}\n"));
            let status = format!("CapEff:\t{set:016x}\nNoNewPrivs:\t{bound}\nSeccomp:\t{mode}\n");
            machine = machine.file(&format!("proc/9/task/{task}/status"), &status);
        }
        machine
    }

    fn severity(machine: &Machine) -> Severity {
        found(&[of(&machine.system, "9")], CHECK).0
    }

    #[test]
    fn each_thread_counts() {
        assert_eq!(severity(&machine(2, 2, 0)), Severity::Good);
        assert_eq!(severity(&machine(0, 0, 0)), Severity::Warning);
        let open = machine(2, 0, 0);
        assert!(of(&open.system, "9").what.contains("1 of 2 threads"));
        assert!(of(&bound(2, 2, 0, 0).system, "9").what.contains("1 of 2 threads could gain rights"));
        let reports = machine(2, 2, 0x1ff);
        assert!(of(&reports.system, "9").what.contains("only reports"));
    }

    #[test]
    fn before_a_start_there_is_nothing_to_say() {
        assert!(check(&Machine::new().system, &planned(&[0])).is_empty());
    }
}
