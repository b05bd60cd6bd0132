//! The agent.

use std::process::ExitCode;

fn main() -> ExitCode {
    ringfort_agent::main()
}
