//! The process that has names of endpoints looked up, and parses what name servers answer where that gains nobody
//! anything.
//!
//! ```text
//!   daemon (no /etc, no TCP)          ringfort-dns (no capability)         a process for each name
//!     resolver's thread ── Ask ──►      reads questions ── fork ──────►      getaddrinfo(3)
//!                       ◄─ Answer ──     waits 30 s at most ◄── pipe ──      no processes, little of /etc
//! ```
//!
//! It is executed anew rather than forked: so it has no key in its memory, and its addresses say nothing about those of
//! the daemon. [Its layers](crate::sandbox::names) leave it reading and network sockets. A name that hangs or crashes
//! the resolver ends one process of its own. The one that waits for them parses nothing but our questions and their
//! answers, a few bytes of JSON.
//!
//! It ends with the daemon. If it ends before, for instance because the system ran out of memory, the daemon cannot
//! make another one: it says so, and goes on with the addresses that it has.

mod client;
mod process;
mod wire;

pub use client::Names;
#[cfg(test)]
pub use process::test;
pub use process::{is_wanted, main};
pub use wire::{Answer, Outcome};
