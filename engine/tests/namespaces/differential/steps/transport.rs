//! Data messages under a session: counters, tags, keepalives.

use super::Step;
use crate::differential::packets;
use crate::differential::player::{Place, Player};
use crate::differential::stage::Stage;

/// Reject-After-Messages.
const REJECT: u64 = u64::MAX - (1 << 13);
/// Rekey-After-Messages.
const REKEY: u64 = 1 << 60;

pub const STEPS: &[Step] = &[
    Step { name: "a keepalive that confirms, and another", run: keepalives },
    Step { name: "data that confirms", run: data_confirms },
    Step { name: "data, twice", run: |stage| counters(stage, &[7, 7]) },
    Step { name: "counters in any order", run: |stage| counters(stage, &[100, 99, 50, 101, 99]) },
    Step { name: "a counter 8,000 behind, twice", run: |stage| counters(stage, &[10_000, 2_000, 2_000]) },
    Step { name: "a counter 8,150 behind", run: |stage| counters(stage, &[10_000, 1_850]) },
    Step { name: "a counter 9,000 behind", run: |stage| counters(stage, &[10_000, 1_000]) },
    Step { name: "a counter far ahead, then one before", run: |stage| counters(stage, &[1 << 40, 5, (1 << 40) - 1]) },
    Step { name: "a counter at Rekey-After-Messages", run: |stage| counters(stage, &[REKEY]) },
    Step { name: "the last counter before Reject-After-Messages, and that", run: reject },
    Step { name: "the largest counter", run: |stage| counters(stage, &[u64::MAX, 1]) },
    Step { name: "a bad tag with a counter far ahead, then data", run: bad_tag },
    Step { name: "data whose tag is cut", run: cut },
    Step { name: "data under a session of another peer", run: foreign_index },
];

/// What comes of data with these counters, one by one.
fn counters(stage: &mut Stage, counters: &[u64]) -> String {
    let mut player = stage.connected();
    let words: Vec<String> = counters.iter().map(|counter| counter_alone(stage, &mut player, *counter)).collect();
    words.join("; ")
}

fn counter_alone(stage: &mut Stage, player: &mut Player, counter: u64) -> String {
    let packet = packets::v4(player.inner, 0);
    let message = player.latest().seal_at(counter, &packet);
    player.send(&message);
    stage.watch(player)
}

fn reject(stage: &mut Stage) -> String {
    counters(stage, &[REJECT - 1, REJECT, REJECT + 1])
}

fn keepalives(stage: &mut Stage) -> String {
    let mut player = stage.player("");
    stage.shake_hands(&mut player);
    let mut words = Vec::new();
    for _ in 0..2 {
        let keepalive = player.data(&[]);
        player.send(&keepalive);
        words.push(stage.watch(&player));
    }
    words.join("; ")
}

fn data_confirms(stage: &mut Stage) -> String {
    let mut player = stage.player("");
    stage.shake_hands(&mut player);
    let data = player.data(&packets::v4(player.inner, 0));
    player.send(&data);
    let delivered = stage.watch(&player);
    stage.send_inside(&player, 0);
    format!("{delivered}; {}", stage.watch(&player))
}

fn bad_tag(stage: &mut Stage) -> String {
    let mut player = stage.connected();
    let packet = packets::v4(player.inner, 0);
    let mut message = player.latest().seal_at(1 << 30, &packet);
    let last = message.len() - 1;
    message[last] ^= 1;
    player.send_from(Place::Away, &message);
    let bad = stage.watch(&player);
    let endpoint = stage.endpoint(&player);
    let good = counter_alone(stage, &mut player, 1);
    format!("{bad}, {endpoint}; {good}")
}

fn cut(stage: &mut Stage) -> String {
    let mut player = stage.connected();
    let message = player.data(&packets::v4(player.inner, 0));
    player.send(&message[..message.len() - 1]);
    player.send(&message[..message.len() - 16]);
    stage.watch(&player)
}

/// The keys of one peer's session, the index of another's.
fn foreign_index(stage: &mut Stage) -> String {
    let mut first = stage.connected();
    let mut second = stage.connected();
    let mut message = first.data(&packets::v4(first.inner, 0));
    message[4..8].copy_from_slice(&second.latest().remote_index.to_le_bytes());
    first.send(&message);
    stage.watch(&first)
}
