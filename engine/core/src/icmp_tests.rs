use proptest::prelude::*;

use super::*;

/// 10.98.0.1 to 10.98.0.7 and fd98::1 to fd98::7: packets, and answers that were put together with another program.
const ASKED_V4: &str = "4500001e12344000401113d00a6200010a6200070fa00009000a00006869";
const ANSWER_V4: &str = "45c0003a00004000400125380a6200070a620001030184e200000000\
                         4500001e12344000401113d00a6200010a6200070fa00009000a00006869";
const ASKED_V6: &str = "60012345000b113ffd980000000000000000000000000001fd980000000000000000000000000007\
                        0fa00009000bbeef6f6464";
const ANSWER_V6: &str = "60000000003b3a40fd980000000000000000000000000007fd980000000000000000000000000001\
                         0103d17a00000000\
                         60012345000b113ffd980000000000000000000000000001fd980000000000000000000000000007\
                         0fa00009000bbeef6f6464";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn answer(packet: &[u8]) -> Option<Vec<u8>> {
    let mut answer = vec![0xee; ANSWER_LEN_MAX];
    let len = unreachable(packet, &mut answer)?;
    answer.truncate(len);
    Some(answer)
}

fn patched(packet: &[u8], at: usize, patch: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[at..at + patch.len()].copy_from_slice(patch);
    packet
}

fn is_answered(packet: &[u8]) -> bool {
    answer(packet).is_some()
}

#[test]
fn known_answers() {
    for (asked, expected) in [(ASKED_V4, ANSWER_V4), (ASKED_V6, ANSWER_V6)] {
        assert_eq!(answer(&bytes(asked)), Some(bytes(expected)));
    }
}

#[test]
fn as_much_is_quoted_as_an_answer_holds() {
    for (asked, len_max) in [(ASKED_V4, 576), (ASKED_V6, 1_280)] {
        let mut packet = bytes(asked);
        let headers = if packet[0] >> 4 == 4 { 28 } else { 48 };
        for len in [len_max - headers - 1, len_max - headers, len_max - headers + 1, QUOTE_LEN_MAX, 9_000] {
            packet.resize(len, 0x5a);
            let answer = answer(&packet).unwrap();
            assert_eq!(answer.len(), (headers + len).min(len_max));
            assert_eq!(answer[headers..], packet[..answer.len() - headers]);
            assert_valid(&answer);
        }
    }
}

/// Lengths and checksums of an answer. Sums are folded after each word here.
fn assert_valid(answer: &[u8]) {
    let sum = |bytes: &[u8], start: u32| {
        let word = |pair: &[u8]| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        bytes.chunks(2).fold(start, |sum, pair| (sum + word(pair)) % 0xffff)
    };
    let field = |at: usize| usize::from(u16::from_be_bytes([answer[at], answer[at + 1]]));
    if answer[0] >> 4 == 4 {
        assert_eq!(field(2), answer.len());
        assert_eq!((sum(&answer[..20], 0), sum(&answer[20..], 0)), (0, 0));
    } else {
        assert_eq!(40 + field(4), answer.len());
        assert_eq!(sum(&answer[8..], field(4) as u32 + u32::from(ICMP_V6)), 0);
    }
}

#[test]
fn nobody_is_told_about_what_is_for_many_or_from_nobody() {
    let (v4, v6) = (bytes(ASKED_V4), bytes(ASKED_V6));
    for source in [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 5], [240, 0, 0, 1], [255; 4]] {
        assert!(!is_answered(&patched(&v4, 12, &source)), "from {source:?}");
    }
    for destination in [[224, 0, 0, 251], [239, 1, 2, 3], [255; 4]] {
        assert!(!is_answered(&patched(&v4, 16, &destination)), "to {destination:?}");
    }
    let mut loopback = [0; 16];
    loopback[15] = 1;
    for source in [[0; 16], loopback, [0xff; 16]] {
        assert!(!is_answered(&patched(&v6, 8, &source)), "from {source:?}");
    }
    assert!(!is_answered(&patched(&v6, 24, &[0xff, 2])), "to ff02::");
    assert!(is_answered(&patched(&v6, 8, &[0xfe, 0x80])), "from a link-local address");
}

#[test]
fn of_a_fragmented_packet_the_first_fragment_is_answered() {
    let (v4, v6) = (bytes(ASKED_V4), bytes(ASKED_V6));
    for (fragment, answered) in [([0x20, 0], true), ([0x20, 1], false), ([0, 0xb9], false)] {
        assert_eq!(is_answered(&patched(&v4, 6, &fragment)), answered, "{fragment:?}");
    }
    for (offset, answered) in [([0, 1], true), ([0, 0], true), ([0, 8], false), ([5, 0xa9], false)] {
        let mut fragment = v6.clone();
        fragment.splice(40..40, [17, 0, offset[0], offset[1], 0, 0, 0, 1]);
        fragment[6] = 44;
        assert_eq!(is_answered(&fragment), answered, "{offset:?}");
        fragment.splice(40..40, [44, 0, 1, 4, 0, 0, 0, 0]);
        fragment[6] = 0;
        assert_eq!(is_answered(&fragment), answered, "{offset:?} behind other headers");
    }
}

#[test]
fn errors_are_not_answered() {
    let v4 = patched(&bytes(ASKED_V4), 9, &[ICMP]);
    let v6 = patched(&bytes(ASKED_V6), 6, &[ICMP_V6]);
    for kind in 0..=255 {
        let query_v4 = matches!(kind, 0..=2 | 6..=10 | 13..=18);
        assert_eq!(is_answered(&patched(&v4, 20, &[kind])), query_v4, "type {kind}");
        assert_eq!(is_answered(&patched(&v6, 40, &[kind])), kind >= 128 && kind != 137, "type {kind} of ICMPv6");
        let mut behind_options = patched(&v6, 40, &[kind]);
        behind_options.splice(40..40, [ICMP_V6, 0, 1, 4, 0, 0, 0, 0]);
        behind_options[6] = 60;
        assert_eq!(is_answered(&behind_options), kind >= 128 && kind != 137);
    }
    assert!(!is_answered(&v4[..20]) && !is_answered(&v6[..40]), "without a type");
}

#[test]
fn headers_that_do_not_end_are_not_answered() {
    let mut packet = bytes(ASKED_V6);
    packet[6] = 60;
    for headers in 1..12 {
        packet.splice(40..40, [if headers == 1 { 17 } else { 60 }, 0, 1, 4, 0, 0, 0, 0]);
        assert_eq!(is_answered(&packet), headers < EXTENSIONS_MAX, "{headers}");
    }
    assert!(!is_answered(&packet[..50]), "cut short");
}

#[test]
fn an_allowance_fills_up_again_to_a_burst() {
    let mut allowance = Allowance::default();
    let mut taken = |millis, tries| (0..tries).filter(|_| allowance.take(Time::from_millis(millis))).count();
    assert_eq!(taken(5, 200), 50);
    assert_eq!(taken(14, 200), 0, "nine milliseconds later");
    assert_eq!(taken(15, 200), 1);
    assert_eq!(taken(1_015, 30), 30);
    assert_eq!(taken(1_015, 200), 20, "never more than a burst");
    assert_eq!(taken(500, 200), 0, "a clock that goes back earns nothing");
    assert_eq!(taken(3_600_000, 200), 50);
    assert_eq!((0..1_000).map(|n| taken(3_601_000 + n, 1)).sum::<usize>(), 50 + 99, "a steady stream for a second");
}

proptest! {
    #[test]
    fn arbitrary_bytes_get_a_valid_answer_or_none(
        mut packet in proptest::collection::vec(any::<u8>(), 0..1_500),
        v6 in any::<bool>(),
    ) {
        if let Some(first) = packet.first_mut() {
            *first = if v6 { 0x60 } else { 0x45 };
        }
        let answer = answer(&packet);
        prop_assert_eq!(answer.is_some(), may_answer(&packet));
        if let Some(answer) = answer {
            assert_valid(&answer);
        }
    }
}
