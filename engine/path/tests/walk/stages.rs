//! Who measures is told of each stage where it ends.

use ringfort_path::{Outcome, Stage, Watch, budget};

use crate::rig::{Gateway, INDEX, NOW, SENDER, empty, filled, meet, pair, received, super_packet, transmits};

/// What was told so far.
#[derive(Default)]
pub struct Laps(pub Vec<Stage>);

impl Watch for Laps {
    fn lap(&mut self, stage: Stage) {
        self.0.push(stage);
    }
}

/// The packets of the train are one run, which is held for more of them until the end of the batch.
#[test]
fn finding_neighbours_is_a_stage_of_its_own_even_if_nothing_is_written_yet() {
    let (mut sender, _) = pair();
    let sender = &mut sender.workers[0];
    let read = filled(sender, budget::line::TUN_READS, &super_packet(11));
    assert_eq!(sender.handle_packet(NOW, read), Outcome::Done);
    let gateway = Gateway::new(1, SENDER, "192.0.2.1:51820");
    let mut receiver = empty(0, 1, Laps::default());
    meet(&mut receiver, &gateway.cell, SENDER);
    receiver.handle_session(NOW, gateway.receiver(INDEX, true, NOW));
    let train = received(&receiver, &transmits(sender)[0]);
    receiver.handle_train(NOW, train, &mut || None);
    assert_eq!(receiver.watch().0, [Stage::Classify, Stage::Open, Stage::Check, Stage::Coalesce]);
}
