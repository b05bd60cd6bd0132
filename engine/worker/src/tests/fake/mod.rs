//! A worker that never meets a kernel: its ring is on a fake one, which completes late, in another order, in part,
//! cancelled or with errors, refuses enters, and has small queues.
//!
//! Slots add up after each turn, and the worker never sleeps over work. Whatever comes in goes out once, or is dropped
//! by name, or waits for a key. When the kernel behaves again, so does the worker; and it ends whenever it has to.

mod messages;
mod rest;
mod rig;

use ring_buffers::Wait;
use ring_buffers::fake::{Done, Message, Script};

use super::*;
use rig::Rig;

const STEPS: usize = 150;
const SEEDS: u64 = 200;

/// Lets the kernel misbehave, and says what it has done.
fn run(seed: u64) -> Done {
    let mut script = Script::wild(seed);
    // What is cut short cannot be counted.
    let exact = !seed.is_multiple_of(4);
    if exact {
        script.short = 0;
    }
    if seed % 6 == 1 {
        // Hardly anything is taken.
        (script.refused, script.partial) = (700, 500);
    }
    let mut rig = Rig::new(script);
    for _ in 0..STEPS {
        rig.step();
    }
    let done = rig.kernel.done();
    if !seed.is_multiple_of(7) {
        rig.recover(exact);
    }
    // Otherwise it ends while the kernel is still wild.
    rig.leave();
    done
}

#[test]
fn the_worker_recovers_from_whatever_the_kernel_does() {
    let mut all = Done::default();
    for seed in 0..SEEDS {
        let Done { overflowed, refused, full, cancelled, failed, slept } = run(seed);
        all.overflowed += overflowed;
        all.refused += refused;
        all.full += full;
        all.cancelled += cancelled;
        all.failed += failed;
        all.slept += slept;
    }
    let Done { overflowed, refused, full, cancelled, failed, slept } = all;
    assert!([overflowed, refused, full, cancelled, failed, slept].iter().all(|&times| times > 300), "{all:?}");
}

/// The submission queue is full, and the kernel takes nothing of it: once that ended the worker, by the read that it
/// could not renew (1) or by the sockets that it could not change (25, 85).
#[test]
fn a_kernel_that_takes_nothing_for_a_moment_ends_no_worker() {
    for seed in [1, 25, 85] {
        run(seed);
    }
    for errno in [libc::EAGAIN, libc::EBUSY, libc::EINTR] {
        let mut rig = Rig::new(Script::calm(0));
        rig.until_idle();
        for _ in 0..3 {
            (0..20).for_each(|_| rig.train_comes());
            (0..20).for_each(|_| rig.inbox().push_order(Order::SendKeepalive { peer: PEER }));
            rig.turn();
            rig.kernel.break_enter(Some(errno));
            rig.bind();
            (0..50).for_each(|_| rig.turn());
            assert!(rig.worker.sockets_due.is_some(), "the queue is full of keepalives");
            rig.kernel.break_enter(None);
            rig.until_idle();
            assert!(rig.worker.sockets_due.is_none());
        }
        rig.recover(false);
        rig.leave();
    }
}

/// Before Linux 6.13 a file goes when all operations on files of the ring have ended that were in flight when it left
/// the table. The read of a quiet interface is one of them.
#[test]
fn sockets_that_were_let_go_of_are_gone_though_nothing_is_read() {
    let mut rig = Rig::new(Script::calm(0));
    rig.until_idle();
    for round in 0..4 {
        if round % 2 == 0 {
            rig.inbox().push_mail(Mail::Sockets(None));
        } else {
            rig.bind();
        }
        rig.until_idle();
        assert_eq!(rig.kernel.kept_files(), 0, "they keep their port");
    }
    rig.packet_comes();
    rig.recover(false);
    rig.bind();
    rig.until_idle();
    let Rig { worker, kernel, .. } = rig;
    worker.leave();
    assert_eq!(kernel.kept_files(), 0, "the queue of the TUN");
}

/// Whatever the kernel keeps is lost to the program, and nothing else is. The worker does not wait for ever.
#[test]
fn a_kernel_that_lets_go_of_nothing_cannot_hold_the_worker() {
    let mut rig = Rig::new(Script::wild(3));
    (0..STEPS).for_each(|_| rig.step());
    rig.kernel.grow_stubborn();
    let Rig { worker, kernel, pool, .. } = rig;
    let begun = Instant::now();
    worker.leave();
    assert!(begun.elapsed() < WAIT, "a ring waits for a second");
    let slots = pool.accounting();
    assert!(slots.adds_up() && slots.held == 0 && slots.kernel > 0, "{slots:?}");
    assert!(kernel.in_flight() > 0);
}

/// A bucket is to leave, and the socket takes nothing at the moment. Looking at it again and again would not help.
#[test]
fn who_waits_to_give_a_bucket_away_sleeps() {
    let mut rig = Rig::new(Script::calm(0));
    rig.until_idle();
    rig.kernel.follow(Script { late: 1_000, ..Script::calm(0) });
    rig.packet_comes();
    rig.turn();
    assert!(rig.worker.udp.sends_in_flight() > 0);
    rig.worker.claims.begin_to_leave();
    assert_ne!(rig.worker.prepare().unwrap(), Wait::No);
    while rig.worker.udp.sends_in_flight() > 0 {
        rig.turn();
    }
    assert!(!rig.worker.claims.is_leaving(), "it left with the last datagram");
    rig.leave();
}

#[test]
fn a_ring_that_cannot_be_entered_ends_the_worker() {
    let mut rig = Rig::new(Script::wild(4));
    (0..STEPS).for_each(|_| rig.step());
    rig.kernel.break_enter(Some(libc::ENXIO));
    let Rig { mut worker, pool, .. } = rig;
    assert!(matches!(worker.turn(), Err(WorkerError::Unexpected { .. })));
    worker.leave();
    let slots = pool.accounting();
    assert!(slots.adds_up() && slots.held == 0, "{slots:?}");
}
