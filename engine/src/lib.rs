//! See the crate description.

pub mod app;
pub mod cli;
pub mod clock;
pub mod control;
pub mod link;
pub mod worker;
