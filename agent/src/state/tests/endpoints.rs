//! Where a peer is: what its value says, and what was heard since.

use super::*;

const FIRST: &str = r#"{"allowed_ips": [], "endpoint": "198.51.100.1:1"}"#;
const SECOND: &str = r#"{"allowed_ips": [], "endpoint": "198.51.100.2:2"}"#;

/// The gateway does what is asked. Which endpoint it is given with the settings.
fn placed(node: &mut Node) -> Vec<Option<String>> {
    let ops = node.state.poll_gateway(9);
    node.state.gateway_did(&ops, true);
    ops.iter().map(|op| endpoint(&op.change)).collect()
}

fn endpoint(change: &Change) -> Option<String> {
    let Change::Set { endpoint, .. } = change else { panic!("{change:?}") };
    endpoint.map(|endpoint| endpoint.to_string())
}

/// One whose gateway has the peer somewhere, and whose etcd has the first value.
fn with_roamed(is_gateway_first: bool) -> Node {
    let mut node = Node::with(false);
    let mut roamed = Settings::parse(FIRST.as_bytes()).unwrap();
    roamed.endpoint = "203.0.113.3:3".parse().ok();
    let had = Had { peer: key(1), settings: roamed, source: None };
    let list = |node: &mut Node| {
        node.state.etcd_list();
        node.lists(1, FIRST);
        node.state.etcd_list_ended(10);
    };
    if is_gateway_first {
        node.open_with([had]);
        list(&mut node);
    } else {
        list(&mut node);
        node.open_with([had]);
    }
    assert!(node.set().is_empty(), "where it is now is newer");
    node
}

#[test]
fn a_new_endpoint_reaches_a_gateway_that_has_another_one() {
    for is_gateway_first in [false, true] {
        let mut node = with_roamed(is_gateway_first);
        node.put(1, SECOND);
        assert_eq!(placed(&mut node), [Some("198.51.100.2:2".to_owned())]);
        // So it does while the gateway is away for a moment.
        node.state.gateway_closed();
        node.put(1, FIRST);
        let settings = Settings::parse(SECOND.as_bytes()).unwrap();
        node.open_with([Had { peer: key(1), settings, source: None }]);
        assert_eq!(placed(&mut node), [Some("198.51.100.1:1".to_owned())]);
    }
}

#[test]
fn a_peer_that_has_moved_stays_where_it_is_when_something_else_changes() {
    for is_gateway_first in [false, true] {
        let mut node = with_roamed(is_gateway_first);
        node.put(1, r#"{"allowed_ips": [], "endpoint": "198.51.100.1:1", "name": "laptop"}"#);
        assert_eq!(placed(&mut node), [None]);
    }
    let mut node = Node::ready();
    node.put(1, FIRST);
    assert_eq!(placed(&mut node), [Some("198.51.100.1:1".to_owned())]);
    node.put(1, r#"{"allowed_ips": [], "endpoint": "198.51.100.1:1", "name": "laptop"}"#);
    assert_eq!(placed(&mut node), [None]);
}

#[test]
fn a_new_endpoint_is_not_undone_by_where_the_peer_once_was() {
    let mut node = Node::ready();
    node.put(1, FIRST);
    node.set();
    node.claims(1, "b", MS);
    assert_eq!(node.set().len(), 1, "it is told");
    node.unclaims(1);
    node.put(1, SECOND);
    assert_eq!(placed(&mut node), [Some("198.51.100.2:2".to_owned())]);
    assert!(node.set().is_empty());
    node.claims(1, "b", MS);
    assert_eq!(node.set().len(), 1, "it is heard of from elsewhere");
}
