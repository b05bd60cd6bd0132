//! How fast checksums are on this machine: the chosen way and the portable one, in turns, so both see the same
//! disturbances. Prints medians.
//!
//! ```text
//! cargo run --release -p vnet-packets --example checksum
//! ```

use std::hint::black_box;
use std::time::Instant;

use vnet_packets::checksum::Sum;

/// An IPv4 header, the longest data that is summed as headers are, packets, and a super-packet.
const LENGTHS: [usize; 5] = [20, 64, 576, 1420, 65_536];
const ROUNDS: usize = 101;
/// Data of neighbouring packets, out of the first-level cache as packets are that the kernel has just copied.
const WINDOW: usize = 256 << 10;

fn main() {
    let data: Vec<u8> = (0..WINDOW as u32).map(|i| (i.wrapping_mul(0x9e37_79b1) >> 13) as u8).collect();
    println!("{:>8} {:>14} {:>14} {:>8}", "bytes", "chosen", "portable", "ratio");
    for len in LENGTHS {
        let (mut chosen, mut portable) = (Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS));
        for _ in 0..ROUNDS {
            chosen.push(bytes_per_ns(&data, len, Sum::of));
            portable.push(bytes_per_ns(&data, len, Sum::of_portable));
        }
        let (chosen, portable) = (median(chosen), median(portable));
        println!("{len:>8} {chosen:>9.1} B/ns {portable:>9.1} B/ns {:>8.2}", chosen / portable);
    }
}

fn bytes_per_ns(data: &[u8], len: usize, sum: fn(&[u8]) -> Sum) -> f64 {
    let start = Instant::now();
    for bytes in data.chunks_exact(len) {
        black_box(sum(black_box(bytes)));
    }
    let bytes = data.len() / len * len;
    bytes as f64 / start.elapsed().as_nanos() as f64
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}
