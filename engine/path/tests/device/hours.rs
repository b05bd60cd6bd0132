//! Long times: what an hour of traffic and silences of any length come to.

use std::time::Duration;

use crate::{Pair, START, kinds};

const SECOND: Duration = Duration::from_secs(1);

fn count(kinds: &[u8], kind: u8) -> usize {
    kinds.iter().filter(|&&other| other == kind).count()
}

#[test]
fn no_packet_is_lost_over_many_rekeys() {
    let mut pair = Pair::new();
    let mut sent = Vec::new();
    for n in 0..3_600 {
        sent.extend(kinds(&pair.run_until(START + n * SECOND)));
        pair.offer_a();
        sent.extend(kinds(&pair.run_until(START + n * SECOND + SECOND / 2)));
        pair.offer_b();
        sent.extend(kinds(&pair.exchange()));
    }
    assert_eq!((pair.a.delivered.len(), pair.b.delivered.len()), (3_600, 3_600));
    let initiations = count(&sent, 1);
    assert!((29..=35).contains(&initiations), "{initiations} initiations: one in 105 to 120 s");
}

#[test]
fn one_way_traffic_is_answered_with_keepalives_only() {
    let mut pair = Pair::new();
    let mut sent = Vec::new();
    for n in 0..100 {
        sent.extend(pair.run_until(START + n * SECOND));
        pair.offer_a();
        sent.extend(pair.exchange());
    }
    sent.extend(pair.run_until(START + 110 * SECOND));
    let back: Vec<_> = sent.iter().filter(|sent| sent.from == pair.b.address).cloned().collect();
    let keepalives = count(&kinds(&back), 40);
    assert_eq!(back.len(), keepalives + 1, "the rest is the handshake's response");
    assert!((9..=11).contains(&keepalives), "{keepalives} keepalives: one per 10 s");
    assert_eq!(count(&kinds(&sent), 1), 1, "silence was never suspected");
}

#[test]
fn a_session_unused_for_long_is_replaced_when_needed() {
    let mut pair = Pair::new();
    let mut when = START;
    for gap in [1, 119, 121, 179, 181, 300, 539, 541, 1_000] {
        when += gap * SECOND;
        pair.run_until(when);
        pair.offer_a();
        when += SECOND;
        pair.run_until(when);
        pair.offer_b();
        when += SECOND;
        pair.run_until(when);
        assert_eq!((pair.a.delivered.len(), pair.b.delivered.len()), (1, 1), "after {gap} s");
        pair.a.delivered.clear();
        pair.b.delivered.clear();
    }
}
