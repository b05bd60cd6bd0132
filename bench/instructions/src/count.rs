//! Counting under callgrind: this program runs itself.

use std::io;
use std::path::Path;
use std::process::Command;

use crate::cases::{By, Case, ROUNDS, Way};

/// Collecting begins where the first of these functions begins, and ends where it ends. It pauses inside the others: a
/// name of what runs elsewhere as well would switch it on there.
const fn measured(case: &Case) -> &'static [&'static str] {
    match (case.by, case.way) {
        (By::Path, Way::Out) => &["*ringfort_instructions::walk::measured_out"],
        (By::Path, Way::In) => &["*ringfort_instructions::walk::measured_in"],
        (By::Worker, _) => &[
            "*ringfort_instructions::worker::measured_turn",
            "*FakeKernel::push",
            "*FakeKernel::queued",
            "*FakeKernel::enter",
            "*FakeKernel::has_completed",
            "*FakeKernel::completions",
            "*FakeKernel::next_completion",
        ],
    }
}

/// It pauses inside these as well. A name of the other way would switch it on, since that way is not measured.
const fn cipher(way: Way) -> &'static [&'static str] {
    match way {
        Way::Out => &["*SealKey::seal_train_from", "*SealKey::seal_batch"],
        Way::In => &["*OpenKey::open_train", "*lone::open_together"],
    }
}

/// Why nothing was counted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CountError {
    #[error("valgrind cannot be run: {0}; install the package valgrind")]
    Valgrind(io::Error),
    #[error("{case} under valgrind failed:\n{output}")]
    Failed { case: &'static str, output: String },
    #[error("callgrind has counted nothing for {0}: were its functions inlined?")]
    Nothing(&'static str),
}

/// Instructions per packet, without the cipher and with it.
pub(crate) fn count(case: &Case) -> Result<(f64, f64), CountError> {
    let packets = f64::from(ROUNDS) * case.packets() as f64;
    let with = collect(case, measured(case))? as f64 / packets;
    let without = collect(case, &[measured(case), cipher(case.way)].concat())? as f64 / packets;
    Ok((without, with))
}

fn collect(case: &Case, toggles: &[&str]) -> Result<u64, CountError> {
    let itself = std::env::current_exe().map_err(CountError::Valgrind)?;
    let output = valgrind(&itself, toggles).args(["run", case.name]).output().map_err(CountError::Valgrind)?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        return Err(CountError::Failed { case: case.name, output: text });
    }
    // "==123== Collected : 456"
    let collected = text.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    collected.filter(|&n| n > 0).ok_or(CountError::Nothing(case.name))
}

fn valgrind(program: &Path, toggles: &[&str]) -> Command {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"]);
    command.args(toggles.iter().map(|pattern| format!("--toggle-collect={pattern}"))).arg(program);
    command
}
