//! The end of a worker.

use ring_buffers::{RingError, Wait};

use super::edges::{EDGE_TUN, EDGE_UDP, PLACE_TUN};
use super::turn::Worker;

/// Turns that operations in flight may take to end, now that nothing new is begun. Nearly always it is one.
const TURNS_MAX: usize = 64;

impl Worker {
    /// Lets go of the TUN queue before the ring does. The kernel winds a ring up some time after the process has ended,
    /// and an interface that stays could not be opened by anybody else until then.
    ///
    /// Before Linux 6.13 a file goes when all operations on files of the ring have ended that began before. So the
    /// sockets are let go of first.
    ///
    /// What does not end in time goes with the ring.
    pub(super) fn leave(mut self) {
        let mut closes = false;
        for _ in 0..TURNS_MAX {
            if !closes {
                closes = match self.begin_to_close() {
                    Err(why) if !why.passes() => return,
                    closed => closed.is_ok(),
                };
            }
            if self.ring.turn(Wait::No).is_err() {
                return;
            }
            self.reap();
            for completion in self.completed.drain(..).chain(self.reads.drain(..)) {
                match completion.edge() {
                    EDGE_TUN => drop(self.tun.complete(completion)),
                    EDGE_UDP => drop(self.udp.complete(&mut self.ring, completion)),
                    _ => {}
                }
            }
            if closes && self.tun.is_idle() && !self.udp.is_releasing() {
                break;
            }
        }
        if closes && self.tun.is_idle() {
            // If this fails, it goes with the ring.
            let _ = self.ring.update_file(PLACE_TUN, None);
        }
    }

    fn begin_to_close(&mut self) -> Result<(), RingError> {
        self.udp.close(&mut self.ring)?;
        self.tun.close(&mut self.ring).map_err(RingError::Push)
    }
}
