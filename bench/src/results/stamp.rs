//! On what something was measured: all that makes two machines, or two days on one machine, differ. What the system
//! does not say stays empty; nothing is guessed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use ringfort_testbed::{Namespace, command};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The machine and this program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stamp {
    /// What measured.
    pub lab: Lab,
    /// `Linux 6.18.44 x86_64`: system, release, machine.
    pub kernel: String,
    /// The distribution, as it calls itself.
    pub system: Option<String>,
    /// Its processors.
    pub cpu: Cpu,
    /// All memory, in KiB.
    pub memory_kib: Option<u64>,
    /// Transparent huge pages: the choice in force.
    pub huge_pages: Option<String>,
    /// Of one, five and fifteen minutes, before the first measurement.
    pub load_average: Option<String>,
    /// By name: what `/sys/devices/system/cpu/vulnerabilities` says.
    pub mitigations: BTreeMap<String, String>,
    /// Settings of the network stack that matter to throughput, by name.
    pub sysctls: BTreeMap<String, String>,
    /// The helper programs that take part in measuring, and what they say of themselves.
    pub tools: BTreeMap<String, String>,
}

/// This program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Lab {
    /// Of the crate.
    pub version: String,
    /// What was checked out when it was built, with `+changes` if files differed from it; or `unknown`.
    pub commit: String,
    /// `release` or `debug`.
    pub profile: String,
}

/// The processors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cpu {
    /// As the kernel names it.
    pub model: Option<String>,
    /// How many the system may run on.
    pub online: Option<usize>,
    /// Threads of one core count separately: whether they are in use.
    pub smt: Option<String>,
    /// What chooses the frequency; empty where nothing does (most virtual machines).
    pub governor: Option<String>,
    /// Whether frequencies above the nominal one are allowed.
    pub boost: Option<String>,
    /// Cores kept free from everything that was not sent there.
    pub isolated: Option<String>,
    /// Whether this is a virtual machine.
    pub virtual_machine: bool,
    /// What the hypervisor calls itself: `KVMKVMKVM`, or `TCGTCGTCGTCG`, which is QEMU that emulates the processors.
    pub hypervisor: Option<String>,
    /// Those of the instruction sets that ciphers care for.
    pub features: Vec<String>,
}

/// A network interface that a measurement went through.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Interface {
    /// `veth0`, or `tunnel`.
    pub name: String,
    /// In bytes.
    pub mtu: Option<u64>,
    /// Transmit and receive queues.
    pub queues: Option<(u64, u64)>,
    /// The largest packet that the stack hands it to cut up (GSO), in bytes.
    pub gso_max: Option<u64>,
    /// By the names of `ethtool -k`; empty where there is no ethtool.
    pub offloads: BTreeMap<String, String>,
}

/// Instruction sets that decide about the speed of ChaCha20-Poly1305.
const FEATURES: [&str; 9] = ["sse2", "ssse3", "avx", "avx2", "avx512f", "avx512vl", "avx512ifma", "asimd", "sve"];
/// How QEMU signs where it has no processors to give, and emulates them.
const EMULATOR: &str = "TCGTCGTCGTCG";
const SYSCTLS: [&str; 6] = [
    "net/core/rmem_max",
    "net/core/wmem_max",
    "net/core/netdev_max_backlog",
    "net/core/default_qdisc",
    "net/ipv4/tcp_congestion_control",
    "kernel/io_uring_disabled",
];

impl Stamp {
    /// Reads it off this machine.
    pub fn take() -> Self {
        let os_release = read("/etc/os-release").unwrap_or_default();
        Self {
            lab: Lab {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                commit: env!("RINGFORT_COMMIT").to_owned(),
                profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
            },
            kernel: kernel(),
            system: os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).map(unquoted),
            cpu: Cpu::take(),
            memory_kib: read("/proc/meminfo").and_then(|text| field(&text, "MemTotal")).and_then(|text| number(&text)),
            huge_pages: read("/sys/kernel/mm/transparent_hugepage/enabled").map(|text| chosen(&text)),
            load_average: read("/proc/loadavg").map(|text| words(&text, 3)),
            mitigations: directory("/sys/devices/system/cpu/vulnerabilities"),
            sysctls: SYSCTLS
                .iter()
                .filter_map(|name| Some((name.replace('/', "."), read(&format!("/proc/sys/{name}"))?)))
                .collect(),
            tools: BTreeMap::new(),
        }
    }

    /// Whether this program was built without optimisation.
    pub fn is_debug(&self) -> bool {
        self.lab.profile == "debug"
    }

    /// Why nothing that was measured on this machine may be quoted, if that is so.
    pub fn caution(&self) -> Option<String> {
        (self.cpu.hypervisor.as_deref() == Some(EMULATOR)).then(|| {
            "the processors are emulated (QEMU without KVM): what is here works, and its figures are no benchmark"
                .to_owned()
        })
    }

    /// What differs between two stamps in a way that makes their figures differ: a line for each.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let show = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
        let pairs = [
            ("CPU", show(&self.cpu.model), show(&other.cpu.model)),
            ("cores", format!("{:?}", self.cpu.online), format!("{:?}", other.cpu.online)),
            ("kernel", self.kernel.clone(), other.kernel.clone()),
            ("instruction sets", self.cpu.features.join(" "), other.cpu.features.join(" ")),
            ("SMT", show(&self.cpu.smt), show(&other.cpu.smt)),
            ("boost", show(&self.cpu.boost), show(&other.cpu.boost)),
            ("isolated cores", show(&self.cpu.isolated), show(&other.cpu.isolated)),
            ("frequency governor", show(&self.cpu.governor), show(&other.cpu.governor)),
            ("profile of the lab", self.lab.profile.clone(), other.lab.profile.clone()),
            ("mitigations", format!("{:?}", self.mitigations), format!("{:?}", other.mitigations)),
            ("settings of the network stack", format!("{:?}", self.sysctls), format!("{:?}", other.sysctls)),
        ];
        let differing = pairs.into_iter().filter(|(_, ours, theirs)| ours != theirs);
        differing
            .map(|(name, ours, theirs)| {
                let short = ours.len() + theirs.len() < 120;
                if short { format!("{name}: {ours}, and {theirs}") } else { name.to_owned() }
            })
            .collect()
    }
}

impl Cpu {
    fn take() -> Self {
        let info = read("/proc/cpuinfo").unwrap_or_default();
        let flags = field(&info, "flags").or_else(|| field(&info, "Features")).unwrap_or_default();
        let has = |name: &str| flags.split_whitespace().any(|flag| flag == name);
        let system = |name: &str| read(&format!("/sys/devices/system/cpu/{name}"));
        Self {
            model: field(&info, "model name"),
            online: std::thread::available_parallelism().ok().map(usize::from),
            smt: system("smt/control"),
            governor: system("cpu0/cpufreq/scaling_governor"),
            boost: system("cpufreq/boost")
                .or_else(|| system("intel_pstate/no_turbo").map(|no| format!("no_turbo={no}"))),
            isolated: system("isolated").filter(|cores| !cores.is_empty()),
            virtual_machine: has("hypervisor") || Path::new("/sys/hypervisor/type").exists(),
            hypervisor: hypervisor(has("hypervisor")),
            features: FEATURES.iter().filter(|name| has(name)).map(|name| (*name).to_owned()).collect(),
        }
    }
}

/// The signature of the hypervisor, where there is one and the processor can be asked (CPUID, leaf 0x4000_0000).
#[cfg(target_arch = "x86_64")]
fn hypervisor(is_there: bool) -> Option<String> {
    let leaf = is_there.then(|| std::arch::x86_64::__cpuid(0x4000_0000))?;
    let bytes = [leaf.ebx, leaf.ecx, leaf.edx].map(u32::to_le_bytes).concat();
    let text = String::from_utf8_lossy(&bytes).trim_matches(['\0', ' ']).to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(not(target_arch = "x86_64"))]
fn hypervisor(_is_there: bool) -> Option<String> {
    None
}

impl Interface {
    /// Asks `ip`, and `ethtool` if it is there, about `interface` in a namespace; it is called `name` in the file.
    pub fn inspect(namespace: &Namespace, interface: &str, name: &str) -> Self {
        let described = namespace.ip(&format!("-d -j link show dev {interface}")).unwrap_or_default();
        let described: serde_json::Value = serde_json::from_str(&described).unwrap_or_default();
        let number = |key: &str| described[0][key].as_u64();
        let listed = command::output(namespace.command("ethtool").args(["-k", interface]));
        let listed = listed.ok().filter(|output| output.status.success()).map(|output| output.stdout);
        Self {
            name: name.to_owned(),
            mtu: number("mtu"),
            queues: number("num_tx_queues").zip(number("num_rx_queues")),
            gso_max: number("gso_max_size"),
            offloads: offloads(&String::from_utf8_lossy(&listed.unwrap_or_default())),
        }
    }
}

/// The features that change how packets look: segmentation, coalescing, checksums.
fn offloads(listed: &str) -> BTreeMap<String, String> {
    const RELEVANT: [&str; 5] = ["checksum", "scatter-gather", "segmentation", "receive-offload", "gro"];
    let lines = listed.lines().filter(|line| !line.contains("[fixed]"));
    let pairs = lines.filter_map(|line| line.split_once(':'));
    let pairs = pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
    pairs.filter(|(name, value)| !value.is_empty() && RELEVANT.iter().any(|part| name.contains(part))).collect()
}

/// What `program --version` says in its first line, if it says anything within two seconds.
pub fn version_of(program: &Path) -> Option<String> {
    let mut command = Command::new("timeout");
    command.args(["--kill-after", "1", "2"]).arg(program).arg("--version");
    let output = command::output(&mut command).ok().filter(|output| output.status.success())?;
    let line = String::from_utf8_lossy(&output.stdout).lines().next()?.trim().to_owned();
    (!line.is_empty()).then_some(line)
}

/// What `program -v` says first, on whichever output; wrk ends as if it had failed.
pub fn short_version_of(program: &Path) -> Option<String> {
    let output = command::output(Command::new(program).arg("-v")).ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find(|line| !line.trim().is_empty())?;
    Some(line.split(" Copyright").next().unwrap_or(line).trim().to_owned())
}

/// The SHA-256 of a program's file, as `sha256sum` prints it.
pub fn sha256_of(program: &Path) -> Option<String> {
    let printed = command::run(Command::new("sha256sum").arg(program)).ok()?;
    printed.split_whitespace().next().map(str::to_owned)
}

fn kernel() -> String {
    let part = |name: &str| read(&format!("/proc/sys/kernel/{name}")).unwrap_or_else(|| "unknown".to_owned());
    format!("{} {} {}", part("ostype"), part("osrelease"), std::env::consts::ARCH)
}

fn read(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

/// The files of a directory and their contents.
fn directory(path: &str) -> BTreeMap<String, String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let pairs = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        Some((name, fs::read_to_string(entry.path()).ok()?.trim().to_owned()))
    });
    pairs.collect()
}

/// The value of the first line `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned()).next()
}

fn number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// The word in brackets: `always [madvise] never`.
fn chosen(text: &str) -> String {
    text.split_whitespace().find(|word| word.starts_with('[')).unwrap_or(text).trim_matches(['[', ']']).to_owned()
}

fn words(text: &str, count: usize) -> String {
    text.split_whitespace().take(count).collect::<Vec<_>>().join(" ")
}

fn unquoted(text: &str) -> String {
    text.trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_prints_is_understood() {
        let info = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx2 hypervisor\n";
        assert_eq!(field(info, "model name").as_deref(), Some("AMD EPYC"));
        assert_eq!(field(info, "Features"), None);
        assert_eq!(field("MemTotal:       24625520 kB\n", "MemTotal").and_then(|text| number(&text)), Some(24_625_520));
        assert_eq!(chosen("always [madvise] never"), "madvise");
        assert_eq!(words("0.10 0.20 0.30 1/200 999", 3), "0.10 0.20 0.30");
        assert_eq!(unquoted("\"Debian\""), "Debian");
    }

    #[test]
    fn what_ethtool_prints_is_understood() {
        let listed = "Features for veth0:\nrx-checksumming: on\ntx-checksumming: on\n\ttx-checksum-ipv4: off [fixed]\n\
                      tcp-segmentation-offload: on\ntx-udp-segmentation: on\nrx-vlan-offload: on\n";
        let offloads = offloads(listed);
        let names: Vec<&str> = offloads.keys().map(String::as_str).collect();
        assert_eq!(names, ["rx-checksumming", "tcp-segmentation-offload", "tx-checksumming", "tx-udp-segmentation"]);
        assert_eq!(offloads["rx-checksumming"], "on");
    }

    #[test]
    fn figures_of_an_emulator_come_with_a_caution() {
        let stamp = |hypervisor: Option<&str>| Stamp {
            cpu: Cpu { hypervisor: hypervisor.map(str::to_owned), ..Cpu::default() },
            ..Stamp::default()
        };
        assert!(stamp(Some(EMULATOR)).caution().is_some_and(|caution| caution.contains("no benchmark")));
        assert_eq!((stamp(Some("KVMKVMKVM")).caution(), stamp(None).caution()), (None, None));
    }

    #[test]
    fn this_machine_has_a_stamp_and_does_not_differ_from_itself() {
        let stamp = Stamp::take();
        assert!(stamp.kernel.starts_with("Linux "), "{}", stamp.kernel);
        assert!(stamp.cpu.online.is_some_and(|online| online > 0));
        assert!(stamp.memory_kib.is_some_and(|kib| kib > 1_024));
        assert_eq!(stamp.differences(&stamp.clone()), Vec::<String>::new());
        assert_eq!(stamp.cpu.hypervisor.is_some(), stamp.cpu.virtual_machine && cfg!(target_arch = "x86_64"));
        let other = Stamp { kernel: "Linux 5.4 x86_64".to_owned(), ..stamp.clone() };
        assert_eq!(stamp.differences(&other).len(), 1);
        let changes: [fn(&mut Cpu); 4] = [
            |cpu| cpu.features.push("rot13".to_owned()),
            |cpu| cpu.smt = Some("notsupported, they say".to_owned()),
            |cpu| cpu.boost = Some("2".to_owned()),
            |cpu| cpu.isolated = Some("998-999".to_owned()),
        ];
        for change in changes {
            let mut other = stamp.clone();
            change(&mut other.cpu);
            assert_eq!(stamp.differences(&other).len(), 1);
        }
    }
}
