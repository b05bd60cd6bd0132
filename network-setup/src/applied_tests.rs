//! Setups in a namespace: set up, changed, failed and taken back.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use ringfort_testbed::scratch::{await_address, in_namespace, ip};

#[path = "left_tests.rs"]
mod left;
#[path = "order_tests.rs"]
mod order;

use super::*;
use crate::scratch::{Directory, everything, output, routing, way_out};
use crate::setup::{Dns, Table};

fn prefixes(list: &str) -> Vec<crate::Prefix> {
    list.split_whitespace().map(|text| text.parse().unwrap()).collect()
}

fn setup(addresses: &str, allowed_ips: &str) -> Setup {
    Setup {
        interface: "wg0".to_owned(),
        addresses: prefixes(addresses),
        allowed_ips: prefixes(allowed_ips),
        ..Setup::default()
    }
}

/// An interface in a namespace, with a way out, and a machine with `nft` and a `resolvconf` that writes down its calls.
fn with_interface(test: impl FnOnce(&Directory) + Send) {
    in_namespace(|| {
        way_out();
        ip("address add 192.0.2.1/24 dev up0");
        ip("route add default via 192.0.2.254");
        ip("tuntap add wg0 mode tun");
        std::fs::write("/proc/sys/net/ipv6/conf/wg0/addr_gen_mode", "1").unwrap();
        // Once up, it keeps a queue discipline that it did not have before.
        ip("link set wg0 up");
        ip("link set wg0 down");
        let directory = Directory::new();
        directory.link("nft");
        directory.program("resolvconf", "echo \"$1 $2\" >> ROOT/calls");
        directory.write(VALID_MARK, "0\n");
        test(&directory);
    });
}

const VALID_MARK: &str = "/proc/sys/net/ipv4/conf/all/src_valid_mark";
const FULL: &str = "0.0.0.0/0 ::/0 10.9.0.0/16 fd00:9::/48";

fn full() -> Setup {
    let dns = Dns { servers: vec!["10.0.0.53".parse().unwrap()], search: Vec::new() };
    Setup { dns, ..setup("10.0.0.1/24 10.0.0.2/24 fd00::1/64", FULL) }
}

#[test]
fn what_was_set_up_is_taken_back_to_the_byte() {
    with_interface(|directory| {
        let before = everything();
        let applied = apply_on(directory.host(), &full()).unwrap();
        assert_eq!((applied.fwmark(), applied.mtu()), (Some(51820), 1420));
        assert_eq!(std::fs::read_to_string(directory.host().file(VALID_MARK)).unwrap(), "1");
        let during = everything();
        for part in ["10.0.0.2/24", "default dev wg0 table 51820", "10.9.0.0/16 dev wg0", "suppress_prefixlength 0"] {
            assert!(during.contains(part), "{part} in {during}");
        }
        applied.take_back().unwrap();
        assert_eq!(everything(), before);
        let calls = std::fs::read_to_string(directory.path().join("calls")).unwrap();
        assert_eq!(calls, "-a wg0\n-d wg0\n");
    });
}

#[test]
fn a_default_route_leads_all_packets_into_the_tunnel_except_our_own() {
    with_interface(|directory| {
        let applied = apply_on(directory.host(), &setup("10.0.0.1/24", "0.0.0.0/0")).unwrap();
        let way = |to: &str| output(&format!("ip route get {to}"));
        assert!(way("203.0.113.1").contains("dev wg0 table 51820"), "{}", way("203.0.113.1"));
        assert!(way("203.0.113.1 mark 51820").contains("via 192.0.2.254 dev up0"));
        assert!(way("192.0.2.7").contains("dev up0"), "a network that is here stays here");
        applied.take_back().unwrap();
        assert!(way("203.0.113.1").contains("via 192.0.2.254 dev up0"));
    });
}

#[test]
fn an_interface_that_was_up_stays_up_with_what_it_had() {
    with_interface(|directory| {
        ip("link set wg0 up mtu 1300");
        ip("address add 10.1.0.1/24 dev wg0");
        let before = everything();
        let applied = apply_on(directory.host(), &setup("10.1.0.1/24 10.0.0.1/24", "10.2.0.0/16")).unwrap();
        applied.take_back().unwrap();
        assert_eq!(everything(), before);
    });
}

/// Each step fails in turn; the ones before it leave nothing.
#[test]
fn a_failure_leaves_nothing() {
    with_interface(|directory| {
        ip("route add 10.77.0.0/16 dev up0");
        let before = everything();
        let route = Setup { allowed_ips: prefixes(&format!("{FULL} 10.77.0.0/16")), ..full() };
        let mtu = Setup { mtu: Mtu::Bytes(65_000), ..full() };
        assert!(apply_on(directory.host(), &mtu).is_ok_and(|applied| applied.take_back().is_ok()));
        assert_eq!(everything(), before);
        let error = apply_on(directory.host(), &route).unwrap_err().to_string();
        assert!(error.starts_with("cannot add the route 10.77.0.0/16 to wg0: File exists"), "{error}");
        assert!(error.contains("take the prefix out of AllowedIPs"), "{error}");
        assert_eq!(everything(), before);

        let error = apply_on(directory.host(), &Setup { mtu: Mtu::Bytes(1279), ..full() }).unwrap_err().to_string();
        assert!(error.starts_with("an MTU of 1279 is too small for IPv6"), "{error}");
        assert_eq!(everything(), before);

        let address = setup("10.0.0.1/24 fd00::1/64 fd00::1/48", "");
        let error = apply_on(directory.host(), &address).unwrap_err().to_string();
        assert!(error.starts_with("cannot add the address fd00::1/48 to wg0"), "{error}");
        assert_eq!(everything(), before);

        std::fs::write("/proc/sys/net/ipv6/conf/wg0/disable_ipv6", "1").unwrap();
        let error = apply_on(directory.host(), &full()).unwrap_err().to_string();
        assert!(error.starts_with("cannot add the address fd00::1/64 to wg0: "), "{error}");
        assert!(error.contains("Enable IPv6"), "{error}");
        std::fs::write("/proc/sys/net/ipv6/conf/wg0/disable_ipv6", "0").unwrap();
        assert_eq!(everything(), before);

        std::fs::remove_file(directory.host().file(VALID_MARK)).unwrap();
        let error = apply_on(directory.host(), &full()).unwrap_err().to_string();
        assert!(error.contains("src_valid_mark") && error.contains("in /etc/sysctl.d"), "{error}");
        assert_eq!(everything(), before);
        directory.write(VALID_MARK, "0\n");

        directory.program("resolvconf", "[ $1 = -d ]");
        let error = apply_on(directory.host(), &full()).unwrap_err().to_string();
        assert_eq!(error, "cannot set the name servers (DNS): resolvconf failed: exit status: 1");
        assert_eq!(everything(), before);

        directory.program("resolvconf", "exit 2");
        let error = apply_on(directory.host(), &full()).unwrap_err().to_string();
        assert!(error.ends_with("is left: cannot take the name servers (DNS) back: resolvconf failed: exit status: 2"));
        assert_eq!(everything(), before);

        std::fs::remove_file(directory.path().join("bin/nft")).unwrap();
        let error = apply_on(directory.host(), &full()).unwrap_err().to_string();
        assert!(
            error.contains("it needs nft, which is not installed. Install nftables, or set `Table = off`"),
            "{error}"
        );
        assert_eq!(everything(), before);

        let error = apply_on(directory.host(), &Setup { interface: "wg9".into(), ..full() }).unwrap_err().to_string();
        assert!(error.contains("no interface wg9"), "{error}");
    });
}

#[test]
fn an_update_makes_only_the_difference() {
    with_interface(|directory| {
        let mut applied = apply_on(directory.host(), &full()).unwrap();
        let during = everything();
        let quiet = Monitor::start();
        // Nor is a program run.
        std::fs::rename(directory.path().join("bin"), directory.path().join("away")).unwrap();
        assert_eq!(applied.update(&full()).unwrap().to_string(), "nothing");
        std::fs::rename(directory.path().join("away"), directory.path().join("bin")).unwrap();
        assert_eq!(quiet.heard(), "");
        assert_eq!(everything(), during);

        let monitor = Monitor::start();
        let mut other = full();
        other.addresses = prefixes("10.0.0.1/24 10.0.0.2/24 fd00::1/64 10.0.3.1/24");
        other.allowed_ips = prefixes("0.0.0.0/0 ::/0 10.8.0.0/16 fd00:9::/48");
        other.mtu = Mtu::Bytes(1380);
        let changes = applied.update(&other).unwrap().to_string();
        assert_eq!(changes, "address +10.0.3.1/24; routes +1 -1; MTU 1420 -> 1380; nftables");
        let heard = monitor.heard();
        assert!(heard.contains("10.8.0.0/16") && heard.contains("Deleted 10.9.0.0/16"), "{heard}");
        for untouched in ["10.0.0.1", "10.0.0.2", "fd00:9::", "default dev", "suppress", "fwmark"] {
            assert!(!heard.contains(untouched), "{untouched} in {heard}");
        }

        let changes = applied.update(&full()).unwrap().to_string();
        assert_eq!(changes, "address -10.0.3.1/24; routes +1 -1; MTU 1380 -> 1420; nftables");
        assert_eq!(sorted(&everything()), sorted(&during));
    });
}

#[test]
fn an_update_that_fails_changes_nothing() {
    with_interface(|directory| {
        ip("route add 10.77.0.0/16 dev up0");
        let mut applied = apply_on(directory.host(), &full()).unwrap();
        let during = everything();
        let mut other = setup("10.0.0.7/24 fd00::1/48", "10.77.0.0/16 10.66.0.0/16");
        other.mtu = Mtu::Bytes(1300);
        let error = applied.update(&other).unwrap_err().to_string();
        assert!(error.starts_with("cannot add the route 10.77.0.0/16"), "{error}");
        await_address("fd00::1".parse().unwrap());
        assert_eq!(sorted(&everything()), sorted(&during));
        applied.take_back().unwrap();
        assert!(!everything().contains("51820"));
    });
}

/// The kernel takes more away than was asked for: with a network's first address its others, and with the last address
/// all routes.
#[test]
fn what_goes_with_an_address_comes_back() {
    with_interface(|directory| {
        let mut applied = apply_on(directory.host(), &setup("10.0.0.1/24 10.0.0.2/24", "10.9.0.0/16")).unwrap();
        applied.update(&setup("10.0.0.2/24", "10.9.0.0/16")).unwrap();
        assert!(output("ip -4 address show wg0").contains("10.0.0.2/24"));
        assert!(routing().contains("10.9.0.0/16 dev wg0"));
        applied.update(&setup("10.3.0.1/24", "10.9.0.0/16")).unwrap();
        applied.update(&setup("", "10.9.0.0/16")).unwrap();
        assert!(routing().contains("10.9.0.0/16 dev wg0"));
        ip("route del 10.9.0.0/16");
        assert_eq!(applied.update(&setup("", "10.9.0.0/16")).unwrap().to_string(), "routes +1");
    });
}

#[test]
fn a_default_route_comes_and_goes_with_an_update() {
    with_interface(|directory| {
        let mut applied = apply_on(directory.host(), &setup("10.0.0.1/24", "10.9.0.0/16")).unwrap();
        let before = everything();
        let changes = applied.update(&setup("10.0.0.1/24", FULL)).unwrap().to_string();
        assert_eq!(changes, "routes +3; rules +4; nftables");
        let changes = applied.update(&Setup { fwmark: Some(7), ..setup("10.0.0.1/24", FULL) }).unwrap().to_string();
        assert_eq!((changes.as_str(), applied.fwmark()), ("routes +2 -2; rules +4 -4; nftables", Some(7)));
        let changes = applied.update(&setup("10.0.0.1/24", "10.9.0.0/16")).unwrap().to_string();
        assert_eq!((changes.as_str(), applied.fwmark()), ("routes -3; rules -4; nftables", None));
        assert_eq!(everything(), before);
    });
}

#[test]
fn a_renamed_interface_keeps_its_network_under_its_new_name() {
    with_interface(|directory| {
        let mut applied = apply_on(directory.host(), &full()).unwrap();
        ip("link set wg0 name wg+1");
        let renamed = Setup { interface: "wg+1".to_owned(), ..full() };
        assert_eq!(applied.update(&renamed).unwrap().to_string(), "nftables; DNS");
        let tables = output("nft list tables");
        assert_eq!(tables, "table ip ringfort-wg/2b1\ntable ip6 ringfort-wg/2b1\n");
        assert!(output("nft list ruleset").contains("iifname != \"wg+1\""));
        let calls = std::fs::read_to_string(directory.path().join("calls")).unwrap();
        assert_eq!(calls, "-a wg0\n-d wg0\n-a wg+1\n");
        let gone = applied.update(&full()).unwrap_err().to_string();
        assert!(gone.contains("no interface wg0"), "{gone}");
        take_back_on(&directory.host(), "wg+1").unwrap();
        assert_eq!(output("ip -4 rule").lines().count(), 3);
        applied.take_back().unwrap();
    });
}

#[test]
fn rules_that_somebody_removed_come_back_in_order() {
    with_interface(|directory| {
        let mut applied = apply_on(directory.host(), &full()).unwrap();
        let during = output("ip -4 rule");
        ip("-4 rule del table main suppress_prefixlength 0");
        assert_eq!(applied.update(&full()).unwrap().to_string(), "rules +2 -1");
        let kinds =
            |text: &str| text.lines().map(|line| line.split_once(':').unwrap().1.to_owned()).collect::<Vec<_>>();
        assert_eq!(kinds(&output("ip -4 rule")), kinds(&during));
        // All of them are gone: the new ones get the numbers of the old ones, and must not go with them.
        ip("-4 rule del table main suppress_prefixlength 0");
        ip("-4 rule del not fwmark 51820 table 51820");
        assert_eq!(applied.update(&full()).unwrap().to_string(), "rules +2");
        assert_eq!(kinds(&output("ip -4 rule")), kinds(&during));
    });
}

#[test]
fn fifty_thousand_routes_come_change_and_go() {
    with_interface(|directory| {
        let before = everything();
        let network = |i: u32| format!("{}.{}.{}.0/24", 20 + (i >> 16), (i >> 8) & 255, i & 255).parse().unwrap();
        let mut many = Setup { allowed_ips: (0..50_000).map(network).collect(), ..setup("10.0.0.1/24 fd00::1/64", "") };
        many.allowed_ips.extend((0..1000).map(|i| format!("fd01:{i:x}::/48").parse::<crate::Prefix>().unwrap()));
        let start = std::time::Instant::now();
        let mut applied = apply_on(directory.host(), &many).unwrap();
        println!("51,000 routes: {:?}", start.elapsed());
        assert_eq!(output("ip -4 route show dev wg0").lines().count(), 50_001);
        let start = std::time::Instant::now();
        assert_eq!(applied.update(&many).unwrap().to_string(), "nothing");
        println!("unchanged: {:?}", start.elapsed());
        many.allowed_ips.swap_remove(7);
        many.allowed_ips.push("20.250.0.1/32".parse().unwrap());
        assert_eq!(applied.update(&many).unwrap().to_string(), "routes +1 -1");
        let start = std::time::Instant::now();
        applied.take_back().unwrap();
        println!("taken back: {:?}", start.elapsed());
        assert_eq!(everything(), before);
    });
}

#[test]
fn a_table_of_the_operator_s_choice_gets_all_routes_and_no_rules() {
    with_interface(|directory| {
        let setup = Setup { routes: Table::Number(70_000), ..setup("10.9.0.1/16", FULL) };
        assert_eq!(fwmark_for(&setup).unwrap(), None);
        let applied = apply_on(directory.host(), &setup).unwrap();
        let routes = output("ip -4 route show table 70000");
        assert!(routes.contains("default dev wg0") && routes.contains("10.9.0.0/16 dev wg0"), "{routes}");
        assert_eq!(output("ip -4 rule").lines().count(), 3);
        applied.take_back().unwrap();
    });
}

/// An update may take as long as programs do, so a daemon has it done by a thread of its own.
#[test]
fn it_can_be_given_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<Applied>();
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_is_touched() {
    let wrong = |setup: Setup| fwmark_for(&setup).unwrap_err().to_string();
    assert!(wrong(Setup { mtu: Mtu::Bytes(67), ..full() }).contains("choose 68 to 65535"));
    assert!(wrong(Setup { routes: Table::Number(0), ..full() }).contains("from 1"));
    assert!(wrong(Setup { fwmark: Some(254), ..full() }).contains("that one is the kernel's"));
    assert_eq!(fwmark_for(&Setup { fwmark: Some(254), ..setup("", "10.0.0.0/8") }).unwrap(), Some(254));
    for name in ["", ".", "a/b", "wg 0", "wg0\"", "sixteen-letters-"] {
        assert!(wrong(Setup { interface: name.to_owned(), ..full() }).contains("cannot be the name"), "{name}");
    }
    let dns = Dns { search: vec!["a\nnameserver 6.6.6.6".to_owned()], ..Dns::default() };
    assert!(wrong(Setup { dns, ..full() }).contains("neither an address nor a domain"));
}

fn sorted(text: &str) -> Vec<&str> {
    // The kernel gives new priorities and places to what comes back. It adds a route for multicast whenever an address
    // of IPv6 comes to an interface that is up.
    let without_priority = |line| str::split_once(line, ":\tfrom").map_or(line, |(_, rest)| rest);
    let mut lines: Vec<_> =
        text.lines().map(without_priority).filter(|line| !line.contains("ff00::/8 dev wg0")).collect();
    lines.sort_unstable();
    lines
}

/// Hears what changes in the namespace.
struct Monitor {
    child: Child,
    lines: Receiver<String>,
}

impl Monitor {
    fn start() -> Self {
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "ip", "-o", "monitor", "address", "route", "rule", "link"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let monitor = Self { child, lines };
        // It ignores what happens while it starts, so things happen until it hears one.
        ip("link add mark0 type veth peer name mark1");
        for mtu in (1000..1500).cycle() {
            ip(&format!("link set mark0 mtu {mtu}"));
            if monitor.lines.recv_timeout(Duration::from_millis(20)).is_ok() {
                break;
            }
        }
        ip("link delete mark0");
        monitor.until_mark_is_gone();
        monitor
    }

    /// All that it heard up to now.
    fn heard(mut self) -> String {
        ip("link add mark0 type veth peer name mark1");
        ip("link delete mark0");
        let heard = self.until_mark_is_gone();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        heard
    }

    fn until_mark_is_gone(&self) -> String {
        let is_end = |line: &String| line.contains("Deleted") && line.contains(": mark0");
        let lines = std::iter::from_fn(|| self.lines.recv_timeout(Duration::from_secs(60)).ok());
        let lines = lines.take_while(|line| !is_end(line)).filter(|line| !line.contains("mark"));
        lines.map(|line| format!("{line}\n")).collect()
    }
}
