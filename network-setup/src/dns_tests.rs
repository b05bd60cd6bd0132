//! Name servers, with programs that write down how they were called.

use std::path::PathBuf;

use super::*;
use crate::scratch::Directory;

fn dns() -> Dns {
    Dns {
        servers: vec!["10.0.0.53".parse().unwrap(), "fd00::53".parse().unwrap()],
        search: vec!["corp.example".into()],
    }
}

fn host(directory: &Directory) -> (Host, PathBuf) {
    (directory.host(), directory.path().join("calls"))
}

#[test]
fn resolvconf_gets_servers_and_domains_under_the_first_kind_of_its_order() {
    let directory = Directory::new();
    directory.program("resolvconf", "echo \"$@\" >> ROOT/calls; cat >> ROOT/calls");
    directory.program("resolvectl", "exit 1");
    let (host, calls) = host(&directory);
    set(&host, "wg0", &dns()).unwrap();
    directory.write(ORDER, "# comment\nlo.inet6\ntun*\neth*\n");
    unset(&host, "wg0").unwrap();
    let expected = "-a wg0 -m 0 -x\nnameserver 10.0.0.53\nnameserver fd00::53\nsearch corp.example\n-d tun.wg0 -f\n";
    assert_eq!(fs::read_to_string(calls).unwrap(), expected);
}

/// Debian's resolvconf was there before systemd's, and has left its order.
#[test]
fn a_resolvconf_that_is_a_link_gets_the_name_as_it_is() {
    let directory = Directory::new();
    directory.program("resolvectl", "echo \"$@\" >> ROOT/calls");
    std::os::unix::fs::symlink("resolvectl", directory.path().join("bin/resolvconf")).unwrap();
    directory.write(ORDER, "tun*\n");
    directory.write("/run/resolvconf/interface/wg0", "");
    let (host, calls) = host(&directory);
    set(&host, "wg0", &dns()).unwrap();
    unset(&host, "wg0").unwrap();
    unset_left_behind(&host, "wg0").unwrap();
    assert_eq!(fs::read_to_string(calls).unwrap(), "-a wg0 -m 0 -x\n-d wg0 -f\n-d wg0 -f\n");
}

#[test]
fn resolvectl_does_it_where_there_is_no_resolvconf() {
    let directory = Directory::new();
    directory.program("resolvectl", "echo \"$@\" >> ROOT/calls");
    let (host, calls) = host(&directory);
    set(&host, "wg0", &dns()).unwrap();
    unset(&host, "wg0").unwrap();
    let expected = "dns wg0 10.0.0.53 fd00::53\ndomain wg0 ~. corp.example\nrevert wg0\n";
    assert_eq!(fs::read_to_string(calls).unwrap(), expected);
}

#[test]
fn neither_is_an_error_that_says_what_to_do() {
    let error = set(&Directory::new().host(), "wg0", &dns()).unwrap_err().to_string();
    assert!(error.contains("it needs resolvconf or resolvectl, which is not installed. Install"), "{error}");
}

#[test]
fn what_a_program_says_is_in_the_error() {
    let directory = Directory::new();
    directory.program("resolvconf", "echo no such thing >&2; exit 3");
    let error = set(&directory.host(), "wg0", &dns()).unwrap_err().to_string();
    assert_eq!(error, "cannot set the name servers (DNS): resolvconf failed: no such thing");
    directory.program("resolvconf", "exit 3");
    let error = set(&directory.host(), "wg0", &dns()).unwrap_err().to_string();
    assert_eq!(error, "cannot set the name servers (DNS): resolvconf failed: exit status: 3");
}

#[test]
fn only_what_was_left_behind_is_taken_away() {
    let directory = Directory::new();
    directory.program("resolvconf", "echo \"$@\" >> ROOT/calls");
    let (host, calls) = host(&directory);
    unset_left_behind(&host, "wg0").unwrap();
    assert!(!calls.exists());
    directory.write("/run/resolvconf/interface/wg0", "");
    unset_left_behind(&host, "wg0").unwrap();
    assert_eq!(fs::read_to_string(calls).unwrap(), "-d wg0 -f\n");
}
