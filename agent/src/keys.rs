//! Where things are in etcd.
//!
//! ```text
//! /ringfort/NETWORK/peers/PUBLICKEY       what the operator wants: JSON, see `value`
//! /ringfort/NETWORK/sessions/PUBLICKEY    which gateway has the session of this peer: JSON, under the gateway's lease
//! ```
//!
//! A public key is 44 characters of base64, as `wg` prints it. There may be slashes in it: all behind the last
//! directory is the key.

use ringfort_config::key_text::{decode, encode};
use ringfort_core::crypto::PublicKey;

/// The keys of one network.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: String,
}

/// What a key is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A peer as it should be.
    Peer(PublicKey),
    /// Who has the session of a peer.
    Session(PublicKey),
    /// Behind one of the two directories, and not a public key.
    NotAKey,
    /// Something else, which is not ours.
    Other,
}

impl Keys {
    /// Those of the network of this name.
    #[must_use]
    pub fn of(network: &str) -> Self {
        Self { prefix: format!("/ringfort/{network}/") }
    }

    /// What all of them begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The key that says who has the session of a peer.
    #[must_use]
    pub fn session(&self, peer: &PublicKey) -> String {
        format!("{}sessions/{}", self.prefix, encode(peer))
    }

    /// The key that says how a peer should be.
    #[must_use]
    pub fn peer(&self, peer: &PublicKey) -> String {
        format!("{}peers/{}", self.prefix, encode(peer))
    }

    /// What a key is about.
    #[must_use]
    pub fn subject(&self, key: &[u8]) -> Subject {
        let Some(rest) = key.strip_prefix(self.prefix.as_bytes()) else { return Subject::Other };
        let public_key = |text: &[u8]| std::str::from_utf8(text).ok().and_then(|text| decode(text).ok());
        if let Some(text) = rest.strip_prefix(b"peers/") {
            return public_key(text).map_or(Subject::NotAKey, Subject::Peer);
        }
        match rest.strip_prefix(b"sessions/") {
            Some(text) => public_key(text).map_or(Subject::NotAKey, Subject::Session),
            None => Subject::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written() {
        let keys = Keys::of("office");
        // Some of these have slashes in their text.
        for byte in 0..=255 {
            let peer = PublicKey::new([byte; 32]);
            assert_eq!(keys.subject(keys.peer(&peer).as_bytes()), Subject::Peer(peer));
            assert_eq!(keys.subject(keys.session(&peer).as_bytes()), Subject::Session(peer));
        }
        assert!(keys.peer(&PublicKey::new([255; 32])).contains("//"));
        assert_eq!(keys.subject(b"/ringfort/office/peers/laptop"), Subject::NotAKey);
        assert_eq!(keys.subject(b"/ringfort/office/sessions/\xff"), Subject::NotAKey);
        for other in ["/ringfort/office/notes", "/ringfort/home/peers/x", ""] {
            assert_eq!(keys.subject(other.as_bytes()), Subject::Other);
        }
    }
}
