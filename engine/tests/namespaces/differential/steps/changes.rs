//! What an operator changes while a peer is connected.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use ringfort_testbed::netns;
use ringfort_testbed::tunnel::PORT;

use super::Step;
use crate::differential::packets;
use crate::differential::player::{Place, Player};
use crate::differential::stage::Stage;

pub const STEPS: &[Step] = &[
    Step { name: "a peer is removed, and added again", run: removed },
    Step { name: "another preshared key is set for a connected peer", run: other_psk },
    Step { name: "another endpoint is set for a connected peer", run: other_endpoint },
    Step { name: "a connected peer loses its allowed IPs", run: no_prefix },
    Step { name: "a prefix moves to another peer", run: prefix_moves },
    Step { name: "persistent keepalive is set for a peer without a session", run: keepalive_without_session },
    Step { name: "persistent keepalive is set for a connected peer", run: keepalive_with_session },
    Step { name: "persistent keepalive is set for a peer without an endpoint", run: keepalive_without_endpoint },
    Step { name: "the link of a connected peer's tunnel goes down, and up", run: link },
    Step { name: "another port is set", run: other_port },
    Step { name: "the same private key is set again", run: same_key },
    Step { name: "another private key is set", run: other_key },
    Step { name: "the private key is removed", run: no_key },
];

/// How long a gateway may take to let go of its port when the link is down. Some keep it.
const LET_GO: Duration = Duration::from_secs(3);

/// Both ways under the latest session.
fn both_ways(stage: &mut Stage, player: &mut Player) -> String {
    let data = player.data(&packets::v4(player.inner, 0));
    player.send(&data);
    let inward = stage.watch(player);
    stage.send_inside(player, 0);
    format!("in: {inward}; out: {}", stage.watch(player))
}

fn removed(stage: &mut Stage) -> String {
    let mut player = stage.connected();
    stage.set_peer(&player, "remove=true\n");
    let gone = both_ways(stage, &mut player);
    let (inner, home) = (player.inner, player.address(Place::Home));
    stage.set_peer(&player, &format!("allowed_ip={inner}/32\nendpoint={home}\n"));
    format!("{gone}; again {}", both_ways(stage, &mut player))
}

fn other_psk(stage: &mut Stage) -> String {
    let mut player = stage.connected();
    stage.set_peer(&player, &format!("preshared_key={}\n", "22".repeat(32)));
    both_ways(stage, &mut player)
}

fn other_endpoint(stage: &mut Stage) -> String {
    let player = stage.connected();
    stage.set_peer(&player, &format!("endpoint={}\n", player.address(Place::Away)));
    stage.send_inside(&player, 0);
    stage.watch(&player)
}

fn no_prefix(stage: &mut Stage) -> String {
    let mut player = stage.connected();
    stage.set_peer(&player, "replace_allowed_ips=true\n");
    both_ways(stage, &mut player)
}

fn prefix_moves(stage: &mut Stage) -> String {
    let mut first = stage.connected();
    let mut second = stage.connected();
    stage.set_peer(&second, &format!("allowed_ip={}/32\n", first.inner));
    let data = first.data(&packets::v4(first.inner, 0));
    first.send(&data);
    let of_first = stage.watch(&first);
    let data = second.data(&packets::v4(first.inner, 0));
    second.send(&data);
    let of_second = stage.watch(&second);
    stage.send_inside(&first, 0);
    let heard = stage.hear(&second);
    format!("{of_first}; {of_second}; out: {}", stage.tell(&second, &heard))
}

fn keepalive_without_session(stage: &mut Stage) -> String {
    let player = stage.reachable();
    stage.set_peer(&player, "persistent_keepalive_interval=25\n");
    within_a_tick(stage, &player)
}

fn keepalive_with_session(stage: &mut Stage) -> String {
    let player = stage.connected();
    stage.set_peer(&player, "persistent_keepalive_interval=25\n");
    within_a_tick(stage, &player)
}

/// What comes within a second: others look at their timers a few times in it.
fn within_a_tick(stage: &mut Stage, player: &Player) -> String {
    let deadline = Instant::now() + Duration::from_secs(1);
    let mut heard = stage.hear(player);
    while heard.is_empty() && Instant::now() < deadline {
        heard = stage.hear(player);
    }
    stage.tell(player, &heard)
}

fn keepalive_without_endpoint(stage: &mut Stage) -> String {
    let player = stage.player("persistent_keepalive_interval=25\n");
    stage.watch(&player)
}

fn set_link(stage: &Stage, state: &str) {
    stage.wire.ends[0].ip(&format!("link set {} {state}", stage.interface)).unwrap();
}

/// Whether the gateway holds its port. It may take a moment to let go, or to take it.
fn port_is_free(stage: &Stage, wanted: bool) -> bool {
    let address = SocketAddr::new(netns::outer_v4(0), PORT);
    let is_free = || stage.wire.ends[0].enter(|| UdpSocket::bind(address)).is_ok();
    let deadline = Instant::now() + LET_GO;
    while is_free() != wanted && Instant::now() < deadline {
        stage.pause();
    }
    is_free()
}

fn link(stage: &mut Stage) -> String {
    let words = |free| if free { "free" } else { "taken" };
    let mut player = stage.connected();
    set_link(stage, "down");
    let down = words(port_is_free(stage, true));
    set_link(stage, "up");
    let up = words(port_is_free(stage, false));
    stage.restore_addresses();
    format!("down: the port is {down}; up: {up}; {}", both_ways(stage, &mut player))
}

fn other_port(stage: &mut Stage) -> String {
    let player = stage.connected();
    stage.set(&format!("listen_port={}\n", PORT + 1));
    stage.send_inside(&player, 0);
    let mut buffer = [0; 2_048];
    let socket = player.socket(Place::Home);
    socket.set_nonblocking(false).unwrap();
    socket.set_read_timeout(Some(LET_GO)).unwrap();
    let from = socket.recv_from(&mut buffer).map(|(_, from)| from.port());
    socket.set_nonblocking(true).unwrap();
    stage.set(&format!("listen_port={PORT}\n"));
    match from {
        Ok(port) => format!("a packet leaves from port {port}"),
        Err(_) => "nothing".to_owned(),
    }
}

fn same_key(stage: &mut Stage) -> String {
    let mut player = stage.connected();
    stage.set(&format!("private_key={}\n", stage.keys.private.hex()));
    both_ways(stage, &mut player)
}

fn other_key(stage: &mut Stage) -> String {
    let mut player = stage.connected();
    stage.change_key();
    both_ways(stage, &mut player)
}

/// Witnesses cannot tell when the gateway has done with a message, so only what `get=1` says is looked at.
fn no_key(stage: &mut Stage) -> String {
    let player = stage.connected();
    stage.set(&format!("private_key={}\n", "0".repeat(64)));
    let pairs = ringfort_testbed::uapi::get(&stage.interface).unwrap();
    let shown = pairs.iter().any(|(key, _)| key == "private_key");
    let kept = !stage.get(&player).is_empty();
    stage.change_key();
    format!("the key is {}, the peer is {}", if shown { "shown" } else { "gone" }, if kept { "there" } else { "gone" })
}
