//! Trains as the kernel makes them, whatever is in them.

use ring_buffers::View;
use ringfort_path::Train;

use crate::rig::{NOW, endpoint, pair};

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
