//! Where peers were last, for a process that comes after this one, or for a configuration that is set anew.
//!
//! Who of two is right, the operator or what we saw? The operator, if he says something new. A peer that was configured
//! for the endpoint A, and moved to B, is at B after a restart: nobody has said anything else since. If A has become C
//! in the file, then it is at C. So what is remembered of a peer includes the endpoint that it was configured with.
//! Only if nobody answers at B, A is tried.
//!
//! A peer that is removed by itself is forgotten. If all are replaced (`wg setconf`), they are remembered for a day:
//! the new configuration may name them again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::peer::{Peer, Recalled};
use super::peers::keys_after;
use super::{Device, follow};
use crate::constants::{INITIATIONS_TO_MEMORY, PEERS_MAX};
use crate::crypto::PublicKey;
use crate::ids::{Endpoint, PeerId};
use crate::part::parts;
use crate::time::Time;
use crate::whereabouts::Moves;

/// How long a peer is remembered that is not configured.
const KEPT_FOR_SECS: u64 = 24 * 60 * 60;

/// Where a peer was last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Who.
    pub key: PublicKey,
    /// Where it was, and the address at which it knew us.
    pub endpoint: Endpoint,
    /// Where the operator had said that it was, if he had.
    pub configured: Option<SocketAddr>,
    /// Since when it is not configured, in seconds since 1970; `None` if it is.
    pub gone_since: Option<u64>,
}

parts!(Remembered { key, endpoint, configured, gone_since });

/// A place in the list of all that is remembered: where the next page begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryCursor {
    slot: usize,
    after: Option<PublicKey>,
}

/// What is known of peers that are not configured, and whether anything has changed.
#[derive(Debug, Default)]
pub(super) struct Memory {
    gone: BTreeMap<PublicKey, Gone>,
    pub moves: Arc<Moves>,
}

#[derive(Debug)]
struct Gone {
    endpoint: Endpoint,
    configured: Option<SocketAddr>,
    /// Until the first page that names it.
    since: Option<u64>,
}

impl Device {
    /// Takes over what another process has remembered. Peers that are there already are not concerned.
    pub fn remember(&mut self, all: impl IntoIterator<Item = Remembered>) {
        for Remembered { key, endpoint, configured, gone_since } in all {
            if self.memory.gone.len() < PEERS_MAX {
                self.memory.gone.insert(key, Gone { endpoint, configured, since: gone_since });
            }
        }
    }

    /// Takes over what another gateway has remembered, which is newer than what this one knows. Peers that the operator
    /// has put somewhere else here stay there. Peers that are not configured are remembered. To be called while nobody
    /// is served.
    pub fn relocate(&mut self, now: Time, all: impl IntoIterator<Item = Remembered>) {
        for row in all {
            let Some(id) = self.peers.by_key(&row.key) else {
                self.remember([row]);
                continue;
            };
            let Some(peer) = self.peers.get_mut(id) else { continue };
            let Remembered { endpoint, configured, .. } = row;
            if peer.configured.is_some_and(|here| configured != Some(here)) {
                continue;
            }
            let source = peer.own_source(endpoint.remote).or(endpoint.source);
            peer.shared.endpoint.set(Endpoint { source, ..endpoint });
            peer.health.placed(endpoint.remote);
            peer.recalled = Some(Box::new(Recalled { remote: endpoint.remote, configured }));
            self.recovery.locate(endpoint.remote, id);
            self.published.locate(endpoint.remote);
            self.memory.moves.note();
            follow(&mut self.changes, &mut self.schedule, peer, now);
        }
    }

    /// Says where a peer is that was just added: at the endpoint that the operator has configured, if he has, or where
    /// it was last.
    pub fn place_peer(&mut self, now: Time, id: PeerId, configured: Option<SocketAddr>) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let gone = self.memory.gone.remove(peer.remote.public());
        let still_true = |gone: &Gone| configured.is_none_or(|configured| gone.configured == Some(configured));
        if let Some(Gone { endpoint, configured, .. }) = gone.filter(still_true) {
            let source = peer.own_source(endpoint.remote).or(endpoint.source);
            peer.shared.endpoint.set(Endpoint { source, ..endpoint });
            peer.recalled = Some(Box::new(Recalled { remote: endpoint.remote, configured }));
            // It may have a session that we had as well.
            self.recovery.open(now, &self.out);
        } else if let Some(remote) = configured {
            peer.set_remote(remote);
        }
        peer.configured = configured;
        if let Some(endpoint) = peer.endpoint() {
            self.recovery.locate(endpoint.remote, id);
            self.published.locate(endpoint.remote);
            self.memory.moves.note();
        }
        peer.kick(now, self.up && self.identity.is_some());
        follow(&mut self.changes, &mut self.schedule, peer, now);
    }

    /// Says where a peer is by the operator's word, if that was found out only after the peer was placed: the address
    /// that a name stands for. It counts as it would have counted then, unless the peer was heard from since.
    pub fn place_peer_late(&mut self, now: Time, id: PeerId, configured: SocketAddr) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let is_news = |recalled: &Recalled| recalled.configured != Some(configured) && peer.is_at(recalled.remote);
        if peer.endpoint().is_none() || peer.recalled.as_deref().is_some_and(is_news) {
            return self.set_endpoint(now, id, configured);
        }
        peer.configured = Some(configured);
        self.memory.moves.note();
    }

    /// Whether anything has changed of what is remembered since this was last asked.
    pub fn take_moves(&self) -> bool {
        self.memory.moves.take()
    }

    /// Adds some of what is remembered to `page`, and moves the cursor behind it: so much as looking at `most` peers
    /// gives. True: there is more. `unix_secs` is the wall clock.
    pub fn memory_page(
        &mut self,
        cursor: &mut MemoryCursor,
        most: usize,
        unix_secs: u64,
        page: &mut Vec<Remembered>,
    ) -> bool {
        if cursor.slot < self.peers.slot_count() {
            page.extend(self.peers.slice(cursor.slot..cursor.slot + most).filter_map(Peer::remembered));
            cursor.slot += most;
            return true;
        }
        let after = keys_after(cursor.after);
        let mut forgotten = Vec::new();
        let mut looked_at = 0;
        for (&key, gone) in self.memory.gone.range_mut(after).take(most) {
            cursor.after = Some(key);
            looked_at += 1;
            let since = *gone.since.get_or_insert(unix_secs);
            let &mut Gone { endpoint, configured, .. } = gone;
            let is_known = self.peers.by_key(&key).and_then(|id| self.peers.get(id)?.endpoint()).is_some();
            if is_known || unix_secs.saturating_sub(since) >= KEPT_FOR_SECS {
                forgotten.push(key);
            } else {
                page.push(Remembered { key, endpoint, configured, gone_since: Some(since) });
            }
        }
        forgotten.iter().for_each(|key| _ = self.memory.gone.remove(key));
        looked_at == most
    }

    /// What is remembered of peers that are not configured.
    pub(super) fn gone(&self) -> impl Iterator<Item = Remembered> {
        self.memory.gone.iter().map(|(&key, gone)| {
            let &Gone { endpoint, configured, since } = gone;
            Remembered { key, endpoint, configured, gone_since: since }
        })
    }

    /// The peer is about to be replaced, as all are.
    pub(super) fn remember_peer(&mut self, id: PeerId) {
        let remembered = self.peers.get(id).and_then(Peer::remembered);
        self.remember(remembered);
    }
}

impl Peer {
    /// Where the peer was may be long ago. If nobody answers there, it is where the operator says.
    pub(super) fn doubt_memory(&mut self) {
        if self.initiations_unanswered < INITIATIONS_TO_MEMORY {
            return;
        }
        let recalled = self.recalled.take();
        let is_there = recalled.is_some_and(|recalled| self.is_at(recalled.remote));
        if let (true, Some(configured)) = (is_there, self.configured) {
            self.set_remote(configured);
            self.shared.moves.note();
        }
    }

    fn is_at(&self, remote: SocketAddr) -> bool {
        self.endpoint().is_some_and(|endpoint| endpoint.remote == remote)
    }

    /// What is worth remembering: `None` if the operator will say the same again.
    fn remembered(&self) -> Option<Remembered> {
        let endpoint = self.endpoint()?;
        let is_news = endpoint.source.is_some() || self.configured != Some(endpoint.remote);
        let (key, configured) = (*self.remote.public(), self.configured);
        is_news.then_some(Remembered { key, endpoint, configured, gone_since: None })
    }
}
