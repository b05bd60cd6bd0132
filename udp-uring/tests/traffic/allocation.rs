//! That the data path allocates nothing once it runs.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;

use ring_buffers::{Completion, SlotClass, Wait};
use udp_uring::{Endpoint, Transmit, UdpEvent};

use crate::bench::{Bench, pattern, sockets};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is ending has no counter any more, and is not looked at.
        let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.dealloc(ptr, layout) }
    }
}

/// Sends a train from `bench` to itself, and takes it in.
fn round_trip(bench: &mut Bench, batch: &mut Vec<Completion>, endpoint: Endpoint, bytes: &[u8]) {
    let mut view = bench.pool.claim(SlotClass::Jumbo).expect("a slot is free");
    view.truncate(bytes.len());
    view.copy_from_slice(bytes);
    let transmit = Transmit { view, stride: 1000, endpoint, ecn: 1, context: 0 };
    bench.edge.send(&mut bench.ring, transmit).expect("taken");
    let mut missing = bytes.len();
    while missing > 0 || bench.edge.sends_in_flight() > 0 {
        bench.edge.prepare(&mut bench.ring).expect("receives are armed");
        bench.ring.turn(Wait::UntilCompletion).expect("the ring turns");
        bench.ring.reap(64, |completion| batch.push(completion));
        for completion in batch.drain(..) {
            if let UdpEvent::Received(received) = bench.edge.complete(&mut bench.ring, completion) {
                missing -= received.view.len();
            }
        }
    }
}

#[test]
fn a_running_edge_allocates_nothing() {
    let group = sockets(1);
    let mut bench = Bench::new(&group);
    let mut batch = Vec::with_capacity(64);
    let bytes = pattern(10_000);
    for ip in crate::bench::LOOPBACKS {
        let ip = ip.parse().expect("literal");
        let endpoint = Endpoint { remote: SocketAddr::new(ip, group.port()), source: None };
        round_trip(&mut bench, &mut batch, endpoint, &bytes);
        let before = ALLOCATIONS.get();
        for _ in 0..200 {
            round_trip(&mut bench, &mut batch, endpoint, &bytes);
        }
        assert_eq!(ALLOCATIONS.get(), before, "over {ip}");
    }
}
