//! The way out: the device of the default route, its MTU, its offloads, its queues and their interrupts.

use super::{Finding, Subject, System};
use crate::doctor::system::{cpu_list, cpu_text};

/// What WireGuard adds to a packet over IPv6: 40 + 8 + 32.
const OVERHEAD: i64 = 80;
/// Of a tunnel if nobody says otherwise.
const MTU_DEFAULT: i64 = 1420;

pub(super) fn check(system: &System, subject: &Subject) -> Vec<Finding> {
    const CHECK: &str = "network.route";
    let Some(device) = default_device(system) else {
        let why = "the card that datagrams leave by is not known, so it is not looked at";
        return vec![Finding::note(CHECK, "there is no default route", why)];
    };
    let mut findings = vec![Finding::good(CHECK, format!("the default route is by {device}"))];
    findings.extend(mtu(system, subject, &device));
    findings.extend(offloads(system, &device));
    findings.extend(queues(system, subject, &device));
    findings.extend(interrupts(system, subject, &device));
    findings
}

/// The device of the default route, IPv4's first.
pub(in crate::doctor) fn default_device(system: &System) -> Option<String> {
    /// `RTF_UP`.
    const UP: u32 = 1;
    let hex = |text: &str| u32::from_str_radix(text, 16).ok();
    let v4 = system.read("proc/net/route").and_then(|table| {
        let routes = table.lines().skip(1).filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [device, destination, _, flags, _, _, metric, mask, ..] = fields[..] else { return None };
            let is_default = hex(destination)? == 0 && hex(mask)? == 0 && hex(flags)? & UP != 0;
            is_default.then_some((metric.parse::<u32>().ok()?, device.to_owned()))
        });
        routes.min()
    });
    let v6 = || {
        let table = system.read("proc/net/ipv6_route")?;
        let routes = table.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, length, _, _, gateway, metric, _, _, flags, device] = fields[..] else { return None };
            // The kernel's own "no route" is a default route of the loopback device.
            let is_default = hex(length)? == 0 && hex(flags)? & UP != 0 && device != "lo";
            (is_default && gateway.bytes().any(|byte| byte != b'0')).then_some((hex(metric)?, device.to_owned()))
        });
        routes.min()
    };
    v4.or_else(v6).map(|(_, device)| device)
}

fn mtu(system: &System, subject: &Subject, device: &str) -> Option<Finding> {
    const CHECK: &str = "network.mtu";
    let outer = system.number(&format!("sys/class/net/{device}/mtu"))?;
    let interface = subject.interface.as_deref().filter(|_| subject.runs());
    let running = interface.and_then(|name| system.number(&format!("sys/class/net/{name}/mtu")));
    let tunnel = running.unwrap_or(MTU_DEFAULT);
    let fitting = outer - OVERHEAD;
    Some(if tunnel > fitting {
        Finding::warning(
            CHECK,
            format!("the tunnel's MTU is {tunnel}, and {device} carries packets of {outer}: {fitting} would fit"),
            "each full packet is sent in two fragments, and is lost where fragments are dropped",
        )
        .remedy(format!("ip link set {} mtu {fitting}", interface.unwrap_or("NAME")))
    } else {
        Finding::good(CHECK, format!("the tunnel's MTU of {tunnel} fits the {outer} of {device}"))
    })
}

fn offloads(system: &System, device: &str) -> Option<Finding> {
    const CHECK: &str = "network.offloads";
    let nic = system.facts.nic?;
    let all = [(nic.tx_checksum, "tx"), (nic.gso, "gso"), (nic.gro, "gro")];
    let off: Vec<&str> = all.iter().filter(|(on, _)| !on).map(|&(_, name)| name).collect();
    if off.is_empty() {
        return Some(Finding::good(CHECK, format!("{device} has checksum offload, GSO and GRO")));
    }
    let (names, switches) = (off.join(", "), off.iter().map(|name| format!("{name} on")).collect::<Vec<_>>().join(" "));
    let why = "trains of datagrams are cut up early, or come one by one: that costs a multiple of the CPU time";
    Some(
        Finding::warning(CHECK, format!("{device} has these offloads off: {names}"), why)
            .remedy(format!("ethtool -K {device} {switches}")),
    )
}

fn queues(system: &System, subject: &Subject, device: &str) -> Option<Finding> {
    const CHECK: &str = "network.queues";
    let names = system.names(&format!("sys/class/net/{device}/queues"));
    let queues = names.iter().filter(|name| name.starts_with("rx-")).count();
    let workers = subject.workers.len();
    match queues {
        0 => None,
        _ if queues >= workers => Some(Finding::good(CHECK, format!("{device} has {queues} receive queues"))),
        _ => {
            let is_spread = names.iter().filter(|name| name.starts_with("rx-")).any(|queue| {
                let mask = system.read(&format!("sys/class/net/{device}/queues/{queue}/rps_cpus"));
                mask.is_some_and(|mask| mask.bytes().any(|byte| !matches!(byte, b'0' | b',')))
            });
            let what = format!("{device} has {queues} receive queues for {workers} workers");
            let why = "the kernel takes in all packets on the CPUs of so many queues, whatever the workers do";
            Some(if is_spread {
                Finding::good(CHECK, format!("{what}, and RPS spreads what they receive"))
            } else {
                let remedy = format!(
                    "ethtool -L {device} combined {workers}, or RPS: echo MASK > \
                                      /sys/class/net/{device}/queues/rx-0/rps_cpus"
                );
                Finding::note(CHECK, what, why).remedy(remedy)
            })
        }
    }
}

fn interrupts(system: &System, subject: &Subject, device: &str) -> Option<Finding> {
    const CHECK: &str = "network.interrupts";
    let numbers = system.names(&format!("sys/class/net/{device}/device/msi_irqs"));
    let affinity = |number: &String| {
        let path = |file: &str| format!("proc/irq/{number}/{file}");
        let text = system.read(&path("effective_affinity_list")).or_else(|| system.read(&path("smp_affinity_list")))?;
        cpu_list(&text).filter(|cpus| !cpus.is_empty())
    };
    let affinities: Vec<Vec<usize>> = numbers.iter().filter_map(affinity).collect();
    let mut cpus: Vec<usize> = affinities.iter().flatten().copied().collect();
    cpus.sort_unstable();
    cpus.dedup();
    let workers = subject.cpus();
    if affinities.is_empty() {
        return None;
    }
    if cpus.len() == 1 && affinities.len() > 1 && workers.len() > 1 {
        let what = format!("all {} interrupts of {device} go to CPU {}", affinities.len(), cpus[0]);
        let why = "one CPU takes in all packets, and the worker there has less of it than the others";
        let remedy = format!("systemctl start irqbalance, or echo CPU > /proc/irq/{}/smp_affinity_list", numbers[0]);
        return Some(Finding::warning(CHECK, what, why).remedy(remedy));
    }
    let shared: Vec<usize> = workers.iter().copied().filter(|cpu| cpus.contains(cpu)).collect();
    let what = format!("the interrupts of {device} go to CPUs {}", cpu_text(&cpus));
    Some(if shared.is_empty() {
        Finding::good(CHECK, format!("{what}, and no worker is there"))
    } else {
        Finding::good(CHECK, format!("{what}; workers are on {} of them", shared.len()))
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::super::finding::Severity;
    use super::super::super::subject::fake::planned;
    use super::super::super::system::Nic;
    use super::super::super::system::fake::Machine;
    use super::super::tests::found;
    use super::*;

    /// With a default route by that device.
    pub fn routed(device: &str) -> Machine {
        let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
        let other = "lan\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let second = "dial\t00000000\t0102030A\t0003\t0\t0\t900\t00000000\t0\t0\t0\n";
        let route = format!("{device}\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n");
        Machine::new().file("proc/net/route", &format!("{head}{other}{second}{route}"))
    }

    #[test]
    fn the_device_of_the_default_route() {
        assert_eq!(default_device(&routed("eth0").system).as_deref(), Some("eth0"));
        let zero = "0".repeat(32);
        let line = |gateway: &str, device: &str| {
            format!("{zero} 00 {zero} 00 {gateway} 00000400 00000001 00000000 00000003 {device}\n")
        };
        let none = line(&zero, "lo");
        let v6 = Machine::new()
            .file("proc/net/ipv6_route", &(none.clone() + &line("fe800000000000000000000000000001", "eth1")));
        assert_eq!(default_device(&v6.system).as_deref(), Some("eth1"));
        let lonely = Machine::new().file("proc/net/ipv6_route", &none);
        assert_eq!(default_device(&lonely.system), None);
        assert_eq!(found(&check(&lonely.system, &planned(&[0])), "network.route").0, Severity::Note);
    }

    #[test]
    fn the_mtu_of_the_way_out() {
        for (mtu, severity) in [("1500", Severity::Good), ("1492", Severity::Warning), ("9000", Severity::Good)] {
            let machine = routed("eth0").file("sys/class/net/eth0/mtu", mtu);
            let findings = check(&machine.system, &planned(&[0]));
            assert_eq!(found(&findings, "network.mtu").0, severity, "{mtu}");
        }
        let machine = routed("eth0").file("sys/class/net/eth0/mtu", "1500").file("sys/class/net/wg0/mtu", "1440");
        let mut running = planned(&[0]);
        running.stats = Some(Default::default());
        let findings = check(&machine.system, &running);
        let (severity, finding) = found(&findings, "network.mtu");
        assert!(severity == Severity::Warning && finding.remedy == "ip link set wg0 mtu 1420", "{finding:?}");
    }

    #[test]
    fn offloads_of_the_card() {
        let off = routed("eth0").facts(|facts| facts.nic = Some(Nic { tx_checksum: false, gso: true, gro: false }));
        let findings = check(&off.system, &planned(&[0]));
        let (severity, finding) = found(&findings, "network.offloads");
        assert!(severity == Severity::Warning && finding.remedy == "ethtool -K eth0 tx on gro on", "{finding:?}");
        assert_eq!(found(&check(&routed("eth0").system, &planned(&[0])), "network.offloads").0, Severity::Good);
    }

    #[test]
    fn queues_of_the_card() {
        let one = routed("eth0").file("sys/class/net/eth0/queues/rx-0/rps_cpus", "00,00000000\n");
        assert_eq!(found(&check(&one.system, &planned(&[0])), "network.queues").0, Severity::Good);
        assert_eq!(found(&check(&one.system, &planned(&[0, 1])), "network.queues").0, Severity::Note);
        let spread = one.file("sys/class/net/eth0/queues/rx-0/rps_cpus", "00,0000000f\n");
        assert_eq!(found(&check(&spread.system, &planned(&[0, 1])), "network.queues").0, Severity::Good);
    }

    #[test]
    fn interrupts_of_the_card() {
        let irq = |machine: Machine, number: u32, cpus: &str| {
            let machine = machine.file(&format!("sys/class/net/eth0/device/msi_irqs/{number}"), "msix\n");
            machine.file(&format!("proc/irq/{number}/smp_affinity_list"), cpus)
        };
        let crowded = irq(irq(routed("eth0"), 30, "0\n"), 31, "0\n");
        let findings = check(&crowded.system, &planned(&[0, 1]));
        let (severity, finding) = found(&findings, "network.interrupts");
        assert!(severity == Severity::Warning && finding.what.contains("all 2 interrupts"), "{finding:?}");
        let spread = irq(irq(routed("eth0"), 30, "0\n"), 31, "1\n");
        assert_eq!(found(&check(&spread.system, &planned(&[0, 1])), "network.interrupts").0, Severity::Good);
    }
}
