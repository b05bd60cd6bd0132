//! Messages that anybody can send, and that mean nothing.

use super::Step;
use crate::differential::noise::{self, COOKIE_REPLY_LEN, INITIATION_LEN, Identity, RESPONSE_LEN};
use crate::differential::packets;
use crate::differential::player::Player;
use crate::differential::stage::Stage;

pub const STEPS: &[Step] = &[
    Step { name: "messages of 0 to 3 bytes", run: runts },
    Step { name: "types 0, 5 and 255", run: unknown_types },
    Step { name: "an initiation with a reserved byte that is not 0", run: reserved_in_initiation },
    Step { name: "a response with a reserved byte that is not 0, then without", run: reserved_in_response },
    Step { name: "data with a reserved byte that is not 0, then without", run: reserved_in_data },
    Step { name: "an initiation marked with another cipher suite", run: marked },
    Step { name: "an initiation one byte too short or too long", run: initiation_lengths },
    Step { name: "a response one byte too short or too long, then as it is", run: response_lengths },
    Step { name: "cookie replies one byte too short or too long", run: cookie_lengths },
    Step { name: "data shorter than a header and a tag", run: short_data },
    Step { name: "a datagram of 65,507 bytes, then data", run: largest },
    Step { name: "an initiation with a wrong mac1", run: wrong_mac1 },
    Step { name: "an initiation with a wrong mac2, not under load", run: wrong_mac2 },
    Step { name: "a response with a wrong mac1, then with the right one", run: response_mac1 },
    Step { name: "an initiation of nobody that the gateway knows", run: unknown_static },
    Step { name: "an initiation with the gateway's own key", run: own_key },
    Step { name: "an initiation for another gateway's key", run: another_gateway },
    Step { name: "a response to nothing", run: response_to_nothing },
    Step { name: "a cookie reply to nothing", run: cookie_to_nothing },
    Step { name: "data for an index that nobody has", run: unknown_index },
];

fn runts(stage: &mut Stage) -> String {
    let player = stage.connected();
    for bytes in [&[][..], &[1], &[2, 0], &[4, 0, 0]] {
        player.send(bytes);
    }
    stage.watch(&player)
}

fn unknown_types(stage: &mut Stage) -> String {
    let mut player = stage.connected();
    for kind in [0, 5, 255] {
        for mut message in [player.initiation().1, player.data(&packets::v4(player.inner, 0)), vec![0; 4]] {
            message[0] = kind;
            if message.len() == INITIATION_LEN {
                player.seal_mac1(&mut message);
            }
            player.send(&message);
        }
    }
    stage.watch(&player)
}

fn reserved_in_initiation(stage: &mut Stage) -> String {
    each_bent_initiation(stage, (1..4).map(|at| move |message: &mut Vec<u8>| message[at] = 1))
}

fn marked(stage: &mut Stage) -> String {
    each_bent_initiation(stage, [|message: &mut Vec<u8>| message[1..4].copy_from_slice(b"GCM")])
}

fn initiation_lengths(stage: &mut Stage) -> String {
    let bends: [fn(&mut Vec<u8>); 2] = [|message| message.truncate(INITIATION_LEN - 1), |message| message.push(0)];
    each_bent_initiation(stage, bends)
}

/// Each is of a new peer: neither rate nor timestamp is in the way. mac1 is made after the change.
fn each_bent_initiation(stage: &mut Stage, bends: impl IntoIterator<Item = impl Fn(&mut Vec<u8>)>) -> String {
    let mut words = Vec::new();
    for bend in bends {
        let mut player = stage.player("");
        let (_, mut message) = player.initiation();
        bend(&mut message);
        player.seal_mac1(&mut message);
        player.send(&message);
        words.push(stage.watch(&player));
    }
    words.join("; ")
}

/// What the gateway does with a bent response, and then with the right one: a packet is waiting for the session.
fn bent_response(stage: &mut Stage, bends: &[fn(&mut Vec<u8>)], mac1_after: bool) -> String {
    let mut player = stage.reachable();
    stage.send_inside(&player, 0);
    let heard = stage.hear(&player);
    let Some(response) = heard.first().and_then(|first| player.response(&first.datagram)) else {
        return "no initiation".to_owned();
    };
    let mut words = Vec::new();
    for bend in bends {
        let mut bent = response.clone();
        bend(&mut bent);
        if mac1_after {
            player.seal_mac1(&mut bent);
        }
        player.send(&bent);
        words.push(stage.watch(&player));
    }
    player.send(&response);
    words.push(stage.watch(&player));
    words.join("; ")
}

fn reserved_in_response(stage: &mut Stage) -> String {
    bent_response(stage, &[|message| message[1] = 1, |message| message[3] = 1], true)
}

fn response_lengths(stage: &mut Stage) -> String {
    bent_response(stage, &[|message| message.truncate(RESPONSE_LEN - 1), |message| message.push(0)], true)
}

fn response_mac1(stage: &mut Stage) -> String {
    bent_response(stage, &[|message| message[RESPONSE_LEN - 32] ^= 1], false)
}

fn reserved_in_data(stage: &mut Stage) -> String {
    let mut player = stage.connected();
    let good = player.data(&packets::v4(player.inner, 0));
    for at in 1..4 {
        let mut message = good.clone();
        message[at] = 1;
        player.send(&message);
    }
    let bent = stage.watch(&player);
    player.send(&good);
    format!("{bent}; {}", stage.watch(&player))
}

fn cookie_lengths(stage: &mut Stage) -> String {
    let player = stage.connected();
    for len in [COOKIE_REPLY_LEN - 1, COOKIE_REPLY_LEN + 1] {
        let mut message = vec![0; len];
        message[0] = 3;
        player.send(&message);
    }
    stage.watch(&player)
}

fn short_data(stage: &mut Stage) -> String {
    let mut player = stage.connected();
    let keepalive = player.data(&[]);
    for len in [4, 15, 16, 31] {
        player.send(&keepalive[..len]);
    }
    stage.watch(&player)
}

fn largest(stage: &mut Stage) -> String {
    let mut player = stage.connected();
    let mut message = vec![0; 65_507];
    message[0] = 4;
    player.send(&message);
    let good = player.data(&packets::v4(player.inner, 0));
    player.send(&good);
    stage.watch(&player)
}

fn wrong_mac1(stage: &mut Stage) -> String {
    let mut player = stage.player("");
    let (_, mut message) = player.initiation();
    message[INITIATION_LEN - 32] ^= 1;
    player.send(&message);
    stage.watch(&player)
}

fn wrong_mac2(stage: &mut Stage) -> String {
    let mut player = stage.player("");
    let (_, mut message) = player.initiation();
    message[INITIATION_LEN - 16..].fill(7);
    player.send(&message);
    stage.watch(&player)
}

fn unknown_static(stage: &mut Stage) -> String {
    let mut player = stage.unknown();
    let (_, message) = player.initiation();
    player.send(&message);
    stage.watch(&player)
}

fn own_key(stage: &mut Stage) -> String {
    let mut player = stage.unknown();
    player.me = Identity::of(&stage.keys);
    let (_, message) = player.initiation();
    player.send(&message);
    stage.watch(&player)
}

fn another_gateway(stage: &mut Stage) -> String {
    let mut player = stage.player("");
    let other = Identity::random().public;
    let timestamp = player.timestamp();
    let (_, mut message) = noise::initiation(&player.me, Identity::random(), &other, timestamp, 1);
    noise::add_mac1(&mut message, &other);
    player.send(&message);
    let for_other = stage.watch(&player);
    player.seal_mac1(&mut message);
    player.send(&message);
    format!("{for_other}; with our mac1 {}", stage.watch(&player))
}

fn response_to_nothing(stage: &mut Stage) -> String {
    let player = stage.connected();
    let mut message = vec![9; RESPONSE_LEN];
    message[..4].copy_from_slice(&[2, 0, 0, 0]);
    player.seal_mac1(&mut message);
    player.send(&message);
    stage.watch(&player)
}

fn cookie_to_nothing(stage: &mut Stage) -> String {
    let mut player = stage.connected();
    let index = known_index(&mut player);
    for receiver in [[9; 4], index] {
        player.send(&noise::cookie_reply(&player.me.public, receiver, &[1; 16], [2; 16]));
    }
    stage.watch(&player)
}

fn unknown_index(stage: &mut Stage) -> String {
    let mut player = stage.connected();
    let mut message = player.data(&packets::v4(player.inner, 0));
    message[4..8].copy_from_slice(&(player.latest().remote_index ^ 0x5555).to_le_bytes());
    player.send(&message);
    stage.watch(&player)
}

/// By which the gateway knows the session of a player.
fn known_index(player: &mut Player) -> [u8; 4] {
    player.latest().remote_index.to_le_bytes()
}
