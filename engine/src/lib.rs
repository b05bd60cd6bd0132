//! See the crate description.
//!
//! Some modules import each other in a circle:
//!
//! * `control::error` is one type for all that ends the daemon or a command. It names the errors of the parts that
//!   return it, and says whose fault each is.
//! * `control::preflight` and `doctor` look at the machine by the same functions. So what a start refuses, and what the
//!   doctor says of it, cannot differ.
//! * `cli` names the arguments of each of the `commands`, which get them from it. A command ends by `app`, or becomes
//!   the daemon there.
//! * A module in several files, such as `control::logging`, `control::file` and its steward, has the types that its
//!   files pass to each other, and imports what they do.

pub mod app;
pub mod capture;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod control;
pub mod doctor;
pub mod failure;
pub mod fault;
mod fault_points;
pub mod guard;
mod last_words;
pub mod metrics;
mod origin;
mod panics;
pub mod queues;
pub mod sandbox;
mod sleeper;
pub mod top;
pub mod version;
pub mod worker;
