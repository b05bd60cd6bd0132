//! The edge's way out: launching trains, and trying again what the kernel refused.

use super::{Event, GsoNotice, OP_SEND, UdpEdge, port_of};
use crate::send::{Next, Order, Refusal, Refused, SendFailed, SendOp, Sent, Transmit, after_failure};
use nix::errno::Errno;
use ring_buffers::{Completion, OpId, Ring, Token, View};

impl UdpEdge {
    /// Sends a train. The outcome comes as an [`Event`] with the same context; several if it had to leave in parts.
    ///
    /// # Errors
    /// [`Refused`] gives the train back.
    pub fn send(&mut self, ring: &mut Ring, transmit: Transmit) -> Result<(), Refused> {
        let (order, view) = Order::of(transmit);
        let port = &mut self.ports[port_of(&order.path)];
        if !port.open {
            return Err(Refused { view, why: Refusal::NoSocket });
        }
        let segments = order.segments(view.len());
        let whole =
            segments == 1 || (order.fits_one_call(view.len()) && port.gso.allows(order.path.remote.ip(), order.stride));
        let needed = if whole { 1 } else { segments.min(self.sends.capacity()) };
        if self.sends.capacity() - self.sends.in_flight() < needed {
            return Err(Refused { view, why: Refusal::Full });
        }
        if whole { self.launch(ring, order, view, None) } else { self.launch_singly(ring, order, view) }
    }

    pub(super) fn complete_send(&mut self, ring: &mut Ring, completion: Completion) -> Event {
        let id = OpId { index: completion.token().index, generation: completion.token().generation };
        let Some(op) = self.sends.complete(id) else {
            self.counters.late_completions += 1;
            return Event::Nothing;
        };
        if op.generation != self.generation {
            self.former_sends = self.former_sends.saturating_sub(1);
        }
        let SendOp { order, bytes, rest, .. } = op;
        // SAFETY: this is the final completion of the operation that the bytes were lent to, which the table hands
        // out once.
        let view = unsafe { bytes.settle() };
        match completion.outcome() {
            Ok(bytes) => {
                drop(view);
                self.note_success(&order);
                self.resume(ring, order, rest);
                let segments = order.segments(bytes);
                let Order { context, without_source, .. } = order;
                Event::Sent(Sent { context, segments, bytes, without_source })
            }
            Err(errno) => self.retry(ring, order, view, rest, Errno::from_raw(errno)),
        }
    }

    /// The bytes are out: if they were refused before as a train, segmentation was the reason.
    fn note_success(&mut self, order: &Order) {
        let Some(errno) = order.gso_refused else { return };
        let port = &mut self.ports[port_of(&order.path)];
        if let Some(scope) = port.gso.refused(errno, order.path.remote.ip(), order.stride) {
            port.notice = Some(GsoNotice { family: port.family, errno, scope });
        }
    }

    fn retry(&mut self, ring: &mut Ring, mut order: Order, view: View, rest: Option<View>, errno: Errno) -> Event {
        let segments = order.segments(view.len());
        let next =
            if self.ports[port_of(&order.path)].open { after_failure(errno, &order, segments) } else { Next::GiveUp };
        let launched = match next {
            Next::WithoutSource => {
                self.counters.retries_without_source += 1;
                order.path.source = None;
                order.without_source = true;
                self.launch(ring, order, view, rest)
            }
            Next::Unsegmented => {
                self.counters.retries_unsegmented += 1;
                order.gso_refused = Some(errno);
                self.launch_singly(ring, order, view)
            }
            Next::GiveUp => {
                drop(view);
                self.resume(ring, order, rest);
                return Event::SendFailed(SendFailed { context: order.context, segments, errno });
            }
        };
        match launched {
            Ok(()) => Event::Nothing,
            Err(_) => Event::SendFailed(SendFailed { context: order.context, segments, errno }),
        }
    }

    /// Goes on with segments that had to wait.
    fn resume(&mut self, ring: &mut Ring, order: Order, rest: Option<View>) {
        if let Some(rest) = rest {
            // If the ring takes nothing any more, the worker learns it from its next turn.
            let _ = self.launch_singly(ring, order, rest);
        }
    }

    /// Sends every datagram of a train by itself. Those for which no operation is left wait for the last that was.
    fn launch_singly(&mut self, ring: &mut Ring, order: Order, mut train: View) -> Result<(), Refused> {
        while train.len() > order.stride {
            let segment = train.split_to(order.stride);
            if self.sends.capacity() - self.sends.in_flight() == 1 {
                return self.launch(ring, order, segment, Some(train));
            }
            self.launch(ring, order, segment, None)?;
        }
        self.launch(ring, order, train, None)
    }

    fn launch(&mut self, ring: &mut Ring, order: Order, view: View, rest: Option<View>) -> Result<(), Refused> {
        let place = self.ports[port_of(&order.path)].place;
        let (id, op) = match self.sends.insert(SendOp::new(order, self.generation, view, rest)) {
            Ok(inserted) => inserted,
            Err(op) => return Err(give_back(op, Refusal::Full)),
        };
        let token = Token { edge: self.edge, op: OP_SEND, index: id.index, generation: id.generation };
        let entry = op.entry(place, token);
        // SAFETY: the entry points into the operation, which stays in its place in the table until the completion (the
        // edge leaks a table that is in use), and to the bytes that it was lent.
        match unsafe { ring.push(entry) } {
            Ok(()) => Ok(()),
            Err(e) => {
                let op = self.sends.complete(id).expect("it was put there just now");
                Err(give_back(op, Refusal::Ring(Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))))
            }
        }
    }
}

/// Takes back the bytes of an operation that the kernel never saw.
fn give_back(op: SendOp, why: Refusal) -> Refused {
    // SAFETY: the operation was not submitted.
    let view = unsafe { op.bytes.settle() };
    Refused { view, why }
}
