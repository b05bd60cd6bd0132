//! The daemon.

use std::process::ExitCode;

use ringfort::control::inherited::Alone;

fn main() -> ExitCode {
    // SAFETY: nothing has run in this process so far.
    ringfort::app::main(unsafe { Alone::assume() })
}
