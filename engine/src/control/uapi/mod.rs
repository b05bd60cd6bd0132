//! The cross-platform configuration protocol of WireGuard, as pure code: bytes in, requests out, and back.
//!
//! Source: <https://www.wireguard.com/xplatform/#configuration-protocol>. Where that text is silent, wireguard-go's
//! `device/uapi.go` is the reference for which value is refused with which error. One difference is deliberate: a
//! request here is a transaction. wireguard-go applies each line as it reads it. We apply nothing until the blank line
//! that ends the request has arrived and every line before it was valid.
//!
//! Some things are ours, and `wg` neither sends them nor minds them: the operations `stats=1`, `suites=1` and
//! `log_level=1` (or a level, which is set), `reload=1`, `report=1` and `file=1`, and the key `cipher_suite` of the
//! interface and of a peer. Its values are the names of the suites, or `default`: for a peer that of the interface, for
//! the interface WireGuard's own. `get=1` shows what is set and is not the default. A peer's suite belongs to its
//! public key: it is kept for a peer that is not there, with `update_only=true` without making it, and outlives one
//! that is removed.
//!
//! `peers=1` and `why=KEY` are ours as well: how each peer does, and what is wrong with one, as a line of JSON. So is a
//! peer's `name`, which belongs to its public key as the suite does; an empty one takes it back.
//!
//! `role=1` says whether the gateway serves its peers (`active`) or another one does (`passive`); with one of these
//! words in place of the 1, that is set. `recover=1` has sessions recovered as after a start, and says for how many
//! seconds. `alive=1` is answered with the role and the number of workers when each of
//! them has given a sign of life. `watch=1` is answered by a line of JSON for each peer, and one for each change from
//! then on, until the client hangs up.
//!
//! `origin=1` says which process serves, and how it was started; `restart=1` has another one started, to go on in its
//! place. That one says `hand_over=VERSIONS` and `hand_over_state=1`, and what follows on the connection is no text:
//! see `control::handover`. If it cannot go on, it says why with `heir_failed=TEXT`.
//!
//! `capture=JSON` is ours, too: what [`crate::capture`] is asked for. If it is granted, the connection carries packets
//! from then on, behind the answer.
//!
//! ```text
//!   client bytes ──► RequestReader ──► Request::{Get, Set, Stats, …} ─► (the control loop)
//!                    one bounded line      │ SetParser, line by line
//!                    at a time             ▼
//!   client bytes ◄── Reply ◄────────── serialize: name=value lines, then `errno=N` and a blank line
//! ```

mod errno;
mod reader;
mod reply;
mod request;
mod set;
mod value;

pub use errno::{Errno, Refusal};
pub use reader::{LINE_LEN_MAX, REQUEST_LEN_MAX, RequestEvent, RequestReader};
pub use reply::{InterfaceStatus, PeerStatus, Reply};
pub use request::{AllowedIpUpdate, DeviceUpdate, PeerSource, PeerSuite, PeerUpdate, Request, Role, SetRequest};
pub use ringfort_config::SecretKey;
pub use set::SetParser;
pub use value::{DEFAULT_SOURCE, DEFAULT_SUITE};

#[cfg(test)]
mod secrecy_tests;
#[cfg(test)]
mod tests;
