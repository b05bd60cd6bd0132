//! Real traffic through real sockets: on loopback, and where an address or an MTU has to be set up, in a network
//! namespace that a thread of the test makes for itself.

mod allocation;
mod bench;
mod echo;
mod faults;
mod handshake;
mod rebind;
mod reuseport;
mod sockets;
mod trains;
