//! `nodes` as people run it, with few clients: it fails by itself if anything is lost that need not be.

use crate::{printed, refusal};

/// How soon clients are back is said by a run on a machine that does nothing else.
const SMALL: [&str; 9] = ["nodes", "--clients", "60", "--requests", "20", "--interval", "100", "--back-within", "60"];

fn flows_move_and_a_node_dies(steer: &str) {
    for outer in ["v4", "v6"] {
        let text = printed(&[&SMALL[..], &["--outer", outer, "--steer", steer]].concat());
        for part in ["3 gateways", "node 2 left out", "no rules", "node 1 dies", "node 1 returns", "are back: half"] {
            assert!(text.contains(part), "no {part} in\n{text}");
        }
        assert!(text.contains("Each of them lost") && text.contains("other_node"), "{text}");
    }
}

#[test]
fn flows_that_move_lose_nothing_and_clients_of_a_node_that_dies_are_back() {
    flows_move_and_a_node_dies("nft");
}

#[test]
fn a_program_in_front_of_the_rules_loses_as_little() {
    flows_move_and_a_node_dies("xdp");
}

#[test]
fn too_few_clients_show_nothing() {
    assert!(refusal(&["nodes", "--clients", "2"]).contains("24..=20000"));
}
