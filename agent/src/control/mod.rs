//! `ringfort-agent status`, `drain` and `resume`: a socket of the agent, and its clients.
//!
//! A client writes one word and a line feed. The answer is the status, as a line of JSON. After `drain`, one more
//! follows whenever the number of peers that are left has changed.

pub mod client;
pub mod server;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// How it is.
    Status,
    /// Give all peers away.
    Drain,
    /// Take peers again.
    Resume,
}

/// Public keys in a status.
pub const KEYS_MAX: usize = 1_000;

/// What the agent knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The interface that the gateway serves.
    pub interface: String,
    /// The network.
    pub network: String,
    /// The name of this node.
    pub node: String,
    /// `active`, `passive`, or `absent`.
    pub gateway: String,
    /// The member of etcd that is followed; `None` if there is none.
    pub etcd: Option<String>,
    /// No peers are taken.
    pub draining: bool,
    /// Peers in etcd.
    pub peers_listed: usize,
    /// Of these, those with a value that is refused.
    pub peers_bad: usize,
    /// Peers of the gateway.
    pub peers: usize,
    /// Peers with a session here.
    pub sessions: usize,
    /// Of these, those that no other node has.
    pub owned: usize,
    /// Peers that etcd says this node has.
    pub claimed: usize,
    /// Peers that etcd says another node has.
    pub claimed_elsewhere: usize,
    /// Routes of ours in the kernel.
    pub routes: usize,
    /// Nodes that the network has no route to any more.
    pub nodes_lost: Vec<String>,
    /// Sums since the agent has started.
    pub totals: Totals,
    /// The owned ones, at most [`KEYS_MAX`] of them.
    pub owned_peers: Vec<String>,
}

/// Sums since the agent has started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Values that were refused.
    pub bad_values: u64,
    /// Changes that the gateway has carried out.
    pub gateway_changes: u64,
    /// Changes that it has refused.
    pub gateway_refusals: u64,
    /// Claims written and withdrawn.
    pub claims: u64,
    /// Claims that found a newer one.
    pub claim_conflicts: u64,
    /// Lists of etcd.
    pub etcd_lists: u64,
    /// Connections to etcd that have ended.
    pub etcd_losses: u64,
    /// Routes that the kernel has refused.
    pub route_refusals: u64,
    /// Times that the gateway was asked to recover sessions of nodes that were gone.
    pub recoveries: u64,
}

impl Request {
    const ALL: [(Self, &'static str); 3] = [(Self::Status, "status"), (Self::Drain, "drain"), (Self::Resume, "resume")];

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(request, _)| *request == self).map_or("", |(_, word)| word)
    }

    /// What a word asks for.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == word).map(|(request, _)| *request)
    }
}

/// Where the agent of this interface listens.
#[must_use]
pub fn socket_path(interface: &str) -> PathBuf {
    PathBuf::from(format!("/run/ringfort/{interface}.agent.sock"))
}
