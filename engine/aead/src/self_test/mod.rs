//! What a provider must show before it carries traffic.

use crate::cipher::{BatchCipher, OneShot};
use crate::message::with_train;
use crate::{Geometry, HEADER_LEN, KEY_LEN, OnFailure, Provider, SEGMENTS_MAX, Source, Suite, TAG_LEN, Verdicts};

mod mixed;
#[cfg(test)]
mod tests;
mod vectors;

/// A provider computed something wrong: a broken build, or a broken CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the AEAD provider {provider} failed its self-test in {suite}: {check}")]
pub struct SelfTestError {
    /// Which provider.
    pub provider: Provider,
    /// In which suite.
    pub suite: Suite,
    /// Which check, in words.
    pub check: &'static str,
}

/// Segments' text length, the last one's, and count: one block and less, several, odd ends, a full train, full packets,
/// and jumbo frames, which the kernels open in a way of its own and whose blocks have numbers of two bytes.
const TRAINS: [(usize, usize, usize); 8] = [
    (0, 0, 1),
    (16, 1, 3),
    (64, 64, 8),
    (257, 63, 9),
    (130, 129, SEGMENTS_MAX),
    (1420, 1420, 1),
    (1420, 700, 5),
    (4200, 4200, 2),
];

/// The counters have a bit in every byte, so a nonce in the wrong byte order shows.
const FIRST_COUNTER: u64 = 0x0102_0408_1020_40fe;

pub(crate) fn run(provider: Provider, suite: Suite) -> Result<(), SelfTestError> {
    let checked = vectors::of(suite)
        .iter()
        .filter_map(|vector| Some((vector, provider.one_shot(suite, &vector.key)?)))
        .try_for_each(|(vector, cipher)| check_vector(cipher.as_ref(), vector))
        .and_then(|()| {
            let key: [u8; KEY_LEN] = std::array::from_fn(|i| i as u8 ^ 0xa5);
            let (cipher, oracle) = (provider.cipher(suite, &key), provider.oracle().cipher(suite, &key));
            TRAINS.iter().try_for_each(|&(text, last, count)| {
                let geometry = Geometry::new(text + HEADER_LEN + TAG_LEN, last + HEADER_LEN + TAG_LEN, count)
                    .expect("the table holds possible trains");
                check_train(cipher.as_ref(), oracle.as_ref(), geometry, provider.on_failure())
            })?;
            mixed::check(cipher.as_ref(), oracle.as_ref(), provider.on_failure())
        });
    checked.map_err(|check| SelfTestError { provider, suite, check })
}

fn check_vector(cipher: &dyn OneShot, vector: &vectors::Vector) -> Result<(), &'static str> {
    let mut text = vector.plaintext.to_vec();
    let tag = cipher.seal_with(vector.nonce, vector.aad, &mut text);
    ensure(text == vector.ciphertext, "known answer: ciphertext")?;
    ensure(tag == vector.tag, "known answer: tag")?;
    cipher.open_with(vector.nonce, vector.aad, &mut text, &tag).map_err(|_| "known answer: a good tag was refused")?;
    ensure(text == vector.plaintext, "known answer: plaintext")
}

/// Seals as the oracle does, in place and from sources; opens what the oracle sealed; finds exactly the forged
/// segments.
fn check_train(
    cipher: &dyn BatchCipher,
    oracle: &dyn BatchCipher,
    geometry: Geometry,
    on_failure: OnFailure,
) -> Result<(), &'static str> {
    let plain: Vec<u8> = (0..geometry.total_len()).map(|i| (i * 7 + i / 251) as u8).collect();
    let mut expected = plain.clone();
    seal(oracle, &mut expected, geometry);

    let mut sealed = plain.clone();
    seal(cipher, &mut sealed, geometry);
    ensure(sealed == expected, "a train sealed in place differs from another provider's")?;

    let sources: Vec<Source<'_>> = plain.chunks(geometry.stride()).map(split_text).collect();
    // Headers as they will be, everything else to be overwritten.
    let mut sealed = plain.clone();
    for segment in sealed.chunks_mut(geometry.stride()) {
        segment[HEADER_LEN..].fill(0xee);
    }
    with_train(&mut sealed, geometry, FIRST_COUNTER.., |messages| cipher.seal_batch_from(&sources, messages));
    ensure(sealed == expected, "a train sealed from sources differs from another provider's")?;

    let counters: Vec<u64> = (FIRST_COUNTER..).take(geometry.count()).collect();
    let mut opened = expected.clone();
    let verdicts = open(cipher, &counters, &mut opened, geometry);
    ensure(verdicts.all_passed(), "a good segment was refused")?;
    ensure(same_texts(&opened, &plain, geometry), "an opened train is not what was sealed")?;

    check_forgeries(cipher, geometry, on_failure, &counters, &expected, &plain)
}

/// Every third segment is forged, in turn in its text, its tag and its counter.
fn check_forgeries(
    cipher: &dyn BatchCipher,
    geometry: Geometry,
    on_failure: OnFailure,
    counters: &[u64],
    sealed: &[u8],
    plain: &[u8],
) -> Result<(), &'static str> {
    let stride = geometry.stride();
    let forged = |segment: usize| segment % 3 == geometry.count() % 3;
    let (mut counters, mut buf) = (counters.to_vec(), sealed.to_vec());
    for (index, segment) in buf.chunks_mut(stride).enumerate().filter(|(index, _)| forged(*index)) {
        match index / 3 % 3 {
            0 => *segment.last_mut().expect("a segment has a tag") ^= 0x80,
            1 => segment[HEADER_LEN] ^= 1,
            _ => counters[index] ^= 1 << 40,
        }
    }
    let offered = buf.clone();
    let verdicts = open(cipher, &counters, &mut buf, geometry);
    for (index, segment) in buf.chunks(stride).enumerate() {
        let range = index * stride..index * stride + segment.len();
        ensure(verdicts.passed(index) != forged(index), "the verdicts are not those of the segments")?;
        let texts = (text(segment), text(&offered[range.clone()]), text(&plain[range]));
        let (now, before, good) = texts;
        let is_right = if forged(index) { is_kept(on_failure, now, before) } else { now == good };
        ensure(is_right, "a forged segment was not kept from sight")?;
    }
    Ok(())
}

fn seal(cipher: &dyn BatchCipher, train: &mut [u8], geometry: Geometry) {
    with_train(train, geometry, FIRST_COUNTER.., |messages| cipher.seal_batch(messages));
}

fn open(cipher: &dyn BatchCipher, counters: &[u64], train: &mut [u8], geometry: Geometry) -> Verdicts {
    with_train(train, geometry, counters.iter().copied(), |messages| cipher.open_batch(messages))
}

/// Whether what is left of a forged text is what the provider says.
fn is_kept(on_failure: OnFailure, now: &[u8], before: &[u8]) -> bool {
    match on_failure {
        OnFailure::Unchanged => now == before,
        OnFailure::Zeroed => now.iter().all(|byte| *byte == 0),
    }
}

fn ensure(holds: bool, check: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(check) }
}

/// The text of a segment, without header and tag.
fn text(segment: &[u8]) -> &[u8] {
    &segment[HEADER_LEN..segment.len() - TAG_LEN]
}

fn split_text(segment: &[u8]) -> Source<'_> {
    let (head, body) = text(segment).split_at(text(segment).len() / 3);
    Source { head, body }
}

fn same_texts(a: &[u8], b: &[u8], geometry: Geometry) -> bool {
    let (a, b) = (a.chunks(geometry.stride()), b.chunks(geometry.stride()));
    a.zip(b).all(|(a, b)| text(a) == text(b))
}
