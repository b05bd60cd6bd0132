//! What a killed process left behind, and what others have taken away.

use super::*;

#[test]
fn what_a_killed_process_left_is_found_by_the_name_and_nobody_else_s() {
    with_interface(|directory| {
        ip("tuntap add wg1 mode tun");
        let before = routing();
        let other = Setup { interface: "wg1".to_owned(), ..setup("10.1.0.1/24", "0.0.0.0/0 ::/0") };
        let other = apply_on(directory.host(), &other).unwrap();
        let with_other = routing();
        let killed = apply_on(directory.host(), &full()).unwrap();
        assert_eq!(killed.fwmark(), Some(51821));
        ip("link delete wg0");
        assert_ne!(routing(), with_other);
        directory.write("/run/resolvconf/interface/wg0", "");
        take_back_on(&directory.host(), "wg0").unwrap();
        assert_eq!(routing(), with_other);
        take_back_on(&directory.host(), "wg0").unwrap();
        drop(killed);
        // In the other order as well: the rules of the first lie behind those of the second.
        ip("tuntap add wg0 mode tun");
        let second = apply_on(directory.host(), &full()).unwrap();
        drop(other);
        ip("link delete wg1");
        take_back_on(&directory.host(), "wg1").unwrap();
        assert!(routing().contains("lookup 51821") && !routing().contains("lookup 51820"));
        second.take_back().unwrap();
        assert_eq!(routing(), before);
    });
}

/// Loading a firewall anew flushes the tables of everybody.
#[test]
fn what_a_firewall_has_flushed_comes_back() {
    with_interface(|directory| {
        let mut applied = apply_on(directory.host(), &full()).unwrap();
        let during = everything();
        for change in ["flush ruleset", "delete table ip6 ringfort-wg0", "flush chain ip ringfort-wg0 preraw"] {
            output(&format!("nft {change}"));
            assert_ne!(everything(), during);
            assert_eq!(applied.update(&full()).unwrap().to_string(), "nftables", "{change}");
            assert_eq!(sorted(&everything()), sorted(&during), "{change}");
        }
        assert_eq!(applied.update(&full()).unwrap().to_string(), "nothing");
        applied.take_back().unwrap();
        assert!(!everything().contains("51820") && !everything().contains("ringfort"), "{}", everything());
    });
}

#[test]
fn rules_of_a_killed_process_are_found_without_its_tables_and_nobody_else_s() {
    with_interface(|directory| {
        ip("tuntap add wg1 mode tun");
        ip("tuntap add wg2 mode tun");
        // As wg-quick leaves them, and another gateway of ours that lives.
        for family in ["-4", "-6"] {
            ip(&format!("{family} rule add not fwmark 7 table 7"));
            ip(&format!("{family} rule add table main suppress_prefixlength 0"));
        }
        let other = Setup { interface: "wg1".to_owned(), ..setup("10.1.0.1/24", "0.0.0.0/0 ::/0") };
        let other = apply_on(directory.host(), &other).unwrap();
        ip("link set wg0 up");
        output("nft flush ruleset");
        let before = routing();
        drop(apply_on(directory.host(), &full()).unwrap());
        output("nft flush ruleset");
        assert!(routing().contains("lookup 51821"));
        // The interface is still there, with its routes.
        take_back_on(&directory.host(), "wg2").unwrap();
        assert!(routing().contains("lookup 51821"), "that is somebody else's business");
        take_back_on(&directory.host(), "wg0").unwrap();
        assert!(!routing().contains("51821"), "{}", routing());
        ip("link delete wg0");
        assert_eq!(sorted(&routing()), sorted(&before));
        // It is gone.
        ip("tuntap add wg0 mode tun");
        drop(apply_on(directory.host(), &full()).unwrap());
        output("nft flush ruleset");
        ip("link delete wg0");
        assert!(routing().contains("lookup 51821"));
        take_back_on(&directory.host(), "wg0").unwrap();
        assert_eq!(sorted(&routing()), sorted(&before));
        other.take_back().unwrap();
    });
}

/// wg-quick takes 51820 as well when its table is empty.
#[test]
fn who_took_the_number_since_then_keeps_the_rules() {
    with_interface(|directory| {
        drop(apply_on(directory.host(), &setup("10.0.0.1/24", "0.0.0.0/0")).unwrap());
        ip("link delete wg0");
        ip("tuntap add wg1 mode tun");
        ip("link set wg1 up");
        ip("route add default dev wg1 table 51820");
        ip("rule add not fwmark 51820 table 51820");
        ip("rule add table main suppress_prefixlength 0");
        let theirs: Vec<_> = output("ip -4 rule").lines().take(3).map(str::to_owned).collect();
        take_back_on(&directory.host(), "wg0").unwrap();
        let left = output("ip -4 rule");
        assert!(theirs.iter().all(|rule| left.contains(rule)), "{left}");
        assert_eq!(left.lines().count(), 5);
    });
}

#[test]
fn an_interface_that_is_gone_leaves_nothing_to_take_back_but_the_rules() {
    with_interface(|directory| {
        ip("link set wg0 up");
        let applied = apply_on(directory.host(), &full()).unwrap();
        ip("link delete wg0");
        applied.take_back().unwrap();
        assert!(!everything().contains("51820") && !everything().contains("ringfort"), "{}", everything());
    });
}

#[test]
fn apply_replaces_what_a_killed_process_left() {
    with_interface(|directory| {
        let before = routing();
        drop(apply_on(directory.host(), &full()).unwrap());
        ip("link delete wg0");
        ip("tuntap add wg0 mode tun");
        apply_on(directory.host(), &full()).unwrap().take_back().unwrap();
        assert_eq!(routing(), before);
    });
}
