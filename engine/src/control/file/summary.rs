//! What a change was, for people.

use std::collections::HashMap;

use ringfort_config::{Config, Peer};
use ringfort_core::crypto::PublicKey;

use crate::control::key_text;
use crate::control::uapi::{AllowedIpUpdate, PeerUpdate, SetRequest};

/// Peers that are named. Of more, their number is said.
const NAMED_MAX: usize = 20;

/// A line for each thing that `request`, made from `config`, changes. No secrets.
#[must_use]
pub fn summary(request: &SetRequest, config: &Config, was_there: impl Fn(&PublicKey) -> bool) -> Vec<String> {
    let device = &request.device;
    let mut lines = Vec::new();
    lines.extend(device.private_key.as_ref().map(|_| "private key: all sessions begin anew".to_owned()));
    lines.extend(device.listen_port.map(|port| format!("listen port {port}")));
    lines.extend(device.fwmark.map(|mark| format!("fwmark {mark:#x}")));
    lines.extend(device.cipher_suite.map(|suite| format!("cipher suite {suite}")));
    let names: HashMap<PublicKey, &Peer> = config.peers.iter().map(|peer| (peer.public_key, peer)).collect();
    for update in request.peers.iter().take(NAMED_MAX) {
        let key = PublicKey::new(update.public_key);
        let name = names.get(&key).and_then(|peer| peer.name.as_deref());
        let name = name.map_or_else(String::new, |name| format!(" ({name})"));
        lines.push(format!("{}{name}: {}", key_text::short(&key), peer_line(update, was_there(&key))));
    }
    let more = request.peers.len().saturating_sub(NAMED_MAX);
    lines.extend((more > 0).then(|| format!("and {more} more peers")));
    lines
}

fn peer_line(update: &PeerUpdate, was_there: bool) -> String {
    if update.remove {
        return "removed".to_owned();
    }
    if !was_there && !update.update_only {
        return "added".to_owned();
    }
    let mut parts = Vec::new();
    parts.extend(update.preshared_key.as_ref().map(|_| "preshared key".to_owned()));
    parts.extend(update.cipher_suite.map(|_| "cipher suite".to_owned()));
    parts.extend(update.source.map(|_| "source".to_owned()));
    parts.extend(update.name.as_ref().map(|_| "name".to_owned()));
    parts.extend(update.endpoint.map(|endpoint| format!("endpoint {endpoint}")));
    parts.extend(update.persistent_keepalive.map(|seconds| format!("keepalive {seconds} s")));
    let added = update.allowed_ips.iter().filter(|change| matches!(change, AllowedIpUpdate::Add(_))).count();
    let removed = update.allowed_ips.len() - added;
    if added + removed > 0 {
        parts.push(format!("allowed IPs +{added} -{removed}"));
    }
    parts.join(", ")
}
