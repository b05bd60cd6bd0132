//! A gateway that goes on in another process: its peers notice nothing, whatever fails on the way.
//!
//! ```text
//!   [sender, receiver] ── wg0 ── gateway, old or new ── veth ── gateway of the other ── wg0 ── [receiver, sender]
//! ```

mod beside;
mod flows;
mod stream;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Command;

use nix::sys::signal::Signal;
use ringfort_testbed::netns::Namespace;
use ringfort_testbed::tunnel::Peering;
use ringfort_testbed::{Daemon, Family, Implementation, Tunnel, uapi};
use serde_json::{Value, json};

use crate::harness::traffic::{OPENING, PATIENCE};
use crate::harness::{eventually, peer, us, us_measured};
use stream::Stream;

fn tunnel(options: &str, partner: Implementation) -> Tunnel {
    let tunnel = Tunnel::connected([&us().with_options(options), &peer(partner)], &Peering::default()).unwrap();
    // What waits while a gateway, or the whole machine, is slow must not be lost in the queue of an interface.
    for side in 0..2 {
        let interface = &tunnel.sides[side].interface;
        tunnel.namespace(side).ip(&format!("link set {interface} txqueuelen 20000")).unwrap();
    }
    tunnel.wait_until_open(0, OPENING).unwrap();
    tunnel.wait_until_open(1, OPENING).unwrap();
    tunnel
}

/// Starts the process that is to go on.
fn heir(tunnel: &Tunnel, options: &str, stop_at: Option<&str>) -> Daemon {
    let interface = &tunnel.sides[0].interface;
    // As an operator restarts it: it measures beside the one that serves.
    let program = us_measured().with_options(options).with_options("--take-over");
    let mut command = tunnel.namespace(0).command(&program.path);
    command.args(program.arguments(interface));
    if let Some(place) = stop_at {
        command.env("RINGFORT_STOP_AT", place);
    }
    Daemon::spawn_command(command, interface).unwrap()
}

/// The process that serves.
fn process(interface: &str) -> Option<i64> {
    let answer = uapi::request(interface, "origin=1\n\n").ok()?;
    let (_, json) = answer.pairs.into_iter().find(|(name, _)| name == "json")?;
    serde_json::from_str::<Value>(&json).ok()?["process"].as_i64()
}

fn wait_until_serves(daemon: &Daemon) {
    let pid = i64::from(daemon.pid());
    eventually(PATIENCE, "the process serves", || process(daemon.interface()) == Some(pid));
}

/// Hands the gateway of side 0 over, and waits until the old process is gone. Returns what that has logged.
pub fn hand_over(tunnel: &mut Tunnel, options: &str) -> String {
    let new = heir(tunnel, options, None);
    let mut old = tunnel.sides[0].daemon.replace(new).unwrap();
    let status = old.wait(PATIENCE).unwrap();
    assert!(status.success(), "{status}: {}", old.log());
    wait_until_serves(tunnel.sides[0].daemon());
    old.log()
}

fn last_handshake(interface: &str) -> Vec<String> {
    let lines = uapi::get(interface).unwrap();
    lines.into_iter().filter(|(name, _)| name.starts_with("last_handshake")).map(|(_, value)| value).collect()
}

/// The gateway is started with the first of these, and goes on with the others, one after the other.
fn goes_on(options: &[&str], partner: Implementation) {
    let mut tunnel = tunnel(options[0], partner);
    let streams = [0, 1].map(|from| Stream::start(&tunnel, from));
    let interfaces = [0, 1].map(|side| tunnel.sides[side].interface.clone());
    let before = interfaces.each_ref().map(|interface| last_handshake(interface));
    let counted = uapi::transfer(&uapi::get(&interfaces[0]).unwrap());
    for options in &options[1..] {
        hand_over(&mut tunnel, options);
    }
    streams.into_iter().for_each(Stream::has_lost_nothing);
    assert_eq!(interfaces.each_ref().map(|interface| last_handshake(interface)), before, "nobody made a handshake");
    let after = uapi::transfer(&uapi::get(&interfaces[0]).unwrap());
    assert!(after.0 >= counted.0 && after.1 >= counted.1, "traffic is counted on: {counted:?}, {after:?}");
}

#[test]
fn one_worker_goes_on() {
    goes_on(&["--workers 1"; 4], Implementation::WireguardGo);
}

#[test]
fn two_workers_go_on() {
    goes_on(&["--workers 2"; 4], Implementation::WireguardGo);
}

#[test]
fn between_ourselves() {
    goes_on(&["--workers 2"; 4], Implementation::Ringfort);
}

/// Indices of sessions go on to work, whoever owns them now. There are never fewer workers than before.
#[test]
fn with_more_workers_or_fewer() {
    goes_on(&["--workers 1", "--workers 2", "--workers 1", "--workers 2"], Implementation::WireguardGo);
}

/// What the old process has put in front of the sockets knows no session of the new one, and must not judge them.
#[test]
fn with_another_filter_or_none() {
    let mut tunnel = tunnel("--workers 2", Implementation::WireguardGo);
    let interface = tunnel.sides[0].interface.clone();
    for options in ["--workers 2 --filter off", "--workers 2", "--workers 2 --filter off"] {
        hand_over(&mut tunnel, options);
        for role in ["demote", "promote"] {
            let output = Command::new(us().path).args([role, &interface]).output().unwrap();
            assert!(output.status.success(), "{output:?}");
        }
        tunnel.wait_until_open(0, PATIENCE).unwrap();
    }
}

/// What a process says that takes over, step by step, without being able to.
struct Claimant(UnixStream);

impl Claimant {
    fn new(interface: &str, versions: &str) -> Self {
        let mut stream = UnixStream::connect(uapi::socket_path(interface)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("hand_over={versions}\n\n").as_bytes()).unwrap();
        Self(stream)
    }

    fn ask_for_state(&mut self) {
        self.0.write_all(b"hand_over_state=1\n\n").unwrap();
    }

    fn say(&mut self, message: &Value) {
        let text = serde_json::to_vec(message).unwrap();
        let header = [u32::try_from(text.len()).unwrap().to_le_bytes(), [0; 4]].concat();
        self.0.write_all(&[header, text].concat()).unwrap();
    }

    /// What it hears next. Descriptors that come along are closed.
    fn hear(&mut self) -> Value {
        let mut header = [0; 8];
        self.0.read_exact(&mut header).unwrap();
        let number = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap()) as usize;
        let mut text = vec![0; number(0)];
        self.0.read_exact(&mut text).unwrap();
        let mut dots = vec![0; number(4).div_ceil(200)];
        self.0.read_exact(&mut dots).unwrap();
        serde_json::from_slice(&text).unwrap()
    }
}

/// The versions that this program knows, as it says itself.
fn versions(interface: &str) -> String {
    let refusal = Claimant::new(interface, "0.0").hear();
    let text = refusal["Refused"].as_str().unwrap_or_else(|| panic!("{refusal}"));
    let (_, ours) = text.split_once("serves in version ").unwrap();
    ours.split(':').next().unwrap().to_owned()
}

/// Whoever asks for everything and then goes away has changed nothing, wherever that is. Only who may have served costs
/// the sessions.
#[test]
fn whoever_gives_up_has_changed_nothing() {
    let mut tunnel = tunnel("--workers 2", Implementation::WireguardGo);
    let interface = tunnel.sides[0].interface.clone();
    let versions = versions(&interface);
    let before = last_handshake(&interface);
    let streams = [0, 1].map(|from| Stream::start(&tunnel, from));
    drop(Claimant::new(&interface, &versions));
    let mut claimant = Claimant::new(&interface, &versions);
    assert_eq!(claimant.hear()["Offer"]["queues"], 2);
    claimant.ask_for_state();
    assert!(claimant.hear()["State"].is_array());
    drop(claimant);
    let mut claimant = Claimant::new(&interface, &versions);
    claimant.hear();
    claimant.ask_for_state();
    claimant.hear();
    claimant.say(&json!({ "Refused": "it is a test" }));
    assert_eq!(claimant.hear(), json!({ "Refused": "it is a test" }));
    streams.into_iter().for_each(Stream::has_lost_nothing);
    assert_eq!(last_handshake(&interface), before);
    // Now somebody might have sent under our keys.
    let mut claimant = Claimant::new(&interface, &versions);
    claimant.hear();
    claimant.ask_for_state();
    claimant.hear();
    claimant.say(&json!("Ready"));
    assert_eq!(claimant.hear(), json!("Go"));
    drop(claimant);
    let stream = Stream::start(&tunnel, 1);
    eventually(PATIENCE, "there is another session", || last_handshake(&interface) != before);
    drop(stream);
    tunnel.wait_until_open(1, PATIENCE).unwrap();
    // And all is as it should be.
    hand_over(&mut tunnel, "--workers 2");
    tunnel.wait_until_open(1, PATIENCE).unwrap();
}

fn is_stopped(daemon: &Daemon) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap_or_default();
    status.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
}

/// The new process is killed at this place: the old one goes on, and can be handed over afterwards.
fn survives_its_heir(place: &str, keeps_sessions: bool) {
    let mut tunnel = tunnel("--workers 2", Implementation::WireguardGo);
    let interface = tunnel.sides[0].interface.clone();
    let before = last_handshake(&interface);
    let stream = keeps_sessions.then(|| Stream::start(&tunnel, 1));
    let new = heir(&tunnel, "--workers 2", Some(place));
    eventually(PATIENCE, "the new process is there", || is_stopped(&new));
    new.kill().unwrap();
    let old = i64::from(tunnel.sides[0].daemon().pid());
    eventually(PATIENCE, "the old process serves", || process(&interface) == Some(old));
    if let Some(stream) = stream {
        stream.has_lost_nothing();
        assert_eq!(last_handshake(&interface), before);
    }
    tunnel.wait_until_open(1, PATIENCE).unwrap();
    hand_over(&mut tunnel, "--workers 2");
    tunnel.wait_until_open(1, PATIENCE).unwrap();
}

#[test]
fn a_new_process_that_ends_before_it_is_ready() {
    survives_its_heir("new-ready", true);
}

#[test]
fn a_new_process_that_ends_when_it_should_serve() {
    survives_its_heir("new-go", false);
}

/// It has attached its filter and its steering by then, which know none of the sessions that follow.
#[test]
fn a_new_process_that_ends_when_it_serves() {
    survives_its_heir("new-serves", false);
}

/// It has more workers, opens sockets for them, and has datagrams steered to those. The group of sockets is the old
/// process's as well: what is for its workers must not come to others from then on.
#[test]
fn a_new_process_that_ends_when_it_serves_with_more_workers() {
    const SESSIONS: usize = 12;
    let mut tunnel = tunnel("--workers 2", Implementation::Ringfort);
    let interface = tunnel.sides[0].interface.clone();
    let new = heir(&tunnel, "--workers 3", Some("new-serves"));
    eventually(PATIENCE, "the new process is there", || is_stopped(&new));
    new.kill().unwrap();
    let old = i64::from(tunnel.sides[0].daemon().pid());
    eventually(PATIENCE, "the old process serves", || process(&interface) == Some(old));
    let handed_over = || uapi::stats(&interface).unwrap()["handoffs"];
    tunnel.wait_until_open(1, PATIENCE).unwrap();
    let before = handed_over();
    for _ in 0..SESSIONS {
        for role in ["demote", "promote"] {
            let output = Command::new(us().path).args([role, &interface]).output().unwrap();
            assert!(output.status.success(), "{output:?}");
        }
        tunnel.wait_until_open(1, PATIENCE).unwrap();
    }
    assert_eq!(handed_over(), before, "datagrams came to a worker that has not their session");
    hand_over(&mut tunnel, "--workers 2");
    tunnel.wait_until_open(1, PATIENCE).unwrap();
}

/// Whoever was given up comes to itself when the old process is gone, which has gone on with the sessions meanwhile.
#[test]
fn who_was_given_up_does_not_serve_later() {
    let mut tunnel = tunnel("--workers 2", Implementation::WireguardGo);
    let interface = tunnel.sides[0].interface.clone();
    let mut new = heir(&tunnel, "--workers 2", Some("new-ready"));
    eventually(PATIENCE, "the new process is there", || is_stopped(&new));
    let old = i64::from(tunnel.sides[0].daemon().pid());
    eventually(PATIENCE, "the old process goes on", || process(&interface) == Some(old));
    tunnel.sides[0].daemon.take().unwrap().kill().unwrap();
    new.signal(Signal::SIGCONT);
    let status = new.wait(PATIENCE).unwrap();
    assert!(!status.success() && new.log().contains("took too long"), "{}", new.log());
}

/// The old process is killed at this place, and the new one serves.
fn outlives(place: &str, keeps_sessions: bool) {
    let program = us().with_options("--workers 2");
    let mut tunnel = Tunnel::connected([&program, &peer(Implementation::WireguardGo)], &Peering::default()).unwrap();
    let daemon = tunnel.sides[0].daemon.take().unwrap();
    let interface = daemon.interface().to_owned();
    daemon.stop().unwrap();
    let mut command = tunnel.namespace(0).command(&program.path);
    command.args(program.arguments(&interface)).env("RINGFORT_STOP_AT", place);
    let old = Daemon::spawn_command(command, &interface).unwrap();
    eventually(PATIENCE, "the gateway is there", || uapi::get(&interface).is_ok());
    tunnel.sides[0].daemon = Some(old);
    tunnel.configure(0, &Peering::default()).unwrap();
    tunnel.namespace(0).ip(&format!("link set {interface} up")).unwrap();
    let inner = tunnel.sides[0].inner(Family::V4);
    tunnel.namespace(0).add_address(&interface, inner, 24).unwrap();
    tunnel.wait_until_open(0, PATIENCE).unwrap();
    let before = last_handshake(&interface);
    let stream = Stream::start(&tunnel, 1);
    let new = heir(&tunnel, "--workers 2", None);
    let old = tunnel.sides[0].daemon.replace(new).unwrap();
    eventually(PATIENCE, "the old process has come so far", || is_stopped(&old));
    old.kill().unwrap();
    wait_until_serves(tunnel.sides[0].daemon());
    if keeps_sessions {
        stream.has_lost_nothing();
        assert_eq!(last_handshake(&interface), before);
        tunnel.wait_until_open(1, PATIENCE).unwrap();
    } else {
        // What was set by command has ended with it, as in any crash.
        drop(stream);
        tunnel.configure(0, &Peering::default()).unwrap();
        tunnel.wait_until_open(0, PATIENCE).unwrap();
    }
}

#[test]
fn an_old_process_that_ends_with_its_state() {
    outlives("old-rest", false);
}

#[test]
fn an_old_process_that_ends_after_it_gave_its_state() {
    outlives("old-state", true);
}

#[test]
fn an_old_process_that_ends_before_it_says_go() {
    outlives("old-ready", true);
}

#[test]
fn an_old_process_that_ends_after_it_said_go() {
    outlives("old-go", true);
}

fn refused(tunnel: &Tunnel, options: &str) -> String {
    let mut new = heir(tunnel, options, None);
    let status = new.wait(PATIENCE).unwrap();
    assert!(!status.success());
    new.log()
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let tunnel = tunnel("--workers 2", Implementation::WireguardGo);
    let interface = &tunnel.sides[0].interface;
    let served = process(interface);
    let stream = Stream::start(&tunnel, 1);
    let log = refused(&tunnel, "--workers 2 --bind 127.0.0.1");
    assert!(log.contains("bound to"), "{log}");
    stream.has_lost_nothing();
    assert_eq!(process(interface), served);
    let refusal = Claimant::new(interface, "4000000000.1").hear();
    assert!(refusal["Refused"].as_str().unwrap().contains("restart the gateway without handing over"), "{refusal}");
}

/// The command starts the new process itself if nobody else can.
#[test]
fn by_command() {
    let mut tunnel = tunnel("--workers 2", Implementation::WireguardGo);
    let interface = tunnel.sides[0].interface.clone();
    let stream = Stream::start(&tunnel, 1);
    let before = process(&interface);
    // A directory is not believed: the daemon may have been taken over.
    let path = us().path;
    let output = Command::new(&path).args(["restart", &interface]).output().unwrap();
    let refused = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && refused.contains("STATE_DIRECTORY="), "{refused}");
    assert_eq!(process(&interface), before);
    // The operator repeats it, as he was told. He is in another network namespace.
    let (_, line) = refused.trim_end().split_once("how you have started it: ").unwrap();
    let line = line.replacen(" ringfort ", &format!(" {} ", path.display()), 1);
    let output = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("serves in the place of"), "{output:?}");
    assert_ne!(process(&interface), before);
    stream.has_lost_nothing();
    let old = tunnel.sides[0].daemon();
    old.wait(PATIENCE).unwrap();
    let log = old.log();
    assert!(log.contains("it was handed over") && log.contains("serves the interface with 2 workers"), "{log}");
    let down = Command::new(us().path).args(["down", &interface]).output().unwrap();
    assert!(down.status.success(), "{down:?}");
    assert!(!tunnel.namespace(0).has_interface(&interface), "the interface has gone with the new process");
}

/// Nobody begins a hand-over without a gateway.
#[test]
fn without_a_gateway_there_is_nothing_to_take_over() {
    let namespace = Namespace::new().unwrap();
    let interface = ringfort_testbed::janitor::unique_name();
    let mut daemon = Daemon::spawn(&us().with_options("--take-over"), &namespace, &interface).unwrap();
    assert!(!daemon.wait(PATIENCE).unwrap().success());
    assert!(daemon.log().contains("no daemon serves interface"), "{}", daemon.log());
    daemon.signal(Signal::SIGTERM);
}
