//! One instruction, and the codes of those in use (`Documentation/bpf/standardization/instruction-set.rst`).

/// The number of a register: 0 to 10.
pub type Register = u8;

/// One instruction, as `struct bpf_insn` has it: code, destination and source register, jump offset, constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// What it does: one of [`code`].
    pub code: u8,
    /// Destination and source, as [`op`] puts them together.
    pub registers: u8,
    /// Of a jump in instructions, of an access to memory in bytes.
    pub offset: i16,
    /// An operand.
    pub constant: i32,
}

impl Instruction {
    /// Its bytes in an object file of a little-endian machine.
    #[must_use]
    pub fn to_le_bytes(self) -> [u8; 8] {
        let [a, b] = self.offset.to_le_bytes();
        let [c, d, e, f] = self.constant.to_le_bytes();
        [self.code, little_endian(self.registers, IS_LITTLE_ENDIAN), a, b, c, d, e, f]
    }
}

/// An instruction from its parts.
#[must_use]
pub const fn op(code: u8, to: Register, from: Register, offset: i16, constant: i32) -> Instruction {
    Instruction { code, registers: registers(to, from, IS_LITTLE_ENDIAN), offset, constant }
}

const IS_LITTLE_ENDIAN: bool = cfg!(target_endian = "little");

/// Two bit fields of one byte: the destination's is the first. Compilers put the first one into the lower half on
/// little-endian machines, and into the upper half on others.
const fn registers(to: Register, from: Register, is_little_endian: bool) -> u8 {
    if is_little_endian { from << 4 | to } else { to << 4 | from }
}

/// What [`registers`] makes on a machine of that kind, as a little-endian one has it.
const fn little_endian(registers: u8, is_little_endian: bool) -> u8 {
    if is_little_endian { registers } else { registers.rotate_left(4) }
}

/// What instructions do. Of 64 bits, unless the name says otherwise. What has 32 bits clears those above.
pub mod code {
    /// A byte of the packet, into register 0. Beyond the packet's end the program ends with the result 0.
    pub const LOAD_BYTE: u8 = 0x30;
    /// The same for two bytes, big-endian.
    pub const LOAD_HALF: u8 = 0x28;
    /// The same for four bytes, big-endian.
    pub const LOAD_WORD: u8 = 0x20;
    /// The same for four bytes, with a register in the index.
    pub const LOAD_WORD_AT: u8 = 0x40;
    /// The first half of an instruction of twice the length.
    pub const LOAD_ADDRESS: u8 = 0x18;
    /// A word of memory.
    pub const LOAD_FIELD: u8 = 0x61;
    /// Eight bytes of memory.
    pub const LOAD_FIELD_64: u8 = 0x79;
    /// Two bytes of memory.
    pub const LOAD_FIELD_16: u8 = 0x69;
    /// A byte of memory.
    pub const LOAD_FIELD_8: u8 = 0x71;
    /// A word to memory.
    pub const STORE_FIELD: u8 = 0x63;
    /// Two bytes to memory.
    pub const STORE_FIELD_16: u8 = 0x6b;
    /// Eight bytes to memory.
    pub const STORE_FIELD_64: u8 = 0x7b;
    /// A constant word to memory.
    pub const STORE_CONSTANT: u8 = 0x62;
    /// A constant byte to memory.
    pub const STORE_CONSTANT_8: u8 = 0x72;
    /// Adds to 64 bits of memory, atomically.
    pub const ADD_TO_MEMORY: u8 = 0xdb;
    /// Copies a register.
    pub const MOVE: u8 = 0xbf;
    /// Copies the lower half of a register.
    pub const MOVE_32: u8 = 0xbc;
    /// Sets a register.
    pub const MOVE_CONSTANT: u8 = 0xb7;
    /// Sets a register to 32 bits.
    pub const MOVE_CONSTANT_32: u8 = 0xb4;
    /// Adds a register.
    pub const ADD: u8 = 0x0f;
    /// Adds a register.
    pub const ADD_32: u8 = 0x0c;
    /// Adds a constant.
    pub const ADD_CONSTANT: u8 = 0x07;
    /// Adds a constant.
    pub const ADD_CONSTANT_32: u8 = 0x04;
    /// Subtracts a register.
    pub const SUBTRACT: u8 = 0x1f;
    /// Subtracts a register.
    pub const SUBTRACT_32: u8 = 0x1c;
    /// Or.
    pub const OR: u8 = 0x4f;
    /// Or.
    pub const OR_32: u8 = 0x4c;
    /// Exclusive or.
    pub const XOR: u8 = 0xaf;
    /// Exclusive or.
    pub const XOR_32: u8 = 0xac;
    /// Exclusive or with a constant.
    pub const XOR_CONSTANT_32: u8 = 0xa4;
    /// And with a constant.
    pub const AND_CONSTANT: u8 = 0x57;
    /// Shifts to the left.
    pub const SHIFT_LEFT: u8 = 0x67;
    /// Shifts to the left.
    pub const SHIFT_LEFT_32: u8 = 0x64;
    /// Shifts to the right, and zeros follow.
    pub const SHIFT_RIGHT: u8 = 0x77;
    /// Shifts to the right, and zeros follow.
    pub const SHIFT_RIGHT_32: u8 = 0x74;
    /// Multiplies by a register.
    pub const MULTIPLY: u8 = 0x2f;
    /// Multiplies by a register.
    pub const MULTIPLY_32: u8 = 0x2c;
    /// Multiplies by a constant.
    pub const MULTIPLY_CONSTANT_32: u8 = 0x24;
    /// As many lower bits as its constant says: big-endian to the machine's order, or back. Those above are cleared.
    pub const BIG_ENDIAN: u8 = 0xdc;
    /// Goes on elsewhere.
    pub const JUMP: u8 = 0x05;
    /// If a register is a constant.
    pub const JUMP_IF_EQUAL: u8 = 0x15;
    /// If a register is another.
    pub const JUMP_IF_SAME: u8 = 0x1d;
    /// If a register is not a constant.
    pub const JUMP_UNLESS_EQUAL: u8 = 0x55;
    /// If a register is not another.
    pub const JUMP_UNLESS_SAME: u8 = 0x5d;
    /// If a register is below a constant.
    pub const JUMP_IF_BELOW: u8 = 0xa5;
    /// If a register is not below a constant.
    pub const JUMP_UNLESS_BELOW: u8 = 0x35;
    /// If a register is not below another.
    pub const JUMP_UNLESS_BELOW_OTHER: u8 = 0x3d;
    /// If a register is above another.
    pub const JUMP_IF_ABOVE_OTHER: u8 = 0x2d;
    /// If a register has a bit in common with a constant.
    pub const JUMP_IF_ANY_BIT: u8 = 0x45;
    /// Calls a function of the kernel. It returns in register 0, and leaves nothing in 1 to 5.
    pub const CALL: u8 = 0x85;
    /// The end. Register 0 is the result.
    pub const EXIT: u8 = 0x95;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_kernel() {
        let instruction = op(code::JUMP_IF_ANY_BIT, 3, 0, -2, 0x1234_5678);
        assert_eq!(instruction.to_le_bytes(), [0x45, 0x03, 0xfe, 0xff, 0x78, 0x56, 0x34, 0x12]);
        assert_eq!(op(code::MOVE, 6, 1, 0, 0).to_le_bytes(), [0xbf, 0x16, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn registers_are_in_the_order_of_the_machine_and_of_the_object_file() {
        assert_eq!([true, false].map(|is_little| registers(6, 1, is_little)), [0x16, 0x61]);
        for is_little in [true, false] {
            assert_eq!(little_endian(registers(6, 1, is_little), is_little), 0x16);
        }
    }
}
