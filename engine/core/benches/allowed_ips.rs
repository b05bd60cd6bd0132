//! Which peer an address belongs to: nanoseconds of a lookup, of bulk insertion, and of an update while a reader holds
//! the version before, and bytes for a prefix. `cargo bench -p ringfort-core`.
//!
//! Addresses are random, so each lookup of a large table misses the caches, as in a gateway with many peers at work.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ringfort_core::allowed_ips::{AllowedIps, Prefix};
use ringfort_core::ids::PeerId;

const LOOKUPS: usize = 1 << 20;
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

/// With an argument, only tables whose names contain it.
fn main() {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    println!("{:<20} {:>9} {:>10} {:>10} {:>10} {:>8}", "table", "prefixes", "lookup", "insert", "update", "bytes");
    for (name, make) in TABLES.into_iter().filter(|(name, _)| name.contains(&wanted)) {
        for count in [1_000_000, 100_000, 1_000, 1] {
            measure(name, make, count);
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
    let lookups = (0..ROUNDS).map(|_| {
        let began = cpu_time();
        for &addr in &addrs {
            black_box(table.lookup(black_box(addr)));
        }
        per(LOOKUPS, began)
    });
    // The others waited for the caches of whoever else is at work.
    let lookup = lookups.fold(f64::INFINITY, f64::min);
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
    println!("{name:<20} {count:>9} {lookup:>7.1} ns {insert:>7.0} ns {update:>7.0} ns {bytes:>8}");
}
