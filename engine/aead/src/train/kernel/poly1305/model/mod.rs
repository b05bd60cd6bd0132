//! The bounds of the field arithmetic, tried out over 64-bit integers whose every operation is checked: what overflows,
//! is cut off or shifted out panics here.
//!
//! Limbs are put at all combinations of the ends of their ranges and of the places where carries begin, and results are
//! compared with big integers.

use num_bigint::BigUint;

use super::field::{self, BLOCK_MAX, CARRIED_MAX, FACTOR_MAX, LOW_BITS, PRODUCTS_MAX, TOP_BITS};
use checked::Checked;

mod checked;

type Element = field::Element<Checked>;
type Multiplier = field::Multiplier<Checked>;
type Sum = field::Sum<Checked>;

fn p() -> BigUint {
    (BigUint::from(1u8) << 130u32) - 5u8
}

fn value(limbs: [u64; 3]) -> BigUint {
    limbs.iter().rev().fold(BigUint::ZERO, |sum, limb| (sum << LOW_BITS) + *limb)
}

/// Every way to take one of the values for each of three limbs.
fn combinations(values: [Vec<u64>; 3]) -> Vec<[u64; 3]> {
    let [a, b, c] = &values;
    a.iter().flat_map(|a| b.iter().flat_map(move |b| c.iter().map(move |c| [*a, *b, *c]))).collect()
}

/// The ends of a range, and where the limb is full.
fn extremes(max: [u64; 3]) -> Vec<[u64; 3]> {
    let full = [LOW_BITS, LOW_BITS, TOP_BITS].map(|bits| (1 << bits) - 1);
    combinations(std::array::from_fn(|i| {
        let mut values = vec![0, 1, full[i] - 1, full[i], full[i] + 1, max[i] - 1, max[i]];
        values.retain(|value| *value <= max[i]);
        values.dedup();
        values
    }))
}

fn assert_carried(limbs: [u64; 3], context: impl Fn() -> String) {
    assert!(limbs.iter().zip(CARRIED_MAX).all(|(limb, max)| *limb <= max), "{limbs:x?} of {}", context());
}

#[test]
fn a_carry_is_in_bounds_and_right_at_every_extreme() {
    // What a column can hold, by the same arithmetic as at COLUMN_BOUND: twelve products.
    let low_max = PRODUCTS_MAX * 3 * ((1 << 52) - 1);
    let high = |factors: [(u64, u64); 3]| -> u64 {
        factors.iter().map(|(a, b)| ((u128::from(*a) * u128::from(*b)) >> 52) as u64).sum::<u64>() * PRODUCTS_MAX
    };
    let ([m0, m1, m2], [r0, r1, r2]) = (FACTOR_MAX, CARRIED_MAX);
    let high_max = [
        high([(m0, r0), (m1, 20 * r2), (m2, 20 * r1)]),
        high([(m0, r1), (m1, r0), (m2, 20 * r2)]),
        high([(m0, r2), (m1, r1), (m2, r0)]),
    ];
    let lows = [0, 1, (1 << 42) - 1, (1 << 44) - 1, 1 << 44, low_max - 1, low_max].to_vec();
    let lows = combinations([lows.clone(), lows.clone(), lows]);
    let highs = combinations(high_max.map(|max| vec![0, 1, max - 1, max]));
    for low in &lows {
        for high in &highs {
            let field::Element(limbs) = Sum { low: *low, high: *high }.carry(Checked);
            assert_carried(limbs, || format!("{low:x?} {high:x?}"));
            let expected = value(*low) + (value(*high) << 52u32);
            assert_eq!(value(limbs) % p(), expected % p(), "{low:x?} {high:x?}");
        }
    }
}

#[test]
fn products_are_in_bounds_and_right_at_every_extreme() {
    for factor in extremes(CARRIED_MAX) {
        let multiplier = Multiplier::new(Checked, field::Element(factor));
        for m in extremes(FACTOR_MAX) {
            let mut sum = Sum::zero(Checked);
            for products in 1..=PRODUCTS_MAX {
                sum.add_product(Checked, field::Element(m), &multiplier);
                let field::Element(limbs) = sum.carry(Checked);
                assert_carried(limbs, || format!("{products} times {m:x?} {factor:x?}"));
                // Big integers are slow, and the sum is the same.
                if products == PRODUCTS_MAX {
                    let expected = value(m) * value(factor) * products;
                    assert_eq!(value(limbs) % p(), expected % p(), "{m:x?} {factor:x?}");
                }
            }
        }
    }
}

fn reduce(limbs: [u64; 3]) {
    let [low, high] = field::Element::<Checked>(limbs).reduced(Checked);
    let expected = (value(limbs) % p()) % (BigUint::from(1u8) << 128u32);
    assert_eq!(u128::from(high) << 64 | u128::from(low), expected.try_into().unwrap(), "{limbs:x?}");
}

/// Sums of eight strands at the ends of their ranges, and numbers around multiples of p and of 2^130, with limbs that
/// overlap as carried ones do.
#[test]
fn the_final_reduction_is_right_around_every_edge() {
    for limbs in extremes(CARRIED_MAX.map(|max| 8 * max)) {
        reduce(limbs);
    }
    let mask = (BigUint::from(1u8) << LOW_BITS) - 1u8;
    for multiple in 0u32..=8 {
        for around in [p(), BigUint::from(1u8) << 130u32, (BigUint::from(1u8) << 130u32) + 40u8] {
            for difference in 0u32..=80 {
                // From 40 below to 40 above.
                let above = around.clone() * multiple + difference;
                if above < BigUint::from(40u8) {
                    continue;
                }
                let number = above - 40u8;
                let limb = |shift: u32| u64::try_from((&number >> shift) & &mask).unwrap();
                let limbs = [limb(0), limb(44), u64::try_from(&number >> 88u32).unwrap()];
                reduce(limbs);
                // The same number with what limbs 1 and 2 lend to the limb below.
                for lent in 1..8 {
                    let [a, b, c] = limbs;
                    if b >= lent {
                        reduce([a + (lent << LOW_BITS), b - lent, c]);
                    }
                    if c >= lent {
                        reduce([a, b + (lent << LOW_BITS), c - lent]);
                        reduce([
                            a + (lent << LOW_BITS),
                            b + ((lent - 1) << LOW_BITS) + (1 << LOW_BITS) - lent,
                            c - lent,
                        ]);
                    }
                }
            }
        }
    }
}

#[test]
fn a_block_is_within_what_is_assumed_of_it() {
    let field::Element(limbs) = Element::from_block(Checked, [u64::MAX; 2], 1);
    assert_eq!(limbs, BLOCK_MAX);
    assert_eq!(value(limbs), (BigUint::from(1u8) << 129u32) - 1u8);
}

/// A long message of the largest blocks under the largest r and s: nothing grows from block to block.
#[test]
fn a_long_message_stays_in_bounds() {
    let r = Element::from_block(Checked, [0x0fff_fffc_0fff_ffff, 0x0fff_fffc_0fff_fffc], 0);
    let (by_r, r_value, block_value) = (Multiplier::new(Checked, r), value(r.0), value(BLOCK_MAX));
    let (mut h, mut expected) = (field::Element([0; 3]), BigUint::ZERO);
    for _ in 0..5000 {
        h = Element::from_block(Checked, [u64::MAX; 2], 1).plus(Checked, h).times(Checked, &by_r);
        expected = (expected + &block_value) * &r_value % p();
        assert_carried(h.0, || "a block".to_owned());
    }
    let [low, high] = h.tag(Checked, [u64::MAX; 2]);
    let tag = (expected + u128::MAX) % (BigUint::from(1u8) << 128u32);
    assert_eq!(u128::from(high) << 64 | u128::from(low), tag.try_into().unwrap());
}
