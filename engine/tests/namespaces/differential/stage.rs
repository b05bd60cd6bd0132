//! What the steps are played on: one gateway of one worker, its tunnel watched, and witnesses.
//!
//! ```text
//!        namespace 0                                  namespace 1
//!  ┌──────────────────────────────┐             ┌──────────────────────┐
//!  │ sink, source   watcher       │             │ players: each a peer │
//!  │     │             │          │             │ of one step          │
//!  │ [tunnel]  10.77.0.1/24       │    veth     │ witnesses            │
//!  │     │     fd00:77::1/64      ├─────────────┤                      │
//!  │ gateway, UDP port 51820      │             │ 10.200.0.2           │
//!  └──────────────────────────────┘             └──────────────────────┘
//! ```
//!
//! **That nothing comes back is an event as well.** After each stimulus a witness shakes hands and has a ping answered,
//! and then another one. A gateway that takes messages in order has then done with all that came before. The others are
//! held to one CPU: then they start one thread of each kind, and take messages in order. gotatun asks for cookies from
//! 100 handshakes a second on. It takes handshakes and data one after the other, so there witnesses only ping.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::panic::resume_unwind;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;
use ringfort_testbed::daemon::{INTERFACE, Program};
use ringfort_testbed::tunnel::{MTU, PORT};
use ringfort_testbed::{Daemon, Implementation, KeyPair, Wire, janitor, netns, uapi};

use super::player::{Heard, Place, Player};
use super::watcher::Watcher;
use super::{Ended, packets};
use crate::harness::traffic::PATIENCE;
use crate::harness::{peer, us};

/// Every implementation takes an initiation of a peer 50 times a second.
const INITIATION_INTERVAL: Duration = Duration::from_millis(25);
/// How long a witness waits before it repeats itself.
const REPEAT: Duration = Duration::from_secs(1);
const WITNESSES: u8 = 6;
/// Where players begin in the inner network.
const FIRST_PLAYER: u8 = 20;

pub struct Stage {
    pub interface: String,
    pub keys: KeyPair,
    /// What packets to [`packets::PORT`] arrive at, so the system does not answer them.
    _sinks: [UdpSocket; 2],
    pub source: UdpSocket,
    watcher: Watcher,
    witnesses: Vec<Witness>,
    turn: usize,
    implementation: Implementation,
    next_player: u8,
    pub daemon: Daemon,
    pub wire: Wire,
}

struct Witness {
    player: Player,
    answered: Option<Instant>,
}

/// The same program, started in a way that makes it take messages in order.
pub fn in_order(implementation: Implementation) -> Program {
    if implementation == Implementation::Ringfort {
        return us().with_options("--workers 1");
    }
    let program = peer(implementation);
    let mut options = vec!["-c".to_owned(), first_cpu().to_string(), program.path.to_string_lossy().into_owned()];
    options.extend(program.arguments(INTERFACE));
    Program { implementation: Implementation::Other, path: "taskset".into(), options }
}

fn first_cpu() -> usize {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
    (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap()).expect("we run on a CPU")
}

impl Stage {
    pub fn new(implementation: Implementation) -> Self {
        let wire = Wire::new().unwrap();
        let interface = janitor::unique_name();
        let daemon = Daemon::start(&in_order(implementation), &wire.ends[0], &interface).unwrap();
        let namespace = &wire.ends[0];
        namespace.ip(&format!("link set {interface} addrgenmode none")).unwrap();
        namespace.add_address(&interface, netns::inner_v4(0), 24).unwrap();
        namespace.add_address(&interface, netns::inner_v6(0), 64).unwrap();
        namespace.ip(&format!("link set {interface} mtu {MTU} up")).unwrap();
        let keys = KeyPair::random().unwrap();
        uapi::set(&interface, &format!("private_key={}\nlisten_port={PORT}\n", keys.private.hex())).unwrap();
        let bind = |address: &str| namespace.enter(|| UdpSocket::bind(address)).unwrap();
        let sinks = [bind(&format!("10.77.0.1:{}", packets::PORT)), bind(&format!("[fd00:77::1]:{}", packets::PORT))];
        let source = bind("10.77.0.1:0");
        let watcher = Watcher::new(namespace, &interface);
        let mut stage = Self {
            interface,
            keys,
            _sinks: sinks,
            source,
            watcher,
            witnesses: Vec::new(),
            turn: 0,
            implementation,
            next_player: FIRST_PLAYER,
            daemon,
            wire,
        };
        for host in 2..2 + WITNESSES {
            let player = stage.stranger(host);
            stage.admit(&player, "");
            stage.witnesses.push(Witness { player, answered: None });
        }
        stage
    }

    pub fn gateway(&self) -> SocketAddr {
        SocketAddr::new(netns::outer_v4(0), PORT)
    }

    fn stranger(&self, host: u8) -> Player {
        Player::new(&self.wire.ends[1], self.gateway(), self.keys.public.0, host)
    }

    /// Somebody whom the gateway does not know.
    pub fn unknown(&mut self) -> Player {
        self.next_player += 1;
        self.stranger(self.next_player)
    }

    /// A peer, with more lines for its section.
    pub fn player(&mut self, lines: &str) -> Player {
        let player = self.unknown();
        self.admit(&player, lines);
        player
    }

    /// A peer whose endpoint the gateway knows.
    pub fn reachable(&mut self) -> Player {
        let player = self.player("");
        self.set_peer(&player, &format!("endpoint={}\n", player.address(Place::Home)));
        player
    }

    /// A peer with a session that it has confirmed.
    pub fn connected(&mut self) -> Player {
        let mut player = self.player("");
        self.connect(&mut player);
        player
    }

    fn admit(&self, player: &Player, lines: &str) {
        let (inner, inner6) = (player.inner, player.inner6);
        self.set_peer(player, &format!("allowed_ip={inner}/32\nallowed_ip={inner6}/128\n{lines}"));
    }

    pub fn set_peer(&self, player: &Player, lines: &str) {
        self.set(&format!("public_key={}\n{lines}", player.public_hex()));
    }

    /// Changes the configuration. A gateway that refuses ends the step.
    pub fn set(&self, lines: &str) {
        let answer = uapi::request(&self.interface, &format!("set=1\n{lines}\n")).unwrap();
        if answer.errno != 0 {
            resume_unwind(Box::new(Ended("the gateway refuses the change")));
        }
    }

    /// Shakes hands and confirms.
    pub fn connect(&mut self, player: &mut Player) {
        self.shake_hands(player);
        let keepalive = player.data(&[]);
        player.send(&keepalive);
        self.hear(player);
    }

    /// Shakes hands, and does not confirm.
    pub fn shake_hands(&mut self, player: &mut Player) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (asked, initiation) = player.initiation();
            player.send(&initiation);
            let heard = self.hear(player);
            if player.take_response(asked, &heard) {
                return;
            }
            assert!(Instant::now() < deadline, "the gateway does not answer\n{}", self.daemon.log());
        }
    }

    /// A packet for the player from behind the gateway: `len` bytes of UDP payload.
    pub fn send_inside(&self, player: &Player, len: usize) {
        // Refused if the peer is not there.
        let _ = self.source.send_to(&vec![0; len], (player.inner, 9));
    }

    /// All that the gateway sent to a player until it had done with everything before.
    pub fn hear(&mut self, player: &Player) -> Vec<Heard> {
        self.settle();
        player.heard()
    }

    /// What came back, and what was delivered, in words.
    pub fn watch(&mut self, player: &Player) -> String {
        let heard = self.hear(player);
        self.tell(player, &heard)
    }

    /// The same, of what came back already.
    pub fn tell(&mut self, player: &Player, heard: &[Heard]) -> String {
        let mut words: Vec<String> = heard.iter().map(|heard| player.describe(heard)).collect();
        words.extend(self.watcher.delivered().iter().map(|packet| format!("delivered {}", packets::describe(packet))));
        if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
    }

    /// Lines of `get=1` about a peer; empty if it is not there.
    pub fn get(&self, player: &Player) -> Vec<(String, String)> {
        let pairs = uapi::get(&self.interface).unwrap();
        let hex = player.public_hex();
        let rest = pairs.into_iter().skip_while(|(key, value)| key != "public_key" || *value != hex);
        let mut rest = rest.peekable();
        let mut lines: Vec<_> = rest.next().into_iter().collect();
        lines.extend(std::iter::from_fn(|| rest.next_if(|(key, _)| key != "public_key")));
        lines
    }

    /// A value of `get=1` about a peer.
    pub fn value(&self, player: &Player, key: &str) -> Option<String> {
        self.get(player).into_iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Where the gateway thinks that a player is.
    pub fn endpoint(&self, player: &Player) -> &'static str {
        match self.value(player, "endpoint") {
            None => "endpoint unknown",
            Some(endpoint) if endpoint == player.address(Place::Home).to_string() => "endpoint at home",
            Some(endpoint) if endpoint == player.address(Place::Away).to_string() => "endpoint away",
            Some(_) => "endpoint elsewhere",
        }
    }

    /// Nobody but the witnesses is a peer any more, and nothing of the last step is left.
    pub fn clear(&mut self) {
        let witnesses: Vec<String> = self.witnesses.iter().map(|witness| witness.player.public_hex()).collect();
        for (key, value) in uapi::get(&self.interface).unwrap() {
            if key == "public_key" && !witnesses.contains(&value) {
                self.set(&format!("public_key={value}\nremove=true\n"));
            }
        }
        self.settle();
        self.watcher.delivered();
        if self.next_player > 220 {
            self.next_player = FIRST_PLAYER;
        }
    }

    /// Gives the gateway another key, and tells the witnesses.
    pub fn change_key(&mut self) {
        self.keys = KeyPair::random().unwrap();
        self.set(&format!("private_key={}\n", self.keys.private.hex()));
        for witness in &mut self.witnesses {
            witness.player.gateway_public = self.keys.public.0;
        }
    }

    /// A link that goes down loses its IPv6 addresses.
    pub fn restore_addresses(&self) {
        let namespace = &self.wire.ends[0];
        namespace.ip(&format!("address flush dev {} scope global", self.interface)).unwrap();
        namespace.add_address(&self.interface, netns::inner_v4(0), 24).unwrap();
        namespace.add_address(&self.interface, netns::inner_v6(0), 64).unwrap();
    }

    pub fn is_gotatun(&self) -> bool {
        self.implementation == Implementation::Gotatun
    }

    /// As long as must be between two initiations of a peer.
    pub fn pause(&self) {
        sleep(INITIATION_INTERVAL);
    }

    /// Returns when the gateway has done with everything that came before.
    pub fn settle(&mut self) {
        let shakes = !self.is_gotatun();
        for _ in 0..2 {
            self.turn = (self.turn + 1) % self.witnesses.len();
            let witness = &mut self.witnesses[self.turn];
            let deadline = Instant::now() + PATIENCE;
            while !witness.testify(shakes) {
                if !self.daemon.is_running() {
                    resume_unwind(Box::new(Ended("the gateway crashes")));
                }
                assert!(Instant::now() < deadline, "the gateway has left a witness\n{}", self.daemon.log());
            }
        }
    }
}

impl Witness {
    /// Shakes hands, if `shakes` or if it has to, and has a ping answered.
    fn testify(&mut self, shakes: bool) -> bool {
        if shakes {
            self.player.sessions.clear();
        }
        let done = (!self.player.sessions.is_empty() || self.shake_hands()) && self.ping();
        if !done {
            self.player.sessions.clear();
        }
        done
    }

    fn shake_hands(&mut self) -> bool {
        let since = self.answered.map_or(INITIATION_INTERVAL, |answered| answered.elapsed());
        sleep(INITIATION_INTERVAL.saturating_sub(since));
        self.player.heard();
        let (asked, initiation) = self.player.initiation();
        self.player.send(&initiation);
        let heard = self.await_heard(|heard| heard.datagram[0] == 2);
        self.answered = Some(Instant::now());
        self.player.take_response(asked, &heard)
    }

    fn ping(&mut self) -> bool {
        let request = packets::echo_request(self.player.inner, Ipv4Addr::new(10, 77, 0, 1));
        let message = self.player.data(&request);
        // An answer to an earlier one says nothing.
        self.player.heard();
        self.player.send(&message);
        !self.await_heard(|heard| heard.datagram[0] == 4 && heard.datagram.len() > 32).is_empty()
    }

    /// What came until one of it is `wanted`; nothing if none is in time.
    fn await_heard(&self, wanted: impl Fn(&Heard) -> bool) -> Vec<Heard> {
        let (begun, mut all) = (Instant::now(), Vec::new());
        while begun.elapsed() < REPEAT {
            all.extend(self.player.heard());
            if all.iter().any(&wanted) {
                return all;
            }
            sleep(Duration::from_micros(300));
        }
        Vec::new()
    }
}
