//! What a container or a service may take from us: capabilities, the TUN device, CPU time and memory.

use ringfort_worker::locked_len;

use super::cgroup::{memory_max, tightest};
use super::memory::{Taken, memory_of, mib, taken};
use super::{Finding, Subject, System};
use crate::doctor::system::{CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, CAP_SYS_ADMIN};

/// What a gateway takes beside its workers and without peers, in bytes.
const MEMORY_WITHOUT_WORKERS: u64 = 11 << 20;

pub(super) fn check(system: &System, subject: &Subject) -> Vec<Finding> {
    let mut findings = vec![net_admin(system, subject), tun(system), cpu_quota(system, subject)];
    // One that runs has given it up since, and its log says what came of it.
    if !subject.runs() {
        findings.push(bpf(system, subject));
        findings.extend(memory(system, subject, locked_len(subject.workers.len()).ring));
    }
    findings
}

fn net_admin(system: &System, subject: &Subject) -> Finding {
    const CHECK: &str = "container.net-admin";
    if system.has_capability(&subject.process, CAP_NET_ADMIN) {
        return Finding::good(CHECK, "CAP_NET_ADMIN is there");
    }
    Finding::fault(CHECK, "CAP_NET_ADMIN is missing", "the interface, its routes and the mark of packets need it")
        .remedy(
            "run as root, or give it: docker run --cap-add NET_ADMIN; AmbientCapabilities=CAP_NET_ADMIN in a service",
        )
}

/// The programs that spread flows, and that drop floods in front of the sockets.
fn bpf(system: &System, subject: &Subject) -> Finding {
    const CHECK: &str = "container.bpf";
    let has = |capability| system.has_capability(&subject.process, capability);
    let is_open = system.number("proc/sys/kernel/unprivileged_bpf_disabled") == Some(0);
    if !has(CAP_SYS_ADMIN) && !has(CAP_BPF) && !is_open {
        let why = "without eBPF, all flows to a peer come to the worker that receives from it, and floods wake workers";
        return Finding::warning(CHECK, "CAP_BPF is missing", why).remedy(
            "give it: docker run --cap-add BPF --cap-add PERFMON; AmbientCapabilities=CAP_NET_ADMIN CAP_BPF \
             CAP_PERFMON in a service",
        );
    }
    let may_loop = has(CAP_SYS_ADMIN) || has(CAP_BPF) && has(CAP_PERFMON);
    if !may_loop {
        if !has(CAP_BPF) {
            let why = "the kernel takes no loop in an eBPF program without them, so floods of handshakes wake workers";
            return Finding::note(CHECK, "CAP_BPF and CAP_PERFMON are missing", why).remedy(
                "give them: docker run --cap-add BPF --cap-add PERFMON; AmbientCapabilities=… CAP_BPF CAP_PERFMON in \
                 a service",
            );
        }
        let why = "the kernel takes no loop in an eBPF program without it, so floods of handshakes wake workers";
        return Finding::note(CHECK, "CAP_PERFMON is missing", why)
            .remedy("give it: docker run --cap-add PERFMON; AmbientCapabilities=… CAP_PERFMON in a service");
    }
    Finding::good(CHECK, "flows can be spread over the workers, and floods dropped in front of the sockets")
}

fn tun(system: &System) -> Finding {
    const CHECK: &str = "container.tun";
    if !system.exists("dev/net/tun") {
        return Finding::fault(CHECK, "/dev/net/tun is missing", "the interface is made with it").remedy(
            "modprobe tun; for a container docker run --device /dev/net/tun; DeviceAllow=/dev/net/tun in a service",
        );
    }
    match &system.facts.tun {
        None => {
            Finding::note(CHECK, "/dev/net/tun is there, and its offloads were not tried", "that takes CAP_NET_ADMIN")
        }
        Some(failures) if failures.is_empty() => Finding::good(CHECK, "/dev/net/tun is there, and its offloads work"),
        Some(failures) => Finding::warning(
            CHECK,
            failures.join("; "),
            "packets are handed over one by one then, which costs most of the throughput of TCP",
        )
        .remedy("install Linux 6.12 or later"),
    }
}

fn cpu_quota(system: &System, subject: &Subject) -> Finding {
    const CHECK: &str = "container.cpu-quota";
    let workers = subject.workers.len();
    match tightest(system, &subject.process, "cpu.max", quota) {
        Some(quota) if quota < workers as f64 => Finding::warning(
            CHECK,
            format!("the control group gives {quota:.1} CPUs, and there are {workers} workers"),
            "when the quota is used up, all workers stand still for up to 100 ms: that is loss and latency",
        )
        .remedy(format!(
            "use fewer workers (--workers {}), or raise CPUQuota= or docker run --cpus",
            quota.max(1.0) as u32
        )),
        Some(quota) => Finding::good(CHECK, format!("the control group gives {quota:.1} CPUs for {workers} workers")),
        None => Finding::good(CHECK, "no control group limits the CPU time"),
    }
}

/// Nothing, if all memory may be taken.
fn memory(system: &System, subject: &Subject, ring: usize) -> Option<Finding> {
    const CHECK: &str = "container.memory";
    let limit = memory_max(system, &subject.process)?;
    let Taken { workers, packets, sockets, .. } = taken(subject, memory_of(system, &subject.process))?;
    let needed = MEMORY_WITHOUT_WORKERS + workers * ring as u64 + packets + sockets;
    let what = format!(
        "the control group gives {}, and a gateway with {workers} workers takes {} at most, without peers",
        mib(limit),
        mib(needed)
    );
    Some(if limit < needed {
        let remedy = "raise MemoryMax= of the service, or docker run --memory; --memory of the gateway takes less";
        Finding::warning(CHECK, what, "the kernel ends the gateway, or one of its hooks, when all is used up")
            .remedy(remedy)
    } else {
        Finding::good(CHECK, what)
    })
}

/// `50000 100000` is half a CPU; `max 100000` is no limit.
fn quota(text: &str) -> Option<f64> {
    let (quota, period) = text.split_once(' ')?;
    Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::Severity;
    use super::super::super::subject::fake::planned;
    use super::super::super::system::fake::Machine;
    use super::super::tests::found;
    use super::*;

    fn of(machine: &Machine) -> Vec<Finding> {
        check(&machine.system, &planned(&[0, 1]))
    }

    fn with_tun() -> Machine {
        Machine::new().file("dev/net/tun", "")
    }

    #[test]
    fn all_is_well() {
        let findings = of(&with_tun());
        assert!(
            findings.len() == 4 && findings.iter().all(|finding| finding.severity == Severity::Good),
            "{findings:?}"
        );
    }

    #[test]
    fn capabilities_that_are_missing() {
        let machine = with_tun().file("proc/self/status", "CapEff:\t0000000000000000\n");
        let machine = machine.file("proc/sys/kernel/unprivileged_bpf_disabled", "2");
        let findings = of(&machine);
        assert_eq!(found(&findings, "container.net-admin").0, Severity::Fault);
        assert_eq!(found(&findings, "container.bpf").0, Severity::Warning);
        // CAP_NET_ADMIN and CAP_BPF, then CAP_PERFMON as well.
        let machine = machine.file("proc/self/status", "CapEff:\t0000008000001000\n");
        let findings = of(&machine);
        let (severity, finding) = found(&findings, "container.bpf");
        assert!(severity == Severity::Note && finding.what.contains("CAP_PERFMON"), "{finding:?}");
        let machine = machine.file("proc/self/status", "CapEff:\t000000c000001000\n");
        assert!(of(&machine).iter().all(|finding| finding.severity == Severity::Good));
    }

    #[test]
    fn the_tun_device() {
        assert_eq!(found(&of(&Machine::new()), "container.tun").0, Severity::Fault);
        let broken = with_tun().facts(|facts| facts.tun = Some(vec!["USO does not work".to_owned()]));
        assert_eq!(found(&of(&broken), "container.tun").0, Severity::Warning);
        let untried = with_tun().facts(|facts| facts.tun = None);
        assert_eq!(found(&of(&untried), "container.tun").0, Severity::Note);
    }

    #[test]
    fn the_tightest_group_counts() {
        let grouped =
            || with_tun().file("proc/self/cgroup", "0::/a/b\n").file("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
        assert_eq!(found(&of(&grouped()), "container.cpu-quota").0, Severity::Good);
        let machine = grouped().file("sys/fs/cgroup/a/cpu.max", "150000 100000\n");
        let machine =
            machine.file("sys/fs/cgroup/a/b/memory.max", "1000\n").file("sys/fs/cgroup/a/memory.max", "max\n");
        let findings = of(&machine);
        let (severity, finding) = found(&findings, "container.cpu-quota");
        assert!(severity == Severity::Warning && finding.what.contains("1.5 CPUs"), "{finding:?}");
        assert!(finding.remedy.contains("--workers 1"), "{finding:?}");
        assert_eq!(memory_max(&machine.system, "self"), Some(1000));
        let memory = |bytes: u64| {
            let machine = grouped().file("sys/fs/cgroup/a/b/memory.max", &format!("{bytes}\n"));
            memory(&machine.system, &planned(&[0, 1]), 1 << 20).unwrap()
        };
        let enough = memory(128 << 20);
        assert!(enough.severity == Severity::Good && enough.what.contains("2 workers"), "{enough:?}");
        let short = [memory(16 << 20)];
        let (severity, finding) = found(&short, "container.memory");
        assert!(severity == Severity::Warning && finding.what.contains("1 workers"), "{finding:?}");
        let enough = grouped().file("sys/fs/cgroup/a/cpu.max", "200000 100000\n");
        assert_eq!(found(&of(&enough), "container.cpu-quota").0, Severity::Good);
    }
}
