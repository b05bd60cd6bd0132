//! The other implementations, and the tools that measure along: which ones there are, and how they get here.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use ringfort_testbed::daemon::{find_in_path, peers_directory};
use ringfort_testbed::janitor::{self, Job};
use ringfort_testbed::{Context, Error, Result, command};

use crate::results::stamp::{short_version_of, version_of};
use crate::text::table;

/// Packages of Debian, and what is needed of them.
const PACKAGES: [(&str, &str); 5] = [
    ("iproute2", "ip"),
    ("wireguard-go", "wireguard-go"),
    ("iperf3", "iperf3"),
    ("ethtool", "ethtool"),
    ("wrk", "wrk"),
];

/// A program, and the package of Debian that has it. It is not installed: that would start a service. Its
/// libraries are those of wrk, and of what every Debian has.
const NGINX: &str = "nginx";

/// Programs of crates.io; the version is fixed, so figures can be compared.
const CRATES: [Crate; 2] = [
    Crate { name: "boringtun-cli", version: "0.7.1", program: "boringtun-cli" },
    Crate { name: "gotatun-cli", version: "0.10.2", program: "gotatun" },
];

/// What a person may choose.
#[derive(Args, Debug)]
pub struct Options {
    /// Install nothing: say what is there, and fail when something is missing
    #[arg(long)]
    check: bool,
}

#[derive(Clone, Copy, Debug)]
struct Crate {
    name: &'static str,
    version: &'static str,
    program: &'static str,
}

/// Installs what is missing and shows what there is.
///
/// # Errors
/// Something cannot be installed: the error says what to do.
pub fn run(options: &Options) -> Result<()> {
    if !options.check {
        install_packages()?;
        unpack_nginx()?;
        for wanted in CRATES {
            wanted.install()?;
        }
    }
    let missing = show();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::new(format!("missing: {}; run `ringfort-bench fetch-peers` as root", missing.join(", "))))
}

/// Prints a table, and returns what is not there.
fn show() -> Vec<&'static str> {
    let mut rows = table(&["program", "version", "where"]);
    let mut missing = Vec::new();
    let programs = PACKAGES.iter().map(|(_, program)| *program).chain([NGINX]);
    let programs = programs.chain(CRATES.iter().map(|wanted| wanted.program));
    for program in programs {
        match find(program) {
            Some(path) => {
                let asked = if [NGINX, "wrk"].contains(&program) { short_version_of } else { version_of };
                let version = asked(&path).unwrap_or_else(|| "unknown".to_owned());
                rows.add_row([program, &version, &path.display().to_string()]);
            }
            None => {
                rows.add_row([program, "–", "missing"]);
                missing.push(program);
            }
        }
    }
    println!("{rows}");
    missing
}

/// Where a program is, if it is there.
pub fn find(program: &str) -> Option<PathBuf> {
    find_in_path(Path::new(program), &peers_directory().join("bin"))
}

/// Those of Debian's packages whose programs are missing.
fn install_packages() -> Result<()> {
    let missing: Vec<&str> =
        PACKAGES.iter().filter(|(_, program)| find(program).is_none()).map(|(package, _)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    need_apt(&missing.join(" "))?;
    eprintln!("installing {}", missing.join(" "));
    command::run(apt().args(["update", "-qq"]))?;
    command::run(apt().args(["install", "-qq", "-y", "--no-install-recommends"]).args(missing)).map(drop)
}

/// Takes nginx out of its package, and puts it where the other implementations are.
fn unpack_nginx() -> Result<()> {
    if find(NGINX).is_some() {
        return Ok(());
    }
    need_apt(NGINX)?;
    eprintln!("unpacking {NGINX}");
    let scratch = peers_directory().join(format!("unpack.{}", janitor::unique_name()));
    let removal = Job::removal(&scratch)?;
    std::fs::create_dir_all(&scratch).context(scratch.display())?;
    let unpacked = unpack(&scratch);
    let removed = std::fs::remove_dir_all(&scratch).context(scratch.display());
    drop(removal);
    unpacked.and(removed)
}

fn unpack(scratch: &Path) -> Result<()> {
    command::run(apt().args(["update", "-qq"]))?;
    command::run(apt().args(["download", "-qq", NGINX]).current_dir(scratch))?;
    let mut files = std::fs::read_dir(scratch).context(scratch.display())?.flatten().map(|entry| entry.path());
    let package = files.find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let package = package.ok_or_else(|| Error::new(format!("apt-get downloaded no package {NGINX}")))?;
    command::run(Command::new("dpkg").arg("--extract").arg(package).arg(scratch))?;
    let program = scratch.join("usr/sbin").join(NGINX);
    command::run(Command::new(&program).arg("-v"))
        .context("the nginx of this system's package: install it yourself")?;
    let programs = peers_directory().join("bin");
    std::fs::create_dir_all(&programs).context(programs.display())?;
    command::copy_program(&program, &programs.join(NGINX))
}

/// Refuses to go on without apt-get and root.
fn need_apt(wanted: &str) -> Result<()> {
    if find("apt-get").is_none() {
        return Err(Error::new(format!("there is no apt-get: install {wanted} in your system's own way")));
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::new(format!("installing {wanted} needs root: run this as root (sudo)")));
    }
    Ok(())
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    // A server may not answer at once, and another apt-get may be at work.
    apt.args(["-o", "Acquire::Retries=5", "-o", "DPkg::Lock::Timeout=300"]).env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

impl Crate {
    /// Builds and installs it with `cargo install`, unless this version is there.
    fn install(self) -> Result<()> {
        let peers = peers_directory();
        let stamp = peers.join(format!("{}-{}", self.name, self.version));
        if stamp.exists() && peers.join("bin").join(self.program).exists() {
            return Ok(());
        }
        if find("cargo").is_none() {
            let name = self.name;
            return Err(Error::new(format!(
                "{name} is built with cargo: install a Rust toolchain (https://rustup.rs)"
            )));
        }
        eprintln!("building {} {} into {}", self.name, self.version, peers.display());
        std::fs::create_dir_all(&peers).context(peers.display())?;
        // Quick to build matters more than quick to build again, and it is large: it does not outlive this.
        let build = peers.join(format!("build.{}", janitor::unique_name()));
        let removal = Job::removal(&build)?;
        let built = self.build(&peers, &build);
        let removed = if build.exists() { std::fs::remove_dir_all(&build).context(build.display()) } else { Ok(()) };
        drop(removal);
        built.and(removed)?;
        self.forget_other_versions(&peers)?;
        std::fs::write(&stamp, "").context(stamp.display())
    }

    fn build(self, peers: &Path, build: &Path) -> Result<()> {
        let mut cargo = Command::new("nice");
        cargo.args(["-n", "10", "cargo", "install", "--quiet", "--locked", "--force", "--version", self.version]);
        cargo.arg("--root").arg(peers).arg(self.name).env("CARGO_TARGET_DIR", build);
        // A group of its own, which the janitor ends with all compilers in it.
        let mut child = {
            let _permit = janitor::permit();
            cargo.stdin(Stdio::null()).process_group(0).spawn().context("starting cargo")?
        };
        let job = Job::group(child.id())?;
        let status = child.wait().context("waiting for cargo")?;
        drop(job);
        if status.success() {
            return Ok(());
        }
        Err(Error::new(format!(
            "{} {} could not be built: `cargo install` ended with {status}",
            self.name, self.version
        )))
    }

    fn forget_other_versions(self, peers: &Path) -> Result<()> {
        let entries = std::fs::read_dir(peers).context(peers.display())?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let version = name.to_str().and_then(|name| name.strip_prefix(self.name)?.strip_prefix('-'));
            if version.is_some_and(|version| version.starts_with(|first: char| first.is_ascii_digit())) {
                std::fs::remove_file(entry.path()).context(entry.path().display())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stamps_of_the_same_crate_are_removed() {
        let directory = janitor::directory().join("peers");
        std::fs::create_dir_all(&directory).unwrap();
        for name in ["boringtun-cli-0.6.0", "boringtun-cli-new", "gotatun-cli-0.10.2", "bin"] {
            std::fs::write(directory.join(name), "").unwrap();
        }
        CRATES[0].forget_other_versions(&directory).unwrap();
        let mut left: Vec<_> =
            std::fs::read_dir(&directory).unwrap().flatten().map(|entry| entry.file_name()).collect();
        left.sort();
        assert_eq!(left, ["bin", "boringtun-cli-new", "gotatun-cli-0.10.2"]);
    }
}
