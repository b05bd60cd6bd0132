//! What must come out for what goes in, whatever there is in between.

use std::{fmt, io};

use ring_buffers::View;
use vnet_packets::Segments;
use vnet_packets::checksum::Sum;
use vnet_packets::headers::{Parts, Version, addresses};
use vnet_packets::sample::{KINDS, Packet, payload};
use vnet_packets::virtio::{Received, SuperKind, VNET_HDR_LEN, WriteHeader, parse, write_partial};
use vnet_packets::{Coalescer, Merge, OuterOffset, SEGMENTS_MAX};

use super::{Extent, Feature, SelfTest};
use crate::device::{Offloads, TunError};

/// Payload of each packet of a run but the last, in bytes: with [`SEGMENTS_MAX`] of them, close to the longest packet
/// that there is.
const SEGMENT: usize = 1000;
const LAST_SEGMENT: usize = 77;

/// Longer than any read.
const READ_MAX: usize = VNET_HDR_LEN + 65_575;

/// How packets live before and after the kernel has forwarded them.
const TTL: u8 = 64;

const ACK: u8 = 0x10;
const PSH: u8 = 0x08;

/// A kernel, or what a test has in place of one: what is written to one device is forwarded to another.
pub(super) trait Kernel {
    /// Writes a virtio-net header and a packet to the first device.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Reads from the second device, or `None` if nothing is there within a tenth of a second.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>>;

    /// Sets the offloads of the second device, and says which of them it has.
    fn set_offloads(&mut self, wanted: Offloads) -> Result<Offloads, TunError>;
}

/// Tests each feature. `Err`: not even a plain packet comes back, so nothing can be said.
pub(super) fn judge(kernel: &mut impl Kernel, wanted: Offloads) -> Result<SelfTest, String> {
    let mut trips = Trips { kernel, flow: 0, buffer: vec![0; READ_MAX] };
    trips.set_offloads(Offloads::NONE)?;
    trips
        .plain(Sample::plain(SuperKind::Tcp4))
        .map_err(|why| format!("a plain packet did not make the round trip: {why}"))?;
    let ipv6 = trips.plain(Sample::plain(SuperKind::Tcp6)).is_ok();
    let kinds = || KINDS.into_iter().filter(|kind| ipv6 || kind.is_ipv4());

    let mut result =
        SelfTest { offloads: wanted, merge: Merge::PLAIN, extent: Extent::RoundTrip { ipv6 }, failures: Vec::new() };
    for kind in kinds() {
        if let Err(why) = trips.merged(Sample::plain(kind), OuterOffset::Exact) {
            result.fail(Feature::merging(kind), format!("{kind}: {why}"));
        }
    }
    let offered = trips.set_offloads(wanted)?;
    result.offloads = offered;
    for kind in kinds() {
        if offered.checksum
            && let Err(why) = trips.partial(Sample::plain(kind))
        {
            result.fail(Feature::Checksum, format!("{kind} with an unfinished checksum: {why}"));
        }
        let reads = if kind.is_tcp() { offered.tcp } else { offered.udp };
        if reads && let Err(why) = trips.merged(Sample::plain(kind), OuterOffset::Exact) {
            result.fail(Feature::reading(kind), format!("{kind}: {why}"));
        }
    }
    if offered.tunnels {
        judge_tunnels(&mut trips, &mut result, ipv6)?;
    }
    Ok(result)
}

/// Finds out how the kernel counts in super-packets of tunnels, by what it makes of them. Then it has to give them.
fn judge_tunnels<K: Kernel>(trips: &mut Trips<'_, K>, result: &mut SelfTest, ipv6: bool) -> Result<(), String> {
    let offered = result.offloads;
    trips.set_offloads(Offloads::NONE)?;
    let mut refusal = None;
    for offset in [OuterOffset::Exact, OuterOffset::BehindEthernet] {
        match tunnels(ipv6).try_for_each(|sample| trips.merged(sample, offset).map_err(|why| (sample, why))) {
            Ok(()) => {
                result.merge.tunnels = Some(offset);
                result.merge.inner_ipv6 = ipv6;
                break;
            }
            Err(why) => refusal = Some(why),
        }
    }
    let Some(offset) = result.merge.tunnels else {
        let (sample, why) = refusal.expect("each way was tried, and none was good");
        result.fail(Feature::MergeTunnels, format!("{sample}: {why}"));
        // What it does not take it cannot prove to give.
        result.fail(Feature::ReadTunnels, format!("{sample}: {why}"));
        return Ok(());
    };
    trips.set_offloads(offered)?;
    for sample in tunnels(ipv6) {
        if let Err(why) = trips.merged(sample, offset) {
            result.fail(Feature::ReadTunnels, format!("{sample}: {why}"));
        }
    }
    Ok(())
}

/// What a packet of a trip is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    kind: SuperKind,
    /// The outer packet of a tunnel, and whether it has a checksum.
    tunnel: Option<(SuperKind, bool)>,
}

impl Sample {
    pub(super) fn plain(kind: SuperKind) -> Self {
        Self { kind, tunnel: None }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tunnel {
            None => write!(f, "{}", self.kind),
            Some((outer, true)) => write!(f, "{} in a tunnel of {outer}", self.kind),
            Some((outer, false)) => write!(f, "{} in a tunnel of {outer} without checksum", self.kind),
        }
    }
}

/// Each version of IP and each transport inside and outside, with and without an outer checksum. Without `ipv6` it is
/// nowhere: where it is disabled, the kernel does not cut up UDP over IPv6 either.
pub(super) fn tunnels(ipv6: bool) -> impl Iterator<Item = Sample> {
    let of = |outer, [with, without]: [SuperKind; 2]| {
        [(with, true), (without, false)].map(|(kind, checksum)| Sample { kind, tunnel: Some((outer, checksum)) })
    };
    let inner_udp = if ipv6 { SuperKind::Udp6 } else { SuperKind::Udp4 };
    let over_ipv4 = of(SuperKind::Udp4, [SuperKind::Tcp4, inner_udp]);
    let over_ipv6 = of(SuperKind::Udp6, [SuperKind::Udp4, SuperKind::Tcp6]);
    over_ipv4.into_iter().chain(over_ipv6.into_iter().filter(move |_| ipv6))
}

/// Round trips, each of a flow of its own, so none takes a latecomer of another for its own.
struct Trips<'a, K> {
    kernel: &'a mut K,
    flow: u8,
    buffer: Vec<u8>,
}

impl<K: Kernel> Trips<'_, K> {
    fn set_offloads(&mut self, wanted: Offloads) -> Result<Offloads, String> {
        self.kernel.set_offloads(wanted).map_err(|error| error.to_string())
    }

    fn next_flow(&mut self) -> u8 {
        self.flow += 1;
        self.flow
    }

    /// A finished packet.
    fn plain(&mut self, sample: Sample) -> Result<(), String> {
        let flow = self.next_flow();
        let mut bytes = with_room(&packet(sample, flow, 0, TTL));
        put(WriteHeader::Packet, &mut bytes);
        self.write(&bytes)?;
        self.expect(&[packet(sample, flow, 0, TTL - 1)])
    }

    /// A packet with a checksum that is left to whoever needs it.
    fn partial(&mut self, sample: Sample) -> Result<(), String> {
        let flow = self.next_flow();
        let mut bytes = with_room(&packet(sample, flow, 0, TTL));
        let (header, ip) = bytes.split_first_chunk_mut().expect("there is room for the header");
        let parts = Parts::of(ip).expect("a sample is well-formed");
        let len = u32::try_from(parts.end - parts.transport).expect("no longer than a packet");
        let pseudo = Sum::pseudo_header(&ip[parts.addresses()], parts.protocol, len);
        ip[parts.checksum()..][..2].copy_from_slice(&pseudo.to_bytes());
        write_partial(header, &parts);
        self.write(&bytes)?;
        self.expect(&[packet(sample, flow, 0, TTL - 1)])
    }

    /// A run of packets, as the data path merges them.
    fn merged(&mut self, sample: Sample, offset: OuterOffset) -> Result<(), String> {
        let flow = self.next_flow();
        let (write, expected) = (merged(sample, offset, flow), run(sample, flow, TTL - 1));
        self.write(&write)?;
        self.expect(&expected)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.kernel.write(bytes).map_err(|error| format!("the kernel refused it: {error}"))
    }

    /// Reads until `expected` has come, in any number of reads. What else the kernel sends does not matter.
    fn expect(&mut self, expected: &[Vec<u8>]) -> Result<(), String> {
        let mut came = Vec::with_capacity(expected.len());
        while came.len() < expected.len() {
            let read = self.kernel.read(&mut self.buffer).map_err(|error| format!("reading failed: {error}"))?;
            let Some(read) = read.and_then(|len| self.buffer.get_mut(..len)) else {
                return Err(format!("{} of {} packets came back", came.len(), expected.len()));
            };
            take(read, &expected[0], &mut came)?;
        }
        if came.len() > expected.len() {
            return Err(format!("{} packets came back for {}", came.len(), expected.len()));
        }
        match came.iter().zip(expected).position(|(came, expected)| came != expected) {
            Some(changed) => Err(format!("packet {} of {} came back changed", changed + 1, expected.len())),
            None => Ok(()),
        }
    }
}

/// Finishes what was read, cuts it up, and adds it if it is of the flow of `sample`.
fn take(read: &mut [u8], sample: &[u8], came: &mut Vec<Vec<u8>>) -> Result<(), String> {
    let received = parse(read).map_err(|error| format!("the kernel's header is wrong: {error}"))?;
    let packet = &mut read[VNET_HDR_LEN..];
    if !is_same_flow(packet, sample) {
        return Ok(());
    }
    match received {
        Received::Packet(partial) => {
            if let Some(partial) = partial {
                partial.complete(packet).map_err(|error| error.to_string())?;
            }
            came.push(packet.to_vec());
        }
        Received::Super(geometry) => {
            let segments = Segments::new(packet, geometry).map_err(|error| error.to_string())?;
            came.extend(segments.map(|segment| {
                let mut bytes = vec![0; segment.len()];
                let (headers, body) = bytes.split_at_mut(segment.header_len());
                segment.write_headers(headers);
                body.copy_from_slice(segment.payload());
                bytes
            }));
        }
    }
    Ok(())
}

fn is_same_flow(packet: &[u8], sample: &[u8]) -> bool {
    let version = if sample[0] >> 4 == 4 { Version::V4 } else { Version::V6 };
    let at = addresses(version);
    packet.first().is_some_and(|first| first >> 4 == sample[0] >> 4) && packet.get(at.clone()) == sample.get(at)
}

/// The packet with the number `index` of a run.
fn packet(sample: Sample, flow: u8, index: usize, ttl: u8) -> Vec<u8> {
    let is_last = index == SEGMENTS_MAX - 1;
    let of_flow = |kind, ttl| {
        Packet::new(kind).with(|p| {
            p.flow = flow;
            p.ttl = ttl;
            p.identification = p.identification.wrapping_add(index as u16);
            p.sequence = p.sequence.wrapping_add((index * SEGMENT) as u32);
            p.flags = if is_last { ACK | PSH } else { ACK };
            // Other bytes in each.
            p.payload = payload(index + if is_last { LAST_SEGMENT } else { SEGMENT }).split_off(index);
        })
    };
    match sample.tunnel {
        None => of_flow(sample.kind, ttl).bytes(),
        // The hop is one of the outer packet only.
        Some((outer, checksum)) => {
            let outer = of_flow(outer, ttl).with(|p| p.checksum = checksum);
            of_flow(sample.kind, TTL).in_vxlan(&outer).bytes()
        }
    }
}

fn run(sample: Sample, flow: u8, ttl: u8) -> Vec<Vec<u8>> {
    (0..SEGMENTS_MAX).map(|index| packet(sample, flow, index, ttl)).collect()
}

/// The one write that the coalescer makes of a run.
pub(super) fn merged(sample: Sample, offset: OuterOffset, flow: u8) -> Vec<u8> {
    let mut written = Vec::with_capacity(READ_MAX);
    let mut write = |pieces: &mut Vec<View>| written.extend(pieces.iter().flat_map(|piece| piece.iter()));
    let mut coalescer = Coalescer::new(Merge { tunnels: Some(offset), ..Merge::PLAIN });
    for packet in run(sample, flow, TTL) {
        coalescer.push(View::heap(with_room(&packet)), &mut write);
    }
    coalescer.flush(&mut write);
    written
}

/// Room for a virtio-net header, and the packet.
fn with_room(packet: &[u8]) -> Vec<u8> {
    [&[0; VNET_HDR_LEN], packet].concat()
}

fn put(header: WriteHeader, bytes: &mut [u8]) {
    header.write(bytes.first_chunk_mut().expect("there is room for the header"));
}
