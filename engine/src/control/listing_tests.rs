use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ringfort_aead::{Plan, Provider};
use ringfort_core::crypto::PublicKey;
use ringfort_worker::queues::Queues;

use super::*;
use crate::control::key_text;
use crate::control::sockets::Sockets;

fn key(number: u32) -> PublicKey {
    let mut key = [9; 32];
    key[..4].copy_from_slice(&number.to_be_bytes());
    PublicKey::new(key)
}

fn add(device: &mut Device, number: u32) -> PeerId {
    let peer = device.add_peer(key(number)).unwrap();
    device.insert_allowed_ip(peer, Prefix::new(Ipv4Addr::from_bits(number).into(), 32).unwrap());
    while device.poll_action().is_some() {}
    peer
}

/// The next page. `None` behind the last.
fn page(listing: &mut Option<Listing>, device: &Device) -> Option<String> {
    let mut current = listing.take()?;
    let mut reply = Reply::default();
    if current.page(&mut reply, device) {
        *listing = Some(current);
    }
    Some(String::from_utf8(reply.unwritten().to_vec()).unwrap())
}

fn keys(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("public_key="))
}

#[test]
fn who_is_there_all_the_time_is_listed_once_and_nobody_twice() {
    const PEERS: u32 = 2_000;
    let mut device = Device::new(1);
    let all: Vec<_> = (0..PEERS).map(|number| add(&mut device, number)).collect();
    let (mut listing, mut seen, mut pages) = (Some(Listing::default()), HashMap::new(), 0);
    let (mut removed, mut added) = (Vec::new(), Vec::new());
    while let Some(text) = page(&mut listing, &device) {
        assert!(text.lines().count() <= LINES_PER_PAGE + LINES_PER_PEER, "a page is bounded");
        keys(&text).for_each(|key| *seen.entry(key.to_owned()).or_insert(0) += 1);
        pages += 1;
        // Before the place where the next page begins, and behind it; places that are free are taken again.
        for number in [pages * 7, PEERS - pages * 7] {
            device.remove_peer(all[number as usize]);
            removed.push(number);
        }
        for place in 0..3 {
            let number = PEERS + 10 * pages + place;
            add(&mut device, number);
            added.push(number);
        }
    }
    let count = |number: u32| seen.get(&key_text::hex(&key(number))).copied().unwrap_or(0);
    assert!(pages >= 8, "{pages} pages");
    for number in (0..PEERS).filter(|number| !removed.contains(number)) {
        assert_eq!(count(number), 1, "peer {number}");
    }
    assert!(removed.iter().chain(&added).all(|&number| count(number) <= 1));
}

/// Allowed IPs without end are spread over pages, and their peer may go in the middle.
#[test]
fn one_peer_may_take_many_pages() {
    const PREFIXES: u128 = 7_000;
    let mut device = Device::new(1);
    let many = add(&mut device, 1);
    for number in 0..PREFIXES {
        device.insert_allowed_ip(many, Prefix::new(Ipv6Addr::from_bits(number << 64).into(), 64).unwrap());
    }
    add(&mut device, 2);
    let mut listing = Some(Listing::default());
    let pages: Vec<_> = std::iter::from_fn(|| page(&mut listing, &device)).collect();
    assert!(pages.iter().all(|page| page.lines().count() <= LINES_PER_PAGE + LINES_PER_PEER));
    let text = pages.concat();
    let mut prefixes: Vec<_> = text.lines().filter(|line| line.ends_with("/64")).collect();
    assert_eq!(prefixes.len(), PREFIXES as usize);
    prefixes.sort_unstable();
    prefixes.dedup();
    assert_eq!(prefixes.len(), PREFIXES as usize, "each once");
    assert_eq!(keys(&text).count(), 2);
    assert!(text.ends_with("allowed_ip=0.0.0.2/32\n"), "the second peer has its own");

    let mut listing = Some(Listing::default());
    page(&mut listing, &device).unwrap();
    device.remove_peer(many);
    let rest = page(&mut listing, &device).unwrap();
    assert!(listing.is_none() && keys(&rest).eq([key_text::hex(&key(2)).as_str()]), "{rest}");
}

#[test]
fn an_interface_without_anything_has_an_answer() {
    let queues = Arc::new(Queues::new(1).unwrap());
    let sockets = Sockets::new(udp_uring::SocketConfig::new(0, 1)).unwrap();
    let plane = DataPlane::new(queues, Plan::fixed(Provider::RustCrypto), sockets);
    let (mut reply, device) = (Reply::default(), Device::new(1));
    interface(&mut reply, &device, &plane);
    assert!(!Listing::default().page(&mut reply, &device));
    assert_eq!(reply.unwritten(), b"");
}
