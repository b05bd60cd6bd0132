use network_setup::Table;

use super::*;
use crate::config::{Address, Dns, Endpoint};
use crate::files::{Disk, Memory};
use crate::key_text;
use crate::mistake::Mistake;
use crate::secret::SecretKey;
use crate::start::{BusyPoll, CpuList, LogLevel, Overlays, UdpGso};

const KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
const OTHER: &str = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=";
const SECRET: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";

fn loaded(text: &str) -> Result<Loaded, Mistakes> {
    load_from(&Memory::new([("wg0.conf", text.as_bytes())]))
}

fn load_from(files: &Memory) -> Result<Loaded, Mistakes> {
    load(Path::new("wg0.conf"), files, KeyFiles::Needed)
}

/// Line, column and text of all that is wrong.
fn mistakes(text: &str) -> Vec<(usize, usize, String)> {
    let mistakes = loaded(text).expect_err(text);
    mistakes.list().iter().map(|Mistake { place, problem }| (place.line, place.column, problem.to_string())).collect()
}

#[test]
fn everything_that_a_file_can_say() {
    let text = format!(
        "# a gateway\r\n[interface]\r\nprivatekey = {SECRET}\nListenPort=51820\nFwMark = 0xCA6C\n\
         Address = 10.0.0.1/24,fd00::1\n\
         ADDRESS=192.0.2.1\nDNS = 10.0.0.53, example.net, ~corp.example, ~.\n\
         MTU = 1380\nTable = 1234\nPreUp = echo a=%i # not this\n\
         PostUp = one\nPostUp = two\nPreDown = three\nPostDown = four\nSaveConfig = true\n\
         HookTimeout = 45\n#ringfort: Workers = 3\nCPUs = 0-1, 4\nBusyPoll = always\nUdpGso = ragged\n\
         Overlays = off\nAead = aws-lc\nLogLevel = debug\n\
         Metrics = [::1]:9586\nCipherSuite = aes256gcm\n\
         [PEER]\nPublicKey = {KEY}\n# ringfort: Name = Ann's laptop\nPresharedKey = {SECRET}\n\
         AllowedIPs = 10.0.0.2, 10.1.2.3/16\nAllowedIPs =\nAllowedIPs = fd00::/64\nEndpoint = host.example:51821\n\
         PersistentKeepalive = 25\nCipherSuite = chacha20poly1305\nSource = 2001:db8::7\n\
         [Peer]\nPublicKey = {OTHER}\nEndpoint = [2001:db8::1]:1\nPersistentKeepalive = OFF\nPresharedKey = {}=",
        "A".repeat(43)
    );
    let loaded = loaded(&text).unwrap();
    let Config { interface, peers } = &loaded.config;
    assert_eq!(interface.private_key, SecretKey::from_base64(SECRET));
    assert_eq!((interface.listen_port, interface.fwmark, interface.mtu), (Some(51_820), Some(0xca6c), Some(1380)));
    let addresses: Vec<String> = interface.addresses.iter().map(Address::to_string).collect();
    assert_eq!(addresses, ["10.0.0.1/24", "fd00::1/128", "192.0.2.1/32"]);
    let domains = ["example.net", "~corp.example", "~."].map(|domain| Dns::Search(domain.into()));
    assert_eq!(interface.dns[0], Dns::Server([10, 0, 0, 53].into()));
    assert_eq!(interface.dns[1..], domains);
    assert_eq!((interface.table, interface.save_config), (Table::Number(1234), true));
    assert_eq!(interface.hooks.pre_up, ["echo a=%i # not this"]);
    assert_eq!(interface.hooks.post_up, ["one", "two"]);
    assert_eq!(interface.hook_timeout, Some(45));
    let start = &interface.start;
    assert_eq!((start.workers, &start.cpus), (Some(3), &Some(CpuList(vec![0, 1, 4]))));
    assert_eq!((start.busy_poll, start.udp_gso), (Some(BusyPoll(std::time::Duration::MAX)), Some(UdpGso::Ragged)));
    assert_eq!((start.aead, start.metrics), ("aws-lc".parse().ok(), "[::1]:9586".parse().ok()));
    assert_eq!(start.overlays, Some(Overlays::Off));
    assert_eq!(start.log_level, Some(LogLevel(log::LevelFilter::Debug)));
    assert_eq!(loaded.config.suites().collect::<Vec<_>>(), [Suite::Aes256Gcm, Suite::ChaCha20Poly1305]);
    assert_eq!(peers[0].name.as_deref(), Some("Ann's laptop"));
    let prefixes: Vec<String> = peers[0].allowed_ips.iter().map(Prefix::to_string).collect();
    assert_eq!(prefixes, ["10.0.0.2/32", "10.1.0.0/16", "fd00::/64"]);
    assert_eq!(peers[0].endpoint, Some(Endpoint::Name { host: "host.example".into(), port: 51_821 }));
    assert_eq!((peers[0].persistent_keepalive, peers[0].source), (Some(25), Some("2001:db8::7".parse().unwrap())));
    assert_eq!(peers[1].endpoint, Some(Endpoint::Address("[2001:db8::1]:1".parse().unwrap())));
    assert_eq!((peers[1].persistent_keepalive, &peers[1].preshared_key), (Some(0), &None), "zeros are no key");
    assert!(loaded.warnings.is_empty() && loaded.key_or_settings_only().is_ok());
}

#[test]
fn little_is_said_by_little() {
    for text in ["", "\n", "# [Interface]", "[Interface]", "\u{feff}[Interface]\n#CipherSuite = aes256gcm\n"] {
        assert_eq!(loaded(text).unwrap().config, Config::default(), "{text:?}");
    }
}

#[test]
fn every_mistake_is_named_with_its_place() {
    let text = "MTU = 1\n[Interfaces]\nMTU = 2\n[Interface]\n  MTU = big\nMtu = 1400\n\
                Address = 10.0.0.1/24, 10.0.0.300, x\n\
                Adress = 10.0.0.1\nEndpoint = 1.2.3.4:5\nhello\n#ringfort: ListenPort = 1\nTable =\n[interface]\n\
                [Peer]\nAllowedIPs = 10.0.0.0/33, 10.0.0.0/8,+10.0.0.1\nPresharedKey = abc\nSource = fe80::1\n\
                Endpoint = 1.2.3.4\n[Peer]\nPublicKey = abc\nEndpoint = ::1:5\nPersistentKeepalive = 70000\nName=\u{7}";
    let found = mistakes(text);
    let places: Vec<(usize, usize)> = found.iter().map(|&(line, column, _)| (line, column)).collect();
    let expected = [
        (1, 1),
        (2, 1),
        (3, 7),
        (5, 9),
        (6, 1),
        (7, 24),
        (7, 36),
        (8, 1),
        (9, 1),
        (10, 1),
        (11, 12),
        (12, 1),
        (13, 1),
        (15, 14),
        (15, 38),
        (16, 16),
        (17, 10),
        (18, 12),
        (14, 1),
        (20, 13),
        (21, 12),
        (22, 23),
        (23, 6),
    ];
    assert_eq!(places, expected, "{found:#?}");
    assert!(found[7].2.contains("did you mean Address?"), "{}", found[7].2);
    assert!(found[8].2.contains("belongs into [Peer]"), "{}", found[8].2);
}

/// A mistyped header hides nothing: what stands below it is read as what was meant.
#[test]
fn a_mistyped_header_does_not_hide_what_is_wrong_below_it() {
    for (header, nearest) in [
        ("[Interfaces]", "did you mean [Interface]?"),
        ("[interfcae]", "did you mean [Interface]?"),
        ("[Interface", "did you mean [Interface]?"),
        ("[Gateway]", "there are [Interface] and [Peer]"),
    ] {
        let found = mistakes(&format!("{header}\nPrivateKey = x\nMTU = 1400\nMTU = big\n[Interface]\nMTU = 1400\n"));
        assert!(found[0].2.ends_with(nearest), "{found:?}");
        let places: Vec<_> = found.iter().map(|&(line, column, _)| (line, column)).collect();
        assert_eq!(places, [(1, 1), (2, 14), (4, 1)], "{header}: {found:?}");
    }
    for (header, nearest) in [("[Per]", "did you mean [Peer]?"), ("[Client]", "there are [Interface] and [Peer]")] {
        let found = mistakes(&format!("{header}\nPublicKey = {KEY}\nAllowedIPs = 10.0.0.0/33\nEndpont = x:1\n"));
        assert!(found[0].2.ends_with(nearest), "{found:?}");
        let places: Vec<_> = found.iter().map(|&(line, column, _)| (line, column)).collect();
        assert_eq!(places, [(1, 1), (3, 14), (4, 1)], "{header}: {found:?}");
    }
    let found = mistakes("[Client]\nNonsense = 1\nEndpoint = x\n");
    assert_eq!((found.len(), found[1].0, found[2].0), (3, 2, 3), "{found:?}");
}

/// wireguard-go ignores it as well, so one list can be given to all gateways. But somebody may wonder where it is.
#[test]
fn a_peer_with_our_own_key_is_left_out_and_said() {
    let own = loaded(&format!("[Interface]\nPrivateKey = {SECRET}\n")).unwrap().config.own_key().unwrap();
    let peer = |key: &str| format!("[Peer]\nPublicKey = {key}\n");
    let text = format!("{}{}[Interface]\nPrivateKey = {SECRET}\n", peer(KEY), peer(&key_text::encode(&own)));
    let warnings: Vec<String> = loaded(&text).unwrap().warnings.iter().map(Warning::to_string).collect();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("wg0.conf:3:1: this is the key of the interface itself"), "{warnings:?}");
    assert!(loaded(&format!("{}[Interface]\nPrivateKey = {SECRET}\n", peer(KEY))).unwrap().warnings.is_empty());
}

/// Cut there, a rule may match all packets instead of some. The shell knows what a comment is.
#[test]
fn a_command_reaches_to_the_end_of_its_line() {
    let (rule, comment) = ("iptables -A INPUT -m comment --comment site#1 -j DROP", "logger up # of the site");
    let text = format!("[Interface]\nPrivateKey = {SECRET}\nPostUp = {rule}\nPreDown = {comment}\n");
    let read = loaded(&text).unwrap();
    let hooks = &read.config.interface.hooks;
    assert_eq!((hooks.post_up[0].as_str(), hooks.pre_down[0].as_str()), (rule, comment));
    let warnings: Vec<String> = read.warnings.iter().map(Warning::to_string).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("wg0.conf:3:53: this # is part of the command"), "{warnings:?}");
    assert_eq!(loaded(read.config.write().as_str()).unwrap().config, read.config);
}

/// Each line alone is wrong, and nothing else is.
#[test]
fn values_that_are_refused() {
    for line in [
        "PrivateKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "PrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBm=",
        "ListenPort = 65536",
        "ListenPort = +1",
        "FwMark = 0x",
        "FwMark = 4294967296",
        "Address = 10.0.0.1/24,",
        "DNS = -x",
        "DNS = ~",
        "DNS = ~~x",
        "DNS = ~-x",
        "MTU = 67",
        "Table = 0",
        "Table = vpn",
        "SaveConfig = yes",
        "HookTimeout = -1",
        "Workers = 0",
        "Workers = 256",
        "CPUs = 1-0",
        "BusyPoll = soon",
        "UdpGso = maybe",
        "Overlays = auto",
        "Node = 4/2",
        "Node = 1",
        "Passive = yes",
        "Aead = rot13",
        "LogLevel = loud",
        "Metrics = 9586",
        "CipherSuite = AES",
        "PublicKey = x",
        "Suite = aes256gcm",
    ] {
        let found = mistakes(&format!("[Interface]\n{line}"));
        assert_eq!((found.len(), found[0].0), (1, 2), "{line}: {found:?}");
    }
    let host = "x".repeat(254);
    for endpoint in
        ["x:0", "x:65536", "x", ":1", "[::1]", "[::1]:x", "[::1%a/b]:1", "[x]:1", "-x:1", &format!("{host}:1")]
    {
        let found = mistakes(&format!("[Peer]\nPublicKey = {KEY}\nEndpoint = {endpoint}"));
        assert_eq!((found.len(), found[0].0), (1, 3), "{endpoint}: {found:?}");
    }
}

#[test]
fn what_is_there_twice_is_refused() {
    let peer = format!("[Peer]\nPublicKey = {KEY}\n");
    assert_eq!(mistakes(&format!("{peer}{peer}"))[0].0, 3);
    assert!(mistakes(&format!("{peer}{peer}"))[0].2.contains("in line 1 of wg0.conf"));
    assert_eq!(mistakes(&format!("{peer}publickey = {OTHER}"))[0].0, 3);
    let both = format!("[Interface]\nPrivateKeyFile = key\nPrivateKey = {SECRET}\n");
    let files = Memory::new([("wg0.conf", both.as_bytes()), ("key", SECRET.as_bytes())]);
    assert_eq!(load_from(&files).unwrap_err().list()[0].problem, Problem::TwoKeys);
}

#[test]
fn the_last_peer_has_a_prefix_and_a_warning_says_so() {
    let text = format!(
        "[Peer]\nPublicKey = {KEY}\nName = a\nAllowedIPs = 10.0.0.0/8, 10.0.0.1\n\
         [Peer]\nPublicKey = {OTHER}\nName = a\nAllowedIPs = 10.2.3.4/8\n"
    );
    let loaded = loaded(&text).unwrap();
    let counts: Vec<usize> = loaded.config.peers.iter().map(|peer| peer.allowed_ips.len()).collect();
    assert_eq!(counts, [1, 1]);
    let warnings: Vec<String> = loaded.warnings.iter().map(Warning::to_string).collect();
    assert_eq!(warnings.len(), 2);
    assert!(warnings[0].starts_with("wg0.conf:5:1: 10.0.0.0/8 is in the [Peer] of line 1"), "{warnings:?}");
    assert!(warnings[1].contains("same Name"), "{warnings:?}");
}

#[test]
fn files_are_included_in_order_and_sections_do_not_reach_across() {
    let peer = |key: &str| format!("[Peer]\nPublicKey = {key}\n");
    let main = "[Interface]\nInclude = peers.d/*.conf\n#ringfort: Include = more.conf\nMTU = 1400\n";
    let (a, b) = (peer(KEY), peer(OTHER));
    let files = Memory::new([
        ("wg0.conf", main.as_bytes()),
        ("peers.d/b.conf", b.as_bytes()),
        ("peers.d/a.conf", a.as_bytes()),
        ("peers.d/c.txt", b"nonsense"),
        ("more.conf", b"# nothing\n"),
    ]);
    let loaded = load_from(&files).unwrap();
    let keys: Vec<String> = loaded.config.peers.iter().map(|peer| key_text::encode(&peer.public_key)).collect();
    assert_eq!((keys, loaded.config.interface.mtu), (vec![KEY.to_owned(), OTHER.to_owned()], Some(1400)));
    assert_eq!(loaded.files.len(), 4);
    let mut broken = files.clone();
    broken.files.insert("peers.d/d.conf".into(), b"AllowedIPs = 10.0.0.0/8\n[Peer]\nx".to_vec());
    let found = load_from(&broken).unwrap_err().to_string();
    assert!(found.contains("peers.d/d.conf:1:1: a setting before the first section"), "{found}");
    assert!(
        found.contains("peers.d/d.conf:3:1: ") && found.contains("peers.d/d.conf:2:1: this [Peer] has no"),
        "{found}"
    );
}

#[test]
fn includes_are_bounded() {
    let problem =
        |files: &[(&str, &[u8])]| load_from(&Memory::new(files.iter().copied())).unwrap_err().list()[0].clone();
    let cycle = problem(&[("wg0.conf", b"\nInclude = a"), ("a", b"Include = wg0.conf")]);
    assert_eq!(cycle.problem, Problem::IncludeCycle);
    assert_eq!((cycle.place.file.to_str(), cycle.place.line, cycle.place.column), (Some("a"), 1, 11));
    assert_eq!(problem(&[("wg0.conf", b"Include = wg0.conf")]).problem, Problem::IncludeCycle);
    let missing = problem(&[("wg0.conf", b"Include = a")]);
    assert!(matches!(missing.problem, Problem::Included { ref path, .. } if path == Path::new("a")));
    let Place { file, line, column } = &missing.place;
    assert_eq!((file.to_str(), *line, *column), (Some("wg0.conf"), 1, 11), "the line that asks for it");
    let chain: Vec<(String, String)> = (0..12).map(|i| (format!("f{i}"), format!("Include = f{}", i + 1))).collect();
    let mut files = Memory::new(chain.iter().map(|(name, text)| (name.as_str(), text.as_bytes())));
    files.files.insert("wg0.conf".into(), b"Include = f0".to_vec());
    let deep = load_from(&files).unwrap_err();
    assert_eq!((deep.count(), &deep.list()[0].problem), (1, &Problem::IncludeDepth));
    assert!(load_from(&Memory::new([("wg0.conf", &b"Include = none.d/*.conf"[..])])).is_ok(), "no file is fine");
}

#[test]
fn keys_come_from_files_and_from_systemd() {
    let path = "[Interface]\nPrivateKeyFile = keys/wg0\n";
    let key = format!("{SECRET}\n");
    let mut files = Memory::new([("wg0.conf", path.as_bytes()), ("keys/wg0", key.as_bytes())]);
    assert_eq!(load_from(&files).unwrap().config.interface.private_key, SecretKey::from_base64(SECRET));
    files.files.insert("wg0.conf".into(), b"[Interface]\n  PrivateKeyFile = $CREDENTIALS_DIRECTORY/wg0".to_vec());
    let error = load_from(&files).unwrap_err();
    assert_eq!((&error.list()[0].problem, error.list()[0].place.column), (&Problem::NoCredentials, 20));
    let checked = load(Path::new("wg0.conf"), &files, KeyFiles::IfReadable).unwrap();
    assert!(checked.warnings[0].to_string().contains("not checked: CREDENTIALS_DIRECTORY"), "{:?}", checked.warnings);
    files.credentials = Some("keys".into());
    assert!(load_from(&files).unwrap().config.has_key());
    // Without a directory it is a credential, or else a file beside the configuration.
    files.files.insert("wg0.conf".into(), b"[Interface]\nPrivateKeyFile = wg0".to_vec());
    assert!(load_from(&files).unwrap().config.has_key());
    files.files.insert("wg0.conf".into(), b"[Interface]\nPrivateKeyFile = wg1".to_vec());
    files.files.insert("wg1".into(), key.as_bytes().to_vec());
    assert!(load_from(&files).unwrap().config.has_key());
    files.files.insert("wg0.conf".into(), b"[Interface]\nPrivateKeyFile = wg0".to_vec());
    files.files.insert("keys/wg0".into(), b"nonsense".to_vec());
    assert!(matches!(load_from(&files).unwrap_err().list()[0].problem, Problem::NoKeyInFile(_)));
}

#[test]
fn a_file_that_others_may_read_is_warned_of_if_it_has_a_key() {
    let with_key = format!("[Interface]\nPrivateKey = {SECRET}\n");
    for (text, mode, expected) in [(with_key.as_str(), 0o644, 1), (&with_key, 0o640, 0), ("[Interface]", 0o644, 0)] {
        let mut files = Memory::new([("wg0.conf", text.as_bytes())]);
        files.mode = mode;
        let warnings = load_from(&files).unwrap().warnings;
        assert_eq!(warnings.len(), expected);
        assert!(warnings.iter().all(|warning| warning.to_string().ends_with("chmod 600 it")), "{warnings:?}");
    }
}

#[test]
fn without_a_key_only_settings_of_our_own_count() {
    let own = format!("[Interface]\nCipherSuite = aes256gcm\n[Peer]\nPublicKey = {KEY}\nSource = 192.0.2.7\n");
    assert!(loaded(&own).unwrap().key_or_settings_only().is_ok());
    let error = loaded(&format!("{own}AllowedIPs = 10.0.0.0/8")).unwrap().key_or_settings_only().unwrap_err();
    assert_eq!((error.list()[0].place.line, &error.list()[0].problem), (6, &Problem::NeedsKey));
}

#[test]
fn no_mistake_shows_what_the_file_says() {
    let short = &SECRET[..40];
    for text in [
        format!(
            "{SECRET}\n[{SECRET}]\n[Interface]\nPrivateKey = {short}\n{SECRET} = 1\nMTU = {SECRET}\nListenPort={SECRET}"
        ),
        format!(
            "[Interface]\nAddress = {SECRET}\nDNS = {SECRET}\nCPUs = {SECRET}\nAead = {SECRET}\nMetrics = {SECRET}"
        ),
        format!(
            "[Peer]\nPublicKey = {short}\nEndpoint = {SECRET}\nAllowedIPs = {SECRET}\nSource = {SECRET}\n\
             Name = {SECRET}{SECRET}"
        ),
    ] {
        let shown = loaded(&text).unwrap_err();
        assert!(shown.count() >= 5 && !format!("{shown} {shown:?}").contains(&SECRET[..12]), "{shown}");
    }
    let config = loaded(&format!("[Interface]\nPrivateKey = {SECRET}")).unwrap();
    assert!(!format!("{config:?}").contains(&SECRET[..12]));
}

#[test]
fn a_file_of_garbage_is_counted_and_not_kept() {
    let mistakes = loaded(&"x\n".repeat(5_000)).unwrap_err();
    assert_eq!((mistakes.list().len(), mistakes.count()), (1_000, 5_000));
    assert!(mistakes.to_string().ends_with("\nand 4000 more"));
    let bytes = Memory::new([("wg0.conf", &b"[Interface]\n\xc3\xa4\xff"[..])]);
    let error = load_from(&bytes).unwrap_err();
    assert_eq!((error.list()[0].place.line, error.list()[0].place.column), (2, 2));
}

#[test]
fn the_disk_reads_sorts_and_finds_cycles() {
    let directory = std::env::temp_dir().join(format!("ringfort-config-{}", std::process::id()));
    std::fs::create_dir_all(directory.join("peers[1].d")).unwrap();
    let path = directory.join("wg0.conf");
    let write = |name: &str, text: &str| std::fs::write(directory.join(name), text).unwrap();
    write("wg0.conf", "Include = peers[[]1].d/*.conf\n");
    write("peers[1].d/2.conf", &format!("[Peer]\nPublicKey = {OTHER}\n"));
    write("peers[1].d/1.conf", &format!("[Peer]\nPublicKey = {KEY}\n"));
    write("peers[1].d/.hidden.conf", "nonsense");
    let disk = Disk::default();
    let config = load(&path, &disk, KeyFiles::Needed).unwrap().config;
    assert_eq!(key_text::encode(&config.peers[0].public_key), KEY);
    assert_eq!(config.peers.len(), 2);
    write("wg0.conf", "Include = none.d/*.conf\nInclude = /nowhere/a*/b\nInclude = more.*\n");
    let loaded = load(&path, &disk, KeyFiles::Needed).unwrap();
    let expected = [directory.join("none.d/"), "/nowhere/".into(), directory.join("")];
    assert_eq!((loaded.directories, loaded.files), (expected.into(), vec![path.clone()]), "they may be empty yet");
    write("wg0.conf", "Include = peers[[]1].d/*.conf\n");
    write("peers[1].d/3.conf", "Include = ../peers[[]1].d/3.conf");
    let error = load(&path, &disk, KeyFiles::Needed).unwrap_err();
    assert_eq!(error.list()[0].problem, Problem::IncludeCycle);
    std::fs::remove_dir_all(&directory).unwrap();
    let error = load(&path, &disk, KeyFiles::Needed).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: cannot be read: No such file", path.display())), "{error}");
}
