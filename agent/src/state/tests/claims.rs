//! Who has a peer, and so its routes.

use super::*;

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
fn a_claim_is_written_after_another_one_that_came_and_went_meanwhile() {
    for is_heard_first in [true, false] {
        let mut node = Node::ready();
        node.put(1, ONE);
        node.set();
        node.confirms(1, MS);
        let ops = node.state.poll_claims(9);
        let come_and_go = |node: &mut Node| {
            node.claims(1, "b", MS - 5_000);
            node.unclaims(1);
        };
        if is_heard_first {
            come_and_go(&mut node);
        }
        node.state.claim_done(&ops[0], None);
        if !is_heard_first {
            assert!(node.state.poll_claims(9).is_empty(), "not again, before it is known why");
            come_and_go(&mut node);
        }
        assert_eq!(node.claim(), [(1, true)], "heard first: {is_heard_first}");
    }
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
    let mut node = Node::with_one_of_two();
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
