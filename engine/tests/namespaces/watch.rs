//! `ringfort watch` beside a gateway at work: whoever reads hears of every peer, and who does not read harms nobody.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringfort_testbed::ping;
use ringfort_testbed::tunnel::Peering;
use ringfort_testbed::{Family, Implementation, Tunnel, uapi};
use serde_json::Value;

use crate::harness::traffic::{OPENING, PATIENCE};
use crate::harness::{peer, us, wg};

/// `ringfort watch INTERFACE --json`, whose lines are read by a thread.
struct Watcher {
    child: Child,
    events: Receiver<Value>,
}

impl Watcher {
    fn start(interface: &str) -> Self {
        let mut command = Command::new(us().path);
        command.args(["watch", interface, "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, events) = channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Self { child, events }
    }

    /// Waits for the next line of which this is true; those before it do not matter.
    #[track_caller]
    fn until(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.events.recv_timeout(PATIENCE);
            let event = event.unwrap_or_else(|_| panic!("no line says: {what}"));
            if is_it(&event) {
                return event;
            }
        }
    }

    #[track_caller]
    fn until_changed(&self, change: &str) -> Value {
        let has = |event: &Value| event["changes"].as_array().is_some_and(|all| all.iter().any(|one| one == change));
        self.until(change, has)
    }

    fn end(mut self) -> (ExitStatus, String) {
        let (mut said, mut stderr) = (String::new(), self.child.stderr.take().unwrap());
        stderr.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap(), said)
    }
}

/// A whole life: added, confirmed, elsewhere, without a session, gone; and in the end the gateway goes.
#[test]
fn a_reader_hears_of_a_peers_life() {
    let mut tunnel = Tunnel::new([&us(), &peer(Implementation::WireguardGo)]).unwrap();
    let (interface, key) = (tunnel.sides[0].interface.clone(), tunnel.sides[1].keys.public.base64());
    let watcher = Watcher::start(&interface);
    let begin = watcher.until("it begins", |_| true);
    assert_eq!((begin["event"].as_str(), begin["role"].as_str()), (Some("begin"), Some("active")), "{begin}");
    assert_eq!(watcher.until("all are listed", |_| true)["event"], "complete");
    let peering = Peering { knows_endpoint: [false, true], ..Peering::default() };
    tunnel.configure(0, &peering).unwrap();
    let added = watcher.until_changed("added");
    assert_eq!((added["public_key"].as_str(), added["session"].as_bool()), (Some(key.as_str()), Some(false)));
    tunnel.configure(1, &peering).unwrap();
    tunnel.wait_until_open(1, OPENING).unwrap();
    let confirmed = watcher.until_changed("confirmed");
    assert_eq!((confirmed["state"].as_str(), confirmed["endpoint"].as_str()), (Some("up"), Some("10.200.0.2:51820")));
    wg::wg(&format!("set {} listen-port 51999", tunnel.sides[1].interface)).unwrap();
    ping::until_answered(tunnel.namespace(1), tunnel.sides[0].inner(Family::V4), OPENING).unwrap();
    assert_eq!(watcher.until_changed("endpoint")["endpoint"], "10.200.0.2:51999", "a worker has seen it");
    // Who comes now gets it as it is.
    let late = Watcher::start(&interface);
    let listed = late.until("it is listed", |event| event["event"] == "peer");
    assert_eq!((&listed["public_key"], &listed["session"]), (&key.as_str().into(), &true.into()), "{listed}");
    tunnel.namespace(0).ip(&format!("link set {interface} down")).unwrap();
    assert_eq!(watcher.until_changed("session_gone")["session"], false);
    wg::wg(&format!("set {interface} peer {key} remove")).unwrap();
    assert_eq!(watcher.until("it is gone", |event| event["event"] == "removed")["public_key"], key.as_str());
    kill(Pid::from_raw(late.child.id() as i32), Signal::SIGINT).unwrap();
    assert_eq!(late.end().0.code(), Some(0), "who has asked it to end is content");
    tunnel.sides[0].daemon.take().unwrap().stop().unwrap();
    let (status, said) = watcher.end();
    assert!(status.code() == Some(1) && said.contains("has ended"), "{status}: {said}");
}

fn shell(line: &str) -> Output {
    Command::new("bash").args(["-o", "pipefail", "-c", line]).output().unwrap()
}

#[test]
fn what_people_read_and_how_many_may() {
    let tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    text_ends_with_its_reader(&tunnel);
    there_is_an_end_to_those_who_watch(&tunnel);
}

fn text_ends_with_its_reader(tunnel: &Tunnel) {
    let (interface, program) = (&tunnel.sides[0].interface, us().path.display().to_string());
    let key = tunnel.sides[1].keys.public.base64();
    let first = shell(&format!("{program} watch {interface} | head -n 3"));
    let text = String::from_utf8(first.stdout).unwrap();
    assert_eq!(first.status.code(), Some(0), "it ends although nothing happens");
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].ends_with(&format!(" begin        {interface}, active")), "{text}");
    assert!(lines[1].contains(&format!(" up           {key} at 10.200.0.2:51820")), "{text}");
    assert!(lines[2].contains(" complete     1 peers"), "{text}");
    let nobody = shell(&format!("{program} watch {interface} --peer nobody"));
    assert_eq!(nobody.status.code(), Some(2));
    let missing = shell(&format!("{program} watch no-such-interface"));
    assert_eq!(missing.status.code(), Some(2));
}

/// Peers of the crowd.
const PEERS: u32 = 600;
/// How often all of them are somewhere else: with a line for each, more than any buffer holds.
const ROUNDS: u16 = 20;

fn crowd(interface: &str, port: u16) {
    let mut lines = String::new();
    for n in 0..PEERS {
        let _ = writeln!(lines, "public_key=77{n:062x}\nendpoint=10.0.0.1:{port}");
    }
    uapi::set(interface, &lines).unwrap();
}

/// Connects as `ringfort watch` does.
fn connect(interface: &str) -> UnixStream {
    let mut stream = UnixStream::connect(uapi::socket_path(interface)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"watch=1\n\n").unwrap();
    stream
}

/// Reads until every peer is said to be at this port. Returns how many lines that took.
#[track_caller]
fn read_until_all_are_at(reader: &mut BufReader<UnixStream>, port: u16) -> usize {
    let (mut table, mut lines, mut line) = (BTreeMap::new(), 0, String::new());
    let endpoint = format!("10.0.0.1:{port}");
    let mut there = 0;
    while there < PEERS {
        line.clear();
        assert!(reader.read_line(&mut line).expect("the gateway says more") > 0, "it has hung up");
        let event: Value = serde_json::from_str(line.strip_prefix("json=").unwrap()).unwrap();
        let Some(key) = event["public_key"].as_str() else { continue };
        let is_there = event["endpoint"] == endpoint.as_str();
        let was_there = table.insert(key.to_owned(), is_there).unwrap_or(false);
        there = there + u32::from(is_there) - u32::from(was_there);
        lines += 1;
    }
    lines
}

/// One reads, one does not. The gateway serves all others meanwhile, and the one that stalled has a right picture as
/// soon as it goes on, of fewer lines.
#[test]
fn a_reader_that_stalls_harms_nobody() {
    let tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    let interface = &tunnel.sides[0].interface;
    crowd(interface, 1);
    let mut stalled = BufReader::new(connect(interface));
    let mut line = String::new();
    stalled.read_line(&mut line).unwrap();
    assert!(line.contains("\"begin\""), "{line}");
    let mut good = BufReader::new(connect(interface));
    let mut heard = 0;
    for round in 2..=ROUNDS {
        crowd(interface, round);
        // Who reads hears of every move: all are at this port before any is at the next one.
        heard += read_until_all_are_at(&mut good, round);
    }
    tunnel.wait_until_open(0, OPENING).unwrap();
    assert!(uapi::stats(interface).unwrap()["peers"] > u64::from(PEERS), "others are answered");
    let late = read_until_all_are_at(&mut stalled, ROUNDS);
    // The list, what the socket had room for, and each peer once.
    assert!(late < 5 * PEERS as usize, "{late} lines instead of {heard}");
}

/// Control has room for some, and says so to all others.
fn there_is_an_end_to_those_who_watch(tunnel: &Tunnel) {
    let interface = &tunnel.sides[0].interface;
    let mut watchers: Vec<_> = (0..8).map(|_| BufReader::new(connect(interface))).collect();
    for watcher in &mut watchers {
        let mut line = String::new();
        watcher.read_line(&mut line).unwrap();
        assert!(line.contains("\"begin\""), "{line}");
    }
    let refused = Command::new(us().path).args(["watch", interface]).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(2) && said.contains("8 clients watch already"), "{said}");
    // The place of one who goes is free, also if nothing else happens.
    drop(watchers.pop());
    crate::harness::eventually(Duration::from_secs(5), "there is a place again", || {
        let mut line = String::new();
        BufReader::new(connect(interface)).read_line(&mut line).unwrap();
        line.contains("\"begin\"")
    });
    uapi::get(interface).unwrap();
}
