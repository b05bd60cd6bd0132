//! Packets from the TUN that no peer can have.

use super::*;

#[test]
fn our_own_datagrams_go_no_further() {
    in_namespace(|| {
        let f = Fixture::new(1);
        f.install_send(0, false);
        let message = |receiver| {
            let mut message = [0xee; 96];
            write_data_header(message.first_chunk_mut().unwrap(), receiver, 9);
            message
        };
        f.inner.connect("10.9.0.2:9").unwrap();
        f.inner.send(&message(REMOTE_INDEX)).unwrap();
        f.eventually(|| f.dropped(Drop::LoopedEndpoint) == 1);
        // A train, which comes as one super-packet.
        nix::sys::socket::setsockopt(&f.inner, nix::sys::socket::sockopt::UdpGsoSegment, &96).unwrap();
        f.inner.send(&message(REMOTE_INDEX).repeat(10)).unwrap();
        f.eventually(|| f.dropped(Drop::LoopedEndpoint) == 11);
        assert_eq!(f.stats[0].udp_send_datagrams.get(), 0);
        // Somebody else's tunnel through ours.
        f.inner.send(&message(REMOTE_INDEX + 1)).unwrap();
        assert_eq!(f.receive().1[28..124], message(REMOTE_INDEX + 1));
        f.finish();
    });
}
