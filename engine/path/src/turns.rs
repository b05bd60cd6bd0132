//! How much is done in one turn, how much may wait, and who is woken for what. The shells of the daemon and of the
//! simulator take it from here, so what a seed shows of one holds for the other.

use ringfort_aead::SEGMENTS_MAX;

use crate::Order;
use crate::budget::{GATHERED_MAX, KEEPALIVES, SLOTS, TRAINS_PER_READ};

/// Orders that a worker reads in one turn, before packets: a configuration of 100,000 peers must not stall them. As
/// many may wait for a worker that sleeps.
pub const ORDERS_PER_TURN: usize = 64;
/// The same of orders about sessions, of which all are read if data comes for a session that is not known.
pub const SESSIONS_PER_TURN: usize = 256;
/// Trains that a worker takes over from others in one turn.
pub const HANDOFFS_PER_TURN: usize = 64;
/// Sends in flight: every slot may hold one, and a train that must leave unsegmented one per datagram. With fewer
/// operations than slots a send could be refused while its slot is paid for.
pub const SENDS: u16 = 1024;
/// Sends that must be free before the TUN is read: what was gathered, the trains of a super-packet if each of their
/// datagrams leaves by itself, and the keepalives that must not find all of them taken.
pub const SENDS_PER_READ: usize = GATHERED_MAX + TRAINS_PER_READ * SEGMENTS_MAX + KEEPALIVES as usize;

/// Events that control hears in one turn.
pub const EVENTS_PER_TURN: usize = 1024;
/// Handshake messages that control computes in one turn: a few milliseconds of Curve25519.
pub const HANDSHAKES_PER_TURN: usize = 32;
/// Handshake messages that wait for control. Each takes some hundred microseconds, so a longer queue would only hold
/// what its sender is about to repeat (Rekey-Timeout is 5 s).
pub const HANDSHAKES_WAITING: usize = 2_048;
/// With so many of them there is load (`MAX_QUEUED_INCOMING_HANDSHAKES / 8` in the kernel's `receive.c`).
pub const LOADED_WAITING: usize = HANDSHAKES_WAITING / 8;
/// Events that wait for control. What does not fit is sent again with the next packet of the peer.
pub const EVENTS_WAITING: usize = 4_096;
/// Trains that wait for another worker.
pub const HANDOFFS_WAITING: usize = 256;

const _: () = {
    assert!(SENDS > SLOTS, "each slot can be in a send");
    assert!(SENDS as usize > 2 * SENDS_PER_READ, "the TUN is read while sends are in flight");
    assert!(KEEPALIVES as usize >= ORDERS_PER_TURN, "each order of a turn may ask for a keepalive");
};

/// Whether a worker that sleeps is woken for an order, `waiting` orders with it. For one that can wait it goes on
/// sleeping, until a turn has no time for more.
#[must_use]
pub const fn wakes_for_order(order: &Order, waiting: usize) -> bool {
    !order.is_quiet() || waiting >= ORDERS_PER_TURN
}

/// The same for an order about a session, which is read before data under the session is.
#[must_use]
pub const fn wakes_for_sessions(waiting: usize) -> bool {
    waiting >= SESSIONS_PER_TURN
}
