//! eBPF programs, and the memory that they share with the process that loads them.
//!
//! A program is a list of [`Instruction`]s, made with an [`Assembler`]. Its data are values, or slices of such: each an
//! [`Array`], a map of one entry, which the process maps into its own memory. Their addresses can stand in a program
//! ([`Assembler::address`], [`Assembler::address_in`]). So neither side makes a system call to tell the other
//! something.

mod assembler;
mod instruction;
mod memory;
mod system;

pub use assembler::Assembler;
pub use instruction::{Instruction, Register, code, op};
pub use memory::{Array, Value};
pub use system::{load, run, verifier_log};
