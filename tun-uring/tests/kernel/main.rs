//! The crate against the kernel: real TUN interfaces, each in a network namespace of its own. Needs root and ip(8).

mod device;
mod edge;
mod given;
mod namespace;
mod packets;
mod reflect;
mod responder;
mod rig;
mod self_test;
