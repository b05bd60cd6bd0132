//! Who may have a Diffie-Hellman done for him (WireGuard paper, section 5.3), and the gate that asks him first.
//!
//! The workers have the [`Gate`], and pass on only what it has let through. What was not asked there is asked here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand_core::CryptoRng;
use zerocopy::IntoBytes;

use super::api::Action;
use super::peer::Peer;
use super::places::PLACES_PER_TURN;
use super::walk::Walk;
use super::{Device, Identity};
use crate::cookie::COOKIE_NONCE_LEN;
use crate::drops::DropReason;
use crate::gate::{Answered, Gate, LOADED_FOR, Load, Proof};
use crate::ids::{Endpoint, PeerId};
use crate::outpost::Outpost;
use crate::time::{Now, Time};
use crate::wire::{Message, classify};

/// For so long before the end of a cookie secret the workers have the next one, or none if there is no load. Otherwise
/// nobody would be asked for a proof until control has its turn and they have their mail.
const SECRET_REPLACED_BEFORE: Duration = Duration::from_secs(5);

/// How often what workers used is looked at, until they have let go of it.
const RETIRED_CHECKED_EVERY: Duration = Duration::from_secs(1);

/// Messages that came to nothing, most of them after a Diffie-Hellman, and that were asked for no proof of their
/// address: with so many within [`LOADED_FOR`] there is load. They take a twentieth of a core on AMD Zen 3. With many
/// more, control keeps pace and no message waits, but the workers miss the core.
const WASTED_MAX: u32 = 1_000;

/// What the workers know of the gate.
#[derive(Debug, Default)]
pub(super) struct Published {
    load: Arc<Load>,
    /// Who stands in front of the workers.
    outpost: Option<Arc<dyn Outpost>>,
    /// When the workers need another cookie secret than the one they have, if they have one.
    secret_due: Option<Time>,
    /// What goes with that secret.
    answered: Option<Arc<Answered>>,
    /// At its end all peers are entered there.
    walk: Walk,
    /// The outpost is being told of all peers anew: until the end of such a walk, maybe that of a later secret.
    is_telling: bool,
    /// What went with former secrets, while workers may use it. It is freed here, not there.
    retired: Vec<Arc<Answered>>,
    retired_due: Option<Time>,
    /// Messages that came to nothing since then.
    wasted: (Time, u32),
}

impl Published {
    /// To be called before there is a gate.
    pub fn set_outpost(&mut self, outpost: Arc<dyn Outpost>) {
        self.load = Arc::new(Load::behind(outpost.clone()));
        self.outpost = Some(outpost);
    }

    /// A peer is here since the secret was made.
    pub fn locate(&self, remote: SocketAddr) {
        if let Some(answered) = &self.answered {
            answered.locate(remote);
        }
        if let Some(outpost) = &self.outpost {
            outpost.locate(remote);
        }
    }

    /// A message with this proof was a peer's.
    pub fn note_peer(&self, remote: SocketAddr, proof: Proof) {
        self.locate(remote);
        if let Some(answered) = &self.answered {
            answered.repay(remote.ip(), proof);
        }
    }

    fn replace(&mut self, now: Time, answered: Option<Arc<Answered>>) {
        self.walk = if answered.is_some() { Walk::from_the_first() } else { Walk::default() };
        if let Some(outpost) = self.outpost.as_ref().filter(|_| answered.is_some() && !self.is_telling) {
            // Many have come and gone since they were told the last time.
            outpost.renew_places();
            self.is_telling = true;
        }
        if let Some(former) = std::mem::replace(&mut self.answered, answered) {
            self.retired.push(former);
            self.retired_due = Some(now + RETIRED_CHECKED_EVERY);
        }
    }

    /// Frees one of what no worker uses any more. Another one has its turn later.
    fn free_one(&mut self, now: Time) {
        if self.retired_due.is_none_or(|due| now < due) {
            return;
        }
        if let Some(index) = self.retired.iter().position(|answered| Arc::strong_count(answered) == 1) {
            self.retired.swap_remove(index);
        }
        self.retired_due = (!self.retired.is_empty()).then_some(now + RETIRED_CHECKED_EVERY);
    }
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
        if self.published.secret_due.is_none_or(|due| due <= now) {
            self.publish_secret(now, rng);
        }
        self.published.load.note(now);
    }

    /// A message came to nothing. Whoever has proved an address is limited by it, and few are believed to have one, so
    /// this is about others.
    pub(super) fn note_wasted(&mut self, now: Time, (proof, under_load): (Proof, bool), rng: &mut dyn CryptoRng) {
        if under_load || !matches!(proof, Proof::Unasked | Proof::Key) {
            return;
        }
        let (since, count) = &mut self.published.wasted;
        if now.since(*since) >= LOADED_FOR {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        if *count >= WASTED_MAX {
            *count = 0;
            self.note_load(now, rng);
        }
    }

    /// Whether there is load.
    pub fn is_loaded(&self, now: Time) -> bool {
        self.published.load.is_on(now)
    }

    /// The workers get a gate, or none if there is no key.
    pub(super) fn publish_gate(&mut self, now: Time) {
        self.published.secret_due = None;
        self.published.replace(now, None);
        let gate = self.identity.as_ref().map(|identity| self.gate(identity, None));
        self.out.push(Action::Gate(gate));
    }

    /// When [`Device::keep_gate`] has something to do.
    pub(super) fn gate_due(&self) -> Option<Time> {
        let Published { secret_due, walk, retired_due, .. } = self.published;
        [secret_due, walk.due(), retired_due].into_iter().flatten().min()
    }

    /// Does what is due at the gate, a bounded part of it.
    pub(super) fn keep_gate(&mut self, now: Time, rng: &mut dyn CryptoRng) {
        self.renew_secret_due(now, rng);
        self.locate_some();
        self.published.free_one(now);
    }

    /// Tells the workers where some peers are. Who is not known yet is a stranger to them: it shares the cookies that
    /// are for anybody.
    fn locate_some(&mut self) {
        if self.published.answered.is_none() {
            return;
        }
        let Some(slots) = self.published.walk.step(PLACES_PER_TURN, &self.peers) else { return };
        for endpoint in self.peers.slice(slots).filter_map(Peer::endpoint) {
            self.published.locate(endpoint.remote);
        }
        self.published.is_telling &= !self.published.walk.is_done();
    }

    /// The workers' cookie secret comes of age soon. Under load they get another, else they need none.
    fn renew_secret_due(&mut self, now: Time, rng: &mut dyn CryptoRng) {
        if self.published.secret_due.is_none_or(|due| now < due) {
            return;
        }
        if self.is_loaded(now) {
            self.publish_secret(now, rng);
        } else {
            self.publish_gate(now);
        }
    }

    /// The workers get a cookie secret: another one if the present one is too old, or soon will be.
    fn publish_secret(&mut self, now: Time, rng: &mut dyn CryptoRng) {
        let Some(identity) = &mut self.identity else { return };
        let ends = identity.checker.secret_for(now, SECRET_REPLACED_BEFORE, rng);
        let (mut seed, mut key) = ([0; COOKIE_NONCE_LEN - 8], [0; 8]);
        rng.fill_bytes(&mut seed);
        rng.fill_bytes(&mut key);
        let key = u64::from_le_bytes(key);
        let answered = Arc::new(Answered::new(seed, key, self.peers.len(), now));
        self.published.replace(now, Some(answered.clone()));
        if let Some(identity) = &self.identity {
            let gate = self.gate(identity, Some(answered));
            self.out.push(Action::Gate(Some(gate)));
            self.published.secret_due = Some(ends - SECRET_REPLACED_BEFORE);
        }
    }

    fn gate(&self, identity: &Identity, answered: Option<Arc<Answered>>) -> Arc<Gate> {
        let (load, indices) = (self.published.load.clone(), &self.out.indices);
        Arc::new(Gate::new(identity.checker.clone(), load, (indices.filter().clone(), indices.node), answered))
    }

    fn assess(&self, datagram: &[u8], proof: Proof) -> Result<(), DropReason> {
        let message = classify(datagram)?;
        self.serves()?;
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
        self.out.indices.owner(index).ok_or_else(|| self.out.indices.node.unknown(index))
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
            // A worker let it through before there was load, or before it could ask for more.
            Proof::Unasked | Proof::Key if under_load && !checker.verify_mac2(now, remote, datagram) => {
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

/// Whether a message costs its address a token: under load, once it has proved that address.
pub(super) const fn asks_limiter((proof, under_load): (Proof, bool)) -> bool {
    match proof {
        Proof::Unasked | Proof::Key => under_load,
        Proof::Address | Proof::Place => true,
        // Else somebody who forges its address could use up its tokens.
        Proof::Claim => false,
    }
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;
