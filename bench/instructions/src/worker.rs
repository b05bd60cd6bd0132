//! The work of a worker.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use ring_buffers::Capabilities;
use ring_buffers::fake::{FakeKernel, Message, Script};
use ringfort_core::node::Node;
use ringfort_path::bare;
use ringfort_path::budget::line;
use ringfort_worker::clock::boot_time;
use ringfort_worker::fake::{PLACE_TUN, PLACE_V4, TurnedWorker};
use ringfort_worker::queues::{Mail, Queues, WorkerInbox};
use ringfort_worker::{Tuning, WorkerConfig, WorkerStats};
use udp_uring::{Segmentation, SocketConfig, SocketGroup};
use vnet_packets::Merge;

use crate::cases::{Case, ROUNDS, Way};
use crate::rig::{MTU, NOW, RECEIVER, Rig, SENDER, begin_receiving, begin_sending, filled, received};

/// Turns after which nothing is left to do before the first packet.
const TURNS_BEFORE: usize = 4;

/// A worker and all around it.
struct Stage {
    worker: TurnedWorker,
    kernel: FakeKernel,
    queues: Arc<Queues>,
    stats: Arc<WorkerStats>,
}

pub(crate) fn run(case: &Case) {
    let mut stage = Stage::new();
    match case.way {
        Way::Out => {
            let (cell, orders) = RECEIVER.peer();
            let begin = begin_sending(&cell, boot_time());
            orders.into_iter().chain([begin]).for_each(|order| stage.inbox().push_order(order));
        }
        Way::In => {
            let (cell, orders) = SENDER.peer();
            orders.into_iter().for_each(|order| stage.inbox().push_order(order));
            stage.inbox().push_session(begin_receiving(cell, boot_time()));
        }
    }
    (0..TURNS_BEFORE).for_each(|_| measured_turn(&mut stage.worker));
    let mut rig = Rig::new();
    for round in 1..=ROUNDS {
        match case.way {
            Way::Out => {
                for bytes in case.reads() {
                    stage.kernel.deliver(PLACE_TUN, Message { bytes, ..Message::default() });
                }
            }
            Way::In => rig.trains(case).into_iter().for_each(|train| stage.kernel.deliver(PLACE_V4, train)),
        }
        // As under load: what was sent or written in one turn has completed in the next.
        measured_turn(&mut stage.worker);
        // A datagram is counted when the kernel says that it has left, a packet when it is written.
        let (counted, rounds) = match case.way {
            Way::Out => (&stage.stats.udp_send_datagrams, round - 1),
            Way::In => (&stage.stats.tun_write_packets, round),
        };
        assert_eq!(counted.get(), u64::from(rounds) * case.packets() as u64, "all packets get through in their turn");
        let _ = stage.kernel.take_written();
    }
    // Its end takes calls that would be counted.
    std::mem::forget(stage);
}

/// One turn. What it calls of the kernel is left out.
#[inline(never)]
fn measured_turn(worker: &mut TurnedWorker) {
    worker.turn().expect("this kernel does nothing wrong");
}

impl Stage {
    fn new() -> Self {
        let queues = Arc::new(Queues::new(1).expect("an eventfd"));
        let stats = Arc::new(WorkerStats::default());
        let tuning = Tuning {
            node: Node::SINGLE,
            capabilities: Capabilities { read_multishot: true, writev_fixed: true },
            merge: Merge::ALL,
            segmentation: Segmentation::On,
            busy_poll: Duration::ZERO,
        };
        let config = WorkerConfig {
            index: 0,
            core: None,
            // The fake kernel never asks it for anything.
            tun: File::open("/dev/null").expect("every system has it").into(),
            flows: None,
            mtu: u32::try_from(MTU).expect("a packet"),
            tuning,
            rests: false,
            queues: queues.clone(),
            stats: stats.clone(),
            before_packets: || (),
        };
        let (worker, kernel) = TurnedWorker::new(config, Script::calm(0)).expect("memory");
        let sockets = SocketGroup::bind(&SocketConfig::new(0, 1)).expect("two sockets");
        let sockets = sockets.pair(0).try_clone().expect("a descriptor");
        let stage = Self { worker, kernel, queues, stats };
        stage.inbox().push_mail(Mail::Sockets(Some(sockets)));
        stage
    }

    fn inbox(&self) -> &WorkerInbox {
        &self.queues.workers[0]
    }
}

impl Rig {
    /// What the receiver's kernel gets of the sender in one round.
    fn trains(&mut self, case: &Case) -> Vec<Message> {
        let mut reads = case.reads().iter().map(|read| filled(&self.sender, line::TUN_READS, read)).collect();
        let mut sent = Vec::new();
        bare::turn_out(&mut self.sender, NOW, &mut reads, &mut sent);
        sent.iter()
            .flat_map(|transmit| received(transmit, case.is_cut))
            .map(|(stride, bytes)| train(stride, bytes))
            .collect()
    }
}

/// Datagrams of the sender as `recvmsg` gives them, with their length if there are several.
fn train(stride: usize, bytes: Vec<u8>) -> Message {
    let name =
        [&(libc::AF_INET as u16).to_ne_bytes()[..], &51_820_u16.to_be_bytes(), &[192, 0, 2, 1], &[0; 8]].concat();
    let mut control = Vec::new();
    if bytes.len() > stride {
        // A `cmsghdr` of 16 bytes, the number, and what fills it up to words.
        control.extend(20_usize.to_ne_bytes());
        control.extend(libc::SOL_UDP.to_ne_bytes());
        control.extend(libc::UDP_GRO.to_ne_bytes());
        control.extend(u32::try_from(stride).expect("a datagram").to_ne_bytes());
        control.extend([0; 4]);
    }
    Message { name, control, bytes }
}
