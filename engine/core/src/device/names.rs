//! What the operator calls the peers: for logs and tables, never for the protocol.

use std::sync::Arc;

use super::peers::keys_after;
use super::{Device, PeerSettingsFull};
use crate::constants::PEERS_MAX;
use crate::crypto::PublicKey;
use crate::part::{Malformed, Part, Reader, Sink};

/// Bytes of the longest name.
pub const NAME_LEN_MAX: usize = 64;

/// Whether a text can be a name: one that fits a line of a log or of a table, and cannot be taken for more than that.
pub fn is_name(text: &str) -> bool {
    let trimmed = text.trim() == text && !text.is_empty();
    trimmed && text.len() <= NAME_LEN_MAX && !text.chars().any(char::is_control)
}

/// A name on its way to another process.
pub(super) struct Name(pub String);

impl Part for Name {
    fn put(&self, to: &mut dyn Sink) {
        u16::try_from(self.0.len()).expect("a name is short").put(to);
        to.put(self.0.as_bytes());
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let len = usize::from(u16::take(from)?).min(NAME_LEN_MAX + 1);
        let text = std::str::from_utf8(from.bytes(len, "a name")?).ok().filter(|text| is_name(text));
        text.map(|text| Self(text.to_owned())).ok_or_else(|| from.bad("a name"))
    }
}

impl Device {
    /// Names the peer with this key, or takes its name back. As a suite, a name belongs to the key: it waits for a peer
    /// that is not there yet, and outlives one that is removed. What [`is_name`] refuses must not come here.
    ///
    /// # Errors
    /// [`PeerSettingsFull`], and nothing changes.
    pub fn set_peer_name(&mut self, key: PublicKey, name: Option<&str>) -> Result<(), PeerSettingsFull> {
        match name {
            None => _ = self.names.remove(&key),
            Some(_) if self.name_room() == 0 && !self.names.contains_key(&key) => return Err(PeerSettingsFull),
            Some(name) => _ = self.names.insert(key, Arc::from(name)),
        }
        Ok(())
    }

    /// What the operator calls the peer with this key, whether it is there or not.
    pub fn peer_name(&self, key: &PublicKey) -> Option<&str> {
        self.names.get(key).map(AsRef::as_ref)
    }

    /// The names, whether their peers are there or not: all, or those after a key.
    pub fn peer_names_after(&self, key: Option<PublicKey>) -> impl Iterator<Item = (&PublicKey, &Arc<str>)> {
        self.names.range(keys_after(key))
    }

    /// For how many more peers a name may be set.
    pub fn name_room(&self) -> usize {
        PEERS_MAX.saturating_sub(self.names.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_short_visible_text() {
        for good in ["a", "office, 2nd floor", "Zürich", &"x".repeat(NAME_LEN_MAX)] {
            assert!(is_name(good), "{good:?}");
        }
        for bad in ["", " a", "a ", "a\nb", "a\tb", "\u{1b}[31mred", "\u{85}", &"x".repeat(NAME_LEN_MAX + 1)] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_name_belongs_to_the_key() {
        let mut device = Device::new(1);
        let key = PublicKey::new([7; 32]);
        device.set_peer_name(key, Some("office")).unwrap();
        let peer = device.add_peer(key).unwrap();
        assert_eq!(device.status(peer).unwrap().name().map(AsRef::as_ref), Some("office"));
        device.remove_peer(peer);
        assert_eq!(device.peer_name(&key), Some("office"));
        device.set_peer_name(key, None).unwrap();
        assert_eq!(device.peer_name(&key), None);
    }

    #[test]
    fn a_name_that_is_none_is_not_taken_over() {
        assert!(Name::take(&mut Reader::new(&[1, 0, b'a'])).is_ok_and(|name| name.0 == "a"));
        assert!(Name::take(&mut Reader::new(&[1, 0, b'\n'])).is_err());
    }
}
