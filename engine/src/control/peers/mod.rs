//! What is known of the peers, as an operator asks for it: `peers=1` and `why=KEY` on the control socket.
//!
//! Each answer is a line `json={…}`. It holds no secret: whether a preshared key is set, and never which.

mod facts;
mod outside;
mod remedy;
pub mod words;

use ringfort_core::crypto::PublicKey;
use ringfort_core::device::{Device, PeerSnapshot};
use ringfort_core::diagnosis::{Finding, diagnose, diagnose_stranger};
use ringfort_core::time::Time;
use serde_json::{Value, json};

use super::data_plane::DataPlane;
use super::file::steward::Unresolved;
use super::key_text;
use super::uapi::Reply;
pub use remedy::Subject;

/// Peers of one answer: some ten milliseconds of control's time. Other clients, and handshakes, come in between.
const PEERS_PER_ANSWER: usize = 500;

/// What control knows beside its device.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings<'a> {
    /// The name of the interface.
    pub interface: &'a str,
    /// Its MTU.
    pub mtu: u32,
    /// We cannot hear what ICMP says of our handshakes.
    pub is_deaf: bool,
    /// Names of endpoints without an address, if there is a file.
    pub unresolved: Option<&'a Unresolved>,
}

/// Peers from a place on, the first of which is 1, and who would like to be one. `next` is where to go on.
pub fn peers(reply: &mut Reply, device: &Device, around: &Surroundings<'_>, from: u32, now: Time) {
    let page: Vec<_> = device.peers_from(from.saturating_sub(1)).take(PEERS_PER_ANSWER).collect();
    let last = page.last().filter(|_| page.len() == PEERS_PER_ANSWER);
    let next = last.map(|peer| u64::from(peer.id().index) + 2);
    let peers: Vec<_> = page.iter().map(|peer| facts_of(&peer.snapshot(now), around)).collect();
    let interface = facts::interface(&device.snapshot(now));
    reply.line("json", json!({ "interface": interface, "peers": peers, "next": next }));
}

/// What is wrong with one peer, or with a key that is no peer's.
pub fn why(
    reply: &mut Reply,
    device: &Device,
    plane: &DataPlane,
    around: &Surroundings<'_>,
    key: &PublicKey,
    now: Time,
) {
    let interface = device.snapshot(now);
    let peer = device.peer(key).and_then(|peer| device.status(peer)).map(|peer| peer.snapshot(now));
    let findings = match &peer {
        None => diagnose_stranger(key, &interface),
        Some(peer) => {
            let mut outside = outside::look(plane.sockets(), around.mtu, around.is_deaf, peer.endpoint);
            outside.unresolved = around.unresolved.and_then(|names| names.of(key));
            diagnose(peer, &interface, &outside)
        }
    };
    let sockets = plane.sockets();
    let subject = Subject { interface: around.interface, key, fwmark: sockets.fwmark(), bound: sockets.bind() };
    let findings: Vec<_> = findings.iter().map(|one| finding(one, &subject)).collect();
    let answer = json!({
        "public_key": key_text::encode(key),
        "name": device.peer_name(key),
        "findings": findings,
        "peer": peer.as_ref().map(|peer| facts_of(peer, around)),
        "interface": facts::interface(&interface),
    });
    reply.line("json", answer);
}

fn facts_of(peer: &PeerSnapshot, around: &Surroundings<'_>) -> Value {
    facts::peer(peer, around.unresolved.and_then(|names| names.of(&peer.public_key)).as_ref())
}

/// A finding about a peer, with its words.
#[must_use]
pub fn finding(finding: &Finding, subject: &Subject<'_>) -> Value {
    let words = words::of(finding, subject);
    json!({
        "code": finding.code(),
        "severity": finding.severity().name(),
        "certainty": finding.certainty().name(),
        "what": words.what,
        "do": words.remedy,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use getrandom::SysRng;
    use getrandom::rand_core::UnwrapErr;
    use ringfort_core::crypto::{PresharedKey, PrivateKey};
    use ringfort_core::device::PeerEvent;
    use ringfort_worker::clock;

    use super::*;

    const NOW: Time = Time::from_secs(7);

    fn answer(device: &Device, from: u32) -> Value {
        let mut reply = Reply::default();
        peers(&mut reply, device, &Surroundings::default(), from, NOW);
        let text = std::str::from_utf8(reply.unwritten()).unwrap();
        serde_json::from_str(text.strip_prefix("json=").unwrap()).unwrap()
    }

    #[test]
    fn every_peer_is_in_one_part() {
        let mut device = Device::new(1);
        for number in 0..1_200_u16 {
            let mut key = [9; 32];
            key[..2].copy_from_slice(&number.to_le_bytes());
            let peer = device.add_peer(PublicKey::new(key)).unwrap();
            while device.poll_action().is_some() {}
            // Gaps, also where one part ends and the next begins.
            if number % 5 == 4 {
                device.remove_peer(peer);
            }
        }
        let (mut seen, mut from, mut parts) = (HashSet::new(), 1, 0);
        loop {
            let part = answer(&device, from);
            for peer in part["peers"].as_array().unwrap() {
                assert!(seen.insert(peer["public_key"].as_str().unwrap().to_owned()), "twice: {peer}");
            }
            parts += 1;
            match part["next"].as_u64() {
                Some(next) => from = u32::try_from(next).unwrap(),
                None => break,
            }
        }
        assert_eq!((seen.len(), parts), (device.peer_count(), device.peer_count().div_ceil(PEERS_PER_ANSWER)));
        assert_eq!(answer(&device, u32::MAX)["peers"], json!([]));
    }

    #[test]
    fn nothing_in_an_answer_is_secret() {
        let mut device = Device::new(1);
        let private = PrivateKey::new([0x5a; 32]);
        device.set_private_key(NOW, Some(private));
        let peer = device.add_peer(PublicKey::new([9; 32])).unwrap();
        device.set_psk(peer, PresharedKey::new([0x6b; 32]));
        let destination = "10.9.9.9".parse().unwrap();
        let now = clock::now();
        device.handle_event(now, PeerEvent::Unrouted { destination }, &mut UnwrapErr(SysRng));
        let answer = answer(&device, 1);
        assert_eq!(answer["peers"][0]["has_preshared_key"], true);
        assert_eq!(answer["interface"]["unrouted"][0]["destination"], "10.9.9.9");
        let text = answer.to_string();
        for secret in [[0x5a; 32], [0x6b; 32]] {
            assert!(!text.contains(&key_text::encode(&PublicKey::new(secret))), "{text}");
            assert!(!text.contains(&key_text::hex(&PublicKey::new(secret))), "{text}");
        }
    }
}
