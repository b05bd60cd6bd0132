//! Gateways that end while they are measured.

use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringfort_testbed::janitor;

use crate::{PATIENCE, bench, only, refusal, results_in, ringfort, wait};

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

/// Whoever interrupts ends everything, and that is no outcome of the measurement.
#[test]
fn what_an_interruption_ended_is_not_recorded() {
    let directory = janitor::directory().join("interrupted");
    std::fs::create_dir_all(&directory).unwrap();
    let chosen = ["compare", "--contenders", "bare-veth", "--tests", "http", "--output", directory.to_str().unwrap()];
    let mut command = bench(&[&chosen[..], &["--rounds", "1", "--seconds", "600", "--warm-up", "0"]].concat());
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    // Of wrk, which asks for pages.
    while !has_child(child.id(), "http://") {
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none(), "it does not measure");
        sleep(Duration::from_millis(10));
    }
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
    let status = wait(&mut child, PATIENCE).expect("it ends");
    assert_eq!(status.code(), Some(128 + Signal::SIGTERM as i32));
    let written: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(written.is_empty(), "{written:?}");
}

/// Whether a process has a child with that word among its arguments.
fn has_child(parent: u32, word: &str) -> bool {
    let parent = format!("\nPPid:\t{parent}\n");
    let read = |directory: &Path, name| std::fs::read(directory.join(name)).unwrap_or_default();
    let is_it = |directory: &Path| {
        String::from_utf8_lossy(&read(directory, "status")).contains(&parent)
            && String::from_utf8_lossy(&read(directory, "cmdline")).contains(word)
    };
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| is_it(&entry.path()))
}
