//! Trains as the kernel makes them, whatever is in them.

use ring_buffers::View;
use ringfort_path::{Outcome, Train, budget};
use vnet_packets::VNET_HDR_LEN;

use crate::rig::{Gateway, NOW, TUNNEL_END, endpoint, filled, pair, received, transmits, tunnelled, writes};

const RESPONSE_LEN: usize = 92;

/// Kernels since 6.9 pass on trains of 128 datagrams that they made themselves.
#[test]
fn all_handshake_messages_of_the_longest_train_are_passed_on() {
    let (_, mut receiver) = pair();
    let receiver = &mut receiver.workers[0];
    let mut message = [0; RESPONSE_LEN];
    message[0] = 2;
    let view = View::heap(message.repeat(128));
    let train = Train { view, stride: RESPONSE_LEN, endpoint: endpoint("192.0.2.1:51820"), ecn: 0, handed: false };
    receiver.handle_train(NOW, train, &mut || None);
    assert_eq!(std::iter::from_fn(|| receiver.poll_handshake()).count(), 128);
    assert_eq!(receiver.counters().drops.total(), 0);
}

#[test]
fn the_longest_headers_of_a_tunnel_pass() {
    let (_, mut receiver) = pair();
    let mut sender = Gateway::new(1, TUNNEL_END, "192.0.2.2:51820");
    sender.sends();
    let (sender, receiver) = (&mut sender.workers[0], &mut receiver.workers[0]);
    let packet = tunnelled(0);
    let read = filled(sender, budget::line::TUN_READS, &packet);
    assert_eq!(sender.handle_packet(NOW, read), Outcome::Done);
    sender.flush(NOW);
    for transmit in transmits(sender) {
        let train = received(receiver, &transmit);
        receiver.handle_train(NOW, train, &mut || None);
    }
    assert_eq!((sender.counters().drops.total(), receiver.counters().drops.total()), (0, 0));
    assert_eq!(receiver.counters().tun_write_packets, 3);
    // Each has the checksums that it should, else it would not be merged.
    let written = writes(receiver);
    assert_eq!(written.iter().map(Vec::len).collect::<Vec<_>>(), [packet.len() - VNET_HDR_LEN]);
}
