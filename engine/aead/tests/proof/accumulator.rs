//! Poly1305 where its arithmetic is at its edges. Random messages meet a wrong last carry or a wrong final subtraction
//! about once in 2^44 or 2^126 times. So the sum itself is steered: the ciphertext of a message is chosen to give the
//! sum before the final reduction a certain value modulo 2^130 − 5. That value is near 0, near the modulus, or at the
//! ends of limbs of 26, 32, 44 and 64 bits. Whoever knows the key can do that: the key stream turns the chosen
//! ciphertext into a plaintext.
//!
//! The expected tags come from big integers, and the oracle agrees with them.

use std::sync::LazyLock;

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use num_bigint::BigUint;
use ringfort_aead::{Message, SEGMENTS_MAX, Suite, TAG_LEN};

use crate::oracle::{KEY, Oracle, Repeatable};
use crate::subject::Subject;

/// 2^130 − 5 (RFC 8439, section 2.5).
static P: LazyLock<BigUint> = LazyLock::new(|| power_of_two(130) - 5u8);

fn power_of_two(exponent: u32) -> BigUint {
    BigUint::from(1u8) << exponent
}

fn le(bytes: &[u8]) -> BigUint {
    BigUint::from_bytes_le(bytes)
}

fn le_16(number: &BigUint) -> [u8; 16] {
    let mut bytes = number.to_bytes_le();
    bytes.resize(bytes.len().max(16), 0);
    bytes[..16].try_into().expect("16 bytes")
}

/// What one counter has in store for its message: RFC 8439, sections 2.6 and 2.8.
struct OneTime {
    r: BigUint,
    s: BigUint,
    keystream: Vec<u8>,
}

impl OneTime {
    fn new(counter: u64, len: usize) -> Self {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&counter.to_le_bytes());
        let mut stream = vec![0; 64 + len];
        ChaCha20::new(&KEY.into(), &nonce.into()).apply_keystream(&mut stream);
        let mut r: [u8; 16] = stream[..16].try_into().expect("16 bytes");
        for (index, byte) in r.iter_mut().enumerate() {
            *byte &= match index {
                3 | 7 | 11 | 15 => 0x0f,
                4 | 8 | 12 => 0xfc,
                _ => 0xff,
            };
        }
        Self { r: le(&r), s: le(&stream[16..32]), keystream: stream.split_off(64) }
    }
}

/// The numbers that Poly1305 adds up for a ciphertext without associated data: its blocks, and the lengths.
fn blocks(ciphertext: &[u8]) -> Vec<BigUint> {
    let lengths = BigUint::from(ciphertext.len()) << 64u32;
    let padded = ciphertext.chunks(16).map(le);
    padded.chain([lengths]).map(|block| block + power_of_two(128)).collect()
}

/// The sum modulo P before `s` is added, by the schoolbook.
fn sum(r: &BigUint, ciphertext: &[u8]) -> BigUint {
    blocks(ciphertext).into_iter().fold(BigUint::ZERO, |sum, block| (sum + block) * r % &*P)
}

/// Changes one full block of `ciphertext` such that the sum becomes `target`. The block that would be needed has 130
/// bits, and there are 128 with a fixed bit above, so one attempt in four succeeds.
fn steer(one_time: &OneTime, ciphertext: &mut [u8], target: &BigUint, rng: &mut Repeatable) -> bool {
    let r = &one_time.r;
    let inverse = r.modinv(&P).expect("r is not 0, and P is a prime");
    let (count, full) = (ciphertext.len().div_ceil(16) + 1, ciphertext.len() / 16);
    for _ in 0..40 {
        let at = rng.below(full);
        let block = &mut ciphertext[at * 16..][..16];
        rng.fill(block);
        let now = le(block) + power_of_two(128);
        let missing = (target + &*P - sum(r, ciphertext)) % &*P;
        // The block's factor in the sum is r to the number of blocks from it on.
        let needed = (now + missing * inverse.modpow(&BigUint::from(count - at), &P)) % &*P;
        if needed >= power_of_two(128) && needed < power_of_two(129) {
            ciphertext[at * 16..][..16].copy_from_slice(&le_16(&(needed - power_of_two(128))));
            assert_eq!(sum(r, ciphertext), *target);
            return true;
        }
    }
    false
}

/// Sums at which some implementation of the reduction has an edge.
fn edges(rng: &mut Repeatable) -> Vec<BigUint> {
    let p = &*P;
    let mut edges: Vec<BigUint> = (0u32..12).flat_map(|i| [BigUint::from(i), p - 1u8 - i]).collect();
    for exponent in 1..130 {
        let power = power_of_two(exponent);
        edges.extend([&power - 1u8, power.clone(), &power + 1u8, p - &power]);
    }
    // The limbs below bit `bits` are all ones or all zeros except for a few bits, so a late carry runs through them.
    for bits in [26, 32, 44, 52, 64, 78, 88, 96, 104, 128] {
        let high = le(&rng.bytes(17)) << bits;
        for little in 0u32..48 {
            edges.extend([&high + little, &high + power_of_two(bits) - 1u8 - little]);
        }
    }
    edges.into_iter().map(|edge| edge % p).collect()
}

/// A sum that, with `s` added, fills 32, 64, 96 or 128 bits to the brim, or is one too much or too little for that.
fn brim(s: &BigUint, rng: &mut Repeatable) -> BigUint {
    let bits = 32 * (1 + rng.below(4)) as u32;
    let fill = power_of_two(bits) - s % power_of_two(bits);
    ((le(&rng.bytes(17)) << bits) + fill + [0u8, 1, 2][rng.below(3)] + &*P - 1u8) % &*P
}

/// A message whose tag is known.
struct Case {
    counter: u64,
    text: Vec<u8>,
    sealed: Vec<u8>,
}

impl Case {
    fn new(counter: u64, one_time: &OneTime, ciphertext: &[u8]) -> Self {
        let tag = le_16(&(sum(&one_time.r, ciphertext) + &one_time.s));
        let text = ciphertext.iter().zip(&one_time.keystream).map(|(cipher, key)| cipher ^ key).collect();
        let case = Self { counter, text, sealed: [ciphertext, &tag].concat() };
        assert_eq!(Oracle::new(Suite::ChaCha20Poly1305, &KEY).sealed(counter, &case.text), case.sealed);
        case
    }
}

/// Seals and opens the cases in batches of `count`.
fn check(subject: Subject, cases: &[Case], count: usize) {
    let (seal, open) = (subject.seal_key(&KEY), subject.open_key(&KEY));
    for cases in cases.chunks(count) {
        let mut bodies: Vec<Vec<u8>> = cases.iter().map(|case| [&case.text[..], &[0; TAG_LEN]].concat()).collect();
        seal.seal_batch(&mut batch(&mut bodies, cases)).expect("possible");
        for (place, (body, case)) in bodies.iter().zip(cases).enumerate() {
            assert_eq!(*body, case.sealed, "{subject}: message {place} of {}", cases.len());
        }
        let verdicts = open.open_batch(&mut batch(&mut bodies, cases)).expect("possible");
        assert!(verdicts.all_passed(), "{subject}: {verdicts:?}");
    }
}

fn batch<'a>(bodies: &'a mut [Vec<u8>], cases: &[Case]) -> Vec<Message<'a>> {
    let messages = bodies.iter_mut().zip(cases);
    messages.map(|(body, case)| Message::of_body(case.counter, body).expect("it has a tag")).collect()
}

/// Counts that a kernel across messages may treat apart, and those between.
const COUNTS: [usize; 12] = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 33, SEGMENTS_MAX];

/// Messages of `len` bytes whose sums are every `step`th edge, from another place on for each `round`, and some brims.
fn steered(len: usize, step: usize, round: usize) -> Vec<Case> {
    let mut rng = Repeatable((len + round) as u64);
    let edges = edges(&mut rng);
    let chosen = edges.iter().skip(round % step).step_by(step).map(Some).chain([None; 40]);
    let mut cases = Vec::new();
    for edge in chosen {
        let counter = rng.next();
        let one_time = OneTime::new(counter, len);
        let target = edge.cloned().unwrap_or_else(|| brim(&one_time.s, &mut rng));
        let mut ciphertext = rng.bytes(len);
        if steer(&one_time, &mut ciphertext, &target, &mut rng) {
            cases.push(Case::new(counter, &one_time, &ciphertext));
        }
    }
    cases
}

/// Every `step`th edge with messages of `len` bytes in batches of `count`; returns how many there were.
pub fn check_edges(subjects: &[Subject], count: usize, len: usize, step: usize) -> usize {
    let cases = steered(len, step, count);
    assert!(cases.len() > 20, "only {} sums of {len} bytes were steered", cases.len());
    for subject in subjects {
        check(*subject, &cases, count);
    }
    cases.len()
}

#[test]
fn sums_at_the_edges() {
    let subjects = Subject::of(Suite::ChaCha20Poly1305);
    let mut total = 0;
    for count in COUNTS {
        // One and a half blocks, some, enough for several steps of a wide kernel, those of a full packet, which take
        // the schoolbook longer.
        for (len, step) in [(24, 5), (100, 5), (272, 5), (1420, 25)] {
            total += check_edges(&subjects, count, len, step);
        }
    }
    println!("{total} messages with steered sums");
}

/// Of many counters those whose `r` has the largest and the smallest limbs, with ciphertexts of ones and of zeros:
/// products and sums between carries are then as large as they get.
#[test]
fn the_largest_and_the_smallest_limbs() {
    let mut counters: Vec<(BigUint, u64)> = (0..20_000).map(|counter| (OneTime::new(counter, 0).r, counter)).collect();
    let mut extreme = Vec::new();
    // Of radix 2^26, 2^44 and 2^64: the limb's first bit and its number of bits.
    for (first, bits) in
        [(0, 26), (26, 26), (52, 26), (78, 26), (104, 20), (0, 44), (44, 44), (88, 36), (0, 60), (64, 60)]
    {
        counters.sort_by_key(|(r, _)| (r >> first) % power_of_two(bits));
        extreme.extend(counters[..8].iter().chain(&counters[counters.len() - 8..]).map(|(_, counter)| *counter));
    }
    for len in [0, 1, 16, 63, 64, 255, 256, 1000, 1420] {
        for fill in [0, 0xff] {
            let cases: Vec<Case> = extreme
                .iter()
                .map(|&counter| Case::new(counter, &OneTime::new(counter, len), &vec![fill; len]))
                .collect();
            for subject in Subject::of(Suite::ChaCha20Poly1305) {
                for count in COUNTS {
                    check(subject, &cases, count);
                }
            }
        }
    }
}
