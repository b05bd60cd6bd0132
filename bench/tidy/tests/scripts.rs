//! What the scripts share (`scripts/lib.sh`): they end with the status that they mean, and leave nothing behind.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// Runs lines of a script as the scripts do, with a directory for temporary files of its own.
fn run(script: &str) -> (Output, Vec<String>) {
    // Tests of one process run side by side.
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let (process, number) = (std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed));
    let directory = std::env::temp_dir().join(format!("ringfort-scripts-{process}-{number}"));
    std::fs::create_dir_all(&directory).expect("a directory");
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/lib.sh");
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &format!(". '{}'\n{script}", library.display())])
        .env("TMPDIR", &directory)
        .output()
        .expect("bash runs");
    let left = std::fs::read_dir(&directory).expect("the directory").map(|entry| entry.expect("a file").file_name());
    let left = left.map(|name| name.to_string_lossy().into_owned()).collect();
    std::fs::remove_dir_all(&directory).expect("it can be removed");
    (output, left)
}

/// The status of a script, what it wrote to standard error, and that no temporary file is left.
fn ends_with(status: i32, said: &str, script: &str) {
    let (output, left) = run(script);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{script}: {error}");
    assert!(error.contains(said), "{script}: {error}");
    assert_eq!(left, Vec::<String>::new(), "{script}");
}

#[test]
fn what_runs_beside_a_script_that_succeeds_does_not_fail_it() {
    ends_with(0, "computed", "beside echo computed\nend_beside || fail 'it failed'");
}

#[test]
fn what_fails_beside_a_script_is_shown_and_fails_it() {
    ends_with(1, "no such thing", "beside ls /no/such/thing/no\\ such\\ thing\nend_beside || fail 'it failed'");
}

#[test]
fn a_function_that_runs_beside_a_script_stops_where_it_fails() {
    let script = "compute() { false; echo went on; }\nexport -f compute\nbeside compute\nend_beside || fail stopped";
    ends_with(1, "stopped", script);
    assert!(!String::from_utf8_lossy(&run(script).0.stderr).contains("went on"));
}

#[test]
fn what_runs_beside_a_script_ends_with_it() {
    // The script ends at once; what runs beside it holds standard error open, which the test waits for.
    ends_with(3, "", "exec 3>&2\nbeside sleep infinity\nexit 3");
}
