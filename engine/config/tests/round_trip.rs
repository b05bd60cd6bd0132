//! What was written is read as the same, and any bytes are read or refused on one of their lines.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use log::LevelFilter;
use proptest::option::of;
use proptest::prelude::*;
use ringfort_config::{
    Address, BusyPoll, Config, CpuList, Dns, Endpoint, Hooks, Interface, KeyFiles, LogLevel, Memory, MemoryBound,
    Mistakes, Overlays, Peer, SecretKey, SocketBuffer, StartSettings, Table, UdpGso, load,
};
use ringfort_core::allowed_ips::Prefix;
use ringfort_core::crypto::PublicKey;
use ringfort_core::node::Node;
use ringfort_core::suite::Suite;

fn read(bytes: &[u8]) -> Result<Config, Mistakes> {
    let files = Memory::new([("wg0.conf", bytes), ("included.conf", b"[Peer]\n"), ("key", b"nonsense")]);
    load(Path::new("wg0.conf"), &files, KeyFiles::Needed).map(|loaded| loaded.config)
}

fn secret() -> impl Strategy<Value = SecretKey> {
    any::<[u8; 32]>().prop_filter("no key", |bytes| *bytes != [0; 32]).prop_map(|bytes| SecretKey::copy_of(&bytes))
}

fn suite() -> impl Strategy<Value = Suite> {
    prop::sample::select(Suite::ALL)
}

fn address() -> impl Strategy<Value = Address> {
    (any::<IpAddr>(), 0..=128_u8)
        .prop_map(|(addr, len)| Address { addr, len: if addr.is_ipv4() { len.min(32) } else { len } })
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let port = 1..=u16::MAX;
    let name = "[a-z0-9]([a-z0-9.-]{0,20}[a-z])?".prop_filter("an address", |host| host.parse::<IpAddr>().is_err());
    prop_oneof![
        (any::<IpAddr>(), port.clone()).prop_map(|(addr, port)| Endpoint::Address(SocketAddr::new(addr, port))),
        (name, port.clone()).prop_map(|(host, port)| Endpoint::Name { host, port }),
        ("fe80::[1-9a-f]%[a-z0-9.]{1,15}", port).prop_map(|(host, port)| Endpoint::Name { host, port }),
    ]
}

fn commands() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[!-\"$-~]([ -\"$-~]{0,20}[!-\"$-~])?", 0..3)
}

fn node() -> impl Strategy<Value = Node> {
    (any::<u8>(), 1..=8_u8)
        .prop_map(|(number, bits)| Node::new(u32::from(number) >> (8 - bits), bits).expect("it fits"))
}

fn start() -> impl Strategy<Value = StartSettings> {
    let poll = prop_oneof![Just(Duration::MAX), any::<u32>().prop_map(|us| Duration::from_micros(us.into()))];
    let levels = vec![LevelFilter::Off, LevelFilter::Error, LevelFilter::Debug, LevelFilter::Trace];
    let gso = vec![UdpGso::Auto, UdpGso::On, UdpGso::Off, UdpGso::Ragged];
    let cpus = prop::collection::btree_set(0..8192_usize, 1..5);
    let aead = prop::sample::select(vec!["auto", "aws-lc", "rustcrypto", "train", "train-avx2", "vaes", "vaes512"]);
    (
        of(1..=u8::MAX),
        of(cpus.prop_map(|cpus| CpuList(cpus.into_iter().collect()))),
        of(poll.prop_map(BusyPoll)),
        of(prop::sample::select(gso)),
        of(prop::sample::select(vec![Overlays::On, Overlays::Off])),
        of(prop::sample::select(vec!["eth0", "192.0.2.1", "::"])
            .prop_map(|name| name.parse().expect("one to bind to"))),
        (of((256 << 10..=512_usize << 20).prop_map(SocketBuffer)), of((1..=usize::MAX).prop_map(MemoryBound))),
        (of(node()), of(any::<bool>()), of(aead.prop_map(|name| name.parse().expect("a provider")))),
        of(prop::sample::select(levels).prop_map(LogLevel)),
        of(any::<SocketAddr>().prop_map(|addr| SocketAddr::new(addr.ip(), addr.port()))),
    )
        .prop_map(
            |(
                workers,
                cpus,
                busy_poll,
                udp_gso,
                overlays,
                bind,
                (socket_buffer, memory),
                (node, passive, aead),
                log_level,
                metrics,
            )| {
                StartSettings {
                    workers,
                    cpus,
                    busy_poll,
                    udp_gso,
                    overlays,
                    bind,
                    socket_buffer,
                    memory,
                    node,
                    passive,
                    aead,
                    log_level,
                    metrics,
                }
            },
        )
}

fn interface() -> impl Strategy<Value = Interface> {
    let table = prop_oneof![Just(Table::Auto), Just(Table::Off), (1..=u32::MAX).prop_map(Table::Number)];
    let dns = prop_oneof![any::<IpAddr>().prop_map(Dns::Server), "~?[a-z]{2,9}[.][a-z]{2,3}".prop_map(Dns::Search),];
    let hooks = (commands(), commands(), commands(), commands())
        .prop_map(|(pre_up, post_up, pre_down, post_down)| Hooks { pre_up, post_up, pre_down, post_down });
    let numbers = (of(any::<u16>()), of(any::<u32>()), of(68..=65_535_u32));
    let lists = (prop::collection::vec(address(), 0..4), prop::collection::vec(dns, 0..3));
    let end = (any::<bool>(), of(any::<u16>()));
    (of(secret()), numbers, of(suite()), lists, table, hooks, end, start()).prop_map(
        |(
            private_key,
            (listen_port, fwmark, mtu),
            cipher_suite,
            (addresses, dns),
            table,
            hooks,
            (save_config, hook_timeout),
            start,
        )| {
            Interface {
                private_key,
                private_key_file: None,
                listen_port,
                fwmark,
                cipher_suite,
                addresses,
                dns,
                mtu,
                table,
                hooks,
                hook_timeout,
                save_config,
                start,
            }
        },
    )
}

fn peer() -> impl Strategy<Value = Peer> {
    let source = any::<IpAddr>().prop_filter("no source", ringfort_config::is_source);
    let name = "[!-\"$-~\u{e4}]([ -\"$-~]{0,30}[!-\"$-~])?";
    (
        any::<[u8; 32]>(),
        of(name),
        of(secret()),
        prop::collection::vec(address(), 0..5),
        of(endpoint()),
        of(any::<u16>()),
        of(suite()),
        of(source),
    )
        .prop_map(|(key, name, preshared_key, prefixes, endpoint, persistent_keepalive, cipher_suite, source)| {
            Peer {
                public_key: PublicKey::new(key),
                name,
                preshared_key,
                allowed_ips: prefixes
                    .into_iter()
                    .map(|Address { addr, len }| Prefix::new(addr, len).expect("a prefix"))
                    .collect(),
                endpoint,
                persistent_keepalive,
                cipher_suite,
                source,
            }
        })
}

/// No two peers have a key or a prefix in common, as the type says.
fn config() -> impl Strategy<Value = Config> {
    (interface(), prop::collection::vec(peer(), 0..6)).prop_map(|(interface, mut peers)| {
        let (mut keys, mut prefixes) = (BTreeSet::new(), BTreeSet::new());
        peers.retain(|peer| keys.insert(peer.public_key));
        peers.iter_mut().for_each(|peer| peer.allowed_ips.retain(|prefix| prefixes.insert(*prefix)));
        Config { interface, peers }
    })
}

/// Lines that are right often enough to reach every branch.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
    let whole = [
        "[Interface]",
        "[Peer]",
        "#ringfort: Name = x",
        "CipherSuite = aes256gcm",
        &format!("PublicKey = {key}"),
        &format!("PrivateKey = {key}"),
        "PrivateKeyFile = key",
        "AllowedIPs = 10.0.0.0/8, ::/0,",
        "Endpoint = [fe80::1%eth0]:1",
        "Include = included.conf",
        "Include = *.conf",
        "Include = [",
        "MTU = 1420 # bytes",
        "",
    ]
    .map(|line| line.as_bytes().to_vec());
    prop_oneof![
        8 => prop::sample::select(whole.to_vec()),
        2 => "[A-Za-z#=:,/.0-9 \u{e9}\r\\[\\]-]{0,30}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ]
}

proptest! {
    #[test]
    fn what_was_written_is_read_as_the_same(config in config()) {
        let text = config.write();
        match read(text.as_str().as_bytes()) {
            Ok(again) => prop_assert_eq!(again, config, "{}", text.as_str()),
            Err(mistakes) => prop_assert!(false, "{}\n{}", mistakes, text.as_str()),
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused_on_one_of_their_lines(lines in prop::collection::vec(line(), 0..12)) {
        match read(&lines.join(&b'\n')) {
            Ok(config) => prop_assert_eq!(read(config.write().as_str().as_bytes()), Ok(config)),
            Err(mistakes) => {
                prop_assert!(mistakes.count() > 0);
                for mistake in mistakes.list() {
                    let ours = mistake.place.file.as_ref() == Path::new("wg0.conf");
                    let lines = lines.iter().map(|line| 1 + line.iter().filter(|&&byte| byte == b'\n').count()).sum();
                    prop_assert!(!ours || mistake.place.line <= lines, "{}", mistake);
                }
            }
        }
    }
}
