//! The configuration protocol: a client's stream gives the same requests however it is cut into reads; a request that
//! was understood says the same when it is written and read again; memory is bounded, and nothing repeats a secret.
//!
//! The input: the size of the reads (one byte), the bound on a request (two bytes; 0 is the usual one), then the
//! stream.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use ringfort::control::uapi::{
    AllowedIpUpdate, DEFAULT_SOURCE, DEFAULT_SUITE, DeviceUpdate, Errno, InterfaceStatus, LINE_LEN_MAX, PeerSource,
    PeerStatus, PeerSuite, PeerUpdate, REQUEST_LEN_MAX, Refusal, Reply, Request, RequestEvent, RequestReader,
    SecretKey, SetRequest,
};
use ringfort_core::allowed_ips::Prefix;
use ringfort_core::suite::Suite;

use crate::Seed;
use crate::input::Input;

/// What one stream gave: `Ok` a request in canonical text, `Err` a refusal, and whether it ended in a hang-up.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    events: Vec<Result<String, Refusal>>,
    hung_up: bool,
}

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (read_len, bound) = (usize::from(input.byte()) + 1, usize::from(input.u16()));
    let bound = if bound == 0 { REQUEST_LEN_MAX } else { bound };
    let stream = input.rest();
    let cut = read(stream, read_len, bound);
    assert_eq!(cut, read(stream, usize::MAX, bound), "reads of {read_len} bytes");
}

fn zone(name: &str) -> Option<u32> {
    (name == "eth0").then_some(2)
}

fn read(stream: &[u8], read_len: usize, bound: usize) -> Outcome {
    let mut reader = RequestReader::default();
    let mut outcome = Outcome { events: Vec::new(), hung_up: false };
    let mut rest = stream;
    loop {
        while let Some(event) = reader.next_event(bound, zone) {
            match event {
                RequestEvent::HangUp => {
                    outcome.hung_up = true;
                    stays_closed(reader);
                    return outcome;
                }
                RequestEvent::Refused(refusal) => {
                    refused(refusal);
                    outcome.events.push(Err(refusal));
                }
                RequestEvent::Request(request) => outcome.events.push(Ok(understood(request))),
            }
            assert!(outcome.events.len() <= stream.len(), "an event without bytes");
        }
        // One line may be under way when the bound is found to be passed.
        assert!(reader.held_len() <= bound + LINE_LEN_MAX + 1, "{} bytes held of {bound}", reader.held_len());
        if rest.is_empty() {
            return outcome;
        }
        let space = reader.space();
        assert!(!space.is_empty() && space.len() <= LINE_LEN_MAX + 1);
        let n = read_len.min(space.len()).min(rest.len());
        let (front, behind) = rest.split_at(n);
        space[..n].copy_from_slice(front);
        reader.advance(n);
        rest = behind;
    }
}

/// Whatever a client sends after it was hung up on, none of it is taken for a request.
fn stays_closed(mut reader: RequestReader) {
    for chunk in [&[b'x'; LINE_LEN_MAX + 1][..], b"\n\n", b"set=1\n\n", b"get=1\n\n"] {
        let space = reader.space();
        let n = chunk.len().min(space.len());
        space[..n].copy_from_slice(&chunk[..n]);
        reader.advance(n);
        for _ in 0..3 {
            let event = reader.next_event(REQUEST_LEN_MAX, zone);
            assert!(matches!(event, None | Some(RequestEvent::HangUp)), "{event:?} after the end");
        }
    }
}

fn refused(refusal: Refusal) {
    assert!(refusal.errno().get() < 0);
    let text = format!("{refusal} {refusal:?}");
    // The texts are ours, word for word; none holds as many digits as a key has.
    assert!(text.len() < 200 && !text.bytes().any(|byte| byte.is_ascii_control()), "{text}");
}

fn understood(request: Request) -> String {
    let debug = format!("{request:?}");
    match request {
        Request::Get => "get".to_owned(),
        Request::Stats => "stats".to_owned(),
        Request::Suites => "suites".to_owned(),
        Request::Reload => "reload".to_owned(),
        Request::Report => "report".to_owned(),
        Request::Origin => "origin".to_owned(),
        Request::Restart => "restart".to_owned(),
        Request::HandOver(step) => format!("hand_over {step:?}"),
        Request::HeirFailed(why) => {
            assert!(!why.chars().any(char::is_control), "a line of the log");
            format!("heir_failed {why}")
        }
        Request::File => "file".to_owned(),
        Request::LogLevel(level) => format!("log_level {level:?}"),
        Request::Role(role) => format!("role {role:?}"),
        Request::Recover => "recover".to_owned(),
        Request::Watch => "watch".to_owned(),
        Request::Alive => "alive".to_owned(),
        Request::StatsJson => "stats_json".to_owned(),
        Request::Peers(from) => format!("peers {from}"),
        Request::Why(key) => format!("why {}", hex(&key)),
        Request::Capture(request) => format!("capture {}", request.describe()),
        Request::Set(set) => {
            tells_no_secret(&debug, &set);
            let text = written(&set);
            assert_eq!(written(&reread(&text)), text, "a request comes back as it was");
            answer(&set);
            text
        }
    }
}

fn reread(text: &str) -> SetRequest {
    let mut reader = RequestReader::default();
    let mut rest = text.as_bytes();
    loop {
        match reader.next_event(REQUEST_LEN_MAX, |_| panic!("zones are written as numbers")) {
            Some(RequestEvent::Request(Request::Set(set))) => return *set,
            None if !rest.is_empty() => {
                let space = reader.space();
                let n = space.len().min(rest.len());
                space[..n].copy_from_slice(&rest[..n]);
                reader.advance(n);
                rest = &rest[n..];
            }
            other => panic!("{other:?} of {text}"),
        }
    }
}

/// The request as a client would write it. Every field is named, so a new one cannot be forgotten here.
fn written(set: &SetRequest) -> String {
    let mut out = String::from("set=1\n");
    let SetRequest { device: DeviceUpdate { private_key, listen_port, fwmark, cipher_suite, replace_peers }, peers } =
        set;
    if let Some(key) = private_key {
        line(&mut out, "private_key", hex(key.expose()));
    }
    listen_port.iter().for_each(|port| line(&mut out, "listen_port", port));
    fwmark.iter().for_each(|mark| line(&mut out, "fwmark", mark));
    cipher_suite.iter().for_each(|suite| line(&mut out, "cipher_suite", suite));
    flag(&mut out, "replace_peers", *replace_peers);
    for peer in peers {
        let PeerUpdate {
            public_key,
            remove,
            update_only,
            preshared_key,
            cipher_suite,
            source,
            name,
            endpoint,
            persistent_keepalive,
            replace_allowed_ips,
            allowed_ips,
        } = peer;
        line(&mut out, "public_key", hex(public_key));
        flag(&mut out, "remove", *remove);
        flag(&mut out, "update_only", *update_only);
        if let Some(key) = preshared_key {
            line(&mut out, "preshared_key", hex(key.expose()));
        }
        match cipher_suite {
            None => {}
            Some(PeerSuite::Interface) => line(&mut out, "cipher_suite", DEFAULT_SUITE),
            Some(PeerSuite::Own(suite)) => line(&mut out, "cipher_suite", suite),
        }
        match source {
            None => {}
            Some(PeerSource::Any) => line(&mut out, "source", DEFAULT_SOURCE),
            Some(PeerSource::Own(source)) => line(&mut out, "source", source),
        }
        name.iter().for_each(|name| line(&mut out, "name", name.as_deref().unwrap_or_default()));
        endpoint.iter().for_each(|endpoint| line(&mut out, "endpoint", endpoint));
        persistent_keepalive.iter().for_each(|secs| line(&mut out, "persistent_keepalive_interval", secs));
        flag(&mut out, "replace_allowed_ips", *replace_allowed_ips);
        for update in allowed_ips {
            match update {
                AllowedIpUpdate::Add(prefix) => line(&mut out, "allowed_ip", prefix),
                AllowedIpUpdate::Remove(prefix) => line(&mut out, "allowed_ip", format_args!("-{prefix}")),
            }
        }
    }
    out.push('\n');
    out
}

fn line(out: &mut String, name: &str, value: impl std::fmt::Display) {
    writeln!(out, "{name}={value}").expect("a string takes everything");
}

fn flag(out: &mut String, name: &str, set: bool) {
    if set {
        line(out, name, true);
    }
}

fn hex(key: &[u8; 32]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn tells_no_secret(debug: &str, set: &SetRequest) {
    let peers = || set.peers.iter();
    let keys = set.device.private_key.iter().chain(peers().filter_map(|peer| peer.preshared_key.as_ref()));
    for key in keys.map(SecretKey::expose) {
        // A client may well send the same bytes as a public key, which is none.
        if peers().any(|peer| peer.public_key == *key) {
            continue;
        }
        let text = hex(key);
        // Nor is a name.
        if peers().filter_map(|peer| peer.name.as_ref()?.as_deref()).any(|name| name.to_lowercase().contains(&text)) {
            continue;
        }
        for form in [text.clone(), text.to_uppercase(), format!("{key:?}"), format!("{key:x?}")] {
            assert!(!debug.contains(&form), "Debug of a request shows a key");
        }
    }
}

/// What `get=1` says of a configuration is what `set=1` takes.
fn answer(set: &SetRequest) {
    let mut reply = Reply::default();
    let private_key = set.device.private_key.as_ref().map(SecretKey::expose);
    let (listen_port, fwmark) = (set.device.listen_port.unwrap_or(0), set.device.fwmark.unwrap_or(0));
    let cipher_suite = set.device.cipher_suite.unwrap_or_default();
    reply.interface(&InterfaceStatus { private_key, listen_port, fwmark, cipher_suite });
    for peer in &set.peers {
        let preshared_key = peer.preshared_key.as_ref().map_or(&[0; 32], SecretKey::expose);
        let status = PeerStatus {
            public_key: &peer.public_key,
            preshared_key,
            cipher_suite: own_suite(peer),
            name: peer.name.as_ref().and_then(Option::as_deref),
            source: own_source(peer),
            endpoint: peer.endpoint,
            last_handshake: (1, 2),
            tx_bytes: 3,
            rx_bytes: 4,
            persistent_keepalive: peer.persistent_keepalive.unwrap_or(0),
        };
        reply.peer(&status);
        added(peer).for_each(|prefix| reply.line("allowed_ip", prefix));
    }
    reply.finish(Errno::OK);
    let text = String::from_utf8(reply.unwritten().to_vec()).expect("an answer is ASCII");
    let lines = text.strip_suffix("errno=0\n\n").expect("the end of an answer").lines();
    let is_told_only =
        |line: &&str| ["last_handshake_time", "tx_bytes", "rx_bytes"].iter().any(|k| line.starts_with(k));
    let lines: Vec<&str> = lines.filter(|line| !is_told_only(line)).collect();
    let told = reread(&["set=1\n", &lines.join("\n"), "\n\n"].concat());

    assert_eq!(told.device.private_key.as_ref().map(SecretKey::expose), private_key);
    assert_eq!((told.device.listen_port.unwrap_or(0), told.device.fwmark.unwrap_or(0)), (listen_port, fwmark));
    assert_eq!(told.device.cipher_suite.unwrap_or_default(), cipher_suite);
    assert_eq!(told.peers.len(), set.peers.len());
    for (told, peer) in told.peers.iter().zip(&set.peers) {
        assert_eq!(told.public_key, peer.public_key);
        let (ours, theirs) = (&told.preshared_key, &peer.preshared_key);
        assert_eq!(ours.as_ref().map(SecretKey::expose), theirs.as_ref().map(SecretKey::expose).or(Some(&[0; 32])));
        assert_eq!(
            told.endpoint,
            peer.endpoint.map(|endpoint| SocketAddr::new(endpoint.ip(), endpoint.port())).map(|mut plain| {
                // The flow label is nothing that an endpoint has.
                if let (SocketAddr::V6(plain), Some(SocketAddr::V6(given))) = (&mut plain, peer.endpoint) {
                    plain.set_scope_id(given.scope_id());
                }
                plain
            },)
        );
        assert_eq!((own_suite(told), own_source(told)), (own_suite(peer), own_source(peer)));
        assert!(added(told).eq(added(peer)));
    }
}

fn own_suite(peer: &PeerUpdate) -> Option<Suite> {
    match peer.cipher_suite {
        Some(PeerSuite::Own(suite)) => Some(suite),
        Some(PeerSuite::Interface) | None => None,
    }
}

fn own_source(peer: &PeerUpdate) -> Option<IpAddr> {
    match peer.source {
        Some(PeerSource::Own(source)) => Some(source),
        Some(PeerSource::Any) | None => None,
    }
}

fn added(peer: &PeerUpdate) -> impl Iterator<Item = Prefix> {
    peer.allowed_ips.iter().filter_map(|update| match update {
        AllowedIpUpdate::Add(prefix) => Some(*prefix),
        AllowedIpUpdate::Remove(_) => None,
    })
}

pub(super) fn seeds() -> Vec<Seed> {
    let key = |digit: char| digit.to_string().repeat(63) + "7";
    let stream = |read_len: u8, text: &str| [&[read_len, 0, 0][..], text.as_bytes()].concat();
    let full = format!(
        "set=1\nprivate_key={}\nlisten_port=51820\nfwmark=4294967295\nreplace_peers=true\npublic_key={}\n\
         preshared_key={}\nendpoint=192.0.2.1:51820\npersistent_keepalive_interval=25\nreplace_allowed_ips=true\n\
         allowed_ip=10.0.0.0/8\nallowed_ip=-fd00::/64\nprotocol_version=1\npublic_key={}\nremove=true\n\
         update_only=true\nendpoint=[fe80::1%eth0]:65535\nallowed_ip=::/0\nallowed_ip=0.0.0.0/0\n\n",
        key('a'),
        key('B'),
        key('c'),
        key('0'),
    );
    let suites = format!(
        "set=1\ncipher_suite=aes256gcm\npublic_key={}\nupdate_only=true\ncipher_suite=chacha20poly1305\n\
         public_key={}\ncipher_suite=default\nsource=192.0.2.1\nsource=2001:db8::1\nsource=default\n\n\
         suites=1\n\nset=1\ncipher_suite=none\n\n",
        key('1'),
        key('2'),
    );
    let bounded = [&[9, 100, 0][..], full.as_bytes(), b"get=1\n\n"].concat();
    let long_line = format!("set=1\nlisten_port={}\n\nget=1\n\n", "0".repeat(5000));
    vec![
        Seed::new("get", stream(0, "get=1\n\nstats=1\n\nget=1\n\n")),
        Seed::new("suites", stream(0, &suites)),
        Seed::new("set", stream(99, &full)),
        Seed::new("set-twice", stream(0, &(full.clone() + &full))),
        Seed::new("crlf", stream(3, &full.replace('\n', "\r\n").replacen("set=1\r", "set=1", 1))),
        Seed::new(
            "zones",
            stream(
                5,
                &format!(
                    "set=1\npublic_key={}\nendpoint=[fe80::1%7]:1\nendpoint=[::ffff:1.2.3.4%eth0]:09\n\n",
                    key('d')
                ),
            ),
        ),
        Seed::new(
            "refused-then-get",
            stream(0, &format!("set=1\nprivate_key={}x\nlisten_port=1\n\nget=1\n\n", key('e'))),
        ),
        Seed::new("refused-crlf-then-get", stream(0, "set=1\r\nfwmark=-1\r\n\r\nget=1\n\n")),
        Seed::new("refused-line-end-crlf", stream(0, "set=1\nfwmark=-1\r\n\r\nget=1\n\n")),
        Seed::new("no-equals", stream(0, "set=1\nlisten_port\n\n")),
        Seed::new("trailing", stream(0, "get=1\nx\n\nget=1\n\n")),
        Seed::new("unknown-operation", stream(0, "put=1\n\nget=1\n\n")),
        Seed::new("request-too-long", bounded),
        Seed::new("line-too-long", stream(200, &long_line)),
        Seed::new("empty-values", stream(0, "set=1\nprivate_key=\nlisten_port=\n\n")),
    ]
}
