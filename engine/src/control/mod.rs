//! The control plane: one thread that decides, and touches no packet.

pub mod daemon;
pub mod error;
pub mod logging;
pub mod netlink;
pub mod preflight;
pub mod server;
pub mod uapi;
