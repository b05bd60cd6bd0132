//! Through a WireGuard tunnel.

use std::time::Duration;

use ringfort_testbed::daemon::Program;
use ringfort_testbed::tunnel::Peering;
use ringfort_testbed::{Family, Implementation, Namespace, Tunnel};
use ringfort_traffic::{Direction, Imix, Load, Size};

use crate::{SETTLE, assert_flawless, load, must, nft_counter, run, until_it_says_something};

fn tunnel() -> Tunnel {
    let program = Program::peer(Implementation::WireguardGo).unwrap();
    let tunnel = Tunnel::connected([&program, &program], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, Duration::from_secs(30)).unwrap();
    // A gateway that is not run for a while shall lose nothing by that.
    for side in &tunnel.sides {
        must(tunnel.namespace(side.index), &format!("ip link set {} txqueuelen 10000", side.interface));
    }
    tunnel
}

fn ends(tunnel: &Tunnel, family: Family) -> [(&Namespace, std::net::IpAddr); 2] {
    [0, 1].map(|side| (tunnel.namespace(side), tunnel.sides[side].inner(family)))
}

#[test]
fn the_mix_goes_through_a_tunnel_both_ways_and_back() {
    let tunnel = tunnel();
    let load = Load { size: Size::Imix(Imix::default()), rate_pps: 1_000, flows: 12, ..load() };
    for (direction, family) in [(Direction::BothWays, Family::V4), (Direction::RoundTrip, Family::V6)] {
        let outcome = run(&Load { direction, ..load.clone() }, ends(&tunnel, family));
        assert_eq!([outcome.total.lost, outcome.total.duplicated, outcome.total.damaged], [0; 3], "{outcome:#?}");
    }
}

#[test]
fn what_is_lost_outside_is_lost_inside() {
    let tunnel = tunnel();
    let to = tunnel.namespace(1);
    // Data messages that carry 64 bytes: UDP header, data header, packet, tag.
    let length = 8 + 16 + 64 + 16;
    must(to, "nft add table inet lab");
    must(to, "nft add chain inet lab in { type filter hook prerouting priority -400 ; }");
    must(to, &format!("nft add rule inet lab in udp length {length} numgen inc mod 8 5 counter drop"));
    let load = Load { rate_pps: 2_000, settle: SETTLE, ..load() };
    let attempt = || {
        let before = nft_counter(to);
        let outcome = run(&load, ends(&tunnel, Family::V4));
        assert_eq!(outcome.total.lost, nft_counter(to) - before);
        assert_eq!([outcome.total.duplicated, outcome.total.damaged], [0; 2]);
        outcome
    };
    until_it_says_something(attempt, |outcome| outcome.total.lost > 100);
}

#[test]
fn one_flow_through_a_quiet_tunnel_is_flawless() {
    let tunnel = tunnel();
    assert_flawless(&run(&Load { rate_pps: 500, ..load() }, ends(&tunnel, Family::V6)).total);
}
