//! What is wanted, what is there, and so what to do. No I/O, no clock: what happened comes in, what to do goes out.
//!
//! ```text
//!   etcd: peers, claims ──►┌─────────────────────────┐──► poll_gateway: changes of peers, for the control socket
//!   gateway: peers,        │ State: one entry a peer │──► poll_claims:  who is ours, for etcd
//!            sessions   ──►└─────────────────────────┘──► routes.poll:  for the kernel
//! ```
//!
//! **What is asked for is what differs.** Whatever happens to a peer, its entry is looked at as a whole. What it wants
//! from the gateway, from etcd and from the kernel is compared with what each of them has. So a list after an outage is
//! nothing special: it changes entries, and those that do not differ cause nothing.
//!
//! **A peer belongs to the node that it confirmed a session with last.** Each node claims a peer when that is
//! confirmed, and writes the claim over any other. Whoever sees another's claim over its own releases the route. So the
//! order in which etcd has them decides. A claim that could not be written at once may not do that: it is compared by
//! time with what others have claimed meanwhile (`Standing` in `peer.rs`).
//!
//! **A prefix belongs to the peer whose value was written last.** The gateway moves prefixes by itself, in the order in
//! which peers are set, so it is never asked for the same one twice (`prefixes.rs`).
//!
//! **When nodes come and go, peers come to other gateways**, and know nothing of it. They are asked for sessions there
//! (`others.rs`).
//!
//! **A write names the revision that it was decided on.** If etcd has another one by then, it is refused. The watch
//! brings what was missed, and it is decided anew.

mod etcd;
mod gateway;
mod others;
mod peer;
mod prefixes;
#[cfg(test)]
mod random_tests;
mod routes;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use ringfort_core::allowed_ips::Prefix;
use ringfort_core::crypto::PublicKey;

use crate::keys::Keys;
use others::Others;
use peer::{Claim, Counted, Peer};
use prefixes::Prefixes;

pub use gateway::Had;
pub use peer::{Change, ClaimOp, GatewayOp, Heard};
pub use routes::{RouteOps, Routes};

/// What was decided by whoever runs the agent.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The name of this node, which no other one has.
    pub node: String,
    /// The network whose peers these are.
    pub network: String,
    /// Peers of the gateway that were never in etcd while we run stay.
    pub keep_others: bool,
    /// Prefixes for which there is a route as long as this node serves.
    pub announce: Vec<Prefix>,
}

/// Everything that is known.
#[derive(Debug)]
pub struct State {
    keys: Keys,
    context: Context,
    announce: Vec<Prefix>,
    is_announced: bool,
    peers: BTreeMap<PublicKey, Peer>,
    /// Who may have something to do for the gateway, and for etcd.
    for_gateway: BTreeSet<PublicKey>,
    for_etcd: BTreeSet<PublicKey>,
    /// The number of the current list of each kind.
    etcd_list: u32,
    gateway_list: u32,
    session_list: u32,
    listed_now: usize,
    /// Lines about values that this list may still write.
    complaints_left: usize,
    others: Others,
    prefixes: Prefixes,
    /// The routes.
    pub routes: Routes,
    counts: Counts,
}

/// What is the same for all peers.
#[derive(Debug)]
struct Context {
    node: Box<str>,
    keep_others: bool,
    /// The connection to the gateway is there, and its peers were read.
    is_open: bool,
    /// It serves its peers, rather than to stand by.
    is_active: bool,
    /// It is known who has a session: all were listed, or there is no gateway.
    knows_sessions: bool,
    /// There is a gateway, as far as is known.
    has_gateway: bool,
    is_draining: bool,
    /// A list of etcd was read to its end, ever.
    was_listed: bool,
    /// So it was, and it had peers: whom it does not have is not wanted.
    knows_wanted: bool,
    /// What etcd has is known, up to what is on its way.
    is_synced: bool,
    lease: Option<i64>,
}

/// Sums over all peers, and over time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Peers in etcd.
    pub listed: usize,
    /// Of these, the ones whose latest value is bad.
    pub bad: usize,
    /// Peers of the gateway.
    pub peers: usize,
    /// Peers with a session here.
    pub sessions: usize,
    /// Of these, the ones that no other node has.
    pub owned: usize,
    /// Peers that etcd says this node has.
    pub claimed: usize,
    /// Peers that etcd says another node has.
    pub elsewhere: usize,
    /// Bad values so far, keys that are none among them.
    pub bad_values_total: u64,
    /// Changes that the gateway has carried out so far.
    pub changes_total: u64,
    /// Changes that it has refused so far.
    pub refused_total: u64,
    /// Claims written and withdrawn so far.
    pub claims_total: u64,
    /// Claims that found a newer one so far.
    pub conflicts_total: u64,
    /// Lists of etcd that were read to their end so far.
    pub lists_total: u64,
    /// How often the gateway was asked to recover sessions of other nodes so far.
    pub recoveries_total: u64,
}

impl Context {
    fn is_us(&self, claim: &Claim) -> bool {
        claim.owner.node == self.node
    }

    /// This node takes peers.
    fn serves(&self) -> bool {
        self.has_gateway && self.is_active && !self.is_draining
    }

    /// In the middle of the first list, a peer would get a prefix that another one has by a value that is yet to come.
    fn may_set(&self) -> bool {
        self.is_open && self.was_listed
    }
}

impl State {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        let context = Context {
            node: rules.node.into(),
            keep_others: rules.keep_others,
            is_open: false,
            is_active: false,
            knows_sessions: false,
            has_gateway: false,
            is_draining: false,
            was_listed: false,
            knows_wanted: false,
            is_synced: false,
            lease: None,
        };
        Self {
            keys: Keys::of(&rules.network),
            context,
            announce: rules.announce,
            is_announced: false,
            peers: BTreeMap::new(),
            for_gateway: BTreeSet::new(),
            for_etcd: BTreeSet::new(),
            etcd_list: 0,
            gateway_list: 0,
            session_list: 0,
            listed_now: 0,
            complaints_left: 0,
            others: Others::default(),
            prefixes: Prefixes::default(),
            routes: Routes::default(),
            counts: Counts::default(),
        }
    }

    /// Gives all peers away, and takes none, or takes them again.
    pub fn drain(&mut self, yes: bool) {
        self.context.is_draining = yes;
        self.look_at_all();
    }

    /// Whether it does that.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.context.is_draining
    }

    /// Whether the gateway is there, whether it serves its peers, and whether etcd is followed.
    #[must_use]
    pub fn links(&self) -> (bool, bool, bool) {
        (self.context.has_gateway, self.context.is_active, self.context.is_synced)
    }

    /// The connection to the gateway is there, and its peers were read.
    #[must_use]
    pub fn is_gateway_open(&self) -> bool {
        self.context.is_open
    }

    /// The sums.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The peers that have a session here which no other node has, up to `max` of them.
    pub fn owned(&self, max: usize) -> impl Iterator<Item = &PublicKey> {
        self.peers.iter().filter(|(_, peer)| peer.is_owned()).map(|(key, _)| key).take(max)
    }

    /// Nothing is left to do, and nothing on its way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let is_busy = |peer: &Peer| peer.is_setting || peer.is_writing;
        self.for_gateway.is_empty() && self.for_etcd.is_empty() && !self.peers.values().any(is_busy)
    }

    /// Changes an entry, and looks at what follows.
    fn change(&mut self, key: PublicKey, change: impl FnOnce(&mut Peer, &Context)) {
        change(self.peers.entry(key).or_default(), &self.context);
        self.look_at(&key);
    }

    /// Finds out what an entry needs now, and those that share prefixes with it.
    fn look_at(&mut self, key: &PublicKey) {
        let others = self.share(key);
        std::iter::once(key).chain(&others).for_each(|key| self.look_at_one(key));
    }

    fn look_at_one(&mut self, key: &PublicKey) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.settle(&self.context);
        let is_quiet = peer.must_be_quiet(&self.context);
        if std::mem::replace(&mut peer.is_quiet, is_quiet) != is_quiet {
            self.give(key);
        }
        let Some(peer) = self.peers.get_mut(key) else { return };
        let routed = peer.wanted_routes(&self.context).cloned();
        if routed.as_ref().map(std::sync::Arc::as_ptr) != peer.routed.as_ref().map(std::sync::Arc::as_ptr) {
            for prefix in routed.iter().flat_map(|settings| &settings.allowed_ips).filter(|prefix| !prefix.is_empty()) {
                self.routes.want(*prefix);
            }
            let before = std::mem::replace(&mut peer.routed, routed);
            for prefix in before.iter().flat_map(|settings| &settings.allowed_ips).filter(|prefix| !prefix.is_empty()) {
                self.routes.unwant(*prefix);
            }
        }
        let claimant = peer.claim.as_ref().filter(|claim| !self.context.is_us(claim)).map(|claim| &*claim.owner.node);
        if claimant != peer.claimant.as_deref() {
            let claimant = claimant.map(|node| self.others.claimed(node));
            if let Some(before) = std::mem::replace(&mut peer.claimant, claimant) {
                self.others.unclaimed(&before);
            }
        }
        let now = peer.count(&self.context);
        self.counts.change(std::mem::replace(&mut peer.counted, now), now);
        if peer.gateway_op(&self.context).is_some() {
            self.for_gateway.insert(*key);
        }
        if peer.claim_op(key, &self.context).is_some() {
            self.for_etcd.insert(*key);
        }
        if peer.is_forgotten() {
            self.peers.remove(key);
        }
    }

    /// Something has changed that concerns all.
    fn look_at_all(&mut self) {
        let keys: Vec<PublicKey> = self.peers.keys().copied().collect();
        keys.iter().for_each(|key| self.look_at(key));
        let serves = self.context.serves();
        if serves != self.is_announced {
            self.is_announced = serves;
            if serves {
                self.begins_to_serve();
            }
            for prefix in &self.announce {
                if serves { self.routes.want(*prefix) } else { self.routes.unwant(*prefix) }
            }
        }
        self.routes.allow_removal(self.context.knows_sessions);
    }

    /// Changes all entries for which that is so.
    fn change_those(&mut self, is_one: impl Fn(&Peer) -> bool, change: impl Fn(&mut Peer)) {
        let keys: Vec<PublicKey> = self.peers.iter().filter(|(_, peer)| is_one(peer)).map(|(key, _)| *key).collect();
        for key in keys {
            self.change(key, |peer, _| change(peer));
        }
    }
}

impl Counts {
    fn change(&mut self, before: Counted, now: Counted) {
        let change = |sum: &mut usize, before: bool, now: bool| *sum = *sum + usize::from(now) - usize::from(before);
        change(&mut self.listed, before.is_listed, now.is_listed);
        change(&mut self.bad, before.is_bad, now.is_bad);
        change(&mut self.peers, before.is_there, now.is_there);
        change(&mut self.sessions, before.has_session, now.has_session);
        change(&mut self.owned, before.is_owned, now.is_owned);
        change(&mut self.claimed, before.is_claimed, now.is_claimed);
        change(&mut self.elsewhere, before.is_elsewhere, now.is_elsewhere);
    }
}
