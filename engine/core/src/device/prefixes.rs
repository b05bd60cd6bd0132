//! A peer's allowed IPs, in order. Most peers have one: it takes no memory of its own, where a set takes 224 bytes.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::allowed_ips::Prefix;

#[derive(Debug, Default)]
pub(super) enum Prefixes {
    #[default]
    None,
    One(Prefix),
    Many(BTreeSet<Prefix>),
}

impl Prefixes {
    /// False: it was there.
    pub fn insert(&mut self, prefix: Prefix) -> bool {
        match self {
            Self::None => *self = Self::One(prefix),
            Self::One(one) if *one == prefix => return false,
            Self::One(one) => *self = Self::Many(BTreeSet::from([*one, prefix])),
            Self::Many(many) => return many.insert(prefix),
        }
        true
    }

    /// False: it was not there.
    pub fn remove(&mut self, prefix: &Prefix) -> bool {
        let removed = match self {
            Self::None => false,
            Self::One(one) => one == prefix,
            Self::Many(many) => many.remove(prefix),
        };
        if removed {
            self.shrink();
        }
        removed
    }

    /// Takes the last one out.
    pub fn pop_last(&mut self) -> Option<Prefix> {
        let last = match self {
            Self::None => None,
            Self::One(one) => Some(*one),
            Self::Many(many) => many.pop_last(),
        };
        self.shrink();
        last
    }

    pub fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(_) => 1,
            Self::Many(many) => many.len(),
        }
    }

    /// All of them, or those after one.
    pub fn after(&self, prefix: Option<Prefix>) -> impl Iterator<Item = Prefix> + use<'_> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(one) => (Some(*one), None),
            Self::Many(many) => (None, Some(many)),
        };
        let range = (prefix.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let one = one.filter(|&one| prefix.is_none_or(|prefix| one > prefix));
        one.into_iter().chain(many.into_iter().flat_map(move |many| many.range(range).copied()))
    }

    /// One was taken out, or the only one is about to be.
    fn shrink(&mut self) {
        match self {
            Self::None => {}
            Self::One(_) => *self = Self::None,
            Self::Many(many) => match (many.pop_last(), many.is_empty()) {
                (Some(one), true) => *self = Self::One(one),
                (Some(one), false) => _ = many.insert(one),
                (None, _) => *self = Self::None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(number: u32) -> Prefix {
        Prefix::new(std::net::Ipv4Addr::from_bits(number).into(), 32).unwrap()
    }

    #[test]
    fn it_is_a_set() {
        let (mut ours, mut oracle) = (Prefixes::default(), BTreeSet::new());
        for step in 0..2_000_u32 {
            let one = prefix(step.wrapping_mul(2_654_435_761) >> 30);
            match step.wrapping_mul(40_503) >> 8 & 3 {
                0 | 1 => assert_eq!(ours.insert(one), oracle.insert(one)),
                2 => assert_eq!(ours.remove(&one), oracle.remove(&one)),
                _ => assert_eq!(ours.pop_last(), oracle.pop_last()),
            }
            assert_eq!(ours.len(), oracle.len());
            assert!(ours.after(None).eq(oracle.iter().copied()));
            assert!(ours.after(Some(one)).eq(oracle.range((Bound::Excluded(one), Bound::Unbounded)).copied()));
            assert_eq!(oracle.len() < 2, !matches!(ours, Prefixes::Many(_)), "a set only for several");
        }
    }

    #[test]
    fn one_is_small() {
        assert!(size_of::<Prefixes>() <= 32);
    }
}
