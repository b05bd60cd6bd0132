//! What all scenarios share: the program under test, `wg`, and checks of traffic through a tunnel.

pub mod traffic;
pub mod wg;

use std::path::PathBuf;

use ringfort_testbed::daemon::Program;
use ringfort_testbed::Implementation;

/// The program under test.
pub fn us() -> Program {
    let built = PathBuf::from(env!("CARGO_BIN_EXE_ringfort"));
    Program::ringfort(std::env::var_os("RINGFORT_BIN").map_or(built, PathBuf::from))
}

/// Another implementation, or ourselves.
pub fn peer(implementation: Implementation) -> Program {
    match implementation {
        Implementation::Ringfort => us(),
        other => Program::peer(other).unwrap(),
    }
}
