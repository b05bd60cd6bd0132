//! The pair of `examples/pair` with real keepalived, in a short run. What it took is not asserted, as this machine may
//! have other things to do. That everybody comes back after each event is, and that one gateway serves in the end.
//! Between the events the program itself waits until one machine serves and has the address, and the other does
//! neither.

use serde_json::Value;

use crate::printed;

#[test]
fn everybody_comes_back_whatever_happens_to_a_pair() {
    let report: Value = serde_json::from_str(&printed(&["pair", "--check", "--rounds", "1", "--json"])).unwrap();
    let events = report["events"].as_array().unwrap();
    let names: Vec<_> = events.iter().filter_map(|event| event["event"].as_str()).collect();
    let expected = [
        "cable pulled",
        "failed back",
        "process killed",
        "failed back",
        "machine gone",
        "failed back",
        "two masters",
        "one again",
    ];
    assert_eq!(names, expected);
    for event in events {
        let clients = event["clients"].as_array().unwrap();
        let directions: Vec<_> = clients.iter().filter_map(|client| client["direction"].as_str()).collect();
        assert_eq!(directions, ["sends", "only receives"]);
        assert!(clients.iter().all(|client| client["is_back"] == true && client["sent"].as_u64() > Some(0)), "{event}");
        let moves = !["two masters", "one again"].contains(&event["event"].as_str().unwrap());
        assert_eq!(event["address_after_ms"].is_number(), moves, "{event}");
    }
    assert_eq!(report["endpoints_by_ssh"], true, "scripts/install-test-peers unpacks sshd");
    assert_eq!(report["roles"]["rounds"], 1);
}
