//! `ringfort up`, `reload` and `down`: a gateway that is all that its file says, with real traffic.

mod crowd;
mod file;
mod life;
mod reload;
mod restart;
mod shown;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringfort_testbed::ping::{self, Background};
use ringfort_testbed::tunnel::PORT;
use ringfort_testbed::{Daemon, Implementation, Key, KeyPair, Namespace, Wire, command, janitor, uapi};

use crate::harness::traffic::{OPENING, PATIENCE};
use crate::harness::{eventually, peer, us, wg};

const THEIRS: &str = "10.77.0.2";
/// A network behind the other end, which no address of ours covers.
const BEHIND: &str = "10.99.0.0/24";

/// A namespace for the gateway under test, its file, and the other end of its tunnel.
struct Setting {
    wire: Wire,
    directory: PathBuf,
    interface: String,
    keys: KeyPair,
    far: Daemon,
    far_keys: KeyPair,
}

impl Setting {
    fn new() -> Self {
        let wire = Wire::new().unwrap();
        let directory = janitor::directory().join(janitor::unique_name());
        std::fs::create_dir(&directory).unwrap();
        let (keys, far_keys) = (KeyPair::random().unwrap(), KeyPair::random().unwrap());
        let name = janitor::unique_name();
        let there = &wire.ends[1];
        let far = Daemon::start(&peer(Implementation::Ringfort), there, &name).unwrap();
        let lines = format!(
            "private_key={}\nlisten_port={PORT}\npublic_key={}\nallowed_ip=10.77.0.1/32\nallowed_ip=10.77.0.9/32\n",
            far_keys.private.hex(),
            keys.public.hex()
        );
        uapi::set(&name, &lines).unwrap();
        there.add_address(&name, THEIRS.parse().unwrap(), 24).unwrap();
        there.ip(&format!("link set {name} up")).unwrap();
        Self { wire, directory, interface: janitor::unique_name(), keys, far, far_keys }
    }

    fn here(&self) -> &Namespace {
        &self.wire.ends[0]
    }

    fn path(&self) -> PathBuf {
        self.directory.join(format!("{}.conf", self.interface))
    }

    fn interface_section(&self, more: &str) -> String {
        format!(
            "[Interface]\nPrivateKey = {}\nListenPort = {PORT}\nAddress = 10.77.0.1/24\n{more}\n",
            self.keys.private.base64()
        )
    }

    fn peer_section(&self, more: &str) -> String {
        let key = self.far_keys.public.base64();
        format!("[Peer]\nPublicKey = {key}\nAllowedIPs = {THEIRS}/32, {BEHIND}\nEndpoint = 10.200.0.2:{PORT}\n{more}\n")
    }

    /// Nobody else may read it: it has a key.
    fn write(&self, text: &str) {
        std::fs::write(self.path(), text).unwrap();
        std::fs::set_permissions(self.path(), Permissions::from_mode(0o600)).unwrap();
    }

    fn output(&self, words: &[&str]) -> Output {
        command::output(self.here().command(us().path).args(words)).unwrap()
    }

    /// A command that must succeed, about the file.
    fn run(&self, word: &str) -> String {
        command::run(self.here().command(us().path).arg(word).arg(self.path())).unwrap()
    }

    /// The same for one that must not: its status and what it says.
    fn fails(&self, word: &str) -> (i32, String) {
        let output = self.output(&[word, &self.path().display().to_string()]);
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn is_answered(&self) {
        ping::until_answered(self.here(), THEIRS.parse().unwrap(), OPENING).unwrap();
    }

    /// All that a gateway could leave behind, as text.
    fn state(&self) -> String {
        let commands = [
            "ip -4 rule",
            "ip -6 rule",
            "ip -4 route show table all",
            "ip -6 route show table main",
            "nft list ruleset",
        ];
        let mut text: String = commands.iter().map(|line| self.here().run(line).unwrap()).collect();
        text += &self.here().ip("-brief link").unwrap();
        let settled = text.lines().filter(|line| !line.starts_with("fe80:"));
        settled.map(|line| line.replace(" linkdown", "") + "\n").collect()
    }

    fn assert_nothing_is_left(&self, before: &str) {
        assert_eq!(self.state(), before);
        assert!(!uapi::socket_path(&self.interface).exists(), "a socket was left behind");
        assert_eq!(self.here().processes().unwrap(), [0_i32; 0], "a process was left behind");
    }

    /// In the foreground, as a supervisor has it, once it is ready.
    fn supervised(&self) -> Daemon {
        let mut command = self.here().command(us().path);
        command.args(["up", "--foreground"]).arg(self.path());
        let daemon = Daemon::spawn_command(command, &self.interface).unwrap();
        // The last that is set up. One that was killed before may still have its interface, until this one has it.
        eventually(OPENING, &format!("it is up: {}", daemon.log()), || {
            let route = format!("{BEHIND} dev {}", self.interface);
            daemon.log().contains("listening on UDP port") && self.here().ip("-4 route").unwrap().contains(&route)
        });
        // Before that it reads no file again.
        eventually(OPENING, "it is ready", || self.output(&["reload", &self.interface]).status.success());
        daemon
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the far gateway said:\n{}", self.far.log());
        }
    }
}
