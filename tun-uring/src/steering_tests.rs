use super::*;
use crate::sample::{KINDS, Packet, payload};

/// Runs the few instructions that the program is made of, as `Documentation/bpf/standardization/instruction-set.rst` has
/// them. A jump, a load or a register that it does not know is a panic.
fn run(program: &[Instruction], packet: &[u8]) -> u32 {
    let mut registers = [0u64; 10];
    let mut pc = 0;
    loop {
        let Instruction { code, registers: both, offset, constant } = program[pc];
        let (to, from) = (usize::from(both & 15), usize::from(both >> 4));
        pc += 1;
        let at = |base: u64| base as usize + constant as usize;
        let loaded = match code {
            code::LOAD_BYTE => packet.get(at(0)..at(0) + 1),
            code::LOAD_HALF => packet.get(at(0)..at(0) + 2),
            code::LOAD_WORD => packet.get(at(0)..at(0) + 4),
            code::LOAD_WORD_AT => packet.get(at(registers[from])..at(registers[from]) + 4),
            _ => Some(&[][..]),
        };
        let Some(loaded) = loaded else { return 0 };
        if !loaded.is_empty() {
            registers[0] = loaded.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
            continue;
        }
        match code {
            code::MOVE => registers[to] = registers[from],
            code::MOVE_CONSTANT => registers[to] = constant as u64,
            code::XOR => registers[to] ^= registers[from],
            code::AND_CONSTANT => registers[to] &= constant as u64,
            code::SHIFT_LEFT => registers[to] <<= constant,
            code::SHIFT_RIGHT => registers[to] >>= constant,
            code::MULTIPLY_32 => registers[to] = u64::from((registers[to] as u32).wrapping_mul(constant as u32)),
            code::JUMP => pc = pc.strict_add_signed(offset.into()),
            code::JUMP_IF_EQUAL if registers[to] == constant as u64 => pc = pc.strict_add_signed(offset.into()),
            code::JUMP_UNLESS_EQUAL if registers[to] != constant as u64 => pc = pc.strict_add_signed(offset.into()),
            code::JUMP_IF_EQUAL | code::JUMP_UNLESS_EQUAL => {}
            code::EXIT => return registers[0] as u32,
            other => panic!("instruction {other:#x}"),
        }
    }
}

fn packet(kind: crate::SuperKind, flow: u16) -> Vec<u8> {
    let mut bytes = Packet::new(kind).with(|p| p.payload = payload(50)).bytes();
    let transport = if kind.is_ipv4() { 20 } else { 40 };
    bytes[transport..transport + 2].copy_from_slice(&(10_000 + flow).to_be_bytes());
    bytes
}

#[test]
fn flows_spread_evenly_over_any_number_of_queues() {
    let program = program();
    for kind in KINDS {
        for queues in [2, 3, 4, 16] {
            let mut count = vec![0; queues];
            let flows = 500 * queues;
            for flow in 0..flows {
                count[run(&program, &packet(kind, flow as u16)) as usize % queues] += 1;
            }
            let (least, most) = (count.iter().min().unwrap(), count.iter().max().unwrap());
            assert!(*least > 350 && *most < 650, "{kind}: {count:?}");
        }
    }
}

#[test]
fn a_flow_stays_on_its_queue_whatever_its_packets_carry() {
    let program = program();
    for kind in KINDS {
        let one = packet(kind, 3);
        let mut other = one.clone();
        *other.last_mut().unwrap() ^= 0xff;
        // Identification or flow label, and time to live: they vary within a flow.
        other[if kind.is_ipv4() { 5 } else { 3 }] ^= 0xff;
        other[if kind.is_ipv4() { 8 } else { 7 }] -= 1;
        assert_eq!(run(&program, &one), run(&program, &other), "{kind}");
    }
}

#[test]
fn fragments_of_a_datagram_stay_together() {
    let program = program();
    let fragment = |flow, offset: u16| {
        let mut bytes = packet(crate::SuperKind::Udp4, flow);
        bytes[6..8].copy_from_slice(&offset.to_be_bytes());
        run(&program, &bytes)
    };
    assert_eq!(fragment(1, 0x2000), fragment(2, 0x00b9), "ports are where only the first fragment has them");
}

#[test]
fn what_is_cut_short_goes_somewhere() {
    let program = program();
    for kind in KINDS {
        let whole = packet(kind, 1);
        for len in 0..whole.len() {
            run(&program, &whole[..len]);
        }
    }
    run(&program, &[0x95; 60]);
}

/// The kernel's verifier takes it: needs `CAP_BPF` or root.
#[test]
fn the_kernel_loads_it() {
    load_program(&program()).expect("bpf(2) takes the program; this test needs root");
}
