//! What traffic goes through: a tunnel between two gateways of a contender, or the cable alone.

pub mod contenders;
pub mod device;
pub mod gateways;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use clap::Args;
use ringfort_testbed::kernel::{self, Peer};
use ringfort_testbed::netns::{VETH, outer_v4, outer_v6};
use ringfort_testbed::process::{MemorySampler, Usage};
use ringfort_testbed::tunnel::{MTU, Peering};
use ringfort_testbed::{Context, Daemon, Family, Implementation, Key, Namespace, Result, Side, Tunnel, Wire, uapi};
use ringfort_traffic::Endpoint;

use crate::results::model::MemorySample;
use crate::results::stamp::Interface;
use contenders::{Contender, Means};

/// Outer IPv4 and UDP, VXLAN, and the inner Ethernet header.
const VXLAN_OVERHEAD: u32 = 20 + 8 + 8 + 14;
/// Outer IPv6 and UDP, and the header and the tag of a data message.
const OVERHEAD: u32 = 40 + 8 + 32;
const ETHERNET_MTU: u32 = 1_500;
/// Where the addresses of silent peers begin: no network of the ends.
const FIRST_SILENT: Ipv4Addr = Ipv4Addr::new(10, 128, 0, 0);
/// Peers in one request of the control socket.
const PEERS_AT_ONCE: usize = 1_000;
const OPEN_WITHIN: Duration = Duration::from_secs(15);
const SAMPLE_EVERY: Duration = Duration::from_millis(100);

/// What both ends have besides the contender.
#[derive(Args, Clone, Debug)]
pub struct Conditions {
    /// The longest packet inside of the tunnel. The cable takes the header and the tag of the tunnel besides
    #[arg(long, value_name = "BYTES", default_value_t = MTU)]
    #[arg(value_parser = clap::value_parser!(u32).range(1_280..=9_216))]
    mtu: u32,
    /// How many peers each gateway knows. One is the other end, the others never say anything
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    peers: u32,
}

impl Default for Conditions {
    /// As `wg-quick` sets it, and a single peer.
    fn default() -> Self {
        Self { mtu: MTU, peers: 1 }
    }
}

impl Conditions {
    /// The longest packet inside of the tunnel, in bytes.
    pub fn mtu(&self) -> u32 {
        self.mtu
    }

    /// How many peers each gateway knows.
    pub fn peers(&self) -> u32 {
        self.peers
    }

    /// Peers that never say anything, each with an address.
    fn silent_peers(&self) -> Result<Vec<Peer>> {
        let peer = |number: u32| {
            let address = Ipv4Addr::from_bits(FIRST_SILENT.to_bits() + number);
            Ok(Peer::silent(Key::random()?, vec![address.into()]))
        };
        (1..self.peers).map(peer).collect()
    }
}

/// See the module. Dropping it removes everything.
#[derive(Debug)]
pub enum SetUp {
    /// Two gateways, or two interfaces of the kernel.
    Gateways(Box<Tunnel>),
    /// None.
    Bare(Wire),
}

/// What was counted in both gateways, the sending one first.
#[derive(Clone, Debug)]
pub struct Usages([Usage; 2]);

/// What both gateways used between two moments.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// Seconds of CPU time, of the sending and the receiving gateway.
    pub cpu_s: [f64; 2],
    /// How often their threads were woken.
    pub wakeups: [u64; 2],
}

impl Spent {
    /// Seconds of CPU time of both.
    pub fn cpu_s_both(&self) -> f64 {
        self.cpu_s.iter().sum()
    }
}

impl SetUp {
    /// Makes it, and waits until it carries packets.
    ///
    /// # Errors
    /// Not root, a gateway does not start, or the tunnel does not open.
    pub fn new(contender: &Contender, conditions: &Conditions) -> Result<Self> {
        let Conditions { mtu, .. } = *conditions;
        let lengthen = |wire: &Wire| match mtu + OVERHEAD {
            longer if longer > ETHERNET_MTU => wire.set_mtu(longer),
            _ => Ok(()),
        };
        match &contender.means {
            Means::Bare => {
                let wire = Wire::new()?;
                // Packets as large as those in a tunnel.
                wire.set_mtu(mtu)?;
                Ok(Self::Bare(wire))
            }
            Means::Program(program) => {
                let tunnel = Tunnel::connected([program, program], &Peering::default())?;
                lengthen(&tunnel.wire)?;
                if mtu != MTU {
                    tunnel.set_mtu(mtu)?;
                }
                let silent = conditions.silent_peers()?;
                for side in &tunnel.sides {
                    silent.chunks(PEERS_AT_ONCE).try_for_each(|peers| add_peers(&tunnel, side, peers))?;
                }
                tunnel.wait_until_open(0, OPEN_WITHIN)?;
                Ok(Self::Gateways(Box::new(tunnel)))
            }
        }
    }

    /// Sets the congestion control of TCP at both ends.
    ///
    /// # Errors
    /// The system does not have it.
    pub fn set_congestion_control(&self, name: &str) -> Result<()> {
        [0, 1].into_iter().try_for_each(|index| self.end(index).namespace.set_congestion_control(name))
    }

    /// The namespace and the IPv4 address of one end; traffic goes from end 0 to end 1.
    pub fn end(&self, index: usize) -> Endpoint<'_> {
        self.end_of(index, Family::V4)
    }

    /// The namespace and the address of one end.
    pub fn end_of(&self, index: usize, family: Family) -> Endpoint<'_> {
        match (self, family) {
            (Self::Gateways(tunnel), family) => {
                Endpoint { namespace: tunnel.namespace(index), address: tunnel.sides[index].inner(family) }
            }
            (Self::Bare(wire), Family::V4) => Endpoint { namespace: &wire.ends[index], address: outer_v4(index) },
            (Self::Bare(wire), Family::V6) => Endpoint { namespace: &wire.ends[index], address: outer_v6(index) },
        }
    }

    /// Lays VXLAN between the ends of a tunnel with this MTU, and returns those of the overlay. Its packets are as long
    /// as the way takes, as an operator of a cluster sets it.
    ///
    /// # Errors
    /// The kernel has no VXLAN.
    pub fn overlay(&self, mtu: u32) -> Result<[Endpoint<'_>; 2]> {
        let ends = [0, 1].map(|index| {
            let Endpoint { namespace, address } = self.end(index);
            let remote = self.end(1 - index).address;
            let overlay = IpAddr::V4(Ipv4Addr::new(10, 78, 0, index as u8 + 1));
            let mtu = mtu - VXLAN_OVERHEAD;
            namespace.ip(&format!(
                "link add vx0 mtu {mtu} type vxlan id 7 dstport 4789 local {address} remote {remote} noudpcsum"
            ))?;
            namespace.add_address("vx0", overlay, 24)?;
            namespace.ip("link set vx0 up")?;
            Ok(Endpoint { namespace, address: overlay })
        });
        let [from, to] = ends;
        Ok([from?, to?])
    }

    /// The interfaces of the sending end.
    pub fn interfaces(&self) -> Vec<Interface> {
        let inspect = |namespace: &Namespace, interface, name| Interface::inspect(namespace, interface, name);
        match self {
            Self::Gateways(tunnel) => vec![
                inspect(tunnel.namespace(0), &tunnel.sides[0].interface, "tunnel"),
                inspect(tunnel.namespace(0), VETH, VETH),
            ],
            Self::Bare(wire) => vec![inspect(&wire.ends[0], VETH, VETH)],
        }
    }

    fn daemons(&self) -> Option<[&Daemon; 2]> {
        match self {
            Self::Gateways(tunnel) => match [&tunnel.sides[0].daemon, &tunnel.sides[1].daemon] {
                [Some(sender), Some(receiver)] => Some([sender, receiver]),
                _ => None,
            },
            Self::Bare(_) => None,
        }
    }

    /// What the gateways have used so far; `None` where there are none.
    ///
    /// # Errors
    /// One has died.
    pub fn usages(&self) -> Result<Option<Usages>> {
        let Some(daemons) = self.daemons() else { return Ok(None) };
        let usage =
            |daemon: &Daemon| Usage::of(daemon.pid()).context(format_args!("a gateway has died:\n{}", daemon.log()));
        Ok(Some(Usages([usage(daemons[0])?, usage(daemons[1])?])))
    }

    /// What the gateways have used since.
    ///
    /// # Errors
    /// One has died.
    pub fn spent_since(&self, earlier: Option<&Usages>) -> Result<Option<Spent>> {
        let (Some(now), Some(earlier)) = (self.usages()?, earlier) else { return Ok(None) };
        let each = [0, 1].map(|side| (&now.0[side], &earlier.0[side]));
        Ok(Some(Spent {
            cpu_s: each.map(|(now, earlier)| now.cpu_since(earlier).as_secs_f64()),
            wakeups: each.map(|(now, earlier)| now.sleeps_since(earlier)),
        }))
    }

    /// Begins to read what the gateways hold.
    pub fn sample_memory(&self) -> MemorySampler {
        let pids = self.daemons().map_or_else(Vec::new, |daemons| daemons.map(Daemon::pid).to_vec());
        MemorySampler::start(pids, SAMPLE_EVERY)
    }

    /// The most that each gateway ever held, in KiB.
    pub fn memory_peaks_kib(&self) -> Option<[u64; 2]> {
        let [sender, receiver] = self.daemons()?;
        Some([sender.memory_peak_kib()?, receiver.memory_peak_kib()?])
    }

    /// What each gateway holds now, in KiB.
    pub fn memory_kib(&self) -> Option<[u64; 2]> {
        let [sender, receiver] = self.daemons()?;
        Some([sender.memory_kib()?, receiver.memory_kib()?])
    }
}

fn add_peers(tunnel: &Tunnel, side: &Side, peers: &[Peer]) -> Result<()> {
    if side.program.implementation == Implementation::Kernel {
        return kernel::add_peers(tunnel.namespace(side.index), &side.interface, peers);
    }
    let line = |peer: &Peer| {
        let allowed = peer.allowed.iter().map(|address| format!("allowed_ip={address}/32\n"));
        format!("public_key={}\n{}", peer.public.hex(), allowed.collect::<String>())
    };
    uapi::set(&side.interface, &peers.iter().map(line).collect::<String>())
}

/// Samples of both gateways as the file has them; none of bare veth.
pub fn samples(sampler: MemorySampler) -> Result<Vec<MemorySample>> {
    let pairs = sampler.finish()?.into_iter().filter_map(|sample| {
        let [sender_kib, receiver_kib] = sample.resident_kib.try_into().ok()?;
        // To the millisecond: more is not known.
        let at_s = (sample.at.as_secs_f64() * 1e3).round() / 1e3;
        Some(MemorySample { at_s, sender_kib, receiver_kib })
    });
    Ok(pairs.collect())
}
