//! What is known of the peers, as an operator asks for it: `peers=1` and `why=KEY` on the control socket.
//!
//! Each answer is a line `json={…}`. It holds no secret: whether a preshared key is set, and never which.

mod facts;
mod outside;
pub mod words;

use std::fmt::Write as _;

use ringfort_core::crypto::PublicKey;
use ringfort_core::device::Device;
use ringfort_core::diagnosis::{Finding, diagnose, diagnose_stranger};
use ringfort_core::time::Time;
use serde_json::{Value, json};

use super::data_plane::DataPlane;
use super::key_text;
use super::uapi::Reply;

/// All peers, and who would like to be one.
pub fn peers(reply: &mut Reply, device: &Device, now: Time) {
    // Writing to memory cannot fail. Peer by peer: the text of 100,000 is in memory once, and nothing beside it.
    let _ = write!(reply, "json={{\"interface\":{},\"peers\":[", facts::interface(&device.snapshot(now)));
    for (place, peer) in device.peers().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        let _ = write!(reply, "{comma}{}", facts::peer(&peer.snapshot(now)));
    }
    let _ = writeln!(reply, "]}}");
}

/// What is wrong with one peer, or with a key that is no peer's.
pub fn why(reply: &mut Reply, device: &Device, plane: &DataPlane, mtu: u32, key: &PublicKey, now: Time) {
    let interface = device.snapshot(now);
    let peer = device.peer(key).and_then(|peer| device.status(peer)).map(|peer| peer.snapshot(now));
    let findings = match &peer {
        None => diagnose_stranger(key, &interface),
        Some(peer) => {
            let remote = peer.endpoint.map(|endpoint| endpoint.remote);
            let outside = outside::look(plane.sockets(), mtu, remote);
            diagnose(peer, &interface, &outside)
        }
    };
    let findings: Vec<_> = findings.iter().map(finding).collect();
    let answer = json!({
        "public_key": key_text::encode(key),
        "name": device.peer_name(key),
        "findings": findings,
        "peer": peer.as_ref().map(facts::peer),
        "interface": facts::interface(&interface),
    });
    reply.line("json", answer);
}

fn finding(finding: &Finding) -> Value {
    let words = words::of(finding);
    json!({
        "code": finding.code(),
        "severity": finding.severity().name(),
        "certainty": finding.certainty().name(),
        "what": words.what,
        "do": words.remedy,
    })
}
