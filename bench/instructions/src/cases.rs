//! What is counted: kinds of packets, each way, by the data path and by a whole worker.

use crate::packets::{SEGMENTS, super_packet, udp_packet};

/// How often the work of a case is done: so often that what is done once does not count.
pub(crate) const ROUNDS: u32 = 200;

/// One kind of packets, one way.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) way: Way,
    pub(crate) by: By,
    batch: Batch,
    /// The network brings a train datagram by datagram.
    pub(crate) is_cut: bool,
    /// Somebody looks on, and sees all of them on both sides.
    pub(crate) is_seen: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    Out,
    In,
}

/// Who does the work.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By {
    /// The data path, and what a shell must ask of it.
    Path,
    /// A worker: its turn, edges and ring as well, but not what it calls of the kernel.
    Worker,
}

/// What comes in one turn.
#[derive(Clone, Copy, Debug)]
enum Batch {
    /// So many UDP packets of that length, each by itself.
    Lone { packets: usize, len: usize },
    /// A TCP super-packet of 44 segments.
    Super,
}

const fn lone(name: &'static str, way: Way, packets: usize, len: usize) -> Case {
    Case { name, way, by: By::Path, batch: Batch::Lone { packets, len }, is_cut: false, is_seen: false }
}

/// What comes in datagram by datagram.
const fn cut(name: &'static str, packets: usize, len: usize) -> Case {
    Case { is_cut: true, ..lone(name, Way::In, packets, len) }
}

const fn super_packets(name: &'static str, way: Way, is_seen: bool) -> Case {
    Case { name, way, by: By::Path, batch: Batch::Super, is_cut: false, is_seen }
}

const fn by_worker(name: &'static str, case: Case) -> Case {
    Case { name, by: By::Worker, ..case }
}

impl Case {
    pub(crate) const ALL: [Self; 24] = [
        lone("out-64-alone", Way::Out, 1, 64),
        lone("out-64-of-32", Way::Out, 32, 64),
        lone("out-1420-alone", Way::Out, 1, 1_420),
        lone("out-1420-of-32", Way::Out, 32, 1_420),
        super_packets("out-super-44", Way::Out, false),
        super_packets("out-super-44-seen", Way::Out, true),
        lone("in-64-alone", Way::In, 1, 64),
        lone("in-64-of-32", Way::In, 32, 64),
        cut("in-64-lone-of-32", 32, 64),
        lone("in-1420-alone", Way::In, 1, 1_420),
        lone("in-1420-of-32", Way::In, 32, 1_420),
        cut("in-1420-lone-of-32", 32, 1_420),
        super_packets("in-super-44", Way::In, false),
        super_packets("in-super-44-seen", Way::In, true),
        by_worker("worker-out-64-alone", lone("", Way::Out, 1, 64)),
        by_worker("worker-out-64-of-32", lone("", Way::Out, 32, 64)),
        by_worker("worker-out-1420-alone", lone("", Way::Out, 1, 1_420)),
        by_worker("worker-out-1420-of-32", lone("", Way::Out, 32, 1_420)),
        by_worker("worker-out-super-44", super_packets("", Way::Out, false)),
        by_worker("worker-in-64-alone", lone("", Way::In, 1, 64)),
        by_worker("worker-in-64-lone-of-16", cut("", 16, 64)),
        by_worker("worker-in-1420-alone", lone("", Way::In, 1, 1_420)),
        by_worker("worker-in-1420-lone-of-16", cut("", 16, 1_420)),
        by_worker("worker-in-super-44", super_packets("", Way::In, false)),
    ];

    /// Packets of one round.
    pub(crate) const fn packets(&self) -> usize {
        match self.batch {
            Batch::Lone { packets, .. } => packets,
            Batch::Super => SEGMENTS,
        }
    }

    /// What the TUN gives in one round, behind its headers.
    pub(crate) fn reads(&self) -> Vec<Vec<u8>> {
        match self.batch {
            Batch::Lone { packets, len } => vec![udp_packet(len); packets],
            Batch::Super => vec![super_packet()],
        }
    }
}
