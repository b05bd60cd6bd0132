//! The moments within an update: no packet finds a way past the tunnel in them.

use super::*;

/// The kernel removes with the first address of a network its others, and with the last IPv4 address all IPv4 routes of
/// the interface, in all tables.
#[test]
fn another_address_of_the_same_network_leaves_all_routes_alone() {
    for (from, to) in [
        ("10.0.0.1/24", "10.0.0.2/24"),
        ("10.0.0.1/24 10.0.0.2/24", "10.0.0.2/24 10.0.0.3/24"),
        ("10.0.0.1/32 10.0.0.2/24", "10.0.0.1/24"),
        ("10.0.0.1/24", "10.0.0.1/32"),
        ("10.0.0.1/24", "10.1.0.1/24"),
    ] {
        with_interface(|directory| {
            let mut applied = apply_on(directory.host(), &setup(from, FULL)).unwrap();
            ip("route add 10.7.0.0/16 dev wg0 table 7");
            let monitor = Monitor::start();
            let changes = applied.update(&setup(to, FULL)).unwrap().to_string();
            let heard = monitor.heard();
            for untouched in ["default", "10.9.0.0/16", "unreachable"] {
                assert!(!heard.contains(untouched), "{from} to {to}: {untouched} in {heard}");
            }
            assert!(!changes.contains("routes"), "{changes}");
            let addresses = output("ip -4 address show wg0");
            let count = addresses.lines().filter(|line| line.contains("inet ")).count();
            assert_eq!(count, to.split(' ').count(), "{addresses}");
            assert!(to.split(' ').all(|one| addresses.contains(&format!("inet {one}"))), "{addresses}");
            assert!(output("ip route show table 7").contains("10.7.0.0/16"), "a route of the operator is gone");
            ip("route del 10.7.0.0/16 table 7");
            let updated = routing();
            applied.take_back().unwrap();
            apply_on(directory.host(), &setup(to, FULL)).unwrap();
            assert_eq!(sorted(&updated), sorted(&routing()), "{from} to {to}");
        });
    }
}

/// Below an MTU of 1280 the kernel has no IPv6 on the interface: it takes all of it away, and refuses addresses.
#[test]
fn ipv6_comes_and_goes_with_an_mtu_that_it_needs() {
    with_interface(|directory| {
        let narrow = Setup { mtu: Mtu::Bytes(1200), ..setup("10.0.0.1/24", "10.9.0.0/16") };
        let wide = Setup { mtu: Mtu::Bytes(1420), ..setup("10.0.0.1/24 fd00::1/64", "10.9.0.0/16 ::/0") };
        let mut applied = apply_on(directory.host(), &narrow).unwrap();
        let before = everything();
        let changes = applied.update(&wide).unwrap().to_string();
        assert_eq!(changes, "address +fd00::1/64; routes +1; rules +2; MTU 1200 -> 1420; nftables");
        let during = everything();
        let changes = applied.update(&narrow).unwrap().to_string();
        assert_eq!(changes, "address -fd00::1/64; routes -1; rules -2; MTU 1420 -> 1200; nftables");
        assert_eq!(sorted(&everything()), sorted(&before));
        applied.update(&wide).unwrap();
        // Fails when IPv6 is gone already.
        ip("route add 10.77.0.0/16 dev up0");
        let occupied = Setup { allowed_ips: prefixes("10.77.0.0/16"), ..narrow };
        let error = applied.update(&occupied).unwrap_err().to_string();
        assert!(error.starts_with("cannot add the route 10.77.0.0/16") && !error.contains("left"), "{error}");
        ip("route del 10.77.0.0/16 dev up0");
        assert_eq!(sorted(&everything()), sorted(&during));
    });
}

const BLOCK: &str = "unreachable default table 51820 proto 51 metric 4294967295";

/// All IPv4 routes go with the last IPv4 address, and packets must not leave unencrypted until they are back.
#[test]
fn without_an_ipv4_address_nothing_gets_past_the_tunnel() {
    with_interface(|directory| {
        let mut applied = apply_on(directory.host(), &setup("10.0.0.1/24 fd00::1/64", FULL)).unwrap();
        let monitor = Monitor::start();
        let changes = applied.update(&setup("fd00::1/64", FULL)).unwrap().to_string();
        assert_eq!(changes, "address -10.0.0.1/24; routes +2; nftables");
        let heard = monitor.heard();
        let place = |line: &str| heard.find(line).unwrap_or_else(|| panic!("{line} in {heard}"));
        assert!(place(BLOCK) < place("    inet 10.0.0.1/24"), "{heard}");
        assert!(place("default dev wg0 table 51820") < place("10.9.0.0/16 dev wg0"), "{heard}");
        assert!(place("10.9.0.0/16 dev wg0") < place(&format!("Deleted {BLOCK}")), "{heard}");
        assert!(!routing().contains("unreachable"));
        applied.update(&setup("10.0.0.1/24", FULL)).unwrap();
        applied.update(&setup("", "10.9.0.0/16")).unwrap();
        assert!(!routing().contains("unreachable") && !routing().contains("51820"));
    });
}

#[test]
fn a_failure_in_between_keeps_the_tunnel_closed_until_it_is_over() {
    with_interface(|directory| {
        let before = everything();
        let original = setup("10.0.0.1/24", "0.0.0.0/0 10.9.0.0/16");
        let mut applied = apply_on(directory.host(), &original).unwrap();
        let fail = |applied: &mut Applied| {
            // Neither the change can be made, nor can it be taken back.
            ip("route add 10.77.0.0/16 dev up0");
            ip("route append 10.9.0.0/16 dev up0");
            let error = applied.update(&setup("", "0.0.0.0/0 10.77.0.0/16")).unwrap_err().to_string();
            assert!(error.starts_with("cannot add the route 10.77.0.0/16"), "{error}");
            assert!(error.contains("is left: cannot add the route 10.9.0.0/16"), "{error}");
            // The default route is the first that comes back.
            assert!(routing().contains("default dev wg0 table 51820"), "{}", routing());
            assert!(routing().contains(BLOCK), "{}", routing());
            ip("route del 10.77.0.0/16 dev up0");
            ip("route del 10.9.0.0/16 dev up0");
        };
        fail(&mut applied);
        applied.update(&original).unwrap();
        assert!(!routing().contains("unreachable") && routing().contains("10.9.0.0/16 dev wg0"), "{}", routing());
        fail(&mut applied);
        applied.take_back().unwrap();
        assert_eq!(everything(), before);
    });
}

#[test]
fn what_a_process_left_that_was_killed_in_between_is_taken_back() {
    with_interface(|directory| {
        let before = routing();
        drop(apply_on(directory.host(), &full()).unwrap());
        ip("link delete wg0");
        ip(&format!("route add {BLOCK}"));
        assert!(output("ip route get 203.0.113.1").is_empty(), "{}", output("ip route get 203.0.113.1"));
        ip("tuntap add wg0 mode tun");
        let applied = apply_on(directory.host(), &full()).unwrap();
        assert_eq!(applied.fwmark(), Some(51820));
        assert!(!routing().contains("unreachable"), "{}", routing());
        applied.take_back().unwrap();
        assert_eq!(routing(), before);
    });
}
