//! Handshakes of peers, honest or not.

use super::Step;
use crate::differential::noise::{Identity, LOW_ORDER, cookie_reply};
use crate::differential::packets;
use crate::differential::player::Player;
use crate::differential::stage::Stage;

/// TAI64N as late as it can be.
const LATEST: [u8; 12] = [0xff; 12];

pub const STEPS: &[Step] = &[
    Step { name: "an initiation", run: initiation },
    Step { name: "an initiation, twice", run: replayed },
    Step { name: "an initiation with the timestamp of the one before", run: equal_timestamp },
    Step { name: "an initiation with an older timestamp", run: older_timestamp },
    Step { name: "the latest timestamp, then an ordinary one", run: latest_timestamp },
    Step { name: "30 initiations of a peer at once", run: too_many },
    Step { name: "ephemeral keys of low order", run: low_order_ephemerals },
    Step { name: "peers whose static keys are of low order", run: low_order_statics },
    Step { name: "a preshared key that only the gateway has", run: wrong_psk_asked },
    Step { name: "a preshared key that only the gateway has, when it asks", run: wrong_psk_answered },
    Step { name: "a response, twice", run: response_twice },
    Step { name: "a response to the initiation before the last", run: old_response },
    Step { name: "a cookie that is sealed for another message", run: foreign_cookie },
    Step { name: "a cookie, then an initiation", run: cookie },
    Step { name: "the gateway answers, and sends nothing before it is confirmed", run: unconfirmed },
    Step { name: "both ask at once", run: simultaneous },
    Step { name: "a second session, and data under the first", run: two_sessions },
    Step { name: "a third session, and data under the first", run: three_sessions },
];

/// Sends an initiation that a player would make, and tells what comes.
fn ask(stage: &mut Stage, player: &mut Player) -> String {
    let (_, message) = player.initiation();
    player.send(&message);
    stage.watch(player)
}

fn initiation(stage: &mut Stage) -> String {
    let mut player = stage.player("");
    ask(stage, &mut player)
}

fn replayed(stage: &mut Stage) -> String {
    let mut player = stage.player("");
    let (_, message) = player.initiation();
    player.send(&message);
    let first = stage.watch(&player);
    stage.pause();
    player.send(&message);
    format!("{first}; {}", stage.watch(&player))
}

/// The timestamps of a peer's initiations, one after the other.
fn at_times(stage: &mut Stage, times: &[[u8; 12]]) -> String {
    let mut player = stage.player("");
    let mut words = Vec::new();
    for time in times {
        stage.pause();
        let (_, message) = player.initiation_at(*time, Identity::random());
        player.send(&message);
        words.push(stage.watch(&player));
    }
    words.join("; ")
}

fn equal_timestamp(stage: &mut Stage) -> String {
    at_times(stage, &[[0x40; 12], [0x40; 12]])
}

fn older_timestamp(stage: &mut Stage) -> String {
    at_times(stage, &[[0x41; 12], [0x40; 12], [0x42; 12]])
}

fn latest_timestamp(stage: &mut Stage) -> String {
    at_times(stage, &[LATEST, [0x40; 12], LATEST])
}

fn too_many(stage: &mut Stage) -> String {
    let mut player = stage.player("");
    let messages: Vec<_> = (0..30).map(|_| player.initiation().1).collect();
    messages.iter().for_each(|message| player.send(message));
    match stage.hear(&player).len() {
        0 => "none is answered".to_owned(),
        1..30 => "some are answered".to_owned(),
        _ => "all are answered".to_owned(),
    }
}

fn low_order_ephemerals(stage: &mut Stage) -> String {
    low_order(stage, |stage, point| {
        let mut player = stage.player("");
        let timestamp = player.timestamp();
        let (_, message) = player.initiation_at(timestamp, Identity::point(point));
        (player, message)
    })
}

fn low_order_statics(stage: &mut Stage) -> String {
    low_order(stage, |stage, point| {
        let mut player = stage.unknown();
        player.me = Identity::point(point);
        stage.set_peer(&player, "");
        let (_, message) = player.initiation();
        (player, message)
    })
}

/// What comes of an initiation with each of the points: the distinct outcomes.
fn low_order(stage: &mut Stage, make: impl Fn(&mut Stage, [u8; 32]) -> (Player, Vec<u8>)) -> String {
    let mut outcomes = Vec::new();
    for point in LOW_ORDER {
        let (player, message) = make(stage, point);
        player.send(&message);
        outcomes.push(stage.watch(&player));
    }
    outcomes.dedup();
    outcomes.join("; ")
}

fn wrong_psk_asked(stage: &mut Stage) -> String {
    let mut player = stage.player(&format!("preshared_key={}\n", "11".repeat(32)));
    let (asked, message) = player.initiation();
    player.send(&message);
    let heard = stage.hear(&player);
    let words = stage.tell(&player, &heard);
    let opened = player.take_response(asked, &heard);
    format!("{words}, which {}", if opened { "opens" } else { "does not open" })
}

fn wrong_psk_answered(stage: &mut Stage) -> String {
    let mut player = stage.reachable();
    stage.set_peer(&player, &format!("preshared_key={}\n", "11".repeat(32)));
    answer(stage, &mut player, |_| {})
}

/// Has the gateway ask, and answers after what `between` does to the initiation. A packet waits for the session.
fn answer(stage: &mut Stage, player: &mut Player, between: impl Fn(&mut Vec<u8>)) -> String {
    stage.send_inside(player, 0);
    let heard = stage.hear(player);
    let asked = stage.tell(player, &heard);
    let Some(mut response) = heard.first().and_then(|first| player.response(&first.datagram)) else {
        return format!("{asked}, and no response of ours");
    };
    between(&mut response);
    player.send(&response);
    format!("{asked}; {}", stage.watch(player))
}

fn response_twice(stage: &mut Stage) -> String {
    let mut player = stage.reachable();
    stage.send_inside(&player, 0);
    let heard = stage.hear(&player);
    let response = player.response(&heard[0].datagram).unwrap();
    player.send(&response);
    let first = stage.watch(&player);
    player.send(&response);
    format!("{first}; {}", stage.watch(&player))
}

/// Another private key makes the gateway forget what it asked; then it asks anew.
fn old_response(stage: &mut Stage) -> String {
    let mut player = stage.reachable();
    stage.send_inside(&player, 0);
    let heard = stage.hear(&player);
    let response = player.response(&heard[0].datagram).unwrap();
    stage.set(&format!("public_key={}\nremove=true\n", player.public_hex()));
    let (inner, home) = (player.inner, player.address(crate::differential::player::Place::Home));
    stage.set_peer(&player, &format!("allowed_ip={inner}/32\nendpoint={home}\n"));
    player.send(&response);
    stage.watch(&player)
}

fn foreign_cookie(stage: &mut Stage) -> String {
    cookie_for(stage, |mac1| mac1[0] ^= 1)
}

fn cookie(stage: &mut Stage) -> String {
    cookie_for(stage, |_| {})
}

/// The gateway asks and is told a cookie, sealed for the mac1 that `bend` leaves. Its response to us then shows whether
/// it took it.
fn cookie_for(stage: &mut Stage, bend: impl Fn(&mut Vec<u8>)) -> String {
    let mut player = stage.reachable();
    stage.send_inside(&player, 0);
    let heard = stage.hear(&player);
    let asked = heard[0].datagram.clone();
    let mut mac1 = asked[116..132].to_vec();
    bend(&mut mac1);
    let receiver = asked[4..8].try_into().unwrap();
    player.send(&cookie_reply(&player.me.public, receiver, &mac1, [5; 16]));
    let replied = stage.watch(&player);
    let (_, message) = player.initiation();
    player.send(&message);
    let heard = stage.hear(&player);
    let with = if heard.first().is_some_and(|first| first.has_mac2()) { "with" } else { "without" };
    format!("{replied}; {} {with} mac2", stage.tell(&player, &heard))
}

fn unconfirmed(stage: &mut Stage) -> String {
    let mut player = stage.player("");
    stage.shake_hands(&mut player);
    stage.send_inside(&player, 0);
    let before = stage.watch(&player);
    let keepalive = player.data(&[]);
    player.send(&keepalive);
    format!("{before}; {}", stage.watch(&player))
}

fn simultaneous(stage: &mut Stage) -> String {
    let mut player = stage.reachable();
    stage.send_inside(&player, 0);
    let heard = stage.hear(&player);
    let theirs = heard[0].datagram.clone();
    // Ours crosses it.
    let (asked, message) = player.initiation();
    player.send(&message);
    let heard = stage.hear(&player);
    let crossed = stage.tell(&player, &heard);
    let opened = player.take_response(asked, &heard);
    let answered = player.response(&theirs).unwrap();
    player.send(&answered);
    let first = stage.watch(&player);
    let packet = packets::v4(player.inner, 0);
    let data = player.data(&packet);
    player.send(&data);
    let theirs = stage.watch(&player);
    let last = player.sessions.len() - 2;
    let data = player.sessions[last].seal(&packet);
    player.send(&data);
    format!("{crossed} (opens: {opened}); {first}; under theirs {theirs}; under ours {}", stage.watch(&player))
}

fn two_sessions(stage: &mut Stage) -> String {
    under_first_of(stage, 2)
}

fn three_sessions(stage: &mut Stage) -> String {
    under_first_of(stage, 3)
}

fn under_first_of(stage: &mut Stage, sessions: usize) -> String {
    let mut player = stage.connected();
    for _ in 1..sessions {
        stage.connect(&mut player);
    }
    let data = player.sessions[0].seal(&packets::v4(player.inner, 0));
    player.send(&data);
    stage.watch(&player)
}
