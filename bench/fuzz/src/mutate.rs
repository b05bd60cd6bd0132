//! A small mutator for the bounded run of the tests. libFuzzer, which sees what an input reaches, does better; this one
//! is the same in every run.

use crate::rng::Repeatable;

/// Numbers at which lengths, counters and flags tend to go wrong.
const EDGES: [u64; 14] =
    [0, 1, 15, 16, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX - (1 << 13), u64::MAX];

/// Makes inputs out of a corpus, the same ones for the same seed.
#[derive(Clone, Debug)]
pub struct Mutator<'a> {
    corpus: &'a [Vec<u8>],
    len_max: usize,
    rng: Repeatable,
}

impl<'a> Mutator<'a> {
    /// Inputs of at most `len_max` bytes near those of `corpus`.
    ///
    /// # Panics
    /// If the corpus is empty.
    #[must_use]
    pub fn new(corpus: &'a [Vec<u8>], len_max: usize, seed: u64) -> Self {
        assert!(!corpus.is_empty(), "mutations begin with something");
        Self { corpus, len_max, rng: Repeatable::new(seed) }
    }

    /// The next input.
    pub fn next_input(&mut self) -> Vec<u8> {
        let mut input = self.pick().to_vec();
        for _ in 0..=self.rng.below(6) {
            self.step(&mut input);
        }
        input.truncate(self.len_max);
        input
    }

    fn pick(&mut self) -> &'a [u8] {
        &self.corpus[self.rng.below(self.corpus.len())]
    }

    fn step(&mut self, input: &mut Vec<u8>) {
        if input.is_empty() {
            input.push(self.rng.next() as u8);
            return;
        }
        let at = self.rng.below(input.len());
        match self.rng.below(10) {
            0 | 1 => input[at] ^= 1 << self.rng.below(8),
            2 => input[at] = self.rng.next() as u8,
            3 => input[at] = input[at].wrapping_add(if self.rng.below(2) == 0 { 1 } else { 0xff }),
            4 | 5 => self.overwrite_with_an_edge(input, at),
            6 => self.insert(input, at),
            7 => drop(input.drain(at..(at + 1 + self.rng.below(16)).min(input.len()))),
            8 => self.splice(input, at),
            _ => input.truncate(at),
        }
    }

    fn overwrite_with_an_edge(&mut self, input: &mut [u8], at: usize) {
        let edge = EDGES[self.rng.below(EDGES.len())];
        let width = 1 << self.rng.below(4);
        let (little, big) = (edge.to_le_bytes(), edge.to_be_bytes());
        let bytes = if self.rng.below(2) == 0 { &little[..width] } else { &big[8 - width..] };
        for (to, from) in input[at..].iter_mut().zip(bytes) {
            *to = *from;
        }
    }

    fn insert(&mut self, input: &mut Vec<u8>, at: usize) {
        let count = 1 + self.rng.below(16);
        let byte = self.rng.next() as u8;
        let repeated = self.rng.below(2) == 0;
        let new: Vec<u8> = (0..count).map(|_| if repeated { byte } else { self.rng.next() as u8 }).collect();
        input.splice(at..at, new);
    }

    /// The front of this input, then the back of another.
    fn splice(&mut self, input: &mut Vec<u8>, at: usize) {
        let other = self.pick();
        let from = if other.is_empty() { 0 } else { self.rng.below(other.len()) };
        input.truncate(at);
        input.extend(&other[from..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_inputs_and_they_differ_from_each_other() {
        let corpus = [b"hello, world".to_vec(), vec![]];
        let inputs = |seed| {
            let mut mutator = Mutator::new(&corpus, 20, seed);
            (0..1000).map(|_| mutator.next_input()).collect::<Vec<_>>()
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
        let distinct: std::collections::HashSet<_> = inputs(1).into_iter().collect();
        assert!(distinct.len() > 600, "{}", distinct.len());
        assert!(distinct.iter().all(|input| input.len() <= 20));
    }
}
