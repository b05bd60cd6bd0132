//! The kernel: its version, its known faults, and its own WireGuard.

use udp_uring::Segmentation;

use super::{Finding, Subject, System};

/// Before this nothing works; from the second on everything that matters does.
const LEAST: [u32; 2] = [6, 1];
const RECOMMENDED: [u32; 2] = [6, 12];

pub(super) fn check(system: &System, _: &Subject) -> Vec<Finding> {
    vec![version(system), segmentation(system), module(system)]
}

fn version(system: &System) -> Finding {
    const CHECK: &str = "kernel.version";
    let release = &system.facts.release;
    let what = format!("Linux {release}");
    match major_and_minor(release) {
        None => Finding::note(CHECK, what, "this version is not understood; the features are probed all the same"),
        Some(version) if version < LEAST => {
            Finding::fault(CHECK, what, "io_uring lacks what Ringfort needs before 6.1")
                .remedy("install Linux 6.12 or later")
        }
        Some(version) if version < RECOMMENDED => {
            let why = "before 6.7 reads of the TUN take more system calls";
            Finding::note(CHECK, what, why).remedy("Linux 6.12 or later is recommended")
        }
        Some(_) => Finding::good(CHECK, what),
    }
}

fn segmentation(system: &System) -> Finding {
    const CHECK: &str = "kernel.udp-segmentation";
    match Segmentation::for_release(&system.facts.release) {
        Segmentation::Ragged => Finding::warning(
            CHECK,
            format!("Linux {} damages trains of UDP datagrams with some drivers", system.facts.release),
            "packets would be lost silently. Ringfort ends each train in a shorter packet (--udp-gso ragged), which \
             costs a keepalive for some trains. Virtual machines on this host are affected as well, and cannot know",
        )
        .remedy("install Linux 7.1.5 or later"),
        _ => Finding::good(CHECK, "UDP_SEGMENT works on this kernel, as far as is known"),
    }
}

fn module(system: &System) -> Finding {
    const CHECK: &str = "kernel.wireguard-module";
    let release = &system.facts.release;
    let lists = [format!("lib/modules/{release}/modules.dep"), format!("lib/modules/{release}/modules.builtin")];
    let state = if system.exists("sys/module/wireguard") {
        "loaded"
    } else if lists.iter().any(|list| system.read(list).is_some_and(|list| list.contains("/wireguard.ko"))) {
        "there to be loaded"
    } else {
        return Finding::good(CHECK, "the kernel's own WireGuard is not there");
    };
    let why = "wg-quick asks the kernel first and then never starts a userspace implementation, whatever \
               WG_QUICK_USERSPACE_IMPLEMENTATION says. `ringfort NAME` and `wg` are not affected";
    Finding::note(CHECK, format!("the kernel's own WireGuard is {state}"), why).remedy(
        "bring it up with `ringfort up NAME`, which reads the same file, or keep the module out: \
                 echo 'install wireguard /bin/false' > /etc/modprobe.d/wireguard.conf",
    )
}

fn major_and_minor(release: &str) -> Option<[u32; 2]> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some([numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?])
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

    fn release(release: &str) -> Machine {
        Machine::new().facts(|facts| facts.release = release.to_owned())
    }

    #[test]
    fn versions() {
        for (text, severity) in [
            ("6.18.3", Severity::Good),
            ("6.12-rc1", Severity::Good),
            ("6.1.0-40-amd64", Severity::Note),
            ("5.15.0", Severity::Fault),
            ("unknown", Severity::Note),
        ] {
            assert_eq!(found(&of(&release(text)), "kernel.version").0, severity, "{text}");
        }
    }

    #[test]
    fn the_kernels_that_damage_trains() {
        for (text, severity) in [
            ("6.18.3", Severity::Good),
            ("7.0.0", Severity::Warning),
            ("7.1.4", Severity::Warning),
            ("7.1.5", Severity::Good),
        ] {
            assert_eq!(found(&of(&release(text)), "kernel.udp-segmentation").0, severity, "{text}");
        }
    }

    #[test]
    fn the_kernel_s_own_wireguard() {
        assert_eq!(found(&of(&Machine::new()), "kernel.wireguard-module").0, Severity::Good);
        let loaded = Machine::new().file("sys/module/wireguard/refcnt", "0");
        let loadable = Machine::new()
            .file("lib/modules/6.18.0/modules.dep", "kernel/drivers/net/wireguard/wireguard.ko.xz: kernel/x.ko\n");
        for (machine, word) in [(loaded, "is loaded"), (loadable, "there to be loaded")] {
            let findings = of(&machine);
            let (severity, finding) = found(&findings, "kernel.wireguard-module");
            assert!(severity == Severity::Note && finding.what.contains(word), "{finding:?}");
        }
    }
}
