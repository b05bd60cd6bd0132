//! `nodes` as people run it, with few clients: it fails by itself if anything is lost that need not be.

use crate::{printed, refusal};

/// How soon clients are back is said by a run on a machine that does nothing else.
const SMALL: [&str; 9] = ["nodes", "--clients", "40", "--requests", "20", "--interval", "100", "--back-within", "60"];

#[test]
fn flows_that_move_lose_nothing_and_clients_of_a_node_that_dies_are_back() {
    for outer in ["v4", "v6"] {
        let text = printed(&[&SMALL[..], &["--outer", outer]].concat());
        for part in ["3 gateways", "the router leaves node 2 out", "without rules", "node 1 dies", "are back: half"] {
            assert!(text.contains(part), "no {part} in\n{text}");
        }
    }
}

#[test]
fn too_few_clients_show_nothing() {
    assert!(refusal(&["nodes", "--clients", "2"]).contains("24..=20000"));
}
