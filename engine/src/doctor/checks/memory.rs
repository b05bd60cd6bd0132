//! Memory: what may be locked, what the kernel may take for sockets, and how many files may be open.

use udp_uring::SocketConfig;

use super::container::memory_max;
use super::{Finding, Subject, System};
use crate::control::limits::descriptors_needed;
use crate::doctor::system::CAP_IPC_LOCK;
use crate::worker::{LockedLen, locked_len};

/// Sockets of each worker: one of each family.
const SOCKETS: u64 = 2;
/// The kernel books twice what is asked for: its own bookkeeping lies in the same buffer (`socket(7)`).
const BOOKED: u64 = 2;

pub(super) fn check(system: &System, subject: &Subject) -> Vec<Finding> {
    vec![locked(system, subject, locked_len(subject.workers.len())), files(system, subject), sockets(system, subject)]
}

fn locked(system: &System, subject: &Subject, each: LockedLen) -> Finding {
    const CHECK: &str = "memory.locked";
    let workers = subject.workers.len() as u64;
    let (rings, all) = (workers * each.ring as u64, workers * (each.ring + each.arena) as u64);
    if system.has_capability(&subject.process, CAP_IPC_LOCK) {
        return Finding::good(CHECK, format!("{workers} workers lock {}, and CAP_IPC_LOCK sets no limit", mib(all)));
    }
    let remedy = format!("ulimit -l {}, or LimitMEMLOCK={} in the service", all.div_ceil(1024), mib_exact(all));
    match limit(system, subject, "Max locked memory") {
        Some(limit) if limit < rings => Finding::fault(
            CHECK,
            format!("{} may be locked, and the rings of {workers} workers alone lock {}", mib(limit), mib(rings)),
            "the gateway does not start",
        )
        .remedy(remedy),
        Some(limit) if limit < all => Finding::note(
            CHECK,
            format!("{} may be locked, and {workers} workers would lock {}", mib(limit), mib(all)),
            "some workers do without locked packet memory. It costs nothing that could be measured, but memory that is \
             not locked may be swapped out",
        )
        .remedy(remedy),
        Some(limit) => Finding::good(CHECK, format!("{workers} workers lock {}, and {} may be", mib(all), mib(limit))),
        None => Finding::good(CHECK, format!("{workers} workers lock {}, and there is no limit", mib(all))),
    }
}

fn files(system: &System, subject: &Subject) -> Finding {
    const CHECK: &str = "memory.open-files";
    let needed = descriptors_needed(subject.workers.len()) as u64;
    match limit(system, subject, "Max open files") {
        Some(limit) if limit < needed => Finding::fault(
            CHECK,
            format!("{limit} files may be open, and {needed} are needed"),
            "the gateway refuses to start: it would fail later, when it is asked for something",
        )
        .remedy(format!("ulimit -n {needed}, or LimitNOFILE={needed} in the service")),
        Some(limit) => Finding::good(CHECK, format!("{limit} files may be open, and {needed} are needed")),
        None => Finding::good(CHECK, format!("{needed} files are needed, and there is no limit")),
    }
}

fn sockets(system: &System, subject: &Subject) -> Finding {
    const CHECK: &str = "memory.socket-buffers";
    let workers = subject.workers.len() as u64;
    let told = subject.stats.as_ref().and_then(|stats| stats.get("socket_buffer").copied());
    let receive = told.unwrap_or(SocketConfig::RECEIVE_BUFFER_LEN as u64);
    let all = workers * SOCKETS * BOOKED * receive;
    let what = format!(
        "{workers} workers have {} sockets, whose receive buffers may take {} of the kernel's memory in all",
        workers * SOCKETS,
        mib(all)
    );
    let limit = memory_max(system, subject).or_else(|| memory_total(system));
    match limit {
        Some(limit) if all > limit / 4 => Finding::warning(
            CHECK,
            format!("{what}, and there are {} for everything", mib(limit)),
            "a flood of datagrams fills them, and takes the memory from everything else",
        )
        .remedy(format!(
            "--socket-buffer {}",
            (limit / 8 / (workers * SOCKETS * BOOKED)).next_power_of_two().max(1 << 18)
        )),
        _ => Finding::good(CHECK, what),
    }
}

fn memory_total(system: &System) -> Option<u64> {
    let info = system.read("proc/meminfo")?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// A hard limit of the process, to which we raise the soft one. `None`: there is none, or it is not known.
fn limit(system: &System, subject: &Subject, name: &str) -> Option<u64> {
    let limits = system.read(&format!("proc/{}/limits", subject.process))?;
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

pub(super) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn mib_exact(bytes: u64) -> String {
    format!("{}M", bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::Severity;
    use super::super::super::subject::fake::planned;
    use super::super::super::system::fake::Machine;
    use super::super::tests::found;
    use super::*;

    const LEN: LockedLen = LockedLen { ring: 1 << 20, arena: 6 << 20 };

    fn limits(locked: &str, files: &str) -> Machine {
        let text = format!(
            "Limit                     Soft Limit           Hard Limit           Units\n\
             Max open files            1                    {files}              files\n\
             Max locked memory         1                    {locked}             bytes\n"
        );
        Machine::new().file("proc/self/limits", &text).file("proc/self/status", "CapEff:\t0000000000001000\n")
    }

    #[test]
    fn locked_memory_against_the_sum() {
        let of = |machine: &Machine| locked(&machine.system, &planned(&[0, 1]), LEN);
        for (limit, severity) in [
            ("unlimited", Severity::Good),
            ("14680064", Severity::Good),
            ("14680063", Severity::Note),
            ("2097151", Severity::Fault),
        ] {
            assert_eq!(of(&limits(limit, "1024")).severity, severity, "{limit}");
        }
        assert!(of(&limits("100", "1024")).remedy.contains("LimitMEMLOCK=14M"));
        // CAP_IPC_LOCK.
        let root = limits("100", "1024").file("proc/self/status", "CapEff:\t0000000000004000\n");
        assert_eq!(of(&root).severity, Severity::Good);
    }

    #[test]
    fn open_files_against_the_sum() {
        let of = |machine: &Machine| files(&machine.system, &planned(&[0, 1]));
        assert_eq!(of(&limits("0", "1024")).severity, Severity::Good);
        let few = of(&limits("0", "20"));
        let needed = format!("LimitNOFILE={} ", descriptors_needed(2));
        assert!(few.severity == Severity::Fault && few.remedy.contains(&needed), "{few:?}");
    }

    #[test]
    fn socket_buffers_against_the_memory() {
        let of = |machine: &Machine| sockets(&machine.system, &planned(&[0, 1]));
        let large = Machine::new().file("proc/meminfo", "MemTotal:       16384000 kB\nMemFree: 1 kB\n");
        let good = of(&large);
        assert!(good.severity == Severity::Good && good.what.contains("128.0 MiB"), "{good:?}");
        let small = large.file("proc/self/cgroup", "0::/a\n").file("sys/fs/cgroup/a/memory.max", "134217728\n");
        let findings = [of(&small)];
        let (severity, finding) = found(&findings, "memory.socket-buffers");
        assert_eq!(severity, Severity::Warning);
        assert_eq!(finding.remedy, "--socket-buffer 2097152");
    }
}
