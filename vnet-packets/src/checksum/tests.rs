use proptest::prelude::*;

use super::*;

/// RFC 1071 section 4.1, word by word.
fn naive(bytes: &[u8]) -> [u8; 2] {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// Bytes without a pattern that a wrong lane or order could hide behind.
fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 11) as u8
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn the_example_of_rfc_1071() {
    let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
    assert_eq!(Sum::of(&bytes).to_bytes(), [0xdd, 0xf2]);
    assert_eq!(Sum::of(&bytes).checksum(), [0x22, 0x0d]);
}

/// Of so many cases one is enough under Miri, which looks for undefined behaviour and is a thousand times slower.
const fn every(n: usize) -> usize {
    if cfg!(miri) { n } else { 1 }
}

/// More than the largest packet.
const LONGEST: usize = 65_536 / every(32);

/// A way to sum, by its name.
type Implementation = (&'static str, fn(&[u8]) -> Sum);

/// Every way to sum that this CPU has, the chosen one first.
fn implementations() -> Vec<Implementation> {
    let mut all: Vec<Implementation> = vec![("chosen", Sum::of), ("portable", Sum::of_portable)];
    #[cfg(target_arch = "x86_64")]
    if x86::sum(&[]).is_some() {
        all.push(("AVX2", |bytes| Sum(x86::sum(bytes).expect("it was there before"))));
    }
    all
}

#[test]
fn every_length_at_every_alignment() {
    #[repr(align(64))]
    struct Aligned([u8; 64 + 2048]);
    let mut data = Aligned([0; _]);
    data.0.copy_from_slice(&noise(64 + 2048, 7));
    for start in (0..64).step_by(every(37)) {
        // The steps have no common divisor with the width of a vector, so remainders differ.
        for len in (0..=2048).step_by(every(131)) {
            let bytes = &data.0[start..start + len];
            let expected = naive(bytes);
            for (name, sum) in implementations() {
                assert_eq!(sum(bytes).checksum(), expected, "{name}, start {start}, length {len}");
            }
        }
    }
}

/// A way to sum while copying, by its name.
type CopyingImplementation = (&'static str, fn(&[u8], &mut [u8]) -> Sum);

/// Every way to sum while copying.
fn copying_implementations() -> Vec<CopyingImplementation> {
    let mut all: Vec<CopyingImplementation> = vec![("chosen", Sum::of_copy)];
    #[cfg(target_arch = "x86_64")]
    if x86::copy(&[], &mut []).is_some() {
        all.push(("AVX2", |from, to| Sum(x86::copy(from, to).expect("it was there before"))));
    }
    all
}

#[test]
fn copies_of_every_length_from_and_to_every_alignment() {
    let from = noise(64 + 1500, 11);
    for (start, place) in (0..64).map(|start| (start, start * 29 % 64)).step_by(every(31)) {
        for len in (0..200).chain((200..1500).step_by(13)).step_by(every(23)) {
            let bytes = &from[start..start + len];
            for (name, copy) in copying_implementations() {
                let mut to = vec![0xee; 64 + 1500 + 64];
                let mut expected = to.clone();
                expected[place..place + len].copy_from_slice(bytes);
                let sum = copy(bytes, &mut to[place..place + len]);
                assert_eq!(sum.checksum(), naive(bytes), "{name}, start {start}, length {len}");
                assert!(to == expected, "{name}, start {start}, length {len}: the copy is written, and nothing else");
            }
        }
    }
}

#[test]
fn copies_of_all_ones() {
    for len in [31, 32, 33, 64, 95, 96, LONGEST - 1, LONGEST] {
        let bytes = vec![0xff; len];
        for (name, copy) in copying_implementations() {
            assert_eq!(copy(&bytes, &mut vec![0; len]).checksum(), naive(&bytes), "{name}, length {len}");
        }
    }
}

#[test]
fn the_largest_packet_of_all_ones() {
    for len in [64, 65, 95, 96, 97, LONGEST - 2, LONGEST - 1, LONGEST] {
        let bytes = vec![0xff; len];
        for (name, sum) in implementations() {
            assert_eq!(sum(&bytes).checksum(), naive(&bytes), "{name}, length {len}");
        }
    }
}

#[test]
fn a_single_bit_anywhere_counts() {
    for len in [33, 64, 65, 127, 160, 191] {
        for bit in (0..8 * len).step_by(every(211)) {
            let mut bytes = vec![0; len];
            bytes[bit / 8] = 1 << (bit % 8);
            for (name, sum) in implementations() {
                assert_eq!(sum(&bytes).checksum(), naive(&bytes), "{name}, length {len}, bit {bit}");
            }
        }
    }
}

#[test]
fn every_cut_into_two_pieces() {
    let data = noise(97, 3);
    for cut in 0..=data.len() {
        let mut pieces = Pieces::default();
        pieces.push(&data[..cut]);
        pieces.push(&data[cut..]);
        assert_eq!(pieces.sum().checksum(), naive(&data), "cut at {cut}");
    }
}

#[test]
fn numbers_sum_as_their_wire_bytes() {
    assert_eq!(Sum::of_u16(0x1234), Sum::of(&[0x12, 0x34]));
    assert_eq!(Sum::of_u32(0x1234_5678), Sum::of(&[0x12, 0x34, 0x56, 0x78]));
}

#[test]
fn zero_is_mangled_for_transports_only() {
    let sum = Sum::of(&[0xff, 0xff]);
    assert_eq!(sum.checksum(), [0, 0]);
    assert_eq!(sum.transport_checksum(), [0xff, 0xff]);
}

#[test]
fn sums_near_overflow_keep_their_carry() {
    let big = Sum(u64::MAX);
    assert_eq!(big.plus(Sum(1)).folded(), 1);
    assert_eq!(big.plus(big).folded(), 0xffff);
}

#[test]
fn a_real_packet_verifies() {
    // A datagram made by hand: 192.168.0.1:53 → 192.168.0.199:1024, UDP, payload "abc".
    let mut datagram = vec![0x00, 0x35, 0x04, 0x00, 0x00, 0x0b, 0, 0, b'a', b'b', b'c'];
    let addresses = [192, 168, 0, 1, 192, 168, 0, 199];
    let pseudo = Sum::pseudo_header(&addresses, 17, datagram.len() as u32);
    let checksum = pseudo.plus(Sum::of(&datagram)).transport_checksum();
    datagram[6..8].copy_from_slice(&checksum);
    assert!(pseudo.plus(Sum::of(&datagram)).is_valid());
    datagram[10] ^= 1;
    assert!(!pseudo.plus(Sum::of(&datagram)).is_valid());
}

proptest! {
    #[test]
    fn long_data_sum_alike_in_every_way(seed: u32, len in 0..200_000 / every(200), start in 0usize..64) {
        let data = noise(start + len, seed);
        let expected = naive(&data[start..]);
        for (name, sum) in implementations() {
            prop_assert_eq!(sum(&data[start..]).checksum(), expected, "{}", name);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "random bytes take long to make, and nothing of this is unsafe")]
    fn any_cut_gives_the_same_sum(
        data in prop::collection::vec(any::<u8>(), 0..2000),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut at: Vec<usize> = cuts.iter().map(|i| i.index(data.len() + 1)).collect();
        at.extend([0, data.len()]);
        at.sort_unstable();
        let mut pieces = Pieces::default();
        for pair in at.windows(2) {
            pieces.push(&data[pair[0]..pair[1]]);
        }
        prop_assert_eq!(pieces.sum().checksum(), naive(&data));
    }

    #[test]
    #[cfg_attr(miri, ignore = "random bytes take long to make, and nothing of this is unsafe")]
    fn data_with_its_checksum_is_valid(mut data in prop::collection::vec(any::<u8>(), 2..300)) {
        data[0] = 0;
        data[1] = 0;
        let checksum = Sum::of(&data).checksum();
        data[..2].copy_from_slice(&checksum);
        // All-zero data has the sum zero, whose complement is valid as well.
        prop_assert!(Sum::of(&data).is_valid());
    }
}
