//! The machine, as the checks see it: files below a root, and what only calls can tell. Tests make up both.

use std::fs;
use std::path::{Path, PathBuf};

use ring_buffers::{Capabilities, RingError};
use tun_uring::Offloads;

use crate::control::preflight;

/// `CAP_NET_ADMIN` in `include/uapi/linux/capability.h`.
pub const CAP_NET_ADMIN: u32 = 12;
/// `CAP_IPC_LOCK`.
pub const CAP_IPC_LOCK: u32 = 14;
/// `CAP_SYS_ADMIN`.
pub const CAP_SYS_ADMIN: u32 = 21;
/// `CAP_PERFMON`.
pub const CAP_PERFMON: u32 = 38;
/// `CAP_BPF`.
pub const CAP_BPF: u32 = 39;

/// The machine.
#[derive(Debug)]
pub struct System {
    root: PathBuf,
    /// What only calls can tell.
    pub facts: Facts,
}

/// What only calls can tell.
#[derive(Clone, Debug)]
pub struct Facts {
    /// As `uname -r` prints it.
    pub release: String,
    /// What a ring can do, or why there is none.
    pub ring: Result<Capabilities, NoRing>,
    /// Offloads of a TUN device that do not work, and why. `None`: it was not tried.
    pub tun: Option<Vec<String>>,
    /// The CPUs that we may run on.
    pub cpus: Vec<usize>,
    /// What the device of the default route does itself; `None`: there is none, or it does not say.
    pub nic: Option<Nic>,
}

/// Why there is no ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoRing {
    /// `io_uring_setup` is refused (`EPERM`), or not there (`ENOSYS`).
    Forbidden,
    /// The kernel lacks this.
    Missing(String),
    /// Another error.
    Other(String),
}

impl From<RingError> for NoRing {
    fn from(error: RingError) -> Self {
        match error {
            RingError::Disabled(_) => Self::Forbidden,
            RingError::Missing(what) => Self::Missing(what),
            error => Self::Other(error.to_string()),
        }
    }
}

/// Offloads of a network card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nic {
    /// It computes checksums of what is sent.
    pub tx_checksum: bool,
    /// It takes packets that are still to be segmented, in its driver or in software.
    pub gso: bool,
    /// What it receives is merged.
    pub gro: bool,
}

/// Nothing was asked.
impl Default for Facts {
    fn default() -> Self {
        let ring = Err(NoRing::Other("it was not tried".to_owned()));
        Self { release: String::new(), ring, tun: None, cpus: Vec::new(), nic: None }
    }
}

impl Facts {
    /// Asks this machine.
    #[must_use]
    pub fn ask() -> Self {
        let release = nix::sys::utsname::uname().ok();
        let release = release.map_or_else(String::new, |names| names.release().to_string_lossy().into_owned());
        let tun = preflight::require_capability().is_ok().then(|| {
            let test = tun_uring::self_test(Offloads::ALL);
            test.failures.iter().map(ToString::to_string).collect()
        });
        let ring = ring_buffers::probe().map_err(NoRing::from);
        Self { release, ring, tun, cpus: preflight::usable_cpus().unwrap_or_default(), nic: None }
    }
}

impl System {
    /// The machine with its files below `root`, which is `/`.
    #[must_use]
    pub fn at(root: &Path, facts: Facts) -> Self {
        Self { root: root.to_owned(), facts }
    }

    /// A file without the white space around it; `None` if it cannot be read.
    #[must_use]
    pub fn read(&self, path: &str) -> Option<String> {
        Some(fs::read_to_string(self.root.join(path)).ok()?.trim().to_owned())
    }

    /// A file that holds a number.
    #[must_use]
    pub fn number(&self, path: &str) -> Option<i64> {
        self.read(path)?.parse().ok()
    }

    /// A file that holds a list of CPUs, as in `0-3,6`.
    #[must_use]
    pub fn cpus(&self, path: &str) -> Option<Vec<usize>> {
        cpu_list(&self.read(path)?)
    }

    /// Whether there is something.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// The names in a directory, sorted.
    #[must_use]
    pub fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_unstable();
        names
    }

    /// A field of a process's status: `CapEff`, `Seccomp`.
    #[must_use]
    pub fn status(&self, process: &str, field: &str) -> Option<String> {
        let status = self.read(&format!("proc/{process}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
        Some(line.trim().to_owned())
    }

    /// Whether a process has a capability; yes, if that cannot be known.
    #[must_use]
    pub fn has_capability(&self, process: &str, capability: u32) -> bool {
        let set = self.status(process, "CapEff").and_then(|set| u64::from_str_radix(&set, 16).ok());
        set.is_none_or(|set| set >> capability & 1 == 1)
    }
}

/// The kernel's list format; `None` for anything else. Empty for nothing.
#[must_use]
pub fn cpu_list(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    Some(cpus)
}

/// CPUs as the kernel writes them.
#[must_use]
pub fn cpu_text(cpus: &[usize]) -> String {
    let mut cpus = cpus.to_vec();
    cpus.sort_unstable();
    cpus.dedup();
    let runs = cpus.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
        [only] => only.to_string(),
        [first, .., last] => format!("{first}-{last}"),
        [] => String::new(),
    });
    runs.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
pub mod fake {
    //! A machine that a test makes up.

    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Files in a directory that is removed in the end. Without any, nothing is wrong with it.
    pub struct Machine {
        pub system: System,
    }

    impl Machine {
        pub fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let root = std::env::temp_dir().join(format!("ringfort-doctor-{}-{number}", std::process::id()));
            fs::create_dir_all(&root).unwrap();
            let facts = Facts {
                release: "6.18.0".to_owned(),
                ring: Ok(Capabilities { read_multishot: true, writev_fixed: true }),
                tun: Some(Vec::new()),
                cpus: vec![0, 1, 2, 3],
                nic: Some(Nic { tx_checksum: true, gso: true, gro: true }),
            };
            Self { system: System::at(&root, facts) }
        }

        /// With a file more, or another text in it.
        pub fn file(self, path: &str, text: &str) -> Self {
            let path = self.system.root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            self
        }

        /// With other facts.
        pub fn facts(mut self, change: impl FnOnce(&mut Facts)) -> Self {
            change(&mut self.system.facts);
            self
        }
    }

    impl Drop for Machine {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.system.root);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fake::Machine;
    use super::*;

    #[test]
    fn lists_of_cpus_are_read_and_written_as_the_kernel_does() {
        assert_eq!(cpu_list("0-3,6\n"), Some(vec![0, 1, 2, 3, 6]));
        assert_eq!(cpu_list(""), Some(Vec::new()));
        assert_eq!(cpu_list("many"), None);
        assert_eq!(cpu_text(&[6, 0, 1, 2, 3, 3]), "0-3,6");
        assert_eq!(cpu_text(&[]), "");
    }

    #[test]
    fn capabilities_are_read_from_the_status() {
        let machine = Machine::new().file("proc/7/status", "Name:\tx\nCapEff:\t0000000000001000\nSeccomp:\t2\n");
        assert!(machine.system.has_capability("7", CAP_NET_ADMIN));
        assert!(!machine.system.has_capability("7", CAP_BPF));
        assert!(machine.system.has_capability("8", CAP_BPF), "unknown");
        assert_eq!(machine.system.status("7", "Seccomp").as_deref(), Some("2"));
    }
}
