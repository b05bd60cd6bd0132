use std::net::IpAddr;

use proptest::prelude::*;
use ringfort_core::allowed_ips::Prefix;
use ringfort_core::suite::Suite;

use super::*;

pub(super) const KEY_HEX: &str = "e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a";
const OTHER_HEX: &str = "58402E695BA1772B1CC9309755F043251EA77FDCF10FBE63989CEB7E19321376";

fn zone(name: &str) -> Option<u32> {
    (name == "eth7").then_some(7)
}

/// Everything that a reader says about these bytes, fed in pieces of `step`.
pub(super) fn events(input: &[u8], step: usize) -> Vec<RequestEvent> {
    let mut reader = RequestReader::default();
    let mut events = Vec::new();
    let mut input = input;
    while !input.is_empty() {
        let space = reader.space();
        assert!(!space.is_empty(), "a reader that wants more bytes has room for them");
        let len = step.min(space.len()).min(input.len());
        space[..len].copy_from_slice(&input[..len]);
        input = &input[len..];
        reader.advance(len);
        while let Some(event) = reader.next_event(REQUEST_LEN_MAX, zone) {
            let hang_up = matches!(event, RequestEvent::HangUp);
            events.push(event);
            if hang_up {
                return events;
            }
        }
    }
    events
}

fn set(body: &str) -> Result<SetRequest, Refusal> {
    let mut events = events(format!("set=1\n{body}\n").as_bytes(), 4096);
    assert_eq!(events.len(), 1, "one request, one event");
    match events.remove(0) {
        RequestEvent::Request(Request::Set(request)) => Ok(*request),
        RequestEvent::Refused(refusal) => Err(refusal),
        other => panic!("unexpected {other:?}"),
    }
}

fn peer(body: &str) -> Result<PeerUpdate, Refusal> {
    set(&format!("public_key={KEY_HEX}\n{body}\n")).map(|mut request| request.peers.remove(0))
}

fn prefix(addr: &str, len: u8) -> Prefix {
    Prefix::new(addr.parse().unwrap(), len).unwrap()
}

#[test]
fn a_full_request_is_understood() {
    let request = set(&format!(
        "private_key={KEY_HEX}\nlisten_port=51820\nfwmark=42\nreplace_peers=true\n\
         public_key={OTHER_HEX}\nupdate_only=true\npreshared_key={KEY_HEX}\nendpoint=192.0.2.7:9\n\
         persistent_keepalive_interval=25\nreplace_allowed_ips=true\nprotocol_version=1\n\
         allowed_ip=10.1.2.3/8\nallowed_ip=-2001:db8::/32\npublic_key={KEY_HEX}\nremove=true\n"
    ))
    .unwrap();
    let device = &request.device;
    assert_eq!(device.private_key.as_ref().unwrap().expose()[..2], [0xe8, 0x4b]);
    assert_eq!((device.listen_port, device.fwmark), (Some(51820), Some(42)));
    assert!(device.replace_peers);

    let [first, second] = &request.peers[..] else { panic!("two peers") };
    assert_eq!(first.public_key[..2], [0x58, 0x40]);
    assert!(first.update_only && first.replace_allowed_ips && !first.remove);
    assert_eq!(first.preshared_key.as_ref().unwrap().expose()[31], 0x7a);
    assert_eq!(first.endpoint, Some("192.0.2.7:9".parse().unwrap()));
    assert_eq!(first.persistent_keepalive, Some(25));
    let expected = [AllowedIpUpdate::Add(prefix("10.1.2.3", 8)), AllowedIpUpdate::Remove(prefix("2001:db8::", 32))];
    assert_eq!(first.allowed_ips, expected);
    assert!(second.remove && second.endpoint.is_none());
}

#[test]
fn the_last_of_two_lines_wins_and_replace_clears_what_came_before_it() {
    let update = peer(
        "endpoint=192.0.2.1:1\nendpoint=192.0.2.2:2\nallowed_ip=10.0.0.0/8\n\
         replace_allowed_ips=true\nallowed_ip=10.9.0.0/16",
    )
    .unwrap();
    assert_eq!(update.endpoint, Some("192.0.2.2:2".parse().unwrap()));
    assert_eq!(update.allowed_ips, [AllowedIpUpdate::Add(prefix("10.9.0.0", 16))]);
    let twice = set(&format!("public_key={KEY_HEX}\npublic_key={KEY_HEX}\n")).unwrap();
    assert_eq!(twice.peers.len(), 2);
}

#[test]
fn suites_have_names_and_a_default() {
    for (text, of_peer, of_interface) in [
        ("aes256gcm", PeerSuite::Own(Suite::Aes256Gcm), Suite::Aes256Gcm),
        ("chacha20poly1305", PeerSuite::Own(Suite::ChaCha20Poly1305), Suite::ChaCha20Poly1305),
        (DEFAULT_SUITE, PeerSuite::Interface, Suite::ChaCha20Poly1305),
    ] {
        assert_eq!(peer(&format!("cipher_suite={text}")).unwrap().cipher_suite, Some(of_peer));
        assert_eq!(set(&format!("cipher_suite={text}\n")).unwrap().device.cipher_suite, Some(of_interface));
    }
}

#[test]
fn sources_are_addresses_that_a_datagram_can_leave_from() {
    for text in ["192.0.2.1", "2001:db8::1", "127.0.0.1"] {
        let own = Some(PeerSource::Own(text.parse().unwrap()));
        assert_eq!(peer(&format!("source={text}")).unwrap().source, own);
    }
    assert_eq!(peer(&format!("source={DEFAULT_SOURCE}")).unwrap().source, Some(PeerSource::Any));
}

#[test]
fn endpoints_of_every_form() {
    for (text, expected) in [
        ("[2001:db8::1]:51820", "[2001:db8::1]:51820"),
        ("[fe80::1%3]:5", "[fe80::1%3]:5"),
        ("[fe80::1%eth7]:5", "[fe80::1%7]:5"),
        ("0.0.0.0:0", "0.0.0.0:0"),
    ] {
        let update = peer(&format!("endpoint={text}")).unwrap();
        assert_eq!(update.endpoint, Some(expected.parse().unwrap()), "{text}");
    }
}

#[test]
fn every_key_refuses_empty_negative_overflowing_malformed_and_short_values() {
    let hex = &["", "-1", "00", "zz", &KEY_HEX[1..], &KEY_HEX.replace('e', "g"), &format!("{KEY_HEX}0")];
    let flag: &[&str] = &["", "-1", "false", "True", "1", "true "];
    let u16_: &[&str] = &["", "-1", "+1", "65536", "99999999999999999999999", "0x10", "1 ", "ten"];
    let u32_: &[&str] = &["", "-1", "4294967296", "0x10", "1.0"];
    let suite: &[&str] = &["", "aes", "AES256GCM", "aes256gcm ", "-1", "1", "true", "\u{fffd}"];
    let source: &[&str] =
        &["", "-1", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "fe80::1", "192.0.2", "192.0.2.1:5"];
    let cases: [(&'static str, &[&str], bool); 15] = [
        ("private_key", &hex.each_ref().map(|value| &**value), false),
        ("listen_port", u16_, false),
        ("fwmark", u32_, false),
        ("cipher_suite", suite, false),
        ("cipher_suite", suite, true),
        ("source", source, true),
        ("replace_peers", flag, false),
        ("public_key", &hex.each_ref().map(|value| &**value), false),
        ("preshared_key", &hex.each_ref().map(|value| &**value), true),
        ("remove", flag, true),
        ("update_only", flag, true),
        ("replace_allowed_ips", flag, true),
        ("persistent_keepalive_interval", u16_, true),
        ("protocol_version", &["", "0", "2", "-1", "11", "99999999999999999999"], true),
        (
            "endpoint",
            &[
                "",
                "1.2.3.4",
                "1.2.3.4:",
                "1.2.3.4:65536",
                "1.2.3.4:-1",
                "::1:5",
                "[::1]",
                "[::1]5",
                "[::1%nosuch]:5",
                "[::1%]:5",
                "[1.2.3.4%eth7]:5",
                "example.com:5",
                "1.2.3:4",
            ],
            true,
        ),
    ];
    for (key, values, of_peer) in cases {
        for value in values {
            let line = format!("{key}={value}");
            let result = if of_peer { peer(&line).err() } else { set(&format!("{line}\n")).err() };
            assert_eq!(result, Some(Refusal::Value(key)), "{line}");
            assert_eq!(result.unwrap().errno().get(), -libc::EINVAL);
        }
    }
}

#[test]
fn prefixes_need_a_length_within_the_family() {
    for bad in [
        "",
        "-",
        "10.0.0.0",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/08",
        "10.0.0/8",
        "010.0.0.0/8",
        "::/129",
        "::/999999999999999999999",
        "fe80::1%3/64",
        "--10.0.0.0/8",
        "a/8",
    ] {
        for sign in ["", "-"] {
            let refusal = peer(&format!("allowed_ip={sign}{bad}")).err();
            // "-" alone is the empty prefix with a sign; two signs are never fine.
            assert_eq!(refusal, Some(Refusal::Value("allowed_ip")), "{sign}{bad}");
        }
    }
    for good in ["0.0.0.0/0", "10.0.0.0/32", "::/0", "::1/128", "::ffff:1.2.3.4/128"] {
        peer(&format!("allowed_ip={good}")).unwrap();
    }
}

#[test]
fn keys_in_the_wrong_section_and_unknown_ones() {
    for key in ["endpoint=1.2.3.4:5", "allowed_ip=10.0.0.0/8", "remove=true", "nonsense=1", "=", "=1"] {
        let refusal = set(key).unwrap_err();
        assert_eq!(refusal, Refusal::UnknownInterfaceKey, "{key}");
        assert_eq!(refusal.errno().get(), -libc::EINVAL);
    }
    for key in ["listen_port=1", "replace_peers=true", "private_key=00", "nonsense=1"] {
        let refusal = peer(key).unwrap_err();
        assert_eq!(refusal, Refusal::UnknownPeerKey, "{key}");
    }
}

#[test]
fn a_line_without_equals_is_a_protocol_error() {
    let refusal = set("listen_port\n").unwrap_err();
    assert_eq!(refusal, Refusal::NotKeyValue);
    assert_eq!(refusal.errno().get(), -libc::EPROTO);
}

#[test]
fn nothing_comes_of_a_request_without_its_blank_line() {
    let text = format!("set=1\nlisten_port=5\npublic_key={KEY_HEX}\n");
    assert!(events(text.as_bytes(), 7).is_empty());
    assert!(events(b"get=1\n", 1).is_empty());
}

#[test]
fn operations_of_one_line_want_a_blank_line() {
    assert!(matches!(events(b"get=1\n\n", 1)[..], [RequestEvent::Request(Request::Get)]));
    assert!(matches!(events(b"stats=1\n\n", 1)[..], [RequestEvent::Request(Request::Stats)]));
    assert!(matches!(events(b"suites=1\n\n", 1)[..], [RequestEvent::Request(Request::Suites)]));
    assert!(matches!(events(b"reload=1\n\n", 1)[..], [RequestEvent::Request(Request::Reload)]));
    assert!(matches!(events(b"report=1\n\n", 1)[..], [RequestEvent::Request(Request::Report)]));
    assert!(matches!(events(b"file=1\n\n", 1)[..], [RequestEvent::Request(Request::File)]));
    assert!(matches!(events(b"peers=1\n\n", 1)[..], [RequestEvent::Request(Request::Peers(1))]));
    assert!(matches!(events(b"peers=501\n\n", 1)[..], [RequestEvent::Request(Request::Peers(501))]));
    let why = format!("why={}\n\n", "0a".repeat(32));
    assert!(matches!(events(why.as_bytes(), 1)[..], [RequestEvent::Request(Request::Why(key))] if key == [10; 32]));
    for bad in [&b"peers=0\n"[..], b"peers=\n", b"peers=all\n", b"why=1\n"] {
        assert!(matches!(events(bad, 1)[..], [RequestEvent::HangUp]), "{bad:?}");
    }
    assert!(matches!(events(b"log_level=1\n\n", 1)[..], [RequestEvent::Request(Request::LogLevel(None))]));
    let debug = Some(log::LevelFilter::Debug);
    let found = events(b"log_level=debug\n\n", 1);
    assert!(matches!(found[..], [RequestEvent::Request(Request::LogLevel(level))] if level == debug));
    assert!(matches!(events(b"log_level=loud\n", 1)[..], [RequestEvent::HangUp]));
    for (text, role) in [("1", None), ("active", Some(Role::Active)), ("passive", Some(Role::Passive))] {
        let events = events(format!("role={text}\n\n").as_bytes(), 1);
        assert!(matches!(events[..], [RequestEvent::Request(Request::Role(asked))] if asked == role), "{text}");
    }
    assert!(matches!(events(b"role=\n", 1)[..], [RequestEvent::HangUp]));
    assert!(matches!(events(b"recover=1\n\n", 1)[..], [RequestEvent::Request(Request::Recover)]));
    assert!(matches!(events(b"watch=1\n\n", 1)[..], [RequestEvent::Request(Request::Watch)]));
    assert!(matches!(events(b"alive=1\n\n", 1)[..], [RequestEvent::Request(Request::Alive)]));
    assert!(matches!(
        events(b"get=1\nx\n\nget=1\n\n", 3)[..],
        [RequestEvent::Refused(Refusal::TrailingText), RequestEvent::Request(Request::Get)]
    ));
}

#[test]
fn unknown_operations_close_the_connection() {
    for text in ["\n", "get=2\n", "set=1 \n", "GET / HTTP/1.1\r\n"] {
        assert!(matches!(events(text.as_bytes(), 2)[..], [RequestEvent::HangUp]), "{text:?}");
    }
    let endless = vec![b'x'; 3 * LINE_LEN_MAX];
    assert!(matches!(events(&endless, 1000)[..], [RequestEvent::HangUp]));
}

#[test]
fn after_a_refusal_the_rest_of_that_request_is_skipped_and_the_next_is_served() {
    let text = format!("set=1\nfwmark=x\nlisten_port=7\npublic_key={KEY_HEX}\n\nget=1\n\n");
    for step in [1, 5, 4096] {
        assert!(matches!(
            events(text.as_bytes(), step)[..],
            [RequestEvent::Refused(Refusal::Value("fwmark")), RequestEvent::Request(Request::Get)]
        ));
    }
}

#[test]
fn an_endless_line_is_refused_once_and_then_given_up() {
    let mut text = b"set=1\nlisten_port=".to_vec();
    text.resize(LINE_LEN_MAX * 5, b'1');
    text.extend_from_slice(b"\n\nget=1\n\n");
    assert!(matches!(
        events(&text, 4096)[..],
        [RequestEvent::Refused(Refusal::LineTooLong), RequestEvent::Request(Request::Get)]
    ));
    text.truncate(20);
    text.resize(REQUEST_LEN_MAX + 3 * LINE_LEN_MAX, b'1');
    assert!(matches!(events(&text, 4096)[..], [RequestEvent::Refused(Refusal::LineTooLong), RequestEvent::HangUp]));
}

#[test]
fn a_request_beyond_its_bound_is_refused_and_frees_what_it_held() {
    let mut reader = RequestReader::default();
    let mut feed = |text: &str| {
        reader.space()[..text.len()].copy_from_slice(text.as_bytes());
        reader.advance(text.len());
        let event = reader.next_event(100, zone);
        (event, reader.held_len())
    };
    assert!(matches!(feed("set=1\n"), (None, 6)));
    assert!(matches!(feed(&format!("public_key={KEY_HEX}\n")), (None, 82)));
    let line = "allowed_ip=10.0.0.0/8\n";
    assert!(matches!(feed(line), (Some(RequestEvent::Refused(Refusal::RequestTooLong)), 0)));
    assert!(matches!(feed(line), (None, 0)));
}

#[test]
fn carriage_returns_are_tolerated_within_a_set() {
    assert!(matches!(events(b"set=1\nfwmark=1\r\n\r\n", 4096)[..], [RequestEvent::Request(Request::Set(_))]));
}

#[test]
fn secrets_are_not_printed() {
    let request = set(&format!("private_key={KEY_HEX}\n")).unwrap();
    let printed = format!("{request:?}");
    assert!(printed.contains("SecretKey(..)"));
    assert!(!printed.contains("e8") && !printed.contains("232"), "{printed}");
}

/// Lines that look right often enough to reach every branch.
fn line() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "private_key",
        "listen_port",
        "fwmark",
        "replace_peers",
        "public_key",
        "remove",
        "update_only",
        "preshared_key",
        "endpoint",
        "persistent_keepalive_interval",
        "replace_allowed_ips",
        "allowed_ip",
        "protocol_version",
        "cipher_suite",
        "set",
        "get",
        "stats",
        "suites",
        "",
    ]);
    let value = prop_oneof![
        Just("true".to_owned()),
        Just("1".to_owned()),
        Just(String::new()),
        Just(KEY_HEX.to_owned()),
        Just("[fe80::1%eth7]:5".to_owned()),
        Just("aes256gcm".to_owned()),
        "[-+0-9a-f.:/%\\[\\]]{0,70}",
        any::<u64>().prop_map(|number| number.to_string()),
        any::<(IpAddr, u8)>().prop_map(|(addr, len)| format!("{addr}/{}", len % 129)),
    ];
    (key, value).prop_map(|(key, value)| format!("{key}={value}"))
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(input in prop::collection::vec(any::<u8>(), 0..2000), step in 1_usize..5000) {
        events(&input, step);
    }

    #[test]
    fn arbitrary_lines_never_panic_and_their_cutting_does_not_matter(
        lines in prop::collection::vec(prop_oneof![4 => line(), 1 => Just(String::new())], 0..30),
        step in 1_usize..300,
    ) {
        let text = format!("set=1\n{}\n\n", lines.join("\n"));
        let whole = format!("{:?}", events(text.as_bytes(), usize::MAX));
        let pieces = format!("{:?}", events(text.as_bytes(), step));
        prop_assert_eq!(whole, pieces);
    }
}
