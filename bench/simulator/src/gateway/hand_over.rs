//! The gateway goes on in another process, which may have another number of workers. Nothing is lost, no key and no
//! counter is used twice, and nobody else notices.
//!
//! What the kernel has goes along: what waits in sockets and in the TUN device is read by the new workers.

use std::sync::Arc;

use ringfort_core::crypto::Portable;
use ringfort_core::device::Device;
use ringfort_core::handover::{Handover, Progress};
use ringfort_core::looped::Nesting;
use ringfort_core::wire::parse_data_header;
use ringfort_path::{Dispatch, Order};

use super::control::Control;
use super::worker::{Stage, TunRead, Worker};
use super::{Gateway, node_of, owner, plan};
use crate::network::Wire;
use crate::outside::Outside;

/// Rounds after which something is wrong: each thread tells the other less than before.
const ROUNDS_MAX: usize = 100;

impl Gateway {
    /// Another process takes over. A gateway of which a thread or the kernel stands still is not handed over: it would
    /// wait for that, and then go on by itself.
    pub(super) fn pass_on(&mut self, workers: usize, out: &mut Outside) {
        let stops = &self.stops;
        let kernel = [stops.control, stops.socket, stops.tun, stops.supers];
        let mut stopped = kernel.into_iter().chain(self.workers.iter().map(|worker| worker.stopped));
        if stopped.any(|until| out.now < until) {
            return;
        }
        let result = self.try_pass_on(workers, out);
        out.check(result.map_err(|what| format!("g{} is handed over: {what}", self.index)));
    }

    fn try_pass_on(&mut self, workers: usize, out: &mut Outside) -> Result<(), String> {
        self.leaving = true;
        self.quiesce(out)?;
        self.check_books()?;
        let state = self.state(out, true)?;
        let handover = Handover::read(&state).map_err(|error| error.to_string())?;
        let (_, _, packets) = handover.counts();
        let alone = self.state(out, false)?;
        let device = Device::take_over(self.now(out.now).mono, workers as u8, &Portable, None, handover);
        let (sockets, reads) = self.kernel_queues();
        if packets > 0 && workers != self.workers.len() {
            out.ledger.note_spread(self.index, out.now);
        }
        self.take_over(device.map_err(|error| error.to_string())?, workers, out);
        self.quiesce(out)?;
        // A packet that waits asks for a session anew, which is noted.
        if packets == 0 && self.state(out, false)? != alone {
            return Err("what goes on is not what was handed over".to_owned());
        }
        self.leaving = false;
        self.resume_queues(sockets, reads, out);
        self.wake_control(out);
        Ok(())
    }

    /// Everybody ends what was begun, and begins nothing: no more is read from the kernel.
    fn quiesce(&mut self, out: &mut Outside) -> Result<(), String> {
        for _ in 0..ROUNDS_MAX {
            for w in 0..self.workers.len() {
                self.end_turn(w, out);
            }
            while self.decide(out) {}
            while !self.carry_out(out) {}
            self.control.carries_out = false;
            let now = self.now(out.now);
            self.device.settle(now, &mut self.rng);
            let is_told = self.device.poll_timeout().is_none_or(|due| due > now.mono);
            while let Some(action) = self.device.poll_action() {
                self.apply(action, out);
            }
            let is_read = self.workers.iter().all(Worker::is_at_rest);
            if is_told && is_read && self.control.is_quiet() {
                return Ok(());
            }
        }
        Err("its threads do not come to rest".to_owned())
    }

    /// A worker goes on to the end of its turn.
    fn end_turn(&mut self, w: usize, out: &mut Outside) {
        while self.advance(w, out) != Stage::Begin {}
        self.complete(w, out.now);
        self.drain(w, out);
    }

    /// The bytes of the state, with what waits for sessions or without.
    fn state(&self, out: &Outside, with_packets: bool) -> Result<Vec<u8>, String> {
        let mut progress = Progress::default();
        self.dispatch.note_sending(&mut progress);
        let reports = self.workers.iter().flat_map(|worker| worker.path.session_reports());
        reports.for_each(|report| progress.note_receiver(report));
        let with_packets = self.workers.iter().filter(|_| with_packets);
        let packets = with_packets.flat_map(|worker| worker.path.waiting_packets());
        let handover = self.device.hand_over(self.now(out.now).mono, &progress, packets);
        let handover = handover.map_err(|error| error.to_string())?;
        let mut bytes = vec![0; handover.encoded_len()];
        handover.write(&mut bytes);
        Ok(bytes)
    }

    /// What the kernel keeps for all workers, in the order in which it came as far as anybody can tell.
    fn kernel_queues(&mut self) -> (Vec<Wire>, Vec<TunRead>) {
        let sockets = self.workers.iter_mut().flat_map(|worker| std::mem::take(&mut worker.socket)).collect();
        let reads = self.workers.iter_mut().flat_map(|worker| std::mem::take(&mut worker.tun)).collect();
        (sockets, reads)
    }

    /// The new process, with everything that it was told.
    fn take_over(&mut self, device: Device, workers: usize, out: &mut Outside) {
        self.device = device;
        self.site.workers = workers;
        // Sessions go on under their indices, whatever the new process is called.
        self.node = node_of(usize::from(self.node.number()) + 1);
        self.device.set_node(self.now(out.now).mono, self.node);
        self.dispatch = Dispatch::new(plan(&self.site), workers);
        self.control = Control::default();
        self.nesting = Arc::new(Nesting::new());
        self.workers = (0..workers).map(|n| Worker::new(n, &self.site, self.node, self.nesting.clone())).collect();
        let numbers = 0..self.config.peers.len();
        self.names = numbers.filter_map(|number| Some((self.peer_id(number)?, number))).collect();
        self.begin_to_look(out);
        if self.config.mtu != self.site.mtu {
            let mtu = self.config.mtu as u32;
            self.broadcast(|| Order::Mtu(mtu), out);
        }
        while let Some(action) = self.device.poll_action() {
            self.apply(action, out);
        }
    }

    /// The new workers read what waited, before anything that comes now.
    fn resume_queues(&mut self, sockets: Vec<Wire>, reads: Vec<TunRead>, out: &mut Outside) {
        let count = self.workers.len();
        for wire in sockets {
            let steered = match parse_data_header(&wire.bytes) {
                Ok(header) => owner(header.receiver, count),
                Err(_) => usize::from(wire.from.port()) % count,
            };
            let worker = &mut self.workers[wire.stray.map_or(steered, |worker| worker % count)];
            worker.socket_bytes += wire.bytes.len();
            worker.socket.push_back(wire);
        }
        for read in reads {
            let flow = match &read {
                TunRead::Lone { number, .. } => usize::from(number.flow),
                TunRead::Super { flow, .. } => usize::from(*flow),
                TunRead::Raw(_) => 0,
            };
            self.workers[flow % count].tun.push_back(read);
        }
        (0..count).for_each(|w| self.wake(w, out));
    }
}
