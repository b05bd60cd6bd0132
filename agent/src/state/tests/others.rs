//! Other nodes, and those of them that are gone.

use super::*;

const TOLD: &str = "tell 1 198.51.100.9:9 Some(192.0.2.100)";

#[test]
fn a_gateway_is_told_where_peers_of_others_are() {
    for is_active in [true, false] {
        let mut node = Node::ready();
        node.put(1, ONE);
        node.set();
        node.state.gateway_role(is_active);
        node.claims(1, "b", MS);
        assert_eq!(node.set(), [TOLD]);
        node.claims(1, "b", MS);
        assert!(node.set().is_empty(), "once");
        node.state.gateway_role(!is_active);
        node.unclaims(1);
        assert!(node.set().is_empty());
        node.state.gateway_role(true);
        node.confirms(1, MS);
        node.claim();
        node.state.session(&heard(1, false));
        node.claim();
        assert!(node.set().is_empty(), "the gateway knows better");
    }
}

#[test]
fn a_gateway_that_knows_where_a_peer_is_hears_by_which_address_that_knows_us() {
    let mut node = Node::ready();
    node.put(1, r#"{"allowed_ips": [], "endpoint": "198.51.100.9:9"}"#);
    assert_eq!(node.set(), ["add 1"]);
    node.claims(1, "b", MS);
    assert_eq!(node.set(), [TOLD]);
    // It says that it was told, and perhaps that it cannot send from that address.
    node.state.session(&Heard { endpoint: "198.51.100.9:9".parse().ok(), ..heard(1, false) });
    assert!(node.set().is_empty(), "once");
    for (source, told) in [("192.0.2.100", vec![]), ("192.0.2.7", vec![TOLD]), ("", vec![TOLD])] {
        node.state.gateway_closed();
        let settings = Settings { endpoint: "198.51.100.9:9".parse().ok(), ..Settings::default() };
        node.open_with([Had { peer: key(1), settings, source: source.parse().ok() }]);
        assert_eq!(node.set(), told, "it has {source:?}");
    }
}

/// Else it would be set back to its endpoint, and told of again, for ever.
#[test]
fn where_a_peer_is_that_the_gateway_does_not_take_is_told_once() {
    let mut node = Node::ready();
    node.put(1, r#"{"allowed_ips": [], "endpoint": "198.51.100.7:7"}"#);
    node.set();
    node.claims(1, "b", MS);
    let ops = node.state.poll_gateway(9);
    node.state.gateway_did(&ops, false);
    assert!(ops.len() == 1 && node.set().is_empty());
    node.state.gateway_closed();
    let settings = Settings { endpoint: "198.51.100.7:7".parse().ok(), ..Settings::default() };
    node.open_with([Had { peer: key(1), settings, source: None }]);
    assert_eq!(node.set(), [TOLD], "another gateway may take it");
}

/// Who is on the link of one node is not on that of the others.
#[test]
fn addresses_on_a_link_are_told_to_no_other_node() {
    for (endpoint, source, told) in [
        ("[fe80::1%2]:7", "fe80::2", vec![]),
        ("198.51.100.9:9", "fe80::2", vec!["tell 1 198.51.100.9:9 None"]),
        ("[2001:db8::9]:9", "2001:db8::1", vec!["tell 1 [2001:db8::9]:9 Some(2001:db8::1)"]),
    ] {
        let mut node = Node::ready();
        node.put(1, ONE);
        node.set();
        let (endpoint, source) = (endpoint.parse().ok(), source.parse().ok());
        assert!(endpoint.is_some() && source.is_some());
        let owner = crate::value::Owner { node: "b".into(), endpoint, source, since_ms: MS };
        let name = node.state.keys.session(&key(1));
        node.revision += 1;
        node.state.etcd_put(name.as_bytes(), &owner.to_json(), node.revision, 99);
        assert_eq!(node.set(), told);
    }
}

#[test]
fn a_session_is_kept_alive_by_the_gateway_that_has_it_and_by_all_if_nobody_has() {
    let keepalive_s = |node: &mut Node| {
        let ops = node.state.poll_gateway(9);
        node.state.gateway_did(&ops, true);
        let [GatewayOp { change: Change::Set { to, .. }, .. }] = &ops[..] else { panic!("{ops:?}") };
        to.persistent_keepalive_s
    };
    // With an endpoint, or without one until it is told.
    for place in ["", r#", "endpoint": "198.51.100.7:7""#] {
        let mut node = Node::ready();
        node.put(1, &format!(r#"{{"allowed_ips": [], "persistent_keepalive": 25{place}}}"#));
        assert_eq!(keepalive_s(&mut node), 25);
        node.claims(1, "b", MS);
        assert_eq!(keepalive_s(&mut node), 0, "it would ask for one at once, and again and again");
        assert_eq!(node.set(), [TOLD]);
        node.unclaims(1);
        assert_eq!(keepalive_s(&mut node), 25);
        node.claims(1, "b", MS);
        assert_eq!(keepalive_s(&mut node), 0);
        node.confirms(1, MS + 5_000);
        assert_eq!(keepalive_s(&mut node), 25, "it is ours, and etcd hears of it");
        node.claim();
        assert!(node.set().is_empty());

        // The gateway has it so when the agent starts.
        let settings = Settings { persistent_keepalive_s: 25, ..Settings::default() };
        let mut node = Node::with(false);
        node.open_with([Had { peer: key(1), settings, source: None }]);
        node.state.etcd_list();
        node.lists(1, r#"{"allowed_ips": [], "persistent_keepalive": 25}"#);
        let other = crate::value::Owner { node: "b".into(), endpoint: None, source: None, since_ms: MS };
        let name = node.state.keys.session(&key(1));
        node.state.etcd_listed(name.as_bytes(), &other.to_json(), 4, 99);
        node.state.etcd_list_ended(node.revision);
        assert_eq!(keepalive_s(&mut node), 0);
    }
}

#[test]
fn a_gateway_whose_keepalives_are_of_its_own_file_is_told_of_peers_that_nobody_has() {
    let mut node = Node::with_one_of_a_file(25);
    node.claims(9, "b", MS);
    assert!(node.set().is_empty(), "it would ask for a session at once, and take the peer");
    node.unclaims(9);
    assert_eq!(node.set(), ["tell 9 198.51.100.9:9 Some(192.0.2.100)"]);
}

#[test]
fn a_node_that_has_lost_its_last_claim_leaves_peers_to_be_asked_for() {
    let mut node = Node::ready();
    node.put(1, ONE);
    node.put(2, TWO);
    node.set();
    node.claims(1, "b", MS);
    node.claims(2, "b", MS);
    node.unclaims(1);
    assert!(!node.recovers(), "a peer has fallen silent");
    node.claims(1, "b", MS);
    // Its lease has run out.
    node.unclaims(1);
    node.unclaims(2);
    assert!(node.recovers());
    assert!(!node.recovers(), "once");
    assert_eq!(node.state.counts().recoveries_total, 2, "with that of the beginning");

    // The same in a list, after nothing was heard of etcd.
    node.claims(1, "b", MS);
    node.state.etcd_lost();
    node.state.etcd_list();
    node.lists(1, ONE);
    node.lists(2, TWO);
    node.state.etcd_list_ended(node.revision + 1);
    assert!(node.recovers());
}

#[test]
fn our_own_claims_and_those_that_move_between_others_are_no_reason() {
    let mut node = Node::with_one_of_two();
    node.unclaims(1);
    assert!(!node.recovers(), "our own lease");
    node.claims(1, "b", MS + 5_000);
    node.claims(2, "b", MS);
    node.claims(2, "c", MS + 5_000);
    assert!(!node.recovers(), "each has a peer");
    node.claims(1, "c", MS + 10_000);
    assert!(node.recovers(), "nobody is left at b");
}

#[test]
fn a_gateway_recovers_when_it_can_be_told() {
    let orphaned = || {
        let mut node = Node::ready();
        node.put(1, ONE);
        node.set();
        node.claims(1, "b", MS);
        node
    };
    let mut node = orphaned();
    node.state.gateway_closed();
    node.unclaims(1);
    assert!(!node.recovers(), "it is replaced by another process, which goes on");
    node.open(&[1]);
    assert!(node.state.poll_recovery());
    node.state.recovered(None);
    assert!(node.recovers(), "it did not answer");

    let mut node = orphaned();
    node.state.gateway_role(false);
    node.unclaims(1);
    assert!(!node.recovers(), "it stands by");
    node.state.gateway_role(true);
    assert!(node.recovers() && !node.recovers(), "it serves now, and so flows come to it: once");

    let mut node = orphaned();
    node.state.drain(true);
    node.unclaims(1);
    assert!(!node.recovers(), "whoever is drained wants nobody");
    node.state.drain(false);
    assert!(node.recovers(), "it has not asked those that come to it now");
    node.state.drain(false);
    assert!(!node.recovers());

    let mut node = orphaned();
    node.state.gateway_closed();
    node.state.gateway_lost();
    node.unclaims(1);
    assert!(!node.recovers());
    node.open(&[1]);
    assert!(node.state.poll_recovery(), "flows come to the new one");
    let before = node.state.counts().recoveries_total;
    node.state.recovered(Some(false));
    assert_eq!((node.recovers(), node.state.counts().recoveries_total), (false, before), "it has refused");
}

#[test]
fn when_routes_to_nodes_come_and_go_flows_may_have_moved() {
    let mut node = Node::ready();
    node.put(1, ONE);
    node.set();
    node.claims(1, "b", MS);
    node.state.node_route("b", false);
    assert!(!node.recovers(), "what was never there is not missed");
    node.state.node_route("b", true);
    assert!(node.recovers());
    node.state.node_route("b", true);
    assert!(!node.recovers(), "nothing has changed");
    node.state.node_route("b", false);
    assert!(node.recovers(), "although its claims are there");
    assert_eq!(node.state.lost().collect::<Vec<_>>(), ["b"]);
    node.confirms(1, MS + 5_000);
    assert_eq!((node.claim(), node.routes().len()), (vec![(1, true)], 1), "it is ours now");
    node.state.node_route("b", true);
    assert!(node.recovers() && node.state.lost().count() == 0);
}

#[test]
fn a_peer_that_left_a_session_here_is_told_of_again() {
    let mut node = Node::ready();
    node.put(1, ONE);
    node.set();
    node.confirms(1, MS);
    node.claim();
    node.claims(1, "b", MS + 5_000);
    assert_eq!(node.set(), [TOLD], "the session here is an old one");
    assert!(node.routes().is_empty());
    // It comes back, and leaves for where it was.
    node.confirms(1, MS + 10_000);
    node.claim();
    assert!(node.set().is_empty());
    node.claims(1, "b", MS + 15_000);
    assert_eq!(node.set(), [TOLD], "the gateway has another endpoint since");
}
