//! Traffic of every kind through a tunnel, verified at its end.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ringfort_core::crypto;
use ringfort_testbed::payload::Dice;
use ringfort_testbed::ping::Pinger;
use ringfort_testbed::tcp::{self, Amount};
use ringfort_testbed::{Family, Tunnel, udp};

use super::wg;

/// How long a gateway may take to start, or a tunnel to open: some lost handshake messages (5 s each), on a machine
/// that does much else.
pub const OPENING: Duration = Duration::from_secs(30);

/// How long that may take which waits for no timer of the protocol but the repetition of a lost handshake message. To
/// notice that nobody answers takes longer: KEEPALIVE_TIMEOUT + REKEY_TIMEOUT, 15 s.
pub const AT_ONCE: Duration = Duration::from_secs(14);

/// How long a packet may take that is bound to come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How much TCP payload [`exchange`] sends each way.
pub const TCP_BYTES: u64 = 3 << 20;

/// Bytes of a handshake initiation.
pub const INITIATION_LEN: usize = 148;

/// The most that one IP packet carries after its headers, rounded down.
const LARGEST: usize = 65_000;

/// Headers before the payload of a UDP datagram or an ICMP message, in bytes.
fn headers_len(inner: Family) -> usize {
    match inner {
        Family::V4 => 20 + 8,
        Family::V6 => 40 + 8,
    }
}

/// Ping, UDP and TCP in both directions over one inner protocol; every byte is compared.
pub fn exchange(tunnel: &Tunnel, inner: Family, mtu: usize, tcp_bytes: u64) {
    ping_sizes(tunnel, inner, mtu);
    udp_sizes(tunnel, inner, mtu);
    for from in [0, 1] {
        let address = tunnel.sides[1 - from].inner(inner);
        let (sender, receiver) = (tunnel.namespace(from), tunnel.namespace(1 - from));
        tcp::transfer(sender, receiver, address, Amount::Bytes(tcp_bytes), &AtomicU64::new(0)).unwrap();
    }
}

/// Pings both ways: an empty one, an odd one, one that fills the MTU, one that must be fragmented inside.
pub fn ping_sizes(tunnel: &Tunnel, inner: Family, mtu: usize) {
    let full = mtu - headers_len(inner);
    for from in [0, 1] {
        let mut pinger = Pinger::new(tunnel.namespace(from), tunnel.sides[1 - from].inner(inner)).unwrap();
        for size in [0, 1, 56, 1001, full - 1, full, full + 1, (3 * full).min(LARGEST)] {
            pinger.ping(size, PATIENCE).unwrap();
        }
    }
}

/// UDP echo both ways: sizes around every boundary, then random ones.
pub fn udp_sizes(tunnel: &Tunnel, inner: Family, mtu: usize) {
    let full = mtu - headers_len(inner);
    let mut dice = Dice::new(mtu as u64);
    let mut sizes = vec![0, 1, 15, 16, 17, 31, 32, 33, 512, full - 17, full - 16, full - 1, full, full + 1, 2 * full];
    sizes.extend(std::iter::repeat_with(|| dice.below(full + 1)).take(97));
    for from in [0, 1] {
        let [client, server] = [from, 1 - from].map(|side| (tunnel.namespace(side), tunnel.sides[side].inner(inner)));
        udp::echo(client, server, &sizes).unwrap();
    }
}

/// What `wg` says about both sides must fit what was sent: `payload` bytes each way, at least. How much more was sent
/// depends on what TCP had to send again: a veth has no flow control, and sockets overflow.
pub fn check_counters(tunnel: &Tunnel, payload: u64) {
    let [a, b] = [0, 1].map(|side| wg::only_peer(&tunnel.sides[side].interface).unwrap());
    // Ours; boringtun says how long ago the handshake was, instead of when.
    assert!(a.latest_handshake > 1_600_000_000, "no handshake was noted: {a:?}");
    for (sender, receiver) in [(&a, &b), (&b, &a)] {
        let (sent, received) = (sender.sent_bytes, receiver.received_bytes);
        assert!(received >= payload, "{payload} bytes of payload arrived, but the counter says {received}");
        assert!(sent <= payload * 3 + 1_000_000, "far more was counted ({sent}) than was sent ({payload})");
        // Implementations differ in whether handshake messages count; boringtun leaves out 32 bytes of each packet.
        assert!(received <= sent + sent / 10 + 20_000, "one side counted {sent} sent, the other {received} received");
    }
}

/// A message of a type with a right mac1, for which anyone needs only the public key, and nonsense inside.
pub fn with_mac1(kind: u8, len: usize, public: &[u8; 32], dice: &mut Dice) -> Vec<u8> {
    let key = crypto::hash(&[b"mac1----", public]);
    let mut message = dice.bytes(len);
    message[..4].copy_from_slice(&[kind, 0, 0, 0]);
    let (covered, macs) = message.split_at_mut(len - 32);
    macs.fill(0);
    macs[..16].copy_from_slice(&crypto::mac(&key, &[covered]));
    message
}
