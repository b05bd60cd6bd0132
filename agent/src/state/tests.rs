//! One thing after the other, as it may happen to one node.

use super::*;

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
        node.state.lease(Some(LEASE));
        node.state.etcd_list();
        node.state.etcd_list_ended(10);
        node.state.routes.set_installed([]);
        node
    }

    /// The gateway is there, and has these peers, without sessions.
    fn open(&mut self, peers: &[u8]) {
        self.state.gateway_opened();
        self.state.gateway_has(peers.iter().map(|peer| Had { peer: key(*peer), settings: Default::default() }));
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

#[test]
fn peers_follow_etcd() {
    let mut node = Node::ready();
    node.put(1, ONE);
    assert_eq!(node.set(), ["add 1"]);
    node.put(1, TWO);
    // While the one change is on its way, there is a second.
    let ops = node.state.poll_gateway(9);
    node.put(1, ONE);
    assert!(node.state.poll_gateway(9).is_empty());
    node.state.gateway_did(&ops, true);
    assert_eq!(node.set(), ["change 1"]);
    node.put(1, ONE);
    assert!(node.set().is_empty(), "nothing differs");
    node.delete(1);
    assert_eq!(node.set(), ["remove 1"]);
    assert!(node.state.peers.is_empty(), "and is forgotten");
    assert_eq!(node.state.counts().changes_total, 4);
}

#[test]
fn a_bad_value_changes_nothing_and_is_counted() {
    let mut node = Node::ready();
    node.put(1, ONE);
    node.put(2, "{}");
    assert_eq!(node.set(), ["add 1"]);
    node.put(1, r#"{"allowed_ips": ["10.0.0.1/99"]}"#);
    assert!(node.set().is_empty(), "it stays as it was");
    assert_eq!((node.state.counts().bad, node.state.counts().bad_values_total, node.state.counts().listed), (2, 2, 2));
    node.put(1, TWO);
    node.put(2, TWO);
    assert_eq!(node.set(), ["change 1", "add 2"]);
    assert_eq!(node.state.counts().bad, 0);
    node.state.etcd_put(b"/ringfort/net/peers/laptop", ONE.as_bytes(), 99, 0);
    assert_eq!((node.state.counts().bad_values_total, node.state.counts().listed), (3, 2));
}

#[test]
fn what_the_gateway_refuses_is_asked_once() {
    let mut node = Node::ready();
    node.put(1, ONE);
    let ops = node.state.poll_gateway(9);
    node.state.gateway_did(&ops, false);
    assert!(node.set().is_empty());
    assert_eq!(node.state.counts().refused_total, 1);
    node.put(1, TWO);
    assert_eq!(node.set(), ["add 1"]);
}

#[test]
fn a_list_is_a_difference() {
    let mut node = Node::ready();
    node.put(1, ONE);
    node.put(2, TWO);
    assert_eq!(node.set(), ["add 1", "add 2"]);
    node.state.etcd_lost();
    node.state.etcd_list();
    node.lists(1, ONE);
    node.lists(3, ONE);
    assert_eq!(node.set(), ["add 3"], "nothing is removed before the list has ended");
    node.state.etcd_list_ended(40);
    assert_eq!(node.set(), ["remove 2"]);
    node.state.etcd_lost();
    node.state.etcd_list();
    node.state.etcd_list_ended(50);
    assert!(node.set().is_empty(), "an etcd without any peer is a mistake");
    node.delete(1);
    assert_eq!(node.set(), ["remove 1"], "and one that is removed is not");
}

#[test]
fn a_gateway_that_starts_anew_gets_what_differs() {
    let mut node = Node::ready();
    node.put(1, ONE);
    node.put(2, r#"{"allowed_ips": []}"#);
    assert_eq!(node.set(), ["add 1", "add 2"]);
    node.confirms(1, MS);
    assert_eq!((node.claim(), node.routes()), (vec![(1, true)], vec!["10.0.0.1/32".to_owned()]));
    // It has another peer, and lacks one.
    node.state.gateway_closed();
    assert!(node.claim().is_empty() && node.routes().len() == 1, "nothing is given up so soon");
    node.open(&[2, 9]);
    assert_eq!(node.set(), ["add 1", "remove 9"]);
    assert_eq!((node.claim(), node.routes()), (vec![(1, false)], vec![]));
    // And this one does not come back.
    node.confirms(1, MS);
    assert_eq!((node.claim(), node.routes().len()), (vec![(1, true)], 1));
    node.state.gateway_closed();
    node.state.gateway_lost();
    assert_eq!((node.claim(), node.routes()), (vec![(1, false)], vec![]));
    assert_eq!(node.state.counts().peers, 0);
}

#[test]
fn peers_that_etcd_never_had_may_stay() {
    let mut node = Node::with(true);
    node.open(&[1, 2]);
    node.state.etcd_list();
    node.lists(3, ONE);
    node.state.etcd_list_ended(20);
    assert_eq!(node.set(), ["add 3"]);
    node.put(1, r#"{"allowed_ips": []}"#);
    node.delete(1);
    assert_eq!(node.set(), ["remove 1"], "it was etcd's for a moment");
    let mut node = Node::with(false);
    node.open(&[1, 2]);
    assert!(node.set().is_empty(), "etcd was not heard yet");
    node.state.etcd_list();
    node.lists(2, r#"{"allowed_ips": []}"#);
    node.state.etcd_list_ended(20);
    assert_eq!(node.set(), ["remove 1"]);
}

#[test]
fn the_last_who_confirms_has_the_peer() {
    let mut node = Node::ready();
    node.put(1, ONE);
    node.set();
    node.state.session(&heard(1, false));
    assert!(node.claim().is_empty(), "no session, no claim");
    node.confirms(1, MS);
    assert_eq!(node.routes().len(), 1, "the route does not wait for etcd");
    assert_eq!(node.claim(), [(1, true)]);
    node.confirms(1, MS + 120_000);
    assert!(node.claim().is_empty(), "a new key changes nothing");
    node.claims(1, "b", MS + 121_000);
    assert!(node.routes().is_empty() && node.claim().is_empty(), "released");
    assert_eq!((node.state.counts().sessions, node.state.counts().owned), (1, 0));
    node.unclaims(1);
    assert!(node.routes().is_empty() && node.claim().is_empty(), "an old session is no reason");
    node.claims(1, "b", MS + 121_000);
    // Whatever the clock of the other says.
    node.confirms(1, MS + 120_500);
    assert_eq!((node.routes().len(), node.claim()), (1, vec![(1, true)]));
    node.state.session(&heard(1, false));
    assert_eq!((node.routes(), node.claim()), (vec![], vec![(1, false)]));
}

#[test]
fn a_claim_that_was_late_is_compared_by_time() {
    for (theirs, is_ours) in [(MS - 5_000, true), (MS + 5_000, false)] {
        let mut node = Node::ready();
        node.put(1, ONE);
        node.set();
        node.state.etcd_lost();
        node.confirms(1, MS);
        assert_eq!(node.routes().len(), 1, "the tunnel does not wait");
        node.state.etcd_list();
        let (peer, session) = (node.state.keys.peer(&key(1)), node.state.keys.session(&key(1)));
        node.state.etcd_listed(peer.as_bytes(), ONE.as_bytes(), 3, 0);
        let other = crate::value::Owner { node: "b".into(), endpoint: None, source: None, since_ms: theirs };
        node.state.etcd_listed(session.as_bytes(), &other.to_json(), 12, 99);
        node.state.etcd_list_ended(20);
        let claims = if is_ours { vec![(1, true)] } else { vec![] };
        assert_eq!((node.claim(), node.routes().len()), (claims, usize::from(is_ours)));
    }
}

#[test]
fn a_late_claim_of_another_does_not_take_a_peer_that_confirmed_here_since() {
    let mut node = Node::ready();
    node.put(1, ONE);
    node.set();
    node.confirms(1, MS);
    node.claim();
    node.confirms(1, MS + 120_000);
    // It could not write for a minute.
    node.claims(1, "b", MS + 60_000);
    assert_eq!((node.claim(), node.routes().len()), (vec![(1, true)], 1));
}

#[test]
fn a_new_lease_has_all_claims_again() {
    let mut node = Node::ready();
    node.put(1, ONE);
    node.set();
    node.confirms(1, MS);
    node.claim();
    node.unclaims(1);
    assert_eq!((node.claim(), node.routes().len()), (vec![(1, true)], 1), "the lease has run out");
    node.state.etcd_lost();
    node.state.lease(Some(LEASE + 1));
    node.state.etcd_list();
    let (peer, session) = (node.state.keys.peer(&key(1)), node.state.keys.session(&key(1)));
    node.state.etcd_listed(peer.as_bytes(), ONE.as_bytes(), 3, 0);
    let ours =
        crate::value::Owner { node: "a".into(), endpoint: "192.0.2.1:5".parse().ok(), source: None, since_ms: MS };
    node.state.etcd_listed(session.as_bytes(), &ours.to_json(), 12, LEASE);
    node.state.etcd_list_ended(40);
    let ops = node.state.poll_claims(9);
    assert_eq!((ops.len(), ops[0].lease, ops[0].expected), (1, LEASE + 1, 12), "it is still under the old one");
}

#[test]
fn what_was_overtaken_waits_for_the_watch() {
    let mut node = Node::ready();
    node.put(1, ONE);
    node.set();
    node.confirms(1, MS);
    let ops = node.state.poll_claims(9);
    node.state.claim_done(&ops[0], None);
    assert!(node.state.poll_claims(9).is_empty(), "not again, before it is known why");
    node.claims(1, "b", MS);
    assert_eq!(node.claim(), [(1, true)], "we have confirmed since");
    // What the watch brings of our own write is older than its answer.
    node.state.etcd_put(node.state.keys.session(&key(1)).clone().as_bytes(), b"junk", node.revision - 1, 0);
    assert_eq!(node.state.counts().claimed, 1);
}

#[test]
fn claims_of_an_earlier_run_are_taken_up_or_withdrawn() {
    let mut node = Node::with(false);
    node.state.lease(Some(LEASE));
    node.state.etcd_list();
    for number in [1, 2] {
        node.lists(number, if number == 1 { ONE } else { TWO });
        let name = node.state.keys.session(&key(number));
        let ours = r#"{"node":"a","endpoint":null,"source":null,"since":"2026-01-01T00:00:00Z"}"#;
        node.state.etcd_listed(name.as_bytes(), ours.as_bytes(), 5, 3);
    }
    node.state.etcd_list_ended(20);
    node.revision = 20;
    assert!(node.claim().is_empty(), "the gateway was not heard yet");
    node.state.gateway_opened();
    node.state.gateway_has_no_more();
    node.state.gateway_role(true);
    node.state.session(&heard(1, true));
    assert_eq!(node.set(), ["add 1", "add 2"]);
    node.state.routes.set_installed([Prefix::new("10.0.0.7".parse().unwrap(), 32).unwrap()]);
    assert_eq!(node.routes().len(), 2, "nobody says yet that the old one is of no use");
    node.state.sessions_complete();
    assert_eq!(node.claim(), [(1, true), (2, false)]);
    assert_eq!(node.routes(), ["10.0.0.1/32"]);
}

#[test]
fn a_drained_node_gives_away_and_takes_nothing() {
    let mut node = Node::ready();
    node.put(1, ONE);
    node.put(2, TWO);
    node.set();
    node.confirms(1, MS);
    node.claim();
    node.state.drain(true);
    assert_eq!((node.claim(), node.routes()), (vec![(1, false)], vec![]));
    node.confirms(2, MS);
    assert_eq!((node.claim(), node.routes()), (vec![], vec![]));
    assert_eq!(node.state.counts().owned, 2, "they are nowhere else");
    node.claims(1, "b", MS + 5_000);
    assert_eq!(node.state.owned(9).collect::<Vec<_>>(), [&key(2)]);
    node.confirms(1, MS + 10_000);
    assert_eq!((node.claim(), node.state.counts().owned), (vec![], 2), "it has come back, and is not taken");
    node.claims(1, "b", MS + 15_000);
    node.state.drain(false);
    assert_eq!((node.claim(), node.routes()), (vec![(2, true)], vec!["10.0.0.2/32".to_owned()]));
}

#[test]
fn whoever_stands_by_is_told_where_peers_are() {
    let mut node = Node::ready();
    node.put(1, ONE);
    node.set();
    node.claims(1, "b", MS);
    assert!(node.set().is_empty(), "one that serves does not ask for a peer of another");
    node.state.gateway_role(false);
    let told = "tell 1 198.51.100.9:9 Some(192.0.2.100)";
    assert_eq!(node.set(), [told]);
    node.claims(1, "b", MS);
    assert!(node.set().is_empty(), "once");
    node.state.gateway_role(true);
    node.unclaims(1);
    assert!(node.set().is_empty());

    let mut node = Node::ready();
    node.put(1, ONE);
    node.set();
    node.claims(1, "b", MS);
    node.unclaims(1);
    assert_eq!(node.set(), [told], "nobody has it any more: whoever gets a packet for it asks");
    node.confirms(1, MS);
    node.claim();
    node.state.session(&heard(1, false));
    node.claim();
    assert!(node.set().is_empty(), "the gateway knows better");
}

#[test]
fn announced_prefixes_are_there_as_long_as_the_node_serves() {
    let mut node = Node::ready();
    let is_there = |node: &mut Node| {
        node.state.routes.poll(9);
        node.state.routes.installed() == 1
    };
    assert!(is_there(&mut node));
    node.state.gateway_role(false);
    assert!(!is_there(&mut node));
    node.state.gateway_role(true);
    node.state.drain(true);
    assert!(!is_there(&mut node));
    node.state.drain(false);
    assert!(is_there(&mut node));
    node.state.gateway_lost();
    assert!(!is_there(&mut node));
}
