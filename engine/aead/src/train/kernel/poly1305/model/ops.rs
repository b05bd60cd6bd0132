//! The operations of the field arithmetic over one lane, with every assumption checked.

pub(super) type Word = u64;

pub(super) fn splat(value: u64) -> Word {
    value
}

pub(super) fn add(a: Word, b: Word) -> Word {
    a.checked_add(b).expect("a sum has 64 bits")
}

pub(super) fn and(a: Word, b: Word) -> Word {
    a & b
}

pub(super) fn or(a: Word, b: Word) -> Word {
    assert_eq!(a & b, 0, "pieces that are put together do not overlap");
    a | b
}

pub(super) fn shift_left_cut<const BITS: u32>(a: Word) -> Word {
    a << BITS
}

pub(super) fn shift_left<const BITS: u32>(a: Word) -> Word {
    assert!(a.leading_zeros() >= BITS, "nothing is shifted out of a word");
    a << BITS
}

pub(super) fn shift_right<const BITS: u32>(a: Word) -> Word {
    a >> BITS
}

pub(super) fn shift_right_pair<const BITS: i32>(high: Word, low: Word) -> Word {
    ((u128::from(high) << 64 | u128::from(low)) >> BITS) as u64
}

fn product(a: Word, b: Word) -> u128 {
    assert!(a < 1 << 52 && b < 1 << 52, "IFMA looks at 52 bits of a factor");
    u128::from(a) * u128::from(b)
}

pub(super) fn multiply_add_low(sum: Word, a: Word, b: Word) -> Word {
    add(sum, (product(a, b) & ((1 << 52) - 1)) as u64)
}

pub(super) fn multiply_add_high(sum: Word, a: Word, b: Word) -> Word {
    add(sum, (product(a, b) >> 52) as u64)
}

pub(super) fn select(test: Word, a: Word, b: Word) -> Word {
    if test == 0 { a } else { b }
}

pub(super) fn add_128(a: [Word; 2], b: [Word; 2]) -> [Word; 2] {
    let join = |[low, high]: [u64; 2]| u128::from(high) << 64 | u128::from(low);
    let sum = join(a).wrapping_add(join(b));
    [sum as u64, (sum >> 64) as u64]
}
