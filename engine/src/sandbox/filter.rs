//! System calls: those of a thread's role are carried out, all others fail with `EPERM`.
//!
//! Refused rather than killed: a library that tries something new must not end a gateway. The kernel's log has each
//! refusal (`audit: type=1326`), with the number of the call and the name of the thread.
//!
//! Two things fail with `ENOSYS` instead, and the C library falls back on an older call: `clone3`, whose flags no
//! filter can see, and calls that are newer than this program.

use std::collections::BTreeMap;
use std::io;

use libc::{c_int, c_long, sock_filter};
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, Gt, Le, MaskedEq, Ne};
use seccompiler::{BackendError, SeccompAction, SeccompFilter, SeccompRule, TargetArch};

use super::calls::{REMOVING, Role};
use super::rule::{Condition, Rule, Terms};
use super::sockets;

/// The last call of Linux 6.19, `listns`. From 424 on all architectures have the same numbers.
const LAST_KNOWN: u32 = 470;

/// Offset of `nr` in `struct seccomp_data`.
const NUMBER: u32 = 0;
const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_IF_GREATER: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
const NOT_THERE: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// What `clone` may be asked for: a thread of this process, in its own namespaces.
const NEW_NAMESPACE: c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP;

/// `PR_SET_VMA`, by which glibc names its memory.
const PR_SET_VMA: u64 = 0x5356_4d41;

/// Requests of `ioctl` that libraries make (`asm-generic/ioctls.h`): no waiting, how much there is, is it a terminal.
const FIONBIO: u64 = 0x5421;
const FIONREAD: u64 = 0x541b;
const TCGETS: u64 = 0x5401;

/// Requests of `ioctl` by their upper bytes: those of the TUN driver (`_IOW('T', …, int)`, `_IOR`), of its namespace
/// (`_IO('T', 227)`), and of sockets and interfaces.
const TUN_WRITE: u64 = 0x4004_5400;
const TUN_READ: u64 = 0x8004_5400;
const TUN_NAMESPACE: u64 = 0x54e3;
const SOCKET_CONTROL: u64 = 0x8900;
/// Of those, whom a socket sends signals: see [`descriptors`].
const FIOSETOWN: u64 = 0x8901;
const SIOCSPGRP: u64 = 0x8902;
const BUT_THE_LAST_BYTE: u64 = 0xffff_ff00;

/// A filter for each role. Its refusals are logged, so it is apart from `newer`, whose are not worth it.
pub struct Filters {
    terms: Terms,
    all: Vec<(Role, Vec<sock_filter>)>,
}

impl Filters {
    /// For these roles.
    ///
    /// # Errors
    /// The compiler's. It depends on the tables alone.
    pub fn new(roles: &[Role], terms: Terms) -> Result<Self, BackendError> {
        let make = |&role| Ok((role, compile(role, terms)?));
        Ok(Self { terms, all: roles.iter().map(make).collect::<Result<_, _>>()? })
    }

    /// From now on the calling thread, and whatever it starts, is filtered. It needs `no_new_privs`.
    ///
    /// # Errors
    /// The system's.
    pub fn install(&self, role: Role) -> io::Result<()> {
        let (_, filter) = self.all.iter().find(|(of, _)| *of == role).expect("there is one for each");
        install(&newer(NOT_THERE), 0)?;
        // glibc asks nscd first, whether it may or not. A line for each name would hide those that matter.
        let is_expected = role == Role::Lookup && !self.terms.is_somebody_else;
        install(filter, if is_expected { 0 } else { libc::SECCOMP_FILTER_FLAG_LOG })
    }
}

fn install(filter: &[sock_filter], flags: libc::c_ulong) -> io::Result<()> {
    let len = u16::try_from(filter.len()).expect("the compiler refuses more than 4096 instructions");
    let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the program points to `len` instructions of a slice that lives until the call returns. The kernel copies
    // them, and does not write to them.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What becomes of `clone3` and of calls that we do not know; all others are carried out, as far as this goes.
fn newer(verdict: u32) -> [sock_filter; 5] {
    let [first, second, third, fourth] = newer_head(verdict);
    [first, second, third, fourth, instruction(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW)]
}

/// The same, for others to follow. Jumps are relative, so these do not mind.
fn newer_head(verdict: u32) -> [sock_filter; 4] {
    [
        instruction(LOAD_WORD, 0, 0, NUMBER),
        instruction(JUMP_IF_EQUAL, 1, 0, libc::SYS_clone3 as u32),
        instruction(JUMP_IF_GREATER, 0, 1, LAST_KNOWN),
        instruction(RETURN, 0, 0, verdict),
    ]
}

const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

fn compile(role: Role, terms: Terms) -> Result<Vec<sock_filter>, BackendError> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> = role.calls().map(|call| (call, Vec::new())).collect();
    if terms.is_fenced && Role::OF_DAEMON.contains(&role) {
        rules.extend(REMOVING.iter().map(|&call| (call, Vec::new())));
    }
    for (call, conditions) in conditional(role, terms) {
        let conditions: Result<Vec<_>, _> = conditions.into_iter().map(Condition::compile).collect();
        rules.entry(call).or_default().push(SeccompRule::new(conditions?)?);
    }
    let refuse = if terms.reports { SeccompAction::Log } else { SeccompAction::Errno(libc::EPERM as u32) };
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter: Vec<seccompiler::sock_filter> =
        SeccompFilter::new(rules, refuse, SeccompAction::Allow, arch)?.try_into()?;
    let filter = filter.into_iter().map(|one| instruction(one.code, one.jt, one.jf, one.k));
    Ok(newer_head(libc::SECCOMP_RET_ALLOW).into_iter().chain(filter).collect())
}

/// Calls that are allowed with some arguments only. Of several rules for a call one must hold.
fn conditional(role: Role, terms: Terms) -> Vec<Rule> {
    let mut rules = memory(role);
    rules.extend(processes(role));
    rules.extend(opening(role));
    rules.extend(descriptors(role));
    rules.extend(sockets::made(role, terms));
    rules.extend(sockets::options(role));
    rules.extend(requests(role));
    rules
}

/// Nothing that was written can be executed. Only the resolver of glibc loads libraries.
fn memory(role: Role) -> Vec<Rule> {
    let (exec, write) = (libc::PROT_EXEC as u64, libc::PROT_WRITE as u64);
    let mut rules = vec![
        (libc::SYS_mmap, vec![Condition(2, Dword, MaskedEq(exec), 0)]),
        (libc::SYS_mprotect, vec![Condition(2, Dword, MaskedEq(exec), 0)]),
    ];
    if Role::OF_NAMES.contains(&role) && cfg!(target_env = "gnu") {
        rules.push((libc::SYS_mmap, vec![Condition(2, Dword, MaskedEq(exec | write), exec)]));
    }
    rules
}

/// Threads, but no processes; and signals to nobody but ourselves. Who has names looked up makes processes and ends
/// them: no group of them, and Landlock (from 6.12 on) sees to it that they are its own. A lookup signals nobody: its
/// filter was made by its parent, so `own` would be that one.
fn processes(role: Role) -> Vec<Rule> {
    let (thread, own) = (libc::CLONE_THREAD as u64, u64::from(std::process::id()));
    let mut rules = vec![
        (libc::SYS_clone, vec![Condition(0, Qword, MaskedEq(NEW_NAMESPACE as u64 | thread), thread)]),
        (libc::SYS_prctl, vec![Condition(0, Dword, Eq, libc::PR_SET_NAME as u64)]),
        (libc::SYS_prctl, vec![Condition(0, Dword, Eq, PR_SET_VMA)]),
        // Limits are read.
        (libc::SYS_prlimit64, vec![Condition(2, Qword, Eq, 0)]),
    ];
    if role == Role::Control {
        // For what is handed over to another process, and as that is made alone. Kernels before 6.3 know fewer flags.
        let flags = (libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) as u64;
        for flags in [flags, flags | u64::from(libc::MFD_NOEXEC_SEAL)] {
            rules.push((libc::SYS_memfd_create, vec![Condition(1, Dword, Eq, flags)]));
        }
    }
    if role != Role::Lookup {
        rules.push((libc::SYS_tgkill, vec![Condition(0, Dword, Eq, own)]));
    }
    if role == Role::Names {
        let flags = NEW_NAMESPACE as u64 | thread | libc::CLONE_VM as u64 | 0xff;
        let one_process = Condition(0, Dword, Le, i32::MAX as u64);
        rules.push((libc::SYS_clone, vec![Condition(0, Qword, MaskedEq(flags), libc::SIGCHLD as u64)]));
        rules.push((
            libc::SYS_kill,
            vec![one_process, Condition(0, Dword, Gt, 1), Condition(1, Dword, Eq, libc::SIGKILL as u64)],
        ));
        rules.push((libc::SYS_prctl, vec![Condition(0, Dword, Eq, libc::PR_SET_PDEATHSIG as u64)]));
    }
    rules
}

/// Files are opened for reading alone. Landlock refuses the rest as well, where there is one.
fn opening(role: Role) -> Vec<Rule> {
    if !Role::OF_NAMES.contains(&role) {
        return Vec::new();
    }
    // Not O_ACCMODE: in musl it has O_PATH, by which Landlock is told of places.
    let writing = (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC) as u64;
    let reads = |argument| vec![Condition(argument, Dword, MaskedEq(writing), libc::O_RDONLY as u64)];
    vec![
        (libc::SYS_openat, reads(2)),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_open, reads(1)),
    ]
}

/// Copies and flags. Not whom a descriptor sends signals, and which: that would kill any process as root.
fn descriptors(role: Role) -> Vec<Rule> {
    let command = |command: c_int| Condition(1, Dword, Eq, command as u64);
    let without_signals = Condition(2, Dword, MaskedEq(libc::O_ASYNC as u64), 0);
    let all = [
        vec![command(libc::F_DUPFD_CLOEXEC)],
        vec![command(libc::F_GETFD)],
        vec![command(libc::F_SETFD)],
        vec![command(libc::F_GETFL)],
        vec![command(libc::F_SETFL), without_signals],
    ];
    // Of memory that is handed over to another process.
    let seals = [libc::F_ADD_SEALS, libc::F_GET_SEALS].map(|seals| vec![command(seals)]);
    let seals = seals.into_iter().filter(|_| role == Role::Control);
    all.into_iter().chain(seals).map(|conditions| (libc::SYS_fcntl, conditions)).collect()
}

#[allow(clippy::unnecessary_cast, reason = "musl's requests are signed")]
fn requests(role: Role) -> Vec<Rule> {
    let exactly = |request: u64| Condition(1, Dword, Eq, request);
    let like = |request: u64| Condition(1, Dword, MaskedEq(BUT_THE_LAST_BYTE), request);
    let not = |request: u64| Condition(1, Dword, Ne, request);
    let mut rules = vec![vec![exactly(FIONBIO)], vec![exactly(FIONREAD)], vec![exactly(TCGETS)]];
    if Role::OF_NAMES.contains(&role) {
        // The zone of an address.
        rules.push(vec![exactly(libc::SIOCGIFINDEX as u64)]);
    } else if role != Role::Capture {
        rules.extend([vec![exactly(TUN_NAMESPACE)], vec![like(TUN_WRITE)], vec![like(TUN_READ)]]);
    }
    if role == Role::Control {
        rules.push(vec![like(SOCKET_CONTROL), not(FIOSETOWN), not(SIOCSPGRP)]);
    }
    rules.into_iter().map(|conditions| (libc::SYS_ioctl, conditions)).collect()
}
