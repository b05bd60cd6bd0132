//! The path of a datagram is the endpoint that it is for, or comes from.

pub use udp_endpoint::{Endpoint as Path, LocalAddr};
