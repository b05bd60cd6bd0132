//! Memory: what may be locked, what the kernel may take for sockets, and how many files may be open.

use ringfort_worker::{LockedLen, locked_len};

use super::cgroup::memory_max;
use super::{Finding, Subject, System};
use crate::cli::memory::{Bound, Memory, Mib, PARTS, least};
use crate::control::limits::descriptors_needed;
use crate::doctor::system::CAP_IPC_LOCK;

pub(super) fn check(system: &System, subject: &Subject) -> Vec<Finding> {
    vec![locked(system, subject, locked_len(subject.workers.len())), files(system, subject), bound(system, subject)]
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

/// What a gateway that runs was given, or one would get that is started without options.
pub(super) struct Taken {
    pub(super) workers: u64,
    pub(super) packets: u64,
    pub(super) sockets: u64,
    /// `None`: there is none, or the daemon is an older one.
    bound: Option<u64>,
}

pub(super) fn taken(subject: &Subject, all: Option<u64>) -> Option<Taken> {
    let workers = subject.workers.len();
    if let Some(stats) = &subject.stats {
        let of = |name| stats.get(name).copied();
        let (packets, sockets) = (of("memory_packets")?, of("memory_sockets")?);
        return Some(Taken { workers: workers as u64, packets, sockets, bound: of("memory_bound") });
    }
    let all = all.and_then(|all| usize::try_from(all).ok());
    let memory = Memory { bound: Bound::of(None, all), receive_buffer: None };
    let division = memory.divide(memory.workers(workers, false).ok()?);
    let (packets, sockets) = (division.packets() as u64, division.sockets() as u64);
    let bound = memory.bound.limit().map(|bytes| bytes as u64);
    Some(Taken { workers: division.workers as u64, packets, sockets, bound })
}

fn bound(system: &System, subject: &Subject) -> Finding {
    const CHECK: &str = "memory.bound";
    let all = memory_of(system, &subject.process);
    let Some(Taken { workers, packets, sockets, bound }) = taken(subject, all) else {
        let why = "it is an older one, or ends at this moment";
        return Finding::note(CHECK, "the daemon does not say what packets and sockets may take", why);
    };
    let wanted = subject.workers.len() as u64;
    let workers_of = if workers < wanted { format!("{workers} of {wanted}") } else { workers.to_string() };
    let total = packets + sockets;
    let what = format!(
        "workers may take {} for packets and {} for the buffers of sockets ({workers_of} workers{})",
        mib(packets),
        mib(sockets),
        bound.map_or_else(String::new, |bound| format!(", of {} in all", mib(bound)))
    );
    match (bound, all) {
        (_, Some(all)) if total > too_much(all, bound) => Finding::warning(
            CHECK,
            format!("{what}; there are {} for everything", mib(all)),
            "a flood of datagrams fills the buffers, and takes the memory from everything else",
        )
        .remedy(format!(
            "--memory {}, without --socket-buffer, and with fewer workers (--workers) if that is too little for them",
            mib_exact((all / PARTS as u64).max(least() as u64))
        )),
        (Some(bound), _) if workers < wanted => Finding::note(
            CHECK,
            what,
            format!("with more workers, {} would leave less than 1 MiB to each receive buffer", mib(bound)),
        ),
        _ => Finding::good(CHECK, what),
    }
}

/// More than this of `all` is worth a word: the usual part, or half of it if an operator has allowed more.
fn too_much(all: u64, bound: Option<u64>) -> u64 {
    let usual = all / PARTS as u64;
    if bound.is_some_and(|bound| bound > usual) { all / 2 } else { usual }
}

/// The bytes that a process and all others here have together: what its control group allows, or all that there is if
/// that is less.
pub(in crate::doctor) fn memory_of(system: &System, process: &str) -> Option<u64> {
    let (allowed, there) = (memory_max(system, process), memory_total(system));
    allowed.into_iter().chain(there).min()
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
    Mib(bytes as usize).to_string()
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

    const GIB: u64 = 1 << 30;

    fn with_memory(kib: u64) -> Machine {
        Machine::new().file("proc/meminfo", &format!("MemTotal:       {kib} kB\nMemFree: 1 kB\n"))
    }

    #[test]
    fn what_a_start_would_take() {
        let of = |machine: &Machine, cpus: &[usize]| bound(&machine.system, &planned(cpus));
        let large = with_memory(16_384_000);
        let good = of(&large, &[0, 1]);
        assert!(
            good.severity == Severity::Good
                && good.what.starts_with("workers may take 12.3 MiB for packets and 161.0 MiB"),
            "{good:?}"
        );
        assert!(good.what.ends_with("(2 workers, of 4000.0 MiB in all)"), "{good:?}");
        let small = large.file("proc/self/cgroup", "0::/a\n").file("sys/fs/cgroup/a/memory.max", "134217728\n");
        assert_eq!(memory_of(&small.system, "self"), Some(128 << 20), "the tighter of both");
        let fewer = of(&small, &[0, 1, 2, 3]);
        assert!(fewer.severity == Severity::Note && fewer.what.contains("(2 of 4 workers, "), "{fewer:?}");
        let findings = [of(&with_memory(16 << 10), &[0])];
        let (severity, finding) = found(&findings, "memory.bound");
        assert!(severity == Severity::Warning && finding.remedy.starts_with("--memory 8M,"), "{finding:?}");
        assert_eq!(of(&Machine::new(), &[0]).severity, Severity::Good, "nobody knows");
        assert_eq!(of(&with_memory(16_384_000), &[]).severity, Severity::Good, "nobody knows the CPUs");
    }

    #[test]
    fn what_a_gateway_has_taken() {
        let running = |figures: &[(&str, u64)]| {
            let stats = figures.iter().map(|&(name, value)| (name.to_owned(), value)).collect();
            Subject { stats: Some(stats), ..planned(&[0, 1]) }
        };
        let figures = [("memory_packets", 12 << 20), ("memory_sockets", GIB), ("memory_bound", 2 * GIB)];
        let of = |kib, figures| bound(&with_memory(kib).system, &running(figures));
        let good = of(5 << 20, &figures);
        assert!(good.severity == Severity::Good && good.what.contains("of 2048.0 MiB in all"), "{good:?}");
        assert_eq!(of(4 << 20, &figures).severity, Severity::Good, "as an operator has it");
        assert_eq!(of(2 << 20, &figures).severity, Severity::Warning, "whatever was allowed, there is not so much");
        assert_eq!(of(4 << 20, &[]).severity, Severity::Note, "an older one");
    }
}
