//! The worker's two edges, and the numbers by which its ring knows them.

use std::os::fd::OwnedFd;

use ring_buffers::{BufferGroup, Capabilities, Pool, Ring, RingError, SlotClass};
use ringfort_path::budget::{TUN_READS, UDP_READS, line};
use ringfort_path::turns::SENDS;
use tun_uring::TunEdge;
use udp_uring::{Segmentation, UdpEdge};

use super::operations::{TUN_GATHERS, TUN_OPERATIONS};

/// Which part of the worker an operation belongs to ([`ring_buffers::Tag::edge`]).
pub(super) const EDGE_DOORBELL: u8 = 1;
pub(super) const EDGE_TUN: u8 = 2;
pub(super) const EDGE_UDP: u8 = 3;

/// Places in the ring's table of files.
pub(super) const PLACE_TUN: u32 = 0;
pub(super) const PLACE_V4: u32 = 1;
const PLACE_V6: u32 = 2;
pub(super) const PLACES: usize = 3;

/// Numbers of the buffer groups.
const GROUP_TUN: u16 = 0;
const GROUP_UDP: u16 = 1;

pub(super) fn tun_edge(
    ring: &mut Ring,
    pool: &Pool,
    queue: OwnedFd,
    capabilities: Capabilities,
) -> Result<TunEdge, RingError> {
    let config = tun_uring::EdgeConfig {
        edge: EDGE_TUN,
        place: PLACE_TUN,
        group: GROUP_TUN,
        read_slots: TUN_READS,
        line: line::TUN_READS,
        writes: TUN_OPERATIONS,
        gathers: TUN_GATHERS,
        capabilities,
    };
    TunEdge::new(ring, pool, queue, config)
}

pub(super) fn udp_edge(ring: &mut Ring, pool: &Pool, segmentation: Segmentation) -> Result<UdpEdge, RingError> {
    let group =
        BufferGroup::register(ring, pool, GROUP_UDP, SlotClass::Jumbo, UDP_READS, udp_uring::RECEIVE_BUFFER_LEN)?;
    let config = udp_uring::EdgeConfig {
        edge: EDGE_UDP,
        place_v4: PLACE_V4,
        place_v6: PLACE_V6,
        operations: SENDS,
        segmentation,
    };
    Ok(UdpEdge::new(group.claiming_for(line::UDP_READS), config))
}
