//! Poly1305 (RFC 8439, section 2.5), one lane or several for each message.

#[allow(clippy::duplicate_mod)] // The tests have it again, over checked integers.
mod field;
mod group;
mod layout;
mod ops;
mod powers;
mod strands;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

pub(super) use group::Tags;
pub(super) use strands::GROUP_MAX;

use super::vector::Z;

/// The tags of a group of messages, of which there are as many as `keys`, from 1 to [`GROUP_MAX`]. Those are the first blocks
/// of their key streams.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn tags(group: &[&[u8]; GROUP_MAX], keys: &[Z]) -> Tags {
    match keys.len() {
        1 => group::tags::<8>(group, keys),
        2 => group::tags::<4>(group, keys),
        3 | 4 => group::tags::<2>(group, keys),
        _ => group::tags::<1>(group, keys),
    }
}
