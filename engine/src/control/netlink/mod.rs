//! What the kernel tells about the network: our interface goes up, down or away, and the routes to our peers change.
//!
//! Plain `AF_NETLINK` sockets and the few fields that matter (`rtnetlink(7)`). All of them are in the network namespace
//! in which the daemon was started.

mod link;
mod message;
mod queue;
mod socket;

pub use link::{LinkEvents, LinkQuery, News};
pub use message::{LinkState, Place};
pub use queue::{interface_name, namespace};
pub use socket::{RouteMonitor, RouteQuery};
