//! Packets that a peer with a session sends, and that are not what they should be.

use super::Step;
use crate::differential::packets::{mend_checksum, v4, v6};
use crate::differential::player::Player;
use crate::differential::stage::Stage;

pub const STEPS: &[Step] = &[
    Step { name: "IPv4 with padding behind it", run: |stage| deliver(stage, |player| padded(v4(player.inner, 4))) },
    Step { name: "IPv6 with padding behind it", run: |stage| deliver(stage, |player| padded(v6(player.inner6, 4))) },
    Step { name: "IPv4 with 60,000 bytes of padding", run: |stage| deliver(stage, long_padding) },
    Step { name: "IPv4 from an address that is not the peer's", run: |stage| deliver(stage, |_| v4(STRANGER, 0)) },
    Step { name: "IPv6 from an address that is not the peer's", run: |stage| deliver(stage, |_| v6(STRANGER6, 0)) },
    Step { name: "IPv4 from another peer's longer prefix", run: longer_prefix },
    Step { name: "inner version 0", run: |stage| deliver(stage, |player| version(player, 0)) },
    Step { name: "inner version 5", run: |stage| deliver(stage, |player| version(player, 5)) },
    Step { name: "inner version 15", run: |stage| deliver(stage, |player| version(player, 15)) },
    Step { name: "one byte of IPv4", run: |stage| deliver(stage, |player| v4(player.inner, 0)[..1].to_vec()) },
    Step { name: "19 bytes of IPv4", run: |stage| deliver(stage, |player| v4(player.inner, 0)[..19].to_vec()) },
    Step { name: "39 bytes of IPv6", run: |stage| deliver(stage, |player| v6(player.inner6, 0)[..39].to_vec()) },
    Step { name: "IPv4 whose total length is 0", run: |stage| deliver(stage, |player| total(player, 0)) },
    Step { name: "IPv4 whose total length is 19", run: |stage| deliver(stage, |player| total(player, 19)) },
    Step { name: "IPv4 whose total length is 20", run: |stage| deliver(stage, |player| total(player, 20)) },
    Step { name: "IPv4 whose total length is one too many", run: |stage| deliver(stage, |player| total(player, 33)) },
    Step { name: "IPv4 whose total length is 65,535", run: |stage| deliver(stage, |player| total(player, 65_535)) },
    Step { name: "IPv4 whose header is 16 bytes", run: |stage| deliver(stage, |player| header_words(player, 4)) },
    Step { name: "IPv4 whose header is longer than the packet", run: long_header },
    Step {
        name: "IPv6 whose payload length is one too many",
        run: |stage| deliver(stage, |player| payload(player, 13)),
    },
    Step { name: "IPv6 whose payload length is 65,496", run: |stage| deliver(stage, |player| payload(player, 65_496)) },
    Step { name: "IPv6 whose payload length is 65,535", run: |stage| deliver(stage, |player| payload(player, 65_535)) },
    Step { name: "IPv6 whose payload length is 0", run: |stage| deliver(stage, |player| payload(player, 0)) },
    Step { name: "16 zero bytes", run: |stage| deliver(stage, |_| vec![0; 16]) },
];

/// Within the inner network, and nobody's.
const STRANGER: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 77, 0, 250);
const STRANGER6: std::net::Ipv6Addr = std::net::Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 0xfa);

/// What the gateway makes of a packet.
fn deliver(stage: &mut Stage, make: impl Fn(&Player) -> Vec<u8>) -> String {
    let mut player = stage.connected();
    let message = make(&player);
    let message = player.data(&message);
    player.send(&message);
    stage.watch(&player)
}

fn padded(mut packet: Vec<u8>) -> Vec<u8> {
    packet.resize(packet.len().next_multiple_of(64), 0);
    packet
}

fn long_padding(player: &Player) -> Vec<u8> {
    let mut packet = v4(player.inner, 4);
    packet.resize(60_000, 0);
    packet
}

fn version(player: &Player, version: u8) -> Vec<u8> {
    let mut packet = v4(player.inner, 4);
    packet[0] = version << 4 | packet[0] & 15;
    packet
}

/// An IPv4 packet of 32 bytes that says it has this many.
fn total(player: &Player, total: u16) -> Vec<u8> {
    let mut packet = v4(player.inner, 4);
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    mend_checksum(&mut packet);
    packet
}

/// The same of the length of the header, in words of four bytes.
fn header_words(player: &Player, words: u8) -> Vec<u8> {
    let mut packet = v4(player.inner, 4);
    packet[0] = 0x40 | words;
    mend_checksum(&mut packet);
    packet
}

fn long_header(stage: &mut Stage) -> String {
    deliver(stage, |player| header_words(player, 9))
}

/// An IPv6 packet with 12 bytes of payload that says it has this many.
fn payload(player: &Player, len: u16) -> Vec<u8> {
    let mut packet = v6(player.inner6, 4);
    packet[4..6].copy_from_slice(&len.to_be_bytes());
    packet
}

/// One peer has all of 192.0.2.0/24, another one address of it.
fn longer_prefix(stage: &mut Stage) -> String {
    let mut wide = stage.player("allowed_ip=192.0.2.0/24\n");
    let _narrow = stage.player("allowed_ip=192.0.2.7/32\n");
    stage.connect(&mut wide);
    let mut words = Vec::new();
    for host in [8, 7] {
        let data = wide.data(&v4([192, 0, 2, host].into(), 0));
        wide.send(&data);
        words.push(stage.watch(&wide));
    }
    words.join("; ")
}
