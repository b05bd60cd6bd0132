//! `watch=1`: what happens to peers, as lines of JSON on the connection of whoever asked, until he hangs up.
//!
//! The core remembers what has changed, and each reader has a cursor in it (`device/changes.rs`). A page is made when
//! the reader has read the one before, some in a turn for all clients together. So a reader who stalls holds one page,
//! and gets less when he goes on: changes of one peer become one. There is nothing secret in it.

use std::sync::Arc;

use ringfort_core::device::{Change, Device, PeerStatus, WatchCursor, What};
use ringfort_core::time::Time;
use ringfort_worker::clock;
use serde_json::{Value, json};

use super::key_text;
use super::logging::Timestamp;
use super::uapi::{Errno, Reply, Role};

/// Who may watch at a time.
const WATCHERS_MAX: usize = 8;
/// Lines of a page: some hundred microseconds of control's time.
const LINES_PER_PAGE: usize = 128;
/// Of the form of the lines.
const VERSION: u32 = 1;

/// Everybody who watches.
#[derive(Debug, Default)]
pub struct Watchers {
    /// Each has one, and so do we.
    token: Arc<()>,
    /// How many there may be.
    most: usize,
}

/// One who watches.
#[derive(Debug)]
pub struct Watching {
    cursor: WatchCursor,
    /// The role that it has heard of; `None`: it has heard of nothing.
    role: Option<Role>,
    /// There was more than fitted the last page.
    is_behind: bool,
    _token: Arc<()>,
}

impl Watchers {
    /// The control socket has so many places, half of which stay for others. Until this is called, nobody may watch.
    pub fn limit(&mut self, places: usize) {
        self.most = WATCHERS_MAX.min(places / 2);
    }

    /// Lets one more watch.
    ///
    /// # Errors
    /// There are too many; then the line that says so is in `reply`.
    pub fn admit(&self, device: &mut Device, reply: &mut Reply) -> Result<Watching, Errno> {
        if self.count() >= self.most {
            let why = format!("{} clients watch already, and there may not be more", self.most);
            log::warn!("a client may not watch: {why}");
            reply.line("json", json!({ "error": why }));
            return Err(Errno::BUSY);
        }
        let cursor = device.watch();
        Ok(Watching { cursor, role: None, is_behind: true, _token: self.token.clone() })
    }

    /// Has nothing remembered when the last one has gone.
    pub fn step(&self, device: &mut Device) {
        if self.count() == 0 && device.is_watched() {
            device.end_watching();
        }
    }

    fn count(&self) -> usize {
        Arc::strong_count(&self.token) - 1
    }
}

impl Watching {
    /// Whether the next page must be made, once the last one was read.
    #[must_use]
    pub const fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Adds what there is to tell, as much as fits a page.
    pub fn page(&mut self, reply: &mut Reply, device: &mut Device, interface: &str, now: Time) {
        let role = Role::of(device.is_passive());
        let name = role.name();
        match self.role.replace(role) {
            None => tell(reply, json!({ "event": "begin", "version": VERSION, "interface": interface, "role": name })),
            Some(before) if before != role => tell(reply, json!({ "event": "role", "role": name })),
            Some(_) => {}
        }
        for _ in 0..LINES_PER_PAGE {
            let Some(change) = device.next_change(now, &mut self.cursor) else { break };
            if let Some(line) = line(change, device, now) {
                tell(reply, line);
            }
        }
        self.is_behind = device.has_changes(&self.cursor);
    }
}

fn line(change: Change, device: &Device, now: Time) -> Option<Value> {
    Some(match change {
        Change::Listed(peer) => facts("peer", &device.status(peer)?, now),
        Change::Complete => json!({ "event": "complete", "peers": device.peer_count() }),
        Change::Changed { peer, what } => {
            let mut facts = facts("changed", &device.status(peer)?, now);
            facts["changes"] = names(what).into();
            facts
        }
        Change::Removed(key) => json!({ "event": "removed", "public_key": key_text::encode(&key) }),
        Change::Resync => json!({ "event": "resync" }),
    })
}

fn facts(event: &str, peer: &PeerStatus<'_>, now: Time) -> Value {
    let endpoint = peer.endpoint();
    let session = peer.session(now).filter(|session| session.is_valid);
    json!({
        "event": event,
        "public_key": key_text::encode(peer.public_key()),
        "name": peer.name().map(AsRef::<str>::as_ref),
        "state": peer.state(now).name(),
        "session": session.is_some(),
        "session_age_s": session.map(|session| session.age.as_millis() as f64 / 1_000.0),
        "last_handshake": peer.last_handshake().map(|at| at.as_secs()),
        "endpoint": endpoint.map(|endpoint| endpoint.remote.to_string()),
        "source": endpoint.and_then(|endpoint| endpoint.source).map(|source| source.addr.to_string()),
    })
}

/// What has happened, in the order of a peer's life.
fn names(what: What) -> Vec<&'static str> {
    let all =
        [(what.added, "added"), (what.ended, "session_gone"), (what.confirmed, "confirmed"), (what.moved, "endpoint")];
    all.into_iter().filter_map(|(is_so, name)| is_so.then_some(name)).collect()
}

fn tell(reply: &mut Reply, mut line: Value) {
    line["time"] = Timestamp(clock::wall_time()).to_string().into();
    reply.line("json", line);
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
