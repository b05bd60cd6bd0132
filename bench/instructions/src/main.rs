//! Instructions per packet of the user-space path, out and in.
//!
//! ```text
//!   ringfort-instructions check    counts, and compares with table.txt: fails if a figure has risen by more than 2 %
//!   ringfort-instructions bless    counts, and writes table.txt
//!   ringfort-instructions run CASE the work of one case, for valgrind
//! ```
//!
//! Time depends on the machine and on its neighbours; instructions do not. They are counted by valgrind's callgrind,
//! whose processor has the same features wherever it runs. What is counted is what a worker's shell asks of the data
//! path for a packet, and the way of its slot home. The cases named `worker-` are whole turns of a worker: its edges,
//! its ring and its counters are in them. The kernel is a fake one, and not in them, and so is what the crate
//! `io-uring` does to hand an operation over.

#![forbid(unsafe_code)]

mod cases;
mod count;
mod packets;
mod rig;
mod table;
mod walk;
mod worker;

use std::process::ExitCode;

use cases::{By, Case};
use table::Table;

/// Where the figures are kept.
const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/table.txt");
const USAGE: &str = "usage: ringfort-instructions check | bless | run CASE";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["check"] => check(),
        ["bless"] => bless(),
        ["run", name] => run(name),
        _ => Err(USAGE.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("ringfort-instructions: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str) -> Result<(), String> {
    let case = Case::ALL.iter().find(|case| case.name == name).ok_or_else(|| format!("there is no case {name}"))?;
    carry_out(case);
    Ok(())
}

/// Does the work of a case, the uncounted part of it outside of the functions that are.
fn carry_out(case: &Case) {
    match case.by {
        By::Path => walk::run(case),
        By::Worker => worker::run(case),
    }
}

fn count_all() -> Result<Table, String> {
    let mut table = Table::default();
    for case in &Case::ALL {
        let (without, with) = count::count(case).map_err(|error| error.to_string())?;
        table.add(case.name, without, with);
    }
    Ok(table)
}

fn bless() -> Result<(), String> {
    let table = count_all()?;
    std::fs::write(TABLE, table.to_string()).map_err(|error| format!("cannot write {TABLE}: {error}"))?;
    print!("{table}");
    Ok(())
}

fn check() -> Result<(), String> {
    let text = std::fs::read_to_string(TABLE).map_err(|error| format!("cannot read {TABLE}: {error}"))?;
    let before: Table = text.parse().map_err(|line| format!("{TABLE}: not a line of the table: {line}"))?;
    let now = count_all()?;
    print!("{now}");
    let fallen = now.fallen_since(&before);
    if !fallen.is_empty() {
        println!("more than 2 % less than the table says: {}. --bless keeps it", fallen.join(", "));
    }
    let risen = now.risen_since(&before);
    if risen.is_empty() {
        println!("no figure has risen by more than 2 %");
        return Ok(());
    }
    Err(format!(
        "more than 2 % above bench/instructions/table.txt: {}. Find the cause; or run scripts/instructions --bless and \
         say in the commit why the path became longer",
        risen.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_carries_its_packets() {
        Case::ALL.iter().for_each(carry_out);
    }
}
