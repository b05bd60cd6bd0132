//! A worker that reads nothing for a while, so another process can go on where it is.

use super::turn::{Rest, Worker};
use crate::queues::Rested;

impl Worker {
    /// Reads nothing more from socket and TUN. What was read is dealt with, and what leaves still leaves.
    pub(super) fn begin_rest(&mut self, round: u32) {
        self.tun.rest();
        self.udp.rest();
        self.rest = Rest::Asked(round);
    }

    /// Reads again.
    pub(super) fn go_on(&mut self) {
        self.tun.go_on();
        self.udp.go_on();
        self.rest = Rest::No;
    }

    /// Says how far its sessions are, once nothing is under way. To be called at the end of a turn.
    #[inline]
    pub(super) fn tell_rest(&mut self) {
        if let Rest::Asked(round) = self.rest {
            self.tell_rest_of(round);
        }
    }

    #[cold]
    fn tell_rest_of(&mut self, round: u32) {
        let has_read = !self.completed.is_empty() || !self.reads.is_empty();
        let has_mail = self.sockets_due.is_some() || !self.queues.workers[self.index].is_empty();
        if has_read || has_mail || !self.tun.is_idle() || !self.udp.is_idle() || !self.path.is_drained() {
            return;
        }
        let (sessions, packets) = (self.path.session_reports().collect(), self.path.waiting_packets());
        self.queues.control.push_rested(Rested { worker: self.index, round, sessions, packets });
        self.rest = Rest::Told;
    }
}
