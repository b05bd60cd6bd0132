//! What a gateway shows of itself: metrics for Prometheus, and the same as JSON.
//!
//! ```text
//!   Prometheus, curl, `ringfort top`
//!        │ HTTP, over a unix socket or TCP
//!        ▼
//!     server ──► expose ──► text          a thread of its own
//!        │         ├─► workers' counters: read where they are, nobody is asked
//!        │         └─► Snapshot: what only control knows
//!        ▼                ▲
//!     Exchange ──► control: a bounded number of peers in each of its turns
//! ```
//!
//! The thread sleeps while nobody asks. Neither a slow client nor ten thousand peers keep a worker or control from
//! anything: what is copied for the thread is copied in parts, and everything else happens here.

mod exchange;
mod expose;
mod families;
mod http;
mod overview;
mod places;
mod sample;
mod server;
mod text;

pub use exchange::Exchange;
pub use families::{About, Type, all as families};
pub use overview::{HandshakeOverview, Overview, PeerOverview, WorkerOverview};
pub use places::PeerSeries;
pub use sample::{ControlSample, PeerSample, Snapshot};
pub use server::{CLIENTS_MAX, Listening, Metrics, MetricsError, MetricsPlace, Options, PATH_OVERVIEW, socket_path};

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use ringfort_aead::Suite;
use ringfort_core::node::Node;
use ringfort_worker::WorkerStats;
use ringfort_worker::queues::Queues;

use crate::cli::memory::Division;

/// The name of the interface, which may change. Nobody holds the lock for longer than it takes to copy a pointer.
#[derive(Clone, Debug)]
pub struct InterfaceName(Arc<Mutex<Arc<str>>>);

impl InterfaceName {
    /// This one.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(Arc::new(Mutex::new(name.into())))
    }

    /// What it is called now.
    #[must_use]
    pub fn get(&self) -> Arc<str> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It is called this from now on.
    pub fn set(&self, name: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = name.into();
    }
}

/// What metrics are read from: what stays the same as long as the daemon runs, and what any thread may read.
#[derive(Clone, Debug)]
pub struct Registry {
    /// The interface, for labels.
    pub interface: InterfaceName,
    /// When the daemon began.
    pub started: SystemTime,
    /// The implementation that does most of the work of each suite.
    pub ciphers: Vec<(Suite, &'static str)>,
    /// The thread that control runs on, by its number.
    pub control_thread: i32,
    /// What the workers count.
    pub workers: Vec<Arc<WorkerStats>>,
    /// What passes between threads.
    pub queues: Arc<Queues>,
    /// What packets and sockets may take.
    pub memory: Division,
    /// Which of several gateways this is.
    pub node: Node,
}

#[cfg(test)]
mod packaging_tests;
