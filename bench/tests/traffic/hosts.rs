//! `generator` and `reflector` as people run them, each in a namespace that stands for a host.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringfort_testbed::daemon::Program;
use ringfort_testbed::netns::VETH;
use ringfort_testbed::tunnel::Peering;
use ringfort_testbed::{Namespace, Tunnel, Wire, janitor};
use serde_json::Value;

use super::number;
use crate::{PATIENCE, expect_schema, printed, results_in, ringfort, wait};

fn bench(namespace: &Namespace) -> Command {
    let mut command = namespace.command(env!("CARGO_BIN_EXE_ringfort-bench"));
    command.stdin(Stdio::null());
    command
}

/// A reflector on the second end of a wire, and where it waits.
pub struct Reflector {
    process: Child,
    pub control: String,
    /// What it says after that.
    said: mpsc::Receiver<String>,
}

impl Reflector {
    pub fn start(namespace: &Namespace, addresses: &str) -> Self {
        Self::start_with(namespace, addresses, &[])
    }

    fn start_with(namespace: &Namespace, addresses: &str, options: &[&str]) -> Self {
        Self::start_at(namespace, "10.200.0.2:0", addresses, options)
    }

    fn start_at(namespace: &Namespace, control: &str, addresses: &str, options: &[&str]) -> Self {
        let mut command = bench(namespace);
        command.args(["reflector", "--control", control, "--address", addresses]).args(options);
        command.stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let first = lines.next().expect("it says where it waits").unwrap();
        let (say, said) = mpsc::channel();
        // It must not block on a full pipe, whether anybody listens or not.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(say.send(line))));
        let control = first.rsplit(' ').next().unwrap().to_owned();
        Self { process, control, said }
    }

    /// Lets it have so many open files from now on.
    fn allow_open_files(&self, count: &str) {
        let mut command = Command::new("prlimit");
        command.args([&format!("--pid={}", self.process.id()), &format!("--nofile={count}")]);
        assert!(command.status().unwrap().success(), "{command:?}");
    }
}

impl Drop for Reflector {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a generator on the first end writes as JSON, or says when it fails.
pub fn generate(namespace: &Namespace, control: &str, ends: [&str; 2], work: &[&str]) -> Result<Value, String> {
    let mut command = bench(namespace);
    command.args(["generator", "--control", control, "--from", ends[0], "--to", ends[1], "--name", "a tunnel"]);
    let output = command.args(work).args(["--json", "-"]).output().unwrap();
    if output.status.success() {
        let results = serde_json::from_slice(&output.stdout).unwrap();
        expect_schema(&results);
        return Ok(results);
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn an_existing_tunnel_is_measured_by_its_addresses_alone() {
    let program = Program::ringfort(ringfort());
    let tunnel = Tunnel::connected([&program, &program], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, PATIENCE).unwrap();
    let reflector = Reflector::start(tunnel.namespace(1), "10.77.0.2,fd00:77::2");
    let measure = |ends, work: &[&str]| {
        generate(tunnel.namespace(0), &reflector.control, ends, work)
            .unwrap_or_else(|error| panic!("{work:?}: {error}"))
    };
    let (v4, v6) = (["10.77.0.1", "10.77.0.2"], ["fd00:77::1", "fd00:77::2"]);

    let both = measure(v6, &["udp", "--rate", "500", "--seconds", "1", "--size", "imix", "--direction", "both-ways"]);
    assert_eq!((&both["kind"], &both["contender"]["name"]), (&"udp".into(), &"a tunnel".into()));
    assert_eq!((&both["hosts"]["from"], &both["hosts"]["to"]), (&"fd00:77::1".into(), &"fd00:77::2".into()));
    assert_eq!(both["hosts"]["reflector"]["kernel"], both["stamp"]["kernel"]);
    assert_eq!(number(&both, "/total/planned"), 1_000.0);
    // In truth there is one clock.
    assert!(number(&both, "/clocks/offset_ns").abs() <= number(&both, "/clocks/error_ns"), "{:#}", both["clocks"]);

    let trips = measure(v4, &["latency", "--rate", "200", "--seconds", "1"]);
    assert!(trips["clocks"].is_null() && number(&trips, "/total/latency_ns/p99") > 0.0);
    let bulk = measure(v4, &["tcp", "--streams", "3", "--seconds", "1", "--warm-up", "0"]);
    assert_eq!((&bulk["kind"], bulk["stream_bytes"].as_array().map(Vec::len)), (&"tcp".into(), Some(3)));
    let scale = ["--rate-min", "20", "--rate-max", "40", "--resolution-percent", "50", "--repeats", "1"];
    let short = ["rfc2544", "--sizes", "64", "--trial-seconds", "1", "--burst-seconds", "1"];
    let found = measure(v4, &[&short[..], &scale[..]].concat());
    assert_eq!(found["kind"], "rfc2544");
    assert!(number(&found, "/sizes/0/back_to_back/offered_pps") > 0.0);
    assert!(!found["sizes"][0]["search"]["trials"].as_array().unwrap().is_empty());

    let load = measure(v6, &["rrul", "--streams", "2", "--seconds", "1", "--warm-up", "0", "--probes", "100"]);
    assert_eq!((&load["kind"], number(&load, "/rrul/probes_pps")), (&"rrul".into(), 100.0));
    for way in ["forth", "back"] {
        assert_eq!(load[way]["stream_bytes"].as_array().map(Vec::len), Some(2), "{load:#}");
    }
    assert_eq!(number(&load, "/udp/quiet/sent"), 100.0);
    assert!(load["icmp"]["over_time"].as_array().is_some_and(|points| !points.is_empty()), "{load:#}");
    expect_a_page(&load);

    let elsewhere = generate(tunnel.namespace(0), &reflector.control, ["10.77.0.1", "10.200.0.2"], &["latency"]);
    assert!(elsewhere.unwrap_err().contains("takes part at 10.77.0.2, fd00:77::2 only"));
}

/// Both a table and a page can be made of a file.
fn expect_a_page(results: &Value) {
    let file = janitor::directory().join("between.json");
    std::fs::write(&file, results.to_string()).unwrap();
    let (path, page) = (file.to_str().unwrap(), file.with_extension("html"));
    assert!(printed(&["report", path]).contains("a tunnel between"));
    printed(&["report", path, "--html", page.to_str().unwrap()]);
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("<svg") && page.contains("The other host"), "{page}");
}

/// The turn in which the reflector goes fails, and a later one has another reflector.
#[test]
fn a_soak_between_two_hosts_outlives_its_reflector_and_goes_on_when_it_was_interrupted() {
    let wire = Wire::new().unwrap();
    let first = Reflector::start(&wire.ends[1], "10.200.0.2");
    let control = first.control.clone();
    let file = janitor::directory().join("soak-between.json");
    let path = file.to_str().unwrap();
    let soak = |rate: &str, seconds: &str, rest: &[&str]| {
        let mut command = bench(&wire.ends[0]);
        command.args(["generator", "--control", &control, "--from", "10.200.0.1", "--to", "10.200.0.2"]);
        command.args(["soak", "--seconds", seconds, "--every", "1", "--streams", "1", "--rate", rate]).args(rest);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    };
    let mut endless = soak("200", "3600", &["--json", path]).spawn().unwrap();
    // Waits for a turn beyond so many that failed or did not.
    let mut turn_beyond = |count: usize, failed: bool| -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let turns = if file.exists() { results_in(&file)["turns"].as_array().unwrap().clone() } else { vec![] };
            if let Some(found) = turns.iter().skip(count).position(|turn| turn["error"].is_string() == failed) {
                return count + found + 1;
            }
            assert!(Instant::now() < deadline && endless.try_wait().unwrap().is_none(), "{turns:#?}");
            sleep(Duration::from_millis(20));
        }
    };
    let good = turn_beyond(0, false);
    drop(first);
    let failed = turn_beyond(good, true);
    let _second = Reflector::start_at(&wire.ends[1], &control, "10.200.0.2", &[]);
    turn_beyond(failed, false);
    kill(Pid::from_raw(i32::try_from(endless.id()).unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(wait(&mut endless, PATIENCE).expect("it ends").code(), Some(130));

    let mut cut = results_in(&file);
    cut["plan"]["turns"] = 2.into();
    cut["turns"].as_array_mut().unwrap().truncate(1);
    let turn = cut["turns"][0].clone();
    assert!(turn["error"].is_null() && turn["memory_kib"].is_null() && number(&turn, "/udp_sent") > 0.0, "{turn:#}");
    assert!(number(&turn, "/clocks/error_ns") > 0.0);
    std::fs::write(&file, cut.to_string()).unwrap();
    let again = |rate: &str| {
        // The reflector may still be at the interrupted one.
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = soak(rate, "2", &["--resume", path]).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if !said.contains("one at a time") {
                return (output.status.success(), said);
            }
            assert!(Instant::now() < deadline, "{said}");
            sleep(Duration::from_millis(50));
        }
    };
    let (went_on, said) = again("300");
    assert!(!went_on && said.contains("is another soak: its times, rates"), "{said}");
    let (went_on, said) = again("200");
    assert!(went_on, "{said}");
    let all = results_in(&file);
    assert_eq!(all["turns"].as_array().map(Vec::len), Some(2), "{all:#}");
    assert_eq!((&all["turns"][0], &all["turns"][1]["part"]), (&turn, &2.into()));
}

#[test]
fn a_reflector_outlives_a_lack_of_files_and_strangers() {
    let wire = Wire::new().unwrap();
    let reflector = Reflector::start_with(&wire.ends[1], "10.200.0.2", &["--once"]);
    reflector.allow_open_files("3:4096");
    let connect = || wire.ends[0].enter(|| TcpStream::connect(&reflector.control)).unwrap();
    // An accept that waits already has a file for the first of them. The next has none.
    let strangers = [connect(), connect()];
    let said = |wanted: &str| {
        while !reflector.said.recv_timeout(PATIENCE).expect(wanted).contains(wanted) {}
    };
    said("could not be accepted");
    reflector.allow_open_files("1024:4096");
    let mut greeting = String::new();
    strangers[0].set_read_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(&strangers[0]).read_line(&mut greeting).unwrap();
    assert!(greeting.contains("ringfort-bench-control"), "{greeting}");
    said("was sent away: 10.200.0.1");
    drop(strangers);
    // Who never says hello is not the one that `--once` waits for.
    said("closed the control connection");
    let ends = ["10.200.0.1", "10.200.0.2"];
    generate(&wire.ends[0], &reflector.control, ends, &["latency", "--rate", "50", "--seconds", "1"]).unwrap();
}

#[test]
fn a_reflector_stops_sending_when_its_generator_is_gone() {
    let wire = Wire::new().unwrap();
    let reflector = Reflector::start(&wire.ends[1], "10.200.0.2");
    let mut command = bench(&wire.ends[0]);
    command.args(["generator", "--control", &reflector.control, "--from", "10.200.0.1", "--to", "10.200.0.2"]);
    command.args(["udp", "--rate", "2000", "--seconds", "3600", "--direction", "both-ways"]);
    let mut gone = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let sent = || wire.ends[1].interface_counters(VETH).unwrap().sent;
    let (before, deadline) = (sent(), Instant::now() + PATIENCE);
    while sent() < before + 1_000 {
        assert!(Instant::now() < deadline && gone.try_wait().unwrap().is_none(), "it does not send");
        sleep(Duration::from_millis(20));
    }
    gone.kill().unwrap();
    gone.wait().unwrap();
    // The next is served, which the reflector does only when it has let go of the load of an hour.
    let ends = ["10.200.0.1", "10.200.0.2"];
    let latency = || generate(&wire.ends[0], &reflector.control, ends, &["latency", "--rate", "50", "--seconds", "1"]);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match latency() {
            Ok(results) => return assert_eq!(number(&results, "/total/planned"), 50.0),
            Err(refusal) => assert!(refusal.contains("one at a time") && Instant::now() < deadline, "{refusal}"),
        }
        sleep(Duration::from_millis(50));
    }
}
