//! What the gateway sends of its own, and how it looks.

use std::os::fd::AsFd;

use nix::sys::socket::{setsockopt, sockopt};
use ringfort_testbed::capture::Capture;

use super::Step;
use crate::differential::NOT_COMPARED;
use crate::differential::packets;
use crate::differential::player::{Place, Player};
use crate::differential::stage::Stage;
use crate::harness::traffic::PATIENCE;

pub const STEPS: &[Step] = &[
    Step { name: "packets of 28, 32 and 33 bytes for a peer", run: |stage| padding(stage, &[0, 4, 5]) },
    Step { name: "packets of 1,408, 1,409 and 1,420 bytes, which is the MTU", run: padding_to_the_mtu },
    Step { name: "three packets for a peer without a session, then a response", run: staged },
    Step { name: "a packet for a peer without an endpoint", run: no_endpoint },
    Step { name: "a packet for an address that no peer has", run: no_route },
    Step { name: "a packet for a peer that has all addresses and no endpoint", run: default_route },
    Step { name: "a peer that asked and was answered is asked nothing", run: no_own_initiation },
    Step { name: "what counts as received and sent, and when there was a handshake", run: counters },
    Step { name: "DSCP and ECN of a packet, on the wire", run: marks_out },
    Step { name: "ECN of a datagram, in the packet", run: marks_in },
];

fn padding(stage: &mut Stage, sizes: &[usize]) -> String {
    let player = stage.connected();
    let mut words = Vec::new();
    for size in sizes {
        stage.send_inside(&player, *size);
        words.push(stage.watch(&player));
    }
    words.join("; ")
}

/// gotatun looks at the MTU now and then, and may not have seen it yet.
fn padding_to_the_mtu(stage: &mut Stage) -> String {
    if stage.is_gotatun() {
        return NOT_COMPARED.to_owned();
    }
    padding(stage, &[1_380, 1_381, 1_392])
}

fn staged(stage: &mut Stage) -> String {
    let mut player = stage.reachable();
    for size in [1, 2, 3] {
        stage.send_inside(&player, size);
    }
    let heard = stage.hear(&player);
    let words = stage.tell(&player, &heard);
    let response = player.response(&heard[0].datagram).unwrap();
    player.send(&response);
    format!("{words}; {}", stage.watch(&player))
}

fn no_endpoint(stage: &mut Stage) -> String {
    let player = stage.player("");
    stage.send_inside(&player, 0);
    stage.watch(&player)
}

fn no_route(stage: &mut Stage) -> String {
    let player = stage.unknown();
    stage.send_inside(&player, 0);
    stage.watch(&player)
}

fn default_route(stage: &mut Stage) -> String {
    let _wide = stage.player("allowed_ip=0.0.0.0/0\n");
    let stranger = stage.unknown();
    stage.send_inside(&stranger, 0);
    stage.watch(&stranger)
}

fn no_own_initiation(stage: &mut Stage) -> String {
    let mut player = stage.player("");
    stage.shake_hands(&mut player);
    for _ in 0..3 {
        stage.send_inside(&player, 0);
    }
    stage.watch(&player)
}

/// After an answer that is not confirmed, after the confirmation, and after a packet each way.
fn counters(stage: &mut Stage) -> String {
    let mut player = stage.player("");
    stage.shake_hands(&mut player);
    let mut words = vec![counted(stage, &player)];
    let keepalive = player.data(&[]);
    player.send(&keepalive);
    stage.watch(&player);
    words.push(counted(stage, &player));
    let data = player.data(&packets::v4(player.inner, 0));
    player.send(&data);
    stage.send_inside(&player, 0);
    stage.watch(&player);
    words.push(counted(stage, &player));
    words.join("; ")
}

fn counted(stage: &Stage, player: &Player) -> String {
    let [rx, tx, time] = ["rx_bytes", "tx_bytes", "last_handshake_time_sec"].map(|key| stage.value(player, key));
    let no_handshake = time.is_none_or(|time| time == "0");
    let handshake = if no_handshake { "no handshake" } else { "a handshake" };
    format!("{} in, {} out, {handshake}", rx.unwrap_or_default(), tx.unwrap_or_default())
}

/// DSCP 46 with ECT(0), and no DSCP with CE.
fn marks_out(stage: &mut Stage) -> String {
    let player = stage.connected();
    let mut words = Vec::new();
    for class in [0xba_u8, 0x03] {
        let capture = Capture::start(&stage.wire.ends[1]).unwrap();
        setsockopt(&stage.source.as_fd(), sockopt::Ipv4Tos, &i32::from(class)).unwrap();
        stage.send_inside(&player, 0);
        stage.watch(&player);
        let port = player.address(Place::Home).port();
        let seen = capture.datagrams_until(port, PATIENCE, |seen| !seen.is_empty());
        words.push(format!("{class:#04x} leaves as {:#04x}", seen[0].traffic_class));
    }
    setsockopt(&stage.source.as_fd(), sockopt::Ipv4Tos, &0).unwrap();
    words.join("; ")
}

/// CE on the wire, on a packet that can be marked and on one that cannot; DSCP on the wire.
fn marks_in(stage: &mut Stage) -> String {
    let mut player = stage.connected();
    let mut words = Vec::new();
    for (outer, inner) in [(3, 2), (3, 0), (0xb8, 0x28)] {
        words.push(format!("{outer:#04x} over {inner:#04x}: {}", marked(stage, &mut player, outer, inner)));
    }
    words.join("; ")
}

fn marked(stage: &mut Stage, player: &mut Player, outer: i32, inner: u8) -> String {
    let mut packet = packets::v4(player.inner, 0);
    packet[1] = inner;
    packets::mend_checksum(&mut packet);
    let data = player.data(&packet);
    setsockopt(&player.socket(Place::Home).as_fd(), sockopt::Ipv4Tos, &outer).unwrap();
    player.send(&data);
    stage.watch(player)
}
