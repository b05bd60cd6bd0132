//! What is said in tables elsewhere than in the filter: the profile for container engines, and calls by their names.

use std::collections::BTreeSet;
use std::fs;

use seccompiler::{TargetArch, compile_from_json};

/// What a container engine is given allows what a gateway starts with, and what its own sandbox is made of.
#[test]
fn the_profile_for_container_engines() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/container/seccomp.json");
    let profile: serde_json::Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let rules = profile["syscalls"].as_array().unwrap();
    let is_allowed = |name: &str| {
        let mut rules = rules.iter().filter(|rule| rule["action"] == "SCMP_ACT_ALLOW" && rule["args"].is_null());
        rules.any(|rule| rule["names"].as_array().unwrap().iter().any(|one| one == name))
    };
    let needed =
        ["io_uring_setup", "io_uring_enter", "io_uring_register", "bpf", "capset", "seccomp", "prctl", "mbind"];
    let landlock = ["landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"];
    for name in needed.iter().chain(&landlock) {
        assert!(is_allowed(name), "{name}");
    }
    for name in ["ptrace", "mount", "unshare", "setns", "init_module", "kexec_load", "open_by_handle_at", "clone3"] {
        assert!(!is_allowed(name), "{name}");
    }
}

/// The names of calls in the tables of a source, for an architecture and for glibc.
fn names(source: &str, is_x86: bool) -> BTreeSet<&str> {
    // What a condition leaves out is the next line, or the table that begins there.
    let (mut leaves_out, mut is_in_table) = (false, false);
    let mut names = BTreeSet::new();
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[cfg(") {
            leaves_out = line.contains("musl") || line.contains("x86_64") && line.contains("not(") == is_x86;
        } else if leaves_out || is_in_table {
            is_in_table = (is_in_table || line.contains("const ")) && !line.ends_with("];");
            leaves_out = false;
        } else {
            let end = |rest: &'_ str| rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            names.extend(line.split("libc::SYS_").skip(1).map(|rest| &rest[..end(rest)]));
        }
    }
    names
}

/// A call that the other architecture lacks does not compile there, and is not seen here.
#[test]
fn both_architectures_have_the_calls_of_our_tables() {
    let source = include_str!("calls.rs");
    for (arch, is_x86) in [(TargetArch::x86_64, true), (TargetArch::aarch64, false)] {
        let names = names(source, is_x86);
        assert!(names.contains("io_uring_enter") && names.contains("openat") && names.len() > 80, "{names:?}");
        assert_eq!(
            (names.contains("open"), names.contains("epoll_wait"), names.contains("stat")),
            (is_x86, is_x86, is_x86)
        );
        let missing: Vec<_> = names.into_iter().filter(|name| !is_known(name, arch)).collect();
        assert!(missing.is_empty(), "{arch:?} has no {missing:?}");
    }
    assert!(!is_known("epoll_wait", TargetArch::aarch64) && is_known("epoll_wait", TargetArch::x86_64));
}

fn is_known(name: &str, arch: TargetArch) -> bool {
    let actions = r#""mismatch_action": {"errno": 1}, "match_action": "allow""#;
    let text = format!(r#"{{"one": {{{actions}, "filter": [{{"syscall": "{name}"}}]}}}}"#);
    compile_from_json(text.as_bytes(), arch).is_ok()
}
