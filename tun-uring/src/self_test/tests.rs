//! The judge before kernels that do as they should, and before others.

use std::collections::VecDeque;
use std::io;

use vnet_packets::virtio::{Received, VNET_HDR_LEN, parse};
use vnet_packets::{OuterOffset, Segments};

use super::judge::{Kernel, judge};
use super::*;
use crate::device::TunError;

/// What a kernel does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Forwards nothing.
    Deaf,
    NoIpv6,
    /// Does not take super-packets of this transport.
    Refuses {
        tcp: bool,
    },
    /// Cuts super-packets of this transport, but loses one packet.
    Loses {
        tcp: bool,
    },
    /// Cuts super-packets of this transport into packets, two of which change places.
    Reorders {
        tcp: bool,
    },
    /// Cuts super-packets of this transport, and changes a bit.
    Damages {
        tcp: bool,
    },
    /// Gives super-packets of this transport with a segment size that is not theirs.
    Resizes {
        tcp: bool,
    },
    /// Refuses super-packets in tunnels.
    RefusesTunnels,
    /// Takes them only if the outer offset counts an Ethernet header.
    CountsEthernet,
    /// Loses a packet of each when it cuts them up.
    LosesOfTunnels,
    /// Gives them with a segment size that is not theirs.
    ResizesTunnels,
    /// Says that a checksum is unfinished without saying where it is.
    MisplacesChecksums,
    /// Sends a packet of its own before each of ours.
    Chatters,
}

/// Forwards in software.
struct Fake {
    fault: Fault,
    known: Offloads,
    offloads: Offloads,
    out: VecDeque<Vec<u8>>,
}

impl Fake {
    fn new(fault: Fault) -> Self {
        Self { fault, known: Offloads::ALL, offloads: Offloads::ALL, out: VecDeque::new() }
    }

    fn send(&mut self, packet: &[u8]) {
        self.out.push_back([&[0; VNET_HDR_LEN], packet].concat());
    }

    fn forward_super(&mut self, bytes: &[u8], geometry: vnet_packets::Super) {
        let (tcp, tunnel) = (geometry.kind.is_tcp(), geometry.tunnel.is_some());
        let keeps = match (tunnel, tcp) {
            (true, _) => self.offloads.tunnels,
            (false, true) => self.offloads.tcp,
            (false, false) => self.offloads.udp,
        };
        // Other faults are those of plain super-packets.
        let fault = match self.fault {
            Fault::LosesOfTunnels if tunnel => Fault::Loses { tcp },
            Fault::ResizesTunnels if tunnel => Fault::Resizes { tcp },
            fault if !tunnel => fault,
            _ => Fault::None,
        };
        if self.offloads.checksum && keeps {
            let mut bytes = bytes.to_vec();
            if fault == (Fault::Resizes { tcp }) {
                // gso_size, little-endian.
                bytes[4] ^= 4;
            }
            self.out.push_back(bytes);
            return;
        }
        let segments = Segments::new(&bytes[VNET_HDR_LEN..], geometry).expect("its own geometry");
        let mut packets: Vec<Vec<u8>> = segments
            .map(|segment| {
                let mut packet = vec![0; segment.header_len()];
                segment.write_headers(&mut packet);
                packet.extend(segment.payload());
                packet
            })
            .collect();
        match fault {
            Fault::Loses { tcp: t } if t == tcp => drop(packets.remove(17)),
            Fault::Reorders { tcp: t } if t == tcp => packets.swap(30, 31),
            Fault::Damages { tcp: t } if t == tcp => packets[63][90] ^= 1,
            _ => {}
        }
        packets.iter().for_each(|packet| self.send(packet));
    }
}

/// One hop less to live.
fn hop(packet: &mut [u8]) {
    if packet[0] >> 4 == 4 {
        packet[8] -= 1;
        packet[10..12].fill(0);
        let checksum = vnet_packets::checksum::Sum::of(&packet[..20]).checksum();
        packet[10..12].copy_from_slice(&checksum);
    } else {
        packet[7] -= 1;
    }
}

impl Kernel for Fake {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut bytes = bytes.to_vec();
        let received = parse(&bytes).expect("a header that the crate understands");
        let is_ipv6 = bytes[VNET_HDR_LEN] >> 4 == 6;
        let inside_is_ipv6 = matches!(&received, Received::Super(geometry) if !geometry.kind.is_ipv4());
        if self.fault == Fault::Deaf || self.fault == Fault::NoIpv6 && (is_ipv6 || inside_is_ipv6) {
            return Ok(());
        }
        if self.fault == Fault::Chatters {
            self.send(&[0x60; 48]);
            self.send(&[0x45; 28]);
        }
        hop(&mut bytes[VNET_HDR_LEN..]);
        match received {
            Received::Super(geometry) => {
                let tcp = geometry.kind.is_tcp();
                let refuses = match (self.fault, geometry.tunnel) {
                    (Fault::RefusesTunnels, Some(_)) => true,
                    // outer_th_offset, little-endian.
                    (Fault::CountsEthernet, Some(tunnel)) => u16::from(bytes[20]) != tunnel.udp + 14,
                    (fault, tunnel) => tunnel.is_none() && fault == Fault::Refuses { tcp },
                };
                if refuses {
                    return Err(io::Error::from_raw_os_error(libc::EINVAL));
                }
                self.forward_super(&bytes, geometry);
            }
            Received::Packet(Some(_)) if self.offloads.checksum => {
                if self.fault == Fault::MisplacesChecksums {
                    bytes[6..10].fill(0);
                }
                self.out.push_back(bytes);
            }
            Received::Packet(Some(partial)) => {
                partial.complete(&mut bytes[VNET_HDR_LEN..]).expect("it fits");
                self.send(&bytes[VNET_HDR_LEN..]);
            }
            Received::Packet(None) => self.send(&bytes[VNET_HDR_LEN..]),
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        Ok(self.out.pop_front().map(|bytes| {
            buffer[..bytes.len()].copy_from_slice(&bytes);
            bytes.len()
        }))
    }

    fn set_offloads(&mut self, wanted: Offloads) -> Result<Offloads, TunError> {
        let (udp, tunnels) = (wanted.udp && self.known.udp, wanted.tunnels && self.known.tunnels);
        self.offloads = Offloads { udp, tunnels, ..wanted };
        Ok(self.offloads)
    }
}

const MERGE_ALL: Merge = Merge::ALL;

fn result(fault: Fault) -> SelfTest {
    judge(&mut Fake::new(fault), Offloads::ALL).expect("plain packets come back")
}

fn failed(result: &SelfTest) -> Vec<Feature> {
    result.failures.iter().map(|failure| failure.feature).collect()
}

#[test]
fn a_good_kernel_is_trusted_with_everything() {
    for fault in [Fault::None, Fault::Chatters] {
        let result = result(fault);
        assert_eq!(result.failures, []);
        assert_eq!((result.offloads, result.merge), (Offloads::ALL, MERGE_ALL));
        assert_eq!(result.extent, Extent::RoundTrip { ipv6: true });
    }
}

#[test]
fn nothing_is_said_of_a_kernel_that_forwards_nothing() {
    let why = judge(&mut Fake::new(Fault::Deaf), Offloads::ALL).expect_err("nothing came back");
    assert!(why.contains("0 of 1 packets"), "{why}");
}

#[test]
fn without_ipv6_the_rest_is_tested() {
    let result = result(Fault::NoIpv6);
    assert_eq!(result.failures, []);
    // IPv6 in tunnels was not proven.
    assert_eq!((result.offloads, result.merge), (Offloads::ALL, Merge { inner_ipv6: false, ..MERGE_ALL }));
    assert_eq!(result.extent, Extent::RoundTrip { ipv6: false });
}

#[test]
fn what_was_not_offered_has_not_failed() {
    let mut old = Fake::new(Fault::None);
    old.known.udp = false;
    let result = judge(&mut old, Offloads::ALL).expect("plain packets come back");
    assert_eq!(result.failures, []);
    assert_eq!(result.offloads, Offloads { udp: false, ..Offloads::ALL });
    let result = judge(&mut Fake::new(Fault::None), Offloads::NONE).expect("plain packets come back");
    assert_eq!((result.offloads, result.merge), (Offloads::NONE, Merge::PLAIN));
}

#[test]
fn a_kernel_that_refuses_super_packets_gets_none() {
    let result = result(Fault::Refuses { tcp: false });
    // What it does not take it cannot have proved to give either.
    assert_eq!(failed(&result), [Feature::MergeUdp, Feature::ReadUdp]);
    assert_eq!(result.merge, Merge { udp: false, ..MERGE_ALL });
    assert_eq!(result.offloads, Offloads { udp: false, ..Offloads::ALL });
    assert!(result.failures[0].why.contains("refused"), "{}", result.failures[0]);
}

#[test]
fn each_mistake_in_cutting_ends_merging_of_that_transport_alone() {
    for tcp in [false, true] {
        let faults = [Fault::Loses { tcp }, Fault::Reorders { tcp }, Fault::Damages { tcp }];
        for (fault, why) in faults.into_iter().zip(["63 of 64", "packet 31 of 64", "packet 64 of 64"]) {
            let result = result(fault);
            assert_eq!(failed(&result), [if tcp { Feature::MergeTcp } else { Feature::MergeUdp }], "{fault:?}");
            assert_eq!(
                (result.offloads, result.merge),
                (Offloads::ALL, Merge { tcp: !tcp, udp: tcp, ..MERGE_ALL }),
                "{fault:?}"
            );
            assert!(result.failures[0].why.contains(why), "{fault:?}: {}", result.failures[0]);
        }
    }
}

#[test]
fn a_wrong_segment_size_ends_reading_of_that_transport_alone() {
    for tcp in [false, true] {
        let result = result(Fault::Resizes { tcp });
        assert_eq!(failed(&result), [if tcp { Feature::ReadTcp } else { Feature::ReadUdp }]);
        assert_eq!((result.offloads.tcp, result.offloads.udp, result.offloads.checksum), (!tcp, tcp, true));
        assert_eq!(result.merge, MERGE_ALL);
    }
}

#[test]
fn without_checksums_there_are_no_offloads() {
    let result = result(Fault::MisplacesChecksums);
    assert_eq!(failed(&result), [Feature::Checksum]);
    assert_eq!((result.offloads, result.merge), (Offloads::NONE, MERGE_ALL));
}

#[test]
fn tunnels_are_described_as_the_kernel_counts() {
    let result = result(Fault::CountsEthernet);
    assert_eq!(result.failures, []);
    let tunnels = Some(OuterOffset::BehindEthernet);
    assert_eq!((result.offloads, result.merge), (Offloads::ALL, Merge { tunnels, ..Merge::PLAIN }));
}

#[test]
fn a_kernel_without_tunnels_is_not_asked_for_them() {
    let mut old = Fake::new(Fault::RefusesTunnels);
    old.known.tunnels = false;
    let result = judge(&mut old, Offloads::ALL).expect("plain packets come back");
    assert_eq!(result.failures, []);
    assert_eq!((result.offloads, result.merge), (Offloads { tunnels: false, ..Offloads::ALL }, Merge::PLAIN));
}

#[test]
fn each_mistake_with_tunnels_ends_their_use_alone() {
    for fault in [Fault::RefusesTunnels, Fault::LosesOfTunnels] {
        let result = result(fault);
        assert_eq!(failed(&result), [Feature::MergeTunnels, Feature::ReadTunnels], "{fault:?}");
        let offloads = Offloads { tunnels: false, ..Offloads::ALL };
        assert_eq!((result.offloads, result.merge), (offloads, Merge::PLAIN), "{fault:?}");
    }
    let result = result(Fault::ResizesTunnels);
    assert_eq!(failed(&result), [Feature::ReadTunnels]);
    assert_eq!((result.offloads, result.merge), (Offloads { tunnels: false, ..Offloads::ALL }, MERGE_ALL));
}
