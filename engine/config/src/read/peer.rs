//! A section `[Peer]`.

use ringfort_core::constants::PEERS_MAX;
use ringfort_core::crypto::PublicKey;

use super::{At, Reader, Seen};
use crate::config::Peer;
use crate::cursor::Parts;
use crate::key_text;
use crate::mistake::{Place, Problem, Warning};
use crate::secret::SecretKey;
use crate::setting::{Entry, Setting};
use crate::value;

/// The section that is being read.
pub(super) struct OpenPeer {
    /// Where it begins.
    place: Place,
    seen: Seen,
    has_key: bool,
    /// Its header is no such one, so nobody knows whether it is one.
    is_guessed: bool,
    peer: Peer,
}

impl OpenPeer {
    pub fn new(place: Place) -> Self {
        let peer = Peer::new(PublicKey::new([0; 32]));
        Self { place, seen: Seen::default(), has_key: false, is_guessed: false, peer }
    }

    pub fn guessed(place: Place) -> Self {
        Self { is_guessed: true, ..Self::new(place) }
    }
}

impl Reader<'_> {
    pub(super) fn peer_setting(&mut self, at: At<'_>, parts: &Parts<'_>, entry: &Entry, open: &mut OpenPeer) {
        if let Err(problem) = open.seen.note(entry) {
            return self.refuse(at, parts.name_at, problem);
        }
        let (text, peer) = (parts.value, &mut open.peer);
        match entry.setting {
            Setting::PublicKey => {
                if let Some(key) = self.accept(at, parts, key_text::decode(text).map_err(Problem::PublicKey)) {
                    (peer.public_key, open.has_key) = (key, true);
                }
            }
            Setting::PresharedKey => {
                let key = SecretKey::from_base64(text).ok_or(Problem::Key(entry.name));
                peer.preshared_key = self.accept(at, parts, key).filter(|key| !key.is_zero());
            }
            Setting::AllowedIps if text.is_empty() => {}
            Setting::AllowedIps => {
                let refuse = |position, problem| self.refuse(at, parts.value_at + position, problem);
                value::extend(&mut peer.allowed_ips, text, refuse);
            }
            Setting::Endpoint => peer.endpoint = self.accept(at, parts, value::endpoint(text)),
            Setting::PersistentKeepalive => {
                peer.persistent_keepalive = self.accept(at, parts, value::keepalive(text).ok_or(Problem::Keepalive));
            }
            Setting::Name => {
                let name = value::name(text).map(str::to_owned);
                peer.name = self.accept(at, parts, name.ok_or(Problem::Name));
            }
            Setting::CipherSuite => peer.cipher_suite = self.suite(at, parts),
            Setting::Source => {
                let source = text.parse().ok().filter(value::is_source);
                peer.source = self.accept(at, parts, source.ok_or(Problem::Source));
            }
            _ => {}
        }
    }

    pub(super) fn close_peer(&mut self, OpenPeer { place, seen, has_key, is_guessed, peer }: OpenPeer) {
        if !has_key {
            // A key that is none was refused already.
            if !seen.has(Setting::PublicKey) && !is_guessed {
                self.mistakes.push(place, Problem::NoPublicKey);
            }
            return;
        }
        let position = self.config.peers.len();
        if let Some(&first) = self.peers.get(&peer.public_key) {
            let Place { line, ref file, .. } = self.peer_places[first];
            let problem = Problem::SamePeer { line, file: file.clone() };
            return self.mistakes.push(place, problem);
        }
        if position == PEERS_MAX {
            return self.mistakes.push(place, Problem::TooManyPeers);
        }
        for &prefix in &peer.allowed_ips {
            if let Some(before) = self.prefixes.insert(prefix, position) {
                self.config.peers[before].allowed_ips.remove(&prefix);
                let problem = Problem::PrefixMoved { prefix, line: self.peer_places[before].line };
                self.warnings.push(Warning { place: place.clone(), problem });
            }
        }
        if let Some(name) = &peer.name
            && let Some(first) = self.names.insert(name.clone(), position)
        {
            let problem = Problem::SameName(self.peer_places[first].line);
            self.warnings.push(Warning { place: place.clone(), problem });
        }
        self.peers.insert(peer.public_key, position);
        self.peer_places.push(place);
        self.config.peers.push(peer);
    }
}
