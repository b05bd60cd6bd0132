//! The daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    ringfort::app::main()
}
