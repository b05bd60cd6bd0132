//! One binary for all targets. `RINGFORT_FUZZ_TARGET` names the one that it runs. So a new target needs no line here,
//! and all of them are built once.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{Corpus, fuzz_target};
use ringfort_fuzz::{TARGETS, Target};

static TARGET: LazyLock<&'static Target> = LazyLock::new(|| {
    let name = std::env::var("RINGFORT_FUZZ_TARGET").unwrap_or_default();
    Target::named(&name).unwrap_or_else(|| {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        panic!("RINGFORT_FUZZ_TARGET names no target; the targets are {}", names.join(", "))
    })
});

fuzz_target!(|data: &[u8]| -> Corpus {
    if data.len() > TARGET.len_max {
        return Corpus::Reject;
    }
    (TARGET.run)(data);
    Corpus::Keep
});
