//! A gateway with many peers, each a gateway of its own.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;

use ringfort_testbed::command::run;
use ringfort_testbed::netns::outer_v4;
use ringfort_testbed::tunnel::{MTU, PORT};
use ringfort_testbed::{Daemon, Implementation, Key, KeyPair, Namespace, Wire, janitor, uapi};
use serde_json::Value;

use crate::harness::traffic::PATIENCE;
use crate::harness::{codes, eventually, peer, us, why};

/// Our own inner address.
const OURS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// A far gateway, and what each side is told of the other. The fault is where the two differ.
pub struct Far {
    /// What the fault is; also the peer's name at ours.
    pub name: &'static str,
    pub program: Implementation,
    pub keys: KeyPair,
    pub port: u16,
    pub inner: Ipv4Addr,
    /// Nothing runs there.
    pub is_missing: bool,
    /// Lines about it at ours, beside key and name; `None` for the usual ones.
    pub here: Option<String>,
    /// Lines about us at the far side, beside our key.
    pub there: String,
    /// The key under which ours knows it, if not its own.
    pub known_as: Option<KeyPair>,
    /// The far side does not know us.
    pub is_stranger: bool,
    pub finds_here: &'static [&'static str],
    pub finds_there: &'static [&'static str],
    pub daemon: Option<Daemon>,
    pub interface: String,
}

impl Far {
    pub fn new(name: &'static str, program: Implementation) -> Self {
        Self {
            name,
            program,
            keys: KeyPair::random().unwrap(),
            port: 0,
            inner: Ipv4Addr::UNSPECIFIED,
            is_missing: false,
            here: None,
            there: format!("allowed_ip={OURS}/32\n"),
            known_as: None,
            is_stranger: false,
            finds_here: &[],
            finds_there: &[],
            daemon: None,
            interface: janitor::unique_name(),
        }
    }

    pub fn endpoint(&self) -> SocketAddr {
        SocketAddr::new(outer_v4(1), self.port)
    }

    /// The key under which ours knows it.
    pub fn key_here(&self) -> &Key {
        &self.known_as.as_ref().unwrap_or(&self.keys).public
    }
}

pub struct Place {
    pub fars: Vec<Far>,
    pub keys: KeyPair,
    daemon: Daemon,
    wire: Wire,
}

impl Place {
    /// Ours runs, without a key and without peers.
    pub fn new() -> Self {
        let (wire, keys) = (Wire::new().unwrap(), KeyPair::random().unwrap());
        let daemon = start(&wire.ends[0], Implementation::Ringfort, &janitor::unique_name());
        wire.ends[0].add_address(daemon.interface(), OURS.into(), 24).unwrap();
        Self { fars: Vec::new(), keys, daemon, wire }
    }

    /// Starts a far gateway, and tells it of us.
    pub fn add(&mut self, mut far: Far) -> usize {
        let number = self.fars.len() as u8;
        (far.port, far.inner) = (PORT + 1 + u16::from(number), Ipv4Addr::new(10, 77, 0, 10 + number));
        if !far.is_missing {
            let daemon = start(&self.wire.ends[1], far.program, &far.interface);
            let mut lines = format!("private_key={}\nlisten_port={}\n", far.keys.private.hex(), far.port);
            if !far.is_stranger {
                let _ = write!(lines, "public_key={}\nendpoint={}:{PORT}\n", self.keys.public.hex(), outer_v4(0));
                lines += &far.there;
            }
            uapi::set(&far.interface, &lines).unwrap();
            far.daemon = Some(daemon);
        }
        self.fars.push(far);
        self.fars.len() - 1
    }

    /// Gives ours its key and all its peers.
    pub fn start(&self) {
        let mut lines = format!("private_key={}\nlisten_port={PORT}\n", self.keys.private.hex());
        self.fars.iter().for_each(|far| lines += &lines_of(far));
        uapi::set(self.daemon.interface(), &lines).unwrap();
    }

    pub fn namespace(&self) -> &Namespace {
        &self.wire.ends[0]
    }

    pub fn interface(&self) -> &str {
        self.daemon.interface()
    }

    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// Drops at the far end what this rule says.
    pub fn far_drops(&self, rule: &str) {
        drop_at(&self.wire.ends[1], "input", rule);
    }

    pub fn drops(&self, chain: &str, rule: &str) {
        drop_at(self.namespace(), chain, rule);
    }

    /// The kernel at the far end answers through this gateway.
    pub fn far_answers(&self, far: usize) {
        let Far { interface, inner, .. } = &self.fars[far];
        self.wire.ends[1].add_address(interface, (*inner).into(), 32).unwrap();
        self.wire.ends[1].ip(&format!("route add {OURS}/32 dev {interface}")).unwrap();
    }

    /// Some packets from inside, for a far gateway.
    pub fn send_to(&self, far: usize) {
        self.send(self.fars[far].inner);
    }

    pub fn send(&self, inner: Ipv4Addr) {
        self.namespace().enter(|| {
            let socket = UdpSocket::bind((OURS, 0)).unwrap();
            // An earlier one may have been turned back with an ICMP error.
            (0..8).for_each(|_| drop(socket.send_to(b"anybody there?", (inner, 9))));
        });
    }

    /// Both sides find this.
    pub fn expect(&self, far: usize, here: &[&str], there: &[&str]) {
        let far = &self.fars[far];
        let missing = || {
            let mut missing = missing(here, &codes(&self.why(far.key_here())));
            if !there.is_empty() {
                missing.extend(missing_there(there, far, &self.keys.public));
            }
            missing
        };
        eventually(PATIENCE, &format!("{}: both sides find it", far.name), || missing().is_empty());
    }

    /// Every fault is found. All wait together, with traffic to all of them.
    pub fn expect_findings(&self) {
        let missing = || {
            let mut all = Vec::new();
            for far in &self.fars {
                let here = missing(far.finds_here, &codes(&self.why(far.key_here())));
                all.extend(here.into_iter().map(|code| format!("{}, here: {code}", far.name)));
                let there = missing_there(far.finds_there, far, &self.keys.public);
                all.extend(there.into_iter().map(|code| format!("{}, there: {code}", far.name)));
            }
            all
        };
        let mut left = Vec::new();
        for _ in 0..6 {
            (0..self.fars.len()).for_each(|far| self.send_to(far));
            // Handshakes are repeated after 5 s; what is asked in between costs little.
            for _ in 0..20 {
                left = missing();
                if left.is_empty() {
                    return;
                }
                std::thread::sleep(std::time::Duration::from_millis(250));
            }
        }
        panic!("not found: {left:#?}");
    }

    /// The text that ours says of a peer.
    pub fn says(&self, peer: &str) -> String {
        ringfort(&["why", self.interface(), peer])
    }

    /// What ours knows of a peer.
    pub fn why(&self, key: &Key) -> Value {
        why(self.interface(), key)
    }

    pub fn far_says(&self, far: usize) -> String {
        ringfort(&["why", &self.fars[far].interface, &self.keys.public.base64()])
    }

    /// What a far gateway knows of us.
    pub fn far_peer(&self, far: usize) -> Value {
        why(&self.fars[far].interface, &self.keys.public)["peer"].clone()
    }

    pub fn far_handshakes(&self, far: usize) -> u64 {
        self.far_peer(far)["handshakes"].as_u64().unwrap()
    }

    /// Another gateway with our key, on another port.
    pub fn twin(&self) -> Daemon {
        let daemon = start(self.namespace(), Implementation::Ringfort, &janitor::unique_name());
        let lines = format!("private_key={}\nlisten_port={}\n", self.keys.private.hex(), PORT - 1);
        uapi::set(daemon.interface(), &lines).unwrap();
        daemon
    }

    /// Ours, or its twin, forgets all about a peer and asks it for a session.
    pub fn ask_anew(&self, twin: Option<&Daemon>, far: usize) {
        let interface = twin.map_or(self.interface(), Daemon::interface);
        let far = &self.fars[far];
        let key = far.key_here().hex();
        let lines = format!("public_key={key}\nremove=true\n{}persistent_keepalive_interval=20\n", lines_of(far));
        uapi::set(interface, &lines).unwrap();
    }
}

fn lines_of(far: &Far) -> String {
    let usual = || format!("endpoint={}\nallowed_ip={}/32\n", far.endpoint(), far.inner);
    let lines = far.here.clone().unwrap_or_else(usual);
    format!("public_key={}\nname={}\n{lines}", far.key_here().hex(), far.name)
}

fn start(namespace: &Namespace, program: Implementation, interface: &str) -> Daemon {
    let program = match program {
        Implementation::Ringfort => us().with_options("--workers 1"),
        other => peer(other),
    };
    let daemon = Daemon::start(&program, namespace, interface).unwrap();
    namespace.ip(&format!("link set {interface} addrgenmode none")).unwrap();
    namespace.ip(&format!("link set {interface} mtu {MTU} up")).unwrap();
    daemon
}

fn drop_at(namespace: &Namespace, chain: &str, rule: &str) {
    let table = "inet faults";
    let priority = "priority 0; policy accept;";
    for command in [
        format!("add table {table}"),
        format!("add chain {table} {chain} {{ type filter hook {chain} {priority} }}"),
        format!("add rule {table} {chain} {rule}"),
    ] {
        run(namespace.command("nft").arg(command)).unwrap();
    }
}

pub fn ringfort(words: &[&str]) -> String {
    run(Command::new(us().path).args(words)).unwrap()
}

fn missing(wanted: &[&str], found: &[String]) -> Vec<String> {
    let is_missing = |code: &&&str| !found.iter().any(|found| found == **code);
    wanted.iter().filter(is_missing).map(|code| format!("{code} among {found:?}")).collect()
}

/// What the far side does not find, of what it should.
fn missing_there(wanted: &[&str], far: &Far, us: &Key) -> Vec<String> {
    if wanted.is_empty() { Vec::new() } else { missing(wanted, &codes(&why(&far.interface, us))) }
}
