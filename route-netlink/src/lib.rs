//! Route netlink (`rtnetlink(7)`), as far as a gateway needs it: interfaces, also in other network namespaces, and the
//! routes to its peers.
//!
//! ```text
//!   LinkSocket, RouteSocket     ──► one request, one answer
//!   LinkMonitor, RouteMonitor   ◄── what the kernel tells unasked
//! ```
//!
//! Plain `AF_NETLINK` sockets in the network namespace of the thread that opens them, and the few fields that matter.
//! Nothing else of an answer is read, so an attribute that a newer kernel adds or changes cannot make a message
//! unreadable.

#![forbid(unsafe_code)]

mod link;
mod message;
mod route;
mod socket;

pub use link::{LinkMonitor, LinkNews, LinkSocket};
pub use message::link::{LinkKind, LinkState, Place, TunInfo};
pub use route::{RouteMonitor, RouteSocket};
