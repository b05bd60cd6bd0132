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
