//! What moves a peer, and what does not.

use super::Step;
use crate::differential::noise::cookie_reply;
use crate::differential::packets;
use crate::differential::player::Place::Away;
use crate::differential::player::Player;
use crate::differential::stage::Stage;

pub const STEPS: &[Step] = &[
    Step { name: "data from elsewhere", run: |stage| moved_by(stage, data_of) },
    Step { name: "a keepalive from elsewhere", run: |stage| moved_by(stage, |player| player.data(&[])) },
    Step { name: "an initiation from elsewhere", run: |stage| moved_by(stage, |player| player.initiation().1) },
    Step { name: "data with a bad tag from elsewhere", run: |stage| moved_by(stage, bad_tag) },
    Step { name: "data from elsewhere that came before", run: replayed },
    Step { name: "data from elsewhere with an inner source that is not the peer's", run: wrong_source },
    Step { name: "a replayed initiation from elsewhere", run: replayed_initiation },
    Step { name: "a response from elsewhere", run: response },
    Step { name: "a cookie reply from elsewhere", run: cookie },
];

/// Where the peer is after a message from another place, and where its next packet goes.
fn moved_by(stage: &mut Stage, make: impl Fn(&mut Player) -> Vec<u8>) -> String {
    let mut player = stage.connected();
    // At least as long after the handshake as between two.
    stage.pause();
    let message = make(&mut player);
    player.send_from(Away, &message);
    after(stage, &player)
}

fn after(stage: &mut Stage, player: &Player) -> String {
    let words = stage.watch(player);
    let endpoint = stage.endpoint(player);
    stage.send_inside(player, 0);
    format!("{words}, {endpoint}; {}", stage.watch(player))
}

fn data_of(player: &mut Player) -> Vec<u8> {
    player.data(&packets::v4(player.inner, 0))
}

fn bad_tag(player: &mut Player) -> Vec<u8> {
    let mut message = data_of(player);
    let last = message.len() - 1;
    message[last] ^= 1;
    message
}

fn replayed(stage: &mut Stage) -> String {
    let mut player = stage.connected();
    let message = data_of(&mut player);
    player.send(&message);
    stage.watch(&player);
    player.send_from(Away, &message);
    after(stage, &player)
}

fn wrong_source(stage: &mut Stage) -> String {
    moved_by(stage, |player| player.data(&packets::v4([10, 77, 0, 250].into(), 0)))
}

fn replayed_initiation(stage: &mut Stage) -> String {
    let mut player = stage.connected();
    stage.pause();
    let (asked, message) = player.initiation();
    player.send(&message);
    let heard = stage.hear(&player);
    player.take_response(asked, &heard);
    let keepalive = player.data(&[]);
    player.send(&keepalive);
    stage.watch(&player);
    stage.pause();
    player.send_from(Away, &message);
    after(stage, &player)
}

fn response(stage: &mut Stage) -> String {
    let mut player = stage.reachable();
    stage.send_inside(&player, 0);
    let heard = stage.hear(&player);
    let response = player.response(&heard[0].datagram).unwrap();
    player.send_from(Away, &response);
    after(stage, &player)
}

fn cookie(stage: &mut Stage) -> String {
    let player = stage.reachable();
    stage.send_inside(&player, 0);
    let heard = stage.hear(&player);
    let asked = &heard[0].datagram;
    let reply = cookie_reply(&player.me.public, asked[4..8].try_into().unwrap(), &asked[116..132], [5; 16]);
    player.send_from(Away, &reply);
    stage.watch(&player);
    stage.endpoint(&player).to_owned()
}
