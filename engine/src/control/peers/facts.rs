//! What is known, as JSON. Times are in seconds, sizes in bytes; what is not known is `null`.

use std::time::Duration;

use ringfort_core::device::{DeviceSnapshot, Failure, FailureRecord, PeerSnapshot};
use ringfort_core::diagnosis::UnresolvedName;
use ringfort_core::time::Time;
use serde_json::{Map, Value, json};

use super::super::{key_text, words};

/// One peer. `unresolved` is the name of its endpoint, if that has no address.
pub fn peer(peer: &PeerSnapshot, unresolved: Option<&UnresolvedName>) -> Value {
    let failures: Vec<_> = peer.failures.iter().map(|record| failure(record, peer.now)).collect();
    let last_failure = peer.failures.iter().max_by_key(|record| record.last).map(|record| failure(record, peer.now));
    let drops: Map<_, _> = peer.drops.iter().map(|drop| (drop.reason.name().to_owned(), drop.count.into())).collect();
    let traffic = peer.data.plus(peer.handshake_traffic);
    json!({
        "public_key": key_text::encode(&peer.public_key),
        "name": peer.name.as_deref(),
        "state": peer.state.name(),
        "endpoint": peer.endpoint.map(|endpoint| endpoint.remote.to_string()),
        "unresolved": unresolved.map(|name| json!({
            "name": name.name,
            "since_s": seconds(name.since),
            "error": name.error,
            "next_try_s": name.next.map(seconds),
        })),
        "source": peer.endpoint.and_then(|endpoint| endpoint.source).map(|source| source.addr.to_string()),
        "cipher_suite": peer.suite.name(),
        "has_preshared_key": peer.has_psk,
        "persistent_keepalive_s": peer.keepalive_secs,
        "allowed_ips": peer.allowed_ips,
        "session": peer.session.map(|session| json!({
            "worker": session.worker,
            "age_s": seconds(session.age),
            "valid": session.is_valid,
        })),
        "last_handshake": peer.last_handshake.map(|at| at.as_secs()),
        "handshake_took_s": peer.handshake_took.map(seconds),
        "handshakes": peer.handshakes,
        "rekeys": peer.handshakes.saturating_sub(1),
        "initiations_unanswered": peer.initiations_unanswered,
        "unanswered_s": peer.unanswered_for.map(seconds),
        "last_failure": last_failure,
        "failures": failures,
        "drops": drops,
        "refused_source": peer.refused_source.map(|source| source.to_string()),
        "send_error": peer.send_error.map(words::send_error),
        "address_returns": peer.returns.map(|(count, places)| json!({
            "count": count,
            "addresses": places.map(|place| place.to_string()),
        })),
        "rx_bytes": traffic.rx_bytes,
        "tx_bytes": traffic.tx_bytes,
        "rx_packets": traffic.rx_packets,
        "tx_packets": traffic.tx_packets,
        "rx_largest": peer.sizes.rx_largest,
        "tx_largest": peer.sizes.tx_largest,
        "rx_missing": peer.sizes.rx_missing,
    })
}

/// The interface, and who is not a peer of it.
pub fn interface(device: &DeviceSnapshot) -> Value {
    let ago = |at: Time| seconds(device.now.since(at));
    let strangers = device.strangers.iter().map(|stranger| {
        json!({
            "public_key": key_text::encode(&stranger.public_key),
            "endpoint": stranger.remote.to_string(),
            "count": stranger.count,
            "ago_s": ago(stranger.last),
        })
    });
    let wrong_keys = device
        .wrong_keys
        .iter()
        .map(|wrong| json!({ "endpoint": wrong.remote.to_string(), "count": wrong.count, "ago_s": ago(wrong.last) }));
    let unrouted = device
        .unrouted
        .iter()
        .map(|unrouted| json!({ "destination": unrouted.destination.to_string(), "ago_s": ago(unrouted.last) }));
    json!({
        "up": device.is_up,
        "passive": device.is_passive,
        "node": (!device.node.is_single()).then(|| device.node.to_string()),
        "public_key": device.public_key.as_ref().map(key_text::encode),
        "unknown_keys": strangers.collect::<Vec<_>>(),
        "wrong_keys": wrong_keys.collect::<Vec<_>>(),
        "unrouted": unrouted.collect::<Vec<_>>(),
    })
}

fn failure(record: &FailureRecord, now: Time) -> Value {
    let detail = match record.failure {
        Failure::NotSent { errno } => Some(words::system_error(errno)),
        Failure::OldTimestamp { behind } => Some(format!("{} s behind", behind.as_secs())),
        Failure::Undeliverable { reporter, .. } => Some(format!("{reporter} says so")),
        Failure::SuiteMismatch { theirs } => Some(format!("it asks for {theirs}")),
        _ => None,
    };
    json!({
        "reason": record.failure.name(),
        "detail": detail,
        "count": record.count,
        "ago_s": seconds(now.since(record.last)),
        "endpoint": record.endpoint.map(|endpoint| endpoint.to_string()),
    })
}

/// To a thousandth.
fn seconds(duration: Duration) -> f64 {
    duration.as_millis() as f64 / 1_000.0
}
