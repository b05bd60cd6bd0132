//! What the new process must know before it takes the state: what there is, and how it was started.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use ringfort_core::handover::VERSION;
use serde::{Deserialize, Serialize};
use udp_uring::SocketPair;

/// The steps of a hand-over, and what is in [`Facts`]. Any change of them is another version.
const STEPS: u32 = 2;

/// Which steps, and which state, a process knows. It knows no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// Of the steps.
    pub steps: u32,
    /// Of the state.
    pub state: u32,
}

impl Versions {
    /// Those of this program.
    pub const OURS: Self = Self { steps: STEPS, state: VERSION };

    /// As it is written.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (steps, state) = std::str::from_utf8(text).ok()?.split_once('.')?;
        Some(Self { steps: steps.parse().ok()?, state: state.parse().ok()? })
    }
}

impl std::fmt::Display for Versions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.steps, self.state)
    }
}

/// What is told of a gateway. It holds no secret of a peer, and no key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The interface.
    pub name: String,
    /// What it was like before the gateway, if it was there.
    pub given: Option<[i32; 2]>,
    /// Its queues, which is as many as there are workers.
    pub queues: usize,
    /// What decides which flows come to one worker, where a program of ours does.
    pub flow_seed: Option<[u32; 2]>,
    /// The port that was asked for; 0: any.
    pub port: u16,
    /// The mark of outgoing packets.
    pub fwmark: u32,
    /// What the sockets are bound to.
    pub bind: String,
    /// The sockets, while there are any.
    pub sockets: Option<SocketFacts>,
    /// The file that it follows.
    pub file: Option<FileFacts>,
    /// Whether metrics have a unix socket.
    pub metrics_socket: bool,
    /// How many TCP listeners metrics have.
    pub metrics_listeners: usize,
    /// What is logged.
    pub log_level: String,
}

/// Which sockets each worker has: of IPv4, and of IPv6.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketFacts {
    /// Worker by worker.
    pub pairs: Vec<(bool, bool)>,
}

impl SocketFacts {
    /// What a worker has.
    #[must_use]
    pub fn has(pair: &SocketPair) -> (bool, bool) {
        (pair.v4().is_some(), pair.v6().is_some())
    }
}

/// Which file a gateway follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFacts {
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is one of `ringfort up`.
    pub is_gateway: bool,
    /// When it was read last, in nanoseconds since the Unix epoch.
    pub read_at: u64,
}

/// Descriptors for a process that comes after this one.
#[derive(Debug, Default)]
pub struct Possessions {
    /// The listening control socket.
    pub control: Option<OwnedFd>,
    /// The queues of the interface, worker by worker.
    pub queues: Vec<OwnedFd>,
    /// The unix socket of metrics.
    pub metrics_socket: Option<OwnedFd>,
    /// Their TCP listeners.
    pub metrics_listeners: Vec<OwnedFd>,
}

impl Possessions {
    /// In the order in which they are sent. That of `process` comes first, and the sockets last.
    pub fn in_order<'a>(
        &'a self,
        process: BorrowedFd<'a>,
        sockets: impl IntoIterator<Item = BorrowedFd<'a>>,
    ) -> Vec<BorrowedFd<'a>> {
        let own = self.control.iter().chain(&self.queues).chain(&self.metrics_socket).chain(&self.metrics_listeners);
        [process].into_iter().chain(own.map(AsFd::as_fd)).chain(sockets).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_they_are_written() {
        let ours = Versions::OURS;
        assert_eq!(Versions::parse(ours.to_string().as_bytes()), Some(ours));
        for bad in ["", "1", "1.", ".1", "1.2.3", "a.b", "1.-1", "1.99999999999"] {
            assert_eq!(Versions::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
