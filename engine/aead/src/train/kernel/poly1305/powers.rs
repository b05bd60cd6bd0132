//! One-time keys, and the powers of r that a group's steps multiply by.

use super::field::{Element, Multiplier};
use super::strands::{Strands, words};
use crate::train::kernel::vector::Wide;

/// What "clamping" leaves of r, low word first (RFC 8439, section 2.5).
const CLAMP: [u64; 2] = [0x0fff_fffc_0fff_ffff, 0x0fff_fffc_0fff_fffc];

/// The powers for the strands of every message, in their lanes.
pub(super) struct Powers<V: Wide> {
    /// r^S and the powers of that, from the first on, as many as a step has blocks: for every step but the last.
    pub(super) each: [Multiplier<V>; 4],
    /// Of more than one strand: r^(S - q) for strand q, and that times r^S.
    last: [Multiplier<V>; 2],
}

/// From the first blocks of the messages' key streams to r and s, low word first, in the lanes of each message.
#[inline(always)]
pub(super) fn one_time_keys<const STRANDS: usize, V: Wide>(v: V, keys: &[V::Word]) -> (Element<V>, [V::Word; 2]) {
    let zero = v.zero();
    let mut rows = [zero; 8];
    for (row, (message, _)) in rows.iter_mut().zip(Strands::<STRANDS>::LANES) {
        if let Some(key) = keys.get(message) {
            *row = *key;
        }
    }
    let [r_low, r_high, s_low, s_high, ..] = words::<1, V>(v, &rows);
    let r_low = v.and(r_low, v.splat(CLAMP[0]));
    let r_high = v.and(r_high, v.splat(CLAMP[1]));
    (Element::from_block(v, [r_low, r_high], zero), [s_low, s_high])
}

impl<V: Wide> Powers<V> {
    #[inline(always)]
    pub(super) fn of<const STRANDS: usize>(v: V, r: Element<V>) -> Self {
        let by_r = Multiplier::new(v, r);
        let r2 = r.times(v, &by_r);
        let by_r2 = Multiplier::new(v, r2);
        let r4 = r2.times(v, &by_r2);
        let by_r4 = Multiplier::new(v, r4);
        match STRANDS {
            1 => {
                let each = [by_r, by_r2, Multiplier::new(v, r.times(v, &by_r2)), by_r4];
                Self { each, last: [by_r, by_r2] }
            }
            2 => {
                let first = blend(v, Strands::<STRANDS>::mask(0), r, r2);
                Self::of_two(v, by_r2, by_r4, first)
            }
            4 => {
                let first = up_to_r4::<STRANDS, V>(v, r, r2, r.times(v, &by_r2), r4);
                Self::of_two(v, by_r4, Multiplier::new(v, r4.times(v, &by_r4)), first)
            }
            _ => {
                let r8 = r4.times(v, &by_r4);
                let by_r8 = Multiplier::new(v, r8);
                let later = up_to_r4::<STRANDS, V>(v, r, r2, r.times(v, &by_r2), r4);
                let earlier = const { Strands::<STRANDS>::masks_below(4) };
                let first = blend(v, earlier, later, later.times(v, &by_r4));
                Self::of_two(v, by_r8, Multiplier::new(v, r8.times(v, &by_r8)), first)
            }
        }
    }

    /// For steps of two blocks: r^S, its square, and r^(S - q).
    #[inline(always)]
    fn of_two(v: V, by_rs: Multiplier<V>, by_rs2: Multiplier<V>, first: Element<V>) -> Self {
        let by_first = Multiplier::new(v, first);
        let by_second = Multiplier::new(v, first.times(v, &by_rs));
        Self { each: [by_rs, by_rs2, by_rs, by_rs], last: [by_first, by_second] }
    }

    /// The powers for the last step. With one strand r^(S - q) is r, and they are the same.
    #[inline(always)]
    pub(super) fn last<const STRANDS: usize>(&self) -> &[Multiplier<V>] {
        if STRANDS == 1 { &self.each } else { &self.last }
    }
}

/// r^(4 - q) for the strands q and 4 + q.
#[inline(always)]
fn up_to_r4<const STRANDS: usize, V: Wide>(
    v: V,
    r: Element<V>,
    r2: Element<V>,
    r3: Element<V>,
    r4: Element<V>,
) -> Element<V> {
    // A strand that is not there has no lanes.
    let strands = |q: usize| Strands::<STRANDS>::mask(q) | Strands::<STRANDS>::mask(4 + q);
    blend(v, strands(0), blend(v, strands(1), blend(v, strands(2), r, r2), r3), r4)
}

/// `b` in the lanes of `mask`, `a` in the others.
#[inline(always)]
fn blend<V: Wide>(v: V, mask: u8, a: Element<V>, b: Element<V>) -> Element<V> {
    let (Element([a0, a1, a2]), Element([b0, b1, b2])) = (a, b);
    Element([v.blend(mask, a0, b0), v.blend(mask, a1, b1), v.blend(mask, a2, b2)])
}
