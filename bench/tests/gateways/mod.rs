//! Gateways that end while they are measured.

use ringfort_testbed::janitor;

use crate::{only, refusal, results_in, ringfort};

/// What has no figures because nothing ran any more must not look like what needs nothing.
#[test]
fn a_gateway_that_dies_while_it_is_measured_has_failed() {
    let directory = janitor::directory().join("dying");
    let other = format!("dies=timeout 4 {} -f {{interface}}", ringfort().display());
    let chosen = ["compare", "--contenders", "bare-veth", "--other", &other, "--output", directory.to_str().unwrap()];
    let short = ["--tests", "idle", "--rounds", "1", "--seconds", "5", "--warm-up", "0"];
    let said = refusal(&[&chosen[..], &short].concat());
    assert!(said.contains("FAILED: idle of dies in round 1"), "{said}");
    let results = results_in(&only(&directory, "json"));
    let run = &results["runs"][0];
    // Where the set-up takes longer than the gateway lives, it has ended before.
    let error = run["error"].as_str().unwrap();
    assert!(error.contains("a gateway has died") || error.contains("ended with"), "{error}");
    assert!(run["figures"].as_object().unwrap().is_empty(), "{run}");
}
