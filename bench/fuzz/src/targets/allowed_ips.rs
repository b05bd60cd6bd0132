//! The routing trie against a list that is searched from end to end, under a stream of changes; and versions that were
//! set aside, which no later change may touch.
//!
//! The input: operations, of which the byte in front says kind (low bits), family (bit 3) and peer (high bits).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ringfort_core::allowed_ips::{AllowedIps, Prefix, TOGETHER_MAX};
use ringfort_core::ids::PeerId;

use crate::Seed;
use crate::input::Input;

/// All entries are looked up after so many changes, and at the end: an error in the trie stays there.
const AGREE_EVERY: usize = 8;
/// More entries only make it slow.
const ENTRIES_MAX: usize = 64;

/// Who has which prefix, in no order.
#[derive(Clone, Default)]
struct List(Vec<(Prefix, PeerId)>);

impl List {
    fn insert(&mut self, prefix: Prefix, peer: PeerId) -> Option<PeerId> {
        match self.0.iter_mut().find(|(other, _)| *other == prefix) {
            Some((_, owner)) => Some(std::mem::replace(owner, peer)),
            None => {
                self.0.push((prefix, peer));
                None
            }
        }
    }

    fn remove(&mut self, prefix: Prefix, peer: PeerId) -> bool {
        let before = self.0.len();
        self.0.retain(|entry| *entry != (prefix, peer));
        self.0.len() != before
    }

    fn lookup(&self, addr: IpAddr) -> Option<PeerId> {
        let matching = self.0.iter().filter(|(prefix, _)| contains(prefix, addr));
        matching.max_by_key(|(prefix, _)| prefix.len()).map(|&(_, peer)| peer)
    }
}

/// Bit by bit, with no arithmetic that the trie has.
fn contains(prefix: &Prefix, addr: IpAddr) -> bool {
    let bit = |octets: &[u8], at: usize| octets[at / 8] >> (7 - at % 8) & 1;
    let agree = |ours: &[u8], theirs: &[u8]| (0..prefix.len().into()).all(|at| bit(ours, at) == bit(theirs, at));
    match (prefix.addr(), addr) {
        (IpAddr::V4(ours), IpAddr::V4(theirs)) => agree(&ours.octets(), &theirs.octets()),
        (IpAddr::V6(ours), IpAddr::V6(theirs)) => agree(&ours.octets(), &theirs.octets()),
        _ => false,
    }
}

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (mut trie, mut list) = (AllowedIps::new(), List::default());
    let mut kept: Option<(AllowedIps, List)> = None;
    let mut operations = 0;
    while !input.is_empty() {
        let operation = input.byte();
        let peer = PeerId { index: u32::from(operation >> 4 & 3), generation: u32::from(operation >> 6) };
        let addr = address(&mut input, operation & 8 != 0);
        match operation & 7 {
            0..=2 => {
                let Some(prefix) = prefix(&mut input, addr) else { continue };
                if list.0.len() < ENTRIES_MAX {
                    assert_eq!(trie.insert(prefix, peer), list.insert(prefix, peer), "{prefix}");
                }
            }
            3 | 4 => {
                let Some(prefix) = prefix(&mut input, addr) else { continue };
                assert_eq!(trie.remove(prefix, peer), list.remove(prefix, peer), "{prefix}");
            }
            5 => kept = Some((trie.clone(), list.clone())),
            6 => {
                // The older version becomes the current one, as if the changes since then had never been.
                if let Some((older_trie, older_list)) = kept.take() {
                    kept = Some((std::mem::replace(&mut trie, older_trie), std::mem::replace(&mut list, older_list)));
                }
            }
            _ => {}
        }
        operations += 1;
        if operations % AGREE_EVERY == 0 {
            agree(&trie, &list, addr);
        }
        assert_eq!(trie.lookup(addr), list.lookup(addr), "{addr}");
    }
    agree(&trie, &list, Ipv4Addr::UNSPECIFIED.into());
    if let Some((trie, list)) = &kept {
        agree(trie, list, Ipv4Addr::UNSPECIFIED.into());
    }
    empties(trie, list);
}

/// Few distinct bits, so prefixes meet each other.
fn address(input: &mut Input<'_>, is_ipv6: bool) -> IpAddr {
    let [high, low] = input.array();
    if is_ipv6 {
        let bits = u128::from(high) << 120 | u128::from(high & 3) << 63 | u128::from(low);
        Ipv6Addr::from_bits(bits).into()
    } else {
        Ipv4Addr::new(high, high & 3, low & 0x81, low).into()
    }
}

fn prefix(input: &mut Input<'_>, addr: IpAddr) -> Option<Prefix> {
    let len = input.byte();
    let prefix = Prefix::new(addr, len);
    let width = if addr.is_ipv4() { 32 } else { 128 };
    assert_eq!(prefix.is_some(), len <= width, "/{len} of {width} bits");
    if let Some(prefix) = prefix {
        assert!(prefix.len() == len && contains(&prefix, addr), "{prefix} of {addr}");
        let host_bits = match prefix.addr() {
            IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
            IpAddr::V6(v6) => v6.to_bits(),
        };
        assert_eq!(host_bits.checked_shl(len.into()).unwrap_or(0), 0, "{prefix}");
    }
    prefix
}

fn agree(trie: &AllowedIps, list: &List, addr: IpAddr) {
    assert_eq!((trie.len(), trie.is_empty()), (list.0.len(), list.0.is_empty()));
    assert_eq!(trie.lookup(addr), list.lookup(addr), "{addr}");
    let addrs: Vec<IpAddr> = list.0.iter().flat_map(|(prefix, _)| [prefix.addr(), neighbour(prefix)]).collect();
    for batch in addrs.chunks(TOGETHER_MAX) {
        for (&addr, together) in batch.iter().zip(trie.lookup_together(batch)) {
            let expected = list.lookup(addr);
            assert_eq!((trie.lookup(addr), together), (expected, expected), "{addr}");
        }
    }
}

/// The first address outside a prefix, or near it: the last bit that counts is turned.
fn neighbour(prefix: &Prefix) -> IpAddr {
    let turn = |width: u8| width.checked_sub(prefix.len()).filter(|shift| *shift < width).map(u32::from);
    match prefix.addr() {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() ^ turn(32).map_or(0, |shift| 1 << shift))),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() ^ turn(128).map_or(0, |shift| 1 << shift))),
    }
}

/// What was put in can be taken out again, and leaves nothing.
fn empties(mut trie: AllowedIps, list: List) {
    for (prefix, peer) in list.0 {
        assert!(trie.remove(prefix, peer), "{prefix}");
    }
    assert!(trie.is_empty());
    assert_eq!(trie.lookup(Ipv4Addr::LOCALHOST.into()), None);
}

pub(super) fn seeds() -> Vec<Seed> {
    let nested: Vec<u8> = (0..=32).flat_map(|len| [(len & 3) << 4, 10, 129, len]).collect();
    let nested6: Vec<u8> = (0..=128).step_by(3).flat_map(|len| [8 | (len & 3) << 4, 0xfd, 1, len]).collect();
    let moved =
        [[0x00, 10, 1, 24], [0x10, 10, 1, 24], [0x20, 10, 1, 24], [0x03, 10, 1, 24], [0x23, 10, 1, 24]].concat();
    let mut versions = nested.clone();
    versions.extend([5, 10, 129]);
    versions.extend((0..=32).flat_map(|len| [3 | (len & 3) << 4, 10, 129, len]));
    versions.extend([6, 10, 129, 0, 192, 1, 30, 6, 10, 129]);
    let forks: Vec<u8> =
        (0..40).flat_map(|i: u8| [i << 4, i.wrapping_mul(67), i.wrapping_mul(29), 9 + i % 24]).collect();
    vec![
        Seed::new("nested", nested),
        Seed::new("nested-ipv6", nested6),
        Seed::new("moved", moved),
        Seed::new("versions", versions),
        Seed::new("forks", forks),
        Seed::new("too-long", vec![0, 10, 1, 33, 8, 1, 1, 129]),
    ]
}
