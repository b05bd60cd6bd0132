//! What control tells the data path beside peers and routes, for the target of the data path: a gate in front of
//! control, places of peers that have lost their sessions, somebody who looks on, another gateway that serves.

use std::sync::Arc;
use std::time::Duration;

use ringfort_core::ids::PeerId;
use ringfort_core::whereabouts::Whereabouts;
use ringfort_core::wire::{Message, classify};
use ringfort_path::tap::{CAPACITY_MIN, Direction, Filter, Side, TapReader, tap};
use ringfort_path::{Order, Transmit};

use crate::door::Door;
use crate::gateway::{Gateway, PEERS, endpoint};

/// The longest handshake message that has macs.
const MESSAGE_LEN: usize = 148;

impl Gateway {
    /// Handshake messages are asked from now on, or not; there is load, or the last load ends by itself.
    pub(crate) fn set_gate(&mut self, is_closed: bool, is_loaded: bool) {
        let mut door = self.take_door();
        door.is_closed = is_closed;
        if is_loaded {
            door.gate.load().note(self.now);
        }
        let gate = is_closed.then(|| door.gate.clone());
        self.door = Some(door);
        self.order(Order::Gate(gate));
    }

    /// A message of the stranger's, with a cookie if he has one.
    pub(crate) fn handshake(&mut self, kind: u8, number: u8) -> Vec<u8> {
        let mut message = vec![number; if kind == 2 { 92 } else { MESSAGE_LEN }];
        message[..4].copy_from_slice(&[kind, 0, 0, 0]);
        let mut door = self.take_door();
        door.stranger.add_macs(self.now, &mut message);
        self.door = Some(door);
        message
    }

    fn take_door(&mut self) -> Door {
        self.door.take().unwrap_or_else(|| Door::new(self.now))
    }

    /// Nothing reaches control, while there is a gate, from who does not know the public key.
    pub(crate) fn check_passed(&self, message: &[u8]) {
        assert!(!matches!(classify(message), Err(_) | Ok(Message::Data(_))), "no handshake message");
        if let Some(door) = self.door.as_ref().filter(|door| door.is_closed) {
            assert!(door.checker.verify_mac1(message), "no mac1");
        }
    }

    /// A cookie, which is all that a stranger is ever sent.
    pub(crate) fn check_cookie(&mut self, transmit: &Transmit) {
        assert_eq!(transmit.view.len(), transmit.stride, "one at a time");
        let Ok(Message::CookieReply(reply)) = classify(&transmit.view) else { panic!("strangers get cookies only") };
        let mut door = self.door.take().expect("who answers has a gate");
        // It may be for another message than the last.
        _ = door.stranger.consume_reply(self.now, reply);
        self.door = Some(door);
    }

    /// Data for sessions that are lost are told of if they come from where the peers were.
    pub(crate) fn recover(&mut self, seconds: u8) {
        let until = self.now + Duration::from_secs(seconds.into());
        let whereabouts = Whereabouts::new(PEERS, until);
        for (peer, port) in (0..PEERS as u32).zip([0, 1, 2, 0]) {
            whereabouts.enter(endpoint(port).remote, peer);
        }
        self.order(Order::Recover((seconds > 0).then(|| Arc::new(whereabouts))));
    }

    /// Somebody looks on, or nobody any more.
    pub(crate) fn look(&mut self, how: u8) {
        if how & 1 == 0 {
            self.order(Order::Tap(None));
            return self.look_through();
        }
        let filter = Filter {
            sides: [how & 2 == 0, how & 4 == 0],
            direction: (how & 8 != 0).then_some(Direction::In),
            drops_only: how & 16 != 0,
            peers: if how & 32 == 0 { Box::default() } else { Box::new([PeerId { index: 1, generation: 0 }]) },
            one_in: u32::from(how >> 6) + 1,
            snap_len: if how & 64 == 0 { usize::MAX } else { 60 },
        };
        let (tap, reader) = tap(Arc::new(filter.clone()), CAPACITY_MIN, Arc::new(|| {})).unwrap();
        self.order(Order::Tap(Some(tap)));
        self.look_through();
        self.reader = Some((filter, reader));
    }

    /// All that was seen is what was asked for.
    pub(crate) fn look_through(&mut self) {
        let Some((filter, mut reader)) = self.reader.take() else { return };
        let mut bytes = Vec::new();
        while let Some(seen) = TapReader::next(&mut reader, &mut bytes) {
            self.reached.seen += 1;
            assert!(seen.time <= self.now && bytes.len() == seen.len.min(filter.snap_len));
            assert!(filter.sides[seen.side as usize] && filter.direction.is_none_or(|only| only == seen.direction));
            assert!(!filter.drops_only || seen.dropped.is_some());
            // Strangers are nobody, also where a peer is that is looked at.
            assert!(filter.peers.is_empty() || seen.peer.is_none_or(|peer| filter.peers.contains(&peer)));
            assert!(seen.side == Side::Cipher || seen.endpoint.is_none());
        }
    }

    /// Another gateway serves the peers from now on; or we do.
    pub(crate) fn set_passive(&mut self, is_passive: bool) {
        self.open_waiting();
        self.is_passive = is_passive;
        if is_passive {
            self.remotes.iter_mut().for_each(|remote| remote.is_open = false);
        }
        let since = is_passive.then_some(self.now);
        self.order(Order::Passive(since));
    }
}
