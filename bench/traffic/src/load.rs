//! What is asked for.

use std::net::IpAddr;
use std::time::Duration;

use ringfort_testbed::{Error, Namespace, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::seconds;

/// The smallest inner IP packet, in bytes: headers of IPv6 and UDP, and 16 bytes for the stamp.
pub const SIZE_MIN: u16 = 64;
/// The most flows.
pub const FLOWS_MAX: u16 = 10_000;
/// The most lanes.
pub const LANES_MAX: u16 = 64;
/// The highest rate that can be asked for, in packets per second and direction.
pub const RATE_PPS_MAX: u64 = 100_000_000;

/// One end of the traffic: where its sockets are made, and the address that they have there.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint<'a> {
    /// The namespace.
    pub namespace: &'a Namespace,
    /// A local address of it.
    pub address: IpAddr,
}

/// UDP at a set rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Load {
    /// Size of the inner IP packets.
    pub size: Size,
    /// Packets per second, for each direction.
    pub rate_pps: u64,
    /// Number of flows, 1 to 10,000: distinct pairs of ports, taken in turn.
    pub flows: u16,
    /// Which way.
    pub direction: Direction,
    /// How long packets are sent.
    #[serde(rename = "duration_s", with = "seconds")]
    #[schemars(with = "f64")]
    pub duration: Duration,
    /// How long stragglers are waited for at the most after the last packet was sent (RFC 2544, section 24, waits two
    /// seconds). Ends as soon as nothing is missing.
    #[serde(rename = "settle_s", with = "seconds")]
    #[schemars(with = "f64")]
    pub settle: Duration,
    /// Whether the sender hands trains of up to 64 datagrams of one flow to the kernel (`UDP_SEGMENT`). A tunnel device
    /// with USO then sees super-packets; without, it sees lone packets.
    pub gso: bool,
    /// Whether the receiver takes merged datagrams from the kernel (`UDP_GRO`), which spares it work where a gateway
    /// writes super-packets to its tunnel device.
    pub gro: bool,
    /// Whether all packets are sent back to back, at the rate if the sender can, and otherwise as fast as it can. Then
    /// they may be half a minute late.
    #[serde(default)]
    pub burst: bool,
    /// Where the threads run.
    pub placement: Placement,
}

impl Default for Load {
    /// 10,000 lone 64-byte packets per second of one flow, one way, for five seconds.
    fn default() -> Self {
        Self {
            size: Size::Fixed { bytes: SIZE_MIN },
            rate_pps: 10_000,
            flows: 1,
            direction: Direction::OneWay,
            duration: Duration::from_secs(5),
            settle: Duration::from_secs(2),
            gso: false,
            gro: false,
            burst: false,
            placement: Placement::default(),
        }
    }
}

/// The size of inner IP packets in bytes, IP header included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "mix")]
pub enum Size {
    /// All of one size, [`SIZE_MIN`] at least.
    Fixed {
        /// That size.
        bytes: u16,
    },
    /// The simple IMIX, see [`Imix`].
    Imix(Imix),
}

/// The simple IMIX: of each twelve packets of a flow, seven are small, four medium and one large. As IP packets these
/// are usually 40, 576 and 1500 bytes; here the smallest is [`SIZE_MIN`], and the largest what the tunnel's MTU allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Imix {
    /// The large packet, in bytes: 576 at least, 1500 at the most.
    pub largest_bytes: u16,
}

impl Default for Imix {
    /// For a tunnel with an MTU of 1420.
    fn default() -> Self {
        Self { largest_bytes: 1_420 }
    }
}

/// Which way the packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the first namespace to the second.
    OneWay,
    /// The same load in each direction at once.
    BothWays,
    /// To the second namespace, whose reflector sends each packet back to where it came from.
    RoundTrip,
}

/// Where the threads of the generator run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Placement {
    /// On which CPUs.
    pub cpus: Cpus,
    /// Pairs of sending and receiving threads for each direction, among which rate and flows are divided: more than one
    /// core can offer.
    pub lanes: u16,
    /// Whether they run before everything else on their CPUs (`SCHED_FIFO`), as if they had a machine of their own:
    /// they keep to the schedule, and what they need is missing to the gateways.
    pub realtime: bool,
    /// Whether senders and receivers wait for the next packet without sleeping: exact to a microsecond, and no packet
    /// costs a wake-up, for a CPU each of their own. Otherwise senders sleep for 50 µs at least, and what comes due
    /// meanwhile leaves together.
    pub spin: bool,
}

impl Default for Placement {
    fn default() -> Self {
        Self { cpus: Cpus::Last, lanes: 1, realtime: false, spin: false }
    }
}

/// The CPUs of the generator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cpus {
    /// Each thread on a CPU of its own, from the last downwards, since gateways take them from the first upwards; from
    /// the last again when there are more threads.
    Last,
    /// Each thread on one of these, in the order sender, receiver of each lane; from the first again when there are
    /// more threads.
    List(Vec<usize>),
    /// Wherever the kernel puts them.
    Any,
}

impl Load {
    /// The same load as a burst of that many packets at that rate.
    #[must_use]
    pub fn burst(self, packets: u64, rate_pps: u64) -> Self {
        // Rounded down, so exactly as many are due before the end.
        let duration_ns = u128::from(packets) * 1_000_000_000 / u128::from(rate_pps.max(1));
        let duration = Duration::from_nanos(u64::try_from(duration_ns).unwrap_or(u64::MAX).max(1));
        Self { rate_pps, duration, burst: true, ..self }
    }

    /// Checks it against the limits, for packets between these addresses.
    ///
    /// # Errors
    /// A field is out of its bounds, or two contradict each other: the error says which, and what is allowed.
    pub fn check(&self, from: IpAddr, to: IpAddr) -> Result<()> {
        let refuse = |text: String| Err(Error::new(text));
        let (lanes, flows) = (self.placement.lanes, self.flows);
        let planned = self.rate_pps as f64 * self.duration.as_secs_f64() / f64::from(lanes.max(1));
        match self.size {
            Size::Fixed { bytes } if bytes < SIZE_MIN => {
                refuse(format!("packets of {bytes} bytes: {SIZE_MIN} at least"))
            }
            Size::Imix(Imix { largest_bytes }) if !(576..=1_500).contains(&largest_bytes) => {
                refuse(format!("an IMIX whose largest packets have {largest_bytes} bytes: 576 to 1500"))
            }
            Size::Imix(_) if self.gso => refuse("trains (GSO) need packets of one size, and the IMIX has three".into()),
            _ if from.is_ipv4() != to.is_ipv4() => refuse(format!("from {from} to {to}: two address families")),
            _ if !(1..=RATE_PPS_MAX).contains(&self.rate_pps) => {
                refuse(format!("{} packets per second: 1 to {RATE_PPS_MAX}", self.rate_pps))
            }
            _ if !(1..=FLOWS_MAX).contains(&flows) => refuse(format!("{flows} flows: 1 to {FLOWS_MAX}")),
            _ if !(1..=LANES_MAX).contains(&lanes) => refuse(format!("{lanes} lanes: 1 to {LANES_MAX}")),
            _ if flows < lanes => refuse(format!("{flows} flows cannot be divided among {lanes} lanes")),
            _ if self.rate_pps < u64::from(lanes) => {
                refuse(format!("{} packets per second among {lanes} lanes", self.rate_pps))
            }
            _ if self.duration.is_zero() => refuse("a load of no duration".into()),
            _ if planned + 1.0 > f64::from(u32::MAX) => {
                refuse(format!("{planned:.0} packets in one lane: 2^32 − 1 at the most"))
            }
            _ if matches!(&self.placement.cpus, Cpus::List(list) if list.is_empty()) => {
                refuse("an empty list of CPUs".into())
            }
            _ => Ok(()),
        }
    }
}
