//! `udp` and `rfc2544` as people run them: what they measure, what they refuse, and what is left when they are
//! interrupted.

pub mod hosts;

use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringfort_testbed::janitor;
use serde_json::Value;

use crate::{PATIENCE, bench, expect_nothing_left, expect_schema, printed, refusal, wait, wait_until_made};

/// The JSON that it prints.
fn measured(arguments: &[&str]) -> Value {
    let text = printed(&[arguments, &["--json", "-"]].concat());
    let results = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in\n{text}"));
    expect_schema(&results);
    results
}

fn number(results: &Value, path: &str) -> f64 {
    results.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {path} in {results:#}"))
}

/// The results of a search. They say so if not even the lowest rate could be offered, which a busy machine may do: then
/// it is searched again.
fn searched(arguments: &[&str]) -> Value {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let results = measured(arguments);
        let says_nothing = |size: &Value| {
            let pdr = &size["search"]["pdr"];
            pdr["rate_pps"].is_null() && pdr["generator_limited"] == true
        };
        if !results["sizes"].as_array().is_some_and(|sizes| sizes.iter().any(says_nothing)) {
            return results;
        }
        assert!(Instant::now() < deadline, "the generator was never run in time: {results:#}");
    }
}

#[test]
fn a_load_through_a_tunnel_is_accounted_for() {
    let shape = ["--rate", "2000", "--seconds", "1", "--size", "imix", "--flows", "5", "--family", "v6"];
    let both = measured(&[&["udp"], &shape[..], &["--direction", "both-ways"]].concat());
    assert_eq!((&both["schema"], &both["contender"]["name"]), (&"ringfort-traffic".into(), &"ringfort".into()));
    assert_eq!(both["legs"].as_array().map(Vec::len), Some(2));
    let total = |name: &str| number(&both, &format!("/total/{name}"));
    assert_eq!(total("planned"), 4_000.0);
    assert_eq!(total("planned"), total("sent") + total("refused") + total("skipped"));
    assert_eq!(total("sent"), total("received") + total("lost"));
    assert!(total("received") > 0.0 && total("latency_ns/p50") > 0.0);
    assert!((number(&both, "/packet_bytes_mean") - 347.67).abs() < 0.01);
    assert!(number(&both, "/gateways/cpu_s/0") > 0.0 && number(&both, "/gateways/memory_peak_kib/1") > 0.0);
}

#[test]
fn jumbo_packets_cross_a_tunnel_among_many_peers() {
    let shape = ["--mtu", "8920", "--size", "8920", "--peers", "500", "--rate", "200", "--seconds", "1"];
    let results = measured(&[&["udp"], &shape[..]].concat());
    assert_eq!(number(&results, "/packet_bytes_mean"), 8_920.0);
    assert!(number(&results, "/total/received") > 0.0 && number(&results, "/total/damaged") == 0.0, "{results:#}");
    let arrived =
        results["total"]["intervals"].as_array().unwrap().iter().map(|interval| number(interval, "/received"));
    assert_eq!(arrived.sum::<f64>(), number(&results, "/total/received"));
}

#[test]
fn a_table_says_what_was_asked_offered_and_delivered() {
    let text = printed(&["udp", "--rate", "1000", "--seconds", "1", "--direction", "round-trip"]);
    for part in ["Through a tunnel", "asked/s", "offered/s", "delivered/s", "there and back", "p99.9", "of a CPU"] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
}

#[test]
fn both_rates_and_the_latencies_below_them_are_found() {
    // So few that a sender has to be held up at the wrong moments to leave one out.
    let scale = ["--rate-min", "20", "--rate-max", "40", "--resolution-percent", "50", "--repeats", "1"];
    let short = ["rfc2544", "--implementation", "bare-veth", "--sizes", "64,imix", "--trial-seconds", "1"];
    let results = searched(&[&short[..], &["--burst-seconds", "1"], &scale].concat());
    let sizes = results["sizes"].as_array().unwrap();
    assert_eq!(sizes.len(), 2);
    assert!(results["gateways"].is_null() && results["contender"]["ceiling"] == true);
    for size in sizes {
        assert!(!size["search"]["trials"].as_array().unwrap().is_empty());
        let pdr = number(size, "/search/pdr/rate_pps");
        assert!((20.0..=40.0).contains(&pdr));
        let rate = |latency: &Value| number(latency, "/outcome/load/rate_pps");
        let rates: Vec<f64> = size["latencies"].as_array().unwrap().iter().map(rate).collect();
        assert_eq!(rates, [0.1, 0.5, 0.9].map(|share| (pdr * share).floor()));
        // A wire loses none of forty packets.
        assert_eq!(number(size, "/back_to_back/packets"), 40.0);
        assert!(number(size, "/back_to_back/offered_pps") > 0.0 && size["back_to_back"]["buffer_s"].is_null());
    }
    expect_a_search_goes_on(&results, &[&short[..], &["--burst-seconds", "1"], &scale].concat());
}

/// A search that has all of its sizes only shows them, one that lacks some says so, and another is refused.
fn expect_a_search_goes_on(whole: &Value, line: &[&str]) {
    let file = janitor::directory().join("search.json");
    let path = file.to_str().unwrap();
    let mut cut = whole.clone();
    cut["sizes"].as_array_mut().unwrap().pop();
    std::fs::write(&file, cut.to_string()).unwrap();
    assert!(printed(&["report", path]).contains("CAUTION: it was interrupted after 1 of 2 parts"));
    let resume = [line, &["--resume", path]].concat();
    let other: Vec<&str> = resume.iter().map(|word| if *word == "40" { "41" } else { word }).collect();
    assert!(refusal(&other).contains("is another search: its options"));
    std::fs::write(&file, whole.to_string()).unwrap();
    assert!(printed(&resume).contains("longest"));
}

#[test]
fn what_cannot_work_is_refused_with_the_bounds() {
    let udp = |rest: &[&str]| refusal(&[&["udp"], rest].concat());
    assert!(udp(&["--rate", "0"]).contains("1..=100000000"));
    assert!(udp(&["--flows", "10001"]).contains("1..=10000"));
    assert!(udp(&["--size", "63"]).contains("64 to 9216"));
    assert!(udp(&["--size", "1421"]).contains("--mtu 1421"));
    assert!(udp(&["--mtu", "1279"]).contains("1280..=9216"));
    assert!(refusal(&["rfc2544", "--sizes", "64,8000"]).contains("--mtu 8000"));
    assert!(udp(&["--cpus", "3-1"]).contains("2,4-7"));
    assert!(udp(&["--implementation", "openvpn"]).contains("wireguard-go"));
    assert!(udp(&["--other", "x=/nonexistent {interface}"]).contains("not a program"));
    assert!(udp(&["--json", "/nonexistent/x.json"]).contains("/nonexistent/x.json"));
    let bare = |rest: &[&str]| udp(&[&["--implementation", "bare-veth", "--seconds", "1"], rest].concat());
    assert!(bare(&["--gso", "--size", "imix"]).contains("one size"));
    assert!(bare(&["--lanes", "3", "--flows", "2"]).contains("2 flows"));
    assert!(bare(&["--cpus", "4095"]).contains("CPU 4095"));
    assert!(refusal(&["rfc2544", "--repeats", "2"]).contains("odd"));
    assert!(refusal(&["rfc2544", "--rate-min", "5", "--rate-max", "3"]).contains("above the highest"));
    assert!(refusal(&["rfc2544", "--resolution-percent", "0"]).contains("0.0001 to 0.5"));
}

#[test]
fn nothing_is_left_behind_when_a_load_is_interrupted() {
    for (arguments, signal) in [
        (["udp", "--rate", "20000", "--seconds", "600"], Signal::SIGINT),
        (["rfc2544", "--sizes", "64", "--trial-seconds", "60"], Signal::SIGTERM),
    ] {
        let mut command = bench(&arguments);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn().unwrap();
        wait_until_made(&mut child, 3);
        sleep(Duration::from_millis(1_000));
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        let status = wait(&mut child, PATIENCE).unwrap_or_else(|| panic!("{arguments:?} does not end"));
        assert_eq!(status.code(), Some(128 + signal as i32), "{arguments:?}");
        expect_nothing_left(child.id(), false, &format!("{arguments:?}"));
    }
}
