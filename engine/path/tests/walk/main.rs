//! Packets walk through data paths without a kernel: what the shell asks for, and what it must get.

mod allocation;
mod recover;
mod refused;
mod rig;
mod sessions;
mod slots;
mod stages;
mod tap;
mod trains;
