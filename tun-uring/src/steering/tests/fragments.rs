//! Datagrams in fragments and the whole ones around them leave by one queue.

use super::*;
use crate::SuperKind;

const FIRST: u16 = 0;
/// Where a later fragment lies in its datagram, in bytes.
const LATER: u16 = 1_400;

/// A fragment of the datagram `id`. What lies where the ports would be in a later fragment is payload.
fn fragment(whole: &[u8], id: u16, offset: u16) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    if whole[0] >> 4 == 4 {
        bytes[4..6].copy_from_slice(&id.to_be_bytes());
        let more = if offset == FIRST { 0x2000 } else { 0 };
        bytes[6..8].copy_from_slice(&(more | (offset / 8)).to_be_bytes());
    } else {
        let [hi, lo] = (offset | u16::from(offset == FIRST)).to_be_bytes();
        let [id_hi, id_lo] = id.to_be_bytes();
        bytes.splice(40..40, [bytes[6], 0, hi, lo, 0, 0, id_hi, id_lo]);
        bytes[6] = 44;
    }
    if offset != FIRST {
        let transport = if whole[0] >> 4 == 4 { 20 } else { 48 };
        bytes[transport..transport + 4].copy_from_slice(&[id as u8; 4]);
    }
    bytes
}

/// The bucket in which a flow goes that has no ports.
fn by_addresses(whole: &[u8]) -> Option<u32> {
    let mut bytes = whole.to_vec();
    bytes[if whole[0] >> 4 == 4 { 9 } else { 6 }] = 50;
    bucket(&bytes)
}

#[test]
fn fragments_go_with_the_whole_datagrams_of_their_flow() {
    for kind in KINDS {
        let mut table = table();
        for flow in 0..200 {
            let whole = packet(kind, flow);
            let expected = bucket(&whole);
            for offset in [FIRST, LATER, 2 * LATER] {
                assert_eq!(run(&fragment(&whole, flow, offset), &mut table), expected, "{kind}, {flow}, {offset}");
            }
            assert_eq!(run(&whole, &mut table), expected);
            let total = (0..Bucket::COUNT as u32).map(|bucket| sent(&table, bucket)).sum::<u64>();
            assert!(total >= cost(4 * (u64::from(flow) + 1), 0), "fragments are counted as well");
        }
    }
}

#[test]
fn datagrams_that_are_under_way_together_are_told_apart() {
    for kind in KINDS {
        let mut table = table();
        let flows: Vec<_> = (0..500).map(|flow| packet(kind, flow)).collect();
        for (id, flow) in (0..).zip(&flows) {
            run(&fragment(flow, id, FIRST), &mut table);
        }
        for (id, flow) in (0..).zip(&flows) {
            assert_eq!(run(&fragment(flow, id, LATER), &mut table), bucket(flow), "{kind}, {id}");
        }
    }
    // One identification, and what else tells datagrams apart: direction and protocol.
    let [udp, tcp] = [SuperKind::Udp4, SuperKind::Tcp4].map(|kind| packet(kind, 7));
    let others = [tcp, answer(&packet(SuperKind::Udp4, 8))];
    let mut table = table();
    for whole in std::iter::once(&udp).chain(&others) {
        run(&fragment(whole, 99, FIRST), &mut table);
    }
    for whole in others.iter().chain([&udp]) {
        assert_eq!(run(&fragment(whole, 99, LATER), &mut table), bucket(whole));
    }
}

#[test]
fn without_a_note_of_its_own_a_fragment_goes_by_its_addresses() {
    for kind in KINDS {
        let (whole, mut table) = (packet(kind, 3), table());
        let later = fragment(&whole, 5, LATER);
        assert_eq!(run(&later, &mut table), by_addresses(&whole), "{kind}: before the first");
        assert_eq!(bucket(&later), by_addresses(&whole), "{kind}: the mirror has no notes");
        run(&fragment(&whole, 5, FIRST), &mut table);
        let others = (6..).take(NOTES_COUNT).map(|id| fragment(&packet(kind, 4), id, FIRST));
        others.for_each(|first| assert_eq!(run(&first, &mut table), bucket(&packet(kind, 4))));
        assert_eq!(run(&later, &mut table), by_addresses(&whole), "{kind}: after another's");
    }
}

/// Neither whole datagrams nor fragments use ports where these are not behind the IP header.
#[test]
fn flows_with_other_headers_stay_together() {
    let whole = packet(SuperKind::Udp6, 3);
    let expected = by_addresses(&whole);
    let mut with_options = whole.clone();
    with_options.splice(40..40, [17, 0, 1, 4, 0, 0, 0, 0]);
    for first_header in [0, 43, 60] {
        with_options[6] = first_header;
        assert_eq!(run(&with_options, &mut table()), expected);
        let mut table = table();
        for offset in [FIRST, LATER] {
            // The fragment header in front of the options, and behind them.
            assert_eq!(run(&fragment(&with_options, 1, offset), &mut table), expected);
            let mut behind = fragment(&whole, 1, offset);
            behind.splice(40..40, [44, 0, 1, 4, 0, 0, 0, 0]);
            behind[6] = first_header;
            assert_eq!(run(&behind, &mut table), expected);
        }
    }
    for kind in [SuperKind::Udp4, SuperKind::Udp6] {
        let mut esp = packet(kind, 3);
        esp[if kind.is_ipv4() { 9 } else { 6 }] = 50;
        let mut table = table();
        for offset in [FIRST, LATER] {
            assert_eq!(run(&fragment(&esp, 1, offset), &mut table), bucket(&esp));
        }
    }
}

#[test]
fn the_program_agrees_about_fragments_that_are_cut_short() {
    for kind in KINDS {
        for offset in [FIRST, LATER] {
            let whole = fragment(&packet(kind, 1), 1, offset);
            for len in 0..whole.len() {
                assert_eq!(run(&whole[..len], &mut table()), bucket(&whole[..len]), "{kind}, {offset}, {len} bytes");
            }
        }
    }
}
