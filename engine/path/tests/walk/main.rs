//! Packets walk through data paths without a kernel: what the shell asks for, and what it must get.

mod allocation;
mod crowd;
mod lone;
mod nodes;
mod order;
mod passive;
mod recover;
mod refused;
mod rig;
#[path = "../../../core/src/seeded_rng.rs"]
mod rng;
mod screen;
mod sessions;
mod slots;
mod stages;
mod tap;
mod tap_drops;
mod trains;

// Where the file of `rng` looks for it.
use ringfort_core::crypto;
