//! A machine of the pair: a gateway, keepalived, what the example brings, and who copies endpoints.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringfort_testbed::command::{run, write_program};
use ringfort_testbed::daemon::Program;
use ringfort_testbed::janitor;
use ringfort_testbed::tunnel::{MTU, PORT};
use ringfort_testbed::{Context, Daemon, Error, KeyPair, Namespace, Result, uapi};

use super::network::{INTERFACES, Network, OUTER_ADDRESS, TUNNEL_ADDRESS, addresses};
use super::place::{Place, Process};
use super::ssh::Ssh;

/// 150 has the addresses when both could.
const PRIORITIES: [u32; 2] = [150, 100];

/// See the module.
#[derive(Debug)]
pub struct Machine {
    number: usize,
    keepalived: Option<Process>,
    copies: Option<Process>,
    ssh: Option<Process>,
    daemon: Option<Daemon>,
    program: Program,
    interface: String,
    directory: PathBuf,
    /// Where all of it runs.
    pub namespace: Namespace,
}

/// What every machine of the pair is told.
#[derive(Debug)]
pub struct Pair {
    /// The key that both have.
    pub keys: KeyPair,
    /// All peers, as lines of the configuration protocol.
    pub peers: String,
    /// How many they are.
    pub peer_count: usize,
}

impl Machine {
    /// A machine with its cables, on which nothing runs.
    ///
    /// # Errors
    /// As [`Namespace::new`].
    pub fn new(number: usize, program: &Program, network: &Network, place: &Place) -> Result<Self> {
        let namespace = Namespace::new()?;
        network.connect_machine(number, &namespace)?;
        let directory = place.of_machine(number);
        fs::create_dir(&directory).context(directory.display())?;
        let program = program.clone().with_options("--passive");
        let interface = janitor::unique_name();
        Ok(Self {
            number,
            keepalived: None,
            copies: None,
            ssh: None,
            daemon: None,
            program,
            interface,
            directory,
            namespace,
        })
    }

    /// The name of its tunnel.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Writes the example's files for this machine.
    ///
    /// # Errors
    /// The system's, or the example has no such line.
    pub fn install(&self, place: &Place, ssh: &str) -> Result<()> {
        let script = place.script(self.number);
        let text = format!(
            "#!/bin/sh\nexport PATH='{root}':\"$PATH\" RINGFORT_PAIR_RUN='{root}/run' RINGFORT_PAIR_STATE='{state}' \
             RINGFORT_PAIR_SSH='{ssh}'\nexec '{root}/ringfort-pair' \"$@\"\n",
            root = place.path.display(),
            state = janitor::directory().display(),
        );
        write_program(&text, &script)?;
        let variables = self.directory.join("pair.conf");
        let mut text = place.example("pair.conf")?;
        for (name, value) in [
            ("TUNNEL", self.interface.as_str()),
            ("PRIORITY", &PRIORITIES[self.number].to_string()),
            ("OUTER_INTERFACE", INTERFACES[0]),
            ("INNER_INTERFACE", INTERFACES[1]),
        ] {
            text = with_variable(&text, name, value)?;
        }
        fs::write(&variables, text).context(variables.display())?;
        let text = place.example("keepalived.conf")?;
        let text = text.replace("/etc/keepalived/pair.conf", &variables.display().to_string());
        let text = text.replace("/usr/local/lib/ringfort-pair/ringfort-pair", &script.display().to_string());
        fs::write(self.keepalived_conf(), text).context("keepalived.conf")
    }

    fn keepalived_conf(&self) -> PathBuf {
        self.directory.join("keepalived.conf")
    }

    /// Starts the gateway, which stands by, and tells it of all peers.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn start_gateway(&mut self, pair: &Pair) -> Result<()> {
        self.daemon = Some(Daemon::start(&self.program, &self.namespace, &self.interface)?);
        let key = pair.keys.private.hex();
        uapi::set(&self.interface, &format!("private_key={key}\nlisten_port={PORT}\n{}", pair.peers))?;
        self.namespace.ip(&format!("link set {} addrgenmode none mtu {MTU}", self.interface))?;
        self.namespace.add_address(&self.interface, TUNNEL_ADDRESS.into(), 24)?;
        self.namespace.ip(&format!("link set {} up", self.interface)).map(drop)
    }

    /// Kills the gateway.
    ///
    /// # Errors
    /// As [`Daemon::kill`].
    pub fn kill_gateway(&mut self) -> Result<()> {
        self.daemon.take().map_or(Ok(()), |daemon| daemon.kill().map(drop))
    }

    /// Starts keepalived.
    ///
    /// # Errors
    /// The system's, or keepalived does not like its configuration.
    pub fn start_keepalived(&mut self, keepalived: &Path) -> Result<()> {
        let conf = self.keepalived_conf();
        run(self.namespace.command(keepalived).arg("--config-test").arg("--use-file").arg(&conf))
            .context("the example's keepalived.conf")?;
        let mut command = self.namespace.command(keepalived);
        command.args(["--dont-fork", "--log-console", "--no-syslog", "--vrrp", "--use-file"]).arg(&conf);
        for (option, file) in [("--pid", "keepalived.pid"), ("--vrrp_pid", "vrrp.pid")] {
            command.arg(option).arg(self.directory.join(file));
        }
        self.keepalived = Some(Process::start(command, &self.directory.join("keepalived.log"))?);
        Ok(())
    }

    /// Stops keepalived, as an operator does who wants the other machine to serve. The example's drop-in for systemd
    /// has the gateway follow the address once more then, and so do we.
    ///
    /// # Errors
    /// The example's script cannot have the gateway follow.
    pub fn stop_keepalived(&mut self, place: &Place) -> Result<()> {
        drop(self.keepalived.take());
        let mut command = self.namespace.command(place.script(self.number));
        run(command.args(["follow", &self.interface, &OUTER_ADDRESS.to_string()])).map(drop)
    }

    /// Starts what copies the other machine's endpoints here, and lets the other machine do the same.
    ///
    /// # Errors
    /// The system's.
    pub fn start_copies(&mut self, place: &Place, ssh: &Ssh) -> Result<()> {
        self.ssh = ssh.serve(&self.namespace, &self.directory)?;
        let mut command = self.namespace.command(place.script(self.number));
        let other = addresses(1 - self.number)[1];
        command.args(["pull", &self.interface, &format!("root@{other}")]);
        self.copies = Some(Process::start(command, &self.directory.join("pull.log"))?);
        Ok(())
    }

    /// All that runs ends at once.
    ///
    /// # Errors
    /// As [`Namespace::processes`].
    pub fn take_away(&mut self) -> Result<()> {
        for pid in self.namespace.processes()? {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        (self.keepalived, self.copies, self.ssh, self.daemon) = (None, None, None, None);
        // What a kernel forgets that is switched off.
        for (interface, own) in INTERFACES.into_iter().zip(addresses(self.number)) {
            self.namespace.ip(&format!("address flush dev {interface}"))?;
            self.namespace.add_address(interface, own.into(), 24)?;
        }
        self.namespace.ip("route replace default via 192.0.2.254").map(drop)
    }

    /// Whether the gateway serves; `None` if there is none.
    pub fn is_active(&self) -> Option<bool> {
        uapi::stats(&self.interface).ok().map(|stats| stats.get("passive") == Some(&0))
    }

    /// Whether keepalived would take the addresses over: neither at fault, nor at work.
    pub fn is_backup(&self) -> bool {
        let log = fs::read_to_string(self.directory.join("keepalived.log")).unwrap_or_default();
        ["outer", "inner"].iter().all(|instance| {
            let head = format!("({instance}) Entering ");
            let last = log.lines().rev().find_map(|line| line.split_once(&head));
            last.is_some_and(|(_, state)| state.starts_with("BACKUP"))
        })
    }

    /// Whether the outer address is here.
    ///
    /// # Errors
    /// As [`Namespace::ip`].
    pub fn has_address(&self) -> Result<bool> {
        let shown = self.namespace.ip(&format!("-oneline address show to {OUTER_ADDRESS}"))?;
        Ok(!shown.is_empty())
    }

    /// Adds or removes the outer address by hand.
    ///
    /// # Errors
    /// As [`Namespace::ip`].
    pub fn set_address(&self, is_here: bool) -> Result<()> {
        let verb = if is_here { "add" } else { "del" };
        self.namespace.ip(&format!("address {verb} {OUTER_ADDRESS}/24 dev {}", INTERFACES[0])).map(drop)
    }

    /// Runs a command of the gateway that concerns it, and returns what it took until it had returned.
    ///
    /// # Errors
    /// It failed.
    pub fn command(&self, words: &[&str]) -> Result<Duration> {
        let began = std::time::Instant::now();
        run(Command::new(&self.program.path).args(words).arg(&self.interface))?;
        Ok(began.elapsed())
    }

    /// Has this machine not hear the other one, or hear it again.
    ///
    /// # Errors
    /// nftables refuses.
    pub fn set_deaf(&self, is_deaf: bool) -> Result<()> {
        if !is_deaf {
            return self.namespace.run("nft delete table ip pair").map(drop);
        }
        self.namespace.run("nft add table ip pair")?;
        self.namespace.run("nft add chain ip pair input { type filter hook input priority 0 ; }")?;
        self.namespace.run("nft add rule ip pair input ip protocol 112 drop").map(drop)
    }

    /// What keepalived and the scripts said, for who looks for a fault.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for name in ["keepalived.log", "pull.log"] {
            text += &format!("--- machine {}: {name}\n", self.number);
            text += &fs::read_to_string(self.directory.join(name)).unwrap_or_default();
        }
        text + &self.daemon.as_ref().map_or_else(String::new, |daemon| format!("--- gateway\n{}", daemon.log()))
    }
}

/// A file of keepalived's in which a variable has another value.
fn with_variable(text: &str, name: &str, value: &str) -> Result<String> {
    let head = format!("${name}=");
    let mut found = false;
    let lines = text.lines().map(|line| {
        let is_it = line.starts_with(&head);
        found |= is_it;
        if is_it { format!("{head}{value}\n") } else { format!("{line}\n") }
    });
    let text: String = lines.collect();
    if found { Ok(text) } else { Err(Error::new(format!("pair.conf has no line `{head}`"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_of_the_example_gets_its_value() {
        let text = with_variable("# x\n$A=1\n$AB=2\n", "A", "7").unwrap();
        assert_eq!(text, "# x\n$A=7\n$AB=2\n");
        assert!(with_variable(&text, "C", "1").unwrap_err().to_string().contains("$C="));
    }
}
