//! bpf(2).

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use crate::instruction::Instruction;

/// Of `linux/bpf.h`.
const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_TEST_RUN: libc::c_int = 10;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_F_MMAPABLE: u32 = 1 << 10;
const BPF_PROG_TYPE_SOCKET_FILTER: u32 = 1;

/// How often an interrupted call is repeated. Other loaders give up after five.
const ATTEMPTS: usize = 16;

/// The part of `union bpf_attr` that making a map takes; the kernel reads what follows as zeros.
#[repr(C)]
struct MapAttributes {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

/// The part of `union bpf_attr` that loading a program takes; the kernel reads what follows as zeros.
#[repr(C)]
struct LoadAttributes {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
}

/// The same for running a program without a packet of the network's.
#[repr(C)]
struct RunAttributes {
    program: u32,
    result: u32,
    data_len: u32,
    data_out_len: u32,
    data: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_len: u32,
    context_out_len: u32,
    context: u64,
    context_out: u64,
}

/// Loads a program as a socket filter. It may call no function that asks for the GPL.
///
/// # Errors
/// The system's: `EPERM` where `bpf(2)` is not allowed, `EINVAL` or `EACCES` for a program that the kernel refuses.
pub fn load(instructions: &[Instruction]) -> io::Result<OwnedFd> {
    load_telling(instructions, &mut [])
}

/// What the verifier says while it looks at a program: why it refuses it, at the end. For tests.
#[must_use]
pub fn verifier_log(instructions: &[Instruction]) -> String {
    let mut log = vec![0; 16 << 20];
    let result = load_telling(instructions, &mut log);
    let len = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
    format!("{}{result:?}", String::from_utf8_lossy(&log[..len]))
}

fn load_telling(instructions: &[Instruction], log: &mut [u8]) -> io::Result<OwnedFd> {
    let attributes = LoadAttributes {
        program_type: BPF_PROG_TYPE_SOCKET_FILTER,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        log_level: u32::from(!log.is_empty()),
        log_size: log.len() as u32,
        log_buffer: if log.is_empty() { 0 } else { log.as_mut_ptr() as u64 },
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: the attributes, and what they point to, live until the call returns. The kernel reads that many bytes of
    // them, and writes no more to the log than it has room for. The command makes a descriptor.
    unsafe { make(BPF_PROG_LOAD, &attributes) }
}

/// Runs a program over an Ethernet frame, and returns its result. It sees what is behind the Ethernet header.
/// `context` is a `struct __sk_buff` to begin with. For tests.
///
/// # Errors
/// The system's.
pub fn run(program: &impl AsFd, frame: &[u8], context: &[u8]) -> io::Result<u32> {
    let mut attributes = RunAttributes {
        program: program.as_fd().as_raw_fd().cast_unsigned(),
        result: 0,
        data_len: frame.len() as u32,
        data_out_len: 0,
        data: frame.as_ptr() as u64,
        data_out: 0,
        repeat: 1,
        duration: 0,
        context_len: context.len() as u32,
        context_out_len: 0,
        context: if context.is_empty() { 0 } else { context.as_ptr() as u64 },
        context_out: 0,
    };
    // SAFETY: the attributes, frame and context live until the call returns, in which the kernel reads them, and writes
    // the result.
    unsafe { call(BPF_PROG_TEST_RUN, &raw mut attributes)? };
    Ok(attributes.result)
}

/// A map of one value, which the process can have in its memory: the address of such a value can stand in a program.
pub(crate) fn make_map(len: usize) -> io::Result<OwnedFd> {
    let value_size = u32::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
    let attributes = MapAttributes {
        map_type: BPF_MAP_TYPE_ARRAY,
        key_size: 4,
        value_size,
        max_entries: 1,
        map_flags: BPF_F_MMAPABLE,
    };
    // SAFETY: the attributes are of this command and point to nothing. It makes a descriptor.
    unsafe { make(BPF_MAP_CREATE, &attributes) }
}

/// A call that makes a descriptor.
///
/// # Safety
/// As [`call`], of a command that returns a new descriptor.
unsafe fn make<Attributes>(command: libc::c_int, attributes: &Attributes) -> io::Result<OwnedFd> {
    again_if_interrupted(|| {
        // SAFETY: the caller's.
        let fd = unsafe { call(command, attributes)? };
        // SAFETY: the kernel has just made the descriptor, and nobody else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    })
}

/// The verifier ends with `EAGAIN` when a signal waits for the thread. So it does when the kernel has put off work for
/// the thread, such as that of a ring that was just closed.
fn again_if_interrupted<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..ATTEMPTS {
        match attempt() {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => {}
            result => return result,
        }
    }
    attempt()
}

/// bpf(2).
///
/// # Safety
/// The attributes are those of the command, and what they point to is there for it.
unsafe fn call<Attributes>(command: libc::c_int, attributes: *const Attributes) -> io::Result<i32> {
    // SAFETY: the caller's.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<Attributes>()) };
    match i32::try_from(result) {
        Ok(result @ 0..) => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_call_is_repeated() {
        for errno in [libc::EAGAIN, libc::EINTR] {
            let failing = |times: usize| {
                let mut attempts = 0;
                let result = again_if_interrupted(|| {
                    attempts += 1;
                    if attempts > times { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
                });
                (result.map_err(|error| error.raw_os_error()), attempts)
            };
            assert_eq!(failing(0), (Ok(()), 1));
            assert_eq!(failing(ATTEMPTS - 1), (Ok(()), ATTEMPTS));
            assert_eq!(failing(ATTEMPTS), (Err(Some(errno)), ATTEMPTS), "not for ever");
        }
        let mut attempts = 0;
        let refused = again_if_interrupted::<()>(|| {
            attempts += 1;
            Err(io::Error::from_raw_os_error(libc::EPERM))
        });
        assert_eq!((refused.is_err(), attempts), (true, 1), "other errors are final");
    }
}
