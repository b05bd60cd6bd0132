//! The configuration file of a gateway: the format of `wg-quick(8)`, with settings of our own.
//!
//! ```text
//! # /etc/ringfort/wg0.conf
//! [Interface]
//! PrivateKeyFile = $CREDENTIALS_DIRECTORY/wg0.key
//! ListenPort = 51820
//! Address = 10.0.0.1/24, fd00::1/64
//! Workers = 4
//! Include = peers.d/*.conf
//!
//! [Peer]
//! #ringfort: Name = laptop
//! PublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=
//! AllowedIPs = 10.0.0.2/32
//! Endpoint = laptop.example.net:51820
//! ```
//!
//! **From bytes to a value.** [`load`] reads a file with all that it includes, and gives a [`Config`] or *all* its
//! [`Mistakes`]. Each names file, line, column and remedy. None repeats what the file says: it may be a key that was
//! pasted into the wrong place. A value that was read is valid; nobody checks it again.
//!
//! **Two spellings of our own settings.** `wg-quick` hands a line that it does not know to `wg`, and `wg` refuses the
//! file. So each of our settings can also be written behind `#ringfort:`, which both take for a comment. Such a file
//! serves `wg-quick` and Ringfort alike. Plain comments mean nothing: a comment that suddenly has a meaning is a trap.
//! A mistake behind `#ringfort:` is a mistake, since its writer relies on it.
//!
//! **Commands** reach to the end of their line, as with `wg-quick` since 1.0.20260223: the shell tells a comment from a
//! `#` that belongs to them. A [`Warning`] says where an earlier `wg-quick` would cut one off.
//!
//! **Where we are stricter than `wg`**: a setting twice in a section, a peer twice in a file, and a second
//! `[Interface]` are refused. `wg` would take the last, and nobody would notice. A prefix that two peers claim goes to
//! the last of them, as with `wg`, and a [`Warning`] says so.
//!
//! **Keys** are in memory that is wiped, from the text of the file on. They have no `Debug` and are in no error.
//!
//! This crate reads files and does nothing else: it resolves no name, asks no kernel and knows no daemon. Its
//! [`Files`] can be a table in memory, as in the tests and in the fuzz target.

#![forbid(unsafe_code)]

mod config;
mod cursor;
mod edit;
mod files;
pub mod key_text;
mod mistake;
mod read;
mod secret;
mod setting;
mod start;
mod value;
mod write;

pub use config::{Address, Config, Dns, Endpoint, Hooks, Interface, Peer};
pub use edit::{State, edit};
pub use files::{Content, Disk, Files, Memory};
pub use mistake::{Mistake, Mistakes, Place, Problem, Warning};
pub use network_setup::Table;
pub use read::{KeyFiles, Loaded, load};
pub use secret::{SecretKey, SecretText};
pub use setting::{SettingName, settings};
pub use start::{BusyPoll, CpuList, LogLevel, MemoryBound, Overlays, SocketBuffer, StartSettings, UdpGso, bytes};
pub use value::is_source;

/// Longest file, and most that a file and all its includes may have together, in bytes.
pub const LEN_MAX: usize = 64 << 20;
/// Deepest nesting of includes.
pub const INCLUDE_DEPTH_MAX: usize = 8;
/// Most files of one configuration.
pub const FILES_MAX: usize = 100_000;
