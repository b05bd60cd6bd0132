//! The same setups by wg-quick(8) and by us, in a namespace each: addresses, MTU, routes, rules, nftables tables, the
//! sysctl and the calls of resolvconf are equal, and so is what is left after `down`.
//!
//! `wg-quick` runs as it is installed. Beside it lie an `ip` without the kernel's WireGuard, a `wg` that answers what a
//! gateway with these peers would, and an implementation that makes a TUN interface.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use ringfort_testbed::scratch::{in_namespace, ip};

use super::*;
use crate::scratch::{Directory, are_valid, installed, output, routing, way_out};
use crate::setup::{Dns, Table};

struct Case {
    /// Lines of the file's `[Interface]` section.
    lines: &'static str,
    allowed_ips: &'static str,
    endpoints: &'static [&'static str],
    setup: fn(&mut Setup),
}

const VALID_MARK: &str = "/proc/sys/net/ipv4/conf/all/src_valid_mark";

/// What happened in the namespace.
#[derive(Debug, PartialEq, Eq)]
struct Result {
    up: BTreeSet<String>,
    valid_mark: String,
    down: BTreeSet<String>,
    calls: String,
}

fn compare(case: &Case) {
    let theirs = in_namespace(|| by_wg_quick(case));
    let ours = in_namespace(|| by_us(case));
    assert!(theirs.up.iter().any(|line| line.contains("wg0")), "{theirs:?}");
    for (line, whose) in theirs
        .up
        .symmetric_difference(&ours.up)
        .map(|line| (line, if theirs.up.contains(line) { "wg-quick" } else { "us" }))
    {
        println!("only by {whose}: {line}");
    }
    assert_eq!(theirs, ours, "{}", case.lines);
}

fn network() {
    way_out();
    ip("link set up0 mtu 1450");
    ip("address add 192.0.2.1/24 dev up0");
    ip("address add 2001:db8::1/64 dev up0 nodad");
    // The kernel gets round to its route later.
    while !output("ip -6 route show table local").contains("local 2001:db8::1 dev up0") {
        std::thread::yield_now();
    }
    ip("route add default via 192.0.2.254 mtu 1440");
    ip("route add 198.51.100.0/24 via 192.0.2.254 mtu 1400");
}

fn by_us(case: &Case) -> Result {
    network();
    let directory = Directory::new();
    directory.link("nft");
    directory.program("resolvconf", "echo \"$@\" >> ROOT/calls; [ $1 = -d ] || cat >> ROOT/calls");
    // The namespace has a sysctl of its own.
    std::os::unix::fs::symlink("/proc", directory.path().join("proc")).unwrap();
    make_interface();
    let mut setup = Setup {
        interface: "wg0".to_owned(),
        allowed_ips: case.allowed_ips.split(' ').map(|text| text.parse().unwrap()).collect(),
        endpoints: case.endpoints.iter().map(|text| text.parse().unwrap()).collect(),
        ..Setup::default()
    };
    (case.setup)(&mut setup);
    setup.fwmark = mark_for(&setup).unwrap();
    let applied = apply_on(directory.host(), &setup).unwrap();
    let up = snapshot();
    applied.take_back().unwrap();
    ip("link delete wg0");
    result(up, &directory)
}

fn by_wg_quick(case: &Case) -> Result {
    network();
    let directory = Directory::new();
    for name in ["nft", "sysctl", "sort", "stat", "readlink", "cat", "sed", "mv"] {
        directory.link(name);
    }
    directory.program("resolvconf", "echo \"$@\" >> ROOT/calls; [ $1 = -d ] || cat >> ROOT/calls");
    let real_ip = installed("ip").display().to_string();
    directory.program("ip", &format!("case \"$*\" in *'type wireguard') exit 1;; esac; exec {real_ip} \"$@\""));
    let without_addresses = "echo 1 > /proc/sys/net/ipv6/conf/$1/addr_gen_mode";
    directory.program("gateway", &format!("{real_ip} tuntap add $1 mode tun; {without_addresses}"));
    let endpoint = |text: &&str| if text.contains(':') { format!("[{text}]:51820") } else { format!("{text}:51820") };
    let endpoints: Vec<_> = case.endpoints.iter().map(endpoint).collect();
    let peers = |list: &[String]| list.iter().map(|one| format!("KEY\\t{one}\\n")).collect::<String>();
    let wg = format!(
        "case \"$*\" in
        'show wg0 fwmark') cat ROOT/fwmark 2>/dev/null || echo off;;
        'set wg0 fwmark '*) echo $4 > ROOT/fwmark;;
        'show wg0 endpoints') printf '{}';;
        'show wg0 allowed-ips') printf '{}';;
        'show interfaces') echo wg0;;
        setconf*|addconf*) cat $3 | sed -n 's/^FwMark = //p' > ROOT/mark
            [ -s ROOT/mark ] && mv ROOT/mark ROOT/fwmark; true;;
        *) exit 9;;
        esac",
        peers(&endpoints),
        peers(&[case.allowed_ips.to_owned()]),
    );
    directory.program("wg", &wg);
    let bin = directory.path().join("bin");
    // Copied: it looks for programs beside itself first.
    fs::copy(installed("wg-quick"), bin.join("wg-quick")).unwrap();
    directory.write("/wg0.conf", &format!("[Interface]\n{}\n", case.lines));
    let run = |verb: &str| {
        let mut command = Command::new("/bin/bash");
        command.arg(bin.join("wg-quick")).arg(verb).arg(directory.path().join("wg0.conf"));
        let output = command.env("PATH", &bin).env("WG_QUICK_USERSPACE_IMPLEMENTATION", "gateway").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run("up");
    let up = snapshot();
    run("down");
    result(up, &directory)
}

fn make_interface() {
    ip("tuntap add wg0 mode tun");
    fs::write("/proc/sys/net/ipv6/conf/wg0/addr_gen_mode", "1").unwrap();
}

fn result(up: BTreeSet<String>, directory: &Directory) -> Result {
    let calls = fs::read_to_string(directory.path().join("calls")).unwrap_or_default();
    // wg-quick takes them back twice.
    let mut lines: Vec<_> = calls.lines().collect();
    lines.dedup();
    let down = routing().lines().map(str::to_owned).collect();
    Result { up, valid_mark: fs::read_to_string(VALID_MARK).unwrap(), down, calls: lines.join("\n") }
}

/// Addresses, MTU, routes, rules and tables, in any order: rules have their priority, and a chain names its table.
fn snapshot() -> BTreeSet<String> {
    are_valid();
    let mut text = output("ip address show dev wg0");
    let nft = output("nft -s list ruleset").replace("ringfort-wg0", "TABLE").replace("wg-quick-wg0", "TABLE");
    text += &routing().split("# nft").next().unwrap().replace("# ", "");
    let mut place = String::new();
    for line in nft.lines().map(str::trim) {
        if line.starts_with("table") || line.starts_with("chain") {
            place = if line.starts_with("table") { line.to_owned() } else { format!("{place} {line}") };
        }
        text += &format!("{place}: {}\n", line.split(" comment").next().unwrap());
        if line == "}" {
            place = place.split(" chain").next().unwrap().to_owned();
        }
    }
    // Ours say who has made them.
    let text = text.replace(" proto 51", "");
    let without_index = |line: &str| line.strip_prefix("4: wg0").map_or(line.to_owned(), |rest| format!("wg0{rest}"));
    text.lines().map(|line| without_index(line).trim().to_owned()).collect()
}

#[test]
fn routes_that_are_covered_and_others() {
    compare(&Case {
        lines: "Address = 10.0.0.1/24, fd00::1/64\nAddress = 10.1.0.1/16",
        allowed_ips: "10.0.0.0/25 10.0.0.0/8 10.0.0.7/32 10.1.0.0/16 10.2.3.0/24 10.2.0.0/16 fd00::/64 fd00:1::/48 \
                      fd00::2/128",
        endpoints: &["192.0.2.9"],
        setup: |setup| {
            setup.addresses = ["10.0.0.1/24", "fd00::1/64", "10.1.0.1/16"].map(|one| one.parse().unwrap()).into()
        },
    });
}

#[test]
fn default_routes_of_both_families() {
    compare(&Case {
        lines: "Address = 10.0.0.1/24, fd00::1/64\nDNS = 10.0.0.53, corp.example, fd00::53",
        allowed_ips: "0.0.0.0/0 ::/0 10.9.0.0/16 128.0.0.0/1",
        endpoints: &["198.51.100.9"],
        setup: |setup| {
            setup.addresses = ["10.0.0.1/24", "fd00::1/64"].map(|one| one.parse().unwrap()).into();
            let servers = ["10.0.0.53", "fd00::53"].map(|one| one.parse().unwrap()).into();
            setup.dns = Dns { servers, search: vec!["corp.example".to_owned()] };
        },
    });
}

#[test]
fn a_default_route_with_a_mark_of_the_file() {
    compare(&Case {
        lines: "Address = 10.0.0.1\nFwMark = 1234\nMTU = 1380",
        allowed_ips: "0.0.0.0/0",
        endpoints: &[],
        setup: |setup| {
            setup.addresses = vec!["10.0.0.1/32".parse().unwrap()];
            (setup.fwmark, setup.mtu) = (Some(1234), Mtu::Bytes(1380));
        },
    });
}

#[test]
fn a_default_route_of_ipv6_alone() {
    compare(&Case {
        lines: "Address = fd00::1/64",
        allowed_ips: "::/0",
        // Of routes with different MTUs, wg-quick takes the largest before 1.0.20260223, and the smallest since.
        endpoints: &["2001:db8::9", "192.0.2.9"],
        setup: |setup| setup.addresses = vec!["fd00::1/64".parse().unwrap()],
    });
}

/// By us alone: wg-quick has done so since 1.0.20260223. What fills the tunnel must fit all ways.
#[test]
fn the_narrowest_way_to_an_endpoint_counts() {
    in_namespace(|| {
        network();
        make_interface();
        for (endpoints, mtu) in
            [(["127.0.0.1", "2001:db8::9"].as_slice(), 1370), (&["192.0.2.9", "198.51.100.9"], 1320)]
        {
            let endpoints = endpoints.iter().map(|text| text.parse().unwrap()).collect();
            let setup = Setup { interface: "wg0".to_owned(), endpoints, ..Setup::default() };
            let applied = apply_on(Directory::new().host(), &setup).unwrap();
            assert_eq!(applied.mtu(), mtu);
            applied.take_back().unwrap();
        }
    });
}

/// One peer behind a narrow path must not keep a gateway with IPv6 from starting.
#[test]
fn what_is_chosen_is_enough_for_ipv6() {
    in_namespace(|| {
        network();
        ip("route add 203.0.113.0/24 via 192.0.2.254 mtu 1300");
        make_interface();
        let endpoints = vec!["192.0.2.9".parse().unwrap(), "203.0.113.9".parse().unwrap()];
        let setup = Setup { interface: "wg0".to_owned(), endpoints, ..Setup::default() };
        let with_ipv6 = Setup { addresses: vec!["fd00:9::1/64".parse().unwrap()], ..setup.clone() };
        let mut applied = apply_on(Directory::new().host(), &setup).unwrap();
        for (setup, mtu) in [(&setup, 1220), (&with_ipv6, 1280), (&setup, 1220)] {
            applied.update(setup).unwrap();
            assert_eq!(applied.mtu(), mtu);
        }
        applied.take_back().unwrap();
        let applied = apply_on(Directory::new().host(), &with_ipv6).unwrap();
        assert_eq!(applied.mtu(), 1280);
        applied.take_back().unwrap();
    });
}

#[test]
fn a_table_of_its_own() {
    compare(&Case {
        lines: "Address = 10.0.0.1/24\nTable = 1234",
        allowed_ips: "0.0.0.0/0 10.0.0.0/24 fd00:9::/48",
        endpoints: &["2001:db8::9"],
        setup: |setup| {
            setup.addresses = vec!["10.0.0.1/24".parse().unwrap()];
            setup.routes = Table::Number(1234);
        },
    });
}

#[test]
fn no_routes_at_all() {
    compare(&Case {
        lines: "Address = 10.0.0.1/24\nTable = off",
        allowed_ips: "0.0.0.0/0 10.7.0.0/16",
        endpoints: &[],
        setup: |setup| {
            setup.addresses = vec!["10.0.0.1/24".parse().unwrap()];
            setup.routes = Table::Off;
        },
    });
}
