//! The CPUs of the workers: how many, how fast, where, and with whom.

use super::network::default_device;
use super::{Finding, Subject, System};
use crate::doctor::system::cpu_text;

pub(super) fn check(system: &System, subject: &Subject) -> Vec<Finding> {
    let mut findings = vec![count(system, subject)];
    findings.extend(governor(system, subject));
    findings.push(isolated(system, subject));
    findings.extend(numa(system, subject));
    findings
}

fn count(system: &System, subject: &Subject) -> Finding {
    const CHECK: &str = "cpu.workers";
    let (workers, cpus) = (subject.workers.len(), subject.cpus().len());
    if workers > cpus {
        return Finding::warning(
            CHECK,
            format!("{workers} workers share {cpus} CPUs"),
            "a worker that waits for its CPU keeps packets waiting, and the others gain nothing",
        )
        .remedy(format!("use fewer workers (--workers {cpus}), or name more CPUs (--cpus)"));
    }
    Finding::good(
        CHECK,
        format!("{workers} workers on CPUs {} of {}", cpu_text(&subject.cpus()), system.facts.cpus.len()),
    )
}

fn governor(system: &System, subject: &Subject) -> Option<Finding> {
    const CHECK: &str = "cpu.governor";
    let of = |cpu: usize, file: &str| system.read(&format!("sys/devices/system/cpu/cpu{cpu}/cpufreq/{file}"));
    let cpus = subject.cpus();
    let governors: Vec<(usize, String)> =
        cpus.iter().filter_map(|&cpu| Some((cpu, of(cpu, "scaling_governor")?))).collect();
    let first = governors.first()?.1.clone();
    // With these drivers the hardware chooses the frequency, and `powersave` is their name for that.
    let chooses_itself = |cpu: usize| {
        let driver = of(cpu, "scaling_driver").unwrap_or_default();
        ["intel_pstate", "amd-pstate-epp", "amd_pstate_epp"].contains(&driver.as_str())
    };
    let is_slow = |(cpu, governor): &&(usize, String)| governor == "powersave" && !chooses_itself(*cpu);
    let slow: Vec<usize> = governors.iter().filter(is_slow).map(|&(cpu, _)| cpu).collect();
    Some(if slow.is_empty() {
        Finding::good(CHECK, format!("the frequency governor is {first}"))
    } else {
        Finding::warning(
            CHECK,
            format!("the frequency governor of CPUs {} is powersave", cpu_text(&slow)),
            "it keeps them at their lowest frequency: throughput is a fraction of what they can do",
        )
        .remedy("cpupower frequency-set -g performance (or schedutil)")
    })
}

fn isolated(system: &System, subject: &Subject) -> Finding {
    const CHECK: &str = "cpu.isolated";
    let isolated = system.cpus("sys/devices/system/cpu/isolated").unwrap_or_default();
    if isolated.is_empty() {
        return Finding::good(CHECK, "no CPUs are isolated");
    }
    let unused: Vec<usize> = isolated.iter().copied().filter(|cpu| !subject.cpus().contains(cpu)).collect();
    if unused.len() < isolated.len() {
        return Finding::good(CHECK, format!("CPUs {} are isolated, and workers run there", cpu_text(&isolated)));
    }
    Finding::note(
        CHECK,
        format!("CPUs {} are isolated, and no worker runs there", cpu_text(&unused)),
        "the scheduler puts nothing else there, so packets wait for nobody; workers go there only if told to",
    )
    .remedy(format!("--cpus {}", cpu_text(&unused)))
}

/// The node of the network card.
pub(in crate::doctor) struct CardNode {
    device: String,
    node: i64,
    pub(in crate::doctor) cpus: Vec<usize>,
}

/// The node of the card of the default route; `None` if there is one node, or the card has none.
pub(in crate::doctor) fn card_node(system: &System) -> Option<CardNode> {
    let nodes = "sys/devices/system/node";
    if system.names(nodes).iter().filter(|name| is_node(name)).count() < 2 {
        return None;
    }
    let device = default_device(system)?;
    let node = system.number(&format!("sys/class/net/{device}/device/numa_node")).filter(|&node| node >= 0)?;
    let cpus = system.cpus(&format!("{nodes}/node{node}/cpulist"))?;
    Some(CardNode { device, node, cpus })
}

fn numa(system: &System, subject: &Subject) -> Option<Finding> {
    const CHECK: &str = "cpu.numa";
    let CardNode { device, node, cpus: near } = card_node(system)?;
    let far: Vec<usize> = subject.cpus().into_iter().filter(|cpu| !near.contains(cpu)).collect();
    Some(if far.is_empty() {
        Finding::good(CHECK, format!("all workers are on node {node}, as {device} is"))
    } else {
        Finding::warning(
            CHECK,
            format!("{device} is on node {node}, and the workers on CPUs {} are not", cpu_text(&far)),
            "each packet crosses between the sockets of the machine",
        )
        .remedy(format!("--cpus {}", cpu_text(&near)))
    })
}

fn is_node(name: &str) -> bool {
    name.strip_prefix("node").is_some_and(|number| number.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::Severity;
    use super::super::super::subject::fake::planned;
    use super::super::super::system::fake::Machine;
    use super::super::network::tests::routed;
    use super::super::tests::found;
    use super::*;

    #[test]
    fn more_workers_than_cpus() {
        let machine = Machine::new();
        assert_eq!(count(&machine.system, &planned(&[0, 1])).severity, Severity::Good);
        let crowded = [count(&machine.system, &planned(&[0, 1, 0, 1]))];
        let (severity, finding) = found(&crowded, "cpu.workers");
        assert!(severity == Severity::Warning && finding.remedy.contains("--workers 2"), "{finding:?}");
    }

    #[test]
    fn governors() {
        let with = |governor: &str, driver: &str| {
            let path = "sys/devices/system/cpu/cpu1/cpufreq";
            let machine = Machine::new().file(&format!("{path}/scaling_governor"), governor);
            machine.file(&format!("{path}/scaling_driver"), driver)
        };
        for (governor_name, driver, severity) in [
            ("performance", "acpi-cpufreq", Severity::Good),
            ("powersave", "intel_pstate", Severity::Good),
            ("powersave", "acpi-cpufreq", Severity::Warning),
        ] {
            let machine = with(governor_name, driver);
            assert_eq!(governor(&machine.system, &planned(&[0, 1])).unwrap().severity, severity, "{driver}");
        }
        assert_eq!(governor(&Machine::new().system, &planned(&[0])), None, "virtual machines have none");
    }

    #[test]
    fn isolated_cpus() {
        let machine = Machine::new().file("sys/devices/system/cpu/isolated", "2-3\n");
        assert_eq!(isolated(&machine.system, &planned(&[2, 3])).severity, Severity::Good);
        let unused = isolated(&machine.system, &planned(&[0, 1]));
        assert!(unused.severity == Severity::Note && unused.remedy == "--cpus 2-3", "{unused:?}");
        assert_eq!(isolated(&Machine::new().system, &planned(&[0])).severity, Severity::Good);
    }

    #[test]
    fn workers_on_the_node_of_the_card() {
        let machine = routed("eth0").file("sys/class/net/eth0/device/numa_node", "1\n");
        assert_eq!(numa(&machine.system, &planned(&[0])), None, "one node");
        let machine = machine.file("sys/devices/system/node/node0/cpulist", "0-1\n");
        let machine = machine.file("sys/devices/system/node/node1/cpulist", "2-3\n");
        assert_eq!(numa(&machine.system, &planned(&[2, 3])).unwrap().severity, Severity::Good);
        let far = [numa(&machine.system, &planned(&[1, 2])).unwrap()];
        let (severity, finding) = found(&far, "cpu.numa");
        assert!(severity == Severity::Warning && finding.remedy == "--cpus 2-3", "{finding:?}");
        assert!(finding.what.contains("CPUs 1 are not"), "{finding:?}");
    }
}
