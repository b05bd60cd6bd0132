//! A gateway that refuses everything, as one does that hands its peers on.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use ringfort_agent::agent::Event;
use ringfort_agent::gateway::{self, FromGateway};
use ringfort_agent::state::{Change, GatewayOp};
use ringfort_agent::uapi::socket_path;
use ringfort_cluster::harness;
use ringfort_core::crypto::PublicKey;
use tokio::sync::mpsc;

const EIO: i32 = -5;
const EINVAL: i32 = -22;

/// Answers each request so, until the test ends.
fn serve(interface: &str, answer: impl Fn(&str) -> String + Send + 'static) {
    let path = socket_path(interface);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        let mut clients = Vec::new();
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let (mut text, mut buffer) = (String::new(), [0; 4096]);
            while !text.ends_with("\n\n") {
                let len = client.read(&mut buffer).unwrap();
                text.push_str(std::str::from_utf8(&buffer[..len]).unwrap());
            }
            client.write_all(answer(&text).as_bytes()).unwrap();
            // Whoever watches goes on.
            clients.push(client);
        }
    });
}

fn removals(count: u8) -> Vec<GatewayOp> {
    (1..=count).map(|number| GatewayOp { peer: PublicKey::new([number; 32]), change: Change::Remove }).collect()
}

/// What was done, what was refused, and whether it is known of all.
async fn set(interface: &str) -> (usize, usize, bool) {
    let (done, result) = gateway::set(interface, removals(5)).await;
    let count = |is_done: bool| done.iter().filter(|(_, done)| *done == is_done).map(|(ops, _)| ops.len()).sum();
    (count(true), count(false), result.is_ok())
}

#[tokio::test]
async fn a_gateway_that_takes_nothing_now_has_refused_no_value() {
    let interface = "rfa-given";
    serve(interface, |_| format!("errno={EIO}\n\n"));
    assert_eq!(set(interface).await, (0, 0, false));
    gateway::recover(interface).await.unwrap_err();
    fs::remove_file(socket_path(interface)).unwrap();

    // Only one of them is wrong.
    let interface = "rfa-strict";
    serve(interface, |text| {
        let errno = if text.contains(&"03".repeat(32)) { EINVAL } else { 0 };
        format!("errno={errno}\n\n")
    });
    assert_eq!(set(interface).await, (4, 1, true));
    assert!(!gateway::recover(interface).await.unwrap(), "it does not know how");
    fs::remove_file(socket_path(interface)).unwrap();
}

#[tokio::test]
async fn a_list_that_ends_in_an_error_is_not_all() {
    let interface = "rfa-partly";
    serve(interface, |text| {
        if text.starts_with("watch") {
            return "json={\"event\":\"begin\",\"role\":\"active\"}\n".to_owned();
        }
        format!("public_key={}\nerrno={EIO}\n\n", "01".repeat(32))
    });
    let (events, mut arrivals) = mpsc::channel::<Event>(64);
    let (_restart, restarts) = mpsc::channel(1);
    let following = tokio::spawn(gateway::follow(interface.to_owned(), events, restarts));
    loop {
        let Some(Event::Gateway(event)) = arrivals.recv().await else { panic!("nothing is said") };
        match event {
            FromGateway::Closed(why) => break assert!(why.contains("does not list all"), "{why}"),
            FromGateway::HadAll => panic!("there may be more"),
            _ => {}
        }
    }
    following.abort();
    fs::remove_file(socket_path(interface)).unwrap();
}

#[tokio::test]
async fn a_gateway_that_hands_its_peers_on_for_long_is_not_absent() {
    let interface = "rfa-giving";
    let asked = AtomicUsize::new(0);
    // Attempts are half a second apart in the end, and who does not answer for 2 s is absent.
    serve(interface, move |_| match asked.fetch_add(1, Ordering::Relaxed) {
        0..8 => format!("errno={EIO}\n\n"),
        _ => "json={\"event\":\"begin\",\"role\":\"active\"}\nerrno=0\n\n".to_owned(),
    });
    let (events, mut arrivals) = mpsc::channel::<Event>(64);
    let (_restart, restarts) = mpsc::channel(1);
    let following = tokio::spawn(gateway::follow(interface.to_owned(), events, restarts));
    let Some(Event::Gateway(event)) = arrivals.recv().await else { panic!("nothing is said") };
    assert!(matches!(event, FromGateway::Opened), "{event:?}");
    following.abort();
    fs::remove_file(socket_path(interface)).unwrap();
}

#[tokio::test]
async fn a_gateway_that_lets_nobody_watch_is_not_there() {
    for (interface, answer, part) in [
        ("rfa-deaf", format!("errno={EINVAL}\n\n"), "errno -22"),
        ("rfa-full", "json={\"error\":\"8 clients watch already\"}\nerrno=-16\n\n".to_owned(), "8 clients watch"),
    ] {
        serve(interface, move |_| answer.clone());
        let (events, mut arrivals) = mpsc::channel::<Event>(64);
        let (_restart, restarts) = mpsc::channel(1);
        let following = tokio::spawn(gateway::follow(interface.to_owned(), events, restarts));
        let Some(Event::Gateway(event)) = arrivals.recv().await else { panic!("nothing is said") };
        assert!(matches!(&event, FromGateway::Absent(why) if why.contains(part)), "{event:?}");
        following.abort();
        fs::remove_file(socket_path(interface)).unwrap();
    }
}

/// As with a drop-in for the gateway's unit alone: the socket is another user's, and the agent, although it is root,
/// has no capability to open it.
#[test]
fn a_socket_of_another_user_is_told_from_no_gateway() {
    let interface = "rfa-foreign";
    serve(interface, |_| panic!("it may not ask"));
    let path = socket_path(interface);
    std::os::unix::fs::chown(&path, Some(65534), Some(65534)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let mut agent = Command::new("setpriv")
        .arg("--bounding-set=-all,+net_admin")
        .arg(harness::agent())
        .args(["run", interface, "--network", "net", "--node", "a", "--etcd", "http://127.0.0.1:1"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(agent.stderr.take().unwrap());
    // There is no etcd either, of which it complains every few seconds.
    let mut lines = log.lines().map(Result::unwrap).take(12);
    let line = lines.find(|line| line.contains("belongs to another user"));
    agent.kill().unwrap();
    agent.wait().unwrap();
    fs::remove_file(path).unwrap();
    let line = line.expect("it says nothing of it");
    assert!(line.contains("ERROR") && line.contains("user.conf") && line.contains("Permission denied"), "{line}");
}
