//! One thing after the other, as it may happen to one node.

mod claims;
mod endpoints;
mod others;
mod peers;

use super::*;
use crate::value::Settings;

const MS: i64 = 1_000_000;
const LEASE: i64 = 7;

/// A node, whose gateway and etcd do what they are told.
struct Node {
    state: State,
    revision: i64,
}

fn key(number: u8) -> PublicKey {
    PublicKey::new([number; 32])
}

fn heard(number: u8, has_session: bool) -> Heard {
    Heard {
        peer: key(number),
        is_added: false,
        has_session,
        is_confirmed: false,
        confirmed_ms: MS,
        endpoint: "192.0.2.1:5".parse().ok(),
        source: None,
    }
}

impl Node {
    fn with(keep_others: bool) -> Self {
        let (node, network) = ("a".to_owned(), "net".to_owned());
        let announce = vec![Prefix::new("192.0.2.1".parse().unwrap(), 32).unwrap()];
        Self { state: State::new(Rules { node, network, keep_others, announce }), revision: 10 }
    }

    /// A node with an active gateway without peers, and an etcd without keys.
    fn ready() -> Self {
        let mut node = Self::with(false);
        node.open(&[]);
        node.begin();
        node
    }

    /// One that leaves peer 9 alone, which the file of its gateway has.
    fn with_one_of_a_file(persistent_keepalive_s: u16) -> Self {
        let mut node = Self::with(true);
        let settings = Settings { persistent_keepalive_s, ..Settings::default() };
        node.open_with([Had { peer: key(9), settings, source: None }]);
        node.begin();
        node
    }

    fn begin(&mut self) {
        self.state.lease(Some(LEASE));
        self.state.etcd_list();
        self.state.etcd_list_ended(10);
        self.state.routes.set_installed([]);
        assert!(self.recovers(), "it begins to take peers");
    }

    /// One that is ready, has peers 1 and 2, and has claimed the first.
    fn with_one_of_two() -> Self {
        let mut node = Self::ready();
        node.put(1, ONE);
        node.put(2, TWO);
        node.set();
        node.confirms(1, MS);
        node.claim();
        node
    }

    /// The gateway is there, and has these peers, without sessions.
    fn open(&mut self, peers: &[u8]) {
        self.open_with(peers.iter().map(|peer| Had { peer: key(*peer), settings: Settings::default(), source: None }));
    }

    fn open_with(&mut self, peers: impl IntoIterator<Item = Had>) {
        self.state.gateway_opened();
        self.state.gateway_has(peers);
        self.state.gateway_has_no_more();
        self.state.gateway_role(true);
        self.state.sessions_complete();
    }

    fn put(&mut self, number: u8, value: &str) {
        self.revision += 1;
        let name = self.state.keys.peer(&key(number));
        self.state.etcd_changes();
        self.state.etcd_put(name.as_bytes(), value.as_bytes(), self.revision, 0);
    }

    /// The same in a list.
    fn lists(&mut self, number: u8, value: &str) {
        let name = self.state.keys.peer(&key(number));
        self.state.etcd_listed(name.as_bytes(), value.as_bytes(), 3, 0);
    }

    fn delete(&mut self, number: u8) {
        self.revision += 1;
        let name = self.state.keys.peer(&key(number));
        self.state.etcd_deleted(name.as_bytes(), self.revision);
    }

    /// Another node claims a peer, or ours does by an earlier agent.
    fn claims(&mut self, number: u8, node: &str, since_ms: i64) {
        self.revision += 1;
        let name = self.state.keys.session(&key(number));
        let value = format!(
            r#"{{"node":"{node}","endpoint":"198.51.100.9:9","source":"192.0.2.100","since":"{}"}}"#,
            jiff::Timestamp::from_millisecond(since_ms).unwrap()
        );
        self.state.etcd_put(name.as_bytes(), value.as_bytes(), self.revision, 99);
    }

    fn unclaims(&mut self, number: u8) {
        self.revision += 1;
        let name = self.state.keys.session(&key(number));
        self.state.etcd_deleted(name.as_bytes(), self.revision);
    }

    fn confirms(&mut self, number: u8, at_ms: i64) {
        self.state.session(&Heard { is_confirmed: true, confirmed_ms: at_ms, ..heard(number, true) });
    }

    /// The gateway does what is asked. What that was, in short.
    fn set(&mut self) -> Vec<String> {
        let ops = self.state.poll_gateway(99);
        self.state.gateway_did(&ops, true);
        ops.iter().map(in_short).collect()
    }

    /// etcd does what is asked.
    fn claim(&mut self) -> Vec<(u8, bool)> {
        let ops = self.state.poll_claims(99);
        self.revision += 1;
        ops.iter().for_each(|op| self.state.claim_done(op, Some(self.revision)));
        ops.iter().map(|op| (op.peer.as_bytes()[0], op.owner.is_some())).collect()
    }

    /// The gateway recovers sessions of others, if it is asked.
    fn recovers(&mut self) -> bool {
        let is_asked = self.state.poll_recovery();
        if is_asked {
            self.state.recovered(Some(true));
        }
        is_asked
    }

    /// The kernel does what is asked. Which routes to peers there are then.
    fn routes(&mut self) -> Vec<String> {
        self.state.routes.poll(99);
        self.state.routes.all().iter().map(ToString::to_string).filter(|route| !route.starts_with("192")).collect()
    }
}

fn in_short(op: &GatewayOp) -> String {
    let peer = op.peer.as_bytes()[0];
    match &op.change {
        Change::Set { from: None, .. } => format!("add {peer}"),
        Change::Set { .. } => format!("change {peer}"),
        Change::Remove => format!("remove {peer}"),
        Change::Tell(endpoint, source) => format!("tell {peer} {endpoint} {source:?}"),
    }
}

const ONE: &str = r#"{"allowed_ips": ["10.0.0.1/32"]}"#;
const TWO: &str = r#"{"allowed_ips": ["10.0.0.2/32"]}"#;
const NONE: &str = r#"{"allowed_ips": []}"#;
/// That of `ONE`.
const PREFIX: &str = "10.0.0.1/32";
