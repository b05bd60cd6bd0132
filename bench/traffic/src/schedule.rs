//! The plan of one lane: when each packet is due, of which flow it is, and how large.
//!
//! It is a function of the packet's number alone, so sender and receiver agree without exchanging anything.

use std::net::IpAddr;
use std::time::Duration;

use crate::{Imix, Load, Size, sys};

/// Most datagrams of a train: `UDP_MAX_SEGMENTS` of kernels before 6.9.
const TRAIN_LEN_MAX: u32 = 64;
/// Most payload of a train, in bytes: the largest UDP payload over IPv4.
const TRAIN_BYTES_MAX: u32 = 65_507;
/// What is later than this is not sent any more: else a sender that was held up would make up for it with a burst that
/// nobody asked for.
const LATE_MAX_NS: u64 = 10_000_000;
/// The same within a burst, which may leave more slowly than asked. It has an end: another host may wait for it.
const BURST_LATE_MAX_NS: u64 = 30_000_000_000;
/// Packets after which the mix repeats.
const MIX_LEN: usize = 12;

/// When each packet is due, its flow and its size.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    /// Time between two packets in 2^-32 ns, so the error stays below 1 ns over 2^32 packets.
    interval: u64,
    /// When the first packet is due: lanes take turns.
    offset_ns: u64,
    /// Number of packets.
    pub(crate) planned: u32,
    /// Number of flows.
    pub(crate) flows: u32,
    /// Packets that leave together: 1 without trains.
    pub(crate) train_len: u32,
    /// Payload bytes of a flow's packets in turn.
    payloads: [u16; MIX_LEN],
    /// How late a packet may leave. What is later is given up.
    pub(crate) late_max_ns: u64,
    /// What happens is also counted for each of these.
    slice_ns: u64,
    /// How many of them there are.
    pub(crate) slices: usize,
}

impl Schedule {
    /// The part of lane number `lane` of a load that has passed [`Load::check`], between addresses like `address`.
    pub(crate) fn new(load: &Load, lane: u16, address: IpAddr) -> Self {
        let (lanes, lane) = (u128::from(load.placement.lanes), u128::from(lane));
        let rate_pps = u128::from(load.rate_pps);
        let interval = ((lanes * 1_000_000_000) << 32) / rate_pps;
        // The packets of all lanes, taken in turn, that are due before the end.
        let of_all_lanes = (rate_pps * load.duration.as_nanos()).div_ceil(1_000_000_000);
        let planned = of_all_lanes.saturating_sub(lane).div_ceil(lanes).max(1);
        let flows = u128::from(load.flows);
        let payloads = payloads(load.size, address);
        let fitting = TRAIN_BYTES_MAX / u32::from(payloads[0]);
        let checked = "a load that has passed its check has fewer";
        let slice = slice(load.duration);
        let slices = load.duration.as_nanos().div_ceil(slice.as_nanos());
        Self {
            interval: u64::try_from(interval).expect("there is at least one packet per second and lane"),
            offset_ns: u64::try_from((interval * lane / lanes) >> 32).expect("less than the interval"),
            planned: u32::try_from(planned).expect(checked),
            flows: u32::try_from(flows / lanes + u128::from(lane < flows % lanes)).expect(checked),
            train_len: if load.gso { fitting.clamp(1, TRAIN_LEN_MAX) } else { 1 },
            payloads,
            late_max_ns: if load.burst { BURST_LATE_MAX_NS } else { LATE_MAX_NS },
            slice_ns: sys::nanoseconds(slice),
            slices: usize::try_from(slices).unwrap_or(usize::MAX).max(1),
        }
    }

    /// When a packet is due, in nanoseconds since the start. A train is due with its first.
    pub(crate) fn due_ns(&self, number: u32) -> u64 {
        let first = number - number % self.train_len;
        self.offset_ns + ((u128::from(first) * u128::from(self.interval)) >> 32) as u64
    }

    /// In which slice of the load a packet is due.
    pub(crate) fn slice_of(&self, number: u32) -> usize {
        usize::try_from(self.due_ns(number) / self.slice_ns).unwrap_or(usize::MAX).min(self.slices - 1)
    }

    /// How many packets are due at that time since the start, of all that are planned.
    pub(crate) fn due_until(&self, elapsed_ns: u64) -> u32 {
        let Some(time) = elapsed_ns.checked_sub(self.offset_ns) else { return 0 };
        // The last packet that is due is the largest with `number * interval < (time + 1) << 32`.
        let due = (((u128::from(time) + 1) << 32) - 1) / u128::from(self.interval) + 1;
        let whole_trains = due.div_ceil(u128::from(self.train_len)) * u128::from(self.train_len);
        u32::try_from(whole_trains).unwrap_or(u32::MAX).min(self.planned)
    }

    /// The flow of a packet. Flows take turns, packet by packet or train by train.
    pub(crate) fn flow(&self, number: u32) -> u32 {
        number / self.train_len % self.flows
    }

    /// How many packets of the same flow come before it.
    pub(crate) fn position_in_flow(&self, number: u32) -> u32 {
        number / self.train_len / self.flows * self.train_len + number % self.train_len
    }

    /// UDP payload of a packet in bytes. Each flow walks through the mix from a place of its own, so the sizes are
    /// mixed within each flow and among them.
    pub(crate) fn payload_len(&self, number: u32) -> usize {
        let step = u64::from(self.position_in_flow(number)) + u64::from(self.flow(number));
        usize::from(self.payloads[(step % MIX_LEN as u64) as usize])
    }

    /// The longest payload in bytes.
    pub(crate) fn payload_len_max(&self) -> usize {
        usize::from(self.payloads.into_iter().max().unwrap_or_default())
    }
}

/// How long a slice of a load or of a transfer is: a tenth of a second, or so long that there are 600 at the most.
pub(crate) fn slice(duration: Duration) -> Duration {
    // Rounded up: else there is one more, of some nanoseconds.
    let part = duration.as_nanos().div_ceil(600);
    Duration::from_millis(100).max(Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX)))
}

/// Bytes of the IP and the UDP header.
pub(crate) fn headers_len(address: IpAddr) -> u16 {
    if address.is_ipv4() { 20 + 8 } else { 40 + 8 }
}

impl Size {
    /// The mean size of the inner IP packets in bytes.
    #[must_use]
    pub fn packet_bytes_mean(self) -> f64 {
        let sum: u32 = packet_sizes(self).into_iter().map(u32::from).sum();
        f64::from(sum) / MIX_LEN as f64
    }
}

fn payloads(size: Size, address: IpAddr) -> [u16; MIX_LEN] {
    packet_sizes(size).map(|bytes| bytes - headers_len(address))
}

fn packet_sizes(size: Size) -> [u16; MIX_LEN] {
    match size {
        Size::Fixed { bytes } => [bytes; MIX_LEN],
        Size::Imix(Imix { largest_bytes }) => {
            let (small, medium, large) = (crate::load::SIZE_MIN, 576, largest_bytes);
            // Spread as evenly as 7 : 4 : 1 can be.
            [small, medium, small, small, medium, small, large, small, medium, small, medium, small]
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Placement;

    const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

    fn load(rate_pps: u64, flows: u16, lanes: u16) -> Load {
        let placement = Placement { lanes, ..Placement::default() };
        Load { rate_pps, flows, duration: Duration::from_secs(10), placement, ..Load::default() }
    }

    #[test]
    fn packets_are_due_at_even_intervals() {
        let schedule = Schedule::new(&load(1_000, 1, 1), 0, V4);
        assert_eq!(schedule.planned, 10_000);
        let due: Vec<u64> = (0..4).map(|number| schedule.due_ns(number)).collect();
        assert_eq!(due, [0, 1_000_000, 2_000_000, 3_000_000]);
        assert_eq!([0, 999_999, 1_000_000].map(|time| schedule.due_until(time)), [1, 1, 2]);
        assert_eq!(schedule.due_until(u64::MAX), 10_000);
    }

    #[test]
    fn slices_cover_the_load() {
        let schedule = Schedule::new(&load(1_000, 1, 1), 0, V4);
        assert_eq!(schedule.slices, 100);
        assert_eq!([0, 99, 100, 9_999].map(|number| schedule.slice_of(number)), [0, 0, 1, 99]);
        let short = Load { duration: Duration::from_millis(250), ..load(1_000, 1, 1) };
        assert_eq!(Schedule::new(&short, 0, V4).slices, 3);
        for seconds in [61, 100, 6_000] {
            let long = Load { duration: Duration::from_secs(seconds), ..load(1_000, 1, 1) };
            let schedule = Schedule::new(&long, 0, V4);
            assert_eq!((schedule.slices, schedule.slice_of(schedule.planned - 1)), (600, 599));
        }
    }

    #[test]
    fn a_burst_has_as_many_packets_as_it_should() {
        for (packets, rate_pps) in [(1, 1_000_000), (7, 3), (12_345, 1_000_000), (333_333, 777_777), (2, 40)] {
            let burst = load(1, 1, 1).burst(packets, rate_pps);
            let schedule = Schedule::new(&burst, 0, V4);
            assert_eq!(u64::from(schedule.planned), packets, "at {rate_pps}");
            assert_eq!(schedule.late_max_ns, BURST_LATE_MAX_NS);
        }
    }

    #[test]
    fn a_rate_that_does_not_divide_a_second_does_not_drift() {
        let load = Load { duration: Duration::from_secs(3_000), ..load(1_234_567, 1, 1) };
        let schedule = Schedule::new(&load, 0, V4);
        assert_eq!(schedule.planned, 1_234_567 * 3_000);
        assert!(schedule.due_ns(1_234_567 * 2_999).abs_diff(2_999_000_000_000) <= 1);
    }

    #[test]
    fn lanes_share_rate_and_flows_and_take_turns() {
        let load = load(1_000, 7, 3);
        let lanes: Vec<Schedule> = (0..3).map(|lane| Schedule::new(&load, lane, V4)).collect();
        assert_eq!(lanes.iter().map(|lane| lane.flows).collect::<Vec<_>>(), [3, 2, 2]);
        assert_eq!(lanes.iter().map(|lane| lane.planned).sum::<u32>(), 10_000);
        assert_eq!(lanes.iter().map(|lane| lane.due_ns(0)).collect::<Vec<_>>(), [0, 1_000_000, 2_000_000]);
    }

    #[test]
    fn sizes_are_those_of_ip_packets() {
        assert_eq!(Schedule::new(&load(1, 1, 1), 0, V4).payload_len(0), 64 - 28);
        assert_eq!(Schedule::new(&load(1, 1, 1), 0, V6).payload_len(0), 64 - 48);
    }

    #[test]
    fn the_mix_is_7_4_1_within_each_flow_and_at_any_time() {
        for flows in [1_u16, 5, 12, 24, 100] {
            let load = Load { size: Size::Imix(Imix::default()), ..load(100_000, flows, 1) };
            let schedule = Schedule::new(&load, 0, V4);
            let count = |numbers: &mut dyn Iterator<Item = u32>| {
                let mut counts = [0_u32; 3];
                for number in numbers {
                    let size = schedule.payload_len(number) + 28;
                    counts[[64, 576, 1_420].iter().position(|&known| known == size).unwrap()] += 1;
                }
                counts
            };
            for flow in 0..u32::from(flows) {
                let of_flow = |number: &u32| schedule.flow(*number) == flow;
                let counts = count(&mut (0..120 * u32::from(flows)).filter(of_flow));
                assert_eq!(counts, [70, 40, 10], "flow {flow} of {flows}");
            }
            let counts = count(&mut (0..12_000));
            assert!(counts[2].abs_diff(1_000) <= u32::from(flows), "{flows} flows: {counts:?}");
        }
        let mean = Size::Imix(Imix::default()).packet_bytes_mean();
        assert!((mean - (7.0 * 64.0 + 4.0 * 576.0 + 1_420.0) / 12.0).abs() < 1e-9);
    }

    #[test]
    fn trains_are_of_one_flow_and_due_at_once() {
        let load = Load { gso: true, size: Size::Fixed { bytes: 1_420 }, ..load(100_000, 3, 1) };
        let schedule = Schedule::new(&load, 0, V4);
        assert_eq!(schedule.train_len, 65_507 / 1_392);
        let train = schedule.train_len;
        assert_eq!((schedule.flow(train - 1), schedule.flow(train), schedule.flow(3 * train)), (0, 1, 0));
        assert_eq!(schedule.position_in_flow(3 * train), train);
        assert_eq!(schedule.due_ns(train - 1), 0);
        assert_eq!(schedule.due_until(0), train);
        assert_eq!(schedule.due_ns(train), u64::from(train) * 10_000);
    }

    proptest! {
        #[test]
        fn what_is_due_is_what_has_come_due(
            rate in 1_u64..3_000_000, flows in 64_u16..=10_000, lanes in 1_u16..=64, lane in 0_u16..64,
            gso: bool, at in 0.0_f64..1.0,
        ) {
            let rate = rate.max(u64::from(lanes));
            let load = Load { gso, ..load(rate, flows, lanes) };
            let schedule = Schedule::new(&load, lane % lanes, V6);
            let number = (f64::from(schedule.planned - 1) * at) as u32;
            let due_ns = schedule.due_ns(number);
            prop_assert!(schedule.due_until(due_ns) > number);
            if let Some(before) = due_ns.checked_sub(1) {
                prop_assert!(schedule.due_until(before) <= number);
            }
            prop_assert!(schedule.flow(number) < schedule.flows);
        }

        #[test]
        fn positions_count_the_packets_of_a_flow(flows in 1_u16..50, gso: bool) {
            let load = Load { gso, ..load(1_000_000, flows, 1) };
            let schedule = Schedule::new(&load, 0, V4);
            let mut next = vec![0; usize::from(flows)];
            for number in 0..5_000 {
                let position = &mut next[schedule.flow(number) as usize];
                prop_assert_eq!(schedule.position_in_flow(number), *position);
                *position += 1;
            }
        }
    }
}
