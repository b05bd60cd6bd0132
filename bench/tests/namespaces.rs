//! The lab as people run it: a short comparison from the command line to the page, what happens when it is interrupted,
//! and what it says when it cannot work. Needs root.

mod gateways;
mod handshakes;
mod kernel;
mod nodes;
mod pair;
mod schema;
mod soak;
mod traffic;

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringfort_testbed::payload::Dice;
use ringfort_testbed::{command, janitor};
use roxmltree::{Document, ParsingOptions};
use serde_json::Value;

const NOBODY: u32 = 65_534;
/// How long anything may take that is bound to happen: a busy machine may not run a process for seconds.
const PATIENCE: Duration = Duration::from_secs(30);

fn bench(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfort-bench"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn output(arguments: &[&str]) -> Output {
    bench(arguments).output().unwrap()
}

/// What it prints when it works.
fn printed(arguments: &[&str]) -> String {
    let output = output(arguments);
    assert!(output.status.success(), "{arguments:?}\n{}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// What it says when it does not.
fn refusal(arguments: &[&str]) -> String {
    let output = output(arguments);
    assert!(!output.status.success(), "{arguments:?} did not fail");
    text(&output)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The only file of a directory with this extension.
fn only(directory: &Path, extension: &str) -> PathBuf {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.into_iter().next().unwrap()
}

/// What is in a file of results. It follows the schema.
fn results_in(file: &Path) -> Value {
    let results = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    expect_schema(&results);
    results
}

/// A file of any kind follows the schema that is published.
fn expect_schema(results: &Value) {
    let published: Value = serde_json::from_str(include_str!("../schema/results.schema.json")).unwrap();
    let problems = schema::problems(&published, results);
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn a_comparison_from_the_command_line_to_the_page() {
    let directory = janitor::directory().join("results");
    let to = directory.to_str().unwrap();
    let shared = ["--rounds", "1", "--seconds", "1", "--warm-up", "0", "--udp-rate", "2000", "--output", to];
    let chosen =
        ["compare", "--contenders", "ringfort,bare-veth", "--tests", "tcp-1,udp-64,latency,rrul,rr-16,http,idle"];
    let line = [&chosen[..], &["--congestion", "reno"], &shared].concat();
    let shown = printed(&line);
    assert!(shown.contains("UDP, 64 bytes") && shown.contains("bare-veth"), "{shown}");

    let json = only(&directory, "json");
    let results = results_in(&json);
    assert_eq!((&results["schema"], &results["schema_version"]), (&"ringfort-bench".into(), &1.into()));
    assert!(results["runs"][0]["others_cpu_percent"].is_number());
    assert_eq!(results["stamp"]["sysctls"]["net.ipv4.tcp_congestion_control"], "reno");
    // Bare veth cannot be idle.
    assert_eq!(results["runs"].as_array().unwrap().len(), 13);
    let run = |test: &str, contender: &str| {
        let runs = results["runs"].as_array().unwrap();
        let found = runs.iter().find(|run| run["test"] == test && run["contender"] == contender);
        found.unwrap_or_else(|| panic!("no {test} of {contender}"))["figures"].clone()
    };
    let figure = |test: &str, contender: &str, name: &str| {
        run(test, contender)[name].as_f64().unwrap_or_else(|| panic!("no {name} in {test} of {contender}"))
    };
    for contender in ["ringfort", "bare-veth"] {
        // They are there; how large they are is the machine's affair.
        for (test, name) in [("tcp-1", "throughput"), ("udp-64", "delivered"), ("latency", "p50")] {
            assert!(figure(test, contender, name).is_finite(), "{name}");
        }
        for name in ["throughput_forth", "throughput_back", "quiet_p50", "loss", "ping_loss"] {
            assert!(figure("rrul", contender, name).is_finite(), "{name}");
        }
        for test in ["rr-16", "http"] {
            assert!(figure(test, contender, "transactions") > 0.0 && figure(test, contender, "p50") > 0.0, "{test}");
        }
    }
    let series = |test: &str| -> Vec<Value> {
        let runs = results["runs"].as_array().unwrap().iter().filter(|run| run["test"] == test);
        runs.flat_map(|run| run["series"].as_array().unwrap()).map(|series| series["name"].clone()).collect()
    };
    assert_eq!(series("rrul")[..4], ["udp", "ping", "throughput_forth", "throughput_back"]);
    assert_eq!((series("rrul").len(), series("tcp-1").len()), (8, 2));
    for name in ["cpu_per_gb_sender", "cpu_per_gb_receiver", "cores_per_gbps", "memory_peak_sender"] {
        assert!(figure("tcp-1", "ringfort", name).is_finite(), "{name}");
    }
    for (test, name) in [("rr-16", "cpu_per_transaction_sender"), ("http", "cpu_per_transaction_receiver")] {
        assert!(figure(test, "ringfort", name) > 0.0, "{name}");
    }
    assert!(figure("idle", "ringfort", "memory") > 1_000.0);
    assert!(run("tcp-1", "bare-veth")["cpu_per_gb"].is_null());
    assert!(run("rr-16", "bare-veth")["cpu_per_transaction"].is_null());
    assert!(results["stamp"]["tools"]["nginx"].as_str().is_some_and(|version| version.starts_with("nginx version")));
    assert!(!results["contenders"][0]["interfaces"].as_array().unwrap().is_empty());
    assert!(results["contenders"][0]["sha256"].as_str().is_some_and(|digest| digest.len() == 64));

    let page = std::fs::read_to_string(only(&directory, "html")).unwrap();
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    let document = Document::parse_with_options(&page, options).unwrap();
    assert!(document.descendants().filter(|node| node.tag_name().name() == "svg").count() >= 4);

    let text = json.to_str().unwrap();
    assert!(printed(&["report", text]).contains("One round of 1 s"));
    assert!(printed(&["report", text, text]).contains("0 better, 0 worse"));
    let again = directory.join("again.html");
    printed(&["report", text, "--html", again.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(again).unwrap(), page);
    expect_a_reader_may_leave(&["report", text, "--csv"]);
    expect_a_session_goes_on(&json, &line);
}

/// Whoever has seen enough closes the pipe.
fn expect_a_reader_may_leave(arguments: &[&str]) {
    let mut child = bench(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output));
}

/// A session of which a run is missing makes that one, and no other session is taken for it.
fn expect_a_session_goes_on(json: &Path, line: &[&str]) {
    let whole = results_in(json);
    let mut cut = whole.clone();
    cut["finished"] = "".into();
    let missing = cut["runs"].as_array_mut().unwrap().remove(2);
    std::fs::write(json, cut.to_string()).unwrap();
    let shown = printed(&["report", json.to_str().unwrap()]);
    let kept = cut["runs"].as_array().unwrap();
    let caution = format!("CAUTION: the session was interrupted after {} runs", kept.len());
    assert!(shown.contains(&caution), "{shown}");

    let resume = [line, &["--resume", json.to_str().unwrap()]].concat();
    let other: Vec<&str> = resume.iter().map(|word| if *word == "2000" { "3000" } else { word }).collect();
    let other = refusal(&other);
    assert!(other.contains("is another session: its tests"), "{other}");
    printed(&resume);
    let again = results_in(json);
    let runs = |results: &Value| results["runs"].as_array().unwrap().clone();
    assert_eq!(runs(&again)[..kept.len()], kept[..]);
    let made = &runs(&again)[kept.len()];
    assert_eq!((&made["test"], &made["contender"]), (&missing["test"], &missing["contender"]));
    assert_ne!(again["finished"], "");
}

#[test]
fn a_gateway_that_does_not_start_is_reported_and_the_others_are_measured() {
    let directory = janitor::directory().join("failing");
    let to = directory.to_str().unwrap();
    let chosen = ["compare", "--contenders", "bare-veth", "--other", "broken=/bin/false {interface}"];
    let short = ["--tests", "udp-64", "--rounds", "1", "--seconds", "1", "--warm-up", "0", "--output", to];
    let said = refusal(&[&chosen[..], &short].concat());
    assert!(said.contains("FAILED: udp-64 of broken in round 1"), "{said}");
    assert!(said.contains("1 of 2 measurements failed"), "{said}");
    let results = results_in(&only(&directory, "json"));
    let failed = results["runs"].as_array().unwrap().iter().filter(|run| run["error"].is_string());
    assert_eq!(failed.count(), 1);
}

/// A comparison that takes longer than anybody waits, in a process group of its own.
fn endless(tests: &str) -> Child {
    let other = format!("again={} -f {{interface}}", ringfort().display());
    let chosen = ["compare", "--contenders", "ringfort,bare-veth", "--other", &other, "--tests", tests];
    let mut command = bench(&[&chosen[..], &["--rounds", "500", "--seconds", "1", "--warm-up", "0"]].concat());
    command.stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0).spawn().unwrap()
}

fn ringfort() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_ringfort-bench")).with_file_name("ringfort")
}

fn wait(child: &mut Child, patience: Duration) -> Option<std::process::ExitStatus> {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        sleep(Duration::from_millis(10));
    }
    None
}

/// Waits until a process has made so many things, all of which it must remove.
fn wait_until_made(child: &mut Child, things: usize) {
    let deadline = Instant::now() + PATIENCE;
    while janitor::remains_of(child.id()).len() < things {
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none(), "it makes nothing");
        sleep(Duration::from_millis(10));
    }
}

/// Nothing is left of a process that has ended. One that cannot clean up by itself leaves that to its janitor, which
/// works on `alone`. Processes that were killed, and commands that were under way, may take a moment to disappear in
/// any case.
fn expect_nothing_left(process: u32, alone: bool, case: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let remains = janitor::remains_of(process);
        if remains.is_empty() {
            return;
        }
        let may_take_time = alone || remains.iter().all(|thing| thing.starts_with("process "));
        assert!(may_take_time && Instant::now() < deadline, "{case}\nleft behind:\n{}", remains.join("\n"));
        sleep(Duration::from_millis(20));
    }
}

/// Interrupts it when `moment` returns, and looks for what is left.
fn interrupt(tests: &str, signal: Signal, whole_group: bool, moment: impl FnOnce(&mut Child)) {
    let mut child = endless(tests);
    let begun = Instant::now();
    moment(&mut child);
    let after = begun.elapsed();
    let pid = i32::try_from(child.id()).unwrap();
    kill(Pid::from_raw(if whole_group { -pid } else { pid }), signal).unwrap();
    let status = wait(&mut child, PATIENCE);
    let mut said = String::new();
    if status.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let case = format!("{signal} after {after:?}, to the group: {whole_group}\n{said}");
    let status = status.unwrap_or_else(|| panic!("it does not end: {case}"));
    // When it is killed, or not ready yet for a signal, it cannot clean up by itself, and its janitor works on alone.
    let alone = status.code().is_none();
    if !alone {
        assert_eq!(status.code(), Some(128 + signal as i32), "{case}");
    }
    expect_nothing_left(child.id(), alone, &case);
}

#[test]
fn nothing_is_left_behind_whenever_it_is_interrupted() {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    let mut moment = || {
        let after = Duration::from_millis(dice.below(2_500) as u64);
        move |_: &mut Child| sleep(after)
    };
    // Two namespaces and its files: or else there is nothing to clean up, or this looks in the wrong place.
    interrupt("udp-64", Signal::SIGTERM, false, |child| wait_until_made(child, 3));
    // Programs of others run in the second one.
    for (round, tests) in ["udp-64,latency,idle", "http", "rr-16"].into_iter().enumerate() {
        interrupt(tests, Signal::SIGINT, true, moment());
        interrupt(tests, Signal::SIGTERM, false, moment());
        interrupt(tests, Signal::SIGKILL, round % 2 == 0, moment());
    }
}

/// A `cargo` that builds forever, in its place in `PATH`.
#[test]
fn a_build_of_a_peer_ends_with_us() {
    let directory = janitor::directory().join("fetching");
    let (programs, peers) = (directory.join("programs"), directory.join("peers"));
    std::fs::create_dir_all(&programs).unwrap();
    let cargo = programs.join("cargo");
    // So many seconds that no other process is taken for it, not even one of another run of this.
    let seconds = format!("7{:09}", std::process::id());
    let script = format!("#!/bin/sh\nmkdir -p \"$CARGO_TARGET_DIR\"/deps\nsleep {seconds}\n");
    command::write_program(&script, &cargo).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut fetch = bench(&["fetch-peers"]);
    let mut child = fetch.env("PATH", path).env("RINGFORT_PEERS", &peers).spawn().unwrap();
    let building =
        || std::fs::read_dir(&peers).into_iter().flatten().flatten().any(|entry| entry.path().join("deps").exists());
    let deadline = Instant::now() + PATIENCE;
    while !building() {
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none(), "it does not build");
        sleep(Duration::from_millis(10));
    }
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
    let status = wait(&mut child, PATIENCE).expect("it ends");
    assert_eq!(status.code(), Some(128 + Signal::SIGTERM as i32));
    assert!(!building(), "its directory is left");
    let its_command = format!("sleep\0{seconds}\0");
    let sleeping = |entry: std::fs::DirEntry| {
        std::fs::read(entry.path().join("cmdline")).is_ok_and(|arguments| arguments == its_command.as_bytes())
    };
    let left = || std::fs::read_dir("/proc").unwrap().flatten().any(sleeping);
    // Killed processes may take a moment to disappear.
    let deadline = Instant::now() + PATIENCE;
    while left() {
        assert!(Instant::now() < deadline, "its build goes on");
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_cannot_work_is_refused_with_the_remedy() {
    let compare = |rest: &[&str]| refusal(&[&["compare"], rest].concat());
    assert!(compare(&["--contenders", "openvpn"]).contains("--other 'openvpn=COMMAND {interface}'"));
    assert!(compare(&["--contenders", "ringfort", "--other", "x=/nonexistent {interface}"]).contains("not a program"));
    assert!(compare(&["--contenders", "ringfort", "--reference", "boringtun"]).contains("does not take part"));
    assert!(compare(&["--contenders", "ringfort", "--binary", "/nonexistent"]).contains("/nonexistent is not"));
    assert!(compare(&["--tests", "tcp-2"]).contains("tcp-2"));
    assert!(compare(&["--rounds", "0"]).contains("--rounds"));
    assert!(compare(&["--congestion", "carrier"]).contains("modprobe tcp_carrier"));
    assert!(compare(&["--contenders", "bare-veth", "--output", "/proc/nonexistent"]).contains("/proc/nonexistent"));
    assert!(refusal(&["report", "/nonexistent.json"]).contains("/nonexistent.json"));

    let missing =
        bench(&["compare", "--contenders", "boringtun"]).env("RINGFORT_PEERS", "/nonexistent").output().unwrap();
    assert!(text(&missing).contains("ringfort-bench fetch-peers"), "{}", text(&missing));
    let check = bench(&["fetch-peers", "--check"]).env("RINGFORT_PEERS", "/nonexistent").output().unwrap();
    assert!(text(&check).contains("missing: ") && !check.status.success(), "{}", text(&check));
}

#[test]
fn files_that_are_none_of_ours_are_refused() {
    let file = janitor::directory().join("other.json");
    let refused = |contents: &str| {
        std::fs::write(&file, contents).unwrap();
        refusal(&["report", file.to_str().unwrap()])
    };
    assert!(refused("nonsense").contains("not a file of results"));
    assert!(refused(r#"{"schema": "else", "schema_version": 1}"#).contains("\"else\""));
    assert!(refused(r#"{"schema": "ringfort-bench", "schema_version": 99}"#).contains("version 99"));
    assert!(refused(r#"{"schema": "ringfort-bench", "schema_version": 1}"#).contains("schema"));
}

#[test]
fn whoever_is_not_root_is_told_so() {
    // Where nobody can reach it.
    let directory = std::env::temp_dir().join(format!("{}nobody", janitor::prefix()));
    std::fs::create_dir(&directory).unwrap();
    std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o755)).unwrap();
    let program = directory.join("ringfort-bench");
    command::copy_program(Path::new(env!("CARGO_BIN_EXE_ringfort-bench")), &program).unwrap();
    let outputs = [&["compare"][..], &["udp", "--json", "/never.json"]]
        .map(|arguments| Command::new(&program).args(arguments).uid(NOBODY).gid(NOBODY).current_dir("/").output());
    std::fs::remove_dir_all(&directory).unwrap();
    let [compare, elsewhere] = outputs.map(|output| {
        let output = output.unwrap();
        assert!(!output.status.success());
        text(&output)
    });
    assert!(compare.contains("need root"), "{compare}");
    assert!(elsewhere.contains("/never.json: nothing can be written"), "{elsewhere}");
}

#[test]
fn output_that_is_lost_is_an_error() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = bench(&["report", "--schema"]).stdout(full).output().unwrap();
    assert!(!output.status.success());
    assert!(text(&output).contains("writing to standard output"), "{}", text(&output));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = bench(&["report", "--schema"]).stdout(writer).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output));
    for command in ["stages", "floods"] {
        assert!(refusal(&[command, "--json", "-"]).contains("name a file"));
    }
}
