//! What the agent says of itself.

use ringfort_config::key_text::encode;

use super::Agent;
use crate::control::{KEYS_MAX, Status, Totals};

impl Agent {
    /// As it is now.
    pub(super) fn status(&self) -> Status {
        let counts = self.state.counts();
        let (has_gateway, is_active, is_synced) = self.state.links();
        let gateway = match (has_gateway, is_active) {
            (false, _) => "absent",
            (true, true) => "active",
            (true, false) => "passive",
        };
        Status {
            interface: self.args.interface.clone(),
            network: self.args.network.clone(),
            node: self.node.clone(),
            gateway: gateway.to_owned(),
            etcd: self.member.clone().filter(|_| is_synced),
            draining: self.state.is_draining(),
            peers_listed: counts.listed,
            peers_bad: counts.bad,
            peers: counts.peers,
            sessions: counts.sessions,
            owned: counts.owned,
            claimed: counts.claimed,
            claimed_elsewhere: counts.elsewhere,
            routes: self.state.routes.installed(),
            nodes_lost: self.state.lost().map(str::to_owned).collect(),
            totals: Totals {
                bad_values: counts.bad_values_total,
                gateway_changes: counts.changes_total,
                gateway_refusals: counts.refused_total,
                claims: counts.claims_total,
                claim_conflicts: counts.conflicts_total,
                etcd_lists: counts.lists_total,
                recoveries: counts.recoveries_total,
                ..self.totals
            },
            owned_peers: self.state.owned(KEYS_MAX).map(encode).collect(),
        }
    }
}
