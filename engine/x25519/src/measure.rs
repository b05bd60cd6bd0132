//! How long the X25519 of one handshake takes on this machine: a short measurement at start.

use std::hint::black_box;
use std::time::{Duration, Instant};

use ringfort_core::crypto::{PrivateKey, Secret, X25519};

/// Handshakes for each library. The best counts: others were interrupted.
const ROUNDS: usize = 9;

/// The best of several handshakes with each library, in turn.
pub(crate) fn interleaved(libraries: &[&'static dyn X25519]) -> Vec<Duration> {
    let locals: Vec<Box<dyn Secret>> = libraries.iter().map(|x25519| x25519.secret(&key(1))).collect();
    let mut best = vec![Duration::MAX; libraries.len()];
    for _ in 0..ROUNDS {
        for ((x25519, local), best) in libraries.iter().zip(&locals).zip(&mut best) {
            *best = handshake_time(*x25519, local.as_ref()).min(*best);
        }
    }
    best
}

/// What one answer to an initiation takes: `es` with our static key, a fresh pair, `ee` and `se`.
pub fn handshake_time(x25519: &dyn X25519, local: &dyn Secret) -> Duration {
    let remote = local.public_key();
    let began = Instant::now();
    let es = local.diffie_hellman(black_box(&remote));
    let ephemeral = x25519.secret(black_box(&key(2)));
    let public = ephemeral.public_key();
    let ee = ephemeral.diffie_hellman(black_box(&remote));
    let se = ephemeral.diffie_hellman(black_box(&remote));
    let _ = black_box((es, public, ee, se));
    began.elapsed()
}

fn key(number: u8) -> PrivateKey {
    PrivateKey::new([number; 32])
}
