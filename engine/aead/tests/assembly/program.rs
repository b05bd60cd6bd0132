//! The function.

use crate::frame::{self, at, stack};
use crate::{chacha20, interleaved, poly1305};

const SAVED: [&str; 6] = ["rbx", "rbp", "r12", "r13", "r14", "r15"];

/// The whole file.
pub fn text() -> String {
    let mut file = File::default();
    file.comment("Written by engine/aead/tests/assembly: see there, and pass.rs for the arguments.");
    file.comment("rdi: initial state; rsi: lanes; rdx, rcx: segments and their end; r8: double rounds without a hash.");
    file.enter();
    file.comment("The next segment.");
    file.label("2:");
    file.lines([format!("cmp rbp, {}", stack(frame::SEGMENTS_END)), "je 6f".into()]);
    file.lines(poly1305::load());
    file.comment("Double rounds with two blocks of each message.");
    file.double_rounds("3", 2, at("rbp", frame::SEGMENT_TWOS));
    file.comment("With one.");
    file.double_rounds("4", 1, at("rbp", frame::SEGMENT_ONES));
    file.lines(poly1305::store());
    file.lines([format!("add rbp, {}", frame::SEGMENT), "jmp 2b".into()]);
    file.comment("Without.");
    file.label("6:");
    file.double_rounds("7", 0, stack(frame::PLAIN));
    file.comment("Key stream meets text.");
    file.lines([format!("mov rdi, {}", stack(frame::STATE)), format!("mov rsi, {}", stack(frame::LANES))]);
    file.lines(chacha20::finish());
    file.leave();
    file.0
}

#[derive(Default)]
struct File(String);

impl File {
    fn comment(&mut self, text: &str) {
        self.0 += &format!("# {text}\n");
    }

    fn label(&mut self, label: &str) {
        self.0 += &format!("{label}\n");
    }

    fn lines(&mut self, lines: impl IntoIterator<Item = String>) {
        for line in lines {
            self.0 += &format!("    {line}\n");
        }
    }

    fn enter(&mut self) {
        self.lines(SAVED.map(|register| format!("push {register}")));
        self.lines(["mov rax, rsp".into(), format!("sub rsp, {}", frame::FRAME), "and rsp, -32".into()]);
        let arguments = [
            (frame::CALLER, "rax"),
            (frame::STATE, "rdi"),
            (frame::LANES, "rsi"),
            (frame::SEGMENTS_END, "rcx"),
            (frame::PLAIN, "r8"),
        ];
        self.lines(arguments.map(|(place, register)| format!("mov {}, {register}", stack(place))));
        self.lines(["mov rbp, rdx".into()]);
        for (place, symbol) in [(frame::ROTATE_16, "rotate_16"), (frame::ROTATE_8, "rotate_8")] {
            self.lines([format!("vmovdqa ymm0, [rip + {{{symbol}}}]"), format!("vmovdqa {}, ymm0", stack(place))]);
        }
        self.comment("Texts are there when the key stream is.");
        self.lines(chacha20::prefetch());
        self.lines(chacha20::load());
    }

    /// As many double rounds as `count` says, with `blocks` of each message beside each.
    fn double_rounds(&mut self, label: &str, blocks: usize, count: String) {
        self.lines([format!("mov rdi, {count}"), "test rdi, rdi".into(), format!("jz {label}9f"), ".p2align 5".into()]);
        self.label(&format!("{label}8:"));
        self.lines(interleaved(chacha20::double_round(), poly1305::blocks(blocks)));
        self.lines(["dec rdi".into(), format!("jnz {label}8b")]);
        self.label(&format!("{label}9:"));
    }

    /// Wipes what is secret on the stack. Registers are the caller's to overwrite, as always.
    fn leave(&mut self) {
        self.comment("The keys of the hashes and the spilled rows are secret.");
        self.lines(["vpxor xmm0, xmm0, xmm0".into()]);
        let secrets = [frame::KEYS[0], frame::KEYS[0] + 32, frame::SPILLED_C, frame::SPILLED_A];
        self.lines(secrets.map(|place| format!("vmovdqa {}, ymm0", stack(place))));
        self.lines(["vzeroupper".into(), format!("mov rsp, {}", stack(frame::CALLER))]);
        self.lines(SAVED.iter().rev().map(|register| format!("pop {register}")));
        self.lines(["ret".into()]);
    }
}
