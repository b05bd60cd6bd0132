//! What etcd tells, and what it has to do.

use std::sync::Arc;

use ringfort_config::key_text::named;
use ringfort_core::crypto::PublicKey;

use super::peer::{Claim, Peer, Standing};
use super::{ClaimOp, State};
use crate::keys::Subject;
use crate::value::{Owner, Settings};

/// Lines about values that a list may write. Bad ones are counted as well.
const COMPLAINTS_MAX: usize = 20;

impl State {
    /// A list of all keys begins. What is known stays until the list has ended.
    pub fn etcd_list(&mut self) {
        self.etcd_list += 1;
        self.listed_now = 0;
        self.complaints_left = COMPLAINTS_MAX;
    }

    /// One key of the list.
    pub fn etcd_listed(&mut self, key: &[u8], value: &[u8], revision: i64, lease: i64) {
        let list = self.etcd_list;
        match self.keys.subject(key) {
            Subject::Peer(peer) => {
                self.listed_now += 1;
                self.value(peer, value, revision);
            }
            // Whatever was heard before: etcd may have been set up anew, and count from the beginning.
            Subject::Session(peer) => self.change(peer, |peer, _| {
                peer.claimed_in = list;
                peer.take_claim(value, revision, lease);
            }),
            Subject::NotAKey => self.complain_of_key(key),
            Subject::Other => {}
        }
    }

    /// The list has ended, and is that of this revision. Changes after it follow.
    pub fn etcd_list_ended(&mut self, revision: i64) {
        let list = self.etcd_list;
        if self.complaints_left == 0 {
            log::error!("no more values are complained of; {} peers have a bad one", self.counts.bad);
        }
        let is_gone = |peer: &Peer| peer.is_listed && peer.listed_in != list;
        let unlisted = self.peers.values().filter(|peer| is_gone(peer)).count();
        let others = self.peers.values().filter(|peer| peer.actual.is_some()).count();
        if self.listed_now > 0 || unlisted.max(others) == 0 {
            self.change_those(is_gone, Peer::unlist);
            self.context.knows_wanted = true;
        } else {
            log::error!(
                "etcd has no peers at all below {}peers/, and the gateway has {others}: none is removed, since that is \
                 more likely a mistake; check --network, or remove them one by one",
                self.keys.prefix()
            );
        }
        self.change_those(
            |peer| peer.claimed_in != list && peer.claim_revision != 0,
            |peer| (peer.claim, peer.claim_revision) = (None, 0),
        );
        for peer in self.peers.values_mut() {
            peer.heard_revision = revision;
            peer.is_writing = false;
            peer.is_overtaken = false;
        }
        (self.context.is_synced, self.context.was_listed) = (true, true);
        self.counts.lists_total += 1;
        self.look_at_all();
    }

    /// Changes of one moment follow.
    pub fn etcd_changes(&mut self) {
        self.complaints_left = COMPLAINTS_MAX;
    }

    /// A key was written.
    pub fn etcd_put(&mut self, key: &[u8], value: &[u8], revision: i64, lease: i64) {
        match self.keys.subject(key) {
            Subject::Peer(peer) => self.value(peer, value, revision),
            Subject::Session(peer) => self.change(peer, |peer, _| {
                if revision > peer.heard_revision {
                    peer.take_claim(value, revision, lease);
                }
            }),
            Subject::NotAKey => self.complain_of_key(key),
            Subject::Other => {}
        }
    }

    /// A key was removed, or its lease has ended.
    pub fn etcd_deleted(&mut self, key: &[u8], revision: i64) {
        match self.keys.subject(key) {
            Subject::Peer(peer) => self.change(peer, |peer, _| peer.unlist()),
            Subject::Session(peer) => self.change(peer, |peer, _| {
                if revision > peer.heard_revision {
                    (peer.claim, peer.claim_revision, peer.heard_revision) = (None, 0, revision);
                    peer.is_overtaken = false;
                }
            }),
            Subject::NotAKey | Subject::Other => {}
        }
    }

    /// etcd is not heard any more. What was on its way may have arrived or not: the next list says.
    pub fn etcd_lost(&mut self) {
        self.context.is_synced = false;
        for peer in self.peers.values_mut() {
            peer.is_writing = false;
            if let Some(session) = peer.session.as_mut().filter(|session| session.standing == Standing::Asserted) {
                session.standing = Standing::Recalled;
            }
        }
    }

    /// The lease under which claims are written, or that there is none any more.
    pub fn lease(&mut self, lease: Option<i64>) {
        self.context.lease = lease;
        self.look_at_all();
    }

    /// Up to `max` changes of claims. Each must be answered by [`claim_done`](Self::claim_done), unless etcd is lost.
    pub fn poll_claims(&mut self, max: usize) -> Vec<ClaimOp> {
        let mut ops = Vec::new();
        while ops.len() < max && self.context.is_synced {
            let Some(key) = self.for_etcd.pop_first() else { break };
            let Some(peer) = self.peers.get_mut(&key) else { continue };
            if let Some(op) = peer.claim_op(&key, &self.context) {
                peer.is_writing = true;
                ops.push(op);
            }
        }
        ops
    }

    /// etcd has written this claim in that revision, or (`None`) has another revision than was expected.
    pub fn claim_done(&mut self, op: &ClaimOp, revision: Option<i64>) {
        match revision {
            Some(_) => self.counts.claims_total += 1,
            None => self.counts.conflicts_total += 1,
        }
        self.change(op.peer, |peer, _| {
            peer.is_writing = false;
            match revision {
                Some(revision) if revision > peer.heard_revision => {
                    peer.heard_revision = revision;
                    peer.claim = op.owner.clone().map(|owner| Claim { owner, lease: op.lease });
                    peer.claim_revision = if peer.claim.is_some() { revision } else { 0 };
                }
                // The watch was faster.
                Some(_) => {}
                // If something was heard since, that may have been it.
                None => peer.is_overtaken = peer.heard_revision == op.heard,
            }
        });
    }

    /// The value of a peer.
    fn value(&mut self, peer: PublicKey, value: &[u8], revision: i64) {
        let list = self.etcd_list;
        let parsed = Settings::parse(value);
        if let Err(error) = &parsed {
            let key = self.keys.peer(&peer);
            self.complain(format_args!(
                "{key} is left as it was: its value is refused: {error}; write a value that is right"
            ));
        }
        self.change(peer, |entry, context| {
            (entry.is_listed, entry.listed_in, entry.is_ours) = (true, list, true);
            entry.is_bad = parsed.is_err();
            if let Ok(settings) = parsed {
                entry.revision = revision;
                if !context.was_listed
                    && let Some(actual) = &mut entry.actual
                {
                    // The gateway was heard first. An endpoint that it has is newer than what etcd had all the time.
                    actual.configured = settings.endpoint.filter(|_| actual.settings.endpoint.is_some());
                }
                let before = entry.wanted.as_ref().and_then(|wanted| wanted.endpoint);
                if settings.endpoint.is_some() && settings.endpoint != before {
                    // Where others had it is older. A claim that is still there says so again.
                    entry.elsewhere = None;
                }
                if entry.wanted.as_deref() != Some(&settings) {
                    entry.wanted = Some(Arc::new(settings));
                    log::debug!("{}: has a new value", named(&peer, None));
                }
            }
            entry.refused = None;
        });
    }

    fn complain_of_key(&mut self, key: &[u8]) {
        let key = String::from_utf8_lossy(key);
        self.complain(format_args!(
            "{} is ignored: it does not end in a public key, 44 characters of base64 as wg(8) prints them; remove it",
            key.escape_debug()
        ));
    }

    fn complain(&mut self, what: std::fmt::Arguments<'_>) {
        self.counts.bad_values_total += 1;
        if self.complaints_left > 0 {
            self.complaints_left -= 1;
            log::error!("{what}");
        }
    }
}

impl Peer {
    fn unlist(&mut self) {
        (self.is_listed, self.is_bad, self.wanted, self.refused) = (false, false, None, None);
    }

    fn take_claim(&mut self, value: &[u8], revision: i64, lease: i64) {
        (self.claim_revision, self.heard_revision, self.is_overtaken) = (revision, revision, false);
        self.claim = Owner::parse(value).map(|owner| Claim { owner, lease });
    }
}
