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
mod http;
mod overview;
mod places;
mod sample;
mod server;
mod text;

pub use exchange::Exchange;
pub use overview::{HandshakeOverview, Overview, PeerOverview, WorkerOverview};
pub use places::PeerSeries;
pub use sample::{ControlSample, PeerSample, Snapshot};
pub use server::{CLIENTS_MAX, Listening, Metrics, MetricsError, Options, PATH_OVERVIEW, socket_path};

use std::sync::Arc;
use std::time::SystemTime;

use ringfort_aead::Suite;

use crate::queues::Queues;
use crate::worker::WorkerStats;

/// What stays the same as long as the daemon runs, and what any thread may read.
#[derive(Clone, Debug)]
pub struct Source {
    /// The interface, for labels.
    pub interface: String,
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
}

#[cfg(test)]
mod packaging_tests;
