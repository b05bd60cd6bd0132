//! The control socket of the gateway: what is asked of it, and what it says, as text.
//!
//! `get=1` and `set=1` are those of <https://www.wireguard.com/xplatform/>; `watch=1`,
//! `recover=1`, `name` and `source` are Ringfort's own. All of it is in buffers that are wiped: there may be preshared
//! keys in it.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ringfort_config::key_text::{decode, from_hex, hex};
use ringfort_config::{SecretKey, SecretText};
use ringfort_core::allowed_ips::Prefix;
use ringfort_core::crypto::PublicKey;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::state::{Change, GatewayOp, Had, Heard};
use crate::value::Settings;

/// Where the gateway of this interface listens.
#[must_use]
pub fn socket_path(interface: &str) -> PathBuf {
    PathBuf::from(format!("/var/run/wireguard/{interface}.sock"))
}

/// A `set=1` with these changes.
#[must_use]
pub fn set(ops: &[GatewayOp]) -> SecretText {
    let mut text = SecretText::default();
    text.push_str("set=1\n");
    for GatewayOp { peer, change } in ops {
        text.push_str(&format!("public_key={}\n", hex(peer)));
        match change {
            Change::Remove => {
                // They belong to the key, and would outlive the peer: in the end there would be no room for others.
                text.push_str("update_only=true\nname=\nsource=default\n");
                text.push_str(&format!("public_key={}\nremove=true\n", hex(peer)));
            }
            Change::Tell(endpoint, source) => {
                // A peer that is not there is not made.
                let source = source.map_or_else(String::new, |source| format!("source={source}\n"));
                text.push_str(&format!("update_only=true\nendpoint={endpoint}\n{source}"));
            }
            Change::Set { to, from, endpoint } => settings(&mut text, to, from.as_deref(), *endpoint),
        }
    }
    text.push_str("\n");
    text
}

/// What differs.
fn settings(text: &mut SecretText, to: &Settings, from: Option<&Settings>, endpoint: Option<SocketAddr>) {
    let nothing = Settings::default();
    let before = from.unwrap_or(&nothing);
    if to.preshared_key != before.preshared_key {
        text.push_str("preshared_key=");
        push_hex(text, to.preshared_key.as_ref().map_or(&[0; 32], SecretKey::expose));
        text.push_str("\n");
    }
    if to.persistent_keepalive_s != before.persistent_keepalive_s {
        text.push_str(&format!("persistent_keepalive_interval={}\n", to.persistent_keepalive_s));
    }
    // A name may have waited for its peer.
    if from.is_none() || to.name != before.name {
        text.push_str(&format!("name={}\n", to.name.as_deref().unwrap_or_default()));
    }
    if let Some(endpoint) = endpoint {
        text.push_str(&format!("endpoint={endpoint}\n"));
    }
    if from.is_none() || to.allowed_ips != before.allowed_ips {
        let mut lines = "replace_allowed_ips=true\n".to_owned();
        for prefix in &to.allowed_ips {
            let _ = writeln!(lines, "allowed_ip={prefix}");
        }
        text.push_str(&lines);
    }
}

fn push_hex(text: &mut SecretText, key: &[u8; 32]) {
    let mut digits = Zeroizing::new(String::with_capacity(64));
    for byte in key {
        let _ = write!(digits, "{byte:02x}");
    }
    text.push_str(&digits);
}

/// Reads the answer to `get=1`, line by line, and gives each peer once all of it was read.
#[derive(Debug, Default)]
pub struct Peers {
    peer: Option<(PublicKey, Settings, Vec<Prefix>, Option<IpAddr>)>,
    errno: Option<i32>,
}

impl Peers {
    /// Takes a line without its end. Gives the peer before it, if a new one begins or the answer ends.
    pub fn line(&mut self, line: &str) -> Option<Had> {
        let (name, value) = line.split_once('=')?;
        if name == "public_key" {
            let key = from_hex(value)?;
            return self.peer.replace((key, Settings::default(), Vec::new(), None)).map(had);
        }
        if name == "errno" {
            self.errno = value.parse().ok();
            return self.peer.take().map(had);
        }
        let (_, settings, prefixes, source) = self.peer.as_mut()?;
        match name {
            "preshared_key" => settings.preshared_key = SecretKey::from_hex(value).filter(|key| !key.is_zero()),
            "persistent_keepalive_interval" => settings.persistent_keepalive_s = value.parse().unwrap_or(0),
            "source" => *source = value.parse().ok(),
            "name" => settings.name = Some(value.into()),
            "endpoint" => settings.endpoint = value.parse().ok(),
            "allowed_ip" => prefixes.extend(prefix(value)),
            _ => {}
        }
        None
    }

    /// How the answer ended: 0, or a negative error number; `None` if it has not.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.errno
    }
}

fn had((peer, mut settings, mut prefixes, source): (PublicKey, Settings, Vec<Prefix>, Option<IpAddr>)) -> Had {
    prefixes.sort_unstable();
    settings.allowed_ips = prefixes.into();
    Had { peer, settings, source }
}

fn prefix(text: &str) -> Option<Prefix> {
    let (addr, len) = text.split_once('/')?;
    Prefix::new(addr.parse().ok()?, len.parse().ok()?)
}

/// A line of `watch=1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The beginning, or a change: whether the gateway serves its peers.
    Role(bool),
    /// A peer, in the list or because of a change.
    Session(Heard),
    /// All have been listed.
    Complete,
    /// A peer is gone.
    Removed(PublicKey),
    /// All are listed once more.
    Resync,
    /// It lets nobody watch, and says why.
    Refused(String),
    /// Something of a later version.
    Unknown,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    event: String,
    #[serde(default)]
    public_key: String,
    #[serde(default)]
    role: String,
    #[serde(default)]
    changes: Vec<String>,
    #[serde(default)]
    session: bool,
    session_age_s: Option<f64>,
    endpoint: Option<SocketAddr>,
    source: Option<IpAddr>,
    error: Option<String>,
}

impl News {
    /// Reads a line that came at this time, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn parse(line: &str, now_ms: i64) -> Self {
        let json = line.strip_prefix("json=").and_then(|json| serde_json::from_str::<Line>(json).ok());
        let Some(line) = json else { return Self::Unknown };
        if let Some(error) = line.error {
            return Self::Refused(error);
        }
        let key = decode(&line.public_key);
        match (line.event.as_str(), key) {
            ("begin" | "role", _) => Self::Role(line.role == "active"),
            ("complete", _) => Self::Complete,
            ("resync", _) => Self::Resync,
            ("removed", Ok(peer)) => Self::Removed(peer),
            ("peer" | "changed", Ok(peer)) => {
                let age_ms = (line.session_age_s.unwrap_or(0.0) * 1_000.0) as i64;
                Self::Session(Heard {
                    peer,
                    is_added: line.changes.iter().any(|change| change == "added"),
                    has_session: line.session,
                    is_confirmed: line.session && line.changes.iter().any(|change| change == "confirmed"),
                    confirmed_ms: now_ms - age_ms,
                    endpoint: line.endpoint,
                    source: line.source,
                })
            }
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
    const HEX: &str = "c53201039adba14be71f886da1d8dbe9eebded08cb111b75340078999aa9f038";

    fn settings(json: &str) -> Arc<Settings> {
        Arc::new(Settings::parse(json.as_bytes()).unwrap())
    }

    fn text(to: &Arc<Settings>, from: Option<&Arc<Settings>>) -> String {
        let change = Change::Set { to: to.clone(), from: from.cloned(), endpoint: to.endpoint };
        set(&[GatewayOp { peer: decode(KEY).unwrap(), change }]).as_str().to_owned()
    }

    #[test]
    fn only_what_differs_is_said() {
        let json = format!(
            r#"{{"allowed_ips": ["10.0.0.2/32"], "preshared_key": "{KEY}", "name": "a", "persistent_keepalive": 5}}"#
        );
        let (all, less) = (settings(&json), settings(r#"{"allowed_ips": ["10.0.0.2/32"], "name": "a"}"#));
        let new = text(&all, None);
        assert!(new.starts_with(&format!("set=1\npublic_key={HEX}\npreshared_key={HEX}\n")), "{new}");
        assert!(new.ends_with("interval=5\nname=a\nreplace_allowed_ips=true\nallowed_ip=10.0.0.2/32\n\n"), "{new}");
        let zeros = "0".repeat(64);
        assert_eq!(
            text(&less, Some(&all)),
            format!("set=1\npublic_key={HEX}\npreshared_key={zeros}\npersistent_keepalive_interval=0\n\n")
        );
        let moved = settings(r#"{"allowed_ips": [], "endpoint": "192.0.2.1:5"}"#);
        assert_eq!(
            text(&moved, Some(&less)),
            format!("set=1\npublic_key={HEX}\nname=\nendpoint=192.0.2.1:5\nreplace_allowed_ips=true\n\n")
        );
        let change = Change::Set { to: moved.clone(), from: Some(less.clone()), endpoint: None };
        let text = set(&[GatewayOp { peer: decode(KEY).unwrap(), change }]);
        assert!(!text.as_str().contains("endpoint"), "it is not a new one: {}", text.as_str());
    }

    #[test]
    fn an_endpoint_makes_no_peer() {
        let peer = decode(KEY).unwrap();
        let told = Change::Tell("192.0.2.1:5".parse().unwrap(), "192.0.2.9".parse().ok());
        let ops = [GatewayOp { peer, change: told }, GatewayOp { peer, change: Change::Remove }];
        assert_eq!(
            set(&ops).as_str(),
            format!(
                "set=1\npublic_key={HEX}\nupdate_only=true\nendpoint=192.0.2.1:5\nsource=192.0.2.9\n\
                 public_key={HEX}\nupdate_only=true\nname=\nsource=default\n\
                 public_key={HEX}\nremove=true\n\n"
            )
        );
    }

    #[test]
    fn peers_are_read_as_the_gateway_lists_them() {
        let answer = format!(
            "private_key={HEX}\nlisten_port=5\npublic_key={HEX}\npreshared_key={HEX}\nprotocol_version=1\n\
             source=192.0.2.9\nname=a b\nendpoint=192.0.2.1:5\nlast_handshake_time_sec=0\ntx_bytes=7\n\
             persistent_keepalive_interval=9\n\
             allowed_ip=10.0.0.3/32\nallowed_ip=10.0.0.2/32\npublic_key={}\npreshared_key={}\nerrno=0\n",
            "1".repeat(64),
            "0".repeat(64)
        );
        let mut peers = Peers::default();
        let all: Vec<Had> = answer.lines().filter_map(|line| peers.line(line)).collect();
        assert_eq!(peers.errno(), Some(0));
        let [first, second] = all.as_slice() else { panic!("{all:?}") };
        let json = format!(
            r#"{{"allowed_ips": ["10.0.0.2", "10.0.0.3"], "preshared_key": "{KEY}", "name": "a b",
                "persistent_keepalive": 9, "endpoint": "192.0.2.1:5"}}"#
        );
        assert_eq!((first.peer, &first.settings), (decode(KEY).unwrap(), &*settings(&json)));
        assert_eq!(first.source, "192.0.2.9".parse().ok());
        assert_eq!((&second.settings, second.source), (&Settings::default(), None));
    }

    #[test]
    fn news_of_the_gateway() {
        let peer = decode(KEY).unwrap();
        let parse = |json: &str| News::parse(&format!("json={json}"), 5_000);
        assert_eq!(parse(r#"{"event":"begin","version":1,"role":"active"}"#), News::Role(true));
        assert_eq!(parse(r#"{"event":"role","role":"passive"}"#), News::Role(false));
        assert_eq!(parse(&format!(r#"{{"event":"removed","public_key":"{KEY}"}}"#)), News::Removed(peer));
        assert_eq!(parse(r#"{"event":"complete","peers":3}"#), News::Complete);
        assert_eq!(parse(r#"{"event":"resync"}"#), News::Resync);
        assert_eq!(parse(r#"{"error":"8 clients watch"}"#), News::Refused("8 clients watch".to_owned()));
        let changed = format!(
            r#"{{"event":"changed","public_key":"{KEY}","session":true,"session_age_s":1.5,"changes":["confirmed"],
                "endpoint":"192.0.2.1:5","source":null,"last_handshake":7,"name":null}}"#
        );
        let heard = Heard {
            peer,
            is_added: false,
            has_session: true,
            is_confirmed: true,
            confirmed_ms: 3_500,
            endpoint: "192.0.2.1:5".parse().ok(),
            source: None,
        };
        assert_eq!(parse(&changed), News::Session(heard));
        let gone = format!(
            r#"{{"event":"changed","public_key":"{KEY}","session":false,"session_age_s":null,
                "changes":["session_gone","confirmed"],"endpoint":null}}"#
        );
        let News::Session(heard) = parse(&gone) else { panic!() };
        assert!(!heard.has_session && !heard.is_confirmed, "it has ended since");
        assert_eq!(parse(r#"{"event":"later"}"#), News::Unknown);
        assert_eq!(News::parse("errno=-16", 0), News::Unknown);
    }
}
