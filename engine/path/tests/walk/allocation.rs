//! The walk of a packet allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use ringfort_path::{bare, budget};

use crate::rig::{NOW, RECEIVER, SENDER, filled, packet, pair, received, super_packet, transmits};
use crate::screen::{Door, from};

/// Fewer and smaller under Miri, which encrypts a packet in seconds.
const ROUNDS: u64 = if cfg!(miri) { 2 } else { 20 };
const LONE: usize = if cfg!(miri) { 40 } else { 300 };
const BATCH: usize = if cfg!(miri) { 2 } else { 30 };
const SMALL: usize = if cfg!(miri) { 20 } else { 64 };
const SEGMENTS: u8 = if cfg!(miri) { 2 } else { 44 };

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

pub fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn lone_packets_trains_and_super_packets_allocate_nothing_on_their_way() {
    let (mut sender, mut receiver) = pair();
    let (sender, receiver) = (&mut sender.workers[0], &mut receiver.workers[0]);
    let (mut sent, mut pieces) = (Vec::with_capacity(64), Vec::with_capacity(64));
    let kinds = [
        vec![packet(SENDER, RECEIVER, &[1; LONE])],
        vec![packet(SENDER, RECEIVER, &[2; SMALL]); BATCH],
        vec![super_packet(SEGMENTS)],
        // Each is longer than the one before, so none is part of a train.
        (0..BATCH).map(|n| packet(SENDER, RECEIVER, &vec![3; SMALL + 16 * n])).collect(),
    ];
    // The first round may still find something that is made when it is first used.
    for round in 0..ROUNDS {
        for (kind, packets) in kinds.iter().enumerate() {
            let mut reads: Vec<_> =
                packets.iter().map(|bytes| filled(sender, budget::line::TUN_READS, bytes)).collect();
            let going_out = allocations(|| bare::turn_out(sender, NOW, &mut reads, &mut sent));
            let mut trains: Vec<_> = sent.drain(..).map(|transmit| received(receiver, &transmit)).collect();
            let coming_in = allocations(|| bare::turn_in(receiver, NOW, &mut trains, &mut pieces));
            if round > 0 {
                assert_eq!((going_out, coming_in), (0, 0), "kind {kind}, round {round}");
            }
        }
    }
    assert_eq!(receiver.counters().tun_write_packets, ROUNDS * (1 + 2 * BATCH as u64 + u64::from(SEGMENTS)));
}

/// A flood must not make anybody ask for memory: neither what is answered, nor what is dropped.
#[test]
fn handshake_messages_allocate_nothing_where_they_land() {
    let mut door = Door::new();
    door.load(NOW);
    let right = door.initiation(1);
    let wrong = [&right[..100], &[0; 48]].concat();
    for round in 0..ROUNDS {
        for message in [&right, &wrong] {
            let taken = allocations(|| (0..40).for_each(|n| door.receive(NOW, from(n), message, message.len())));
            while door.path.poll_event().is_some() {}
            transmits(&mut door.path);
            if round > 0 {
                assert_eq!(taken, 0, "round {round}");
            }
        }
    }
}
