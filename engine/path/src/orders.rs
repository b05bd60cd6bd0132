//! What control tells a worker, and what the data path makes of it.

use std::sync::Arc;

use ringfort_core::allowed_ips::AllowedIps;
use ringfort_core::drops::DropReason;
use ringfort_core::gate::Gate;
use ringfort_core::ids::PeerId;
use ringfort_core::time::Time;
use ringfort_core::whereabouts::Whereabouts;

use crate::outbound::Stalled;
use crate::tap::Tap;
use crate::{DataPath, Outcome, PeerCell, Receiver, Watch};

/// What the worker that owns a receiver index is told about it.
///
/// Data under a new session may come as soon as control has answered the handshake. So these orders have a mailbox of
/// their own, and a worker reads it to its end before it says that it does not know an index.
#[derive(Debug)]
pub enum SessionOrder {
    /// A receiving half, to the worker that its index names.
    Begin(Box<Receiver>),
    /// A session has ended, and its receiving half is of no use any more. Told to every worker: any of them may have
    /// sealed under it, and wipes what that has left on its stack.
    End {
        /// Its index.
        local_index: u32,
    },
}

/// What any worker is told, in the order in which it takes effect.
#[derive(Debug)]
pub enum Order {
    /// A peer exists from now on.
    AddPeer(Arc<PeerCell>),
    /// A peer is gone; what waits for it is dropped.
    RemovePeer {
        /// Its name.
        peer: PeerId,
    },
    /// A new version of the routes.
    Routes {
        /// The table; its nodes are shared with earlier versions.
        routes: AllowedIps,
        /// Counts up. The owner tells control when a worker uses it, for [`Dispatch::release_routes`](crate::Dispatch).
        version: u64,
    },
    /// There is a session to send with: what waits for one leaves.
    SendStaged {
        /// For whom it waits.
        peer: PeerId,
    },
    /// An authenticated message is due: what waits, or else an empty packet.
    SendKeepalive {
        /// To whom.
        peer: PeerId,
    },
    /// A packet for a peer, which waited for a session in another process.
    Offer {
        /// Whom it is for.
        peer: PeerId,
        /// The packet.
        packet: Box<[u8]>,
    },
    /// The handshake was given up: what waits for it is dropped.
    DropStaged {
        /// For whom it waits.
        peer: PeerId,
    },
    /// Data for sessions that are lost is told of if it comes from these places; `None`: it is not.
    Recover(Option<Arc<Whereabouts>>),
    /// Handshake messages are asked by this gate from now on; `None`: by none.
    Gate(Option<Arc<Gate>>),
    /// The interface is down: what waits for a session is dropped.
    LinkDown,
    /// Another gateway serves the peers since this time; `None`: we do.
    Passive(Option<Time>),
    /// The interface's MTU in bytes.
    Mtu(u32),
    /// Somebody looks on from now on, in place of whoever did; or nobody.
    Tap(Option<Box<Tap>>),
}

impl Order {
    /// Whether a worker that sleeps need not be woken for it. What makes it matter wakes the worker, and the mailbox is
    /// read first.
    #[must_use]
    pub const fn is_quiet(&self) -> bool {
        // Its routes come later, and are not quiet.
        matches!(self, Self::AddPeer(_))
    }
}

impl<W: Watch> DataPath<W> {
    /// Takes over a receiving half, or lets go of one.
    pub fn handle_session(&mut self, now: Time, order: SessionOrder) {
        // What came before the end of its session is opened.
        self.open_waiting(now);
        match order {
            SessionOrder::Begin(receiver) => _ = self.sessions.insert(receiver.session.local_index(), receiver),
            SessionOrder::End { local_index } => {
                self.sessions.remove(&local_index);
                self.has_forgotten = true;
            }
        }
    }

    /// Does what control says.
    pub fn handle_order(&mut self, now: Time, order: Order) -> Outcome {
        self.give_up(now);
        // What came before is opened and routed as it would have been then.
        self.open_waiting(now);
        self.route_arrivals(now);
        match order {
            Order::AddPeer(cell) => self.peers.add(cell),
            Order::RemovePeer { peer } => {
                // What was read for it before goes with it.
                self.seal_gathered(now);
                self.peers.remove(peer);
                self.has_forgotten = true;
                self.drop_staged(now, peer, DropReason::Down);
            }
            Order::Routes { routes, .. } => {
                self.routes_version += 1;
                *self.standing_by.as_mut().unwrap_or(&mut self.routes) = routes;
            }
            Order::SendStaged { peer } => self.send_staged(now, peer),
            Order::SendKeepalive { peer } => return self.send_something(now, peer),
            Order::Offer { peer, packet } => self.offer(now, peer, &packet),
            Order::DropStaged { peer } => self.drop_staged(now, peer, DropReason::NoSession),
            Order::Recover(whereabouts) => self.whereabouts = whereabouts,
            Order::Gate(gate) => self.screen.set_gate(gate),
            Order::LinkDown => {
                self.has_forgotten = true;
                self.drop_all_staged(now, DropReason::Down);
            }
            Order::Passive(since) => self.set_passive(now, since),
            Order::Mtu(mtu) => self.config.mtu = mtu as usize,
            Order::Tap(tap) => self.tap = tap,
        }
        Outcome::Done
    }

    /// Goes on with the step that found no slot.
    pub fn resume(&mut self, now: Time) -> Outcome {
        match self.stalled.take() {
            None => Outcome::Done,
            Some(Stalled::Keepalive(peer)) => self.send_something(now, peer),
            Some(Stalled::SuperPacket(packet)) => self.send_super(now, packet),
        }
    }

    /// Drops what found no slot to go on with, as [`DropReason::NoSlot`]. Every new step begins with this: a step that
    /// was not resumed does not stand in the way.
    #[inline]
    pub fn give_up(&mut self, now: Time) {
        // Asked for every packet, and hardly ever is there anything.
        if self.stalled.is_some() {
            self.drop_stalled(now);
        }
    }

    #[cold]
    fn drop_stalled(&mut self, now: Time) {
        match self.stalled.take() {
            None => {}
            // There are no bytes that anybody could look at.
            Some(Stalled::Keepalive(peer)) => self.drop_of(now, peer, DropReason::NoSlot, 1),
            Some(Stalled::SuperPacket(packet)) => self.drop_super(now, &packet, DropReason::NoSlot),
        }
    }
}
