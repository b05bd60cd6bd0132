//! How figures went on during a measurement.

use ringfort_traffic::rrul::{Probed, RrulOutcome};
use ringfort_traffic::tcp::BulkOutcome;

use crate::results::model::{Series, Unit};

/// How round trips and both directions of TCP went on.
pub fn of(outcome: &RrulOutcome) -> Vec<Series> {
    let times = |name: &str, title: &str, probed: &Probed| Series {
        name: name.to_owned(),
        title: title.to_owned(),
        unit: Unit::Nanoseconds,
        points: probed.over_time.iter().map(|&(at_s, ns)| ((at_s * 1e3).round() / 1e3, ns as f64)).collect(),
    };
    let begin_s = outcome.measured_from_s;
    vec![
        times("udp", "round trips of UDP", &outcome.udp),
        times("ping", "round trips of ICMP echo", &outcome.icmp),
        throughput("throughput_forth", "TCP, there", &outcome.forth, begin_s),
        throughput("throughput_back", "TCP, back", &outcome.back, begin_s),
    ]
}

/// Interval by interval; the first begins `begin_s` after the traffic.
pub fn throughput(name: &str, title: &str, outcome: &BulkOutcome, begin_s: f64) -> Series {
    let point = |(at_s, rate): (f64, f64)| (((begin_s + at_s) * 1e3).round() / 1e3, rate.round());
    let points = outcome.rate_over_time().into_iter().map(point).collect();
    Series { name: name.to_owned(), title: title.to_owned(), unit: Unit::MegabitsPerSecond, points }
}
