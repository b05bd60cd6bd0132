//! Gateways under test: which program, how it is started, and how it ends.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::thread::{panicking, sleep};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process::status_field;
pub use crate::programs::{find_in_path, peers_directory};
use crate::{Context, Error, Namespace, Result, janitor, kernel, uapi};

/// How long a gateway may take to answer on its socket, and to end after SIGTERM. Ours waits 60 s for an interface.
const PATIENCE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(10);

/// A WireGuard implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Implementation {
    /// The one in this repository.
    Ringfort,
    /// wireguard-go, as Debian packages it.
    WireguardGo,
    /// boringtun-cli of crates.io.
    Boringtun,
    /// gotatun-cli of crates.io.
    Gotatun,
    /// WireGuard of the kernel. No process does its work: `ip` makes its interfaces, `wg` configures them.
    Kernel,
    /// Any other: its command line is a template.
    Other,
}

/// A program that can be started as a gateway.
#[derive(Clone, Debug)]
pub struct Program {
    /// What it is: decides its command line.
    pub implementation: Implementation,
    /// Where it is; a bare name is looked up in `PATH`.
    pub path: PathBuf,
    /// Options before the name of the interface; of [`Implementation::Other`] all words after the path, in which
    /// [`INTERFACE`] stands for that name.
    pub options: Vec<String>,
}

/// What stands for the name of the interface in a template.
pub const INTERFACE: &str = "{interface}";

impl Program {
    /// Ringfort at `path`.
    pub fn ringfort(path: impl Into<PathBuf>) -> Self {
        Self { implementation: Implementation::Ringfort, path: path.into(), options: Vec::new() }
    }

    /// Another implementation: where `ringfort-bench fetch-peers` put it, or else in `PATH`; or in the kernel.
    ///
    /// # Errors
    /// It is in no such place.
    pub fn peer(implementation: Implementation) -> Result<Self> {
        let name = match implementation {
            Implementation::Ringfort | Implementation::Other => {
                return Err(Error::new("this is not a peer to be installed"));
            }
            Implementation::WireguardGo => "wireguard-go",
            Implementation::Boringtun => "boringtun-cli",
            Implementation::Gotatun => "gotatun",
            Implementation::Kernel => {
                kernel::probe()?;
                return Ok(Self { implementation, path: "wg".into(), options: Vec::new() });
            }
        };
        let directory = peers_directory().join("bin");
        let path = find_in_path(Path::new(name), &directory).ok_or_else(|| {
            let place = directory.display();
            Error::new(format!("{name} is neither in {place} nor in PATH: `ringfort-bench fetch-peers` installs it"))
        })?;
        Ok(Self { implementation, path, options: Vec::new() })
    }

    /// Any other program. Of `template`, split at spaces, the first word is the program, and `{interface}` stands for
    /// the name of the interface. It has to stay in the foreground: `/path/to/wireguard-go -f {interface}`.
    ///
    /// # Errors
    /// No program, or nothing that stands for the interface.
    pub fn template(template: &str) -> Result<Self> {
        let mut words = template.split_whitespace().map(str::to_owned);
        let path = words.next().ok_or_else(|| Error::new("an empty command line"))?;
        let options: Vec<String> = words.collect();
        if !options.iter().any(|word| word.contains(INTERFACE)) {
            return Err(Error::new(format!("`{template}` does not say where the interface goes: write {INTERFACE}")));
        }
        Ok(Self { implementation: Implementation::Other, path: path.into(), options })
    }

    /// The same program with more options, split at spaces.
    #[must_use]
    pub fn with_options(mut self, options: &str) -> Self {
        self.options.extend(options.split_whitespace().map(str::to_owned));
        self
    }

    /// The words after the program's path that run it in the foreground on `interface`.
    pub fn arguments(&self, interface: &str) -> Vec<String> {
        if self.implementation == Implementation::Other {
            return self.options.iter().map(|word| word.replace(INTERFACE, interface)).collect();
        }
        let mut words = vec!["-f".to_owned()];
        if matches!(self.implementation, Implementation::Boringtun | Implementation::Gotatun) {
            words.push("--disable-drop-privileges".to_owned());
        }
        words.extend(self.options.iter().cloned());
        words.push(interface.to_owned());
        words
    }
}

/// A gateway that runs in the foreground in a namespace. Dropping it ends it.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    interface: String,
    log: PathBuf,
}

impl Daemon {
    /// Starts `program` on `interface` and returns when its UAPI socket answers.
    ///
    /// # Errors
    /// It ended or did not answer within 90 s: the error holds what it printed.
    pub fn start(program: &Program, namespace: &Namespace, interface: &str) -> Result<Self> {
        let mut daemon = Self::spawn(program, namespace, interface)?;
        let deadline = Instant::now() + PATIENCE;
        while uapi::get(interface).is_err() {
            let ended = daemon.child.try_wait().context("waiting for the gateway")?;
            if ended.is_some() || Instant::now() > deadline {
                let state = ended.map_or("does not answer".to_owned(), |status| format!("ended with {status}"));
                return Err(Error::new(format!("{} {state}; it printed:\n{}", program.path.display(), daemon.log())));
            }
            sleep(POLL);
        }
        Ok(daemon)
    }

    /// Starts `program` and does not wait: for those that are expected to refuse.
    ///
    /// # Errors
    /// The process could not be made.
    pub fn spawn(program: &Program, namespace: &Namespace, interface: &str) -> Result<Self> {
        let mut command = namespace.command(&program.path);
        command.args(program.arguments(interface));
        Self::spawn_command(command, interface)
    }

    /// Runs a whole command line that ends up as a gateway on `interface`, its output going to a log.
    ///
    /// # Errors
    /// The process could not be made.
    pub fn spawn_command(mut command: std::process::Command, interface: &str) -> Result<Self> {
        let _permit = janitor::permit();
        let log = janitor::directory().join(format!("{}.log", janitor::unique_name()));
        let output = File::create(&log).context(log.display())?;
        let errors = output.try_clone().context("sharing the log")?;
        // What a gateway keeps for its next start goes away with everything else.
        command.env("STATE_DIRECTORY", janitor::directory());
        let child = command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn().context("starting a gateway")?;
        Ok(Self { child, interface: interface.to_owned(), log })
    }

    /// The name of its tunnel interface.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("Linux process ids fit an i32")
    }

    /// Everything that it printed so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        // A process that is already gone needs no signal.
        let _ = kill(Pid::from_raw(self.pid()), signal);
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// It still runs after `patience`.
    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().context("waiting for the gateway")? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(Error::new(format!("the gateway still runs after {patience:?}\n{}", self.log())));
            }
            sleep(POLL);
        }
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Errors
    /// It does not end within 90 s.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM);
        self.wait(PATIENCE)
    }

    /// SIGKILL, and waits for its end: what a crash looks like.
    ///
    /// # Errors
    /// It could not be waited for.
    pub fn kill(mut self) -> Result<ExitStatus> {
        self.child.kill().context("killing the gateway")?;
        self.child.wait().context("waiting for the gateway")
    }

    /// The most memory that it ever held (`VmHWM`), in KiB; `None` when it is gone.
    pub fn memory_peak_kib(&self) -> Option<u64> {
        self.status_field("VmHWM:")
    }

    /// The memory that it holds now (`VmRSS`), in KiB; `None` when it is gone.
    pub fn memory_kib(&self) -> Option<u64> {
        self.status_field("VmRSS:")
    }

    fn status_field(&self, field: &str) -> Option<u64> {
        status_field(&fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?, field)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.signal(Signal::SIGTERM);
        if self.wait(Duration::from_secs(3)).is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if panicking() {
            eprintln!("--- log of the gateway on {}:\n{}---", self.interface, self.log());
        }
        let _ = fs::remove_file(&self.log);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines() {
        let ringfort = Program::ringfort("/bin/ringfort").with_options("--workers 2");
        assert_eq!(ringfort.arguments("wg0"), ["-f", "--workers", "2", "wg0"]);
        let other = Program::template("/opt/wireguard-go  -f --name={interface} {interface}").unwrap();
        assert_eq!(other.path, PathBuf::from("/opt/wireguard-go"));
        assert_eq!(other.arguments("wg0"), ["-f", "--name=wg0", "wg0"]);
        assert!(Program::template("").is_err());
        assert!(Program::template("/opt/wireguard-go -f wg0").unwrap_err().to_string().contains("{interface}"));
    }
}
