//! The generator of `src/train/avx2/pass.s`, and the test that the file is what it writes.
//!
//! The file has one function. It makes eight blocks of ChaCha20, one in each 32-bit lane of the vector registers.
//! Between these instructions stand those of Poly1305 for two messages, in scalar registers. Vector and scalar
//! instructions go to different ports of the CPU, so the hash costs next to nothing. A compiler keeps neither the mix
//! nor the registers, so the function is assembly. There are three loops, with 0, 1 or 2 blocks of each message beside
//! a double round, so the text is generated.
//!
//! * `frame`: what is where: arguments, registers, stack;
//! * `chacha20`: the double round, and the end of a pass, where key stream meets text;
//! * `poly1305`: one block of one message;
//! * `program`: the function.
//!
//! After a change: `RINGFORT_WRITE=1 cargo test -p ringfort-aead --test assembly`, and commit the file with it.

mod chacha20;
mod frame;
mod poly1305;
mod program;

/// Where the file is.
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/train/avx2/pass.s");

#[test]
fn the_committed_assembly_is_what_is_generated() {
    let generated = program::text();
    if std::env::var_os("RINGFORT_WRITE").is_some() {
        std::fs::write(PATH, &generated).expect("the file can be written");
    }
    let committed = std::fs::read_to_string(PATH).expect("the file is there");
    let differs = committed.lines().zip(generated.lines()).position(|(old, new)| old != new);
    assert!(
        committed == generated,
        "{PATH} differs from line {:?} on: see the head of this test",
        differs.map(|i| i + 1)
    );
}

/// Two streams of instructions as one: each keeps its order, and they end together.
fn interleaved(a: Vec<String>, b: Vec<String>) -> Vec<String> {
    let (a_len, b_len) = (a.len(), b.len());
    let (mut a, mut b) = (a.into_iter().enumerate().peekable(), b.into_iter().enumerate().peekable());
    let mut both = Vec::with_capacity(a_len + b_len);
    while let (Some((i, _)), Some((j, _))) = (a.peek(), b.peek()) {
        let from = if j * a_len >= i * b_len { &mut a } else { &mut b };
        both.extend(from.next().map(|(_, instruction)| instruction));
    }
    both.extend(a.chain(b).map(|(_, instruction)| instruction));
    both
}

#[test]
fn interleaved_streams_keep_their_order_and_end_together() {
    let stream = |name: &str, count: usize| (0..count).map(|i| format!("{name}{i}")).collect::<Vec<_>>();
    assert_eq!(interleaved(stream("v", 4), stream("s", 2)).join(" "), "v0 s0 v1 v2 s1 v3");
    assert_eq!(interleaved(stream("v", 2), stream("s", 0)).join(" "), "v0 v1");
    assert_eq!(interleaved(stream("v", 1), stream("s", 3)).join(" "), "v0 s0 s1 s2");
}
