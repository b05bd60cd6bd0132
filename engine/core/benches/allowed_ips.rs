//! Which peer an address belongs to: nanoseconds of a lookup, of bulk insertion, and of an update while a reader holds
//! the version before, and bytes for a prefix. `cargo bench -p ringfort-core`.
//!
//! Addresses are random, so each lookup of a large table misses the caches, as in a gateway with many peers at work.
//! They are looked up in three ways: one after the other (`lookup`), each when the one before has its peer (`alone`),
//! and in batches (`together`).

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use ringfort_core::allowed_ips::{AllowedIps, Prefix, TOGETHER_MAX};
use ringfort_core::ids::PeerId;

const LOOKUPS: usize = 1 << 20;
/// Lookups that are timed as one.
const CHUNK: usize = 1 << 9;
const UPDATES: usize = 1 << 12;
const ROUNDS: usize = 5;

/// Makes the prefix with a number.
type Make = fn(u64) -> Prefix;

const TABLES: [(&str, Make); 4] = [
    ("ipv4 /32, random", |number| v4(random(number) as u32, 32)),
    ("ipv4 /32, in a row", |number| v4(0x0a00_0000 + number as u32, 32)),
    ("ipv4 /24, random", |number| v4(random(number) as u32, 24)),
    ("ipv6 /64, random", |number| v6(0xfd << 120 | u128::from(random(number)) << 64, 64)),
];

fn v4(bits: u32, len: u8) -> Prefix {
    Prefix::new(Ipv4Addr::from_bits(bits).into(), len).expect("a literal length")
}

fn v6(bits: u128, len: u8) -> Prefix {
    Prefix::new(Ipv6Addr::from_bits(bits).into(), len).expect("a literal length")
}

/// The same for the same number (splitmix64).
const fn random(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

const fn peer(number: u64) -> PeerId {
    PeerId { index: number as u32, generation: 0 }
}

/// Memory of this process, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// Time of this thread on a CPU, in nanoseconds: what others take from it on a busy machine is left out.
fn cpu_time() -> u64 {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    schedstat.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
}

fn per(count: usize, began: u64) -> f64 {
    (cpu_time() - began) as f64 / count as f64
}

/// With arguments, only tables whose names contain one of them, or only these numbers of prefixes.
fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let (counts, names): (Vec<_>, Vec<_>) = wanted.iter().partition(|argument| argument.parse::<u64>().is_ok());
    let is_wanted = |name: &str| names.is_empty() || names.iter().any(|part| name.contains(part.as_str()));
    let [table, prefixes, bytes] = ["table", "prefixes", "bytes"];
    let times = ["lookup", "alone", "together", "insert", "update"].map(|name| format!("{name:>10}")).join(" ");
    println!("{table:<20} {prefixes:>9} {times} {bytes:>8}");
    for (name, make) in TABLES.into_iter().filter(|(name, _)| is_wanted(name)) {
        for count in [1_000_000_u64, 100_000, 10_000, 1_000, 10, 1] {
            if counts.is_empty() || counts.contains(&&count.to_string()) {
                measure(name, make, count);
            }
        }
    }
}

fn measure(name: &str, make: Make, count: u64) {
    let (before, began) = (resident(), cpu_time());
    let mut table = AllowedIps::new();
    for number in 0..count {
        table.insert(make(number), peer(number));
    }
    let (insert, bytes) = (per(count as usize, began), resident().saturating_sub(before) as f64 / count as f64);
    // In an order of their own.
    let addrs: Vec<IpAddr> = (0..LOOKUPS as u64).map(|i| make(random(i) % count).addr()).collect();
    let lookup = lookup_ns(&addrs, |addrs| {
        for &addr in addrs {
            black_box(table.lookup(black_box(addr)));
        }
    });
    let alone = lookup_ns(&addrs, |addrs| {
        let mut last = 0;
        for i in 0..addrs.len() {
            // All generations are 0, which only the table knows.
            last = table.lookup(addrs[i + last]).map_or(0, |peer| peer.generation as usize);
        }
        black_box(last);
    });
    let together = lookup_ns(&addrs, |addrs| {
        for batch in addrs.chunks(TOGETHER_MAX) {
            black_box(table.lookup_together(black_box(batch)));
        }
    });
    let began = cpu_time();
    let mut reader = table.clone();
    for i in 0..UPDATES as u64 {
        let number = random(i) % count;
        table.insert(make(number), peer(i));
        reader = table.clone();
    }
    let update = per(UPDATES, began);
    black_box(reader);
    // Memory that the table before gave back is used again: only the first large table of a process shows its own.
    let bytes = if bytes < 16.0 || count < 100_000 { "-".to_owned() } else { format!("{bytes:.0}") };
    let times = [lookup, alone, together, insert, update].map(|ns| format!("{ns:>7.1} ns")).join(" ");
    println!("{name:<20} {count:>9} {times} {bytes:>8}");
}

/// Nanoseconds of one lookup: the median of many short times, so what others do on the machine hardly counts.
/// `lookups` gets the addresses to look up.
fn lookup_ns(addrs: &[IpAddr], mut lookups: impl FnMut(&[IpAddr])) -> f64 {
    let chunks = (0..ROUNDS).flat_map(|_| addrs.chunks(CHUNK));
    let mut times: Vec<_> = chunks
        .map(|chunk| {
            let began = Instant::now();
            lookups(chunk);
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2].as_nanos() as f64 / CHUNK as f64
}
