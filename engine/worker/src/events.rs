//! What the edges say: packets and trains go into the data path, failures to where they are dealt with.

use ring_buffers::Completion;
use ringfort_core::drops::DropReason;
use ringfort_core::ids::{Endpoint, PeerId};
use ringfort_core::peer_drops::SendError;
use ringfort_path::{Left, Stage, Train, Unsent, Watch as _};
use tun_uring::{TunEvent, WriteError, WriteFailed};
use udp_uring::{Family, GsoNotice, ReceiveDrop, Received, SendFailed, UdpEvent};

use super::turn::Worker;
use crate::failure::WorkerError;

impl Worker {
    pub(super) fn on_tun(&mut self, event: TunEvent) -> Result<(), WorkerError> {
        match event {
            TunEvent::Read(view) => {
                let outcome = self.path.handle_packet(self.now, view);
                self.settle(outcome);
            }
            TunEvent::WriteFailed(failed) => self.on_write_failed(failed),
            TunEvent::Gone => return Err(WorkerError::DeviceGone),
            TunEvent::ReadFailed(error) => return Err(WorkerError::at("read from the TUN interface", error)),
            TunEvent::Wrote { .. } | TunEvent::Nothing => {}
        }
        Ok(())
    }

    pub(super) fn on_udp(&mut self, event: UdpEvent) -> Result<(), WorkerError> {
        match event {
            UdpEvent::Received(Received { view, endpoint, stride, ecn }) => {
                self.path.watch().lap(Stage::Turn);
                self.on_train(Train { view, stride, endpoint: usable(endpoint), ecn, handed: false });
            }
            UdpEvent::Dropped(why) => {
                self.naps.note_dropped();
                self.path.count_drop(reason_of(why), 1);
            }
            UdpEvent::Late { datagrams } => self.path.count_drop(DropReason::Down, datagrams),
            UdpEvent::ReceiveFailed { family: Family::V4, errno } => {
                return Err(WorkerError::at("receive on IPv4", errno));
            }
            UdpEvent::ReceiveFailed { family: Family::V6, errno } => {
                return Err(WorkerError::at("receive on IPv6", errno));
            }
            sent => self.on_sent(sent),
        }
        Ok(())
    }

    pub(super) fn on_train(&mut self, train: Train) {
        let inbox = &self.queues.workers[self.index];
        let late = &mut || inbox.next_session();
        match self.completed.front() {
            // What came with it is next.
            Some(Completion::Received(_)) => self.path.gather_train(self.now, train, late),
            _ => self.path.handle_train(self.now, train, late),
        }
        self.drain();
    }

    pub(super) fn on_sent(&mut self, event: UdpEvent) {
        match event {
            UdpEvent::Sent(sent) => {
                let (peer, datagrams) = (peer_of(sent.context), sent.segments);
                self.path.handle_left(Left { peer, datagrams, bytes: sent.bytes });
                if sent.lost > 0 {
                    self.on_lost(peer, sent.lost);
                }
                if let Some(endpoint) = sent.refused {
                    self.path.handle_source_refused(peer, usable(endpoint));
                }
            }
            UdpEvent::SendFailed(failed) => {
                self.on_send_failed(&failed, SendError::System(failed.errno as i32));
                if let Some(left_behind) = self.udp.take_left_behind() {
                    self.show_unsent(&left_behind, DropReason::SendFailed);
                }
            }
            _ => {}
        }
        if let Some(notice) = self.udp.take_notice() {
            self.tell(&notice);
        }
    }

    /// Datagrams do not leave. The kernel or the ring refuses them, or there is no socket of their family.
    #[cold]
    pub(super) fn on_send_failed(&mut self, failed: &SendFailed, error: SendError) {
        self.path.handle_send_failed(self.now, peer_of(failed.context), error, failed.segments);
        self.show_unsent(failed, DropReason::SendFailed);
    }

    /// Datagrams do not leave, as there are no sockets. Control knows, and has told.
    #[cold]
    pub(super) fn on_closed(&mut self, failed: &SendFailed) {
        self.path.drop_of(self.now, peer_of(failed.context), DropReason::Down, failed.segments);
        self.show_unsent(failed, DropReason::Down);
    }

    /// Datagrams cannot follow those of their train that have left.
    #[cold]
    fn on_lost(&mut self, peer: PeerId, datagrams: usize) {
        let left_behind = self.udp.take_left_behind();
        // The ring takes no entry for what waited, or the kernel has not taken what it was given.
        let error = if left_behind.is_some() { SendError::Full } else { SendError::Partial };
        self.path.handle_send_failed(self.now, peer, error, datagrams);
        if let Some(left_behind) = left_behind {
            self.show_unsent(&left_behind, DropReason::SendFailed);
        }
    }

    fn show_unsent(&mut self, failed: &SendFailed, reason: DropReason) {
        let &SendFailed { context, ref view, ref rest, stride, endpoint, ecn, .. } = failed;
        for bytes in [Some(view), rest.as_ref()].into_iter().flatten() {
            let unsent = Unsent { peer: peer_of(context), bytes, stride, endpoint, ecn, reason };
            self.path.show_unsent(self.now, unsent);
        }
    }

    fn tell(&self, &GsoNotice { family, errno, remote }: &GsoNotice) {
        log::warn!(
            "worker {}: the kernel refused to segment datagrams for {remote} ({errno}); they leave one by one, and it \
             is asked again now and then. Others over {family} may be affected alike",
            self.index,
        );
    }

    /// The kernel did not take a packet. A super-packet goes out again as what it was made of.
    pub(super) fn on_write_failed(&mut self, failed: WriteFailed) {
        let packets = 1 + failed.rest.len();
        log::debug!("worker {}: the TUN did not take {packets} packets: {:?}", self.index, failed.error);
        let merged_is_wrong = failed.is_super() && failed.error == WriteError::Invalid;
        let what = if failed.is_tunnel() { "those in UDP tunnels are no longer merged" } else { "none are merged now" };
        if self.path.handle_write_failed(self.now, failed.first, failed.rest, merged_is_wrong) {
            log::warn!("worker {}: the kernel refused a super-packet, so of packets from peers {what}", self.index);
        }
    }
}

/// The endpoint as control and the peers know it: a source that cannot be used is none.
fn usable(endpoint: Endpoint) -> Endpoint {
    Endpoint { source: endpoint.usable_source(), ..endpoint }
}

const fn reason_of(why: ReceiveDrop) -> DropReason {
    match why {
        ReceiveDrop::Empty => DropReason::Runt,
        ReceiveDrop::Truncated => DropReason::TruncatedDatagram,
        ReceiveDrop::Malformed => DropReason::MalformedReceive,
    }
}

/// A peer's name as the context of a send.
pub(super) fn context_of(peer: PeerId) -> u64 {
    u64::from(peer.index) << 32 | u64::from(peer.generation)
}

fn peer_of(context: u64) -> PeerId {
    let half = |n: u64| u32::try_from(n & u64::from(u32::MAX)).expect("masked to 32 bits");
    PeerId { index: half(context >> 32), generation: half(context) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_names_its_peer() {
        let peer = PeerId { index: u32::MAX, generation: 7 };
        assert_eq!(peer_of(context_of(peer)), peer);
    }

    #[test]
    fn what_is_received_and_useless_is_counted_under_its_own_name() {
        for (why, reason) in [
            (ReceiveDrop::Empty, DropReason::Runt),
            (ReceiveDrop::Truncated, DropReason::TruncatedDatagram),
            (ReceiveDrop::Malformed, DropReason::MalformedReceive),
        ] {
            assert_eq!(reason_of(why), reason, "{why:?}");
        }
    }
}
