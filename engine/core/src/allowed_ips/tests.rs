use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use proptest::prelude::*;

use super::trie::Entry;
use super::*;

fn peer(index: u32) -> PeerId {
    PeerId { index, generation: 0 }
}

fn prefix(text: &str) -> Prefix {
    let (addr, len) = text.split_once('/').unwrap();
    Prefix::new(addr.parse().unwrap(), len.parse().unwrap()).unwrap()
}

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The oracle: every prefix looked at, the longest one wins.
#[derive(Clone, Default)]
struct Naive(BTreeMap<Prefix, PeerId>);

impl Naive {
    fn lookup(&self, addr: IpAddr) -> Option<PeerId> {
        let contains = |prefix: &Prefix| Prefix::new(addr, prefix.len()) == Some(*prefix);
        self.0.iter().filter(|(prefix, _)| contains(prefix)).max_by_key(|(prefix, _)| prefix.len()).map(|(_, p)| *p)
    }
}

/// Looks addresses up in batches, as large as they may be.
fn in_batches(ips: &AllowedIps, addrs: &[IpAddr]) -> Vec<Option<PeerId>> {
    addrs.chunks(TOGETHER_MAX).flat_map(|batch| ips.lookup_together(batch).into_iter().take(batch.len())).collect()
}

/// Checks what a trie promises, and counts the prefixes.
fn check<B: Bits>(entry: &Entry<B>) -> usize {
    let Entry::Node(node) = entry else { return check_leaf(entry) };
    assert!(node.shift % 5 == 0 && node.shift < B::WIDTH, "levels are the same everywhere");
    assert_eq!(node.map.count_ones() as usize, node.entries.len());
    assert!(node.entries.len() >= 2, "no useless node");
    let places = (0..64).filter(|place| node.map >> place & 1 == 1);
    let mut count = 0;
    for (place, entry) in places.zip(&*node.entries) {
        let (bits, level) = match entry {
            Entry::Leaf(leaf) => (leaf.bits, leaf.open),
            Entry::Node(below) => (below.bits, below.shift),
        };
        assert!(bits.agrees_above(node.bits, node.shift + 5), "what is below continues what is above");
        let chunk = bits.chunk(node.shift);
        if place < 32 {
            assert!(chunk == place, "each is below its own bits");
            assert!(level <= node.shift && (level < node.shift || matches!(entry, Entry::Leaf(_))));
        } else {
            assert!(matches!(entry, Entry::Leaf(_)) && level > node.shift && level <= node.shift + 5);
            let count = level - node.shift;
            assert_eq!(place, 32 + (32 >> count) - 1 + (chunk >> count), "each ends where it has to");
        }
        count += check(entry);
    }
    count
}

fn check_leaf<B: Bits>(entry: &Entry<B>) -> usize {
    let Entry::Leaf(leaf) = entry else { unreachable!("the caller has looked") };
    assert_eq!(leaf.bits, leaf.bits.masked(B::WIDTH - leaf.open), "host bits are zero");
    1
}

fn check_all(ips: &AllowedIps) {
    assert_eq!(ips.v4.root.as_ref().map_or(0, check), ips.v4.count);
    assert_eq!(ips.v6.root.as_ref().map_or(0, check), ips.v6.count);
}

#[test]
fn prefixes_are_canonical() {
    assert_eq!(prefix("10.1.2.3/8"), prefix("10.0.0.0/8"));
    assert_eq!(prefix("10.1.2.3/0").to_string(), "0.0.0.0/0");
    assert_eq!(prefix("fd00::ffff/127").to_string(), "fd00::fffe/127");
    assert_eq!(prefix("::1/128").to_string(), "::1/128");
    assert!(Prefix::new(addr("10.0.0.0"), 33).is_none());
    assert!(Prefix::new(addr("::"), 129).is_none());
}

#[test]
fn the_longest_prefix_wins_across_peers() {
    let mut ips = AllowedIps::new();
    for (text, owner) in [
        ("0.0.0.0/0", 0),
        ("10.0.0.0/8", 1),
        ("10.1.0.0/16", 2),
        ("10.1.1.0/24", 3),
        ("10.1.1.1/32", 4),
        ("::/0", 5),
        ("fd00::/8", 6),
        ("fd00::1/128", 7),
    ] {
        assert_eq!(ips.insert(prefix(text), peer(owner)), None);
    }
    for (text, owner) in [
        ("192.0.2.1", 0),
        ("10.2.0.0", 1),
        ("10.1.2.0", 2),
        ("10.1.1.2", 3),
        ("10.1.1.1", 4),
        ("2001:db8::1", 5),
        ("fd00::2", 6),
        ("fd00::1", 7),
    ] {
        assert_eq!(ips.lookup(addr(text)), Some(peer(owner)), "{text}");
    }
    check_all(&ips);
}

#[test]
fn families_are_apart_and_nothing_means_none() {
    let mut ips = AllowedIps::new();
    assert_eq!(ips.lookup(addr("10.0.0.1")), None);
    ips.insert(prefix("::/0"), peer(1));
    assert_eq!(ips.lookup(addr("10.0.0.1")), None);
    assert_eq!(ips.lookup(addr("::ffff:10.0.0.1")), Some(peer(1)));
}

#[test]
fn a_prefix_moves_to_its_new_peer() {
    let mut ips = AllowedIps::new();
    ips.insert(prefix("10.0.0.1/32"), peer(1));
    assert_eq!(ips.insert(prefix("10.0.0.1/32"), peer(2)), Some(peer(1)));
    assert_eq!(ips.len(), 1);
    assert_eq!(ips.lookup(addr("10.0.0.1")), Some(peer(2)));
    assert!(!ips.remove(prefix("10.0.0.1/32"), peer(1)), "it is no longer the first one's to remove");
    assert!(ips.remove(prefix("10.0.0.1/32"), peer(2)));
    assert!(ips.is_empty() && ips.v4.root.is_none());
}

#[test]
fn removal_keeps_what_lies_beside_above_and_below() {
    let mut ips = AllowedIps::new();
    for (owner, text) in ["10.0.0.0/8", "10.0.0.0/16", "10.0.0.0/24", "10.1.0.0/16"].into_iter().enumerate() {
        ips.insert(prefix(text), peer(owner as u32));
    }
    assert!(!ips.remove(prefix("10.0.0.0/9"), peer(0)), "a fork or gap is not a prefix");
    assert!(ips.remove(prefix("10.0.0.0/16"), peer(1)));
    assert_eq!(ips.lookup(addr("10.0.0.1")), Some(peer(2)));
    assert_eq!(ips.lookup(addr("10.0.1.1")), Some(peer(0)));
    assert_eq!(ips.lookup(addr("10.1.1.1")), Some(peer(3)));
    check_all(&ips);
}

#[test]
fn a_reader_keeps_its_version() {
    let mut ips = AllowedIps::new();
    ips.insert(prefix("10.0.0.0/8"), peer(1));
    let reader = ips.clone();
    ips.insert(prefix("10.0.0.0/8"), peer(2));
    ips.insert(prefix("10.0.0.0/16"), peer(3));
    assert_eq!(reader.lookup(addr("10.0.0.1")), Some(peer(1)));
    assert_eq!(ips.lookup(addr("10.0.0.1")), Some(peer(3)));
    assert_eq!((reader.len(), ips.len()), (1, 2));
}

#[test]
fn an_update_copies_only_the_path() {
    let mut ips = AllowedIps::new();
    for host in 0..4096u32 {
        ips.insert(Prefix::new(Ipv4Addr::from_bits(host << 8).into(), 32).unwrap(), peer(host));
    }
    let reader = ips.clone();
    ips.insert(prefix("0.1.0.1/32"), peer(9999));

    /// Arrays that only one of two versions has, and entries in them.
    fn copied(a: &Entry<u32>, b: &Entry<u32>) -> (usize, usize) {
        match (a, b) {
            (Entry::Node(a), Entry::Node(b)) if !Arc::ptr_eq(&a.entries, &b.entries) => {
                let below = a.entries.iter().zip(&*b.entries).map(|(a, b)| copied(a, b));
                let own = (1, a.entries.len());
                below.fold(own, |sum, more| (sum.0 + more.0, sum.1 + more.1))
            }
            _ => (0, 0),
        }
    }
    let (arrays, entries) = copied(ips.v4.root.as_ref().unwrap(), reader.v4.root.as_ref().unwrap());
    assert!((2..=7).contains(&arrays) && entries <= 4 * 63, "{arrays} arrays with {entries} entries");
}

#[test]
fn a_batch_is_looked_up_as_each_of_its_addresses_is() {
    let mut ips = AllowedIps::new();
    assert_eq!(ips.lookup_together(&[addr("10.0.0.1"), addr("fd00::1")]), [None; TOGETHER_MAX], "nothing is there");
    for (owner, text) in ["0.0.0.0/0", "10.0.0.0/8", "10.1.1.0/24", "10.1.1.1/32", "fd00::/8"].into_iter().enumerate() {
        ips.insert(prefix(text), peer(owner as u32));
    }
    let texts = ["10.1.1.1", "fd00::1", "::1", "10.1.1.2", "10.2.0.0", "192.0.2.1", "10.1.1.1"];
    let addrs = texts.map(addr);
    let found = ips.lookup_together(&addrs);
    let owners = [Some(3), Some(4), None, Some(2), Some(1), Some(0), Some(3)];
    assert_eq!(found[..7], owners.map(|owner| owner.map(peer)));
    assert_eq!(found[7..], [None; TOGETHER_MAX - 7], "nobody asked");
    assert_eq!(ips.lookup_together(&[]), [None; TOGETHER_MAX]);
}

#[test]
fn a_table_is_large_from_so_many_prefixes_of_both_families_on() {
    let mut ips = AllowedIps::new();
    ips.insert(prefix("::/0"), peer(0));
    for host in 0..LARGE as u32 - 1 {
        assert!(!ips.is_large());
        ips.insert(Prefix::new(Ipv4Addr::from_bits(host).into(), 32).unwrap(), peer(host));
    }
    assert!(ips.is_large());
    ips.remove(prefix("::/0"), peer(0));
    assert!(!ips.is_large());
    let small = AllowedIps::new().with_large_from(1);
    assert!(!small.is_large());
    let mut later = small.clone();
    later.insert(prefix("::/0"), peer(0));
    assert!(later.is_large(), "a version of the same table has the same bound");
}

#[test]
fn the_deepest_trie_is_as_deep_as_an_address_is_long() {
    // Each prefix of the same address, for both families: one path of 33 and 129 nodes.
    let mut ips = AllowedIps::new();
    for len in (0..=128).rev() {
        ips.insert(Prefix::new(Ipv6Addr::from_bits(u128::MAX).into(), len).unwrap(), peer(len.into()));
    }
    check_all(&ips);
    assert_eq!(ips.lookup(Ipv6Addr::from_bits(u128::MAX).into()), Some(peer(128)));
    assert_eq!(ips.lookup(Ipv6Addr::from_bits(0).into()), Some(peer(0)));
    assert_eq!(ips.lookup(Ipv6Addr::from_bits(!1).into()), Some(peer(127)));
    // It is dropped here, on a stack of the least size that the standard library promises to spawn.
    std::thread::Builder::new().stack_size(64 * 1024).spawn(move || drop(ips)).unwrap().join().unwrap();
}

#[test]
fn many_prefixes_with_a_reader_that_follows() {
    // Bulk insertion in place, then updates while a reader holds the version before.
    let mut ips = AllowedIps::new();
    for host in 0..100_000u32 {
        ips.insert(Prefix::new(Ipv4Addr::from_bits(host.wrapping_mul(2_654_435_761)).into(), 32).unwrap(), peer(host));
    }
    assert_eq!(ips.len(), 100_000);
    let mut reader = ips.clone();
    for host in 0..10_000u32 {
        let bits = host.wrapping_mul(2_654_435_761);
        assert_eq!(reader.lookup(Ipv4Addr::from_bits(bits).into()), Some(peer(host)));
        assert!(ips.remove(Prefix::new(Ipv4Addr::from_bits(bits).into(), 32).unwrap(), peer(host)));
        reader = ips.clone();
        assert_eq!(reader.lookup(Ipv4Addr::from_bits(bits).into()), None);
    }
    check_all(&reader);
}

#[derive(Clone, Debug)]
enum Op {
    Insert(Prefix, u32),
    Remove(Prefix, u32),
    Publish,
}

/// Addresses from a few clusters, so prefixes nest, fork and collide.
fn arb_addr() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u8>().prop_map(|low| Ipv4Addr::from_bits(0x0a00_0000 | u32::from(low)).into()),
        any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits).into()),
        any::<u8>().prop_map(|low| Ipv6Addr::from_bits(0xfd << 120 | u128::from(low)).into()),
        any::<u128>().prop_map(|bits| Ipv6Addr::from_bits(bits).into()),
    ]
}

fn arb_prefix() -> impl Strategy<Value = Prefix> {
    (arb_addr(), 0u8..=128).prop_map(|(addr, len)| {
        let width = if addr.is_ipv4() { 32 } else { 128 };
        Prefix::new(addr, len % (width + 1)).unwrap()
    })
}

fn arb_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (arb_prefix(), 0u32..4).prop_map(|(p, owner)| Op::Insert(p, owner)),
        2 => (arb_prefix(), 0u32..4).prop_map(|(p, owner)| Op::Remove(p, owner)),
        1 => Just(Op::Publish),
    ]
}

proptest! {
    #[test]
    fn agrees_with_the_oracle(
        ops in proptest::collection::vec(arb_op(), 1..120),
        probes in proptest::collection::vec(arb_addr(), 40),
        remove_some in any::<u64>(),
    ) {
        let (mut ips, mut naive) = (AllowedIps::new(), Naive::default());
        let mut published = vec![(ips.clone(), naive.clone())];
        for op in ops {
            match op {
                Op::Insert(p, owner) => prop_assert_eq!(ips.insert(p, peer(owner)), naive.0.insert(p, peer(owner))),
                Op::Remove(p, owner) => {
                    let had = naive.0.get(&p) == Some(&peer(owner));
                    if had {
                        naive.0.remove(&p);
                    }
                    prop_assert_eq!(ips.remove(p, peer(owner)), had);
                }
                Op::Publish => published.push((ips.clone(), naive.clone())),
            }
        }
        // Removals of what is really there, which random prefixes seldom hit.
        for (place, (p, owner)) in naive.0.clone().into_iter().enumerate() {
            if remove_some >> (place % 64) & 1 == 1 {
                naive.0.remove(&p);
                prop_assert!(ips.remove(p, owner));
            }
        }
        published.push((ips, naive));
        for (ips, naive) in &published {
            check_all(ips);
            prop_assert_eq!(ips.len(), naive.0.len());
            let addrs: Vec<_> = probes.iter().copied().chain(naive.0.keys().map(Prefix::addr)).collect();
            for (&addr, together) in addrs.iter().zip(in_batches(ips, &addrs)) {
                let expected = naive.lookup(addr);
                prop_assert_eq!(ips.lookup(addr), expected, "{}", addr);
                prop_assert_eq!(together, expected, "{} in a batch", addr);
            }
        }
    }
}
