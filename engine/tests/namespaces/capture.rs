//! `ringfort capture`, read by tshark.

use std::fs::{self, File};
use std::io::Read as _;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicU64;
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringfort_testbed::command::{output, run};
use ringfort_testbed::memory::{self, Needle};
use ringfort_testbed::payload::Dice;
use ringfort_testbed::ping::Pinger;
use ringfort_testbed::tcp::{self, Amount};
use ringfort_testbed::tunnel::Peering;
use ringfort_testbed::{Daemon, Family, Implementation, Tunnel, janitor, uapi};

use crate::harness::traffic::{OPENING, PATIENCE};
use crate::harness::{drops, eventually, peer, us};

const PORT: u16 = 4_444;
/// Directions, as tshark shows them.
const INBOUND: &str = "0x00000001";
const OUTBOUND: &str = "0x00000002";
/// A peer that is there and says nothing.
const BRANCH: &str = "0707070707070707070707070707070707070707070707070707070707070707";

/// `ringfort capture` that runs. Dropping it ends it, and removes its files.
struct Capture {
    child: Child,
    directory: PathBuf,
}

impl Capture {
    /// Begins one, and waits until the gateway takes part. The file is where `--write` says, if that is in `words`.
    fn start(interface: &str, words: &str) -> Self {
        let capture = Self::spawn(interface, words);
        eventually(PATIENCE, "the capture begins", || capture.said().contains("capturing at"));
        capture
    }

    fn spawn(interface: &str, words: &str) -> Self {
        let directory = janitor::directory().join(janitor::unique_name());
        fs::create_dir_all(&directory).unwrap();
        let words = words.replace("FILE", directory.join("file").to_str().unwrap());
        let child = Command::new(us().path)
            .args(["capture", interface])
            .args(words.split_whitespace())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(directory.join("said")).unwrap())
            .spawn()
            .unwrap();
        Self { child, directory }
    }

    /// What it wrote to the standard error.
    fn said(&self) -> String {
        fs::read_to_string(self.directory.join("said")).unwrap()
    }

    fn file(&self) -> PathBuf {
        self.directory.join("file")
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Ends it as Ctrl-C does. Its last words.
    fn finish(&mut self) -> String {
        self.signal(Signal::SIGINT);
        self.wait()
    }

    fn wait(&mut self) -> String {
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.said());
        self.said().lines().last().unwrap_or_default().to_owned()
    }

    /// The values of fields of the packets that `filter` lets through, as tshark reads the file.
    fn fields(&self, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
        let mut tshark = Command::new("tshark");
        tshark.arg("-n").arg("-r").arg(self.file()).args(["-Y", filter, "-T", "fields", "-E", "separator=;"]);
        for protocol in ["ip", "tcp", "udp"] {
            tshark.args(["-o", &format!("{protocol}.check_checksum:TRUE")]);
        }
        fields.iter().for_each(|field| _ = tshark.args(["-e", field]));
        let text = run(&mut tshark).unwrap();
        text.lines().map(|line| line.split(';').map(str::to_owned).collect()).collect()
    }

    fn count(&self, filter: &str) -> usize {
        self.fields(filter, &["frame.number"]).len()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Datagrams of random bytes, each way once.
fn exchange_datagrams(tunnel: &Tunnel) -> [Vec<u8>; 2] {
    let mut dice = Dice::new(7);
    [0, 1].map(|from| {
        let [sender, receiver] = [from, 1 - from].map(|side| {
            let address = SocketAddr::new(tunnel.sides[side].inner(Family::V4), PORT);
            tunnel.namespace(side).enter(|| UdpSocket::bind(address)).unwrap()
        });
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        let payload: Vec<u8> = (0..1_111).map(|_| dice.below(256) as u8).collect();
        sender.send_to(&payload, receiver.local_addr().unwrap()).unwrap();
        let mut buffer = [0; 2_000];
        let len = receiver.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..len], payload);
        payload
    })
}

/// A packet from an address that is not the sender's, until it has been dropped.
fn spoof(tunnel: &Tunnel) {
    let [ours, theirs] = [0, 1].map(|side| tunnel.sides[side].interface.as_str());
    tunnel.namespace(1).add_address(theirs, "10.77.0.99".parse().unwrap(), 24).unwrap();
    let stranger = tunnel.namespace(1).enter(|| UdpSocket::bind("10.77.0.99:0")).unwrap();
    eventually(PATIENCE, "a packet from nobody's address is dropped", || {
        stranger.send_to(b"spoofed", (tunnel.sides[0].inner(Family::V4), PORT)).unwrap();
        drops(ours, "source_not_allowed") > 0
    });
}

fn ping(tunnel: &Tunnel, count: usize) {
    let mut pinger = Pinger::new(tunnel.namespace(0), tunnel.sides[1].inner(Family::V4)).unwrap();
    (0..count).for_each(|n| _ = pinger.ping(100 + n, PATIENCE).unwrap());
}

fn transfer(tunnel: &Tunnel, bytes: u64) {
    for from in [0, 1] {
        let (sender, receiver) = (tunnel.namespace(from), tunnel.namespace(1 - from));
        let address = tunnel.sides[1 - from].inner(Family::V4);
        tcp::transfer(sender, receiver, address, Amount::Bytes(bytes), &AtomicU64::new(0)).unwrap();
    }
}

/// A handshake, ICMP, UDP and TCP, between us and another implementation.
#[test]
fn wireshark_sees_both_sides_each_packet_and_what_was_dropped() {
    let mut tunnel = Tunnel::new([&us(), &peer(Implementation::WireguardGo)]).unwrap();
    let interface = tunnel.sides[0].interface.clone();
    let mut capture = Capture::start(&interface, "--write FILE");
    (0..2).for_each(|side| tunnel.configure(side, &Peering::default()).unwrap());
    tunnel.wait_until_open(0, OPENING).unwrap();
    ping(&tunnel, 5);
    let payloads = exchange_datagrams(&tunnel);
    transfer(&tunnel, 200_000);
    spoof(&tunnel);
    let last = capture.finish();
    assert!(last.contains("none lost"), "{}", capture.said());
    assert_eq!(fs::metadata(capture.file()).unwrap().mode() & 0o777, 0o600);

    // The wire: a handshake that we sent, its answer, and data under the two indices.
    assert!(capture.count("wg.type == 1") > 0 && capture.count("wg.type == 2") > 0, "{last}");
    let fields = ["frame.interface_name", "frame.packet_flags_direction", "ip.src", "udp.dstport", "frame.comment"];
    let wire = capture.fields("wg.type == 4", &fields);
    assert!(wire.len() > 20, "{last}");
    let key = tunnel.sides[1].keys.public.base64();
    let short = format!("peer({}…{})", &key[..4], &key[39..43]);
    for packet in &wire {
        let (source, direction) = (packet[2].as_str(), packet[1].as_str());
        assert!(matches!((source, direction), ("10.200.0.1", OUTBOUND) | ("10.200.0.2", INBOUND)), "{packet:?}");
        assert_eq!((&packet[0], packet[3].as_str()), (&format!("{interface} (ciphertext)"), "51820"));
        assert!(packet[4].starts_with(&format!("{short}, worker ")), "{packet:?}");
    }

    // What became of the answer, as control knows.
    let answers = capture.fields("wg.type == 2", &["frame.packet_flags_direction", "frame.comment"]);
    let accepted = format!("{short}, control, accepted");
    assert!(answers.iter().any(|answer| answer[..] == [INBOUND, &accepted]), "{answers:?}");

    // The tunnel: all that went through it, in order, byte for byte.
    let inside = format!("frame.interface_name == \"{interface} (plaintext)\"");
    let requests = capture.fields(&format!("{inside} && icmp.type == 8"), &["ip.src", "frame.packet_flags_direction"]);
    assert!(requests.len() >= 5 && requests.iter().all(|packet| packet[..] == ["10.77.0.1", OUTBOUND]), "{requests:?}");
    assert!(capture.count(&format!("{inside} && icmp.type == 0 && ip.src == 10.77.0.2")) >= 5);
    for (from, payload) in payloads.iter().enumerate() {
        let source = tunnel.sides[from].inner(Family::V4);
        let filter = format!("{inside} && ip.src == {source} && udp.srcport == {PORT} && udp.dstport == {PORT}");
        assert_eq!(capture.fields(&filter, &["udp.payload"]), [[hex(payload)]]);
        let lens = capture.fields(&format!("{inside} && tcp && ip.src == {source}"), &["tcp.len"]);
        let sum: u64 = lens.iter().map(|len| len[0].parse::<u64>().unwrap()).sum();
        assert!(sum >= 200_000, "{sum} bytes of TCP from {source}");
    }
    let spoofed = capture.fields("frame.comment contains \"dropped: source_not_allowed\"", &["ip.src", "udp.payload"]);
    assert!(!spoofed.is_empty() && spoofed.iter().all(|p| p[..] == ["10.77.0.99", &hex(b"spoofed")]), "{spoofed:?}");
    let wrong = "_ws.malformed || ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0";
    assert_eq!(capture.fields(wrong, &["frame.number", "frame.comment"]), Vec::<Vec<String>>::new());

    let file = fs::read(capture.file()).unwrap();
    let private = tunnel.sides[0].keys.private.hex();
    assert!(!hex(&file).contains(&private), "no secrets");
    let log = tunnel.sides[0].daemon().log();
    assert!(log.contains("captures packets: plaintext and ciphertext of all peers"), "{log}");
    eventually(PATIENCE, "the log tells the end", || {
        tunnel.sides[0].daemon().log().contains("was ended by its client")
    });
}

#[test]
fn only_what_was_asked_for_is_captured_and_no_more_of_it() {
    let tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let interface = &tunnel.sides[0].interface;
    uapi::set(interface, &format!("public_key={BRANCH}\nname=branch\nallowed_ip=10.77.0.50/32\n")).unwrap();

    let mut branch = Capture::start(interface, "--peer branch --write FILE");
    let second = output(Command::new(us().path).args(["capture", interface, "--write", "-"])).unwrap();
    let text = String::from_utf8(second.stderr).unwrap();
    let holder = format!("process {}", branch.child.id());
    assert_eq!(second.status.code(), Some(2), "{text}");
    assert!(text.contains(&holder) && second.stdout.is_empty(), "{text}");
    ping(&tunnel, 3);
    let sender = tunnel.namespace(0).enter(|| UdpSocket::bind("10.77.0.1:0")).unwrap();
    let send = || sender.send_to(b"for the branch", "10.77.0.50:9");
    eventually(PATIENCE, "the branch has no endpoint", || {
        // It is turned back, and the socket may say so.
        let _ = send();
        drops(interface, "no_endpoint") > 0
    });
    branch.finish();
    let seen = branch.fields("frame", &["ip.dst", "frame.comment"]);
    assert!(!seen.is_empty(), "{}", branch.said());
    for packet in &seen {
        let comment = &packet[1];
        assert!(packet[0].starts_with("10.77.0.50"), "of nobody else: {seen:?}");
        assert!(comment.contains("\"branch\"") && comment.contains("dropped: no_endpoint"), "{seen:?}");
    }

    let mut few = Capture::start(interface, "--count 4 --side cipher --snap-length 60 --write FILE");
    let pings = thread::scope(|scope| {
        let pings = scope.spawn(|| ping(&tunnel, 8));
        let last = few.wait();
        pings.join().unwrap();
        last
    });
    assert!(pings.starts_with("4 packets captured (0 of plaintext, 4 of ciphertext)"), "{pings}");
    let lens = few.fields("wg", &["frame.len", "frame.cap_len"]);
    assert_eq!(lens.len(), 4);
    assert!(lens.iter().all(|len| len[1] == "60" && len[0].parse::<u32>().unwrap() > 60), "{lens:?}");

    for (words, reason) in [
        ("--peer nobody --write FILE", "nobody"),
        ("--write /proc/version", "exists already"),
        ("--bytes 0 --write FILE", "--bytes"),
    ] {
        let mut refused = Capture::spawn(interface, words);
        assert_eq!(refused.child.wait().unwrap().code(), Some(2), "{words}: {}", refused.said());
        assert!(refused.said().contains(reason) && !refused.file().exists(), "{words}: {}", refused.said());
    }
    what_the_kernel_refuses_is_seen(&tunnel);
}

/// Nothing leaves the first side any more.
fn what_the_kernel_refuses_is_seen(tunnel: &Tunnel) {
    let (here, interface) = (tunnel.namespace(0), &tunnel.sides[0].interface);
    let there = tunnel.sides[1].outer(Family::V4);
    here.ip(&format!("route add prohibit {there}/32")).unwrap();
    let mut capture = Capture::start(interface, "--side cipher --drops-only --write FILE");
    let socket = here.enter(|| UdpSocket::bind("10.77.0.1:0")).unwrap();
    let speak = || socket.send_to(b"anybody there?", (tunnel.sides[1].inner(Family::V4), 9));
    eventually(PATIENCE, "the kernel refuses it", || speak().is_ok() && drops(interface, "send_failed") > 0);
    capture.finish();
    let seen = capture.fields("wg.type == 4", &["ip.dst", "frame.packet_flags_direction", "frame.comment"]);
    assert!(!seen.is_empty(), "{}", capture.said());
    for packet in &seen {
        assert_eq!(packet[..2], [there.to_string(), OUTBOUND.to_owned()], "{seen:?}");
        assert!(packet[2].ends_with("dropped: send_failed"), "{seen:?}");
    }
}

#[test]
fn a_reader_that_stops_harms_no_traffic_and_what_is_lost_is_counted() {
    let tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let mut capture = Capture::start(&tunnel.sides[0].interface, "--buffer 256K --bytes none --write -");
    // Nobody reads the pipe. Every byte of these arrives.
    transfer(&tunnel, 8 << 20);
    let mut pipe = capture.child.stdout.take().unwrap();
    capture.signal(Signal::SIGINT);
    let mut file = Vec::new();
    pipe.read_to_end(&mut file).unwrap();
    let last = capture.wait();
    let lost: u64 = last
        .split(", ")
        .find_map(|part| {
            part.strip_suffix(
                " lost because they were not read in time: \
        --sample",
            )
        })
        .unwrap_or_else(|| panic!("{last}"))
        .parse()
        .unwrap();
    assert!(lost > 100, "{last}");
    fs::write(capture.file(), &file).unwrap();
    let captured: usize = last.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(capture.count("frame"), captured, "{last}");
}

/// In whatever memory of a gateway what its peers say is: none of it is in a core dump.
#[test]
fn what_is_captured_is_in_no_core_dump() {
    let mut tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let gateway = tunnel.sides[0].daemon().pid();
    let capture = Capture::start(&tunnel.sides[0].interface, "--buffer 16M --bytes none --write -");
    let are_left_out = |copies: [usize; 2]| {
        let payloads = exchange_datagrams(&tunnel);
        let needles = [0, 1].map(|from: usize| Needle::new(format!("what {from} says"), &payloads[from][..256]));
        eventually(PATIENCE, "it is captured", || {
            let finds = memory::find(gateway, &needles).unwrap();
            let dumped: Vec<_> = finds.iter().filter(|find| !find.place.is_left_out).map(ToString::to_string).collect();
            assert!(dumped.is_empty(), "{dumped:#?}");
            // Packet memory is locked as well.
            let of_capture = finds.iter().filter(|find| find.is_whole() && !find.place.is_safe);
            let count = |needle: &Needle| of_capture.clone().filter(|find| find.name == needle.name).count();
            count(&needles[0]) >= copies[0] && count(&needles[1]) >= copies[1]
        });
    };
    // In the queue of the worker that sees it. What came last is also where it was taken out, and where it was written.
    are_left_out([1, 3]);
    // Nobody reads the pipe, so from some time on it stays in the queue.
    transfer(&tunnel, 1 << 20);
    are_left_out([1, 1]);
    drop(capture);
}

/// Whoever has a capture may end in any way, and so may the gateway.
#[test]
fn a_capture_ends_with_its_client_and_with_the_gateway() {
    let mut tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let interface = tunnel.sides[0].interface.clone();
    let killed = Capture::start(&interface, "--write FILE");
    killed.signal(Signal::SIGKILL);
    // Without any traffic.
    eventually(PATIENCE, "the log says why", || tunnel.sides[0].daemon().log().contains("its client is gone"));

    let mut capture = Capture::start(&interface, "--time none --write FILE");
    ping(&tunnel, 3);
    tunnel.sides[0].daemon.take().unwrap().stop().unwrap();
    let last = capture.wait();
    assert!(last.contains("none lost"), "{last}");
    assert_eq!(capture.count("icmp"), 6, "requests and replies: {last}");
}

/// What came before the end is in the file, with names, though control is about to leave.
#[test]
fn a_capture_asks_for_names_while_the_gateway_ends() {
    const DATAGRAMS: u64 = 40;
    let mut tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let mut capture = Capture::start(&tunnel.sides[0].interface, "--direction in --write FILE");
    let sent = |tunnel: &Tunnel| uapi::transfer(&uapi::get(&tunnel.sides[1].interface).unwrap()).1;
    let receiver = SocketAddr::new(tunnel.sides[0].inner(Family::V4), PORT);
    let sender = tunnel.namespace(1).enter(|| UdpSocket::bind("0.0.0.0:0")).unwrap();

    // All at once for it: the datagrams, and its end.
    let gateway = tunnel.sides[0].daemon.take().unwrap();
    gateway.signal(Signal::SIGSTOP);
    let before = sent(&tunnel);
    (0..DATAGRAMS).for_each(|_| _ = sender.send_to(b"last words", receiver).unwrap());
    eventually(PATIENCE, "they are on the wire", || sent(&tunnel) >= before + DATAGRAMS * 32);
    gateway.signal(Signal::SIGTERM);
    gateway.signal(Signal::SIGCONT);
    gateway.stop().unwrap();
    let last = capture.wait();
    assert!(last.contains("none lost"), "{last}");
    let comments = capture.fields("udp || wg", &["frame.comment"]);
    assert!(comments.iter().all(|fields| !fields[0].starts_with("a peer")), "{comments:?}");
}

/// It is the old process's, and ends with it, whole.
#[test]
fn a_capture_ends_when_another_process_goes_on() {
    let tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let interface = tunnel.sides[0].interface.clone();
    let mut capture = Capture::start(&interface, "--write FILE");
    ping(&tunnel, 3);
    let successor = us().with_options("--take-over");
    let _successor = Daemon::start(&successor, tunnel.namespace(0), &interface).unwrap();
    let last = capture.wait();
    assert!(last.contains("none lost"), "{last}");
    assert_eq!(capture.count("icmp"), 6, "requests and replies: {last}");
}
