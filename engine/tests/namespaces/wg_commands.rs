//! Every command of `wg`, against what was set.

use std::fmt::Write as _;
use std::time::Duration;

use ringfort_testbed::ping::Background;
use ringfort_testbed::tunnel::Peering;
use ringfort_testbed::{Daemon, Family, Key, KeyPair, Namespace, Tunnel, janitor, uapi};

use crate::harness::traffic::{OPENING, PATIENCE};
use crate::harness::wg::{config, only_peer, peer_section, peers, wg, wg_with_input};
use crate::harness::{eventually, us};

/// One gateway, not configured.
struct Lone {
    _daemon: Daemon,
    namespace: Namespace,
    interface: String,
}

impl Lone {
    fn new() -> Self {
        let namespace = Namespace::new().unwrap();
        let interface = janitor::unique_name();
        let daemon = Daemon::start(&us(), &namespace, &interface).unwrap();
        Self { _daemon: daemon, namespace, interface }
    }

    fn set(&self, words: &str) {
        wg(&format!("set {} {words}", self.interface)).unwrap();
    }

    fn show(&self, what: &str) -> String {
        wg(&format!("show {} {what}", self.interface)).unwrap().trim_end().to_owned()
    }
}

#[test]
fn show_tells_what_set_said() {
    let gateway = Lone::new();
    let (keys, peer, preshared) =
        (KeyPair::random().unwrap(), KeyPair::random().unwrap().public, Key::random().unwrap());
    let [public, peer, preshared] = [keys.public, peer, preshared].map(|key| key.base64());
    assert_eq!(gateway.show("private-key"), "(none)");
    assert_eq!(gateway.show("peers"), "");
    let set = |words: &str, input: &str| {
        wg_with_input(&format!("set {} {words}", gateway.interface), input).unwrap();
    };
    set("private-key /dev/stdin", &keys.private.base64());
    set(&format!("peer {peer} preshared-key /dev/stdin"), &preshared);
    gateway.set("listen-port 41820 fwmark 0xca6c");
    gateway.set(&format!(
        "peer {peer} endpoint 10.200.0.9:1234 persistent-keepalive 25 allowed-ips 10.0.0.0/8,fd00:1::/32,192.168.4.4/32"
    ));

    assert_eq!(gateway.show("private-key"), keys.private.base64());
    assert_eq!(gateway.show("public-key"), public);
    assert_eq!(gateway.show("listen-port"), "41820");
    assert_eq!(gateway.show("fwmark"), "0xca6c");
    assert_eq!(gateway.show("peers"), peer);
    assert_eq!(gateway.show("preshared-keys"), format!("{peer}\t{preshared}"));
    assert_eq!(gateway.show("endpoints"), format!("{peer}\t10.200.0.9:1234"));
    assert_eq!(gateway.show("persistent-keepalive"), format!("{peer}\t25"));
    assert_eq!(gateway.show("latest-handshakes"), format!("{peer}\t0"));
    let mut allowed: Vec<String> = only_peer(&gateway.interface).unwrap().allowed_ips;
    allowed.sort();
    assert_eq!(allowed, ["10.0.0.0/8", "192.168.4.4/32", "fd00:1::/32"]);
    assert!(gateway.show("transfer").starts_with(&format!("{peer}\t0\t")), "{}", gateway.show("transfer"));
    assert!(gateway.show("").contains("listening port: 41820"));
    assert!(wg("show interfaces").unwrap().split_whitespace().any(|name| name == gateway.interface));
    assert!(wg("show all dump").unwrap().lines().any(|line| line.starts_with(&gateway.interface)));
}

#[test]
fn set_takes_things_back() {
    let gateway = Lone::new();
    let peer = KeyPair::random().unwrap().public.base64();
    let key = KeyPair::random().unwrap().private.base64();
    wg_with_input(&format!("set {} private-key /dev/stdin", gateway.interface), &key).unwrap();
    gateway.set(&format!("fwmark 7 peer {peer} persistent-keepalive 9 allowed-ips 10.0.0.0/8"));
    wg_with_input(&format!("set {} peer {peer} preshared-key /dev/stdin", gateway.interface), &key).unwrap();
    gateway
        .set(&format!("fwmark off peer {peer} persistent-keepalive off preshared-key /dev/null allowed-ips fd00::/8"));
    assert_eq!(gateway.show("fwmark"), "off");
    let dump = only_peer(&gateway.interface).unwrap();
    assert_eq!((dump.keepalive.as_str(), dump.preshared_key.as_str()), ("off", "(none)"));
    assert_eq!(dump.allowed_ips, ["fd00::/8"]);
    gateway.set(&format!("peer {peer} remove"));
    assert!(peers(&gateway.interface).unwrap().is_empty());
    gateway.set("private-key /dev/null");
    assert_eq!(gateway.show("private-key"), "(none)");
}

/// Port 0 is any free one; `wg show` says which.
#[test]
fn a_free_port_is_chosen() {
    let gateway = Lone::new();
    let key = KeyPair::random().unwrap().private.base64();
    wg_with_input(&format!("set {} private-key /dev/stdin", gateway.interface), &key).unwrap();
    gateway.namespace.ip(&format!("link set {} up", gateway.interface)).unwrap();
    for _ in 0..3 {
        gateway.set("listen-port 0");
        eventually(OPENING, "a port is chosen", || gateway.show("listen-port") != "0");
        let port: u16 = gateway.show("listen-port").parse().unwrap();
        let bound = gateway.namespace.run("ss -Hlun").unwrap();
        assert!(bound.contains(&format!(":{port} ")), "port {port} is shown, but bound are\n{bound}");
        // The former port, which workers let go of with their next turns: it is waited for.
        gateway.set("listen-port 41823");
        assert_eq!(gateway.show("listen-port"), "41823");
    }
}

/// Our own key among the peers.
#[test]
fn our_own_key_is_no_peer() {
    let gateway = Lone::new();
    let keys = KeyPair::random().unwrap();
    wg_with_input(&format!("set {} private-key /dev/stdin", gateway.interface), &keys.private.base64()).unwrap();
    gateway.set(&format!("peer {} allowed-ips 10.0.0.0/8", keys.public.base64()));
    assert!(peers(&gateway.interface).unwrap().is_empty(), "our own key is ignored as a peer");
}

fn sorted_lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn showconf_and_setconf_are_inverse() {
    let gateway = Lone::new();
    let mut text = format!(
        "[Interface]\nListenPort = 41821\nFwMark = 0x11\nPrivateKey = {}\n",
        KeyPair::random().unwrap().private.base64()
    );
    for number in 0..20 {
        let _ = write!(
            text,
            "\n[Peer]\nPublicKey = {}\nPresharedKey = {}\nAllowedIPs = 10.{number}.0.0/16, fd{number:02x}::/16\n\
             Endpoint = 10.200.0.{number}:51820\nPersistentKeepalive = {}\n",
            KeyPair::random().unwrap().public.base64(),
            Key::random().unwrap().base64(),
            number + 1,
        );
    }
    wg_with_input(&format!("setconf {} /dev/stdin", gateway.interface), &text).unwrap();
    let shown = wg(&format!("showconf {}", gateway.interface)).unwrap();
    assert_eq!(sorted_lines(&shown), sorted_lines(&text));
    wg_with_input(&format!("setconf {} /dev/stdin", gateway.interface), &shown).unwrap();
    assert_eq!(sorted_lines(&wg(&format!("showconf {}", gateway.interface)).unwrap()), sorted_lines(&text));
    // Peers that are not in the file go away.
    wg_with_input(&format!("setconf {} /dev/stdin", gateway.interface), "[Interface]\nListenPort = 41821\n").unwrap();
    assert!(peers(&gateway.interface).unwrap().is_empty());
}

/// `addconf` leaves alone what it does not name; `syncconf` removes it, but disturbs nobody who stays.
#[test]
fn addconf_and_syncconf_under_traffic() {
    let tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let interface = &tunnel.sides[0].interface;
    let inner = tunnel.sides[0].inner(Family::V4);
    let every = Duration::from_millis(1);
    let pings = Background::start(tunnel.namespace(1), inner, every, PATIENCE).unwrap();
    for _ in 0..10 {
        let extra = KeyPair::random().unwrap().public.base64();
        let section = format!("[Peer]\nPublicKey = {extra}\nAllowedIPs = 10.80.0.0/16\n");
        wg_with_input(&format!("addconf {interface} /dev/stdin"), &section).unwrap();
        assert_eq!(peers(interface).unwrap().len(), 2);
        let whole = config(&tunnel, 0, &Peering::default());
        wg_with_input(&format!("syncconf {interface} /dev/stdin"), &whole).unwrap();
        assert_eq!(peers(interface).unwrap().len(), 1);
        let again = peer_section(&tunnel, 0, &Peering::default());
        wg_with_input(&format!("addconf {interface} /dev/stdin"), &again).unwrap();
    }
    let tally = pings.finish_later();
    assert!(tally.sent > 20 && tally.lost.is_empty(), "{tally:?}");
    let peer = only_peer(interface).unwrap();
    assert!(peer.received_bytes > 20 * 100, "the counters were reset: {peer:?}");
}

/// However many there are, `wg show` prints them all.
#[test]
fn any_number_of_prefixes_is_dumped() {
    let gateway = Lone::new();
    for count in [0_u32, 1, 197, 130_560] {
        let key = KeyPair::random().unwrap().public;
        let mut lines = format!("replace_peers=true\npublic_key={}\n", key.hex());
        let mut expected: Vec<String> = Vec::new();
        for number in 0..count {
            let [_, a, b, c] = number.to_be_bytes();
            // Every second one is IPv6.
            expected.push(match number % 2 {
                0 => format!("11.{a}.{b}.{c}/32"),
                _ => format!("fd00::{a:x}:{:x}/128", u16::from_be_bytes([b, c])),
            });
            let _ = writeln!(lines, "allowed_ip={}", expected[number as usize]);
        }
        uapi::set(&gateway.interface, &lines).unwrap();
        let mut shown = only_peer(&gateway.interface).unwrap().allowed_ips;
        assert_eq!(shown.len(), count as usize);
        let normal = |prefix: &String| prefix.parse::<Prefix>().unwrap();
        let (mut shown, mut expected): (Vec<Prefix>, Vec<Prefix>) =
            (shown.drain(..).map(|prefix| normal(&prefix)).collect(), expected.iter().map(normal).collect());
        shown.sort();
        expected.sort();
        assert!(shown == expected, "{count} prefixes: others were shown than were set");
    }
}

/// An address and a length, however the address was written.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Prefix(std::net::IpAddr, u8);

impl std::str::FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, length) = text.split_once('/').ok_or(text)?;
        Ok(Self(address.parse().map_err(|_| text)?, length.parse().map_err(|_| text)?))
    }
}

/// What wireguard-go refuses is refused with the same error.
#[test]
fn nonsense_is_refused_with_the_right_error() {
    let gateway = Lone::new();
    let key = KeyPair::random().unwrap().public.hex();
    let invalid = [
        "private_key=00".to_owned(),
        "listen_port=65536".to_owned(),
        "listen_port=-1".to_owned(),
        "fwmark=x".to_owned(),
        "no_such_key=1".to_owned(),
        "replace_peers=false".to_owned(),
        format!("public_key={}", &key[1..]),
        format!("public_key={key}\nendpoint=nowhere"),
        format!("public_key={key}\nallowed_ip=10.0.0.0/33"),
        format!("public_key={key}\npersistent_keepalive_interval=65536"),
        format!("public_key={key}\nprotocol_version=2"),
    ];
    for lines in invalid {
        let answer = uapi::request(&gateway.interface, &format!("set=1\n{lines}\n\n")).unwrap();
        assert_eq!(answer.errno, -libc::EINVAL, "{lines}");
    }
    let answer = uapi::request(&gateway.interface, "set=1\nlisten_port\n\n").unwrap();
    assert_eq!(answer.errno, -libc::EPROTO);
}

/// A hundred that ask at once, one that never reads, and one that never writes: all others are served.
#[test]
fn many_clients_are_served() {
    let gateway = Lone::new();
    let path = uapi::socket_path(&gateway.interface);
    let silent = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let mut deaf = std::os::unix::net::UnixStream::connect(&path).unwrap();
    std::io::Write::write_all(&mut deaf, b"get=1\n\n").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| uapi::get(&gateway.interface).unwrap());
        }
    });
    drop((silent, deaf));
}
