//! What a change was, for people.

use std::collections::HashMap;
use std::net::SocketAddr;

use ringfort_config::{Config, Endpoint, Peer};
use ringfort_core::crypto::PublicKey;

use super::Running;
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

/// A line for each peer whose endpoint was set by others since the file said it, and stays: that line of the file has
/// not changed. `named` has the addresses of names. A peer that has only moved is not among them.
#[must_use]
pub fn kept_endpoints(
    config: &Config,
    previous: &Config,
    running: &Running,
    named: &HashMap<PublicKey, SocketAddr>,
) -> Vec<String> {
    let before: HashMap<_, _> = previous.peers.iter().map(|peer| (peer.public_key, &peer.endpoint)).collect();
    let kept = config.peers.iter().filter_map(|peer| {
        let said = match peer.endpoint.as_ref()? {
            Endpoint::Address(addr) => *addr,
            Endpoint::Name { .. } => *named.get(&peer.public_key)?,
        };
        let set = running.peers.get(&peer.public_key)?.configured?;
        let is_kept = set != said && before.get(&peer.public_key) == Some(&&peer.endpoint);
        is_kept.then(|| {
            let name = peer.name.as_deref().map_or_else(String::new, |name| format!(" ({name})"));
            let (key, file) = (key_text::short(&peer.public_key), peer.endpoint.as_ref().map(ToString::to_string));
            let file = file.unwrap_or_default();
            format!(
                "{key}{name}: keeps the endpoint {set}, which wg(8) has set since; the file says {file} as before \
                 (ringfort save would write the one in use)"
            )
        })
    });
    let mut lines: Vec<_> = kept.collect();
    let more = lines.len().saturating_sub(NAMED_MAX);
    lines.truncate(NAMED_MAX);
    lines.extend((more > 0).then(|| format!("and {more} more keep endpoints that were set since")));
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

#[cfg(test)]
mod tests {
    use super::super::RunningPeer;
    use super::*;

    #[test]
    fn an_endpoint_that_wg_has_set_is_said_and_one_that_roamed_is_not() {
        let (key, addr) = (PublicKey::new([7; 32]), |text: &str| text.parse::<SocketAddr>().unwrap());
        let said = |endpoint: &str| Config {
            peers: vec![Peer {
                endpoint: Some(Endpoint::Address(addr(endpoint))),
                name: Some("office".to_owned()),
                ..Peer::new(key)
            }],
            ..Config::default()
        };
        let running = |configured: &str| Running {
            peers: HashMap::from([(
                key,
                RunningPeer {
                    endpoint: Some(addr("198.51.100.7:9")),
                    configured: Some(addr(configured)),
                    ..RunningPeer::default()
                },
            )]),
            ..Running::default()
        };
        let (file, none) = (said("192.0.2.1:7"), HashMap::new());
        assert!(kept_endpoints(&file, &file, &running("192.0.2.1:7"), &none).is_empty(), "it has moved");
        let lines = kept_endpoints(&file, &file, &running("192.0.2.9:7"), &none);
        assert!(lines[0].contains("(office): keeps the endpoint 192.0.2.9:7") && lines.len() == 1, "{lines:?}");
        assert!(lines[0].contains("the file says 192.0.2.1:7"), "{lines:?}");
        let news = said("192.0.2.2:7");
        assert!(kept_endpoints(&news, &file, &running("192.0.2.9:7"), &none).is_empty(), "the file counts");
    }
}
