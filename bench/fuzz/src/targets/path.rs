//! The data path behind a valid key: the harness seals what the input invents, and gives it what a TUN would give.
//! What comes out is opened again. Each packet that a peer may send is written once. Each packet that leaves goes to
//! the peer that it is routed to, under a counter of its own. Every slot comes home.
//!
//! The input: one byte of options, then steps of two bytes and what they take. The low bits of the first byte say what
//! is done, the second for whom and how. What control tells less often is one of these, and the high bits say which.

use std::time::Duration;

use ring_buffers::Pool;
use ringfort_aead::SEGMENTS_MAX;
use ringfort_core::ids::PeerId;
use ringfort_path::Order;
use vnet_packets::VNET_HDR_LEN;

use crate::Seed;
use crate::gateway::{Arrived, Gateway, PEERS, Reached};
use crate::input::Input;
use crate::oracle::Located;
use crate::packets::Packet;

/// So that no input takes long.
const STEPS_MAX: usize = 96;
/// Bytes of payload for each unit of a length byte: the longest packets do not fit in the slots of those that wait.
const PAYLOAD_UNIT: usize = 9;

thread_local! {
    /// Six megabytes, for all inputs of one thread: each must leave it as it was.
    static POOL: Pool = Gateway::pool();
}

/// A train in the making.
#[derive(Default)]
struct Arriving {
    bytes: Vec<u8>,
    stride: usize,
    count: usize,
    /// The last one was shorter: nothing follows it.
    is_closed: bool,
    messages: Vec<Message>,
}

/// What the oracle has to know of a sealed message.
struct Message {
    peer: usize,
    counter: u64,
    plaintext: Vec<u8>,
    is_genuine: bool,
}

pub(super) fn run(data: &[u8]) {
    walk(data);
}

fn walk(data: &[u8]) -> Reached {
    let mut input = Input::new(data);
    let mut gateway = POOL.with(|pool| Gateway::new(pool.clone(), input.byte() & 1 == 1));
    let mut arriving = Arriving::default();
    let mut steps = 0;
    while !input.is_empty() && steps < STEPS_MAX {
        steps += 1;
        let [operation, how] = input.array();
        step(&mut gateway, &mut arriving, operation, how, &mut input);
    }
    arriving.arrive(&mut gateway, 0, false);
    gateway.end_all()
}

fn step(gateway: &mut Gateway, arriving: &mut Arriving, operation: u8, how: u8, input: &mut Input<'_>) {
    let peer = usize::from(how) % PEERS;
    let id = PeerId { index: peer as u32, generation: 0 };
    match operation & 15 {
        0..=3 => message(gateway, arriving, operation, how, input),
        4 => {
            let datagram = input.take(how.into());
            arriving.add(gateway, datagram, None);
        }
        5 => arriving.arrive(gateway, how, how & 1 == 1),
        6..=8 => read(gateway, operation, how, input),
        9 if operation & 0xf0 == 0 => gateway.flush(),
        9 => {
            arriving.arrive(gateway, how, false);
            told(gateway, arriving, operation, how, input);
        }
        10 => gateway.order(Order::SendKeepalive { peer: id }),
        11 => gateway.order(if how < 128 { Order::SendStaged { peer: id } } else { Order::DropStaged { peer: id } }),
        12 => {
            // What has been sealed is not opened any more.
            arriving.arrive(gateway, how, false);
            let initiator = how & 0x80 != 0;
            match how & 0x60 {
                0x40 | 0x60 => gateway.end(peer),
                0x20 => gateway.begin_late(peer, initiator),
                _ => gateway.begin(peer, initiator),
            }
        }
        13 => {
            arriving.arrive(gateway, how, false);
            gateway.now += Duration::from_secs(how.into());
        }
        14 => gateway.order(Order::Mtu(u32::from(how) * 8)),
        _ => {
            gateway.mood.refuses_write = how & 1 != 0;
            gateway.mood.merged_is_wrong = how & 2 != 0;
            gateway.mood.is_full = how & 4 != 0;
            gateway.mood.is_stuck = how & 8 != 0;
            gateway.mood.refuses_send = how & 32 != 0;
            gateway.mood.source_is_gone = how & 64 != 0;
            if how & 16 != 0 {
                gateway.unstick();
            }
        }
    }
}

/// What control tells less often.
fn told(gateway: &mut Gateway, arriving: &mut Arriving, operation: u8, how: u8, input: &mut Input<'_>) {
    let peer = usize::from(how) % PEERS;
    match operation >> 4 {
        1 | 2 if !gateway.is_passive => {
            let packet = packet_of(Some(peer as u8), operation << 3, input, 16, 24).into_boxed_slice();
            gateway.order(Order::Offer { peer: PeerId { index: peer as u32, generation: 0 }, packet });
        }
        3 | 4 => gateway.recover(how),
        5 | 6 => gateway.look(how),
        7 | 8 => gateway.set_gate(how & 1 == 0, how & 2 != 0),
        9..=12 => {
            let mut message = gateway.handshake(how & 3, how >> 2);
            if how & 0x80 != 0 {
                let at = usize::from(input.byte()) % message.len();
                message[at] ^= 1;
            }
            arriving.add(gateway, &message, None);
        }
        _ => gateway.set_passive(how & 1 == 0),
    }
}

/// A data message of a peer, sealed. Its counter is the input's choice, near those before it.
fn message(gateway: &mut Gateway, arriving: &mut Arriving, operation: u8, how: u8, input: &mut Input<'_>) {
    let peer = usize::from(how) % PEERS;
    let counter = match how >> 2 & 3 {
        0 => u64::from(input.byte()),
        1 => u64::from(input.u16()),
        2 => input.u64(),
        _ => u64::from(input.byte()) << 6,
    };
    let mut plaintext = match operation & 3 {
        0 => Vec::new(),
        1 => {
            let len = input.byte().into();
            input.take(len).to_vec()
        }
        _ => packet(operation, input, 12, 8),
    };
    if how & 0x10 != 0 {
        plaintext.resize(plaintext.len().next_multiple_of(16), 0);
    }
    let mut sealed = gateway.remotes[peer].seal(counter, &plaintext);
    let is_genuine = how & 0xe0 != 0xe0;
    if !is_genuine {
        let at = 16 + usize::from(input.byte()) % (sealed.len() - 16);
        sealed[at] ^= 1;
    }
    arriving.add(gateway, &sealed, Some(Message { peer, counter, plaintext, is_genuine }));
}

/// A read of the TUN: raw, a packet, or a super-packet.
fn read(gateway: &mut Gateway, operation: u8, how: u8, input: &mut Input<'_>) {
    if operation & 15 == 6 {
        return gateway.packet(input.take(how.into()));
    }
    let bytes = packet(operation, input, 16, 24);
    let mut read = [0; VNET_HDR_LEN].to_vec();
    if let Some(located) = Located::of(&bytes).filter(|_| how != 0) {
        // To be cut into segments of that size.
        let kind = if !located.is_tcp {
            5
        } else if located.is_ipv4 {
            1
        } else {
            4
        };
        let header = located.payload as u16;
        let checksum = (located.checksum() - located.transport) as u16;
        read[..2].copy_from_slice(&[1, kind]);
        for (at, value) in [(2, header), (4, how.into()), (6, located.transport as u16), (8, checksum)] {
            read[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
    }
    read.extend(bytes);
    gateway.packet(&read);
}

/// A TCP or UDP packet, from (or to) the network of the peer that the input names. Where its address begins depends on
/// the version.
fn packet(operation: u8, input: &mut Input<'_>, address_v4: usize, address_v6: usize) -> Vec<u8> {
    packet_of(None, operation, input, address_v4, address_v6)
}

/// The same, with a peer's network whatever the input names.
fn packet_of(peer: Option<u8>, operation: u8, input: &mut Input<'_>, address_v4: usize, address_v6: usize) -> Vec<u8> {
    let [named, flow, len, sequence] = input.array();
    let who = peer.unwrap_or(named);
    let payload: Vec<u8> = (0..usize::from(len) * PAYLOAD_UNIT).map(|i| i as u8).collect();
    let version = if operation & 0x10 == 0 { 4 } else { 6 };
    let tos = operation >> 6;
    let made =
        Packet { flow: flow & 3, sequence: u32::from(sequence) * u32::from(len) * 7, ..Packet::tcp(version, &payload) };
    let made = Packet { is_tcp: operation & 0x20 == 0, identification: sequence.into(), ..made }.with_tos(tos);
    let mut bytes = made.bytes();
    // One more than there are peers: a network of nobody's.
    let network = who % (PEERS as u8 + 1);
    let at = if version == 4 { address_v4 } else { address_v6 };
    bytes[at..at + 2].copy_from_slice(&[if version == 4 { 10 } else { 0xfd }, network]);
    if let Some(located) = Located::of(&bytes) {
        located.sign(&mut bytes);
    }
    bytes
}

impl Arriving {
    /// One more datagram, as the kernel coalesces them: all as long as the first, and nothing behind a shorter one.
    fn add(&mut self, gateway: &mut Gateway, datagram: &[u8], message: Option<Message>) {
        let fits = !self.is_closed && self.count < SEGMENTS_MAX && datagram.len() <= self.stride;
        if !fits || datagram.is_empty() || self.bytes.len() + datagram.len() > 65_507 {
            self.arrive(gateway, 0, true);
        }
        if datagram.is_empty() {
            return;
        }
        if self.count == 0 {
            self.stride = datagram.len();
        }
        self.is_closed = datagram.len() < self.stride;
        self.bytes.extend(datagram);
        self.count += 1;
        self.messages.extend(message);
    }

    /// `others_follow`: in the same turn.
    fn arrive(&mut self, gateway: &mut Gateway, how: u8, others_follow: bool) {
        let train = std::mem::take(self);
        if train.count == 0 {
            return;
        }
        let (port, ecn) = (how >> 2 & 3, how >> 4 & 3);
        let mut delivers = Vec::new();
        for message in train.messages.iter().filter(|message| message.is_genuine) {
            let remote = &mut gateway.remotes[message.peer];
            // Nobody may send anything through a gateway that stands by.
            if remote.accepts(gateway.now, message.counter) && !gateway.is_passive {
                delivers.extend(remote.passes(&message.plaintext, ecn));
            }
        }
        let arrived = Arrived { bytes: &train.bytes, stride: train.stride, port, ecn, handed: how & 2 != 0 };
        gateway.train(&arrived, others_follow, &delivers);
    }
}

pub(super) fn seeds() -> Vec<Seed> {
    // A message of peer 0 or 1 with a packet: operation, how, counter, then who, flow, length, sequence.
    let message = |peer: u8, counter: u8, sequence: u8| vec![2, peer, counter, peer, 1, 20, sequence];
    let read = |peer: u8, segment: u8, len: u8| vec![7, segment, peer, 1, len, 0];
    let train = |peer| (0..6).flat_map(|n| message(peer, n, n)).collect::<Vec<u8>>();
    let lone = |peer| (0..3).flat_map(|n| [message(peer, n, n), vec![5, 1]].concat()).collect::<Vec<u8>>();
    let seed = |name, steps: &[&[u8]]| Seed::new(name, [&[0], &steps.concat()[..]].concat());
    vec![
        seed("train", &[&train(0), &[5, 0, 9, 0]]),
        seed("train-and-answer", &[&train(1), &[5, 4, 9, 0], &read(1, 0, 20), &read(1, 0, 20), &[9, 0]]),
        seed("confirmed-by-a-keepalive", &[&read(0, 0, 9), &[0, 0, 0, 5, 0, 9, 0]]),
        seed("lone-messages", &[&lone(0), &lone(1), &[5, 4, 9, 0]]),
        seed("replayed", &[&message(0, 7, 0), &message(0, 7, 0), &[5, 0]]),
        seed("another-ones-source", &[&[2, 0, 1, 1, 1, 20, 0, 5, 0]]),
        seed("forged", &[&[2, 0xe0, 1, 0, 1, 20, 0, 9, 5, 0]]),
        seed("super-packet", &[&read(1, 100, 200), &[9, 0]]),
        seed("super-packet-waits", &[&read(2, 100, 200), &[12, 0x82, 10, 2, 9, 0]]),
        seed("nobody-and-nowhere", &[&read(3, 0, 9), &read(4, 0, 9), &read(4, 50, 60)]),
        seed("handshake", &[&[4, 148, 1, 0, 0, 0], &[7; 144], &[5, 0]]),
        seed("for-another-worker", &[&[4, 32, 4, 0, 0, 0, 1, 0, 0, 0], &[0; 24], &[5, 0]]),
        seed("write-refused", &[&train(1), &[15, 3, 5, 4, 9, 0], &train(1), &[5, 0]]),
        seed("expired", &[&train(1), &[5, 0, 13, 181], &message(1, 9, 9), &read(1, 0, 9), &[9, 0]]),
        seed("socket-is-stuck", &[&[15, 8], &read(1, 4, 250), &read(1, 4, 250), &[9, 0, 15, 16]]),
        seed("offered", &[&[0x19, 0, 0, 1, 20, 0, 0x29, 2, 0, 1, 200, 0, 9, 0, 12, 0x82, 11, 2, 9, 0]]),
        seed("recovered", &[&[12, 0x40, 0x39, 60], &message(0, 1, 1), &[5, 0, 5, 4], &message(0, 2, 2), &[5, 8]]),
        seed("looked-at", &[&[0x59, 1], &train(1), &[5, 4], &read(1, 100, 200), &[9, 0, 0x59, 0x11], &read(4, 0, 9)]),
        seed("asked-at-the-door", &[&[0x79, 0, 0x99, 1, 5, 0, 0x99, 0x81, 50, 5, 0, 0x99, 2, 5, 0]]),
        seed("cookie", &[&[0x79, 2], &[0x99, 5, 5, 0, 0x99, 9, 5, 0, 0x99, 13, 5, 4, 0x79, 1, 0x99, 1, 5, 0]]),
        seed("stands-by", &[&train(1), &[0xd9, 0], &message(1, 9, 9), &[5, 0, 13, 1, 12, 1], &message(1, 9, 9)]),
        seed("key-comes-late", &[&[12, 0x20], &train(0), &[5, 0, 12, 0x21, 9, 0], &message(1, 0, 0), &[5, 2]]),
        seed("not-sent", &[&[15, 32], &read(1, 100, 200), &[9, 0, 15, 96], &read(1, 0, 9), &[9, 0]]),
        seed("marked", &[&message(1, 1, 1), &[5, 0x30], &[0x82, 1, 2, 1, 1, 9, 0, 5, 0x30]]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A harness that makes nonsense only finds nothing: once the header of what is read from a TUN grew, and for days
    /// no packet of the search left for anybody.
    #[test]
    fn the_seeds_reach_what_they_are_called_after() {
        let reached = |name| {
            let seed = seeds().into_iter().find(|seed| seed.name == name).expect("a seed of that name");
            walk(&seed.bytes)
        };
        assert!(reached("super-packet").sent > 1 && reached("train-and-answer").sent > 1);
        assert!(reached("super-packet-waits").staged > 1);
        assert!(reached("nobody-and-nowhere").answered > 0);
        assert!(reached("socket-is-stuck").sent > 1 && reached("not-sent").sent > 1 && reached("offered").sent > 0);
        assert!(reached("train").written == 6 && reached("lone-messages").written == 6);
        assert!(reached("handshake").passed == 1 && reached("asked-at-the-door").passed == 1);
        assert!(reached("cookie").cookies > 0 && reached("key-comes-late").written > 0);
        assert!(reached("for-another-worker").handoffs == 1 && reached("looked-at").seen > 6);
        // A message under a session that is over is told of. What comes while another gateway serves is not passed on.
        assert!(reached("recovered").events > 0 && reached("stands-by").written == 6);
    }
}
