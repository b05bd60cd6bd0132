//! The program as the kernel runs it (`BPF_PROG_TEST_RUN`), beside what it should say. Needs root.

use blake2::Blake2sMac;
use blake2::digest::consts::U16;
use blake2::digest::{FixedOutput, KeyInit, Update};
use proptest::prelude::*;

use super::source::SAMPLE;
use super::*;

pub(super) const MARKERS: [[u8; 3]; 2] = [[0; 3], *b"GCM"];
const KNOWN: u32 = 0xdead_beef;
const KEY: [u8; 32] = [0xa7; 32];
/// Of `struct __sk_buff`.
const CONTEXT_LEN: usize = 192;
const GSO_SIZE: usize = 176;

/// A filter that lets nothing pass for being rare.
fn strict(workers: u8) -> JunkFilter {
    strict_of(workers, Extent::Whole)
}

pub(super) fn strict_of(workers: u8, extent: Extent) -> JunkFilter {
    strict_among(workers, TopByte::default(), extent)
}

fn strict_among(workers: u8, ours: TopByte, extent: Extent) -> JunkFilter {
    let filter = JunkFilter::with_allowance(workers, &MARKERS, (ours, extent), (4, 0));
    let filter = filter.expect("bpf(2) loads it; this test needs root");
    filter.note_index(KNOWN);
    filter.set_mac1_key(Some(&KEY));
    filter.set_recovering(false);
    filter
}

fn run_with(filter: &JunkFilter, worker: usize, datagram: &[u8], context: &[u8]) -> bool {
    // Of IP the kernel wants whole headers here.
    let ethernet = [&[2; 12][..], &[0x88, 0xb5]].concat();
    let frame = [&ethernet, &[0; 8][..], datagram].concat();
    let kept = ebpf_array::run(&filter.programs[worker], &frame, context).expect("the kernel runs it");
    assert!(kept == 0 || kept == u32::MAX, "nothing is cut: {kept}");
    kept != 0
}

/// Whether it passes.
fn passes(filter: &JunkFilter, datagram: &[u8]) -> bool {
    run_with(filter, 0, datagram, &[])
}

/// What a datagram is counted as; `None` if it passes.
fn verdict(filter: &JunkFilter, datagram: &[u8]) -> Option<Junk> {
    let before = Junk::ALL.map(|why| filter.dropped(0, why));
    let passed = passes(filter, datagram);
    let counted: Vec<_> =
        Junk::ALL.into_iter().zip(before).filter(|&(why, before)| filter.dropped(0, why) != before).collect();
    assert_eq!(counted.len(), usize::from(!passed), "one name for each that is dropped: {counted:?}");
    counted.first().map(|&(why, _)| why)
}

/// The same as the protocol has it.
fn expected(datagram: &[u8]) -> Option<Junk> {
    // Of an index 20 bits count, none of them in the top byte.
    let place = |index: u32| (index.swap_bytes() >> 8) as usize % shared::INDICES;
    let is_known = |at: usize| place(u32::from_le_bytes(*datagram[at..].first_chunk().unwrap())) == place(KNOWN);
    let has_mac1 = |covered: usize| mac1(&datagram[..covered])[..] == datagram[covered..covered + 16];
    match *datagram {
        [1, a, b, c, ..] if MARKERS.contains(&[a, b, c]) => match datagram.len() {
            148 => (!has_mac1(116)).then_some(Junk::BadMac1),
            _ => Some(Junk::BadLength),
        },
        [kind @ 2..=4, 0, 0, 0, ..] => match (kind, datagram.len()) {
            (2, 92) if !is_known(8) => Some(Junk::UnknownIndex),
            (2, 92) => (!has_mac1(60)).then_some(Junk::BadMac1),
            (3, 64) | (4, 32..) => (!is_known(4)).then_some(Junk::UnknownIndex),
            _ => Some(Junk::BadLength),
        },
        [1..=4, _, _, _, ..] => Some(Junk::BadReserved),
        [_, _, _, _, ..] => Some(Junk::UnknownType),
        _ => Some(Junk::Runt),
    }
}

fn mac1(covered: &[u8]) -> [u8; 16] {
    let mut state = <Blake2sMac<U16> as KeyInit>::new_from_slice(&KEY).unwrap();
    state.update(covered);
    state.finalize_fixed().into()
}

/// A message with a right mac1 and, where it has one, the index that is known.
fn message(kind: u8, len: usize, fill: u8) -> Vec<u8> {
    let mut bytes = vec![fill; len];
    bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
    let index = if kind == 2 { 8 } else { 4 };
    bytes[index..index + 4].copy_from_slice(&KNOWN.to_le_bytes());
    if kind < 3 {
        let mac = mac1(&bytes[..len - 32]);
        bytes[len - 32..len - 16].copy_from_slice(&mac);
    }
    bytes
}

fn messages() -> [Vec<u8>; 5] {
    [message(1, 148, 3), message(2, 92, 4), message(3, 64, 5), message(4, 32, 6), message(4, 1_452, 7)]
}

#[test]
fn messages_pass_and_are_junk_as_soon_as_anything_is_wrong() {
    let filter = strict(1);
    for whole in messages() {
        assert_eq!(verdict(&filter, &whole), None);
        for len in 0..whole.len().min(200) {
            assert_eq!(verdict(&filter, &whole[..len]), expected(&whole[..len]), "type {}, {len} bytes", whole[0]);
        }
        for at in 0..whole.len().min(160) {
            let mut other = whole.clone();
            other[at] ^= 0x10;
            assert_eq!(verdict(&filter, &other), expected(&other), "type {}, byte {at}", whole[0]);
        }
        let longer = [&whole[..], &[0; 16]].concat();
        assert_eq!(verdict(&filter, &longer), expected(&longer));
    }
}

#[test]
fn initiations_of_each_suite_pass_and_no_other_message_is_marked() {
    let filter = strict(1);
    for (marker, mut message) in MARKERS.into_iter().flat_map(|marker| messages().map(|message| (marker, message))) {
        message[1..4].copy_from_slice(&marker);
        if message[0] == 1 {
            let mac = mac1(&message[..116]);
            message[116..132].copy_from_slice(&mac);
        }
        assert_eq!(verdict(&filter, &message).is_none(), message[0] == 1 || marker == [0; 3]);
        assert_eq!(verdict(&filter, &message), expected(&message));
    }
}

#[test]
fn without_a_key_mac1_is_not_looked_at_and_with_another_one_it_is_wrong() {
    let filter = strict(1);
    for message in [message(1, 148, 9), message(2, 92, 9)] {
        filter.set_mac1_key(None);
        assert!(passes(&filter, &message));
        filter.set_mac1_key(Some(&[1; 32]));
        assert_eq!(verdict(&filter, &message), Some(Junk::BadMac1));
        filter.set_mac1_key(Some(&KEY));
        assert!(passes(&filter, &message));
    }
}

#[test]
fn an_index_passes_for_as_long_as_somebody_has_it() {
    let (filter, data) = (strict(1), message(4, 100, 1));
    filter.note_index(KNOWN ^ 0xff00_00f0);
    filter.forget_index(KNOWN);
    assert!(passes(&filter, &data), "another one differs in the gateway and the worker only, and shares the counter");
    filter.forget_index(KNOWN ^ 0xff00_00f0);
    assert_eq!(verdict(&filter, &data), Some(Junk::UnknownIndex));
    filter.forget_index(KNOWN);
    filter.note_index(KNOWN);
    assert!(passes(&filter, &data), "what was not noted is not forgotten");
    (0..300).for_each(|_| filter.note_index(KNOWN));
    (0..301).for_each(|_| filter.forget_index(KNOWN));
    assert!(passes(&filter, &data), "a counter that was full stays");
}

#[test]
fn an_index_of_another_gateway_has_a_name_of_its_own() {
    for extent in [Extent::Whole, Extent::Form] {
        let filter = strict_among(1, TopByte { mask: 0xe0, value: 0xc0 }, extent);
        let [_, response, cookie, data, train] = messages();
        for (message, at) in [(response, 8), (cookie, 4), (data, 4), (train, 4)] {
            assert_eq!(verdict(&filter, &message), None, "it is known");
            for top in 0..=u8::MAX {
                let mut stray = message.clone();
                // The next byte says that nobody has it.
                stray[at + 2] ^= 1;
                stray[at + 3] = top;
                let expected = if top >> 5 == 0b110 { Junk::UnknownIndex } else { Junk::OtherNode };
                assert_eq!(verdict(&filter, &stray), Some(expected), "type {}, top byte {top:#x}", message[0]);
            }
        }
        filter.set_recovering(true);
        let mut data = message(4, 64, 0);
        data[4..8].copy_from_slice(&[10, 1, 2, 3]);
        assert_eq!(verdict(&filter, &data), Some(Junk::OtherNode));
        filter.locate(SocketAddr::from(([10, 1, 2, 3], 0)));
        assert_eq!(verdict(&filter, &data), None, "its session may have been of a gateway that is gone");
    }
}

#[test]
fn what_is_rare_passes_and_what_is_dropped_is_counted_where_it_was_for() {
    let filter =
        JunkFilter::new(3, &MARKERS, TopByte::default(), Extent::Whole).expect("bpf(2) loads it; this test needs root");
    filter.set_mac1_key(Some(&KEY));
    filter.set_recovering(false);
    let [_, response, _, data, _] = messages();
    let mut initiation = message(1, 148, 2);
    initiation[120] ^= 1;
    let each = [(&[9; 50][..], Junk::UnknownType), (&data, Junk::UnknownIndex), (&initiation, Junk::BadMac1)];
    let in_window =
        (filter.lane_count as u64) * u64::from(PASSED / filter.lane_count as u32).max(PASSED_ON_ONE_CPU.into());
    for (junk, why) in each {
        let (sent, begun) = (u64::from(100 * PASSED), boot_nanos());
        let passed: Vec<_> = (0..sent).map(|_| run_with(&filter, 1, junk, &[])).collect();
        let windows = (boot_nanos() - begun) / 67_000_000 + 2;
        assert!(passed[..PASSED_ON_ONE_CPU as usize].iter().all(|&passed| passed), "{why:?}: some pass");
        let passed = passed.into_iter().filter(|&passed| passed).count() as u64;
        assert!(passed <= windows * in_window, "{why:?}: {passed} passed in {windows} windows");
        assert_eq!(filter.dropped(1, why), sent - passed, "{why:?}");
        assert_eq!([0, 2, 3, 255].map(|worker| filter.dropped(worker, why)), [0; 4]);
    }
    // A response without an index has the allowance of data without one: on one CPU it is spent by either.
    let mixed = [&response, &data].into_iter().cycle().take(200 * PASSED as usize);
    let begun = boot_nanos();
    let passed = mixed.filter(|junk| run_with(&filter, 1, junk, &[])).count() as u64;
    assert!(passed <= ((boot_nanos() - begun) / 67_000_000 + 2) * in_window, "{passed} passed");
}

#[test]
fn while_sessions_are_recovered_data_passes_from_where_a_peer_may_be() {
    let filter = strict(1);
    // The network header of such a run is that of UDP: the address is in the datagram, and the port is zero.
    let (data, peer) = (&mut message(4, 64, 0), SocketAddr::from(([10, 1, 2, 3], 0)));
    data[4..8].copy_from_slice(&[10, 1, 2, 3]);
    filter.set_recovering(true);
    assert_eq!(verdict(&filter, data), Some(Junk::UnknownIndex));
    filter.locate(peer);
    assert!((0..100).all(|_| passes(&filter, data)));
    data[7] ^= 1;
    assert_eq!(verdict(&filter, data), Some(Junk::UnknownIndex), "of another address");
    data[7] ^= 1;
    let mut cookie = message(3, 64, 0);
    cookie[4..8].copy_from_slice(&[10, 1, 2, 3]);
    assert_eq!(verdict(&filter, &cookie), Some(Junk::UnknownIndex), "nothing is recovered by it");
    filter.set_recovering(false);
    assert_eq!(verdict(&filter, data), Some(Junk::UnknownIndex));
}

/// An initiation with a right mac1. As above, the address is in the datagram, and the port is zero.
fn initiation_from(source: u32, has_mac2: bool) -> Vec<u8> {
    let mut initiation = message(1, 148, 0);
    initiation[4..8].copy_from_slice(&source.to_be_bytes());
    let mac = mac1(&initiation[..116]);
    initiation[116..132].copy_from_slice(&mac);
    initiation[147] = has_mac2.into();
    initiation
}

fn address(source: u32) -> SocketAddr {
    (std::net::Ipv4Addr::from_bits(source), 0).into()
}

/// Of the machine, not of a time namespace: tests run in none.
fn boot_nanos() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).expect("Linux has it");
    now.tv_sec().cast_unsigned() * 1_000_000_000 + now.tv_nsec().cast_unsigned()
}

/// Under load and one after the other, how many of these pass, and how many more than at once may in this time.
fn passed(filter: &JunkFilter, messages: &[Vec<u8>]) -> (u64, u64) {
    let begun = boot_nanos();
    filter.set_loaded_until(begun + 1_000_000_000);
    let passed = messages.iter().filter(|message| passes(filter, message)).count() as u64;
    (passed, (boot_nanos() - begun) * JunkFilter::UNPROVEN_PER_SECOND / 1_000_000_000 + 1)
}

#[test]
fn under_load_as_many_pass_who_prove_no_address_as_could_have_a_cookie_and_then_some() {
    const HALF: u64 = JunkFilter::UNPROVEN_AT_ONCE / 2;
    // Their places are of a product: at equal distances, many of them could share one.
    let unproven = |number: u32| initiation_from(number.wrapping_mul(0x9e37_79b1), false);
    let flood_of_one = vec![unproven(1); 500];
    let of_others: Vec<_> = (2..2 + HALF as u32 / 2).map(unproven).collect();
    let flood_of_all: Vec<_> = (1_000..1_500).map(unproven).collect();
    let flood_of_peer = vec![initiation_from(7 << 16, false); 500];
    let proven = initiation_from(1, true);
    // Within the second in which a place is answered once. A machine that is slow tries again.
    let attempt = || {
        let (filter, begun) = (strict(1), boot_nanos());
        filter.locate(address(7 << 16));
        let [one, others] = [&flood_of_one, &of_others].map(|messages| passed(&filter, messages));
        let refused = (filter.dropped(0, Junk::CookieBudget), u64::from(filter.refused()));
        let [all, peer] = [&flood_of_all, &flood_of_peer].map(|messages| passed(&filter, messages));
        let all_proven = (0..300).all(|_| passes(&filter, &proven));
        let is_short = boot_nanos() - begun < 900_000_000;
        is_short.then_some((one, others, refused, all, peer, all_proven))
    };
    let found = std::iter::repeat_with(attempt).take(100).flatten().next();
    let (one, others, refused, all, peer, all_proven) = found.expect("the machine is too slow for this test");
    let earned: u64 = [one, others, all, peer].iter().map(|(_, earned)| earned).sum();
    // A flood from one address has half of what may pass at once, and what is earned meanwhile.
    assert!((HALF..=HALF + 1 + earned).contains(&one.0), "{one:?}");
    // That leaves the other half to others, who pass once in a second. Some may share a place.
    assert!(others.0 + 3 >= of_others.len() as u64, "{others:?}");
    let dropped = (flood_of_one.len() + of_others.len()) as u64 - one.0 - others.0;
    assert_eq!(refused.0, dropped);
    // Those of which mac1 was looked at stand for the others. Some of them pass after all, by what is earned meanwhile.
    let passed_late = one.1 + others.1;
    assert!(refused.1 <= dropped && refused.1 + SAMPLE * (1 + passed_late) > dropped, "{refused:?}");
    // From very many it leaves what is earned.
    assert!((HALF / 4..=2 * HALF + earned).contains(&all.0), "{all:?}");
    // Peers have a budget of their own, also if the other one is used up.
    assert!((HALF..=2 * (HALF + 1 + earned)).contains(&peer.0), "{peer:?}");
    assert!(all_proven, "who has a cookie is the worker's to ask");
}

/// Load is work that knows our key.
#[test]
fn a_wrong_mac1_neither_keeps_load_up_nor_takes_of_the_budget() {
    let filter = strict(1);
    let right = vec![initiation_from(1, false); 500];
    let mut wrong = initiation_from(2, false);
    wrong[120] ^= 1;
    let many = 100 * SAMPLE;
    assert!(passed(&filter, &vec![wrong.clone(); many as usize]).0 == 0);
    assert_eq!(filter.dropped(0, Junk::BadMac1), many, "the budget is whole, so mac1 is looked at");
    let (first, _) = passed(&filter, &right);
    assert!(first >= JunkFilter::UNPROVEN_AT_ONCE / 2, "nothing was taken of it: {first}");
    let refused = filter.refused();
    assert!(passed(&filter, &vec![wrong; many as usize]).0 == 0);
    let (mac1, budget) = (filter.dropped(0, Junk::BadMac1) - many, filter.dropped(0, Junk::CookieBudget));
    assert_eq!(mac1 + budget, many + right.len() as u64 - first, "each has one name");
    assert!(mac1 >= many / SAMPLE, "some are looked at: {mac1}");
    assert_eq!(filter.refused(), refused);
}

#[test]
fn load_ends_and_load_without_end_is_none() {
    for until in [1, u64::MAX, u64::MAX >> 1] {
        let filter = strict(1);
        filter.set_loaded_until(until);
        assert!((0..1_000).all(|_| passes(&filter, &initiation_from(1, false))), "{until}");
    }
    let filter = strict(1);
    assert!((0..300).all(|_| passes(&filter, &initiation_from(1, false))), "there is none");
    filter.set_loaded_until(boot_nanos() - 1);
    assert!((0..1_000).all(|_| passes(&filter, &initiation_from(1, false))), "it is over");
}

#[test]
fn a_place_is_known_until_all_were_told_anew_twice() {
    let filter = strict(1);
    filter.set_recovering(true);
    let data = |source: u32| {
        let mut data = message(4, 64, 0);
        data[4..8].copy_from_slice(&source.to_be_bytes());
        data
    };
    let (peer, other) = (0x0a01_0203, 0xc000_0207);
    // Through all generations, and round again.
    for _ in 0..300 {
        filter.locate(address(peer));
        filter.locate(address(other));
        filter.renew_places();
        assert!(passes(&filter, &data(peer)) && passes(&filter, &data(other)), "they are told again, one by one");
        filter.locate(address(peer));
        filter.renew_places();
        assert!(passes(&filter, &data(peer)));
        assert_eq!(verdict(&filter, &data(other)), Some(Junk::UnknownIndex), "it was not told again");
    }
}

/// Else a flood from many addresses would have the budget that is for peers.
#[test]
fn hardly_a_stranger_is_taken_for_one_of_a_hundred_thousand_peers() {
    let filter = strict(1);
    filter.set_recovering(true);
    let data = |source: u32| {
        let mut data = message(4, 64, 0);
        data[4..8].copy_from_slice(&source.to_be_bytes());
        data
    };
    // Neighbours in some networks, as customers are.
    (0..100_000_u32).for_each(|n| filter.locate(address((n << 8 | n >> 8 & 0xff) ^ 0x0a00_0000)));
    assert!((0..500_u32).all(|n| passes(&filter, &data((n << 8 | n >> 8 & 0xff) ^ 0x0a00_0000))));
    let strangers = (0..2_000_u32).map(|n| n.wrapping_mul(0x9e37_79b1) | 1 << 31);
    let passed = strangers.filter(|&source| passes(&filter, &data(source))).count();
    assert!(passed < 200, "{passed} of 2,000");
}

#[test]
fn a_key_that_was_set_holds_whatever_was_set_before() {
    let filter = strict(1);
    let initiation = message(1, 148, 9);
    for n in 0..3 * shared::KEYS as u8 {
        filter.set_mac1_key(Some(&[n; 32]));
        assert_eq!(verdict(&filter, &initiation), Some(Junk::BadMac1));
        filter.set_mac1_key(Some(&KEY));
        assert!(passes(&filter, &initiation), "{n}");
    }
}

#[test]
fn the_smaller_one_leaves_handshakes_to_the_workers() {
    let filter = strict_of(2, Extent::Form);
    filter.set_loaded_until(boot_nanos() + 1_000_000_000);
    for mut whole in messages() {
        assert_eq!(verdict(&filter, &whole), None);
        assert_eq!(verdict(&filter, &whole[..whole.len() - 1]), expected(&whole[..whole.len() - 1]));
        whole[1] ^= 1;
        assert_eq!(verdict(&filter, &whole), Some(Junk::BadReserved));
    }
    let mut initiation = message(1, 148, 2);
    initiation[120] ^= 1;
    assert!((0..1_000).all(|_| passes(&filter, &initiation)), "mac1 is the worker's to look at");
    let (mut response, mut data) = (message(2, 92, 2), message(4, 64, 2));
    response[10] ^= 1;
    data[6] ^= 1;
    assert_eq!([&response, &data].map(|junk| verdict(&filter, junk)), [Some(Junk::UnknownIndex); 2]);
}

#[test]
fn trains_pass() {
    let filter = strict(1);
    let mut context = [0; CONTEXT_LEN];
    context[GSO_SIZE..GSO_SIZE + 4].copy_from_slice(&32_u32.to_ne_bytes());
    assert!(run_with(&filter, 0, &[9; 64], &context));
    assert!(!run_with(&filter, 0, &[9; 64], &[0; CONTEXT_LEN]));
}

#[test]
fn arbitrary_bytes_have_the_name_that_the_protocol_gives_them() {
    let filter = strict(1);
    let bytes = (prop::collection::vec(any::<u8>(), 0..200), 0_u8..6, any::<bool>());
    proptest!(|((mut bytes, first, is_plain) in bytes)| {
        if let Some(start) = bytes.get_mut(..4).filter(|_| is_plain) {
            start.copy_from_slice(&[first, 0, 0, 0]);
        }
        prop_assert_eq!(verdict(&filter, &bytes), expected(&bytes));
    });
}
