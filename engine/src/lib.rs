//! See the crate description.

pub mod app;
pub mod capture;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod control;
pub mod doctor;
pub mod failure;
pub mod fault;
pub mod metrics;
mod panics;
pub mod queues;
pub mod sandbox;
pub mod top;
pub mod worker;
