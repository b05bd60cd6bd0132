//! A worker that reads nothing for a while, whatever the kernel does meanwhile.

use super::rig::TURNS_MAX;
use super::*;

/// Has it rest, and waits until it says that it does.
fn rest(rig: &mut Rig, round: u32) {
    rig.rests = true;
    rig.inbox().push_mail(Mail::Rest(round));
    let rested = (0..TURNS_MAX).find_map(|_| {
        rig.turn();
        rig.queues.control.next_rested()
    });
    let rested = rested.unwrap_or_else(|| panic!("it does not come to rest: {:?}", rig.kernel));
    assert_eq!((rested.worker, rested.round), (0, round));
    assert_eq!(rested.packets.len(), rig.worker.path.staged(), "all that waits is told");
    assert!(rig.worker.tun.is_idle() && rig.worker.udp.is_idle());
    assert!(rig.worker.ring.in_flight() <= 1, "but the doorbell");
}

#[test]
fn who_rests_has_nothing_under_way_reads_nothing_and_goes_on() {
    for seed in 0..SEEDS {
        let mut script = Script::wild(seed);
        script.short = 0;
        let mut rig = Rig::new(script);
        for round in 1..4 {
            (0..STEPS / 3).for_each(|_| rig.step());
            rest(&mut rig, round);
            let (packets, trains) = rig.unread();
            for _ in 0..10 {
                rig.packet_comes();
                rig.train_comes();
                rig.turn();
            }
            assert_eq!(rig.unread(), (packets + 10, trains + 10), "it reads");
            // Once more, as control asks when others have told it something.
            rest(&mut rig, round + 10);
            rig.rests = false;
            rig.inbox().push_mail(Mail::GoOn);
        }
        rig.recover(true);
        rig.leave();
    }
}
