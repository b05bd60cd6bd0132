//! Network namespaces, and the cable between two of them.

use std::fs::File;
use std::net::IpAddr;
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command::{ip, run};
use crate::{Context, Error, Result, janitor};

/// The name of the outer interface in each namespace of a [`Wire`].
pub const VETH: &str = "veth0";

/// Packets at an interface, super-packets counted once.
#[derive(Clone, Copy, Debug)]
pub struct InterfaceCounters {
    /// From the interface to the kernel.
    pub received: u64,
    /// From the kernel to the interface.
    pub sent: u64,
    /// Of the latter, those that found its queue full.
    pub send_dropped: u64,
}

/// A network namespace of our own. Dropping it ends the processes inside and removes it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    handle: File,
}

impl Namespace {
    /// Makes a namespace with a name of its own and its loopback up.
    ///
    /// # Errors
    /// Not root, or `ip` is missing.
    pub fn new() -> Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            return Err(Error::new("network namespaces need root: run this as root (sudo)"));
        }
        let name = janitor::unique_name();
        let _permit = janitor::permit();
        ip(&format!("netns add {name}"))?;
        let path = format!("/var/run/netns/{name}");
        let handle = File::open(&path).context(path)?;
        let namespace = Self { name, handle };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Its name, as `ip netns` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip -n NAMESPACE words…`.
    ///
    /// # Errors
    /// As [`run`].
    pub fn ip(&self, words: &str) -> Result<String> {
        ip(&format!("-n {} {words}", self.name))
    }

    /// A command that will run `program` inside.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs a line of words, split at spaces, inside and returns its standard output.
    ///
    /// # Errors
    /// As [`run`].
    pub fn run(&self, line: &str) -> Result<String> {
        let mut words = line.split_whitespace();
        let program = words.next().ok_or_else(|| Error::new("an empty command line"))?;
        run(self.command(program).args(words))
    }

    /// Calls `inside` on a thread of this namespace. A socket that is made there stays there, whoever uses it later.
    ///
    /// # Panics
    /// Whenever `inside` does.
    pub fn enter<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let entered = scope.spawn(|| {
                setns(&self.handle, CloneFlags::CLONE_NEWNET).expect("root may enter a namespace that it made");
                inside()
            });
            entered.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Adds an address with its prefix length to an interface; usable at once, also IPv6.
    ///
    /// # Errors
    /// As [`run`].
    pub fn add_address(&self, interface: &str, address: IpAddr, length: u8) -> Result<()> {
        let no_dad = if address.is_ipv6() { "nodad" } else { "" };
        self.ip(&format!("address add {address}/{length} dev {interface} {no_dad}")).map(drop)
    }

    /// Whether an interface of this name exists.
    pub fn has_interface(&self, interface: &str) -> bool {
        self.ip(&format!("link show dev {interface}")).is_ok()
    }

    /// What the kernel counted on an interface.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn interface_counters(&self, interface: &str) -> Result<InterfaceCounters> {
        let table = self.enter(|| std::fs::read_to_string("/proc/thread-self/net/dev")).context("/proc/net/dev")?;
        let counters = table.lines().find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'));
        let counters = counters.ok_or_else(|| Error::new(format!("{interface} is not in /proc/net/dev")))?;
        let number = |position| {
            let text = counters.split_whitespace().nth(position).unwrap_or_default();
            text.parse::<u64>().context(format_args!("column {position} of {counters:?}"))
        };
        Ok(InterfaceCounters { received: number(1)?, sent: number(9)?, send_dropped: number(11)? })
    }

    /// How many datagrams the UDP sockets of a port have dropped because their buffers were full.
    ///
    /// # Errors
    /// The kernel's tables cannot be read.
    pub fn udp_socket_drops(&self, port: u16) -> Result<u64> {
        let read = |name| {
            let path = format!("/proc/thread-self/net/{name}");
            self.enter(|| std::fs::read_to_string(&path)).context(path)
        };
        let table = read("udp")? + &read("udp6")?;
        let local_port = format!(":{port:04X}");
        let drops = table.lines().filter_map(|line| {
            let mut columns = line.split_whitespace();
            let ours = columns.nth(1)?.ends_with(&local_port);
            columns.last().filter(|_| ours)?.parse::<u64>().ok()
        });
        Ok(drops.sum())
    }

    /// Process ids of everything that runs inside.
    ///
    /// # Errors
    /// As [`run`].
    pub fn processes(&self) -> Result<Vec<i32>> {
        let listed = ip(&format!("netns pids {}", self.name))?;
        Ok(listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        for pid in self.processes().unwrap_or_default() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        if let Err(error) = ip(&format!("netns del {}", self.name)) {
            eprintln!("namespace {} stays behind: {error}", self.name);
        }
    }
}

/// Two namespaces joined by a veth pair. See the drawing at the top of the crate.
#[derive(Debug)]
pub struct Wire {
    /// The two ends, `a` and `b`.
    pub ends: [Namespace; 2],
}

impl Wire {
    /// Makes both namespaces and the cable, with an IPv4 and an IPv6 address on each end.
    ///
    /// # Errors
    /// As [`Namespace::new`].
    pub fn new() -> Result<Self> {
        let wire = Self { ends: [Namespace::new()?, Namespace::new()?] };
        let [a, b] = &wire.ends;
        ip(&format!("link add {VETH} netns {} type veth peer name {VETH} netns {}", a.name(), b.name()))?;
        for (index, end) in wire.ends.iter().enumerate() {
            end.ip(&format!("link set {VETH} up"))?;
            end.add_address(VETH, outer_v4(index), 24)?;
            end.add_address(VETH, outer_v6(index), 64)?;
        }
        Ok(wire)
    }

    /// Sets the MTU of the cable, in bytes.
    ///
    /// # Errors
    /// As [`run`].
    pub fn set_mtu(&self, mtu: u32) -> Result<()> {
        for end in &self.ends {
            end.ip(&format!("link set {VETH} mtu {mtu}"))?;
        }
        Ok(())
    }
}

/// The outer IPv4 address of end 0 or 1.
pub fn outer_v4(end: usize) -> IpAddr {
    IpAddr::from([10, 200, 0, host(end)])
}

/// The outer IPv6 address of end 0 or 1.
pub fn outer_v6(end: usize) -> IpAddr {
    IpAddr::from([0xfd00, 0x200, 0, 0, 0, 0, 0, u16::from(host(end))])
}

/// The inner IPv4 address of end 0 or 1.
pub fn inner_v4(end: usize) -> IpAddr {
    IpAddr::from([10, 77, 0, host(end)])
}

/// The inner IPv6 address of end 0 or 1.
pub fn inner_v6(end: usize) -> IpAddr {
    IpAddr::from([0xfd00, 0x77, 0, 0, 0, 0, 0, u16::from(host(end))])
}

fn host(end: usize) -> u8 {
    u8::try_from(end + 1).expect("a wire has two ends")
}
