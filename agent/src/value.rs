//! The values in etcd: JSON, checked as a whole. What is wrong is said, without what the value says: it may be a key.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use jiff::Timestamp;
use ringfort_config::SecretKey;
use ringfort_core::allowed_ips::Prefix;
use ringfort_core::device::{NAME_LEN_MAX, is_name};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

/// How a peer should be.
///
/// ```json
/// {
///   "allowed_ips": ["10.0.0.2/32", "fd00::2/128"],
///   "preshared_key": "base64, as wg genpsk prints it",
///   "persistent_keepalive": 25,
///   "name": "laptop",
///   "endpoint": "192.0.2.7:51820"
/// }
/// ```
///
/// All but `allowed_ips` may be left out. A setting that is not known is a mistake: it was meant to have an effect.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// In order, each once.
    pub allowed_ips: Box<[Prefix]>,
    /// `None` is the same as zeros.
    pub preshared_key: Option<SecretKey>,
    /// In seconds; 0 is off.
    pub persistent_keepalive_s: u16,
    /// What the operator calls it.
    pub name: Option<Box<str>>,
    /// Where it is until it is heard of from elsewhere.
    pub endpoint: Option<SocketAddr>,
}

/// Which gateway has the session of a peer, and how the peer is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The name of the gateway's node.
    pub node: Box<str>,
    /// Where the peer is.
    pub endpoint: Option<SocketAddr>,
    /// The address at which the peer knows the gateway.
    pub source: Option<IpAddr>,
    /// When the session was confirmed, in milliseconds since the Unix epoch.
    pub since_ms: i64,
}

/// Why a value is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadValue(String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PeerJson {
    allowed_ips: Vec<PrefixText>,
    #[serde(default)]
    preshared_key: Option<KeyText>,
    #[serde(default)]
    persistent_keepalive: u16,
    #[serde(default)]
    name: Option<Box<str>>,
    #[serde(default)]
    endpoint: Option<SocketAddr>,
}

#[derive(Serialize, Deserialize)]
struct OwnerJson {
    node: Box<str>,
    endpoint: Option<SocketAddr>,
    source: Option<IpAddr>,
    since: String,
}

impl Settings {
    /// Reads the value of a peer.
    ///
    /// # Errors
    /// [`BadValue`].
    pub fn parse(json: &[u8]) -> Result<Self, BadValue> {
        let peer: PeerJson = serde_json::from_slice(json).map_err(|error| BadValue(without_content(&error)))?;
        if let Some(name) = &peer.name
            && !is_name(name)
        {
            let rule =
                format!("name must have 1 to {NAME_LEN_MAX} bytes, no control characters, no blanks at its ends");
            return Err(BadValue(rule));
        }
        let mut allowed_ips: Vec<Prefix> = peer.allowed_ips.into_iter().map(|PrefixText(prefix)| prefix).collect();
        allowed_ips.sort_unstable();
        allowed_ips.dedup();
        Ok(Self {
            allowed_ips: allowed_ips.into(),
            preshared_key: peer.preshared_key.map(|KeyText(key)| key).filter(|key| !key.is_zero()),
            persistent_keepalive_s: peer.persistent_keepalive,
            name: peer.name,
            endpoint: peer.endpoint,
        })
    }

    /// The same with other prefixes, which are in order, and another keepalive.
    #[must_use]
    pub fn with(&self, allowed_ips: Box<[Prefix]>, persistent_keepalive_s: u16) -> Self {
        Self {
            allowed_ips,
            preshared_key: self.preshared_key.as_ref().map(|key| SecretKey::copy_of(key.expose())),
            persistent_keepalive_s,
            name: self.name.clone(),
            endpoint: self.endpoint,
        }
    }

    /// The same except the endpoint, which a peer may change by itself.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.allowed_ips == other.allowed_ips
            && self.preshared_key == other.preshared_key
            && self.persistent_keepalive_s == other.persistent_keepalive_s
            && self.name == other.name
    }
}

impl Owner {
    /// Reads the value of a session; `None` if nobody of ours has written it.
    #[must_use]
    pub fn parse(json: &[u8]) -> Option<Self> {
        let owner: OwnerJson = serde_json::from_slice(json).ok()?;
        let since_ms = owner.since.parse::<Timestamp>().ok()?.as_millisecond();
        Some(Self { node: owner.node, endpoint: owner.endpoint, source: owner.source, since_ms })
    }

    /// The value.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let since = Timestamp::from_millisecond(self.since_ms).unwrap_or_default();
        let json = OwnerJson {
            node: self.node.clone(),
            endpoint: self.endpoint,
            source: self.source,
            since: format!("{since:.3}"),
        };
        serde_json::to_vec(&json).expect("strings and addresses can be written as JSON")
    }
}

/// A prefix: `10.0.0.0/8`. An address alone is a prefix of all its bits, as with `wg`.
struct PrefixText(Prefix);

impl FromStr for PrefixText {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let bad = || BadValue("an element of allowed_ips is not a prefix like 10.0.0.2/32 or fd00::2/128".to_owned());
        let (addr, len) = text.split_once('/').map_or((text, None), |(addr, len)| (addr, Some(len)));
        let addr: IpAddr = addr.parse().map_err(|_| bad())?;
        let len = match len {
            Some(len) if len.bytes().all(|byte| byte.is_ascii_digit()) => len.parse().map_err(|_| bad())?,
            Some(_) => return Err(bad()),
            None if addr.is_ipv4() => 32,
            None => 128,
        };
        Prefix::new(addr, len).map(Self).ok_or_else(bad)
    }
}

impl<'de> Deserialize<'de> for PrefixText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor("a prefix", |text: &str| text.parse().ok()))
    }
}

/// A preshared key in base64.
struct KeyText(SecretKey);

impl<'de> Deserialize<'de> for KeyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "preshared_key as 44 characters of base64";
        deserializer.deserialize_str(TextVisitor(expected, |text: &str| SecretKey::from_base64(text).map(KeyText)))
    }
}

/// Reads a text where it lies, and never repeats it.
struct TextVisitor<F>(&'static str, F);

impl<T, F: Fn(&str) -> Option<T>> Visitor<'_> for TextVisitor<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.1)(text).ok_or_else(|| E::custom(format_args!("expected {}", self.0)))
    }
}

/// What serde says, except where it would quote the value.
fn without_content(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!("line {}, column {}", error.line(), error.column());
    match text.split(" at line ").next().unwrap_or_default() {
        _ if !error.is_data() => format!("it is not JSON ({place})"),
        // Names of settings only.
        what if what.starts_with("missing field") || what.starts_with("expected ") => format!("{what} ({place})"),
        what if what.starts_with("unknown field") => {
            let known = "allowed_ips, preshared_key, persistent_keepalive, name, endpoint";
            format!("a setting is not known ({place}); these are: {known}")
        }
        what if what.starts_with("duplicate field") => format!("{what} ({place})"),
        _ => format!("a value is of the wrong kind, or out of range ({place})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "FpCyhws9cxwWoV4xELtfJvjJN+zQVRPISllRWgeopVE=";

    fn refusal(json: &str) -> String {
        Settings::parse(json.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_peer_is_read() {
        let json = format!(
            r#"{{"allowed_ips": ["fd00::2/128", "10.0.0.7/24", "10.0.0.2", "10.0.0.2/32"], "preshared_key": "{KEY}",
                "persistent_keepalive": 25, "name": "laptop", "endpoint": "[2001:db8::1]:51820"}}"#
        );
        let settings = Settings::parse(json.as_bytes()).unwrap();
        let prefixes: Vec<_> = settings.allowed_ips.iter().map(ToString::to_string).collect();
        assert_eq!(prefixes, ["10.0.0.0/24", "10.0.0.2/32", "fd00::2/128"]);
        assert_eq!(settings.preshared_key, SecretKey::from_base64(KEY));
        assert_eq!((settings.persistent_keepalive_s, settings.name.as_deref()), (25, Some("laptop")));
        assert_eq!(settings.endpoint, "[2001:db8::1]:51820".parse().ok());
        assert!(!format!("{settings:?}").contains("FpCy") && !format!("{settings:?}").contains("22"));

        let least = Settings::parse(br#"{"allowed_ips": []}"#).unwrap();
        assert_eq!(least, Settings::default());
        let zeros = format!(r#"{{"allowed_ips": [], "preshared_key": "{}="}}"#, "A".repeat(43));
        assert_eq!(Settings::parse(zeros.as_bytes()).unwrap(), Settings::default());
    }

    #[test]
    fn a_bad_value_says_what_is_wrong_and_nothing_of_itself() {
        assert!(refusal("{}").contains("missing field `allowed_ips`"));
        assert!(refusal(r#"{"allowed_ips": [], "keepalive": 1}"#).contains("these are: allowed_ips,"));
        assert!(refusal(r#"{"allowed_ips": ["10.0.0.2/33"]}"#).contains("expected a prefix"));
        assert!(refusal(r#"{"allowed_ips": ["10.0.0.2/+3"]}"#).contains("expected a prefix"));
        assert!(refusal(r#"{"allowed_ips": [], "persistent_keepalive": 70000}"#).contains("out of range"));
        assert!(refusal(r#"{"allowed_ips": [], "name": " x"}"#).contains("64 bytes"));
        assert!(refusal(r#"{"allowed_ips": [], "endpoint": "laptop:1"}"#).contains("wrong kind"));
        assert!(refusal("secret").contains("not JSON"));
        for with_key in [
            format!(r#"{{"allowed_ips": [], "preshared_key": "{KEY}x"}}"#),
            format!(r#"{{"allowed_ips": [], "{KEY}": 1}}"#),
            format!(r#"{{"allowed_ips": ["{KEY}"]}}"#),
            format!(r#"{{"allowed_ips": [], "persistent_keepalive": "{KEY}"}}"#),
            format!(r#"{{"allowed_ips": [], "endpoint": "{KEY}"}}"#),
            format!(r#""{KEY}""#),
        ] {
            assert!(!refusal(&with_key).contains("FpCy"), "{}", refusal(&with_key));
        }
    }

    #[test]
    fn an_owner_is_read_as_it_is_written() {
        let owner = Owner {
            node: "gate-1".into(),
            endpoint: "192.0.2.7:51820".parse().ok(),
            source: None,
            since_ms: 1_798_761_599_250,
        };
        let json = String::from_utf8(owner.to_json()).unwrap();
        let since = r#""since":"2026-12-31T23:59:59.250Z""#;
        assert_eq!(json, format!(r#"{{"node":"gate-1","endpoint":"192.0.2.7:51820","source":null,{since}}}"#));
        assert_eq!(Owner::parse(json.as_bytes()), Some(owner));
        assert_eq!(Owner::parse(b"gate-1"), None);
    }
}
