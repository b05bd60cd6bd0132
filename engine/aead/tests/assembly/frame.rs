//! What is where. `src/train/avx2/pass.rs` has the same layout as Rust types, and asserts each offset.

/// Where in the initial state a row is: a state word of all eight blocks.
pub fn row(register: &str, word: usize) -> String {
    at(register, 32 * word)
}

/// A lane: where its block of text comes from, and where the result goes.
pub const LANE: usize = 16;
pub const LANE_SOURCE: usize = 0;
pub const LANE_TARGET: usize = 8;

/// A segment: a place in two texts, the two hashes that they go to, how many double rounds have two blocks of each
/// beside them, and how many have one.
pub const SEGMENT: usize = 48;
pub const SEGMENT_TEXTS: [usize; 2] = [0, 8];
pub const SEGMENT_HASHES: [usize; 2] = [16, 24];
pub const SEGMENT_TWOS: usize = 32;
pub const SEGMENT_ONES: usize = 40;

/// A hash: three words of the sum, then three of the key.
pub const HASH_SUM: usize = 0;
pub const HASH_KEY: usize = 24;

// The stack. What is used in every double round has a short offset.
/// The keys of the two hashes: three words each.
pub const KEYS: [usize; 2] = [0, 24];
/// The shuffles that rotate by 16 and by 8 bits.
pub const ROTATE_16: usize = 64;
pub const ROTATE_8: usize = 96;
/// There are 15 registers and a temporary for 16 rows: a `c` and, for half a round, an `a` are here.
pub const SPILLED_C: usize = 128;
pub const SPILLED_A: usize = 160;
/// The arguments that are needed later, and the caller's stack.
pub const STATE: usize = 192;
pub const LANES: usize = 200;
pub const SEGMENTS_END: usize = 208;
pub const PLAIN: usize = 216;
pub const CALLER: usize = 224;
pub const FRAME: usize = 256;

/// Eight bytes or a whole register in memory; the assembler sees which.
pub fn at(register: &str, offset: usize) -> String {
    format!("[{register} + {offset}]")
}

pub fn stack(offset: usize) -> String {
    at("rsp", offset)
}
