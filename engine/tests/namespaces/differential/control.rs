//! The control socket of one gateway: a request, its answer, and what it changed.

use std::io::{Read, Write};
use std::net::{Shutdown, UdpSocket};
use std::os::unix::net::UnixStream;

use ringfort_testbed::{Daemon, Implementation, Key, KeyPair, Namespace, janitor, uapi};

use super::Ended;
use super::requests::{End, Request};
use super::stage::in_order;
use crate::harness::traffic::PATIENCE;

/// Taken by somebody else, see [`super::requests`].
const TAKEN_PORT: u16 = 5_555;

pub struct Control {
    daemon: Daemon,
    interface: String,
    names: [(&'static str, String); 6],
    _taken: UdpSocket,
    _namespace: Namespace,
}

impl Control {
    pub fn new(implementation: Implementation) -> Self {
        let namespace = Namespace::new().unwrap();
        let interface = janitor::unique_name();
        let daemon = Daemon::start(&in_order(implementation), &namespace, &interface).unwrap();
        namespace.ip(&format!("link set {interface} up")).unwrap();
        let taken = namespace.enter(|| UdpSocket::bind(("0.0.0.0", TAKEN_PORT))).unwrap();
        let keys = || KeyPair::random().unwrap();
        let (own, peer) = (keys(), keys());
        let names = [
            ("{private}", own.private.hex()),
            ("{own}", own.public.hex()),
            ("{peer}", peer.public.hex()),
            ("{peer's private}", peer.private.hex()),
            ("{other}", keys().public.hex()),
            ("{psk}", Key::random().unwrap().hex()),
        ];
        Self { daemon, interface, names, _taken: taken, _namespace: namespace }
    }

    /// What comes of a request, in words.
    pub fn ask(&mut self, request: &Request) -> String {
        let before = self.reset();
        let answer = self.send(&self.fill(&text_of(request)), request.end);
        let Ok(after) = uapi::get(&self.interface) else {
            let ended = !self.daemon.is_running();
            std::panic::resume_unwind(Box::new(Ended(if ended {
                "the gateway crashes"
            } else {
                "no answer any more"
            })));
        };
        let changes = match request.end {
            End::Show => after.iter().map(|(key, value)| format!("{key}={value} / ")).collect(),
            _ => self.changes(&before, &after),
        };
        self.named(&format!("{}; {changes}", answer.trim_end().replace('\n', " / ")))
    }

    /// The configuration that every request meets.
    fn reset(&self) -> Vec<(String, String)> {
        let base = "private_key={private}\nlisten_port=51820\nfwmark=0\nreplace_peers=true\n\
                    public_key={peer}\nendpoint=192.0.2.1:1\nallowed_ip=10.1.0.0/16\n";
        uapi::set(&self.interface, &self.fill(base)).unwrap();
        uapi::get(&self.interface).unwrap()
    }

    fn send(&self, text: &str, end: End) -> String {
        let mut stream = UnixStream::connect(uapi::socket_path(&self.interface)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // A gateway that has hung up takes no more, and what it said before is still there.
        let _ = stream.write_all(text.as_bytes());
        if !ends(end) {
            let _ = stream.shutdown(Shutdown::Write);
        }
        let mut answer = Vec::new();
        let mut piece = [0; 16_384];
        while !ends(end) || !answer.ends_with(b"\n\n") {
            match stream.read(&mut piece) {
                Ok(0) | Err(_) => break,
                Ok(len) => answer.extend_from_slice(&piece[..len]),
            }
        }
        if answer.is_empty() { "hangs up".to_owned() } else { String::from_utf8_lossy(&answer).into_owned() }
    }

    /// Lines that came and went. Of a peer that came or went, only what is not as with every new one.
    fn changes(&self, before: &[(String, String)], after: &[(String, String)]) -> String {
        let [before, after] = [before, after].map(|pairs| self.lines(pairs));
        let only_in = |mine: &[Line], others: &[Line], sign| -> Vec<String> {
            let is_new = |peer: &str| !others.iter().any(|line| line.peer == peer);
            let tells = |line: &&Line| !(others.contains(line) || line.is_usual() && is_new(&line.peer));
            mine.iter().filter(tells).map(|line| format!("{sign}{}", line.words())).collect()
        };
        let changes = [only_in(&before, &after, '−'), only_in(&after, &before, '+')].concat();
        if changes.is_empty() { "nothing changes".to_owned() } else { changes.join(" ") }
    }

    fn lines(&self, pairs: &[(String, String)]) -> Vec<Line> {
        let mut peer = String::new();
        let line = |(key, value): &(String, String)| {
            let value = self.named(value);
            if key == "public_key" {
                peer.clone_from(&value);
            }
            Line { peer: peer.clone(), key: key.clone(), value }
        };
        pairs.iter().map(line).collect()
    }

    fn fill(&self, template: &str) -> String {
        self.names.iter().fold(template.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    fn named(&self, text: &str) -> String {
        let named = self.names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(value, name));
        named.replace(&"0".repeat(64), "{zeros}")
    }
}

/// A line of `get=1`, and in whose section it is.
#[derive(PartialEq, Eq)]
struct Line {
    /// Empty for the interface.
    peer: String,
    key: String,
    value: String,
}

impl Line {
    /// Whether every new peer has it.
    fn is_usual(&self) -> bool {
        let zeros = self.value == "0" || self.value == "{zeros}" && self.key == "preshared_key";
        !self.peer.is_empty() && (zeros || self.key == "protocol_version")
    }

    fn words(&self) -> String {
        let of = if self.peer == "{other}" && self.key != "public_key" { " of {other}" } else { "" };
        format!("{}={}{of}", self.key, self.value)
    }
}

/// The request as the table names it.
pub fn name_of(request: &Request) -> String {
    let text = request.text.trim_end().replace("\r\n", "\n").replace('\r', "␍").replace('\n', " / ");
    match request.end {
        End::Blank => format!("set=1 / {text}").trim_end_matches(" / ").to_owned(),
        End::Show => format!("set=1 / {text} / (then get=1)"),
        End::HangUp => format!("set=1 / {text} / (hangs up)").replace(" /  / ", " / "),
        End::AsIs => format!("{text} (as it is)"),
    }
}

/// Whether a request has its blank line, so one answer is all that comes.
fn ends(end: End) -> bool {
    matches!(end, End::Blank | End::Show)
}

fn text_of(request: &Request) -> String {
    let lines = if request.text.is_empty() { String::new() } else { format!("{}\n", request.text) };
    match request.end {
        End::AsIs => request.text.to_owned(),
        End::HangUp => format!("set=1\n{lines}"),
        End::Blank | End::Show => format!("set=1\n{lines}\n"),
    }
}
