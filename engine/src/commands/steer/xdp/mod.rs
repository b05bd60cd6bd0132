//! The rules as a program for the XDP hook, in front of all that the kernel does with a frame.
//!
//! A frame goes through four steps, and to the kernel as it is wherever one of them fails. So rules of nftables, or the
//! counter `other_node`, have whatever the program does not pass on.
//!
//! 1. [`message`](Program::message): is it a message with a receiver index, and of which node?
//! 2. [`must_be_ours`](Program::must_be_ours): is it for this machine? What others send through it may be WireGuard, to
//!    a port of the same number.
//! 3. [`look_up`](Program::look_up): the kernel's tables say how to reach that node's address, as for a packet that it
//!    forwards. It must be a neighbour that is known already: only the kernel can ask for one.
//! 4. [`pass_on`](Program::pass_on): the frame gets that neighbour's address and a TTL of 1, and leaves.

mod object;

use std::net::{Ipv4Addr, Ipv6Addr};

use ebpf_array::{Assembler, Instruction, Register, code, op};

use super::{NodeAddresses, Owners};
pub use object::file as object_file;

/// The program that passes on what comes to `port` and is of other gateways. Frames may leave through another device
/// than the one on which they arrived if `leaves_elsewhere`.
pub fn program(owners: &Owners, port: u16, leaves_elsewhere: bool) -> Vec<Instruction> {
    let mut program = Program { asm: Assembler::default(), owners, port, leaves_elsewhere, to_pass: Vec::new() };
    program.emit(code::MOVE, CONTEXT, R1, 0, 0);
    program.emit(code::LOAD_FIELD, FRAME, CONTEXT, context::DATA, 0);
    program.ethernet();
    program.finish()
}

/// Of `struct xdp_md`.
mod context {
    pub const DATA: i16 = 0;
    pub const DATA_END: i16 = 4;
    pub const INGRESS_IFINDEX: i16 = 12;
}

/// Functions of the kernel.
const REDIRECT: i32 = 23;
const FIB_LOOKUP: i32 = 69;

/// Of the answers of `FIB_LOOKUP`: there is no way that the kernel would forward it on. It is for this machine.
const NOT_FORWARDED: i32 = 4;

/// Of `enum xdp_action`.
const XDP_PASS: i32 = 2;
const XDP_TX: i32 = 3;

/// Registers: results, arguments, and those that calls preserve.
const R0: Register = 0;
const R1: Register = 1;
const R2: Register = 2;
const R3: Register = 3;
const R4: Register = 4;
const CONTEXT: Register = 6;
/// The address of the node, as it lies in a packet: of IPv6 the first half.
const ADDRESS: Register = 7;
const ADDRESS_REST: Register = 8;
const FRAME: Register = 9;
/// The end of the stack.
const END: Register = 10;

/// On the stack: `struct bpf_fib_lookup`, in which the kernel is asked, and answers.
mod lookup {
    pub const LEN: i16 = 64;
    pub const PLACE: i16 = -LEN;
    /// Family and protocol, and a port.
    pub const FAMILY: i16 = PLACE;
    pub const TOTAL_LEN: i16 = PLACE + 6;
    /// The device on which the packet arrived, then that on which it leaves.
    pub const IFINDEX: i16 = PLACE + 8;
    /// Where it goes, then the next hop.
    pub const DESTINATION: i16 = PLACE + 32;
    /// Our own MAC address there, then the neighbour's.
    pub const SOURCE_MAC: i16 = PLACE + 52;
    pub const DESTINATION_MAC: i16 = PLACE + 58;
}

/// The Ethernet header: the neighbour's address, our own, and the type. A tag of a VLAN would be another type.
const MAC_LEN: i16 = 6;
const ETHER_TYPE: i16 = 2 * MAC_LEN;
/// Where the IP header begins.
const IP: i16 = ETHER_TYPE + 2;

const UDP: i32 = 17;
const UDP_HEADER_LEN: i16 = 8;
/// In the UDP header.
const DESTINATION_PORT: i16 = 2;
/// In a message: where the top byte of the receiver's index lies, and what there must be of every message.
const TOP_BYTE_OF_OTHERS: i16 = 4 + 3;
const TOP_BYTE_OF_RESPONSE: i16 = 8 + 3;
const MESSAGE_LEN_MIN: i16 = 12;

/// Where what lies in an IP header. Of IPv4 without options, of IPv6 without further headers.
struct Form {
    ether_type: u16,
    /// Of the first byte: the version, and of IPv4 the length.
    first: (i32, i32),
    /// `AF_INET`, `AF_INET6`.
    family: i32,
    len: i16,
    protocol: i16,
    ttl: i16,
    destination: i16,
    /// Two bytes, and what to add to them.
    total_len: (i16, i32),
}

const V4: Form = Form {
    ether_type: 0x0800,
    first: (0xff, 0x45),
    family: 2,
    len: 20,
    protocol: 9,
    ttl: 8,
    destination: 16,
    total_len: (2, 0),
};
const V6: Form = Form {
    ether_type: 0x86dd,
    first: (0xf0, 0x60),
    family: 10,
    len: 40,
    protocol: 6,
    ttl: 7,
    destination: 24,
    total_len: (4, 40),
};
/// Of IPv4: offset and more fragments; the TTL is followed by the protocol and the checksum.
const FRAGMENT: i16 = 6;
const FRAGMENT_MASK: u16 = 0x3fff;
const CHECKSUM: i16 = 10;
/// The TTL of what was passed on.
const LAST_HOP: i32 = 1;

/// What [`Program::of_node`] sets the registers to.
enum Address {
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

/// Collects the program.
struct Program<'a> {
    asm: Assembler,
    owners: &'a Owners,
    port: u16,
    leaves_elsewhere: bool,
    /// Jumps to the end that lets the kernel have the frame.
    to_pass: Vec<usize>,
}

impl Program<'_> {
    fn emit(&mut self, code: u8, to: Register, from: Register, offset: i16, constant: i32) -> usize {
        self.asm.emit(op(code, to, from, offset, constant))
    }

    fn pass_if(&mut self, condition: u8, register: Register, other: Register, constant: i32) {
        let jump = self.emit(condition, register, other, 0, constant);
        self.to_pass.push(jump);
    }

    fn pass(&mut self) {
        self.pass_if(code::JUMP, 0, 0, 0);
    }

    fn finish(mut self) -> Vec<Instruction> {
        for from in std::mem::take(&mut self.to_pass) {
            self.asm.land(from);
        }
        self.end(XDP_PASS);
        self.asm.finish()
    }

    fn end(&mut self, action: i32) {
        self.emit(code::MOVE_CONSTANT_32, R0, 0, 0, action);
        self.emit(code::EXIT, 0, 0, 0, 0);
    }

    /// Passes what is shorter. The verifier then knows that the bytes are there.
    fn must_have(&mut self, len: i16) {
        self.emit(code::LOAD_FIELD, R2, CONTEXT, context::DATA_END, 0);
        self.emit(code::MOVE, R1, FRAME, 0, 0);
        self.emit(code::ADD_CONSTANT, R1, 0, 0, len.into());
        self.pass_if(code::JUMP_IF_ABOVE_OTHER, R1, R2, 0);
    }

    fn ethernet(&mut self) {
        self.must_have(IP);
        for form in [V4, V6] {
            // The kernel refuses a program with a part that nothing leads to.
            if !self.owners.others.values().any(|addresses| form.address(addresses).is_some()) {
                continue;
            }
            self.emit(code::LOAD_FIELD_16, R1, FRAME, ETHER_TYPE, 0);
            let other = self.emit(code::JUMP_UNLESS_EQUAL, R1, 0, 0, in_packet(form.ether_type));
            self.message(&form);
            self.asm.land(other);
        }
        self.pass();
    }

    /// Goes on with what is a message of another node.
    fn message(&mut self, form: &Form) {
        let (udp, message) = (IP + form.len, IP + form.len + UDP_HEADER_LEN);
        self.must_have(message + MESSAGE_LEN_MIN);
        self.emit(code::LOAD_FIELD_8, R1, FRAME, IP, 0);
        self.emit(code::AND_CONSTANT, R1, 0, 0, form.first.0);
        self.pass_if(code::JUMP_UNLESS_EQUAL, R1, 0, form.first.1);
        self.emit(code::LOAD_FIELD_8, R1, FRAME, IP + form.protocol, 0);
        self.pass_if(code::JUMP_UNLESS_EQUAL, R1, 0, UDP);
        self.emit(code::LOAD_FIELD_16, R1, FRAME, udp + DESTINATION_PORT, 0);
        self.pass_if(code::JUMP_UNLESS_EQUAL, R1, 0, in_packet(self.port));
        // Passed on already: never again.
        self.emit(code::LOAD_FIELD_8, R1, FRAME, IP + form.ttl, 0);
        self.pass_if(code::JUMP_IF_EQUAL, R1, 0, LAST_HOP);
        if form.family == V4.family {
            self.emit(code::LOAD_FIELD_16, R1, FRAME, IP + FRAGMENT, 0);
            self.pass_if(code::JUMP_IF_ANY_BIT, R1, 0, in_packet(FRAGMENT_MASK));
        }
        // Its type and the reserved bytes are a little-endian number.
        self.emit(code::LOAD_FIELD, R1, FRAME, message, 0);
        let others = [4, 3].map(|kind| self.emit(code::JUMP_IF_EQUAL, R1, 0, 0, kind));
        self.pass_if(code::JUMP_UNLESS_EQUAL, R1, 0, 2);
        self.emit(code::LOAD_FIELD_8, R1, FRAME, message + TOP_BYTE_OF_RESPONSE, 0);
        let response = self.emit(code::JUMP, 0, 0, 0, 0);
        others.into_iter().for_each(|from| self.asm.land(from));
        self.emit(code::LOAD_FIELD_8, R1, FRAME, message + TOP_BYTE_OF_OTHERS, 0);
        self.asm.land(response);
        self.emit(code::AND_CONSTANT, R1, 0, 0, self.owners.mask().into());
        self.of_node(form);
        self.must_be_ours(form);
        self.look_up(form);
        self.pass_on(form);
    }

    /// Which address the node has whose bits are in R1.
    fn of_node(&mut self, form: &Form) {
        let owners = self.owners;
        let mut found = Vec::new();
        for (&number, addresses) in &owners.others {
            let Some(address) = form.address(addresses) else { continue };
            let other = self.emit(code::JUMP_UNLESS_EQUAL, R1, 0, 0, owners.bits_of(number).into());
            match address {
                Address::V4(address) => {
                    let value = i32::from_le_bytes(address.octets());
                    self.emit(code::MOVE_CONSTANT_32, ADDRESS, 0, 0, value);
                }
                Address::V6(address) => {
                    let [low, high] = halves(address);
                    self.asm.constant(ADDRESS, low);
                    self.asm.constant(ADDRESS_REST, high);
                }
            }
            found.push(self.emit(code::JUMP, 0, 0, 0, 0));
            self.asm.land(other);
        }
        self.pass();
        found.into_iter().for_each(|from| self.asm.land(from));
    }

    /// Goes on if the kernel would not forward the packet.
    fn must_be_ours(&mut self, form: &Form) {
        self.ask(form, |program| {
            for at in (0..form.address_len()).step_by(4) {
                program.emit(code::LOAD_FIELD, R1, FRAME, IP + form.destination + at, 0);
                program.emit(code::STORE_FIELD, END, R1, lookup::DESTINATION + at, 0);
            }
        });
        self.pass_if(code::JUMP_UNLESS_EQUAL, R0, 0, NOT_FORWARDED);
    }

    /// Has the kernel say through which device and to which neighbour a packet to the node goes.
    fn look_up(&mut self, form: &Form) {
        self.ask(form, |program| {
            if form.family == V4.family {
                program.emit(code::STORE_FIELD, END, ADDRESS, lookup::DESTINATION, 0);
            } else {
                program.emit(code::STORE_FIELD_64, END, ADDRESS, lookup::DESTINATION, 0);
                program.emit(code::STORE_FIELD_64, END, ADDRESS_REST, lookup::DESTINATION + 8, 0);
            }
        });
        self.pass_if(code::JUMP_UNLESS_EQUAL, R0, 0, 0);
        // Behind a router the TTL would end it.
        if form.family == V4.family {
            self.emit(code::LOAD_FIELD, R1, END, lookup::DESTINATION, 0);
            self.pass_if(code::JUMP_UNLESS_SAME, R1, ADDRESS, 0);
        } else {
            for (at, half) in [(0, ADDRESS), (8, ADDRESS_REST)] {
                self.emit(code::LOAD_FIELD_64, R1, END, lookup::DESTINATION + at, 0);
                self.pass_if(code::JUMP_UNLESS_SAME, R1, half, 0);
            }
        }
    }

    /// Asks the kernel where the packet would go if it went to the address that `to` emits. R0 is the answer.
    fn ask(&mut self, form: &Form, to: impl FnOnce(&mut Self)) {
        self.emit(code::MOVE_CONSTANT, R1, 0, 0, 0);
        for at in (lookup::PLACE..0).step_by(8) {
            self.emit(code::STORE_FIELD_64, END, R1, at, 0);
        }
        self.emit(code::STORE_CONSTANT, END, 0, lookup::FAMILY, form.family | UDP << 8);
        self.emit(code::LOAD_FIELD_16, R1, FRAME, IP + form.total_len.0, 0);
        self.emit(code::BIG_ENDIAN, R1, 0, 0, 16);
        self.emit(code::ADD_CONSTANT, R1, 0, 0, form.total_len.1);
        self.emit(code::STORE_FIELD_16, END, R1, lookup::TOTAL_LEN, 0);
        self.emit(code::LOAD_FIELD, R1, CONTEXT, context::INGRESS_IFINDEX, 0);
        self.emit(code::STORE_FIELD, END, R1, lookup::IFINDEX, 0);
        to(self);
        self.emit(code::MOVE, R1, CONTEXT, 0, 0);
        self.emit(code::MOVE, R2, END, 0, 0);
        self.emit(code::ADD_CONSTANT, R2, 0, 0, lookup::PLACE.into());
        self.emit(code::MOVE_CONSTANT, R3, 0, 0, lookup::LEN.into());
        self.emit(code::MOVE_CONSTANT, R4, 0, 0, 0);
        self.emit(code::CALL, 0, 0, 0, FIB_LOOKUP);
    }

    /// Rewrites the frame, and has it leave.
    fn pass_on(&mut self, form: &Form) {
        self.emit(code::LOAD_FIELD, R1, END, lookup::IFINDEX, 0);
        self.emit(code::LOAD_FIELD, R2, CONTEXT, context::INGRESS_IFINDEX, 0);
        if !self.leaves_elsewhere {
            self.pass_if(code::JUMP_UNLESS_SAME, R1, R2, 0);
        }
        for (to, from) in [(0, lookup::DESTINATION_MAC), (MAC_LEN, lookup::SOURCE_MAC)] {
            for at in (0..MAC_LEN).step_by(2) {
                self.emit(code::LOAD_FIELD_16, R3, END, from + at, 0);
                self.emit(code::STORE_FIELD_16, FRAME, R3, to + at, 0);
            }
        }
        if form.family == V4.family {
            self.correct_checksum();
        }
        self.emit(code::STORE_CONSTANT_8, FRAME, 0, IP + form.ttl, LAST_HOP);
        if self.leaves_elsewhere {
            let same = self.emit(code::JUMP_IF_SAME, R1, R2, 0, 0);
            self.emit(code::MOVE_CONSTANT, R2, 0, 0, 0);
            self.emit(code::CALL, 0, 0, 0, REDIRECT);
            self.emit(code::EXIT, 0, 0, 0, 0);
            self.asm.land(same);
        }
        self.end(XDP_TX);
    }

    /// RFC 1624, equation 3: `HC' = ~(~HC + ~m + m')`, where the word is that of TTL and protocol. Such sums are right
    /// in either order of the bytes.
    fn correct_checksum(&mut self) {
        self.emit(code::LOAD_FIELD_16, R3, FRAME, IP + CHECKSUM, 0);
        self.emit(code::XOR_CONSTANT_32, R3, 0, 0, 0xffff);
        self.emit(code::LOAD_FIELD_16, R4, FRAME, IP + V4.ttl, 0);
        self.emit(code::XOR_CONSTANT_32, R4, 0, 0, 0xffff);
        self.emit(code::ADD, R3, R4, 0, 0);
        self.emit(code::ADD_CONSTANT, R3, 0, 0, UDP << 8 | LAST_HOP);
        for _ in 0..2 {
            self.emit(code::MOVE, R4, R3, 0, 0);
            self.emit(code::SHIFT_RIGHT, R4, 0, 0, 16);
            self.emit(code::AND_CONSTANT, R3, 0, 0, 0xffff);
            self.emit(code::ADD, R3, R4, 0, 0);
        }
        self.emit(code::XOR_CONSTANT_32, R3, 0, 0, 0xffff);
        self.emit(code::STORE_FIELD_16, FRAME, R3, IP + CHECKSUM, 0);
    }
}

impl Form {
    /// In bytes.
    const fn address_len(&self) -> i16 {
        if self.family == V4.family { 4 } else { 16 }
    }

    fn address(&self, of: &NodeAddresses) -> Option<Address> {
        if self.family == V4.family { of.v4.map(Address::V4) } else { of.v6.map(Address::V6) }
    }
}

/// Two bytes as a little-endian machine loads them from a packet.
fn in_packet(value: u16) -> i32 {
    value.swap_bytes().into()
}

/// Both halves of an address, as a little-endian machine loads them.
fn halves(address: Ipv6Addr) -> [u64; 2] {
    let whole = u128::from_le_bytes(address.octets());
    [whole as u64, (whole >> 64) as u64]
}
