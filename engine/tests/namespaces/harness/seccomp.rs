//! Seccomp filters for one child process: a system call that is refused, as by a container or an older kernel.

use std::io;
use std::mem::offset_of;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// `seccomp(2)`: classic BPF over `struct seccomp_data`.
const NUMBER_OFFSET: u32 = offset_of!(libc::seccomp_data, nr) as u32;
/// The lower half of the first argument, on machines that store it first.
const ARGUMENT_OFFSET: u32 = offset_of!(libc::seccomp_data, args) as u32;
const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Makes `io_uring_setup(2)` fail with `errno` in the child and in whatever it executes.
pub fn deny_io_uring(command: &mut Command, errno: i32) {
    install(
        command,
        vec![
            instruction(LOAD_WORD, 0, 0, NUMBER_OFFSET),
            instruction(JUMP_IF_EQUAL, 0, 1, libc::SYS_io_uring_setup as u32),
            refuse(errno),
            allow(),
        ],
    );
}

/// Makes `socket(2)` fail with `errno` for this family.
pub fn deny_sockets(command: &mut Command, family: i32, errno: i32) {
    install(
        command,
        vec![
            instruction(LOAD_WORD, 0, 0, NUMBER_OFFSET),
            instruction(JUMP_IF_EQUAL, 0, 3, libc::SYS_socket as u32),
            instruction(LOAD_WORD, 0, 0, ARGUMENT_OFFSET),
            instruction(JUMP_IF_EQUAL, 0, 1, family as u32),
            refuse(errno),
            allow(),
        ],
    );
}

const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

const fn refuse(errno: i32) -> libc::sock_filter {
    instruction(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32)
}

const fn allow() -> libc::sock_filter {
    instruction(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW)
}

fn install(command: &mut Command, mut filter: Vec<libc::sock_filter>) {
    let install = move || {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: the program points to `filter`, which lives until the call returns; the kernel copies it.
        let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec the closure makes one system call and touches only its own memory.
    unsafe { command.pre_exec(install) };
}
