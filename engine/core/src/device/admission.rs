//! Who may have a Diffie-Hellman done for him (WireGuard paper, section 5.3), and the gate that asks him first.
//!
//! The workers have the [`Gate`], and pass on only what it has let through. What was not asked there is asked here.

use std::sync::Arc;

use rand_core::CryptoRng;
use zerocopy::IntoBytes;

use super::api::Action;
use super::{Device, Identity};
use crate::cookie::COOKIE_NONCE_LEN;
use crate::drops::DropReason;
use crate::gate::{Answered, Gate, Load, Proof};
use crate::ids::{Endpoint, PeerId};
use crate::time::{Now, Time};
use crate::wire::{Message, classify};

/// What the workers know of the gate.
#[derive(Debug, Default)]
pub(super) struct Published {
    load: Arc<Load>,
    /// Until when the cookie secret is used that the workers have, if they have one.
    secret_ends: Option<Time>,
}

impl Device {
    /// Whether a datagram that is not a data message is worth the work of [`Device::handle_admitted`], found out
    /// without any. Of what is not, there may be any number; the rest is what makes load.
    ///
    /// # Errors
    /// Why the datagram must be dropped. It is counted in [`Device::drops`].
    pub fn screen(&mut self, now: Time, endpoint: Endpoint, datagram: &[u8], proof: Proof) -> Result<(), DropReason> {
        let result = self.assess(datagram, proof);
        result.inspect_err(|&reason| {
            self.drops.bump(reason);
            if reason == DropReason::BadMac1 {
                self.strangers.note_wrong_key(endpoint.remote, now);
            }
        })
    }

    /// More handshake messages wait than should. From now on, and for a second, senders must prove their addresses to
    /// the workers.
    pub fn note_load(&mut self, now: Time, rng: &mut dyn CryptoRng) {
        if self.published.secret_ends.is_none_or(|end| end <= now) {
            self.publish_secret(now, rng);
        }
        self.published.load.note(now);
    }

    /// Whether there is load.
    pub fn is_loaded(&self, now: Time) -> bool {
        self.published.load.is_on(now)
    }

    /// The workers get a gate, or none if there is no key.
    pub(super) fn publish_gate(&mut self) {
        self.published.secret_ends = None;
        let gate = self.identity.as_ref().map(|identity| self.gate(identity, None));
        self.out.push(Action::Gate(gate));
    }

    /// When [`Device::renew_secret_due`] has something to do.
    pub(super) const fn secret_due(&self) -> Option<Time> {
        self.published.secret_ends
    }

    /// The workers' cookie secret has come of age. Under load they get another, else they need none.
    pub(super) fn renew_secret_due(&mut self, now: Time, rng: &mut dyn CryptoRng) {
        if self.published.secret_ends.is_none_or(|end| now < end) {
            return;
        }
        if self.is_loaded(now) {
            self.publish_secret(now, rng);
        } else {
            self.publish_gate();
        }
    }

    /// The workers get a cookie secret: another one if the present one is too old.
    fn publish_secret(&mut self, now: Time, rng: &mut dyn CryptoRng) {
        let Some(identity) = &mut self.identity else { return };
        identity.checker.renew_secret(now, rng);
        let ends = identity.checker.secret_ends();
        let mut seed = [0; COOKIE_NONCE_LEN - 8];
        rng.fill_bytes(&mut seed);
        let places = self.places(ends.unwrap_or(now));
        if let Some(identity) = &self.identity {
            let gate = self.gate(identity, Some(Answered::new(seed, places)));
            self.out.push(Action::Gate(Some(gate)));
            self.published.secret_ends = ends;
        }
    }

    fn gate(&self, identity: &Identity, answered: Option<Answered>) -> Arc<Gate> {
        let (load, indices) = (self.published.load.clone(), self.out.indices.filter().clone());
        Arc::new(Gate::new(identity.checker.clone(), load, indices, answered))
    }

    fn assess(&self, datagram: &[u8], proof: Proof) -> Result<(), DropReason> {
        let message = classify(datagram)?;
        if !self.up {
            return Err(DropReason::Down);
        }
        match message {
            Message::Initiation(..) => self.verify_mac1(datagram, proof),
            Message::Response(message) => {
                self.verify_mac1(datagram, proof)?;
                self.asked_by(message.receiver_index.get()).map(drop)
            }
            // It has no mac1: the index is all that its sender must know.
            Message::CookieReply(message) => self.asked_by(message.receiver_index.get()).map(drop),
            Message::Data(_) => Err(DropReason::UnknownType), // for a worker, not for us
        }
    }

    fn verify_mac1(&self, datagram: &[u8], proof: Proof) -> Result<(), DropReason> {
        let Some(Identity { checker, .. }) = &self.identity else { return Err(DropReason::NoPrivateKey) };
        if proof != Proof::Unasked || checker.verify_mac1(datagram) { Ok(()) } else { Err(DropReason::BadMac1) }
    }

    /// The peer that a message of ours with this index went to.
    pub(super) fn asked_by(&self, index: u32) -> Result<PeerId, DropReason> {
        self.out.indices.owner(index).ok_or(DropReason::UnknownIndex)
    }

    /// Decides whether a handshake message is worth a Diffie-Hellman: always if it knows our public key, but under load
    /// only if it also knows its own address, and not too often.
    pub(super) fn admit(
        &mut self,
        now: Now,
        endpoint: Endpoint,
        (datagram, sender_index): (&[u8], u32),
        (proof, under_load): (Proof, bool),
        rng: &mut dyn CryptoRng,
    ) -> Result<(), DropReason> {
        let Some(Identity { checker, .. }) = &mut self.identity else { return Err(DropReason::NoPrivateKey) };
        let (now, remote) = (now.mono, endpoint.remote);
        match proof {
            Proof::Unasked if !checker.verify_mac1(datagram) => return Err(DropReason::BadMac1),
            Proof::Unasked if under_load && !checker.verify_mac2(now, remote, datagram) => {
                let reply = checker.create_reply(now, remote, datagram, sender_index, rng)?;
                self.out.send(endpoint, reply.as_bytes(), None);
                return Err(DropReason::CookieRequired);
            }
            _ => {}
        }
        if !asks_limiter((proof, under_load)) || self.limiter.allow(now, remote) {
            return Ok(());
        }
        Err(DropReason::RateLimited)
    }
}

/// Whether a message costs its address a token: under load, once it has proved that address. What came before there was
/// load, or before the worker could ask for more, is not limited.
pub(super) const fn asks_limiter((proof, under_load): (Proof, bool)) -> bool {
    match proof {
        Proof::Unasked => under_load,
        Proof::Key => false,
        Proof::Address => true,
    }
}
