//! Peers of the gateway.

use super::*;

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
    // Another gateway may take it.
    node.put(1, ONE);
    let ops = node.state.poll_gateway(9);
    node.state.gateway_did(&ops, false);
    for had in [&[1][..], &[]] {
        node.state.gateway_closed();
        node.open(had);
        let ops = node.state.poll_gateway(9);
        assert_eq!(ops.iter().map(in_short).collect::<Vec<_>>(), [if had.is_empty() { "add 1" } else { "change 1" }]);
        node.state.gateway_did(&ops, false);
        assert!(node.set().is_empty());
    }
}

#[test]
fn a_prefix_is_that_of_the_value_that_was_written_last() {
    let mut node = Node::ready();
    node.put(1, ONE);
    assert_eq!(node.set(), ["add 1"]);
    node.put(2, ONE);
    assert_eq!(node.set(), ["change 1", "add 2"]);
    node.confirms(1, MS);
    assert!(node.routes().is_empty());
    node.delete(2);
    assert_eq!(
        (node.set(), node.routes()),
        (vec!["change 1".to_owned(), "remove 2".to_owned()], vec![PREFIX.to_owned()])
    );
    // Written again, it is the last one, whatever it says.
    node.put(2, ONE);
    node.set();
    node.put(1, ONE);
    assert_eq!((node.set(), node.routes().len()), (vec!["change 1".to_owned(), "change 2".to_owned()], 1));
    // A value that was right by mistake is put right.
    node.put(1, TWO);
    assert_eq!(node.set(), ["change 1", "change 2"]);
    assert!(node.set().is_empty());
}

#[test]
fn a_prefix_that_the_gateway_took_from_a_peer_is_given_back() {
    let mut node = Node::ready();
    node.put(2, ONE);
    node.set();
    node.put(1, ONE);
    // The gateway takes it from 2, which was not set yet.
    let ops = node.state.poll_gateway(1);
    node.state.gateway_did(&ops, true);
    node.delete(1);
    assert_eq!(node.set(), ["remove 1", "change 2"]);
    assert!(node.set().is_empty());
}

#[test]
fn an_agent_that_starts_finds_prefixes_where_they_should_be() {
    let settings = |json: &str| Settings::parse(json.as_bytes()).unwrap();
    for (is_at_first, changes) in [(false, vec![]), (true, vec!["change 1", "change 2"])] {
        let mut node = Node::with(false);
        let mut had = [
            Had { peer: key(1), settings: settings(NONE), source: None },
            Had { peer: key(2), settings: settings(NONE), source: None },
        ];
        had[usize::from(!is_at_first)].settings = settings(ONE);
        node.open_with(had);
        node.state.etcd_list();
        let lists = |node: &mut Node, number: u8, revision: i64| {
            let name = node.state.keys.peer(&key(number));
            node.state.etcd_listed(name.as_bytes(), ONE.as_bytes(), revision, 0);
        };
        lists(&mut node, 1, 3);
        assert!(node.set().is_empty(), "the value of 2 may come yet, and be later");
        lists(&mut node, 2, 4);
        node.state.etcd_list_ended(20);
        assert_eq!(node.set(), changes);
        assert!(node.set().is_empty());
    }
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
    node.lists(3, NONE);
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
