//! Network namespaces, and the cable between two of them.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv6Addr};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command::{ip, run};
use crate::{Context, Error, Result, janitor};

/// The name of the outer interface in each namespace of a [`Wire`].
pub const VETH: &str = "veth0";

/// The UDP port of every gateway.
pub const PORT: u16 = 51_820;

/// How long the kernel may take for what it does from work queues of its own.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(2);
/// `RTF_LOCAL` of the uapi header `linux/ipv6_route.h`.
const ROUTE_LOCAL: u32 = 0x8000_0000;

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

    /// Sets the congestion control of TCP sockets that are made in here from now on, which the system may have to load.
    ///
    /// # Errors
    /// The system does not have it, or does not allow it to everybody, which namespaces are.
    pub fn set_congestion_control(&self, name: &str) -> Result<()> {
        self.enter(|| fs::write("/proc/sys/net/ipv4/tcp_congestion_control", name)).context(format_args!(
            "setting the congestion control {name}, which sysctl net.ipv4.tcp_allowed_congestion_control must name"
        ))
    }

    /// Adds an address with its prefix length to an interface; usable at once, also IPv6.
    ///
    /// # Errors
    /// As [`run`].
    pub fn add_address(&self, interface: &str, address: IpAddr, length: u8) -> Result<()> {
        let IpAddr::V6(v6) = address else {
            return self.ip(&format!("address add {address}/{length} dev {interface}")).map(drop);
        };
        self.ip(&format!("address add {address}/{length} dev {interface} nodad"))?;
        await_address(v6, |v6| self.enter(|| has_local_address(v6)))
    }

    /// Waits until an interface carries packets: a new cable does when the kernel has noticed that both ends are up,
    /// and drops what is sent before.
    ///
    /// # Errors
    /// There is no such interface, or its other end is down.
    pub fn await_carrier(&self, interface: &str) -> Result<()> {
        await_kernel(&format!("{interface} of {} has no carrier", self.name), || {
            Ok(self.ip(&format!("-oneline link show dev {interface}"))?.contains(" state UP "))
        })
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
        let table = self.enter(|| fs::read_to_string("/proc/thread-self/net/dev")).context("/proc/net/dev")?;
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
            self.enter(|| fs::read_to_string(&path)).context(path)
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
        cable([(a, VETH), (b, VETH)])?;
        for (index, end) in wire.ends.iter().enumerate() {
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

/// Lays a cable between two namespaces, and waits until it carries. An end is a namespace and the interface there.
///
/// # Errors
/// As [`run`], and if the kernel does not bring it up.
pub fn cable(ends: [(&Namespace, &str); 2]) -> Result<()> {
    let [(a, at_a), (b, at_b)] = ends;
    ip(&format!("link add {at_a} netns {} type veth peer name {at_b} netns {}", a.name(), b.name()))?;
    ends.iter().try_for_each(|(end, interface)| end.ip(&format!("link set {interface} up")).map(drop))?;
    ends.iter().try_for_each(|(end, interface)| end.await_carrier(interface))
}

/// Joins a namespace with a router by a network of their own, 10.`network`.0.0/24. The router has its first address,
/// and the namespace the second and a way to everywhere. The interface at the router is called `to` and the network.
///
/// # Errors
/// As [`cable`].
pub fn join(router: &Namespace, namespace: &Namespace, network: u8) -> Result<()> {
    let link = format!("to{network}");
    cable([(router, &link), (namespace, VETH)])?;
    for (namespace, interface, host) in [(router, link.as_str(), 1), (namespace, VETH, 2)] {
        namespace.add_address(interface, IpAddr::from([10, network, 0, host]), 24)?;
    }
    namespace.ip(&format!("route add default via 10.{network}.0.1")).map(drop)
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

/// Waits until the kernel takes packets to an address that was added, of which `is_local` knows.
pub(crate) fn await_address(address: Ipv6Addr, is_local: impl Fn(Ipv6Addr) -> Result<bool>) -> Result<()> {
    // It does only when a work queue has completed the address.
    await_kernel(&format!("{address} is still no address of the network namespace"), || is_local(address))
}

/// Whether packets to this address are for this machine, in the namespace of the calling thread.
pub(crate) fn has_local_address(address: Ipv6Addr) -> Result<bool> {
    let digits = format!("{:032x}", u128::from(address));
    let table = fs::read_to_string("/proc/thread-self/net/ipv6_route").context("/proc/net/ipv6_route")?;
    Ok(table.lines().any(|line| is_local_route(line, &digits)))
}

fn await_kernel(otherwise: &str, mut has_happened: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !has_happened()? {
        if Instant::now() > deadline {
            return Err(Error::new(format!("{otherwise}, after {PATIENCE:?}")));
        }
        thread::sleep(POLL);
    }
    Ok(())
}

/// Whether a line of `/proc/net/ipv6_route` says that packets to the address of these digits are for this machine.
fn is_local_route(line: &str, digits: &str) -> bool {
    let mut columns = line.split_whitespace();
    let is_it = columns.next() == Some(digits) && columns.next() == Some("80");
    let flags = columns.nth(6).and_then(|flags| u32::from_str_radix(flags, 16).ok());
    is_it && flags.is_some_and(|flags| flags & ROUTE_LOCAL != 0)
}

fn host(end: usize) -> u8 {
    u8::try_from(end + 1).expect("a wire has two ends")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn congestion_control_is_that_of_the_namespace() {
        let read = || fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap();
        let outside = read();
        let namespace = Namespace::new().expect("this test needs root");
        // Every kernel has it, and few have it as their default.
        namespace.set_congestion_control("reno").unwrap();
        assert_eq!(namespace.enter(read).trim(), "reno");
        assert_eq!(read(), outside);
        assert!(namespace.set_congestion_control("carrier").unwrap_err().to_string().contains("carrier"));
    }

    #[test]
    fn local_routes_are_recognised() {
        let digits = format!("{:032x}", 0xfd00_0077_0000_0000_0000_0000_0000_0001_u128);
        let zeroes = "0".repeat(32);
        let line = |length: &str, flags: &str| {
            format!("{digits} {length} {zeroes} 00 {zeroes} 00000000 00000002 00000000 {flags}       t0")
        };
        assert!(is_local_route(&line("80", "80200001"), &digits));
        assert!(!is_local_route(&line("40", "80200001"), &digits), "a network's");
        assert!(!is_local_route(&line("80", "00000001"), &digits), "somebody else's");
        assert!(!is_local_route(&line("80", "80200001"), &zeroes));
        assert!(!is_local_route("", &digits));
    }
}
