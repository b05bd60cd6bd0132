//! Route netlink (`rtnetlink(7)`), as far as a gateway needs it: interfaces, also in other network namespaces, the
//! routes to its peers, and the addresses, routes and rules of its own interface.
//!
//! ```text
//!   LinkSocket, RouteSocket     ──► one request, one answer
//!   SetupSocket                 ──► requests, alone or many at once, and dumps
//!   LinkMonitor, RouteMonitor   ◄── what the kernel tells unasked
//! ```
//!
//! Sockets are those of `netlink-sys`, in the network namespace of the thread that opens them. Requests are messages of
//! `netlink-packet-route`. Of an answer, only the few attributes that matter are read. So an attribute that a newer
//! kernel adds or changes cannot make a message unreadable, as it would if the library read the whole of it.

#![forbid(unsafe_code)]

mod error;
mod link;
mod message;
mod route;
mod setup;
mod socket;

pub use error::{KernelRefusal, RequestError};
pub use link::{LinkKind, LinkMonitor, LinkNews, LinkSocket, LinkState, Place, TunInfo};
pub use route::{PROTOCOL_OURS, RouteMonitor, RouteSocket, Way};
pub use setup::{Address, PROTOCOL_BOOT, Route, RouteFilter, Rule, RuleKind, SetupSocket, TABLE_MAIN};
