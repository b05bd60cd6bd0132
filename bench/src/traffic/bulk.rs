//! Tables about TCP, and about probes beside it.

use ringfort_traffic::Answers;
use ringfort_traffic::rrul::RrulOutcome;
use ringfort_traffic::tcp::BulkOutcome;

use super::numbers::percentiles;
use crate::text::{grouped, megabits, table};

/// Of a transfer one way.
pub fn print(outcome: &BulkOutcome) {
    let streams = outcome.bulk.streams;
    let what = if streams == 1 { "one connection".to_owned() } else { format!("{streams} connections") };
    print_ways(&[(&what, outcome)]);
    println!(
        "Measured for {:.0} s after {:.0} s, every byte verified. The generator took {:.0} % of a CPU to send, the \
         reflector {:.0} % to receive.",
        outcome.measured_s,
        outcome.bulk.ramp_up.as_secs_f64(),
        outcome.sender_cpu_percent,
        outcome.receiver_cpu_percent
    );
}

/// Of transfers both ways, and of probes beside them.
pub fn print_rrul(outcome: &RrulOutcome) {
    let RrulOutcome { rrul, forth, back, udp, icmp, .. } = outcome;
    print_ways(&[("there", forth), ("back", back)]);
    let mut rows = table(&["round trips", "p50", "p90", "p99", "p99.9", "longest", "lost"]);
    for (name, answers) in named(outcome) {
        let lost = format!("{:.2} %", percent_lost(answers));
        rows.add_row(std::iter::once(name.to_owned()).chain(percentiles(answers.times_ns)).chain([lost]));
    }
    println!("{rows}");
    println!(
        "TCP over {} connections each way, measured for {:.0} s after {:.0} s, every byte verified. Probes: {} of each \
         kind per second, {:.0} s of them before the load.",
        rrul.streams,
        forth.measured_s,
        rrul.ramp_up.as_secs_f64(),
        rrul.probes_pps,
        rrul.quiet.as_secs_f64()
    );
    if [udp, icmp].iter().any(|probed| probed.loaded.times_ns.is_none()) {
        println!(
            "CAUTION: a kind of probes has no answers under load: is it filtered, or does the host not answer it?"
        );
    }
}

/// The probes of both kinds, before the load and under it.
pub fn named(outcome: &RrulOutcome) -> [(&'static str, &Answers); 4] {
    [
        ("UDP, before", &outcome.udp.quiet),
        ("UDP, loaded", &outcome.udp.loaded),
        ("ICMP, before", &outcome.icmp.quiet),
        ("ICMP, loaded", &outcome.icmp.loaded),
    ]
}

/// Probes without an answer, in percent.
pub fn percent_lost(answers: &Answers) -> f64 {
    if answers.sent == 0 { 0.0 } else { answers.lost as f64 * 100.0 / answers.sent as f64 }
}

fn print_ways(ways: &[(&str, &BulkOutcome)]) {
    let mut rows = table(&["TCP", "throughput", "fairness", "sent again"]);
    for (name, outcome) in ways {
        rows.add_row([
            (*name).to_owned(),
            megabits(outcome.megabits_per_s),
            format!("{:.3}", outcome.fairness),
            grouped(outcome.retransmits),
        ]);
    }
    println!("{rows}");
}
