use std::fs;

use proptest::prelude::*;
use ringfort_core::device::Device;

use super::*;

const KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
const OTHER: &str = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=";
const NOW: Time = Time::from_secs(1);

#[test]
fn a_file_is_understood_however_it_is_laid_out() {
    let text = format!(
        "# what wg has no words for\r\n\n[interface]\nciphersuite=aes256gcm # for all\n\
         [PEER]\n\tCipherSuite =\tchacha20poly1305\n  PublicKey = {KEY}\n\n\n\
         [Peer]\nPublicKey={OTHER}\nCipherSuite=aes256gcm"
    );
    let settings = parse(&text).unwrap();
    let mut device = Device::new(1);
    settings.apply(&mut device, NOW);
    assert_eq!(device.suite(), Suite::Aes256Gcm);
    let suite = |key| device.peer_suite(&key_text::decode(key).unwrap());
    assert_eq!((suite(KEY), suite(OTHER)), (Some(Suite::ChaCha20Poly1305), Some(Suite::Aes256Gcm)));
    assert_eq!(settings.to_string(), "cipher suite of the interface aes256gcm, 2 peers with settings of their own");
}

#[test]
fn a_peer_may_have_a_source_and_no_suite() {
    let settings = parse(&format!("[Peer]\nPublicKey = {KEY}\nsource = 2001:db8::7 # a virtual address\n")).unwrap();
    let mut device = Device::new(1);
    settings.apply(&mut device, NOW);
    let key = key_text::decode(KEY).unwrap();
    assert_eq!(device.peer_source(&key), Some("2001:db8::7".parse().unwrap()));
    assert_eq!((device.peer_suite(&key), settings.suites().count()), (None, 0));
}

#[test]
fn little_is_said_by_little() {
    for text in ["", "\n", "# [Interface]", "[Interface]", "[Interface]\n#CipherSuite = aes256gcm\n"] {
        assert!(parse(text).unwrap().is_empty(), "{text:?}");
    }
    let one = parse(&format!("[Peer]\nPublicKey = {KEY}\nCipherSuite = aes256gcm\n")).unwrap();
    assert_eq!(one.to_string(), "cipher suite of the interface chacha20poly1305, one peer with settings of its own");
}

#[test]
fn everything_else_is_refused_where_it_stands() {
    let peer = format!("[Peer]\nPublicKey = {KEY}\nCipherSuite = aes256gcm\n");
    for (text, line, problem) in [
        ("CipherSuite = aes256gcm".into(), 1, Problem::NoSection),
        ("\n[Interfaces]".into(), 2, Problem::UnknownSection),
        ("[Interface".into(), 1, Problem::UnknownSection),
        ("[Interface]\nCipherSuite".into(), 2, Problem::NotASetting),
        ("[Interface]\nCipher Suite = aes256gcm".into(), 2, Problem::UnknownInterfaceName),
        (format!("[Interface]\nPublicKey = {KEY}"), 2, Problem::UnknownInterfaceName),
        ("[Interface]\nCipherSuite =".into(), 2, Problem::Suite(UnknownSuite)),
        ("[Interface]\nCipherSuite = AES256GCM".into(), 2, Problem::Suite(UnknownSuite)),
        ("[Interface]\nCipherSuite = aes256gcm,".into(), 2, Problem::Suite(UnknownSuite)),
        ("[Interface]\n\n[interface]".into(), 3, Problem::SecondInterface),
        ("[Interface]\nCipherSuite=aes256gcm\nCipherSuite=aes256gcm".into(), 3, Problem::Twice),
        (format!("[Interface]\nPrivateKey = {KEY}"), 2, Problem::OfWg),
        ("[Interface]\nAddress = 10.0.0.1/24".into(), 2, Problem::OfWg),
        (format!("{peer}allowedips = 10.0.0.0/8"), 4, Problem::OfWg),
        (format!("{peer}Suite = aes256gcm"), 4, Problem::UnknownPeerName),
        (format!("{peer}PublicKey = {KEY}"), 4, Problem::Twice),
        (format!("[Peer]\nPublicKey = {}", &KEY[1..]), 2, Problem::Key(NotAKey)),
        (format!("\n[Peer]\nPublicKey = {KEY}\n\n[Interface]"), 2, Problem::Incomplete),
        ("[Peer]\nCipherSuite = aes256gcm".into(), 1, Problem::Incomplete),
        (format!("{peer}Source = 192.0.2.300"), 4, Problem::Source),
        (format!("{peer}Source = 0.0.0.0"), 4, Problem::Source),
        (format!("{peer}Source = fe80::1"), 4, Problem::Source),
        (format!("{peer}Source = 192.0.2.7\nsource = 192.0.2.8"), 5, Problem::Twice),
        ("[Interface]\nSource = 192.0.2.7".into(), 2, Problem::UnknownInterfaceName),
        (format!("{peer}{peer}"), 4, Problem::SamePeer),
    ] {
        assert_eq!(parse(&text), Err((line, problem)), "{text}");
    }
}

#[test]
fn a_refusal_names_file_line_and_remedy_but_not_the_text() {
    let path = std::env::temp_dir().join(format!("ringfort-settings-{}.conf", std::process::id()));
    fs::write(&path, format!("[Interface]\nPrivateKey = {KEY}\n")).unwrap();
    let error = Settings::load(Some(&path), "wg0").unwrap_err().to_string();
    assert!(error.contains(&format!("{}, line 2: ", path.display())) && error.contains("wg(8)"), "{error}");
    fs::write(&path, format!("[Peer]\nPublicKey = {}\n{KEY}", &KEY[2..])).unwrap();
    let error = Settings::load(Some(&path), "wg0").unwrap_err().to_string();
    assert!(
        error.ends_with("this is not a public key: that is 44 characters of base64, as wg(8) prints it"),
        "{error}"
    );
    assert!(!error.contains(&KEY[2..]), "{error}");
    fs::write(&path, [b'[', 0xff]).unwrap();
    assert!(matches!(Settings::load(Some(&path), "wg0"), Err(SettingsError::Read { .. })), "not UTF-8");
    fs::remove_file(&path).unwrap();
    let error = Settings::load(Some(&path), "wg0").unwrap_err().to_string();
    assert!(error.contains("cannot read the configuration") && error.contains("No such file"), "{error}");
    let nothing = Settings::load(None, "no-such-interface").unwrap();
    assert!(nothing.is_empty(), "an interface needs no file");
}

/// Lines that are right often enough to reach every branch.
fn line() -> impl Strategy<Value = String> {
    let whole = vec![
        "[Interface]".to_owned(),
        "[Peer]".to_owned(),
        "[peer] # of ours".to_owned(),
        "CipherSuite = aes256gcm".to_owned(),
        "CipherSuite = chacha20poly1305".to_owned(),
        format!("PublicKey = {KEY}"),
        format!("PublicKey = {OTHER}"),
        "Source = 192.0.2.7".to_owned(),
        String::new(),
        "# nothing".to_owned(),
    ];
    prop_oneof![8 => prop::sample::select(whole), 1 => "[\\[\\]#= A-Za-z\u{e9}\r]{0,20}"]
}

proptest! {
    #[test]
    fn any_text_is_understood_or_refused_on_one_of_its_lines(lines in prop::collection::vec(line(), 0..12)) {
        let text = lines.join("\n");
        match parse(&text) {
            Err((line, _)) => prop_assert!((1..=lines.len()).contains(&line)),
            // Said again in its own words, it says the same.
            Ok(settings) => {
                let mut again = settings.interface.map_or(String::new(), |suite| {
                    format!("[Interface]\nCipherSuite = {suite}\n")
                });
                for (key, PeerSettings { suite, source }) in &settings.peers {
                    again += &format!("[Peer]\nPublicKey = {}\n", key_text::encode(key));
                    again += &suite.map_or(String::new(), |suite| format!("CipherSuite = {suite}\n"));
                    again += &source.map_or(String::new(), |source| format!("Source = {source}\n"));
                }
                prop_assert_eq!(parse(&again), Ok(settings));
            }
        }
    }
}
