//! What may happen.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::super::*;
use super::store::{Random, Store};
use super::{NODES, PEERS};
use crate::value::Settings;

const NETWORK: &str = "net";
/// So many prefixes are wanted by several peers at times.
const SHARED: u64 = 2;
/// What those begin with.
pub(super) const SHARED_NET: &str = "10.9.9.";

pub(super) enum Said {
    Session(Heard),
    Removed(PublicKey),
}

pub(super) struct Node {
    pub(super) state: State,
    /// The gateway.
    pub(super) peers: BTreeMap<PublicKey, Arc<Settings>>,
    pub(super) sessions: BTreeMap<PublicKey, i64>,
    pub(super) said: VecDeque<Said>,
    pub(super) setting: Vec<GatewayOp>,
    /// The revision up to which its watch has heard, if it has one.
    pub(super) heard: Option<i64>,
    pub(super) lease: i64,
    pub(super) claiming: Vec<ClaimOp>,
}

pub(super) struct World {
    pub(super) random: Random,
    pub(super) now_ms: i64,
    pub(super) store: Store,
    pub(super) keys: Keys,
    pub(super) nodes: Vec<Node>,
    /// With whom each peer has confirmed last, and when.
    pub(super) last: BTreeMap<PublicKey, (usize, i64)>,
}

pub(super) fn key(number: u8) -> PublicKey {
    PublicKey::new([number; 32])
}

fn agent(index: usize) -> State {
    let (node, network) = (format!("node-{index}"), NETWORK.to_owned());
    State::new(Rules { node, network, keep_others: false, announce: Vec::new() })
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let node = |index: usize| Node {
            state: agent(index),
            peers: BTreeMap::new(),
            sessions: BTreeMap::new(),
            said: VecDeque::new(),
            setting: Vec::new(),
            heard: None,
            lease: 0,
            claiming: Vec::new(),
        };
        let nodes: Vec<Node> = (0..NODES).map(node).collect();
        let keys = Keys::of(NETWORK);
        let (store, last) = (Store { revision: 1, ..Store::default() }, BTreeMap::new());
        let mut world = Self { random: Random(seed), now_ms: 1_000_000_000, store, keys, nodes, last };
        for node in 0..NODES {
            world.nodes[node].state.routes.set_installed([]);
            world.watch_gateway(node);
        }
        world
    }

    pub(super) fn step(&mut self) {
        self.now_ms += 2_000 + self.random.below(10_000) as i64;
        let (node, peer) = (self.random.index(NODES), key(1 + self.random.below(PEERS.into()) as u8));
        match self.random.below(20) {
            0 => self.write_peer(peer),
            1..=3 => self.confirm(node, peer),
            4 => self.end_session(node, peer),
            5..=7 => self.say(node),
            8..=10 => {
                self.hear(node);
            }
            11 => self.disconnect(node),
            12 => self.connect(node),
            13 => self.lose_lease(node),
            14 => self.set(node),
            15 | 16 => self.claim(node),
            17 => self.rarely(node),
            18 => self.watch_gateway(node),
            _ => drop(self.nodes[node].state.routes.poll(3)),
        }
    }

    fn rarely(&mut self, node: usize) {
        match self.random.below(6) {
            0 => self.store.compacted = self.store.revision,
            1 => {
                let drained = self.nodes[node].state.is_draining();
                self.nodes[node].state.drain(!drained);
            }
            2 => {
                // The gateway starts anew, perhaps after a while.
                self.nodes[node].peers.clear();
                self.nodes[node].sessions.clear();
                self.nodes[node].state.gateway_closed();
                self.nodes[node].setting.clear();
                if self.random.is() {
                    self.nodes[node].state.gateway_lost();
                }
                self.watch_gateway(node);
            }
            3 => {
                // Somebody else removes a peer.
                if let Some((peer, _)) = self.nodes[node].peers.pop_first() {
                    self.nodes[node].sessions.remove(&peer);
                    self.nodes[node].said.push_back(Said::Removed(peer));
                }
            }
            4 => self.restart(node),
            _ => {
                let is_active = self.nodes[node].state.links().1;
                if is_active {
                    let all: Vec<PublicKey> = self.nodes[node].sessions.keys().copied().collect();
                    all.into_iter().for_each(|peer| self.end_session(node, peer));
                }
                self.nodes[node].state.gateway_role(!is_active);
            }
        }
    }

    /// Another agent begins, and knows nothing. Gateway, kernel and the lease are as they were.
    fn restart(&mut self, node: usize) {
        self.disconnect(node);
        let is_active = self.nodes[node].state.links().1;
        let installed = self.nodes[node].state.routes.all();
        self.nodes[node].state = agent(node);
        self.nodes[node].state.routes.set_installed(installed);
        self.watch_gateway(node);
        self.nodes[node].state.gateway_role(is_active);
    }

    fn write_peer(&mut self, peer: PublicKey) {
        let name = self.keys.peer(&peer);
        let number = peer.as_bytes()[0];
        match self.random.below(5) {
            0 => {
                self.store.delete(&name);
            }
            1 => {
                self.store.put(name, b"{}".to_vec(), 0);
            }
            variant => {
                // The second one is for whoever takes it last.
                let shared = self.random.below(SHARED);
                let prefixes = format!(r#""10.0.{number}.{variant}/32", "{SHARED_NET}{shared}/32""#);
                let prefixes = format!(r#"{prefixes}, "fd00::{number}/128""#);
                let keepalive = self.random.below(2);
                let value = format!(r#"{{"allowed_ips": [{prefixes}], "persistent_keepalive": {keepalive}}}"#);
                self.store.put(name, value.into(), 0);
            }
        }
    }

    fn heard_of(&self, node: usize, peer: PublicKey, is_confirmed: bool) -> Said {
        let confirmed = self.nodes[node].sessions.get(&peer);
        Said::Session(Heard {
            peer,
            is_added: false,
            has_session: confirmed.is_some(),
            is_confirmed: is_confirmed && confirmed.is_some(),
            confirmed_ms: confirmed.copied().unwrap_or(self.now_ms),
            endpoint: None,
            source: None,
        })
    }

    fn confirm(&mut self, node: usize, peer: PublicKey) {
        if self.nodes[node].peers.contains_key(&peer) && self.nodes[node].state.links().1 {
            self.nodes[node].sessions.insert(peer, self.now_ms);
            self.last.insert(peer, (node, self.now_ms));
            let said = self.heard_of(node, peer, true);
            self.nodes[node].said.push_back(said);
        }
    }

    fn end_session(&mut self, node: usize, peer: PublicKey) {
        if self.nodes[node].sessions.remove(&peer).is_some() {
            let said = self.heard_of(node, peer, false);
            self.nodes[node].said.push_back(said);
        }
    }

    /// The gateway's next words arrive.
    pub(super) fn say(&mut self, node: usize) {
        match self.nodes[node].said.pop_front() {
            Some(Said::Session(heard)) => self.nodes[node].state.session(&heard),
            Some(Said::Removed(peer)) => self.nodes[node].state.peer_removed(peer),
            None => {}
        }
    }

    /// The connection to the gateway is a new one.
    pub(super) fn watch_gateway(&mut self, node: usize) {
        let all: Vec<PublicKey> = self.nodes[node].peers.keys().copied().collect();
        let said: Vec<Said> = all.iter().map(|peer| self.heard_of(node, *peer, false)).collect();
        let Node { state, said: pending, peers, setting, .. } = &mut self.nodes[node];
        state.gateway_closed();
        setting.clear();
        pending.clear();
        state.gateway_opened();
        state.gateway_has(peers.iter().map(|(peer, settings)| {
            let settings = settings.with(settings.allowed_ips.clone(), settings.persistent_keepalive_s);
            Had { peer: *peer, settings, source: None }
        }));
        state.gateway_has_no_more();
        let is_active = state.links().1 || self.random.is();
        state.gateway_role(is_active);
        for said in said {
            if let Said::Session(heard) = said {
                state.session(&heard);
            }
        }
        state.sessions_complete();
    }

    /// One more of etcd's changes arrives. False: there is none.
    pub(super) fn hear(&mut self, node: usize) -> bool {
        let Node { state, heard, .. } = &mut self.nodes[node];
        let Some(revision) = heard else { return false };
        if *revision < self.store.compacted {
            self.disconnect(node);
            return true;
        }
        let Some((at, key, value)) = self.store.events.iter().find(|(at, ..)| at > revision) else { return false };
        *revision = *at;
        state.etcd_changes();
        match value {
            Some((value, lease)) => state.etcd_put(key.as_bytes(), value, *at, *lease),
            None => state.etcd_deleted(key.as_bytes(), *at),
        }
        true
    }

    /// What is on its way arrives, or does not.
    fn disconnect(&mut self, node: usize) {
        let claiming = std::mem::take(&mut self.nodes[node].claiming);
        for op in claiming {
            if self.random.is() {
                let _ = self.store.write(&self.keys, &op);
            }
        }
        self.nodes[node].heard = None;
        self.nodes[node].state.etcd_lost();
    }

    pub(super) fn connect(&mut self, node: usize) {
        if self.nodes[node].heard.is_some() {
            return;
        }
        if !self.store.leases.contains(&self.nodes[node].lease) {
            self.nodes[node].lease = self.store.grant();
        }
        let Node { state, heard, lease, .. } = &mut self.nodes[node];
        state.lease(Some(*lease));
        state.etcd_list();
        for (key, (value, revision, lease)) in &self.store.keys {
            state.etcd_listed(key.as_bytes(), value, *revision, *lease);
        }
        state.etcd_list_ended(self.store.revision);
        *heard = Some(self.store.revision);
    }

    fn lose_lease(&mut self, node: usize) {
        // What the operator writes is under none.
        if self.nodes[node].lease != 0 {
            self.store.expire(self.nodes[node].lease);
        }
        if self.random.is() {
            self.disconnect(node);
        }
    }

    /// The gateway gets changes, or carries them out and answers.
    pub(super) fn set(&mut self, node: usize) {
        let Node { state, setting, .. } = &mut self.nodes[node];
        if setting.is_empty() {
            *setting = state.poll_gateway(2);
            return;
        }
        let ops = std::mem::take(setting);
        for op in &ops {
            let Node { peers, sessions, said, .. } = &mut self.nodes[node];
            match &op.change {
                Change::Set { to, from, .. } => {
                    let is_new = !peers.contains_key(&op.peer);
                    take_over(peers, op.peer, to, from.as_deref());
                    if let Said::Session(heard) = self.heard_of(node, op.peer, false) {
                        self.nodes[node].said.push_back(Said::Session(Heard { is_added: is_new, ..heard }));
                    }
                }
                Change::Remove => {
                    peers.remove(&op.peer);
                    sessions.remove(&op.peer);
                    said.push_back(Said::Removed(op.peer));
                }
                Change::Tell(..) => {}
            }
        }
        self.nodes[node].state.gateway_did(&ops, true);
    }

    /// etcd gets claims, or writes them and answers.
    pub(super) fn claim(&mut self, node: usize) {
        if self.nodes[node].heard.is_none() {
            return;
        }
        let Node { state, claiming, .. } = &mut self.nodes[node];
        if claiming.is_empty() {
            *claiming = state.poll_claims(2);
            return;
        }
        for op in std::mem::take(claiming) {
            match self.store.write(&self.keys, &op) {
                Ok(revision) => self.nodes[node].state.claim_done(&op, revision),
                Err(()) => return self.disconnect(node),
            }
        }
    }
}

/// The gateway sets a peer. Whoever had a prefix of it loses that, and nobody is told.
fn take_over(peers: &mut BTreeMap<PublicKey, Arc<Settings>>, peer: PublicKey, to: &Settings, from: Option<&Settings>) {
    if from.is_none_or(|from| from.allowed_ips != to.allowed_ips) {
        for (_, other) in peers.iter_mut().filter(|(key, _)| **key != peer) {
            let left = other.allowed_ips.iter().copied().filter(|prefix| !to.allowed_ips.contains(prefix)).collect();
            *other = Arc::new(other.with(left, other.persistent_keepalive_s));
        }
        peers.insert(peer, Arc::new(to.with(to.allowed_ips.clone(), to.persistent_keepalive_s)));
    } else if let Some(settings) = peers.get_mut(&peer) {
        *settings = Arc::new(to.with(settings.allowed_ips.clone(), to.persistent_keepalive_s));
    }
}

pub(super) fn texts(settings: &Settings) -> Vec<String> {
    settings.allowed_ips.iter().map(ToString::to_string).collect()
}
