//! Other nodes: when they come and go, and flows of peers come to other gateways than before.
//!
//! A gateway that dies takes its sessions with it. Its peers still send under them, and the network leads them to other
//! gateways. It may lead peers of gateways that live elsewhere as well: a router that spreads flows over three ways
//! does so in another manner than over two. A gateway asks for new sessions only while it recovers, so it is told to:
//!
//! * **The network has no route to a node any more**, or has one again. Whoever carries routes may notice within
//!   milliseconds what a lease takes seconds to tell.
//! * **A node has no claims any more.** It has died and its lease has run out, or it was drained. Or all of its peers
//!   have gone elsewhere, or have fallen silent. That looks the same, and to ask once too often costs nothing.
//! * **This node begins to take peers**: the network leads some to it that have sessions elsewhere. A gateway that has
//!   just started would ask by itself, and one that was drained would not.
//!
//! Every gateway is told where the peers of others are (`Peer::news_of_endpoint`), or it would not know whom to ask.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::State;

/// What is known of other nodes.
#[derive(Debug, Default)]
pub(super) struct Others {
    /// How many peers each of them has claimed, at least one.
    claims: BTreeMap<Arc<str>, usize>,
    /// Whether there is a route to it, for each that there was one to.
    routed: BTreeMap<Box<str>, bool>,
    /// The gateway has to be told.
    must_recover: bool,
}

impl Others {
    /// A node has claimed one more.
    pub(super) fn claimed(&mut self, node: &str) -> Arc<str> {
        let known = self.claims.get_key_value(node).map(|(known, _)| known.clone());
        let node = known.unwrap_or_else(|| node.into());
        *self.claims.entry(node.clone()).or_default() += 1;
        node
    }

    /// It has one less.
    pub(super) fn unclaimed(&mut self, node: &str) {
        let Some(count) = self.claims.get_mut(node) else { return };
        *count -= 1;
        if *count == 0 {
            self.claims.remove(node);
            self.must_recover = true;
            log::info!("node {node} has no peers any more: whoever still sends to it is asked for a session");
        }
    }
}

impl State {
    /// Whether the network has a route to another node. One that has never had any is not missed.
    pub fn node_route(&mut self, node: &str, is_there: bool) {
        let before = self.others.routed.get(node).copied();
        if before == Some(is_there) || before.is_none() && !is_there {
            return;
        }
        self.others.routed.insert(node.into(), is_there);
        self.others.must_recover = true;
        match is_there {
            true => log::info!("there is a route to node {node}"),
            false => log::warn!("there is no route to node {node} any more: its peers are asked for sessions"),
        }
    }

    /// Nodes that the network has no route to any more.
    pub fn lost(&self) -> impl Iterator<Item = &str> {
        self.others.routed.iter().filter(|(_, is_there)| !**is_there).map(|(node, _)| &**node)
    }

    /// Whether the gateway has to ask for the sessions of another one now. It must be answered by
    /// [`recovered`](Self::recovered).
    pub fn poll_recovery(&mut self) -> bool {
        if self.context.has_gateway && !self.context.is_open {
            // It is back in a moment, perhaps as another process that goes on with its sessions.
            return false;
        }
        // One that begins to serve is asked then.
        std::mem::take(&mut self.others.must_recover) && self.context.is_open && self.context.serves()
    }

    /// This node takes peers from now on.
    pub(super) fn begins_to_serve(&mut self) {
        self.others.must_recover = true;
    }

    /// The gateway does so, or it refuses; `None`: it did not answer.
    pub fn recovered(&mut self, does_so: Option<bool>) {
        self.counts.recoveries_total += u64::from(does_so == Some(true));
        self.others.must_recover |= does_so.is_none();
    }
}
