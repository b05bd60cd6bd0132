//! The kernel from inside: passes against another implementation, batches of every kind against another provider, and
//! what is left in memory.

use std::arch::asm;
use std::cell::Cell;
use std::mem::ManuallyDrop;

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use proptest::prelude::*;

use super::Avx2;
use super::cipher::Cipher;
use super::hash::{Hash, POLY_BLOCK};
use super::pass::{self, BLOCK, Inputs, LANES, Lane, Piece, Segments, State};
use super::scratch::{Jobs, Kept, Scratch};
use crate::cipher::BatchCipher;
use crate::train::order::Order;
use crate::{KEY_LEN, Message, Provider, Source, Suite, TAG_LEN};

const KEY: [u8; KEY_LEN] = *b"a key for tests, of 32 bytes ...";

/// `None` where the CPU lacks the instructions; there, `coverage` of the proof says so.
fn avx2() -> Option<Avx2> {
    let detected = Avx2::detect();
    if detected.is_none() {
        println!("left out: this CPU lacks {}", super::missing_features().join(", "));
    }
    detected
}

fn words(key: &[u8; KEY_LEN]) -> [u32; 8] {
    std::array::from_fn(|i| u32::from_le_bytes(key[4 * i..][..4].try_into().unwrap()))
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

fn cells(bytes: &mut [u8]) -> &[Cell<u8>] {
    Cell::from_mut(bytes).as_slice_of_cells()
}

/// A block of key stream by the crate `chacha20`.
fn key_stream(counter: u64, number: u32) -> [u8; BLOCK] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    let mut cipher = ChaCha20::new(&KEY.into(), &nonce.into());
    cipher.seek(u64::from(number) * BLOCK as u64);
    let mut stream = [0; BLOCK];
    cipher.apply_keystream(&mut stream);
    stream
}

/// For every number of blocks that find room beside a pass, in up to three segments: lanes of any counters and numbers,
/// in place, out of place and without a text, and hashes of two messages.
#[test]
fn passes_agree() {
    let Some(avx2) = avx2() else { return };
    let mut seed = 1;
    for split in 0..=20usize.pow(2) {
        let pieces = [split % 20, split / 20 % 20, split % 3];
        if pieces.iter().map(|blocks| blocks.div_ceil(2)).sum::<usize>() > 10 {
            continue;
        }
        one_pass(avx2, &pieces, &mut seed);
    }
    for blocks in 0..=20 {
        one_pass(avx2, &[blocks], &mut seed);
    }
}

fn one_pass(avx2: Avx2, pieces: &[usize], seed: &mut u64) {
    let counters: [u64; LANES] = std::array::from_fn(|_| random(seed));
    let numbers: [u32; LANES] = std::array::from_fn(|_| random(seed) as u32 >> 4);
    let source: [[u8; BLOCK]; LANES] = std::array::from_fn(|_| std::array::from_fn(|_| random(seed) as u8));
    let mut target = source;
    target[1] = [0xee; BLOCK];
    target[2] = [0xee; BLOCK];
    let mut texts = [0; 2].map(|_| (0..20 * POLY_BLOCK).map(|_| random(seed) as u8).collect::<Vec<u8>>());
    // Two hashes for each segment, which are in the middle of their messages.
    let hashes: Vec<[Cell<Hash>; 2]> = pieces.iter().map(|_| [0; 2].map(|_| Cell::new(any_hash(seed)))).collect();
    let mut expected: Vec<[Hash; 2]> = hashes.iter().map(|pair| pair.each_ref().map(Cell::get)).collect();

    let target_cells: Vec<&[Cell<u8>]> = target.iter_mut().map(|block| cells(block)).collect();
    let texts = texts.each_mut().map(|text| cells(text));
    let lanes: [Lane<'_>; LANES] = std::array::from_fn(|lane| {
        let target = target_cells[lane].first_chunk().unwrap();
        match lane {
            1 => Lane::from(&source[1], target),
            2 => Lane::key_stream(target),
            _ => Lane::in_place(target),
        }
    });
    let mut segments = Segments::new();
    for ((blocks, pair), expected) in
        pieces.iter().zip(&hashes).zip(&mut expected).filter(|((blocks, _), _)| **blocks > 0)
    {
        let piece = |side: usize| Piece { hash: &pair[side], blocks: &texts[side].as_chunks().0[..*blocks] };
        segments.push([piece(0), piece(1)]);
        for (hash, text) in expected.iter_mut().zip(texts) {
            text.as_chunks().0[..*blocks].iter().for_each(|block| hash.add(block));
        }
    }
    // SAFETY: the CPU has what this is compiled for, of which `avx2` is the proof.
    let mut state = unsafe { state_of_key() };
    // SAFETY: as above.
    let mut inputs = unsafe { inputs() };
    for lane in 0..LANES {
        // SAFETY: as above.
        unsafe { inputs.set(lane, counters[lane], numbers[lane] as usize) };
    }
    // SAFETY: as above.
    unsafe { state.set_inputs(inputs) };
    pass::make(avx2, &state, &lanes, &mut segments);

    for lane in 0..LANES {
        let mut block = key_stream(counters[lane], numbers[lane]);
        if lane != 2 {
            block.iter_mut().zip(&source[lane]).for_each(|(byte, text)| *byte ^= text);
        }
        let made: Vec<u8> = target_cells[lane].iter().map(Cell::get).collect();
        assert_eq!(made, block, "lane {lane}, pieces {pieces:?}");
    }
    for (pair, expected) in hashes.iter().zip(&expected) {
        assert_eq!(pair.each_ref().map(|hash| hash.get().sum), expected.map(|hash| hash.sum), "pieces {pieces:?}");
    }
}

#[target_feature(enable = "avx2,bmi2")]
fn state_of_key() -> State {
    State::new(&words(&KEY))
}

#[target_feature(enable = "avx2,bmi2")]
fn inputs() -> Inputs {
    Inputs::new()
}

/// A hash with a sum as it is between blocks: its highest word is at most 4.
fn any_hash(seed: &mut u64) -> Hash {
    let mut hash = Hash::new(&std::array::from_fn(|_| random(seed)));
    hash.sum = [random(seed) | random(seed), random(seed) | random(seed), random(seed) % 5];
    hash
}

/// Lengths around whole blocks, short and long ones, those whose key stream is not kept, alike or mixed.
fn lens() -> impl Strategy<Value = Vec<usize>> {
    let any = prop_oneof![0usize..=130, 180usize..=270, 0usize..=1500];
    let alike = (any.clone(), 1usize..=64).prop_map(|(len, count)| vec![len; count]);
    let ragged = (any.clone(), any.clone(), 1usize..=63).prop_map(|(len, last, count)| {
        let mut lens = vec![len; count];
        lens.push(last);
        lens
    });
    let long = prop::collection::vec(prop_oneof![0usize..=130, 1900usize..=2200, 0usize..=9000], 1..=12);
    prop_oneof![alike, ragged, prop::collection::vec(any, 1..=64), long]
}

fn messages<'a>(bodies: &'a mut [Vec<u8>], counters: &[u64]) -> Vec<Message<'a>> {
    let message = |(body, counter): (&'a mut Vec<u8>, &u64)| Message::of_body(*counter, body).unwrap();
    bodies.iter_mut().zip(counters).map(message).collect()
}

/// Texts of these lengths, and room for their tags.
fn bodies(lens: &[usize], seed: usize) -> Vec<Vec<u8>> {
    let byte = |i: usize, j: usize| (i * 41 + j * 7 + j / 256 * 3 + seed) as u8;
    let body = |(i, len): (usize, &usize)| (0..len + TAG_LEN).map(|j| byte(i, j)).collect();
    lens.iter().enumerate().map(body).collect()
}

proptest! {
    #[test]
    fn batches_agree(
        lens in lens(), key in any::<[u8; KEY_LEN]>(),
        counters in prop::collection::vec(any::<u64>(), 64), forged in any::<u64>(),
        heads in prop::collection::vec(0usize..300, 64), short in prop::collection::vec(0usize..40, 64),
    ) {
        let Some(avx2) = avx2() else { return Ok(()) };
        let train = Cipher::new(avx2, &key);
        let oracle = Provider::RustCrypto.cipher(Suite::ChaCha20Poly1305, &key);
        let plain = bodies(&lens, 1);
        let (mut sealed, mut expected) = (plain.clone(), plain.clone());
        train.seal_batch(&mut messages(&mut sealed, &counters));
        oracle.seal_batch(&mut messages(&mut expected, &counters));
        prop_assert!(sealed == expected, "in place");

        let pieces: Vec<Source<'_>> = plain.iter().zip(heads.iter().zip(&short)).map(|(body, (head, short))| {
            let text = &body[..(body.len() - TAG_LEN).saturating_sub(*short)];
            let (head, body) = text.split_at(text.len().min(*head));
            Source { head, body }
        }).collect();
        let (mut sealed, mut padded) = (bodies(&lens, 2), bodies(&lens, 3));
        train.seal_batch_from(&pieces, &mut messages(&mut sealed, &counters));
        oracle.seal_batch_from(&pieces, &mut messages(&mut padded, &counters));
        prop_assert!(sealed == padded, "out of place");

        // Some with a bit that is not theirs.
        for (index, body) in expected.iter_mut().enumerate().filter(|(index, _)| forged >> index & 1 == 1) {
            let at = heads[index] % body.len();
            body[at] ^= 1 << (index % 8);
        }
        let arrived = expected.clone();
        let verdicts = train.open_batch(&mut messages(&mut expected, &counters));
        for (index, body) in expected.iter().enumerate() {
            let is_forged = forged >> index & 1 == 1;
            prop_assert_eq!(verdicts.passed(index), !is_forged);
            let text = ..body.len() - TAG_LEN;
            let left = if is_forged { &arrived } else { &plain };
            prop_assert!(body[text] == left[index][text]);
        }
    }
}

/// A lone message, and one of which every length of a tail and of a middle has its turn.
#[test]
fn every_length_alone_and_in_twos() {
    let Some(avx2) = avx2() else { return };
    let (train, oracle) = (Cipher::new(avx2, &KEY), Provider::RustCrypto.cipher(Suite::ChaCha20Poly1305, &KEY));
    for len in (0..=2500).chain([4095, 4096, 4097, 9000, 65503]) {
        for count in [1, 2] {
            let (plain, counters) = (bodies(&vec![len; count], len), [1 << 40, 7]);
            let (mut sealed, mut expected) = (plain.clone(), plain.clone());
            train.seal_batch(&mut messages(&mut sealed, &counters));
            oracle.seal_batch(&mut messages(&mut expected, &counters));
            assert!(sealed == expected, "{count} × {len}");
            assert!(train.open_batch(&mut messages(&mut sealed, &counters)).all_passed(), "{count} × {len}");
            let texts = sealed.iter().zip(&plain);
            assert!(texts.into_iter().all(|(body, plain)| body[..len] == plain[..len]), "{count} × {len}");
        }
    }
}

/// What secrets lay in places that live on after their drop.
#[allow(unsafe_code)]
fn left_behind<T, const PLACES: usize>(value: &mut ManuallyDrop<T>, places: [(*const u8, usize); PLACES]) -> Vec<u8> {
    let read = |(place, len): (*const u8, usize)| {
        // SAFETY: the memory is that of `value`, which lives on when its content was dropped; bytes are bytes.
        (0..len).map(move |at| unsafe { place.wrapping_add(at).read_volatile() })
    };
    assert!(places.into_iter().all(|place| read(place).any(|byte| byte != 0)), "there is something to wipe");
    // SAFETY: dropped once, here, and not used after that.
    unsafe { ManuallyDrop::drop(value) };
    places.into_iter().flat_map(read).collect()
}

fn place<T>(value: &T) -> (*const u8, usize) {
    (std::ptr::from_ref(value).cast(), size_of::<T>())
}

#[test]
fn hashes_tails_and_one_time_keys_are_wiped() {
    let mut body = vec![1; 100 + TAG_LEN];
    let mut scratch = ManuallyDrop::new(Scratch::new());
    let mut messages = [Message::of_body(1, &mut body).unwrap()];
    let places = {
        let mut jobs = Jobs::new();
        let order = Order::of(&messages);
        let scratch = scratch.jobs(&mut messages, &order, &mut jobs);
        scratch.keys.as_flattened().iter().for_each(|cell| cell.set(0x5e));
        scratch.dummy.set(Hash::new(&[3; 4]));
        jobs[0].set_key(&scratch.keys[0]);
        jobs[0].take_ciphertext();
        [place(jobs[0].hash), place(&scratch.keys), place(&scratch.dummy), place(jobs[0].tail())]
    };
    let left = left_behind(&mut scratch, places);
    assert!(left.iter().all(|byte| *byte == 0), "{left:x?}");
}

#[test]
fn kept_key_stream_and_the_key_are_wiped() {
    let mut kept = ManuallyDrop::new(Kept::new());
    let places = {
        let blocks = kept.fill(3);
        blocks.as_flattened().iter().for_each(|cell| cell.set(0x5e));
        [place(&blocks[0]), place(&blocks[1]), place(&blocks[2])]
    };
    let left = left_behind(&mut kept, places);
    assert!(left.iter().all(|byte| *byte == 0), "{left:x?}");

    if avx2().is_some() {
        // SAFETY: the CPU has what this is compiled for: it was asked just now.
        let mut state = ManuallyDrop::new(unsafe { state_of_key() });
        let places = [place(&*state)];
        let left = left_behind(&mut state, places);
        assert!(left.iter().all(|byte| *byte == 0), "{left:x?}");
    }
}

/// The assembly is called on a stack of our own, which is looked at afterwards: the rows and the keys of hashes that
/// were there are gone. Everything else on it is no secret: shuffles, pointers, counts, and the caller's registers.
#[test]
#[allow(unsafe_code)]
fn the_assembly_wipes_its_stack() {
    if avx2().is_none() {
        return;
    }
    // The handler of a signal would also run here.
    const LEN: usize = 64 << 10;
    let mut stack = vec![0x5au8; LEN];
    // SAFETY: the CPU has what this is compiled for: it was asked just now.
    let state = unsafe { state_of_key() };
    let mut blocks = [[0u8; BLOCK]; LANES];
    let lanes: Vec<Lane<'_>> =
        blocks.iter_mut().map(|block| Lane::key_stream(cells(block).first_chunk().unwrap())).collect();
    let hashes = [0; 2].map(|_| Cell::new(Hash::new(&[0x0123_4567_89ab_cdef; 4])));
    let mut text = [7; POLY_BLOCK];
    let blocks = cells(&mut text).as_chunks().0;
    let mut segments = Segments::new();
    segments.push([Piece { hash: &hashes[0], blocks }, Piece { hash: &hashes[1], blocks }]);
    let segments = segments.range();
    let top = stack.as_mut_ptr_range().end;
    let top = top.wrapping_sub(top.addr() % 16);
    // SAFETY: the arguments are those of `make`, with nine double rounds beside nothing. The function needs less stack
    // than there is, keeps r12, and has no other effect.
    unsafe {
        asm!(
            "xchg rsp, r12",
            "call {pass}",
            "xchg rsp, r12",
            pass = sym pass::pass,
            inout("r12") top => _,
            in("rdi") &raw const state,
            in("rsi") lanes.as_ptr(),
            in("rdx") segments.start,
            in("rcx") segments.end,
            in("r8") 9,
            clobber_abi("sysv64"),
        );
    }
    let sum = hashes[0].get().sum;
    assert!(sum != [0; 3] && sum == hashes[1].get().sum, "it has run");
    // The frame begins 64 bytes in front of the shuffle that rotates by 16 bits.
    let shuffle = pass::rotation(2).0;
    let frame = stack.windows(32).position(|bytes| bytes == shuffle).expect("the shuffle is on the stack") - 64;
    for secret in [0..64, 128..192] {
        let bytes = &stack[frame..][secret.clone()];
        assert!(bytes.iter().all(|byte| *byte == 0), "{secret:?}: {bytes:x?}");
    }
    let key = hashes[0].get().key;
    let leaks = stack.windows(8).filter(|bytes| key.iter().any(|word| **bytes == word.to_le_bytes()));
    assert_eq!(leaks.count(), 0);
}
