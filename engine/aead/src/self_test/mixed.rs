//! One batch of messages that differ in length and are in no order, as several flows make them.

use super::{FIRST_COUNTER, ensure, is_kept};
use crate::cipher::BatchCipher;
use crate::{Message, OnFailure, Source, TAG_LEN};

/// Their texts: long ones behind short ones, so a provider that sorts them does.
const LENS: [usize; 10] = [33, 1420, 0, 576, 16, 1419, 130, 1420, 64, 257];

/// Seals as the oracle does, in place and from sources; opens what the oracle sealed, except what is forged.
pub(super) fn check(
    cipher: &dyn BatchCipher,
    oracle: &dyn BatchCipher,
    on_failure: OnFailure,
) -> Result<(), &'static str> {
    let byte = |message: usize, at: usize| (message * 41 + at * 7 + at / 251) as u8;
    let body = |(message, len): (usize, &usize)| (0..len + TAG_LEN).map(|at| byte(message, at)).collect();
    let plain: Vec<Vec<u8>> = LENS.iter().enumerate().map(body).collect();
    let mut expected = plain.clone();
    oracle.seal_batch(&mut batch(&mut expected));

    let mut sealed = plain.clone();
    cipher.seal_batch(&mut batch(&mut sealed));
    ensure(sealed == expected, "messages of several lengths sealed in place differ from another provider's")?;

    let sources: Vec<_> = plain
        .iter()
        .map(|body| {
            let (head, body) = text(body).split_at(text(body).len() / 3);
            Source { head, body }
        })
        .collect();
    let mut sealed: Vec<Vec<u8>> = plain.iter().map(|body| vec![0xee; body.len()]).collect();
    cipher.seal_batch_from(&sources, &mut batch(&mut sealed));
    ensure(sealed == expected, "messages of several lengths sealed from sources differ from another provider's")?;

    let is_forged = |message: usize| message.is_multiple_of(3);
    let mut offered = expected;
    for (_, body) in offered.iter_mut().enumerate().filter(|(message, _)| is_forged(*message)) {
        *body.last_mut().expect("a message has a tag") ^= 0x80;
    }
    let mut opened = offered.clone();
    let verdicts = cipher.open_batch(&mut batch(&mut opened));
    for (message, body) in opened.iter().enumerate() {
        ensure(verdicts.passed(message) != is_forged(message), "the verdicts are not those of the messages")?;
        let (now, before, good) = (text(body), text(&offered[message]), text(&plain[message]));
        let is_right = if is_forged(message) { is_kept(on_failure, now, before) } else { now == good };
        ensure(is_right, "an opened message is not what was sealed, or a forged one was not kept from sight")?;
    }
    Ok(())
}

/// Every other counter, backwards.
fn batch(bodies: &mut [Vec<u8>]) -> Vec<Message<'_>> {
    let counters = (0..=FIRST_COUNTER).rev().step_by(2);
    let messages = bodies.iter_mut().zip(counters);
    messages.map(|(body, counter)| Message::of_body(counter, body).expect("it has a tag")).collect()
}

/// A message without its tag.
fn text(body: &[u8]) -> &[u8] {
    &body[..body.len() - TAG_LEN]
}
