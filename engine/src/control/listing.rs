//! What `get=1` answers: the interface, then all peers, a page at a time.
//!
//! A page is made when the client has read the one before it, and control has its turns in between. So the answer takes
//! the memory of a page, however many peers there are, and keeps nobody waiting. A peer that is there all the time is
//! listed exactly once, and one that comes or goes meanwhile at most once. What is said of a peer is of one moment,
//! except for the allowed IPs of one that has more than fit a page.

use ringfort_core::allowed_ips::Prefix;
use ringfort_core::device::{Device, PeerStatus as Status};
use ringfort_core::ids::PeerId;

use super::data_plane::DataPlane;
use super::uapi::{InterfaceStatus, PeerStatus, Reply};

/// Lines of a page, about: some hundred microseconds of control's time.
const LINES_PER_PAGE: usize = 2048;
/// What a peer counts for, beside its allowed IPs.
const LINES_PER_PEER: usize = 9;

/// How far an answer is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Listing {
    /// The slot to go on with.
    next_slot: u32,
    /// Somebody whose allowed IPs did not fit, and the last of them that did.
    unfinished: Option<(PeerId, Prefix)>,
}

/// The first lines.
pub fn interface(reply: &mut Reply, device: &Device, plane: &DataPlane) {
    reply.interface(&InterfaceStatus {
        private_key: device.private_key().map(|key| key.as_bytes()),
        listen_port: plane.sockets().port(),
        fwmark: plane.sockets().fwmark(),
        cipher_suite: device.suite(),
    });
}

impl Listing {
    /// Adds the next page. True: there is more.
    pub fn page(&mut self, reply: &mut Reply, device: &Device) -> bool {
        let mut room = LINES_PER_PAGE;
        if let Some((peer, last)) = self.unfinished.take()
            && let Some(peer) = device.status(peer)
        {
            self.prefixes(reply, &peer, peer.allowed_ips_after(last), &mut room);
        }
        if self.unfinished.is_some() {
            return true;
        }
        for peer in device.peers_from(self.next_slot) {
            if room == 0 {
                return true;
            }
            self.next_slot = peer.id().index + 1;
            room = room.saturating_sub(LINES_PER_PEER);
            reply.peer(&status(&peer, device));
            self.prefixes(reply, &peer, peer.allowed_ips(), &mut room);
            if self.unfinished.is_some() {
                return true;
            }
        }
        false
    }

    fn prefixes(
        &mut self,
        reply: &mut Reply,
        peer: &Status<'_>,
        prefixes: impl Iterator<Item = Prefix>,
        room: &mut usize,
    ) {
        for prefix in prefixes {
            reply.line("allowed_ip", prefix);
            *room = room.saturating_sub(1);
            if *room == 0 {
                self.unfinished = Some((peer.id(), prefix));
                return;
            }
        }
    }
}

fn status<'a>(peer: &Status<'a>, device: &Device) -> PeerStatus<'a> {
    let traffic = peer.traffic();
    let last_handshake = peer.last_handshake().unwrap_or_default();
    PeerStatus {
        public_key: peer.public_key().as_bytes(),
        preshared_key: peer.psk().as_bytes(),
        cipher_suite: device.peer_suite(peer.public_key()),
        source: device.peer_source(peer.public_key()),
        name: peer.name().map(AsRef::as_ref),
        endpoint: peer.endpoint().map(|endpoint| endpoint.remote),
        last_handshake: (last_handshake.as_secs(), last_handshake.subsec_nanos()),
        tx_bytes: traffic.tx_bytes,
        rx_bytes: traffic.rx_bytes,
        persistent_keepalive: peer.keepalive_secs(),
    }
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
