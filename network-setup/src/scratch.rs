//! For tests: a directory in the place of the machine's files and programs, and all that a setup may touch as text.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use ringfort_testbed::scratch::ip;

use crate::host::Host;

/// A directory that is removed when dropped.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("network-setup-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(path.join("bin")).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A machine with the programs of this directory and no others.
    pub(crate) fn host(&self) -> Host {
        Host::new(self.0.join("bin"), &self.0)
    }

    /// Makes a program of a shell script, in which `ROOT` is this directory.
    pub(crate) fn program(&self, name: &str, script: &str) {
        let path = self.0.join("bin").join(name);
        let script = script.replace("ROOT", self.0.to_str().unwrap());
        // Renamed into place: one that another thread's child still has open for writing could not be run.
        let new = path.with_extension("new");
        fs::write(&new, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&new, &path).unwrap();
    }

    /// Makes a program that is another of this machine.
    pub(crate) fn link(&self, name: &'static str) {
        std::os::unix::fs::symlink(installed(name), self.0.join("bin").join(name)).unwrap();
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.host().file(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// A way out of the namespace of the calling thread, through an interface `up0` without an address.
pub(crate) fn way_out() {
    ip("link set lo up");
    ip("link add up0 type veth peer name up1");
    for name in ["up0", "up1"] {
        // No address of its own that comes later.
        fs::write(format!("/proc/sys/net/ipv6/conf/{name}/addr_gen_mode"), "1").unwrap();
        ip(&format!("link set {name} up"));
    }
    // The kernel gets round to the carrier later, and then makes these routes.
    let is_ready = |name| output("ip -6 route show table all").contains(&format!("ff00::/8 dev {name}"));
    while !is_ready("up0") || !is_ready("up1") {
        std::thread::yield_now();
    }
}

/// Where a program of this machine is.
pub(crate) fn installed(name: &'static str) -> PathBuf {
    let places = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(|directory| Path::new(directory).join(name));
    places.into_iter().find(|path| path.exists()).unwrap_or_else(|| panic!("{name} must be installed"))
}

/// What a program writes, in the namespace of the calling thread.
pub(crate) fn output(line: &str) -> String {
    let words: Vec<_> = line.split(' ').collect();
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap_or_else(|error| panic!("{line}: {error}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns when all addresses of the namespace are valid. They become that from a work queue, and then have routes.
pub(crate) fn are_valid() {
    while output("ip -6 address").contains("tentative") {
        std::thread::yield_now();
    }
}

/// All that a setup may touch, except the interface itself.
pub(crate) fn routing() -> String {
    let lines =
        ["ip -4 route show table all", "ip -6 route show table all", "ip -4 rule", "ip -6 rule", "nft list ruleset"];
    lines.map(|line| format!("# {line}\n{}", output(line))).concat()
}

/// All that a setup may touch.
pub(crate) fn everything() -> String {
    are_valid();
    output("ip address") + &routing()
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
