//! A gateway goes on in another process: the one that serves gives, the one that was started takes.
//!
//! ```text
//!   the old process (event_loop/giving)              the new one (taker, start)
//!                       ◄─ hand_over=VERSIONS ──     connects to the control socket
//!   offers ── facts, TUN queues, sockets, … ──►      makes rings, workers, what it listens on; reads nothing
//!                       ◄─ hand_over_state=1 ───
//!   rests: reads nothing, ends what was begun
//!           ── state in a sealed memfd ───────►      makes its device, tells its workers
//!                       ◄─ ready ───────────────
//!           ── go ────────────────────────────►      reads and sends
//!                       ◄─ runs ────────────────
//!   ends, and takes nothing down
//! ```
//!
//! Until it has said *go* the old process goes on if anything fails. From then on it sends nothing, unless the new one
//! ends without having said *runs*; then it begins new sessions. The new one serves only once it hears *go*, or the old
//! process is gone: a pipe says so.

mod facts;
mod line;
mod rest;
mod taker;

pub use facts::{Facts, FileFacts, Possessions, SocketFacts, Versions};
pub use line::{Line, Message};
pub use rest::rest;
pub use taker::{Offer, Succession};
