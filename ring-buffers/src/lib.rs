//! Packet buffers that *are* the registered memory of an `io_uring`.
//!
//! One worker thread owns one [`Ring`] and one [`Pool`]. The pool cuts a single mapping, the arena, into slots of
//! two sizes. A slot is always in exactly one of three states, and each state has its own type:
//!
//! ```text
//!            claim                      lend / provide
//!   free ───────────────► held (View) ───────────────► with the kernel (Ring, BufferGroup)
//!    ▲                     │      ▲                          │
//!    └──── last view drops ┘      └──────── completion ──────┘
//! ```
//!
//! * [`View`] is the only type that shows bytes. Claim is a move, release is a drop. The pool takes the slot
//!   home. If the drop happens on another core, the arena's return path does.
//! * The operations of a [`Ring`] and a [`BufferGroup`] hold slots that the kernel may read or write. Neither has a way
//!   to touch the bytes.
//! * A view can be split; the pieces share the slot, never a byte, and the slot goes home with the last of them.
//!
//! Each claim is for a line of the [`Budget`]. What a line has reserved nobody else can take, however many slots they
//! hold for however long; what is not reserved goes to whoever comes first.
//!
//! Import circle: `accounts`, `arena`, `completion`, `doorbell`, `group`, `kernel`, `ops`, `pool`, `ring`, `view`. A
//! slot moves in one: a pool makes views, a view recycles itself into its pool, and the ring owns operations that hold
//! views and give them back. If a view ends on another core, its arena rings the doorbell, which the ring waits for.
//!
//! # Operations
//!
//! The ring owns its operations, each with all that it borrows: bytes, addresses, the counter of a doorbell. Whoever
//! began one may go at any time, and nobody gets its buffers back before the kernel is done with them. A [`Completion`]
//! is a value with an owner, so each operation ends once:
//!
//! ```compile_fail,E0382
//! use ring_buffers::Completion;
//!
//! fn twice(completion: Completion, look: fn(Completion)) {
//!     look(completion);
//!     look(completion); // It was moved.
//! }
//! ```
//!
//! ```compile_fail,E0277
//! fn copy(completion: &ring_buffers::Completion) -> ring_buffers::Completion {
//!     Clone::clone(completion) // It cannot be cloned.
//! }
//! ```
//!
//! The slots of a [`BufferGroup`] come with completions and in no other way:
//!
//! ```compile_fail,E0599
//! fn look_at(group: &mut ring_buffers::BufferGroup) -> ring_buffers::View {
//!     group.take(0, 4096).unwrap() // The kernel may write these bytes.
//! }
//! ```
//!
//! At its end a [`Ring`] cancels what is in flight and waits until the kernel has let go. If that takes too long, it
//! leaks what the kernel may still use.
//!
//! # Example
//!
//! Bytes arrive in a slot of the arena, and are seen where they lie:
//!
//! ```
//! use std::io::{self, Write};
//! use std::os::fd::AsFd;
//! use std::os::unix::net::UnixStream;
//!
//! use ring_buffers::{
//!     Arena, Budget, BufferGroup, Completion, JUMBO_SIZE, Pool, Ring, RingConfig, SlotClass, Tag, Wait, Waker,
//! };
//!
//! let (mut near, far) = UnixStream::pair()?;
//! let arena = Arena::new(&Budget::new().line("reads", SlotClass::Jumbo, 4), Waker::new()?)?;
//! let mut ring = Ring::new(RingConfig::default())?;
//! ring.register_arena(&arena)?;
//! ring.register_files(&[Some(far.as_fd())])?;
//! let pool = Pool::new(arena);
//! let mut group = BufferGroup::register(&mut ring, &pool, 0, SlotClass::Jumbo, 4, JUMBO_SIZE)?;
//! group.refill();
//! ring.read_multishot(0, &group, Tag { edge: 0, context: 0 })?;
//!
//! near.write_all(b"hello")?;
//! ring.turn(Wait::UntilCompletion)?;
//! let mut read = None;
//! ring.reap(1, |completion| read = Some(completion));
//! let Some(Completion::Read(filled)) = read else { panic!("it was a read") };
//! let view = filled.into_view().map_err(io::Error::from_raw_os_error)?.expect("a slot with the bytes");
//! assert_eq!(&view[..], b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/copy.rs` copies a pipe in this way.
//!
//! Nothing here knows a protocol, a packet or a socket. All `unsafe` of the memory model lives in this crate.

mod accounts;
mod arena;
mod bell;
mod bounds;
mod completion;
mod doorbell;
mod dumps;
mod enter;
mod error;
mod group;
mod kernel;
mod layout;
mod mapping;
mod message;
mod ops;
mod pool;
mod probe;
mod returns;
mod ring;
mod slab;
mod view;

/// A kernel that misbehaves by a script, for tests.
#[cfg(feature = "fake-kernel")]
pub mod fake {
    pub use crate::kernel::fake::{Done, FakeKernel, Loan, Message, Script};
}

pub use arena::{Arena, Slot};
pub use bell::{Bell, Flag};
pub use completion::{Completion, Filled, Polled, Rang, Returned, Sent, Tag, Wrote};
pub use doorbell::{Doorbell, Waker};
pub use dumps::{leave_out_of_dumps, left_out_of_dumps};
pub use enter::{EnterError, Entered, PushError, StillInFlight};
pub use error::RingError;
pub use group::BufferGroup;
pub use layout::{Budget, JUMBO_SIZE, Line, LineId, PACKET_SIZE, SlotClass};
pub use message::{CONTROL_LEN_MAX, Envelope, NAME_LEN_MAX};
pub use pool::{Accounting, Pool};
pub use probe::{Capabilities, probe};
pub use ring::{Memory, NotBegun, OpId, Ring, RingConfig, RingCounters, Wait};
pub use slab::{Key, Slab};
pub use view::{NoRoom, Parcel, View};
