//! What the gateway tells, and what it has to do.

use std::net::IpAddr;
use std::sync::Arc;

use ringfort_config::key_text::named;
use ringfort_core::crypto::PublicKey;

use super::peer::{Actual, Heard};
use super::{Change, GatewayOp, State};
use crate::value::Settings;

/// A peer as the gateway has it.
#[derive(Debug)]
pub struct Had {
    /// Whom.
    pub peer: PublicKey,
    /// Its settings; the endpoint is where it was heard of last.
    pub settings: Settings,
    /// The address at which it was told to be known to the peer.
    pub source: Option<IpAddr>,
}

impl State {
    /// A connection to the gateway was made. It begins with a list of all sessions.
    pub fn gateway_opened(&mut self) {
        self.session_list += 1;
        self.gateway_list += 1;
        self.context.is_open = false;
    }

    /// The connection has ended. The gateway may have been replaced by another one that goes on with its sessions, so
    /// nothing is given up yet.
    pub fn gateway_closed(&mut self) {
        self.context.is_open = false;
        self.change_those(|peer| peer.is_setting, |peer| peer.is_setting = false);
    }

    /// Nobody has answered for a while: there is no gateway.
    pub fn gateway_lost(&mut self) {
        self.context.has_gateway = false;
        self.context.is_active = false;
        self.context.knows_sessions = true;
        let is_there = |peer: &super::Peer| peer.session.is_some() || peer.actual.is_some();
        self.change_those(is_there, |peer| (peer.session, peer.actual, peer.told) = (None, None, None));
        self.look_at_all();
    }

    /// Whether the gateway serves its peers.
    pub fn gateway_role(&mut self, is_active: bool) {
        self.context.has_gateway = true;
        self.context.is_active = is_active;
        self.look_at_all();
    }

    /// Some of the peers that the gateway has.
    pub fn gateway_has(&mut self, had: impl IntoIterator<Item = Had>) {
        let list = self.gateway_list;
        for Had { peer, settings, source } in had {
            self.change(peer, |entry, _| {
                entry.read_in = list;
                entry.told = settings.endpoint.map(|endpoint| (endpoint, source));
                // Where it was is not what was configured. That may have changed meanwhile if we knew it before.
                let configured = match &entry.actual {
                    Some(before) => before.configured,
                    None => entry.wanted.as_ref().and_then(|wanted| wanted.endpoint),
                };
                let configured = configured.filter(|_| settings.endpoint.is_some());
                let actual = entry.actual.insert(Actual { settings: Arc::new(settings), configured });
                // Nothing is kept twice.
                if let Some(given) = entry.given.as_ref().filter(|given| actual.meets(given)) {
                    actual.settings = given.clone();
                }
            });
        }
    }

    /// These were all: changes may be made from now on.
    pub fn gateway_has_no_more(&mut self) {
        let list = self.gateway_list;
        let is_gone = |peer: &super::Peer| peer.actual.is_some() && peer.read_in != list;
        self.change_those(is_gone, |peer| (peer.actual, peer.told) = (None, None));
        // It may be another gateway, which takes what the last one has refused.
        self.change_those(|peer| peer.refused.is_some(), |peer| peer.refused = None);
        self.context.is_open = true;
        self.look_at_all();
    }

    /// Sessions are listed anew.
    pub fn sessions_resync(&mut self) {
        self.session_list += 1;
    }

    /// The gateway speaks of a peer.
    pub fn session(&mut self, heard: &Heard) {
        let list = self.session_list;
        self.change(heard.peer, |peer, context| {
            peer.heard_in = list;
            peer.hear(heard, context);
            // Nothing is known of it, except that it may have to go.
            if heard.is_added && peer.actual.is_none() && !peer.is_listed {
                peer.actual = Some(Actual { settings: Arc::default(), configured: None });
            }
        });
    }

    /// The gateway has listed all sessions.
    pub fn sessions_complete(&mut self) {
        let list = self.session_list;
        self.change_those(|peer| peer.session.is_some() && peer.heard_in != list, |peer| peer.session = None);
        self.context.knows_sessions = true;
        self.look_at_all();
    }

    /// The gateway has a peer no longer.
    pub fn peer_removed(&mut self, peer: PublicKey) {
        // Only of one that is known: an entry would be made for nothing.
        if self.peers.contains_key(&peer) {
            self.change(peer, |peer, _| (peer.session, peer.actual, peer.told) = (None, None, None));
        }
    }

    /// Up to `max` changes for the gateway. Each must be answered by [`gateway_did`](Self::gateway_did), unless the
    /// connection ends.
    pub fn poll_gateway(&mut self, max: usize) -> Vec<GatewayOp> {
        let mut ops = Vec::new();
        while ops.len() < max && self.context.may_set() {
            let Some(key) = self.for_gateway.pop_first() else { break };
            let Some(peer) = self.peers.get_mut(&key) else { continue };
            if let Some(change) = peer.gateway_op(&self.context) {
                peer.is_setting = true;
                ops.push(GatewayOp { peer: key, change });
            }
        }
        ops
    }

    /// The gateway has carried these out, or refused them.
    pub fn gateway_did(&mut self, ops: &[GatewayOp], is_done: bool) {
        for GatewayOp { peer, change } in ops {
            let total = if is_done { &mut self.counts.changes_total } else { &mut self.counts.refused_total };
            *total += 1;
            self.change(*peer, |entry, _| {
                entry.is_setting = false;
                match change {
                    Change::Set { to, endpoint, .. } if is_done => {
                        entry.told = endpoint.map(|endpoint| (endpoint, None)).or(entry.told);
                        entry.actual = Some(Actual { settings: to.clone(), configured: to.endpoint });
                    }
                    Change::Set { to, .. } => {
                        let name = named(peer, to.name.as_deref());
                        log::error!(
                            "{name}: the gateway refuses its settings, and keeps what it has: see its log; a new \
                             value in etcd is tried again"
                        );
                        entry.refused = Some(to.clone());
                    }
                    Change::Remove if is_done => (entry.actual, entry.session, entry.told) = (None, None, None),
                    Change::Tell(endpoint, source) if is_done => entry.told = Some((*endpoint, *source)),
                    // As if it had been done: it is tried again when the gateway was asked for all peers.
                    Change::Remove => {
                        log::error!("{}: the gateway does not remove it: see its log", named(peer, None));
                        entry.actual = None;
                    }
                    Change::Tell(endpoint, source) => {
                        log::error!("{}: the gateway does not take where it is: see its log", named(peer, None));
                        entry.told = Some((*endpoint, *source));
                    }
                }
            });
        }
    }
}
