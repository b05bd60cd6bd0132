//! Which provider does what: the outcome of the choice at start-up, in a form that every key carries with it.

use std::fmt;

use crate::cipher::BatchCipher;
use crate::{KEY_LEN, Provider, Suite};

/// Bytes of plaintext of the measured packets: an ACK or a voice packet, the old Internet minimum, a full tunnel
/// packet.
pub const PACKET_SIZES: [usize; 3] = [64, 576, 1420];
/// Messages of the measured batches: a lone packet, a pair, a short burst, a super-packet of 64 KiB at full size.
pub const TRAIN_COUNTS: [usize; 4] = [1, 2, 8, 44];

/// The providers of both suites, by the number and the length of the messages. Small, and the same for all keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    mixes: [Mix; Suite::ALL.len()],
}

/// The providers of one suite, by class: sizes across, counts down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mix([[Provider; PACKET_SIZES.len()]; TRAIN_COUNTS.len()]);

impl Plan {
    /// One provider for everything: for tests and for `--aead NAME`. A suite that it does not have, here or at all, is
    /// done by the portable one.
    pub fn fixed(provider: Provider) -> Self {
        let mix = |suite| match provider.is_available(suite) {
            true => Mix::fixed(provider),
            false => Mix::fixed(Provider::RustCrypto),
        };
        Self { mixes: Suite::ALL.map(mix) }
    }

    pub(crate) fn new(mix: impl Fn(Suite) -> Mix) -> Self {
        Self { mixes: Suite::ALL.map(mix) }
    }

    /// Who seals and opens `count` messages of `text_len` bytes of plaintext each.
    pub fn provider(&self, suite: Suite, count: usize, text_len: usize) -> Provider {
        self.mix(suite).provider(count, text_len)
    }

    /// Who seals and opens full trains of full packets: most of the bytes.
    pub fn main_provider(&self, suite: Suite) -> Provider {
        self.mix(suite).main()
    }

    pub(crate) fn mix(&self, suite: Suite) -> Mix {
        self.mixes[suite as usize]
    }
}

impl Mix {
    pub(crate) const fn fixed(provider: Provider) -> Self {
        Self([[provider; PACKET_SIZES.len()]; TRAIN_COUNTS.len()])
    }

    /// `pick` is called with each measured count and size.
    pub(crate) fn new(pick: impl Fn(usize, usize) -> Provider) -> Self {
        Self(TRAIN_COUNTS.map(|count| PACKET_SIZES.map(|size| pick(count, size))))
    }

    pub(crate) fn provider(&self, count: usize, text_len: usize) -> Provider {
        self.0[class(&TRAIN_COUNTS, count)][class(&PACKET_SIZES, text_len)]
    }

    fn main(&self) -> Provider {
        self.0[TRAIN_COUNTS.len() - 1][PACKET_SIZES.len() - 1]
    }
}

/// Which of `points` is nearest to `value` on a logarithmic scale: the border of two is their geometric mean.
fn class(points: &[usize], value: usize) -> usize {
    points.windows(2).take_while(|pair| value * value > pair[0] * pair[1]).count()
}

/// The main provider, then what others do: `train; aws-lc for 1 × 64 B`.
impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.main())?;
        for &other in Provider::ALL.iter().filter(|&&provider| provider != self.main()) {
            let classes = self.0.iter().zip(TRAIN_COUNTS).flat_map(|(row, count)| {
                let cells = row.iter().zip(PACKET_SIZES).filter(move |(provider, _)| **provider == other);
                cells.map(move |(_, size)| format!("{count} × {size} B"))
            });
            let classes: Vec<_> = classes.collect();
            if !classes.is_empty() {
                write!(f, "; {other} for {}", classes.join(", "))?;
            }
        }
        Ok(())
    }
}

/// A key, expanded for each provider of a mix.
pub(crate) struct Ciphers {
    mix: Mix,
    suite: Suite,
    // Boxed also so that a move of this value leaves no copy of the key behind.
    expanded: [Option<Box<dyn BatchCipher>>; Provider::TESTED.len()],
}

impl Ciphers {
    pub(crate) fn new(plan: Plan, suite: Suite, key: &[u8; KEY_LEN]) -> Self {
        let mix = plan.mix(suite);
        let is_used = |provider: Provider| mix.0.iter().flatten().any(|used| *used == provider);
        let expanded = std::array::from_fn(|index| {
            let provider = Provider::TESTED[index];
            is_used(provider).then(|| provider.cipher(suite, key))
        });
        Self { mix, suite, expanded }
    }

    /// The cipher for `count` messages of `text_len` bytes each.
    pub(crate) fn of(&self, count: usize, text_len: usize) -> &dyn BatchCipher {
        let provider = self.mix.provider(count, text_len);
        self.expanded[provider as usize].as_deref().expect("expanded for every provider of the mix")
    }

    pub(crate) fn suite(&self) -> Suite {
        self.suite
    }
}

impl fmt::Debug for Ciphers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ciphers").field("suite", &self.suite).field("mix", &self.mix).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_meet_at_the_geometric_mean() {
        let of_size = |len| class(&PACKET_SIZES, len);
        assert_eq!([0, 64, 192, 193, 576, 904, 905, 1420, 65535].map(of_size), [0, 0, 0, 1, 1, 1, 2, 2, 2]);
        let of_count = |count| class(&TRAIN_COUNTS, count);
        assert_eq!([1, 2, 4, 5, 8, 18, 19, 44, 64].map(of_count), [0, 1, 1, 2, 2, 2, 3, 3, 3]);
    }

    #[test]
    fn a_mix_says_who_does_what() {
        let mix = Mix::new(|count, size| match (count, size) {
            (1, 64) | (2, 64) => Provider::AwsLc,
            _ => Provider::RustCrypto,
        });
        assert_eq!(mix.to_string(), "rustcrypto; aws-lc for 1 × 64 B, 2 × 64 B");
        assert_eq!(Mix::fixed(Provider::AwsLc).to_string(), "aws-lc");
    }
}
