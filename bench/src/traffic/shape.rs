//! The shape of a load, as it is given on the command line.

use std::time::Duration;

use clap::{Args, ValueEnum};
use ringfort_testbed::Family;
use ringfort_traffic::load::{FLOWS_MAX, LANES_MAX, SIZE_MIN};
use ringfort_traffic::{Cpus, Direction, Imix, Load, Placement, Size};

/// The largest MTU that network cards commonly have.
const JUMBO_MTU: u16 = 9_216;

/// What a person may choose besides rate, size and time.
#[derive(Args, Clone, Debug)]
pub struct Shape {
    /// Number of flows (pairs of UDP ports), taken in turn
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(FLOWS_MAX)))]
    flows: u16,
    /// Which way the packets go
    #[arg(long, value_enum, default_value_t = Way::Forth)]
    direction: Way,
    /// Hand trains of datagrams to the kernel (UDP_SEGMENT): a tunnel with USO gets super-packets instead of lone ones
    #[arg(long)]
    gso: bool,
    /// Take merged datagrams from the kernel (UDP_GRO)
    #[arg(long)]
    gro: bool,
    /// Pairs of sending and receiving threads for each direction
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(LANES_MAX)))]
    lanes: u16,
    #[command(flatten)]
    seats: Seats,
}

/// Where the threads of a host run.
#[derive(Args, Clone, Debug)]
pub struct Seats {
    /// CPUs of the generator's threads: `last` downwards, `any`, or a list such as 2,4-7 (sender, receiver, …)
    #[arg(long, default_value = "last", value_parser = parse_cpus)]
    cpus: Cpus,
    /// Run the generator before everything else on its CPUs (SCHED_FIFO)
    #[arg(long)]
    realtime: bool,
    /// Let senders and receivers wait without sleeping: exact, for a CPU each of their own
    #[arg(long)]
    spin: bool,
}

/// Of which family the inner packets are, where the lab gives the addresses.
#[derive(Args, Clone, Debug)]
pub struct Inner {
    /// Family of the inner packets
    #[arg(long, value_enum, default_value_t = InnerFamily::V4)]
    family: InnerFamily,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum InnerFamily {
    V4,
    V6,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Way {
    #[value(name = "one-way")]
    Forth,
    /// The same load in each direction at once
    #[value(name = "both-ways")]
    Both,
    /// To a reflector and back
    RoundTrip,
}

impl Inner {
    /// Family of the inner packets.
    pub fn family(&self) -> Family {
        match self.family {
            InnerFamily::V4 => Family::V4,
            InnerFamily::V6 => Family::V6,
        }
    }
}

impl Seats {
    /// For so many lanes.
    pub fn placement(&self, lanes: u16) -> Placement {
        Placement { cpus: self.cpus.clone(), lanes, realtime: self.realtime, spin: self.spin }
    }
}

impl Shape {
    /// A load of this shape.
    pub fn load(&self, size: Size, rate_pps: u64, duration: Duration) -> Load {
        let direction = match self.direction {
            Way::Forth => Direction::OneWay,
            Way::Both => Direction::BothWays,
            Way::RoundTrip => Direction::RoundTrip,
        };
        let Self { flows, gso, gro, lanes, .. } = *self;
        let placement = self.seats.placement(lanes);
        Load { size, rate_pps, flows, direction, duration, gso, gro, placement, ..Load::default() }
    }
}

/// `64` to what fits a jumbo frame, or `imix`.
pub fn parse_size(text: &str) -> Result<Size, String> {
    if text.eq_ignore_ascii_case("imix") {
        return Ok(Size::Imix(Imix::default()));
    }
    let bytes = text.parse::<u16>().ok().filter(|bytes| (SIZE_MIN..=JUMBO_MTU).contains(bytes));
    let bytes =
        bytes.ok_or_else(|| format!("the size of an inner IP packet is {SIZE_MIN} to {JUMBO_MTU} bytes, or imix"))?;
    Ok(Size::Fixed { bytes })
}

fn parse_cpus(text: &str) -> Result<Cpus, String> {
    match text {
        "last" => Ok(Cpus::Last),
        "any" => Ok(Cpus::Any),
        list => {
            let ranges = list.split(',').map(parse_range).collect::<Option<Vec<_>>>();
            let ranges = ranges.ok_or("not `last`, `any` or a list of CPUs such as 2,4-7")?;
            Ok(Cpus::List(ranges.into_iter().flatten().collect()))
        }
    }
}

/// `4-7`, or one number.
fn parse_range(text: &str) -> Option<std::ops::RangeInclusive<usize>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    // So that a slip does not ask for a list of billions.
    (first <= last && last < 65_536).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_fit_a_jumbo_frame() {
        assert_eq!(parse_size("64"), Ok(Size::Fixed { bytes: 64 }));
        assert_eq!(parse_size("1420"), Ok(Size::Fixed { bytes: 1_420 }));
        assert_eq!(parse_size("IMIX"), Ok(Size::Imix(Imix { largest_bytes: 1_420 })));
        assert_eq!(parse_size("9216"), Ok(Size::Fixed { bytes: 9_216 }));
        for wrong in ["63", "9217", "-1", "big", ""] {
            assert!(parse_size(wrong).unwrap_err().contains("64 to 9216"), "{wrong}");
        }
    }

    #[test]
    fn cpus_are_named_or_listed() {
        assert_eq!(parse_cpus("last"), Ok(Cpus::Last));
        assert_eq!(parse_cpus("any"), Ok(Cpus::Any));
        assert_eq!(parse_cpus("2,4-6"), Ok(Cpus::List(vec![2, 4, 5, 6])));
        for wrong in ["", "x", "3-1", "1,,2", "0-9999999999"] {
            assert!(parse_cpus(wrong).is_err(), "{wrong}");
        }
    }
}
