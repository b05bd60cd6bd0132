//! What control says, and what other workers hand over.

use ringfort_path::turns::{HANDOFFS_PER_TURN, ORDERS_PER_TURN, SESSIONS_PER_TURN};
use ringfort_path::{Handoff, Order, Train};

use super::turn::Worker;
use crate::failure::WorkerError;
use crate::queues::Mail;

impl Worker {
    /// Reads a bounded part of the inbox; what is left is read in the next turn, which then does not sleep.
    ///
    /// # Errors
    /// What makes going on impossible.
    pub(super) fn read_inbox(&mut self) -> Result<(), WorkerError> {
        let queues = self.queues.clone();
        let inbox = &queues.workers[self.index];
        inbox.heard();
        self.inbox_waiting = self.read_sessions(SESSIONS_PER_TURN);
        self.change_sockets()?;
        for _ in 0..ORDERS_PER_TURN {
            let Some(mail) = inbox.next_mail() else { break };
            self.read(mail)?;
            self.inbox_waiting = true;
        }
        for _ in 0..HANDOFFS_PER_TURN {
            let Some(Handoff { parcel, stride, endpoint, ecn, .. }) = inbox.next_handoff() else { break };
            self.on_train(Train { view: parcel.arrive(), stride, endpoint, ecn, handed: true });
            self.inbox_waiting = true;
        }
        self.inbox_waiting |= self.sockets_due.is_some();
        Ok(())
    }

    /// Reads up to `most` orders about sessions. True: there may be more.
    pub(super) fn read_sessions(&mut self, most: usize) -> bool {
        let inbox = &self.queues.workers[self.index];
        for _ in 0..most {
            match inbox.next_session() {
                Some(order) => self.path.handle_session(self.now, order),
                None => return false,
            }
        }
        true
    }

    fn read(&mut self, mail: Mail) -> Result<(), WorkerError> {
        match mail {
            Mail::Order(order) => self.obey(order),
            Mail::Sockets(sockets) => {
                if sockets.is_none() {
                    // What was read after control said what to drop goes as well.
                    self.obey(Order::LinkDown);
                }
                self.sockets_due = Some(sockets);
                self.change_sockets()?;
            }
            Mail::Rest(round) => self.begin_rest(round),
            Mail::GoOn => self.go_on(),
            Mail::Sign => self.queues.control.give_sign(self.index),
            Mail::Stop => self.stopping = true,
            #[cfg(feature = "testing")]
            Mail::Panic => panic!("a test asked for it"),
        }
        Ok(())
    }

    /// Takes over the sockets that are due, or lets go of those that there are. If the ring takes no cancellation at
    /// the moment, the next turn tries again.
    fn change_sockets(&mut self) -> Result<(), WorkerError> {
        let Some(sockets) = self.sockets_due.take() else { return Ok(()) };
        let lets_go = self.udp.is_open();
        let (step, changed) = match &sockets {
            Some(pair) => ("use new UDP sockets", self.udp.rebind(&mut self.ring, pair)),
            None => ("let go of the UDP sockets", self.udp.close(&mut self.ring)),
        };
        match changed {
            Err(error) if error.passes() => self.sockets_due = Some(sockets),
            changed => {
                changed.map_err(|error| WorkerError::ring(step, error))?;
                if lets_go {
                    // Or those before would keep their port.
                    self.tun.renew();
                }
            }
        }
        Ok(())
    }

    fn obey(&mut self, order: Order) {
        let routes = if let Order::Routes { version, .. } = order { Some(version) } else { None };
        let is_role = matches!(order, Order::Passive(_));
        let outcome = self.path.handle_order(self.now, order);
        self.settle(outcome);
        if let Some(version) = routes {
            self.queues.control.acknowledge_routes(self.index, version);
        }
        if is_role {
            self.queues.control.acknowledge_role(self.index);
        }
    }
}
