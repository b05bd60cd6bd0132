//! Flows come to the workers of the new process that they came to in the old one, so none overtakes what waits there.

use ringfort_testbed::Implementation;
use serde_json::Value;

use super::{Claimant, hand_over, tunnel, versions};

/// What decides which flows share a bucket, and the queue of each bucket.
fn steering(interface: &str) -> (Value, Value) {
    let mut claimant = Claimant::new(interface, &versions(interface));
    let seed = claimant.hear()["Offer"]["flow_seed"].take();
    claimant.ask_for_state();
    (seed, claimant.hear()["State"].take())
}

#[test]
fn flows_stay_where_they_were_unless_there_are_more_workers() {
    let mut tunnel = tunnel("--workers 2", Implementation::WireguardGo);
    let interface = tunnel.sides[0].interface.clone();
    let before = steering(&interface);
    let buckets = before.1.as_array().map(Vec::len);
    assert!(before.0.is_array() && buckets == Some(1024), "{before:?}");
    for options in ["--workers 2", "--workers 2 --filter off"] {
        hand_over(&mut tunnel, options);
        assert_eq!(steering(&interface), before);
    }
    hand_over(&mut tunnel, "--workers 3");
    let (seed, places) = steering(&interface);
    assert_eq!(seed, before.0);
    let workers = places.as_array().unwrap().iter().filter_map(Value::as_u64);
    assert_eq!(workers.max(), Some(2), "the third one has some as well");
}
