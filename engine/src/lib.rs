//! See the crate description.

pub mod app;
pub mod cli;
pub mod clock;
pub mod control;
pub mod fault;
pub mod link;
mod panics;
pub mod worker;
