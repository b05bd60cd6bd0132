//! See the crate description.
//!
//! Import circle: `app`, `cli`, `commands`, `control`, `doctor`, `last_words`, `metrics`, `panics`, `top`. They are one
//! program, which is its own client:
//!
//! * `cli` names the arguments of each of the `commands`, which get them from it. A command ends by `last_words`, or
//!   becomes the daemon in `app`, which began it.
//! * `control` is started with the arguments of `cli`, and `cli` reads them with what `control` and `metrics` know of
//!   them.
//! * `control::error` is one type for all that ends the daemon or a command. It names the errors of the parts that
//!   return it, and says whose fault each is.
//! * `control::preflight` and `doctor` look at the machine by the same functions. So what a start refuses, and what the
//!   doctor says of it, cannot differ.
//! * `control` fills `metrics`, and tells `panics` which socket to remove. Both know such a place from
//!   `control::server`.
//! * `doctor`, `last_words` and `top` ask a daemon as any command does, by `control::ask`.

pub mod app;
pub mod capture;
pub mod cli;
pub mod commands;
pub mod control;
pub mod doctor;
mod fault_points;
pub mod guard;
mod last_words;
pub mod metrics;
mod origin;
mod panics;
mod plain;
pub mod sandbox;
pub mod top;
pub mod version;
