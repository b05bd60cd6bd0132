//! What all scenarios share: the program under test, `wg`, and checks of traffic through a tunnel.

pub mod flow;
pub mod seccomp;
pub mod traffic;
pub mod wg;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use ringfort_testbed::daemon::Program;
use ringfort_testbed::{Implementation, Key, uapi};
use serde_json::Value;

/// The program under test, with its ciphers named: to measure them takes half of a start, of all CPUs, and several
/// gateways start at once here.
pub fn us() -> Program {
    us_measured().with_options("--aead aws-lc")
}

/// The same as an operator starts it: it measures its ciphers, and takes the fastest on this CPU.
pub fn us_measured() -> Program {
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

/// How many things a gateway of ours has dropped for one reason, by its name.
pub fn drops(interface: &str, reason: &str) -> u64 {
    let stats = uapi::stats(interface).unwrap();
    *stats.get(&format!("drop_{reason}")).unwrap_or_else(|| panic!("no counter drop_{reason} among {stats:?}"))
}

/// The sum of one figure over all workers of a gateway of ours.
pub fn worker_stats(interface: &str, figure: &str) -> u64 {
    let stats = uapi::stats(interface).unwrap();
    stats.iter().filter(|(name, _)| name.ends_with(&format!("_{figure}"))).map(|(_, value)| value).sum()
}

/// Every reason for which a gateway of ours has dropped something, and how often.
pub fn all_drops(interface: &str) -> BTreeMap<String, u64> {
    let stats = uapi::stats(interface).unwrap();
    stats.into_iter().filter(|(name, count)| name.starts_with("drop_") && *count > 0).collect()
}

/// What a gateway says of a peer, as `ringfort why --json` does.
pub fn why(interface: &str, key: &Key) -> Value {
    let output = Command::new(us().path).args(["why", interface, &key.base64(), "--json"]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The codes of what it has found, the worst first.
pub fn codes(answer: &Value) -> Vec<String> {
    let findings = answer["findings"].as_array().unwrap();
    findings.iter().map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
}

/// Waits until `condition` holds.
pub fn eventually(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        sleep(Duration::from_millis(10));
    }
}
