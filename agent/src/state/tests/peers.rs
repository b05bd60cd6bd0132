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
