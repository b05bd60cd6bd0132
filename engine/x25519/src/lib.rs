//! X25519 for handshakes (RFC 7748): two libraries, and which of them a gateway uses.
//!
//! ```text
//!   choose:   self-test ──► measurement ──► the fastest, for Device::set_x25519
//! ```
//!
//! [`Portable`] is the oracle, and there on every CPU. Another library that fails its self-test is left out and named.
//! A handshake needs a fresh key pair and three agreements of whoever answers, and these are measured. Both do their
//! work in constant time, and wipe private keys and results.

#![forbid(unsafe_code)]

mod aws_lc;
mod measure;
mod self_test;

pub use aws_lc::AwsLc;
pub use measure::handshake_time;
pub use ringfort_core::crypto::Portable;
pub use self_test::{SelfTestError, self_test};

use std::fmt;
use std::time::Duration;

use ringfort_core::crypto::X25519;

/// All libraries, the oracle first.
pub const ALL: [&dyn X25519; 2] = [&Portable, &AwsLc];

/// Which library computes, and why.
#[derive(Debug)]
pub struct Choice {
    /// The fastest.
    pub x25519: &'static dyn X25519,
    /// What answering a handshake takes with each of those that work.
    pub times: Vec<(&'static str, Duration)>,
    /// Those that do not.
    pub failed: Vec<SelfTestError>,
}

/// Tests and measures all libraries: some 20 ms.
///
/// # Errors
/// None of them works: what is wrong with the first.
pub fn choose() -> Result<Choice, SelfTestError> {
    let (mut working, mut failed) = (Vec::new(), Vec::new());
    for x25519 in ALL {
        match self_test(x25519) {
            Ok(()) => working.push(x25519),
            Err(error) => failed.push(error),
        }
    }
    let times: Vec<Duration> = measure::interleaved(&working);
    let fastest = working.iter().zip(&times).min_by_key(|(_, time)| **time);
    match (fastest, failed.first()) {
        (Some((&x25519, _)), _) => {
            Ok(Choice { x25519, times: working.iter().map(|x25519| x25519.name()).zip(times).collect(), failed })
        }
        (None, error) => Err(*error.expect("what does not work has failed")),
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "X25519: {} (", self.x25519.name())?;
        for (place, (name, time)) in self.times.iter().enumerate() {
            let comma = if place > 0 { ", " } else { "" };
            write!(f, "{comma}{name} takes {} µs for a handshake", time.as_micros())?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_that_works_is_chosen() {
        let choice = choose().unwrap();
        assert!(choice.failed.is_empty(), "{choice:?}");
        assert_eq!(choice.times.len(), ALL.len());
        let best = choice.times.iter().map(|(_, time)| *time).min();
        assert!(choice.times.contains(&(choice.x25519.name(), best.unwrap())), "{choice:?}");
    }
}
