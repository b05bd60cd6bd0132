//! Collects a program, and closes its jumps.

use std::os::fd::RawFd;

use crate::instruction::{Instruction, Register, code, op};

/// In the place of a source register: the constant is a map's descriptor, and what is loaded the address of its value.
const PSEUDO_MAP_VALUE: Register = 2;

/// No descriptor, so the kernel refuses a program that uses its map all the same.
const NO_MAP: RawFd = -1;

/// A program that is being written. The default one uses no map.
#[derive(Debug)]
pub struct Assembler {
    program: Vec<Instruction>,
    array: RawFd,
}

impl Default for Assembler {
    fn default() -> Self {
        Self::new(NO_MAP)
    }
}

impl Assembler {
    /// A program without instructions. `array` is the map that it uses.
    #[must_use]
    pub const fn new(array: RawFd) -> Self {
        Self { program: Vec::new(), array }
    }

    /// Adds an instruction, and returns its place.
    pub fn emit(&mut self, instruction: Instruction) -> usize {
        self.program.push(instruction);
        self.program.len() - 1
    }

    /// Loads the address of a byte in the value of the map.
    ///
    /// # Panics
    /// If no value is that large.
    pub fn address(&mut self, to: Register, offset: usize) {
        self.address_in(self.array, to, offset);
    }

    /// The same of another map.
    ///
    /// # Panics
    /// As [`Assembler::address`].
    pub fn address_in(&mut self, array: RawFd, to: Register, offset: usize) {
        let offset = i32::try_from(offset).expect("a value is smaller than that");
        self.emit(op(code::LOAD_ADDRESS, to, PSEUDO_MAP_VALUE, 0, array));
        self.emit(op(0, 0, 0, 0, offset));
    }

    /// Sets a register to 64 bits.
    pub fn constant(&mut self, to: Register, value: u64) {
        self.emit(op(code::LOAD_ADDRESS, to, 0, 0, value as i32));
        self.emit(op(0, 0, 0, 0, (value >> 32) as i32));
    }

    /// Where the next instruction will be.
    #[must_use]
    pub fn here(&self) -> usize {
        self.program.len()
    }

    /// Lets the jump at `from` lead to the next instruction.
    ///
    /// # Panics
    /// If that is too far.
    pub fn land(&mut self, from: usize) {
        let to = self.here();
        self.lead(from, to);
    }

    /// Lets the jump at `from` lead to the instruction at `to`.
    ///
    /// # Panics
    /// If that is too far.
    pub fn lead(&mut self, from: usize, to: usize) {
        let distance = to.cast_signed() - from.cast_signed() - 1;
        self.program[from].offset = i16::try_from(distance).expect("the program is short");
    }

    /// The program.
    #[must_use]
    pub fn finish(self) -> Vec<Instruction> {
        self.program
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_lead_forward_and_back() {
        let mut asm = Assembler::new(7);
        let forward = asm.emit(op(code::JUMP, 0, 0, 0, 0));
        asm.address(1, 0x40);
        asm.land(forward);
        let back = asm.emit(op(code::JUMP, 0, 0, 0, 0));
        asm.lead(back, forward);
        asm.address_in(9, 2, 8);
        asm.constant(3, 0x0123_4567_89ab_cdef);
        let program = asm.finish();
        let registers = |at: usize| program[at].to_le_bytes()[1];
        assert_eq!(program[forward].offset, 2, "over both halves of the address");
        assert_eq!(program[back].offset, -4);
        assert_eq!((program[1].constant, program[2].constant, registers(1)), (7, 0x40, 0x21));
        assert_eq!((program[4].constant, program[5].constant, registers(4)), (9, 8, 0x22));
        assert_eq!((program[6].constant.cast_unsigned(), program[7].constant), (0x89ab_cdef, 0x0123_4567));
        assert_eq!((program[6].code, registers(6)), (code::LOAD_ADDRESS, 0x03), "of no map");
    }
}
