//! Packet buffers that *are* the registered memory of an `io_uring`.
//!
//! One worker thread owns one [`Ring`] and one [`Pool`]. The pool cuts a single mapping, the arena, into slots of
//! two sizes. A slot is always in exactly one of three states, and each state has its own type:
//!
//! ```text
//!            claim                      lend / provide
//!   free ───────────────► held (View) ───────────────► with the kernel (Lent, BufferGroup)
//!    ▲                     │      ▲                          │
//!    └──── last view drops ┘      └──────── completion ──────┘
//! ```
//!
//! * [`View`] is the only type that shows bytes. It is claimed by a move and released by a drop, and the recycler
//!   (the pool, or the return path of the arena when the drop happens on another core) takes the slot home.
//! * [`Lent`] and [`BufferGroup`] hold slots that the kernel may read or write. Neither has a way to touch the bytes.
//! * A view can be split; the pieces share the slot, never a byte, and the slot goes home with the last of them.
//!
//! Each claim is for a line of the [`Budget`]. What a line has reserved nobody else can take, however many slots they
//! hold for however long; what is not reserved goes to whoever comes first.
//!
//! Nothing here knows a protocol, a packet or a socket. All `unsafe` of the memory model lives in this crate.

mod accounts;
mod arena;
mod bell;
mod doorbell;
mod error;
mod group;
mod layout;
mod mapping;
mod ops;
mod pool;
mod probe;
mod ring;
mod token;
mod view;

pub use arena::{Arena, Slot};
pub use bell::{Bell, Flag};
pub use doorbell::{Doorbell, Waker};
pub use error::RingError;
pub use group::{BufferGroup, UnexpectedBuffer};
pub use layout::{Budget, JUMBO_SIZE, Line, LineId, PACKET_SIZE, SlotClass};
pub use ops::{OpId, Ops};
pub use pool::{Accounting, Pool};
pub use probe::{Capabilities, probe};
pub use ring::{Completion, Ring, RingConfig, RingCounters, Wait};
pub use token::Token;
pub use view::{Lent, NoRoom, Parcel, View};
