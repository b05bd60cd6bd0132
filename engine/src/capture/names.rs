//! What the operator calls peers. Only control knows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ringfort_core::ids::PeerId;
use ringfort_worker::queues::Queues;

use super::Shared;

/// For control to say what a peer is called. It is idle, or as busy as a handshake takes.
const PATIENCE: Duration = Duration::from_millis(200);

/// Those that control was asked for, once each.
pub(super) struct Names {
    shared: Arc<Shared>,
    queues: Arc<Queues>,
    known: HashMap<PeerId, Box<str>>,
}

impl Names {
    pub(super) fn new(shared: Arc<Shared>, queues: Arc<Queues>) -> Self {
        Self { shared, queues, known: HashMap::new() }
    }

    /// What to write of a peer.
    pub(super) fn label(&mut self, peer: Option<PeerId>) -> &str {
        let Some(peer) = peer else { return "no peer known" };
        if !self.known.contains_key(&peer) {
            // Control will have more time when the next packet comes.
            let Some(name) = self.ask(peer) else { return "a peer" };
            self.known.insert(peer, name.map_or_else(|| "a peer that is gone".into(), String::into_boxed_str));
        }
        &self.known[&peer]
    }

    /// `None`: control does not answer in time. `Some(None)`: the peer is gone.
    fn ask(&self, peer: PeerId) -> Option<Option<String>> {
        self.shared.ask(peer);
        self.queues.control.wake();
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.shared.heard_control();
            match self.shared.told() {
                Some((told, name)) if told == peer => return Some(name),
                // It came too late for whom it was.
                Some(_) => {}
                None => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    // Rounded up, for it to make progress.
                    let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::ZERO);
                    let _ = poll(&mut [PollFd::new(self.shared.fd(), PollFlags::POLLIN)], timeout);
                }
            }
        }
    }
}
