//! What the X25519 of one handshake takes with each library, in turn, round by round.
//!
//!     cargo bench -p ringfort-x25519

use std::time::Duration;

use ringfort_core::crypto::{PrivateKey, Secret};
use ringfort_x25519::{ALL, handshake_time};

const ROUNDS: usize = 2_000;

fn main() {
    let locals: Vec<Box<dyn Secret>> = ALL.iter().map(|x25519| x25519.secret(&PrivateKey::new([1; 32]))).collect();
    let mut times = vec![Vec::with_capacity(ROUNDS); ALL.len()];
    for _ in 0..ROUNDS {
        for ((x25519, local), times) in ALL.iter().zip(&locals).zip(&mut times) {
            times.push(handshake_time(*x25519, local.as_ref()));
        }
    }
    println!("A key pair and three agreements, {ROUNDS} rounds in turn:");
    let mut portable = Duration::ZERO;
    for (x25519, times) in ALL.iter().zip(&mut times) {
        times.sort_unstable();
        let (best, median) = (times[0], times[ROUNDS / 2]);
        portable = portable.max(if x25519.name() == "portable" { median } else { Duration::ZERO });
        let ratio = portable.as_secs_f64() / median.as_secs_f64();
        println!("{:<10} best {best:>9.1?}   median {median:>9.1?}   {ratio:.2} times as fast", x25519.name());
    }
}
