//! Poly1305 (RFC 8439, section 2.5), one lane or several for each message.

mod field;
mod group;
mod layout;
mod powers;
mod strands;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

pub(super) use group::Tags;
pub(super) use strands::GROUP_MAX;

use super::vector::Wide;

/// The tags of a group of messages, of which there are as many as `keys`, from 1 to [`GROUP_MAX`]. Those are the first
/// blocks of their key streams.
#[inline(always)]
pub(super) fn tags<V: Wide>(v: V, group: &[&[u8]; GROUP_MAX], keys: &[V::Word]) -> Tags {
    match keys.len() {
        1 => group::tags::<8, V>(v, group, keys),
        2 => group::tags::<4, V>(v, group, keys),
        3 | 4 => group::tags::<2, V>(v, group, keys),
        _ => group::tags::<1, V>(v, group, keys),
    }
}
