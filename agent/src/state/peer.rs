//! What is known of one peer, and what follows from it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ringfort_config::is_source;
use ringfort_core::crypto::PublicKey;

use super::Context;
use super::prefixes::Indexed;
use crate::value::{Owner, Settings};

/// A session that was confirmed this much later than another one's claim is newer, although the clocks of two nodes may
/// differ by a second, as handshakes demand anyway. A peer asks for a session every 5 s at most.
const CLOCKS_MS: i64 = 1_000;

/// What the gateway says of a peer's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Whom.
    pub peer: PublicKey,
    /// The peer is new at the gateway.
    pub is_added: bool,
    /// There is one.
    pub has_session: bool,
    /// A handshake was completed since the gateway last spoke of the peer.
    pub is_confirmed: bool,
    /// When the session was confirmed, as far as is known, in milliseconds since the Unix epoch.
    pub confirmed_ms: i64,
    /// Where the peer is.
    pub endpoint: Option<SocketAddr>,
    /// The address at which it knows us.
    pub source: Option<IpAddr>,
}

/// One entry of the map.
#[derive(Debug, Default)]
pub(super) struct Peer {
    /// etcd has it, be its value good or bad.
    pub(super) is_listed: bool,
    /// In which list it was last seen.
    pub(super) listed_in: u32,
    /// The last good value.
    pub(super) wanted: Option<Arc<Settings>>,
    /// In which revision it was written.
    pub(super) revision: i64,
    /// What the gateway should have of it. The prefixes of later values are theirs, and a keepalive is that of the node
    /// that has the peer.
    pub(super) given: Option<Arc<Settings>>,
    /// The keepalive is kept from the gateway.
    pub(super) is_quiet: bool,
    /// What of it is among the prefixes of all.
    pub(super) indexed: Indexed,
    /// The latest value is a bad one.
    pub(super) is_bad: bool,
    /// It was in etcd at some time while we run.
    pub(super) is_ours: bool,

    /// What the gateway has.
    pub(super) actual: Option<Actual>,
    /// In which list of the gateway's peers it was last seen.
    pub(super) read_in: u32,
    /// A change of it is on its way to the gateway.
    pub(super) is_setting: bool,
    /// The gateway has refused this.
    pub(super) refused: Option<Arc<Settings>>,
    /// The endpoint that the gateway has and the address beside it, as far as they are known.
    pub(super) told: Option<(SocketAddr, Option<IpAddr>)>,

    /// The gateway has a session with it.
    pub(super) session: Option<Session>,
    /// In which list of sessions it was last seen.
    pub(super) heard_in: u32,

    /// Who has claimed it.
    pub(super) claim: Option<Claim>,
    /// The revision of that key, 0 if there is none. It may hold something that is no claim.
    pub(super) claim_revision: i64,
    /// The latest revision of which something was heard.
    pub(super) heard_revision: i64,
    pub(super) claimed_in: u32,
    /// A change of the claim is on its way to etcd.
    pub(super) is_writing: bool,
    /// It was refused because etcd has something else than what we have heard. The watch will bring it.
    pub(super) is_overtaken: bool,
    /// Where others have said that it is.
    pub(super) elsewhere: Option<(SocketAddr, Option<IpAddr>)>,

    /// The other node that it is counted for.
    pub(super) claimant: Option<Arc<str>>,

    /// For whose prefixes there are routes.
    pub(super) routed: Option<Arc<Settings>>,
    /// How it was counted.
    pub(super) counted: Counted,
}

/// The settings of a peer of the gateway.
#[derive(Debug)]
pub(super) struct Actual {
    pub(super) settings: Arc<Settings>,
    /// The endpoint of the value that it was last set to, or first compared with. The peer may have moved since.
    pub(super) configured: Option<SocketAddr>,
}

/// A session of our gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Session {
    /// In milliseconds since the Unix epoch.
    pub(super) confirmed_ms: i64,
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) source: Option<IpAddr>,
    pub(super) standing: Standing,
}

/// Whether the peer is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It was confirmed just now: whoever else has claimed it, we are later.
    Asserted,
    /// It was confirmed at a time when etcd did not hear of it. Times decide who was later.
    Recalled,
    /// Our claim is in etcd.
    Held,
    /// Another node has the peer, until it confirms a session here again.
    Released,
}

/// What etcd has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) owner: Owner,
    pub(super) lease: i64,
}

/// What of a peer is in the sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) is_listed: bool,
    pub(super) is_bad: bool,
    pub(super) is_there: bool,
    pub(super) has_session: bool,
    pub(super) is_owned: bool,
    pub(super) is_claimed: bool,
    pub(super) is_elsewhere: bool,
}

/// One thing that the gateway has to do.
#[derive(Clone, Debug)]
pub struct GatewayOp {
    /// Of whom.
    pub peer: PublicKey,
    /// What.
    pub change: Change,
}

/// What changes on the gateway.
#[derive(Clone, Debug)]
pub enum Change {
    /// It gets these settings. `from` is what it has, if it is there.
    Set {
        /// All of them.
        to: Arc<Settings>,
        /// What need not be said.
        from: Option<Arc<Settings>>,
        /// The endpoint, if it is a new one: else the peer would be moved back to where it was once.
        endpoint: Option<SocketAddr>,
    },
    /// It is a peer no longer.
    Remove,
    /// It is reached there, and knows us by that address.
    Tell(SocketAddr, Option<IpAddr>),
}

/// One key that etcd has to change, if its revision is still that one (0: if it is not there).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimOp {
    /// Whose claim.
    pub peer: PublicKey,
    /// The revision on which this was decided, of the claim as it was heard.
    pub expected: i64,
    /// The latest revision of which something was heard by then, such as that the claim has gone.
    pub heard: i64,
    /// The claim, or `None` to withdraw it.
    pub owner: Option<Owner>,
    /// The lease that the claim is under.
    pub lease: i64,
}

impl Peer {
    /// Who has the peer, after the session or the claim has changed.
    pub(super) fn settle(&mut self, context: &Context) {
        self.elsewhere = match &self.claim {
            Some(claim) if context.is_us(claim) => None,
            Some(Claim { owner, .. }) => place_of(owner).or(self.elsewhere),
            None => self.elsewhere,
        };
        let Some(session) = &mut self.session else { return };
        session.standing = match (&self.claim, session.standing) {
            (Some(claim), _) if context.is_us(claim) => Standing::Held,
            (Some(_), Standing::Asserted) if context.serves() => Standing::Asserted,
            (Some(claim), Standing::Held) if session.confirmed_ms > claim.owner.since_ms + CLOCKS_MS => {
                Standing::Recalled
            }
            // Whoever does not serve asserts nothing.
            (Some(claim), Standing::Asserted | Standing::Recalled) if session.confirmed_ms > claim.owner.since_ms => {
                Standing::Recalled
            }
            (Some(_), _) => Standing::Released,
            (None, Standing::Held) => Standing::Recalled,
            (None, standing) => standing,
        };
    }

    /// What the gateway says of its session.
    pub(super) fn hear(&mut self, heard: &Heard, context: &Context) {
        // An address that it was told may have failed, or the kernel chose another one. It is not told again.
        let knows = |endpoint: SocketAddr| self.told.is_some_and(|(at, source)| at == endpoint && source.is_some());
        if let Some(endpoint) = heard.endpoint.filter(|endpoint| !knows(*endpoint)) {
            self.told = Some((endpoint, heard.source));
        }
        let before = self.session.take();
        if !heard.has_session {
            return;
        }
        let mut session = Session {
            confirmed_ms: heard.confirmed_ms,
            endpoint: heard.endpoint,
            source: heard.source,
            standing: Standing::Recalled,
        };
        match before {
            _ if heard.is_confirmed && context.is_synced => session.standing = Standing::Asserted,
            _ if heard.is_confirmed => {}
            // It was confirmed while the gateway could not tell us.
            Some(before) if heard.confirmed_ms > before.confirmed_ms + CLOCKS_MS => {}
            Some(before) => (session.confirmed_ms, session.standing) = (before.confirmed_ms, before.standing),
            None => {}
        }
        self.session = Some(session);
    }

    /// The peer is ours: it has a session here, and nobody has a later one.
    pub(super) fn is_owned(&self) -> bool {
        self.session.is_some_and(|session| session.standing != Standing::Released)
    }

    /// Another node has it. A gateway that had to keep a session alive would ask for one, and take the peer from that
    /// node, which does the same.
    pub(super) fn must_be_quiet(&self, context: &Context) -> bool {
        self.claim.as_ref().is_some_and(|claim| !context.is_us(claim)) && !self.is_owned()
    }

    /// The prefixes for which there should be routes.
    pub(super) fn wanted_routes(&self, context: &Context) -> Option<&Arc<Settings>> {
        let actual = self.actual.as_ref().map(|actual| &actual.settings);
        let is_ours = self.is_owned() && context.serves() && !self.is_leaving(context);
        self.given.as_ref().or(actual).filter(|_| is_ours)
    }

    /// The gateway should not have it. Until etcd was listed, that is not known of one that we have never heard of.
    fn is_leaving(&self, context: &Context) -> bool {
        !self.is_listed && (self.is_ours || context.knows_wanted && !context.keep_others)
    }

    /// What the gateway has to do for it.
    pub(super) fn gateway_op(&self, context: &Context) -> Option<Change> {
        if !context.may_set() || self.is_setting {
            return None;
        }
        match (self.is_listed, &self.given, &self.actual) {
            (true, Some(given), actual) if !actual.as_ref().is_some_and(|actual| actual.meets(given)) => {
                let is_refused = self.refused.as_ref().is_some_and(|refused| Arc::ptr_eq(refused, given));
                let from = actual.as_ref().map(|actual| actual.settings.clone());
                let configured = actual.as_ref().and_then(|actual| actual.configured);
                let endpoint = given.endpoint.filter(|endpoint| configured != Some(*endpoint));
                (!is_refused).then(|| Change::Set { to: given.clone(), from, endpoint })
            }
            (_, _, Some(_)) if self.is_leaving(context) => Some(Change::Remove),
            (_, _, Some(_)) => self.news_of_endpoint(context).map(|(endpoint, source)| Change::Tell(endpoint, source)),
            _ => None,
        }
    }

    /// A gateway hears where the peers of others are, also those of which it has an older session: it may have to ask
    /// them for one. It does not without a reason, unless it has to keep the peer's session alive itself. That is kept
    /// from it if etcd says so. If its own file does, it does not hear of the peer before that has lost its node.
    fn news_of_endpoint(&self, context: &Context) -> Option<(SocketAddr, Option<IpAddr>)> {
        let settings = self.given.as_ref().or(self.actual.as_ref().map(|actual| &actual.settings));
        let keeps_alive = settings.is_some_and(|settings| settings.persistent_keepalive_s > 0);
        let is_harmless = !context.is_active || !keeps_alive || self.claim.is_none();
        let is_told = |endpoint: SocketAddr, source: Option<IpAddr>| {
            self.told.is_some_and(|(at, own)| at == endpoint && (source.is_none() || own == source))
        };
        self.elsewhere.filter(|(endpoint, source)| is_harmless && !self.is_owned() && !is_told(*endpoint, *source))
    }

    /// What etcd has to do for it.
    pub(super) fn claim_op(&self, peer: &PublicKey, context: &Context) -> Option<ClaimOp> {
        let lease = context.lease.filter(|_| context.is_synced && context.knows_sessions)?;
        if self.is_writing || self.is_overtaken {
            return None;
        }
        let ours = self.claim.as_ref().filter(|claim| context.is_us(claim));
        let session = self.session.filter(|session| session.standing != Standing::Released && context.serves());
        let owner = match (session, ours) {
            (Some(session), ours) => {
                let says_so = |claim: &Claim| {
                    let Claim { owner, lease: under } = claim;
                    *under == lease && owner.endpoint == session.endpoint && owner.source == session.source
                };
                if ours.is_some_and(says_so) {
                    return None;
                }
                Some(Owner {
                    node: context.node.clone(),
                    endpoint: session.endpoint,
                    source: session.source,
                    since_ms: session.confirmed_ms,
                })
            }
            (None, Some(_)) => None,
            (None, None) => return None,
        };
        Some(ClaimOp { peer: *peer, expected: self.claim_revision, heard: self.heard_revision, owner, lease })
    }

    /// Nothing is known of it.
    pub(super) fn is_forgotten(&self) -> bool {
        let is_busy = self.is_setting || self.is_writing;
        !self.is_listed && self.actual.is_none() && self.session.is_none() && self.claim_revision == 0 && !is_busy
    }

    pub(super) fn count(&self, context: &Context) -> Counted {
        let is_ours = self.claim.as_ref().map(|claim| context.is_us(claim));
        Counted {
            is_listed: self.is_listed,
            is_bad: self.is_bad,
            is_there: self.actual.is_some(),
            has_session: self.session.is_some(),
            is_owned: self.is_owned(),
            is_claimed: is_ours == Some(true),
            is_elsewhere: is_ours == Some(false),
        }
    }
}

/// Where another node has a peer, as far as it means anything here. An address on a link is one of that link.
fn place_of(owner: &Owner) -> Option<(SocketAddr, Option<IpAddr>)> {
    let is_on_link = |addr: IpAddr| matches!(addr, IpAddr::V6(addr) if addr.is_unicast_link_local());
    let endpoint = owner.endpoint.filter(|endpoint| !is_on_link(endpoint.ip()))?;
    Some((endpoint, owner.source.filter(is_source)))
}

impl Actual {
    /// Nothing has to be changed to have what is wanted.
    pub(super) fn meets(&self, wanted: &Arc<Settings>) -> bool {
        let is_placed = wanted.endpoint.is_none() || wanted.endpoint == self.configured;
        is_placed && (Arc::ptr_eq(&self.settings, wanted) || self.settings.is_like(wanted))
    }
}
