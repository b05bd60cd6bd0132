//! The edge's way out: launching trains, and trying again what the kernel refused.

use nix::errno::Errno;
use ring_buffers::{Key, Ring, Tag, View};

use super::{UdpEdge, UdpEvent, port_of};
use crate::send::{Next, Order, Pending, Sent, TrainRefusal, TrainRefused, Transmit, after_failure};

impl UdpEdge {
    /// Whether it has a socket.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.ports.iter().any(|port| port.open)
    }

    /// Sends a train. The outcome comes as a [`UdpEvent`] with the same context; several if it had to leave in parts.
    /// Each datagram is in exactly one of the outcomes, or in the refusal.
    ///
    /// # Errors
    /// [`TrainRefused`]: the train was not taken, or not to its end.
    pub fn send(&mut self, ring: &mut Ring, transmit: Transmit) -> Result<(), TrainRefused> {
        let (order, view) = Order::of(transmit);
        let segments = order.segments(view.len());
        let port = &mut self.ports[port_of(&order.endpoint)];
        if !port.open {
            return Err(TrainRefused { view, rest: None, segments, why: self.why_no_socket() });
        }
        let may_be_cut = order.fits_one_call(view.len()) && self.segmentation.allows(view.len(), order.stride);
        let whole = segments == 1 || may_be_cut && port.gso.allows(&order.endpoint, order.stride);
        let needed = if whole { 1 } else { segments.min(self.sends.capacity()) };
        if self.sends_free() < needed {
            return Err(TrainRefused { view, rest: None, segments, why: TrainRefusal::Full });
        }
        if whole {
            return self.launch(ring, order, view, None);
        }
        self.counters.trains_split += 1;
        self.launch_singly(ring, order, view)
    }

    pub(super) fn complete_send(&mut self, ring: &mut Ring, sent: ring_buffers::Sent) -> UdpEvent {
        let key = Key::decode(sent.tag().context);
        let Some(Pending { order, generation, rest }) = self.sends.get_mut(key) else { return self.late() };
        if *generation != self.generation {
            self.former_sends = self.former_sends.saturating_sub(1);
        }
        let rest = rest.take();
        let bytes = match sent.outcome() {
            Ok(bytes) => bytes,
            Err(errno) => {
                let order = *order;
                self.sends.discard(key);
                return self.retry(ring, order, sent.into_view(), rest, Errno::from_raw(errno));
            }
        };
        let (segments, given) = (order.segments(bytes), order.segments(sent.into_view().len()));
        // The bytes are out: if they were refused before as a train on the same path, segmentation was the reason.
        if let Some(errno) = order.gso_refused.filter(|_| order.refused.is_none()) {
            self.ports[port_of(&order.endpoint)].blame_segmentation(errno, order);
        }
        // The kernel takes all of a train or nothing; whatever it does, each datagram is counted.
        let lost = given.saturating_sub(segments);
        let mut event = Sent { context: order.context, segments, bytes, refused: order.refused, lost };
        let waiting = rest.map(|rest| (*order, rest));
        self.sends.discard(key);
        if let Some((order, rest)) = waiting {
            event.lost += self.resume(ring, order, Some(rest));
        }
        UdpEvent::Sent(event)
    }

    fn retry(&mut self, ring: &mut Ring, mut order: Order, view: View, rest: Option<View>, errno: Errno) -> UdpEvent {
        let segments = order.segments(view.len());
        let next = if self.ports[port_of(&order.endpoint)].open {
            after_failure(errno, &order, segments)
        } else {
            Next::GiveUp
        };
        let launched = match next {
            Next::WithoutSource => {
                self.counters.retries_without_source += 1;
                order.refused = Some(order.endpoint);
                order.endpoint.source = None;
                self.launch(ring, order, view, rest)
            }
            Next::Unsegmented => {
                debug_assert!(rest.is_none(), "others wait behind lone datagrams only");
                self.counters.retries_unsegmented += 1;
                order.gso_refused = Some(errno);
                self.launch_singly(ring, order, view)
            }
            Next::GiveUp => {
                let segments = segments + self.resume(ring, order, rest);
                return UdpEvent::SendFailed(order.failed(view, None, segments, errno));
            }
        };
        match launched {
            Ok(()) => UdpEvent::Nothing,
            Err(TrainRefused { view, rest, segments, .. }) => {
                UdpEvent::SendFailed(order.failed(view, rest, segments, errno))
            }
        }
    }

    /// Goes on with segments that had to wait. Returns how many of them are lost: if the ring takes nothing any more,
    /// which the worker also learns from its next turn.
    fn resume(&mut self, ring: &mut Ring, order: Order, rest: Option<View>) -> usize {
        let Some(Err(refused)) = rest.map(|rest| self.launch_singly(ring, order, rest)) else { return 0 };
        let TrainRefused { view, rest, segments, why } = refused;
        self.left_behind = Some(order.failed(view, rest, segments, why.errno()));
        segments
    }

    #[cold]
    fn why_no_socket(&self) -> TrainRefusal {
        if self.is_open() { TrainRefusal::NoSocket } else { TrainRefusal::Closed }
    }

    /// Sends every datagram of a train by itself. Those for which no operation is left wait for the last that was.
    fn launch_singly(&mut self, ring: &mut Ring, order: Order, mut train: View) -> Result<(), TrainRefused> {
        while train.len() > order.stride {
            let segments = order.segments(train.len());
            let segment = train.split_to(order.stride);
            if self.sends_free() == 1 {
                return self.launch(ring, order, segment, Some(train));
            }
            if let Err(refused) = self.launch(ring, order, segment, None) {
                // What stands behind the one that is refused does not leave either.
                return Err(TrainRefused { rest: Some(train), segments, ..refused });
            }
        }
        self.launch(ring, order, train, None)
    }

    fn launch(&mut self, ring: &mut Ring, order: Order, view: View, rest: Option<View>) -> Result<(), TrainRefused> {
        let place = self.ports[port_of(&order.endpoint)].place;
        let bytes = view.len();
        let refused = |view, rest: Option<View>, why| {
            let segments = order.segments(bytes) + rest.as_ref().map_or(0, |rest| order.segments(rest.len()));
            TrainRefused { view, rest, segments, why }
        };
        let (key, pending) = match self.sends.insert(Pending { order, generation: self.generation, rest }) {
            Ok(inserted) => inserted,
            Err(Pending { rest, .. }) => return Err(refused(view, rest, TrainRefusal::Full)),
        };
        let tag = Tag { edge: self.edge, context: key.encode() };
        let launched = ring.send_message(place, view, tag, |envelope| pending.order.address(bytes, envelope));
        launched.map(drop).map_err(|not_begun| {
            let rest = self.sends.remove(key).and_then(|pending| pending.rest);
            refused(not_begun.view, rest, TrainRefusal::Ring(Errno::from_raw(not_begun.why.errno())))
        })
    }
}
