//! Poly1305 of two messages (RFC 8439, section 2.5), in radix 2^64 with lazy reduction.
//!
//! The key r is clamped: r0 and r1 are below 2^60, and r1 is a multiple of 4. So s1 = r1 + r1 / 4 is 5/4 of r1, and a
//! product with r1 at 2^128 can be added as one with s1 at 1, since 2^130 is 5. The sum h0 + h1 2^64 + h2 2^128 has an
//! h2 of at most 4 between blocks, and of at most 6 with the next block added: so h2 s1 has fewer than 64 bits.

use crate::frame::{self, at, stack};

/// The sums of the two messages.
const SUMS: [[&str; 3]; 2] = [["r8", "r9", "r10"], ["r11", "r12", "r13"]];
/// Where their texts are.
const TEXTS: [&str; 2] = ["rsi", "r14"];

/// The next blocks of both messages, `count` of each. Uses rax, rbx, rcx, rdx, r15.
pub fn blocks(count: usize) -> Vec<String> {
    let mut out = Vec::new();
    for (block, message) in (0..count).flat_map(|block| [0, 1].map(|message| (block, message))) {
        out.extend(step(message, 16 * block));
    }
    if count > 0 {
        out.extend(TEXTS.map(|text| format!("add {text}, {}", 16 * count)));
    }
    out
}

/// h = (h + block + 2^128) r, partly reduced.
fn step(message: usize, offset: usize) -> Vec<String> {
    let ([h0, h1, h2], text) = (SUMS[message], TEXTS[message]);
    let [r0, r1, s1] = [0, 1, 2].map(|word| stack(frame::KEYS[message] + 8 * word));
    let [low, high, upper, lower] = ["rbx", "r15", "rcx", "rax"];
    vec![
        format!("add {h0}, {}", at(text, offset)),
        format!("adc {h1}, {}", at(text, offset + 8)),
        format!("adc {h2}, 1"),
        // upper:lower = h1 r0, which belongs at 2^64; h1:low = h1 s1, at 1.
        format!("mov rdx, {h1}"),
        format!("mulx {upper}, {lower}, {r0}"),
        format!("mulx {h1}, {low}, {s1}"),
        // h0 r0 + h1 s1, at 1, into h1:h0.
        format!("mov rdx, {h0}"),
        format!("mulx {high}, {h0}, {r0}"),
        format!("add {h0}, {low}"),
        format!("adc {h1}, {high}"),
        // h0 r1 + h1 r0 + h2 s1, at 2^64, into upper:lower.
        format!("mulx {high}, {low}, {r1}"),
        format!("add {lower}, {low}"),
        format!("adc {upper}, {high}"),
        format!("mov {low}, {h2}"),
        format!("imul {low}, {s1}"),
        format!("imul {h2}, {r0}"),
        format!("add {lower}, {low}"),
        format!("adc {upper}, 0"),
        // The words come together: h0, h1, and in upper what is at 2^128.
        format!("add {h1}, {lower}"),
        format!("adc {upper}, {h2}"),
        // Of that all but two bits return to the bottom, times 5 / 4.
        format!("mov {h2}, {upper}"),
        format!("and {h2}, 3"),
        format!("shr {upper}, 2"),
        format!("lea {upper}, [{upper} + 4*{upper}]"),
        format!("add {h0}, {upper}"),
        format!("adc {h1}, 0"),
        format!("adc {h2}, 0"),
    ]
}

/// Sums, keys and texts of the segment in `rbp`. Uses rax and rbx.
pub fn load() -> Vec<String> {
    let mut out = Vec::new();
    for message in 0..2 {
        out.push(format!("mov rax, {}", at("rbp", frame::SEGMENT_HASHES[message])));
        for (word, sum) in SUMS[message].iter().enumerate() {
            out.push(format!("mov rbx, {}", at("rax", frame::HASH_KEY + 8 * word)));
            out.push(format!("mov {}, rbx", stack(frame::KEYS[message] + 8 * word)));
            out.push(format!("mov {sum}, {}", at("rax", frame::HASH_SUM + 8 * word)));
        }
        out.push(format!("mov {}, {}", TEXTS[message], at("rbp", frame::SEGMENT_TEXTS[message])));
    }
    out
}

/// The sums go back to their hashes.
pub fn store() -> Vec<String> {
    let mut out = Vec::new();
    for (sums, hash) in SUMS.iter().zip(frame::SEGMENT_HASHES) {
        out.push(format!("mov rax, {}", at("rbp", hash)));
        out.extend((0..3).map(|word| format!("mov {}, {}", at("rax", frame::HASH_SUM + 8 * word), sums[word])));
    }
    out
}
