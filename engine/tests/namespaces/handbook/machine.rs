//! The two machines of the handbook's example. Each has namespaces of its own for processes, mounts and the network, so
//! commands find `/etc/ringfort`, `/run` and an interface `wg0` there, as on a machine that nobody else uses.
//!
//! ```text
//!   gateway                                   laptop
//!   lo    10.20.0.1/24, the network behind
//!   eth0  192.0.2.1/24 ─────── veth ─────────  192.0.2.2/24  eth0
//! ```

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ringfort_handbook::Machine as Name;
use ringfort_testbed::command::{ip, run};
use ringfort_testbed::janitor;

use crate::harness::{eventually, us};

/// No command of the handbook takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The first process of a machine. What is written to `/etc`, `/run`, `/var`, `/tmp` and `/root` stays there. Bash ends
/// as init should: it waits for processes that others have left.
const BOOT: &str = r#"
set -e
mount -t tmpfs -o mode=0755 none /run
mkdir -p /run/wireguard /run/bin /run/etc /run/var/lib /run/var/log /run/var/tmp /run/var/cache
touch /run/bin/ringfort
mount --bind "$1" /run/bin/ringfort
cp -a /etc/. /run/etc
rm -rf /run/etc/ringfort
mount --bind /run/etc /etc
ln -s /run /run/var/run
mount --bind /run/var /var
mount -t tmpfs none /tmp
mount -t tmpfs none /root
mount -t sysfs none /sys
ip link set lo up
echo ready
sleep infinity >/dev/null 2>&1 &
wait
"#;

/// What a command said, on both of its outputs, and what it ended with.
pub struct Said {
    pub status: i32,
    pub text: String,
}

/// A machine. It ends with its first process.
pub struct Machine {
    outer: Child,
    init: String,
}

impl Machine {
    fn boot() -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--fork", "--kill-child", "--pid", "--mount-proc", "--mount"]);
        command.args(["--net", "bash", "-c", BOOT, "boot"]).arg(us().path);
        let mut outer = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("setpriv, of util-linux");
        let mut line = String::new();
        let said = outer.stdout.take().map(|stdout| BufReader::new(stdout).read_line(&mut line));
        assert!(matches!(said, Some(Ok(_))) && line == "ready\n", "a machine does not boot: {said:?} {line:?}");
        let child = run(Command::new("pgrep").args(["--parent", &outer.id().to_string()])).unwrap();
        Self { outer, init: child.trim().to_owned() }
    }

    /// Runs a script, from which nothing is left but what it leaves in the background.
    pub fn run(&self, script: &str) -> Said {
        let output = janitor::directory().join(janitor::unique_name());
        let mut child = self.spawn(script, &output);
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status.code().unwrap_or(-1);
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                panic!("after {PATIENCE:?} this still runs:\n{script}\n{}", read(&output));
            }
            sleep(Duration::from_millis(2));
        };
        Said { status, text: read(&output) }
    }

    fn spawn(&self, script: &str, output: &PathBuf) -> Child {
        // A file, since what stays in the background would hold a pipe open.
        let file = File::create(output).unwrap();
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init, "--mount", "--net", "--pid", "env", "--ignore-environment"]);
        command.args(["PATH=/run/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C", "bash", "-c"]);
        // The line of what fails is that of the script, whose first line is the second one here.
        let trap = "trap 's=$?; echo \"status $s at line $((LINENO - 1)): $BASH_COMMAND\" >&2; exit $s' ERR";
        command.arg(format!("set -Euo pipefail; cd /root; {trap}\n{script}"));
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap()
    }

    /// One command whose status is looked at, and which may end with any.
    pub fn ask(&self, command: &str) -> Said {
        self.run(&format!("trap - ERR\n{command}"))
    }

    fn must(&self, script: &str) -> String {
        let Said { status, text } = self.run(script);
        assert_eq!(status, 0, "{script}\n{text}");
        text
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.outer.kill();
        let _ = self.outer.wait();
    }
}

/// Both, joined by a cable.
pub struct Lab {
    gateway: Machine,
    laptop: Machine,
}

impl Lab {
    pub fn new() -> Self {
        let lab = Self { gateway: Machine::boot(), laptop: Machine::boot() };
        let (a, b) = (&lab.gateway.init, &lab.laptop.init);
        ip(&format!("link add eth0 netns {a} type veth peer name eth0 netns {b}")).expect("these tests need root");
        for (machine, host) in [(&lab.gateway, 1), (&lab.laptop, 2)] {
            machine.must(&format!("ip address add 192.0.2.{host}/24 dev eth0\nip link set eth0 up"));
        }
        lab.gateway.must("ip address add 10.20.0.1/24 dev lo");
        for machine in [&lab.gateway, &lab.laptop] {
            let is_up = || machine.ask("ip -oneline link show dev eth0").text.contains(" state UP ");
            eventually(PATIENCE, "the cable carries packets", is_up);
        }
        lab
    }

    pub fn of(&self, name: Name) -> &Machine {
        match name {
            Name::Gateway => &self.gateway,
            Name::Laptop => &self.laptop,
        }
    }

    /// The text with the keys of this example in the place of their names: those of the two machines, and of others
    /// that a page has put into `/tmp/NAME.pub`.
    pub fn with_keys(&self, text: &str) -> String {
        const ENDING: &str = "_PUBLIC_KEY";
        let mut text = text.to_owned();
        while let Some(end) = text.find(ENDING) {
            let begin = text[..end].rfind(|c: char| !c.is_ascii_uppercase()).map_or(0, |at| at + 1);
            let key = match &text[begin..end] {
                "GATEWAY" => self.gateway.must("wg pubkey < /etc/ringfort/wg0.key"),
                "LAPTOP" => self.laptop.must("wg pubkey < /etc/ringfort/wg0.key"),
                other => self.gateway.must(&format!("cat /tmp/{}.pub", other.to_lowercase())),
            };
            text.replace_range(begin..end + ENDING.len(), key.trim());
        }
        text
    }
}

fn read(path: &PathBuf) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}
