use ebpf_array::{Array, Instruction, code};
use proptest::prelude::*;
use vnet_packets::sample::{KINDS, Packet, payload};

use super::program::{STACK, program};
use super::table::{NOTES_COUNT, TABLE_LEN};
use super::*;

mod fragments;

const TABLE_FD: i32 = 77;
/// With their highest bits, as half of them are.
const SEED: Seed = Seed { hash: 0xdead_beef, pair: 0xcafe_f00d };

/// The table as the program of [`run`] sees it, each bucket's place being its number.
fn table() -> Vec<u8> {
    let entry = |index: u32| index.to_ne_bytes().into_iter().chain([0; table::ENTRY_LEN - 4]);
    let mut table: Vec<u8> = (0..Bucket::COUNT as u32).flat_map(entry).collect();
    table.resize(TABLE_LEN, 0);
    table
}

fn sent(table: &[u8], bucket: u32) -> u64 {
    let at = bucket as usize * table::ENTRY_LEN + table::SENT as usize;
    u64::from_ne_bytes(*table[at..].first_chunk().unwrap())
}

fn bucket(packet: &[u8]) -> Option<u32> {
    hash::bucket(packet, SEED)
}

/// Runs the few instructions that the program is made of, as `Documentation/bpf/standardization/instruction-set.rst`
/// has them. A jump, a load or a register that it does not know is a panic. `None` where a load ends it.
fn run(packet: &[u8], table: &mut [u8]) -> Option<u32> {
    let program = program(TABLE_FD, SEED);
    let mut registers = [0u64; 11];
    let mut stack = [0u8; 512];
    registers[usize::from(STACK)] = stack.len() as u64;
    let mut pc = 0;
    loop {
        let Instruction { code, offset, constant, .. } = program[pc];
        let [_, both, ..] = program[pc].to_le_bytes();
        let (to, from) = (usize::from(both & 15), usize::from(both >> 4));
        pc += 1;
        let loaded = loaded(packet, code, registers[from], constant)?;
        if !loaded.is_empty() {
            registers[0] = loaded.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
            // The calling convention's: a load is a call.
            registers[1..6].fill(u64::MAX);
            continue;
        }
        let low = |product: u32| u64::from(product);
        let field = |base: u64| base.strict_add_signed(offset.into()) as usize;
        match code {
            code::MOVE => registers[to] = registers[from],
            code::MOVE_CONSTANT_32 => registers[to] = u64::from(constant.cast_unsigned()),
            code::ADD => registers[to] += registers[from],
            code::ADD_CONSTANT => registers[to] += constant as u64,
            code::XOR => registers[to] ^= registers[from],
            code::XOR_CONSTANT_32 => registers[to] = low(registers[to] as u32 ^ constant.cast_unsigned()),
            code::OR => registers[to] |= registers[from],
            code::AND_CONSTANT => registers[to] &= constant as u64,
            code::SHIFT_LEFT => registers[to] <<= constant,
            code::SHIFT_RIGHT => registers[to] >>= constant,
            code::MULTIPLY_32 => registers[to] = low((registers[to] as u32).wrapping_mul(registers[from] as u32)),
            code::MULTIPLY_CONSTANT_32 => registers[to] = low((registers[to] as u32).wrapping_mul(constant as u32)),
            code::LOAD_ADDRESS => {
                assert_eq!((constant, from), (TABLE_FD, 2), "the address of the table");
                (registers[to], pc) = (0, pc + 1);
            }
            code::LOAD_FIELD if from == 6 => {
                assert_eq!(offset, 0, "the length of the packet");
                registers[to] = packet.len() as u64;
            }
            code::LOAD_FIELD => {
                let memory = if both >> 4 == STACK { &stack[..] } else { &table[..] };
                let bytes = memory[field(registers[from])..].first_chunk().unwrap();
                registers[to] = u32::from_ne_bytes(*bytes).into();
            }
            code::STORE_FIELD => {
                let memory = if both & 15 == STACK { &mut stack[..] } else { &mut *table };
                let bytes = memory[field(registers[to])..].first_chunk_mut().unwrap();
                *bytes = (registers[from] as u32).to_ne_bytes();
            }
            code::ADD_TO_MEMORY => {
                let bytes = table[field(registers[to])..].first_chunk_mut().unwrap();
                *bytes = (u64::from_ne_bytes(*bytes) + registers[from]).to_ne_bytes();
            }
            code::JUMP => pc = pc.strict_add_signed(offset.into()),
            code::JUMP_IF_EQUAL if registers[to] == constant as u64 => pc = pc.strict_add_signed(offset.into()),
            code::JUMP_UNLESS_EQUAL if registers[to] != constant as u64 => pc = pc.strict_add_signed(offset.into()),
            code::JUMP_IF_EQUAL | code::JUMP_UNLESS_EQUAL => {}
            code::EXIT => return Some(registers[0] as u32),
            other => panic!("instruction {other:#x}"),
        }
    }
}

/// What an instruction loads from the packet: nothing if it is no such load, `None` beyond the packet's end.
fn loaded(packet: &[u8], code: u8, index: u64, constant: i32) -> Option<&[u8]> {
    let (base, len) = match code {
        code::LOAD_BYTE => (0, 1),
        code::LOAD_HALF => (0, 2),
        code::LOAD_WORD => (0, 4),
        code::LOAD_WORD_AT => (index as usize, 4),
        _ => return Some(&[]),
    };
    packet.get(base + constant as usize..base + constant as usize + len)
}

fn packet(kind: crate::SuperKind, flow: u16) -> Vec<u8> {
    let mut bytes = Packet::new(kind).with(|p| p.payload = payload(50)).bytes();
    let transport = if kind.is_ipv4() { 20 } else { 40 };
    bytes[transport..transport + 2].copy_from_slice(&(10_000 + flow).to_be_bytes());
    bytes
}

/// The same flow's other direction.
fn answer(packet: &[u8]) -> Vec<u8> {
    let mut bytes = packet.to_vec();
    let (addresses, len, transport) = if packet[0] >> 4 == 4 { (12, 4, 20) } else { (8, 16, 40) };
    let (from, to) = bytes[addresses..addresses + 2 * len].split_at_mut(len);
    from.swap_with_slice(to);
    let (from, to) = bytes[transport..transport + 4].split_at_mut(2);
    from.swap_with_slice(to);
    bytes
}

#[test]
fn flows_spread_evenly_over_any_number_of_queues() {
    for kind in KINDS {
        for queues in [2, 3, 4, 16] {
            let mut count = vec![0; queues];
            let flows = 500 * queues;
            for flow in 0..flows {
                count[bucket(&packet(kind, flow as u16)).unwrap() as usize % queues] += 1;
            }
            let (least, most) = (count.iter().min().unwrap(), count.iter().max().unwrap());
            assert!(*least > 350 && *most < 650, "{kind}: {count:?}");
        }
    }
}

#[test]
fn a_flow_stays_in_its_bucket_whatever_its_packets_carry() {
    for kind in KINDS {
        let one = packet(kind, 3);
        let mut other = one.clone();
        *other.last_mut().unwrap() ^= 0xff;
        // Identification or flow label, and time to live: they vary within a flow.
        other[if kind.is_ipv4() { 5 } else { 3 }] ^= 0xff;
        other[if kind.is_ipv4() { 8 } else { 7 }] -= 1;
        assert_eq!(bucket(&one), bucket(&other), "{kind}");
    }
}

#[test]
fn both_directions_of_a_flow_are_in_one_bucket() {
    for kind in KINDS {
        for flow in 0..500 {
            let one = packet(kind, flow);
            assert_ne!(one, answer(&one));
            assert_eq!(bucket(&one), bucket(&answer(&one)), "{kind}, flow {flow}");
        }
    }
}

#[test]
fn the_program_finds_the_same_bucket_and_counts_there() {
    for kind in KINDS {
        for flow in 0..50 {
            let (packet, mut table) = (packet(kind, flow), table());
            let bucket = bucket(&packet).unwrap();
            assert_eq!(run(&packet, &mut table), Some(bucket), "{kind}, flow {flow}");
            assert_eq!(run(&packet, &mut table), Some(bucket), "{kind}, flow {flow}");
            assert_eq!(sent(&table, bucket), cost(2, 2 * packet.len() as u64));
            assert_eq!((0..Bucket::COUNT as u32).map(|other| sent(&table, other)).sum::<u64>(), sent(&table, bucket));
        }
    }
}

#[test]
fn the_program_agrees_about_what_is_cut_short() {
    for kind in KINDS {
        let whole = packet(kind, 1);
        for len in 0..whole.len() {
            assert_eq!(run(&whole[..len], &mut table()), bucket(&whole[..len]), "{kind}, {len} bytes");
        }
    }
}

proptest! {
    #[test]
    fn the_program_agrees_about_arbitrary_bytes(
        mut bytes in prop::collection::vec(any::<u8>(), 0..120), version in 0..16u8,
    ) {
        if let Some(first) = bytes.first_mut() {
            *first = *first & 15 | version << 4;
        }
        prop_assert_eq!(run(&bytes, &mut table()), bucket(&bytes));
    }
}

/// A table as [`attach`] makes it: needs `CAP_BPF` or root, as the next one does.
fn mapped(queues: u32) -> FlowTable {
    FlowTable::new(Array::new().expect("bpf(2) makes a map; this test needs root").0, queues, SEED)
}

#[test]
fn the_kernel_loads_it() {
    let (_table, map) = Array::<table::Table>::new().expect("bpf(2) makes a map; this test needs root");
    ebpf_array::load(&program(map.as_raw_fd(), SEED)).expect("bpf(2) takes the program; this test needs root");
}

#[test]
fn buckets_go_where_they_are_wanted_and_back() {
    let flows = mapped(3);
    let bucket = flows.bucket(&packet(crate::SuperKind::Tcp4, 7)).unwrap();
    assert!(Bucket::all().all(|b| flows.place(b) == b.index() % 3 && flows.sent(b) == 0));
    let usual = flows.place(bucket);
    let (home, third) = ((usual + 1) % 3, (usual + 2) % 3);
    assert!(!flows.is_to_leave(bucket, usual), "nobody wants it");
    flows.claim(bucket, home);
    flows.claim(bucket, third);
    assert!(flows.is_claimed_by(bucket, home) && !flows.is_claimed_by(bucket, third), "who comes first");
    assert_eq!(flows.place(bucket), usual, "until its queue is empty");
    flows.let_go(bucket, third);
    assert_eq!(flows.place(bucket), usual, "it is not another's to give");
    assert!(flows.is_to_leave(bucket, usual));
    flows.let_go(bucket, usual);
    assert_eq!(flows.place(bucket), home);
    flows.release(bucket, third);
    assert!(!flows.is_to_leave(bucket, home));
    flows.release(bucket, home);
    assert!(flows.is_to_leave(bucket, home));
    flows.let_go(bucket, home);
    assert_eq!(flows.place(bucket), usual);
    assert!(Bucket::all().all(|b| flows.place(b) == b.index() % 3), "no other bucket was touched");
}

/// Who knows the program but not its seed cannot have flows meet in one bucket.
#[test]
fn another_seed_gives_other_buckets() {
    for kind in KINDS {
        let packets: Vec<_> = (0..4096).map(|flow| packet(kind, flow)).collect();
        let met = packets.iter().filter(|packet| bucket(packet) == Some(5));
        let with_another_seed: std::collections::HashSet<_> =
            met.map(|packet| hash::bucket(packet, Seed { hash: 1, ..SEED })).collect();
        assert!(with_another_seed.len() > 1, "{kind}: {with_another_seed:?}");
    }
}

/// What has been the same in many pairs of addresses once: their difference, their sum, or both.
#[test]
fn addresses_that_are_alike_in_some_way_do_not_meet() {
    let mut same_words = Packet::new(crate::SuperKind::Udp6).with(|p| p.payload = payload(50)).bytes();
    let mut same_difference = Packet::new(crate::SuperKind::Udp4).with(|p| p.payload = payload(50)).bytes();
    let (mut of_words, mut of_difference) = ([false; Bucket::COUNT], [false; Bucket::COUNT]);
    for n in 0..4096_u32 {
        // Word 2 of both addresses.
        same_words[16..20].copy_from_slice(&n.to_be_bytes());
        same_words[32..36].copy_from_slice(&n.to_be_bytes());
        of_words[bucket(&same_words).unwrap() as usize] = true;
        // Bits change sides: neither the difference nor the sum changes.
        same_difference[12..16].copy_from_slice(&n.to_be_bytes());
        same_difference[16..20].copy_from_slice(&(n ^ 0xfff).to_be_bytes());
        of_difference[bucket(&same_difference).unwrap() as usize] = true;
    }
    for buckets in [of_words, of_difference] {
        let met = buckets.iter().filter(|&&met| met).count();
        assert!(met > Bucket::COUNT * 3 / 4, "{met}");
    }
}

/// In another process, nothing overtakes what waits.
#[test]
fn flows_stay_where_they_were_in_another_process() {
    let before = mapped(4);
    let bucket = Bucket::at(5);
    assert_eq!(before.place(bucket), 1);
    before.assign(bucket, 1, 3);
    before.let_go(bucket, 1);
    let (after, _) = load(4, Some(before.seed())).expect("bpf(2) loads it; this test needs root");
    after.resume(&before.places());
    assert_eq!(after.places(), before.places());
    assert_eq!(after.place(bucket), 3);
    assert!(!after.is_to_leave(bucket, 3), "it stays there");
    let packets: Vec<_> = (0..100).map(|flow| packet(crate::SuperKind::Tcp4, flow)).collect();
    assert!(packets.iter().all(|packet| after.bucket(packet) == before.bucket(packet)));
    // Of a device that has more queues, or other buckets.
    for places in [vec![4; Bucket::COUNT], vec![0; Bucket::COUNT - 1], Vec::new()] {
        after.resume(&places);
        assert_eq!(after.places(), before.places());
    }
}

#[test]
fn who_has_a_bucket_says_where_it_goes_that_nobody_claims() {
    let (flows, bucket) = (mapped(3), Bucket::at(7));
    let (first, second, third) = (1, 2, 0);
    assert_eq!(flows.place(bucket), first);
    flows.assign(bucket, third, second);
    assert!(!flows.is_to_leave(bucket, first), "it is not another's to give");
    flows.assign(bucket, first, 3);
    assert!(!flows.is_to_leave(bucket, first), "there is no such queue");
    flows.assign(bucket, first, second);
    assert_eq!(flows.place(bucket), first, "until its queue is empty");
    flows.claim(bucket, third);
    flows.let_go(bucket, first);
    assert_eq!(flows.place(bucket), third, "a claim counts more");
    flows.release(bucket, third);
    flows.let_go(bucket, third);
    assert_eq!(flows.place(bucket), second);
}
