//! Latency under load.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ringfort_testbed::Wire;
use ringfort_testbed::netns::{outer_v4, outer_v6};
use ringfort_traffic::rrul::{Rrul, run};
use ringfort_traffic::{Answers, Endpoint};

use crate::{must, until_it_says_something};

fn rrul() -> Rrul {
    let short = Duration::from_millis(400);
    Rrul { quiet: short, ramp_up: Duration::from_millis(100), sustain: short, ..Rrul::default() }
}

#[test]
fn both_directions_are_loaded_and_probes_are_timed_meanwhile() {
    let wire = Wire::new().unwrap();
    for address in [outer_v4 as fn(usize) -> _, outer_v6] {
        let [from, to] = [0, 1].map(|end| Endpoint { namespace: &wire.ends[end], address: address(end) });
        let measured = |answers: &Answers| answers.times_ns.is_some();
        let outcome = until_it_says_something(
            || run(&rrul(), from, to, &AtomicU64::new(0)).unwrap(),
            |outcome| {
                [outcome.udp.quiet, outcome.udp.loaded, outcome.icmp.quiet, outcome.icmp.loaded].iter().all(measured)
            },
        );
        assert_eq!((outcome.forth.stream_bytes.len(), outcome.back.stream_bytes.len()), (4, 4));
        assert!(outcome.bytes_all >= outcome.forth.received_bytes + outcome.back.received_bytes);
        assert!(outcome.measured_from_s >= 0.5, "{}", outcome.measured_from_s);
        for probed in [&outcome.udp, &outcome.icmp] {
            // Two hundred a second, whether they leave in time or not.
            assert_eq!((probed.quiet.sent, probed.quiet.lost), (80, 0));
            assert!(!probed.over_time.is_empty() && probed.over_time.is_sorted_by(|one, next| one.0 < next.0));
        }
    }
}

#[test]
fn probes_without_an_answer_are_lost_and_not_timed() {
    let wire = Wire::new().unwrap();
    let to = &wire.ends[1];
    must(to, "nft add table inet lab");
    must(to, "nft add chain inet lab in { type filter hook input priority 0 ; }");
    must(to, "nft add rule inet lab in icmp type echo-request drop");
    let [from, to] = [0, 1].map(|end| Endpoint { namespace: &wire.ends[end], address: outer_v4(end) });
    let outcome = run(&rrul(), from, to, &AtomicU64::new(0)).unwrap();
    let icmp = outcome.icmp.quiet;
    assert!(icmp.sent > 0 && icmp.lost == icmp.sent && icmp.times_ns.is_none(), "{icmp:?}");
    assert_eq!(outcome.udp.quiet.lost, 0);
}
