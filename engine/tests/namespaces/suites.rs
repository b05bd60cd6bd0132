//! The second cipher suite: real traffic under it, however it is set; two that disagree; and `wg`, which knows nothing
//! of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ringfort_testbed::capture::Capture;
use ringfort_testbed::command::run;
use ringfort_testbed::daemon::Program;
use ringfort_testbed::netns::{Namespace, VETH, cable, inner_v4};
use ringfort_testbed::ping::{self, Background, Pinger};
use ringfort_testbed::tunnel::{MTU, PORT, Peering};
use ringfort_testbed::{Daemon, Error, Family, Implementation, KeyPair, Result, Tunnel, janitor, uapi};

use crate::harness::traffic::{OPENING, PATIENCE, TCP_BYTES, check_counters, exchange};
use crate::harness::{all_drops, drops, eventually, peer, us, us_measured, wg};

const AES: &str = "aes256gcm";
const WIREGUARD: &str = "chacha20poly1305";
/// What an initiation begins with under each suite.
const MARKED: [u8; 4] = *b"\x01GCM";
const UNMARKED: [u8; 4] = [1, 0, 0, 0];

/// Runs the program as a command, not as a daemon.
fn ringfort(words: &[&str]) -> Result<String> {
    run(Command::new(us().path).args(words))
}

fn set_suite(tunnel: &Tunnel, side: usize, suite: &str) {
    ringfort(&["--set-suite", suite, &tunnel.sides[side].interface]).unwrap();
}

fn set_peer_suite(tunnel: &Tunnel, side: usize, suite: &str) {
    let peer = tunnel.sides[1 - side].keys.public.base64();
    ringfort(&["--set-suite", suite, "--peer", &peer, &tunnel.sides[side].interface]).unwrap();
}

/// A configuration file that goes with its test.
struct File(PathBuf);

impl File {
    fn new(text: &str) -> Self {
        let path = janitor::directory().join(format!("{}.conf", janitor::unique_name()));
        fs::write(&path, text).unwrap();
        Self(path)
    }

    fn program(&self) -> Program {
        us_measured().with_options(&format!("--config {}", self.0.display()))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Everything that the other tests send between two implementations goes through, and the handshakes are what they
/// should be.
fn carries_traffic(tunnel: &Tunnel, peering: &Peering, first_bytes: [u8; 4]) {
    let capture = Capture::start(tunnel.namespace(1)).unwrap();
    wg::connect(tunnel, peering).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let handshakes = capture.datagrams(PORT, Duration::from_millis(300));
    let initiations: Vec<_> = handshakes.iter().filter(|datagram| datagram.payload[0] == 1).collect();
    assert!(!initiations.is_empty() && initiations.iter().all(|datagram| datagram.payload[..4] == first_bytes));
    assert!(handshakes.iter().all(|datagram| datagram.payload[0] == 1 || datagram.payload[1..4] == [0; 3]));
    for inner in [Family::V4, Family::V6] {
        exchange(tunnel, inner, MTU as usize, TCP_BYTES);
    }
    check_counters(tunnel, 2 * TCP_BYTES);
    for side in &tunnel.sides {
        let dropped = all_drops(&side.interface);
        assert!(!dropped.contains_key("suite_mismatch") && !dropped.contains_key("bad_tag"), "{dropped:?}");
        let marked = u64::from(first_bytes == MARKED);
        assert_eq!(uapi::stats(&side.interface).unwrap()["peers_aes256gcm"], marked);
    }
}

fn carries_traffic_set_by_interface(outer: Family, preshared: bool) {
    let tunnel = Tunnel::new([&us_measured(), &us_measured()]).unwrap();
    set_suite(&tunnel, 0, AES);
    set_suite(&tunnel, 1, AES);
    carries_traffic(&tunnel, &Peering { outer, preshared, ..Peering::default() }, MARKED);
}

#[test]
fn traffic_set_by_interface() {
    carries_traffic_set_by_interface(Family::V4, false);
}

#[test]
fn traffic_set_by_interface_with_psk_over_v6() {
    carries_traffic_set_by_interface(Family::V6, true);
}

/// Before `wg` adds the peers: the suites wait for them.
#[test]
fn traffic_set_by_peer() {
    let tunnel = Tunnel::new([&us_measured(), &us_measured()]).unwrap();
    set_peer_suite(&tunnel, 0, AES);
    set_peer_suite(&tunnel, 1, AES);
    carries_traffic(&tunnel, &Peering { preshared: true, ..Peering::default() }, MARKED);
}

/// One side by its interface, the other by the peer; and an interface whose only peer is an exception.
#[test]
fn traffic_set_by_files() {
    let file = File::new(&format!("[Interface]\nCipherSuite = {AES}\n"));
    let tunnel = Tunnel::new([&file.program(), &us_measured()]).unwrap();
    set_peer_suite(&tunnel, 1, AES);
    carries_traffic(&tunnel, &Peering::default(), MARKED);
    drop(tunnel);

    let key = KeyPair::random().unwrap();
    let exception = File::new(&format!(
        "[Interface]\nCipherSuite = {AES}\n[Peer]\nPublicKey = {}\nCipherSuite = {WIREGUARD}\n",
        key.public.base64()
    ));
    let mut tunnel = Tunnel::new([&exception.program(), &peer(Implementation::Ringfort)]).unwrap();
    tunnel.sides[1].keys = key;
    carries_traffic(&tunnel, &Peering::default(), UNMARKED);
}

/// A peer of the second suite and a wireguard-go on one interface. Neither notices the other, nor that its suite is set
/// again or its neighbour's changes.
#[test]
fn two_suites_on_one_interface() {
    let tunnel = Tunnel::connected([&us_measured(), &us_measured()], &Peering::default()).unwrap();
    set_peer_suite(&tunnel, 0, AES);
    set_suite(&tunnel, 1, AES);
    let third = Third::new(&tunnel);
    for (from, address) in [(tunnel.namespace(0), inner_v4(1)), (&third.namespace, inner_v4(0))] {
        ping::until_answered(from, address, OPENING).unwrap();
    }
    let pings = Background::start(&third.namespace, inner_v4(0), Duration::from_millis(1), PATIENCE).unwrap();
    for suite in [WIREGUARD, AES, AES, "default", AES] {
        set_peer_suite(&tunnel, 0, suite);
    }
    tunnel.wait_until_open(1, OPENING).unwrap();
    let tally = pings.finish_later();
    assert!(tally.sent > 20 && tally.lost.is_empty(), "{tally:?}");
    exchange(&tunnel, Family::V4, MTU as usize, TCP_BYTES);
    let amount = ringfort_testbed::tcp::Amount::Bytes(TCP_BYTES);
    let progress = std::sync::atomic::AtomicU64::new(0);
    ringfort_testbed::tcp::transfer(tunnel.namespace(0), &third.namespace, inner_v4(2), amount, &progress).unwrap();
}

/// A wireguard-go on a second cable of the first namespace.
struct Third {
    _daemon: Daemon,
    namespace: Namespace,
}

impl Third {
    fn new(tunnel: &Tunnel) -> Self {
        let (hub, namespace) = (tunnel.namespace(0), Namespace::new().unwrap());
        cable([(hub, "second"), (&namespace, VETH)]).unwrap();
        for (namespace, interface, address) in [(hub, "second", "10.201.0.1"), (&namespace, VETH, "10.201.0.2")] {
            namespace.add_address(interface, address.parse().unwrap(), 24).unwrap();
        }
        let (interface, keys) = (janitor::unique_name(), KeyPair::random().unwrap());
        let daemon = Daemon::start(&peer(Implementation::WireguardGo), &namespace, &interface).unwrap();
        namespace.add_address(&interface, inner_v4(2), 24).unwrap();
        namespace.ip(&format!("link set {interface} mtu {MTU} up")).unwrap();
        let ours = format!("public_key={}\nallowed_ip={}/32\n", keys.public.hex(), inner_v4(2));
        uapi::set(&tunnel.sides[0].interface, &ours).unwrap();
        let theirs = format!(
            "private_key={}\nlisten_port={PORT}\npublic_key={}\nallowed_ip={}/32\nendpoint=10.201.0.1:{PORT}\n",
            keys.private.hex(),
            tunnel.sides[0].keys.public.hex(),
            inner_v4(0)
        );
        uapi::set(&interface, &theirs).unwrap();
        Self { _daemon: daemon, namespace }
    }
}

/// The line of a gateway's log about its peer's suite, if there is one.
fn mismatch_in_log(tunnel: &mut Tunnel, side: usize) -> Vec<String> {
    let key = tunnel.sides[1 - side].keys.public.base64();
    let peer = format!("peer({}…{})", &key[..4], &key[39..43]);
    let log = tunnel.sides[side].daemon().log();
    log.lines()
        .filter(|line| line.contains(&peer) && line.contains("uses the cipher suite"))
        .map(str::to_owned)
        .collect()
}

/// Whoever asks: it is refused, counted and logged on both sides, once; and set right, the tunnel opens at once.
fn disagreement_is_loud(suites: [&str; 2], asks: usize) {
    let mut tunnel = Tunnel::new([&us_measured(), &us_measured()]).unwrap();
    set_peer_suite(&tunnel, 0, suites[0]);
    set_suite(&tunnel, 1, suites[1]);
    // The other side does not know where the one that asks is, and tells it all the same.
    let mut knows_endpoint = [false; 2];
    knows_endpoint[asks] = true;
    wg::connect(&tunnel, &Peering { knows_endpoint, ..Peering::default() }).unwrap();
    assert!(tunnel.wait_until_open(asks, Duration::from_secs(7)).is_err(), "two that disagree are connected");
    for side in [0, 1] {
        let mismatch = || drops(&tunnel.sides[side].interface, "suite_mismatch") >= 1;
        eventually(PATIENCE, &format!("the mismatch is counted by side {side}"), mismatch);
        eventually(PATIENCE, "it is logged", || !mismatch_in_log(&mut tunnel, side).is_empty());
        let lines = mismatch_in_log(&mut tunnel, side);
        let [line] = &lines[..] else { panic!("one line was expected of side {side}: {lines:?}") };
        let (ours, theirs) = (suites[side], suites[1 - side]);
        assert!(line.contains(&format!("suite {theirs}")) && line.contains(&format!("set to {ours}")), "{line}");
        let peer = wg::only_peer(&tunnel.sides[side].interface).unwrap();
        assert_eq!((peer.latest_handshake, peer.received_bytes), (0, 0));
    }
    set_suite(&tunnel, 1, suites[0]);
    assert!(tunnel.wait_until_open(asks, OPENING).is_ok(), "set right, and not connected");
    exchange(&tunnel, Family::V4, MTU as usize, 200_000);
}

#[test]
fn a_marked_initiation_is_refused() {
    disagreement_is_loud([AES, WIREGUARD], 0);
}

#[test]
fn an_unmarked_initiation_is_refused() {
    disagreement_is_loud([WIREGUARD, AES], 0);
}

#[test]
fn a_disagreement_is_loud_whoever_asks() {
    disagreement_is_loud([AES, WIREGUARD], 1);
}

/// Another implementation drops what is marked; what it asks for is refused, and named.
#[test]
fn wireguard_go_does_not_speak_the_second_suite() {
    let mut tunnel = Tunnel::new([&us_measured(), &peer(Implementation::WireguardGo)]).unwrap();
    set_peer_suite(&tunnel, 0, AES);
    // We ask first: it cannot, and so we do not hear what it speaks.
    tunnel.configure(0, &Peering::default()).unwrap();
    tunnel.configure(1, &Peering { knows_endpoint: [true, false], ..Peering::default() }).unwrap();
    assert!(tunnel.wait_until_open(0, Duration::from_secs(2)).is_err());
    eventually(Duration::from_secs(40), "the silence is logged", || {
        tunnel.sides[0].daemon().log().contains("does not answer handshakes of the cipher suite aes256gcm")
    });
    assert_eq!(mismatch_in_log(&mut tunnel, 0), [""; 0]);

    tunnel.configure(1, &Peering::default()).unwrap();
    assert!(tunnel.wait_until_open(1, Duration::from_secs(2)).is_err());
    let mismatch = || drops(&tunnel.sides[0].interface, "suite_mismatch") > 0;
    eventually(PATIENCE, "the mismatch is counted", mismatch);
    eventually(PATIENCE, "it is logged", || !mismatch_in_log(&mut tunnel, 0).is_empty());
    assert_eq!(mismatch_in_log(&mut tunnel, 0).len(), 1);
    assert_eq!(wg::only_peer(&tunnel.sides[0].interface).unwrap().latest_handshake, 0);
    set_peer_suite(&tunnel, 0, "default");
    tunnel.wait_until_open(0, OPENING).unwrap();
    exchange(&tunnel, Family::V4, MTU as usize, 200_000);
}

/// Every command of `wg` works as without suites, shows nothing of them and changes nothing about them.
#[test]
fn wg_neither_sees_nor_touches_suites() {
    let tunnel = Tunnel::new([&us_measured(), &us_measured()]).unwrap();
    let peering = Peering::default();
    wg::connect(&tunnel, &peering).unwrap();
    let interface = tunnel.sides[0].interface.clone();
    let commands = [format!("show {interface}"), format!("show {interface} dump"), format!("showconf {interface}")];
    let before = commands.each_ref().map(|command| wg::wg(command).unwrap());
    set_suite(&tunnel, 0, AES);
    set_peer_suite(&tunnel, 0, AES);
    set_suite(&tunnel, 1, AES);
    for (command, before) in commands.iter().zip(before) {
        assert_eq!(wg::wg(command).unwrap(), before, "wg {command}");
    }

    tunnel.wait_until_open(0, OPENING).unwrap();
    let other = tunnel.sides[1].keys.public.base64();
    let suites = format!("interface\t{AES}\n{other}\t{AES}\n");
    assert_eq!(ringfort(&["--suites", &interface]).unwrap(), suites);
    let pings = {
        let inner = tunnel.sides[0].inner(Family::V4);
        Background::start(tunnel.namespace(1), inner, Duration::from_millis(1), PATIENCE).unwrap()
    };
    let config = wg::wg(&format!("showconf {interface}")).unwrap();
    for _ in 0..10 {
        wg::wg_with_input(&format!("syncconf {interface} /dev/stdin"), &config).unwrap();
        wg::wg_with_input(&format!("addconf {interface} /dev/stdin"), &config).unwrap();
        wg::wg(&format!("set {interface} peer {other} persistent-keepalive 25")).unwrap();
    }
    let tally = pings.finish_later();
    assert!(tally.sent > 20 && tally.lost.is_empty(), "{tally:?}");

    // Replaced, removed and added again, the peer is still what it was set to.
    wg::wg_with_input(&format!("setconf {interface} /dev/stdin"), &config).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    wg::wg(&format!("set {interface} peer {other} remove")).unwrap();
    wg::wg_with_input(&format!("addconf {interface} /dev/stdin"), &wg::peer_section(&tunnel, 0, &peering)).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    assert_eq!(ringfort(&["--suites", &interface]).unwrap(), suites);
    assert!(!all_drops(&interface).contains_key("suite_mismatch"));
}

/// A file with a mistake in it: one sentence that says where, and nothing is left behind.
#[test]
fn a_file_with_a_mistake_is_refused_at_the_start() {
    let namespace = Namespace::new().unwrap();
    let interface = janitor::unique_name();
    for (text, place, about) in [
        ("[Interface]\nCipherSuite = aes128gcm\n", "2:15", "not a cipher suite"),
        ("[Interface]\n\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk\n", "3:14", "not a key"),
        ("[Interface]\nListenPort = 51820\n", "2:1", "needs a PrivateKey"),
        ("[Peer]\nCipherSuite = aes256gcm\n", "1:1", "has no PublicKey"),
    ] {
        let file = File::new(text);
        let run = namespace.command(us().path).args(["--config", &file.0.display().to_string(), &interface]).output();
        let output = run.unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(&format!("{}:{place}: ", file.0.display())) && error.contains(about), "{error}");
        assert!(!error.contains("yAnz5TF") && error.lines().count() == 1, "{error}");
        assert!(!namespace.has_interface(&interface) && !uapi::socket_path(&interface).exists());
    }
    let output = namespace.command(us().path).args(["--config", "/no/such/file", &interface]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stderr).unwrap().contains("/no/such/file: cannot be read: No such file or directory")
    );
}

/// `--set-suite` where nobody or somebody else answers.
#[test]
fn who_has_no_suites_says_so() {
    let refused = |words: &[&str]| match ringfort(words) {
        Err(error) => Error::to_string(&error),
        Ok(text) => panic!("{words:?} was not refused: {text}"),
    };
    let text = refused(&["--set-suite", AES, "rf-no-such"]);
    assert!(text.contains("no daemon serves interface rf-no-such"), "{text}");
    let tunnel = Tunnel::new([&peer(Implementation::WireguardGo), &us_measured()]).unwrap();
    let theirs = &tunnel.sides[0].interface;
    for words in [&["--set-suite", AES, theirs][..], &["--suites", theirs]] {
        let text = refused(words);
        assert!(text.contains("it is not ringfort"), "{text}");
    }
    let answer = uapi::request(&tunnel.sides[1].interface, "set=1\ncipher_suite=aes\n\n").unwrap();
    assert_eq!(answer.errno, -libc::EINVAL);
}

/// Where the file is looked for, so `wg-quick`, which gives only the interface's name, finds it.
#[test]
fn the_usual_place_of_the_file() {
    let directory = Path::new("/etc/ringfort");
    let is_new = fs::create_dir(directory).is_ok();
    let interface = janitor::unique_name();
    let file = File(directory.join(format!("{interface}.conf")));
    // Another run of this may remove the directory at any time, but not with a file in it.
    eventually(PATIENCE, "the file is there", || {
        let _ = fs::create_dir(directory);
        fs::write(&file.0, format!("[Interface]\nCipherSuite = {AES}\n")).is_ok()
    });
    let namespace = Namespace::new().unwrap();
    let started = Daemon::start(&us_measured(), &namespace, &interface);
    drop(file);
    if is_new {
        let _ = fs::remove_dir(directory);
    }
    let daemon = started.unwrap();
    assert_eq!(ringfort(&["--suites", &interface]).unwrap(), format!("interface\t{AES}\n"));
    assert!(daemon.stop().unwrap().success());
}

/// What a file says holds for every start; what a command said goes with the daemon.
#[test]
fn after_a_restart_the_file_holds() {
    let file = File::new(&format!("[Interface]\nCipherSuite = {AES}\n"));
    let mut tunnel = Tunnel::new([&file.program(), &file.program()]).unwrap();
    set_suite(&tunnel, 0, WIREGUARD);
    tunnel.sides[0].daemon.take().unwrap().kill().unwrap();
    tunnel.start(0).unwrap();
    assert_eq!(ringfort(&["--suites", &tunnel.sides[0].interface]).unwrap(), format!("interface\t{AES}\n"));
    wg::connect(&tunnel, &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    Pinger::new(tunnel.namespace(1), tunnel.sides[0].inner(Family::V4)).unwrap().ping(1_000, PATIENCE).unwrap();
    let log = tunnel.sides[0].daemon().log();
    assert!(log.contains("cipher suite of the interface aes256gcm"), "{log}");
}
