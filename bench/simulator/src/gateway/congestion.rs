//! Congestion that routers report (RFC 6040): the outer header says what the inner one does, and what a router adds to
//! it goes on inside, or its packet is dropped.
//!
//! Nobody can tell which datagram a packet was in. But what is opened in a turn is written in that turn.

use ringfort_core::ids::PeerId;
use ringfort_core::packet::{ECN_CE, ECN_MASK};
use ringfort_path::{HANDSHAKE_TRAFFIC_CLASS, Transmit};

use super::Gateway;
use crate::outside::Outside;

/// What the datagrams of one turn say of congestion.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Congestion {
    /// A router has reported some.
    marked: bool,
    /// Datagrams that say that there is some, or that there is none.
    some: bool,
    none: bool,
}

impl Congestion {
    /// Datagrams have come.
    pub(super) fn note(&mut self, ecn: u8, marked: bool) {
        self.marked |= marked;
        *if ecn == ECN_CE { &mut self.some } else { &mut self.none } = true;
    }

    /// Packets of another turn are written in this one.
    pub(super) fn note_anything(&mut self) {
        *self = Self { marked: true, some: true, none: true };
    }

    /// A packet was dropped since its transport does not learn of congestion.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn check_drop(self) -> Result<(), String> {
        self.some
            .then_some(())
            .ok_or_else(|| "no datagram says that there is congestion, and a packet is dropped".into())
    }

    /// A packet is written that was offered with one ECN field, and has another.
    ///
    /// # Errors
    /// It cannot have that one.
    pub(super) fn check(self, offered: u8, written: u8) -> Result<(), String> {
        let has_all = self.some && !self.none;
        if has_all && written != ECN_CE {
            return Err(format!("a router reported congestion, and a packet is written with ECN {written}"));
        }
        if written != offered && !self.marked {
            return Err(format!("no router reported congestion, and ECN {offered} became {written}"));
        }
        Ok(())
    }
}

impl Gateway {
    /// The traffic class of the outer header is that of a cookie, or the ECN field of packets from here.
    pub(super) fn check_class(&self, transmit: &Transmit, out: &Outside) -> Result<(), String> {
        let &Transmit { peer, ecn, any_data, .. } = transmit;
        let is_right = match (peer == PeerId::NOBODY, any_data) {
            (true, _) => ecn == HANDSHAKE_TRAFFIC_CLASS,
            (false, false) => ecn == 0,
            (false, true) => ecn & !ECN_MASK == 0 && (self.sends_others() || out.ledger.sends_ecn(self.index, ecn)),
        };
        if is_right { Ok(()) } else { Err(format!("g{}: the outer traffic class is {ecn:#04x}", self.index)) }
    }

    /// Whether packets leave through its tunnel that no user has sent.
    const fn sends_others(&self) -> bool {
        self.carries || self.went_round > 0 || self.stops.looped.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_router_reports_goes_on_inside() {
        let mut turn = Congestion::default();
        turn.note(2, false);
        assert_eq!(turn.check(2, 2), Ok(()));
        assert!(turn.check(2, 3).is_err() && turn.check_drop().is_err(), "nobody has reported any");
        turn.note(3, true);
        assert_eq!(turn.check_drop(), Ok(()));
        assert_eq!((turn.check(2, 3), turn.check(2, 2), turn.check(0, 0)), (Ok(()), Ok(()), Ok(())));
        let mut turn = Congestion::default();
        turn.note(3, true);
        assert_eq!((turn.check(1, 3), turn.check(3, 3)), (Ok(()), Ok(())));
        assert!(turn.check(1, 1).is_err() && turn.check(0, 0).is_err(), "it was reported of all");
        turn.note_anything();
        assert_eq!(turn.check(1, 1), Ok(()));
    }
}
