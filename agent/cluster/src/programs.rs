//! Where the programs are that run in the namespaces.

use std::path::{Path, PathBuf};

use ringfort_testbed::daemon::{find_in_path, peers_directory};

/// A program that `scripts/install-test-peers` has installed.
pub fn program(name: &str) -> PathBuf {
    find_in_path(Path::new(name), &peers_directory().join("bin"))
        .unwrap_or_else(|| panic!("there is no {name}: scripts/install-test-peers installs it"))
}

/// A program of ours, as it was built: beside this one, or, if that is a test, in the directory above.
pub fn built(name: &str) -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let places = this.ancestors().skip(1).take(2).map(|directory| directory.join(name));
    places.into_iter().find(|path| path.exists()).unwrap_or_else(|| {
        panic!("there is no {name} beside {}: build it with `cargo build -p {name}`", this.display())
    })
}
