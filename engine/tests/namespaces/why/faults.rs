//! The faults, each with a far gateway of its own, and what is said of them.

use ringfort_testbed::{Implementation, Key, KeyPair};

use super::page;
use super::place::{Far, Place, ringfort};

const RINGFORT: Implementation = Implementation::Ringfort;
/// Nothing listens on it.
const DEAD_PORT: u16 = 40_404;
/// An address in the network between the two that nobody has.
const NOBODY: &str = "10.200.0.77";
/// An inner address that is no peer's.
const NO_PEERS: &str = "10.77.0.250";

/// All of them are there, and ours was told of its peers.
pub fn all() -> Place {
    let mut place = Place::new();
    keys(&mut place);
    addresses(&mut place);
    ways(&mut place);
    place.start();
    place.send(NO_PEERS.parse().unwrap());
    place
}

fn keys(place: &mut Place) {
    place.add(Far {
        known_as: Some(KeyPair::random().unwrap()),
        finds_here: &["silent"],
        finds_there: &["wrong_key_there"],
        ..Far::new("another key here", RINGFORT)
    });
    place.add(Far {
        is_stranger: true,
        finds_here: &["silent"],
        finds_there: &["not_a_peer"],
        ..Far::new("unknown there", RINGFORT)
    });
    let psk = || format!("preshared_key={}\n", Key::random().unwrap().hex());
    for (name, program) in [("another PSK", RINGFORT), ("another PSK than wireguard-go", Implementation::WireguardGo)] {
        let far = Far::new(name, program);
        let asked: &[_] = if program == RINGFORT { &["answers_unused"] } else { &[] };
        let there = psk() + &far.there;
        place.add(Far { there, finds_here: &["psk_differs"], finds_there: asked, ..far });
    }
    let far = Far::new("another cipher suite", RINGFORT);
    let there = "cipher_suite=aes256gcm\n".to_owned() + &far.there;
    place.add(Far { there, finds_here: &["suite_differs"], finds_there: &["suite_differs"], ..far });
}

fn addresses(place: &mut Place) {
    for (name, program, allowed) in [
        ("allowed IPs missing there", RINGFORT, ""),
        ("source not allowed there", RINGFORT, "allowed_ip=10.77.0.200/32\n"),
        ("source not allowed at wireguard-go", Implementation::WireguardGo, "allowed_ip=10.77.0.200/32\n"),
    ] {
        let asked: &[_] = match (program, allowed) {
            (RINGFORT, "") => &["source_not_allowed", "no_allowed_ips"],
            (RINGFORT, _) => &["source_not_allowed"],
            _ => &[],
        };
        let there = allowed.to_owned();
        place.add(Far { there, finds_here: &["nothing_back"], finds_there: asked, ..Far::new(name, program) });
    }
    // Ours has no address of it: packets for it have no peer.
    let here = Some(format!("endpoint=10.200.0.2:{DEAD_PORT}\n"));
    let finds_here = &["no_allowed_ips", "unrouted"];
    place.add(Far { is_missing: true, here, finds_here, ..Far::new("allowed IPs missing here", RINGFORT) });
}

/// Endpoints, routes and firewalls. Where nothing runs at the far end, ours alone can be asked.
fn ways(place: &mut Place) {
    let number = place.fars.len();
    let inner = |number: usize| format!("allowed_ip=10.77.0.{}/32\n", 10 + number);
    for (place_of, (name, endpoint, finds_here)) in [
        ("endpoint's port wrong", format!("endpoint=10.200.0.2:{DEAD_PORT}\n"), &["undeliverable"][..]),
        ("endpoint's host wrong or silent", format!("endpoint={NOBODY}:51820\n"), &["silent"]),
        ("no route to the endpoint", "endpoint=203.0.113.1:51820\n".to_owned(), &["no_route"]),
        ("no endpoint", String::new(), &["no_endpoint"]),
        ("a firewall refuses on the way out", "endpoint=10.200.0.2:40405\n".to_owned(), &["send_refused"]),
    ]
    .into_iter()
    .enumerate()
    {
        let here = Some(endpoint + &inner(number + place_of));
        place.add(Far { is_missing: true, here, finds_here, ..Far::new(name, RINGFORT) });
    }
    place.drops("output", "udp dport 40405 drop");
    let far = place.add(Far {
        finds_here: &["silent"],
        finds_there: &["answers_unused"],
        ..Far::new("a firewall drops on the way in", RINGFORT)
    });
    place.drops("input", &format!("udp sport {} drop", place.fars[far].port));
    // This one has no private key, and its peer has an endpoint.
    let (finds_here, finds_there) = (&["silent"], &["no_private_key"]);
    place.add(Far { finds_here, finds_there, ..Far::new("no private key", RINGFORT) });
    let far = &place.fars[place.fars.len() - 1];
    ringfort_testbed::uapi::set(&far.interface, &format!("private_key={}\n", "0".repeat(64))).unwrap();
}

/// Peers are found by name and by the beginning of a key, and sentences say what was seen and what to do.
pub fn check_words(place: &Place) {
    let refused = place.fars.iter().find(|far| far.name == "source not allowed there").unwrap();
    let said = ringfort(&["why", &refused.interface, &place.keys.public.base64()[..8]]);
    assert!(said.contains("10.77.0.1") && said.contains("AllowedIPs"), "{said}");
    let said = place.says("no route to the endpoint");
    assert!(said.contains("no route to 203.0.113.1:51820: Network is unreachable"), "{said}");
    let said = place.says("endpoint's port wrong");
    assert!(said.contains("10.200.0.2 says of our handshake to 10.200.0.2:40404"), "{said}");
    let said = place.says("allowed IPs missing here");
    assert!(said.contains(NO_PEERS), "{said}");
    let said = place.says("another PSK");
    assert!(said.starts_with("psk_differs (broken, likely)\n") && said.contains("PresharedKey"), "{said}");
    let far = place.fars.iter().find(|far| far.name == "unknown there").unwrap();
    let said = ringfort(&["why", &far.interface, &place.keys.public.base64()]);
    assert!(said.contains("last from 10.200.0.1:51820") && said.contains("wg set"), "{said}");
    let all = ringfort(&["peers", place.interface()]);
    for far in &place.fars {
        assert!(all.contains(&format!("peer: {} \"{}\"\n", far.key_here().base64(), far.name)), "{all}");
    }
    let fingerprint = ringfort(&["peers", place.interface(), "--json"]);
    assert!(!fingerprint.contains(&place.keys.private.base64()), "a private key is shown");
}

/// The handbook has these faults, and what both sides find. Three more have tests of their own. Those with another
/// implementation at the far end are the same ones once more.
pub fn check_page(place: &Place) {
    let faults: Vec<_> = place.fars.iter().filter(|far| far.program == RINGFORT).collect();
    faults.iter().for_each(|far| page::says(far.name, far.finds_here, far.finds_there));
    assert_eq!(page::count(), faults.len() + 3, "the table has another number of faults");
}

/// At the default level, each change of a state has a line that names the peer.
pub fn check_log(place: &Place) {
    let log = place.log();
    for (name, words) in [
        ("another PSK", "we hear each other, but handshakes fail: its answers do not open"),
        ("another cipher suite", "uses the cipher suite aes256gcm"),
        ("allowed IPs missing there", "is up at 10.200.0.2:"),
        ("no endpoint", "has no endpoint"),
        ("a firewall refuses on the way out", "the system refuses to send to"),
    ] {
        let named = log.lines().any(|line| line.contains(&format!("\"{name}\"")) && line.contains(words));
        assert!(named, "{name}: {words} is not in\n{log}");
    }
}
