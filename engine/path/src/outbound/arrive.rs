//! In a large table of routes, the packets of a turn find their peers together.
//!
//! With many peers at work, most of what a packet reads is not in any cache: the routes, the table of peers, the peer.
//! A packet by itself waits for one after the other. So packets wait here, until there are enough or the turn is over,
//! and then wait for memory together. In a small table all of it is in the caches, and packets are routed as they come.

use std::collections::VecDeque;
use std::net::IpAddr;

use arrayvec::ArrayVec;
use ring_buffers::View;
use ringfort_core::allowed_ips::TOGETHER_MAX;
use ringfort_core::time::Time;
use ringfort_core::wire::DATA_HEADER_LEN;

use crate::{DataPath, Watch};

/// A packet that has been read and has no peer so far.
pub(super) struct Arrival {
    pub(super) destination: IpAddr,
    /// Of the datagram that will carry it.
    pub(super) ecn: u8,
    /// Room for a data header, then the packet.
    pub(super) view: View,
}

/// Packets that wait for others, in the order in which they came.
pub(crate) struct Arrivals(VecDeque<Arrival>);

impl Arrivals {
    pub(crate) fn new() -> Self {
        Self(VecDeque::with_capacity(TOGETHER_MAX))
    }
}

impl<W: Watch> DataPath<W> {
    /// Lets a packet wait for others of the turn.
    pub(super) fn arrive(&mut self, now: Time, arrival: Arrival) {
        self.arrivals.0.push_back(arrival);
        if self.arrivals.0.len() == TOGETHER_MAX {
            self.route_all(now);
        }
    }

    /// Routes what has arrived, before anything that comes after it.
    #[inline]
    pub(crate) fn route_arrivals(&mut self, now: Time) {
        if !self.arrivals.0.is_empty() {
            self.route_all(now);
        }
    }

    fn route_all(&mut self, now: Time) {
        let mut destinations = ArrayVec::<IpAddr, TOGETHER_MAX>::new();
        let mut places = [0; TOGETHER_MAX];
        for (arrival, place) in self.arrivals.0.iter().zip(&mut places) {
            // Packets of one flow come in a row.
            if destinations.last() != Some(&arrival.destination) {
                destinations.push(arrival.destination);
            }
            *place = destinations.len() - 1;
        }
        let found = self.routes.lookup_together(&destinations);
        self.peers.touch(&found);
        for place in places {
            let Some(Arrival { destination, ecn, view }) = self.arrivals.0.pop_front() else { return };
            match self.reach(&view[DATA_HEADER_LEN..], found[place]) {
                Ok(peer) => self.admit(now, peer, view, ecn),
                Err(reason) => self.turn_back(now, reason, destination, &view[DATA_HEADER_LEN..]),
            }
        }
    }
}
