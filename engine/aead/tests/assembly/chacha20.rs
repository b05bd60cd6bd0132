//! ChaCha20 of eight blocks (RFC 8439, section 2.3). Registers hold rows: the same state word of all blocks.

use crate::frame::{self, SPILLED_A, SPILLED_C, at, stack};
use crate::interleaved;

// The state as the RFC draws it: rows a, b, c, d of four words.
pub fn a(i: usize) -> String {
    format!("ymm{}", 12 + i)
}

pub fn b(i: usize) -> String {
    format!("ymm{}", 4 + i)
}

pub fn c(i: usize) -> String {
    format!("ymm{i}")
}

pub fn d(i: usize) -> String {
    format!("ymm{}", 8 + i)
}

/// Which `c` is in memory between two double rounds.
pub const C_IN_MEMORY: usize = 2;

/// A quarter round: which `a`, `b`, `c` and `d` it takes.
#[derive(Clone, Copy)]
struct Quarter {
    a: usize,
    b: usize,
    c: usize,
    d: usize,
}

impl Quarter {
    /// Of a column round (0) or a diagonal round (1).
    fn new(column: usize, diagonal: usize) -> Self {
        let shifted = |by| (column + by * diagonal) % 4;
        Self { a: column, b: shifted(1), c: shifted(2), d: shifted(3) }
    }
}

/// Two quarter rounds in lockstep.
type Pair = [Quarter; 2];

/// Columns, then diagonals. The early pair of each is half a quarter round ahead of the late pair, so one of them
/// shifts while the other adds. Early pairs end with the `c` that the late pair of the next round takes up last: it
/// goes to memory, and its register is the temporary in between.
pub fn double_round() -> Vec<String> {
    let early: [Pair; 2] = [[Quarter::new(0, 0), Quarter::new(1, 0)], [Quarter::new(0, 1), Quarter::new(3, 1)]];
    let late: [Pair; 2] = [[Quarter::new(2, 0), Quarter::new(3, 0)], [Quarter::new(1, 1), Quarter::new(2, 1)]];
    // Which c leaves in a round and which comes back, and which a is in memory while the late pair needs a temporary
    // in the middle of its quarter rounds.
    let c_leaves = [0, 2];
    let c_comes = [2, 0];
    let a_away = [3, 2];

    let mut instructions = Vec::new();
    // What the late pair of the round before has left to do.
    let mut left = Vec::new();
    for round in 0..2 {
        let (e, l, temporary) = (early[round], late[round], c(c_comes[round]));
        instructions.extend(interleaved(add_and_rotate_d(e, 16, Spill::default()), left));
        instructions.extend(interleaved(
            add_and_rotate_b(e, 12, &temporary, Spill::default()),
            add_and_rotate_d(l, 16, Spill::leaves(a_away[round])),
        ));
        instructions.extend(interleaved(
            add_and_rotate_d(e, 8, Spill::default()),
            add_and_rotate_b(l, 12, &a(a_away[round]), Spill::comes(c_comes[round])),
        ));
        let temporary = c(c_leaves[round]);
        instructions.extend(interleaved(
            add_and_rotate_b(e, 7, &temporary, Spill::leaves(c_leaves[round])),
            add_and_rotate_d(l, 8, Spill::comes(a_away[round])),
        ));
        left = add_and_rotate_b(l, 7, &temporary, Spill::default());
    }
    instructions.extend(left);
    instructions
}

/// Which row of those that are added to comes from memory, and which goes there.
#[derive(Clone, Copy, Default)]
struct Spill {
    comes: Option<usize>,
    leaves: Option<usize>,
}

impl Spill {
    fn comes(row: usize) -> Self {
        Self { comes: Some(row), leaves: None }
    }

    fn leaves(row: usize) -> Self {
        Self { comes: None, leaves: Some(row) }
    }
}

/// `a += b; d ^= a; d <<<= 16 or 8`: these rotations are shuffles of bytes.
fn add_and_rotate_d(pair: Pair, bits: usize, spill: Spill) -> Vec<String> {
    let mut out = Vec::new();
    for q in pair {
        out.push(add(&a(q.a), &b(q.b), SPILLED_A, spill.comes == Some(q.a)));
        if spill.leaves == Some(q.a) {
            out.push(format!("vmovdqa {}, {}", stack(SPILLED_A), a(q.a)));
        }
    }
    out.extend(pair.map(|q| format!("vpxor {0}, {0}, {1}", d(q.d), a(q.a))));
    let shuffle = if bits == 16 { frame::ROTATE_16 } else { frame::ROTATE_8 };
    out.extend(pair.map(|q| format!("vpshufb {0}, {0}, {1}", d(q.d), stack(shuffle))));
    out
}

/// `c += d; b ^= c; b <<<= 12 or 7`.
fn add_and_rotate_b(pair: Pair, bits: usize, temporary: &str, spill: Spill) -> Vec<String> {
    let mut out = Vec::new();
    out.extend(pair.map(|q| add(&c(q.c), &d(q.d), SPILLED_C, spill.comes == Some(q.c))));
    out.extend(pair.map(|q| format!("vpxor {0}, {0}, {1}", b(q.b), c(q.c))));
    if let Some(row) = spill.leaves {
        out.push(format!("vmovdqa {}, {}", stack(SPILLED_C), c(row)));
    }
    for b in pair.map(|q| b(q.b)) {
        out.push(format!("vpslld {temporary}, {b}, {bits}"));
        out.push(format!("vpsrld {b}, {b}, {}", 32 - bits));
        out.push(format!("vpor {b}, {b}, {temporary}"));
    }
    out
}

fn add(sum: &str, addend: &str, slot: usize, is_in_memory: bool) -> String {
    let from = if is_in_memory { stack(slot) } else { sum.to_owned() };
    format!("vpaddd {sum}, {addend}, {from}")
}

/// Asks for the texts of the lanes, in `rsi`. Blocks lie side by side, so the beginning of one came with the end of
/// that before it.
pub fn prefetch() -> Vec<String> {
    let lane = |lane| {
        let source = at("rsi", frame::LANE * lane + frame::LANE_SOURCE);
        [format!("mov rax, {source}"), format!("prefetcht0 {}", at("rax", 63))]
    };
    (0..8).flat_map(lane).collect()
}

/// The initial state, in `rdi`, into the registers.
pub fn load() -> Vec<String> {
    let mut out = Vec::new();
    for (word, register) in (0..16).map(|word| (word, register(word))) {
        if word == 8 + C_IN_MEMORY {
            out.push(format!("vmovdqa {register}, {}", frame::row("rdi", word)));
            out.push(format!("vmovdqa {}, {register}", stack(SPILLED_C)));
        } else {
            out.push(format!("vmovdqa {register}, {}", frame::row("rdi", word)));
        }
    }
    out
}

fn register(word: usize) -> String {
    [a, b, c, d][word / 4](word % 4)
}

/// Adds the initial state, in `rdi`, turns rows into blocks, and sends each, exclusive or its source, to its target:
/// lanes in `rsi`.
pub fn finish() -> Vec<String> {
    let mut out: Vec<String> = (0..16)
        .filter(|word| *word != 8 + C_IN_MEMORY)
        .map(|word| format!("vpaddd {0}, {0}, {1}", register(word), frame::row("rdi", word)))
        .collect();
    // Rows to quarters: of each block four words, which lie in one half of a register.
    let mut free = c(C_IN_MEMORY);
    let quarters_a = quarters([0, 1, 2, 3].map(a), &mut free, &mut out);
    let quarters_b = quarters([0, 1, 2, 3].map(b), &mut free, &mut out);
    // Sixteen rows and a temporary: one of the quarters waits in memory.
    out.push(format!("vmovdqa {}, {}", stack(SPILLED_A), quarters_b[3]));
    let mut row_c = [0, 1, 2, 3].map(c);
    row_c[C_IN_MEMORY] = free;
    out.push(format!("vmovdqa {}, {}", row_c[C_IN_MEMORY], stack(SPILLED_C)));
    out.push(format!("vpaddd {0}, {0}, {1}", row_c[C_IN_MEMORY], frame::row("rdi", 8 + C_IN_MEMORY)));
    let mut free = quarters_b[3].clone();
    let quarters_c = quarters(row_c, &mut free, &mut out);
    let quarters_d = quarters([0, 1, 2, 3].map(d), &mut free, &mut out);
    for block in [3, 0, 1, 2] {
        let second = if block == 3 { stack(SPILLED_A) } else { quarters_b[block].clone() };
        // Their lower halves are of this block, their upper ones of the fourth from here.
        let halves = [(&quarters_a[block], second), (&quarters_c[block], quarters_d[block].clone())];
        for (lane, upper) in [(block, false), (block + 4, true)] {
            out.push(format!("mov rax, {}", at("rsi", frame::LANE * lane + frame::LANE_SOURCE)));
            out.push(format!("mov rcx, {}", at("rsi", frame::LANE * lane + frame::LANE_TARGET)));
            for (half, (first, second)) in halves.iter().enumerate() {
                let (into, pick) = if upper { (*first, 0x31) } else { (&free, 0x20) };
                out.push(format!("vperm2i128 {into}, {first}, {second}, {pick}"));
                out.push(format!("vpxor {into}, {into}, {}", at("rax", 32 * half)));
                out.push(format!("vmovdqu {}, {into}", at("rcx", 32 * half)));
            }
        }
    }
    out
}

/// A 4 × 4 transposition of words in each half: of rows i to i + 3, four words of block `n` and of block `n + 4` come
/// into register `n` of the result. One register is free before, another one after.
fn quarters(rows: [String; 4], free: &mut String, out: &mut Vec<String>) -> [String; 4] {
    let [w0, w1, w2, w3] = rows;
    let t = free.clone();
    let mut two = |name: &str, into: &str, x: &str, y: &str| out.push(format!("vpunpck{name} {into}, {x}, {y}"));
    two("ldq", &t, &w0, &w1);
    two("hdq", &w0, &w0, &w1);
    two("ldq", &w1, &w2, &w3);
    two("hdq", &w2, &w2, &w3);
    two("lqdq", &w3, &t, &w1);
    two("hqdq", &t, &t, &w1);
    two("lqdq", &w1, &w0, &w2);
    two("hqdq", &w0, &w0, &w2);
    *free = w2;
    [w3, t, w1, w0]
}
