//! What the kernel tells about the network: our interface goes up, down or away, and the routes to our peers change.
//!
//! A plain `AF_NETLINK` socket and the few fields that matter (`rtnetlink(7)`).

mod follow;
mod message;
mod socket;

pub use follow::{Whereabouts, find};
pub use message::LinkState;
pub use socket::{Changes, LinkMonitor, RouteMonitor, RouteQuery};
