//! Messages of any lengths with gaps between them, some of them forged: sealed as the oracle does, opened to what they
//! were, and of a forgery nothing is seen, changed or passed on to its neighbours.
//!
//! The input, for each message: length of the text (two bytes), bytes before it (one byte), counter (two bytes), and
//! which of its bits is flipped before opening (two bytes; 0 for none, beyond the message for one of the counter's).

use ringfort_aead::{Message, SEGMENTS_MAX, Suite, TAG_LEN};

use crate::Seed;
use crate::aead::{Keys, oracle, pattern};
use crate::input::Input;

/// So that no input takes long.
const TEXT_LEN_MAX: usize = 1500;
const TOTAL_LEN_MAX: usize = 8 << 10;

struct Shape {
    text_len: usize,
    /// Where it begins in the buffer.
    at: usize,
    counter: u64,
    /// The counter that the receiver sees.
    received_counter: u64,
    flipped_bit: Option<usize>,
}

impl Shape {
    fn read(input: &mut Input<'_>, behind: usize) -> Self {
        let text_len = usize::from(input.u16()) % (TEXT_LEN_MAX + 1);
        let at = behind + usize::from(input.byte()) % 80;
        // Both halves of a counter.
        let counter = u64::from(input.u16()) * 0x0001_0000_0001;
        let flip = usize::from(input.u16());
        let bits = (text_len + TAG_LEN) * 8;
        let flipped_bit = (1..=bits).contains(&flip).then(|| flip - 1);
        let received_counter = if flip > bits { counter ^ (1 << ((flip - bits - 1) % 64)) } else { counter };
        Self { text_len, at, counter, received_counter, flipped_bit }
    }

    fn end(&self) -> usize {
        self.at + self.text_len + TAG_LEN
    }

    fn is_forged(&self) -> bool {
        self.flipped_bit.is_some() || self.counter != self.received_counter
    }
}

/// The messages of `buf`, which are disjoint and ascend.
fn messages<'a>(buf: &'a mut [u8], shapes: &[Shape], counter: impl Fn(&Shape) -> u64) -> Vec<Message<'a>> {
    let (mut rest, mut cut) = (buf, 0);
    let message = |shape: &Shape| {
        let (front, behind) = std::mem::take(&mut rest).split_at_mut(shape.end() - cut);
        let body = &mut front[shape.at - cut..];
        (rest, cut) = (behind, shape.end());
        Message::of_body(counter(shape), body).expect("it has a tag")
    };
    shapes.iter().map(message).collect()
}

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (mut shapes, mut behind) = (Vec::new(), 0);
    while !input.is_empty() && shapes.len() < SEGMENTS_MAX {
        let shape = Shape::read(&mut input, behind);
        if shape.end() > TOTAL_LEN_MAX {
            break;
        }
        behind = shape.end();
        shapes.push(shape);
    }
    let plain = pattern(behind + 64);
    for suite in Suite::ALL {
        let mut sealed = plain.clone();
        for shape in &shapes {
            let (text, tag) = sealed[shape.at..shape.end()].split_last_chunk_mut().expect("it has a tag");
            *tag = oracle(suite, shape.counter, text);
        }
        Keys::of(suite).for_each(|keys| check(keys, &shapes, &plain, &sealed));
    }
}

fn check(keys: &Keys, shapes: &[Shape], plain: &[u8], sealed: &[u8]) {
    let mut buf = plain.to_vec();
    keys.seal.seal_batch(&mut messages(&mut buf, shapes, |shape| shape.counter)).expect("possible");
    assert!(buf == sealed, "{}/{} seals", keys.provider, keys.suite);

    for shape in shapes {
        if let Some(bit) = shape.flipped_bit {
            buf[shape.at + bit / 8] ^= 1 << (bit % 8);
        }
    }
    let arrived = buf.clone();
    let mut batch = messages(&mut buf, shapes, |shape| shape.received_counter);
    let verdicts = keys.open.open_batch(&mut batch).expect("possible");
    assert_eq!(verdicts.count(), shapes.len());
    // Where nothing may have changed, `arrived` is what is expected.
    let mut expected = arrived.clone();
    for (shape, passed) in shapes.iter().zip(verdicts.iter()) {
        let text = shape.at..shape.at + shape.text_len;
        assert_eq!(passed, !shape.is_forged(), "{}/{}", keys.provider, keys.suite);
        match passed {
            true => expected[text.clone()].copy_from_slice(&plain[text]),
            false => {
                keys.unseen(&arrived[text.clone()], &buf[text.clone()]);
                expected[text.clone()].copy_from_slice(&buf[text]);
            }
        }
    }
    assert!(buf == expected, "{}/{} opens, and touches nothing else", keys.provider, keys.suite);
}

pub(super) fn seeds() -> Vec<Seed> {
    let batch = |shapes: &[(u16, u8, u16, u16)]| {
        let bytes = |&(len, gap, counter, flip): &(u16, u8, u16, u16)| {
            let ([l0, l1], [c0, c1], [f0, f1]) = (len.to_le_bytes(), counter.to_le_bytes(), flip.to_le_bytes());
            [l0, l1, gap, c0, c1, f0, f1]
        };
        shapes.iter().flat_map(bytes).collect()
    };
    let equal = |len: u16, count: u16| (0..count).map(|i| (len, 0, i, 0)).collect::<Vec<_>>();
    vec![
        Seed::new("nothing", vec![]),
        Seed::new("lone", batch(&[(84, 16, 1, 0)])),
        Seed::new("pair", batch(&[(64, 0, 1, 0), (1420, 16, 2, 0)])),
        Seed::new("equal", batch(&equal(100, 8))),
        Seed::new("many-empty", batch(&equal(0, 64))),
        Seed::new("growing", batch(&(0..32).map(|i| (i * 13, i as u8, i, 0)).collect::<Vec<_>>())),
        Seed::new("counters-in-no-order", batch(&[(50, 1, 9, 0), (50, 1, 0xffff, 0), (50, 1, 0, 0), (50, 1, 9, 0)])),
        Seed::new("forged-text", batch(&[(80, 0, 1, 0), (80, 0, 2, 5), (80, 0, 3, 0)])),
        Seed::new("forged-tag", batch(&[(80, 0, 1, 641), (80, 0, 2, 768), (80, 3, 3, 0)])),
        Seed::new("wrong-counter", batch(&[(80, 0, 1, 800), (80, 0, 2, 0)])),
        Seed::new("all-forged", batch(&(0..9).map(|i| (70, 5, i, 1 + 60 * i)).collect::<Vec<_>>())),
        Seed::new("mixed", batch(&[(64, 7, 3, 0), (1420, 0, 4, 9000), (576, 1, 5, 0), (3, 2, 6, 1), (65, 0, 7, 0)])),
    ]
}
