//! From what runs back to the file, changing as little of it as can be.
//!
//! `wg-quick save` writes the file anew, and loses comments and order. Here a line whose setting has not changed stays
//! as it is. So do comments, blank lines, our own settings, and all that is not of a running gateway: addresses, hooks,
//! names. A setting that has changed changes in its line. A peer that is gone goes with its section, and with the
//! comment lines right above it. New peers come last, in the first file. Included files are changed where they are.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use ringfort_core::crypto::{PrivateKey, PublicKey};

use super::config::{Config, Endpoint, Peer};
use super::cursor::{self, Line};
use super::files::Files;
use super::key_text;
use super::mistake::{Mistakes, Place, Problem};
use super::read::{KeyFiles, load, place_of};
use super::secret::{SecretKey, SecretText};
use super::setting::Section;
use super::{LEN_MAX, write};

/// What a gateway has now: the part of its configuration that `wg` can change.
#[derive(Debug, Default)]
pub struct State {
    /// The private key.
    pub private_key: Option<SecretKey>,
    /// The port, if there is one.
    pub listen_port: Option<u16>,
    /// The mark that the operator has set; 0 is none. `None` leaves what the file says.
    pub fwmark: Option<u32>,
    /// All peers. A name is never among them.
    pub peers: Vec<Peer>,
}

/// The new text of each file that changes, for the configuration at `path` to say what `state` is.
///
/// # Errors
/// The files are wrong as they are.
pub fn edit(path: &Path, files: &dyn Files, state: &State) -> Result<Vec<(PathBuf, SecretText)>, Mistakes> {
    let loaded = load(path, files, KeyFiles::IfReadable)?;
    let editor = Editor::new(&loaded.config, state);
    let mut changed = Vec::new();
    for (position, file) in loaded.files.iter().enumerate() {
        let content =
            files.read(file, LEN_MAX).map_err(|error| Mistakes::one(Place::file(file.as_path()), error.into()))?;
        // It was text when it was loaded, a moment ago.
        let before = std::str::from_utf8(&content.bytes).map_err(|error| {
            Mistakes::one(place_of(&content.bytes, error.valid_up_to(), file.as_path().into()), Problem::Encoding)
        })?;
        let mut after = editor.file(before);
        if position == 0 {
            editor.add_new_peers(&mut after);
        }
        if after.as_str() != before {
            changed.push((file.clone(), after));
        }
    }
    Ok(changed)
}

struct Editor<'a> {
    config: &'a Config,
    state: &'a State,
    /// What the file says of each peer.
    said: HashMap<PublicKey, &'a Peer>,
    /// What each peer is.
    now: HashMap<PublicKey, &'a Peer>,
    /// Our own keys: one list of peers may be given to all gateways, and each leaves itself out.
    own: Vec<PublicKey>,
}

/// Lines that belong together: a header with its settings, or what is before the first header.
struct Block<'t> {
    section: Section,
    lines: Vec<&'t str>,
}

/// A setting of `wg` as it should be written; `None` if it should not be.
type Wanted = Vec<(&'static str, Option<SecretText>)>;

impl<'a> Editor<'a> {
    fn new(config: &'a Config, state: &'a State) -> Self {
        let by_key = |peers: &'a [Peer]| peers.iter().map(|peer| (peer.public_key, peer)).collect();
        let keys = [&config.interface.private_key, &state.private_key].into_iter().flatten();
        let own = keys.map(|key| PrivateKey::copy_of(key.expose()).public_key()).collect();
        Self { config, state, said: by_key(&config.peers), now: by_key(&state.peers), own }
    }

    fn file(&self, text: &str) -> SecretText {
        let mut after = SecretText::default();
        let (mark, text) = cursor::split_mark(text);
        after.push_str(mark);
        for block in blocks(text) {
            match block.section {
                Section::None => block.lines.iter().for_each(|line| after.push_str(line)),
                Section::Interface => rewrite(&block, self.interface(), &mut after),
                Section::Peer if key_of(&block).is_some_and(|key| self.own.contains(&key)) => {
                    block.lines.iter().for_each(|line| after.push_str(line));
                }
                Section::Peer => match key_of(&block).and_then(|key| Some((self.said.get(&key)?, self.now.get(&key)?)))
                {
                    Some((said, now)) => rewrite(&block, peer_changes(said, now), &mut after),
                    // The peer is gone. What includes others is kept: they have peers of their own.
                    None => block.lines.iter().filter(|line| is_include(line)).for_each(|line| after.push_str(line)),
                },
            }
        }
        after
    }

    fn interface(&self) -> Wanted {
        let (said, now) = (&self.config.interface, self.state);
        let mut wanted = Wanted::new();
        // A key that has a file of its own stays there, as far as anybody can see from here.
        let clamped = |key: &SecretKey| SecretKey::copy_of(PrivateKey::copy_of(key.expose()).as_bytes());
        let [said_key, now_key] = [&said.private_key, &now.private_key].map(|key| key.as_ref().map(clamped));
        if said.private_key_file.is_none() && said_key != now_key {
            wanted.push(("PrivateKey", now.private_key.as_ref().map(key_value)));
        }
        // What the kernel chose is chosen again at the next start, if the file leaves it open.
        if said.listen_port.is_some_and(|port| port != 0) && said.listen_port != now.listen_port {
            wanted.push(("ListenPort", now.listen_port.map(value)));
        }
        if let Some(mark) = now.fwmark
            && said.fwmark.unwrap_or(0) != mark
        {
            wanted.push(("FwMark", (mark != 0).then(|| value(format_args!("{mark:#x}")))));
        }
        wanted
    }

    fn add_new_peers(&self, text: &mut SecretText) {
        let known: HashSet<&PublicKey> = self.said.keys().collect();
        for peer in self.state.peers.iter().filter(|peer| !known.contains(&peer.public_key)) {
            if !text.as_str().is_empty() && !text.as_str().ends_with('\n') {
                text.push_str("\n");
            }
            text.push_str("\n");
            write::write_peer(text, peer).expect("memory takes everything");
        }
    }
}

/// What of a peer must be written differently.
fn peer_changes(said: &Peer, now: &Peer) -> Wanted {
    let mut wanted = Wanted::new();
    if said.preshared_key != now.preshared_key {
        wanted.push(("PresharedKey", now.preshared_key.as_ref().map(key_value)));
    }
    if said.allowed_ips != now.allowed_ips {
        let list: Vec<String> = now.allowed_ips.iter().map(ToString::to_string).collect();
        wanted.push(("AllowedIPs", (!list.is_empty()).then(|| value(list.join(", ")))));
    }
    // A name is what the operator meant, whatever address it has today.
    let is_name = said.endpoint.as_ref().is_some_and(Endpoint::is_name);
    if !is_name && said.endpoint != now.endpoint && now.endpoint.is_some() {
        wanted.push(("Endpoint", now.endpoint.as_ref().map(value)));
    }
    if said.persistent_keepalive.unwrap_or(0) != now.persistent_keepalive.unwrap_or(0) {
        wanted.push(("PersistentKeepalive", now.persistent_keepalive.filter(|&seconds| seconds > 0).map(value)));
    }
    if said.cipher_suite != now.cipher_suite {
        wanted.push(("CipherSuite", now.cipher_suite.map(value)));
    }
    if said.source != now.source {
        wanted.push(("Source", now.source.map(value)));
    }
    wanted
}

/// Copies a section with changed settings. A setting that it did not have comes right below the last one.
fn rewrite(block: &Block<'_>, mut wanted: Wanted, after: &mut SecretText) {
    let mut done = HashSet::new();
    let last =
        block.lines.iter().rposition(|line| matches!(cursor::line(trimmed(line)), Line::Setting(_))).unwrap_or(0);
    for (position, line) in block.lines.iter().enumerate() {
        let name = match cursor::line(trimmed(line)) {
            Line::Setting(parts) => Some((parts.name, parts.value_at, parts.value.len())),
            _ => None,
        };
        let found = name.and_then(|(name, at, len)| {
            let index = wanted.iter().position(|(wanted, _)| wanted.eq_ignore_ascii_case(name))?;
            Some((index, at, len))
        });
        match found {
            None => after.push_str(line),
            Some((index, at, len)) => {
                // The first line has the whole value; others of the same name are parts of the old one.
                if let (true, (_, Some(value))) = (done.insert(index), &wanted[index]) {
                    after.push_str(&line[..at]);
                    after.push_str(value.as_str());
                    after.push_str(&line[at + len..]);
                }
            }
        }
        if position == last {
            let rest: Vec<usize> = (0..wanted.len()).filter(|index| !done.contains(index)).collect();
            // Those that follow in this section are done there, and this is its last setting: none follows.
            for index in rest {
                let (name, value) = &mut wanted[index];
                if let Some(value) = value.take() {
                    if !after.as_str().ends_with('\n') {
                        after.push_str("\n");
                    }
                    let mark = if Section::is_ours(name) { "#ringfort: " } else { "" };
                    let _ = writeln!(after, "{mark}{name} = {}", value.as_str());
                }
            }
        }
    }
}

/// The sections of a text. Comment lines right above a `[Peer]` belong to it: they are about that peer.
fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = vec![Block { section: Section::None, lines: Vec::new() }];
    for line in text.split_inclusive('\n') {
        if let Line::Section { section: Some(section), .. } = cursor::line(trimmed(line)) {
            let above = &mut blocks.last_mut().expect("there is always one").lines;
            let is_comment =
                |line: &&&str| line.trim_start().starts_with('#') && cursor::line(trimmed(line)) == Line::Nothing;
            let count = if section == Section::Peer { above.iter().rev().take_while(is_comment).count() } else { 0 };
            let comments = above.split_off(above.len() - count);
            blocks.push(Block { section, lines: comments });
        }
        blocks.last_mut().expect("there is always one").lines.push(line);
    }
    blocks
}

fn key_of(block: &Block<'_>) -> Option<PublicKey> {
    let mut keys = block.lines.iter().rev().filter_map(|line| match cursor::line(trimmed(line)) {
        Line::Setting(parts) if parts.name.eq_ignore_ascii_case("PublicKey") => key_text::decode(parts.value).ok(),
        _ => None,
    });
    keys.next()
}

fn is_include(line: &str) -> bool {
    matches!(cursor::line(trimmed(line)), Line::Setting(parts) if parts.name.eq_ignore_ascii_case("Include"))
}

fn trimmed(line: &str) -> &str {
    line.trim_end_matches(['\n', '\r'])
}

fn value(value: impl std::fmt::Display) -> SecretText {
    let mut text = SecretText::default();
    let _ = write!(text, "{value}");
    text
}

fn key_value(key: &SecretKey) -> SecretText {
    let mut text = SecretText::default();
    text.push_key(key.expose());
    text
}

impl State {
    /// What a daemon answers to `get=1`. `None` if that is not an answer.
    #[must_use]
    pub fn from_answer(text: &str) -> Option<Self> {
        let mut state = Self::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once('=')?;
            match state.peers.last_mut() {
                _ if name == "public_key" => state.peers.push(Peer::new(key_text::from_hex(value)?)),
                _ if name == "errno" => {}
                Some(peer) => peer_line(peer, name, value)?,
                None => match name {
                    "private_key" => state.private_key = Some(SecretKey::from_hex(value)?),
                    "listen_port" => state.listen_port = Some(value.parse().ok()?),
                    "fwmark" => state.fwmark = Some(value.parse().ok()?),
                    _ => {}
                },
            }
        }
        state.fwmark.get_or_insert(0);
        Some(state)
    }
}

fn peer_line(peer: &mut Peer, name: &str, value: &str) -> Option<()> {
    match name {
        "preshared_key" => peer.preshared_key = Some(SecretKey::from_hex(value)?).filter(|key| !key.is_zero()),
        "endpoint" => peer.endpoint = Some(Endpoint::Address(value.parse().ok()?)),
        "persistent_keepalive_interval" => peer.persistent_keepalive = Some(value.parse().ok()?),
        "cipher_suite" => peer.cipher_suite = Some(ringfort_core::suite::Suite::from_str(value).ok()?),
        "source" => peer.source = Some(value.parse().ok()?),
        "allowed_ip" => _ = peer.allowed_ips.insert(super::value::allowed_ip(value).ok()?),
        _ => {}
    }
    Some(())
}

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;
