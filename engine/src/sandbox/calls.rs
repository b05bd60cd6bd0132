//! The system calls of each role. Arguments that matter are in `filter.rs` and `sockets.rs`.
//!
//! A call is here because a thread of the role makes it, or its C library does: those of glibc and musl, on x86-64 and
//! aarch64. The newer architecture lacks the older forms of calls, which are listed apart.

use libc::c_long;

/// What a thread does, and so what it may ask the kernel for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The control loop, and what it starts: the steward, the resolver's thread, the watchdog.
    Control,
    /// A worker.
    Worker,
    /// Whoever writes files: the log, and the file of endpoints.
    Files,
    /// Whoever answers scrapes.
    Metrics,
    /// Whoever sends what is captured to its reader.
    Capture,
    /// The process that has names looked up, and makes a process for each.
    Names,
    /// A process that looks a name up.
    Lookup,
}

impl Role {
    /// The threads of a daemon.
    pub const OF_DAEMON: [Self; 5] = [Self::Control, Self::Worker, Self::Files, Self::Metrics, Self::Capture];
    /// The processes that look names up.
    pub const OF_NAMES: [Self; 2] = [Self::Names, Self::Lookup];

    /// The calls that it may make with any arguments.
    pub(super) fn calls(self) -> impl Iterator<Item = c_long> {
        let lists: &[&[c_long]] = match self {
            Self::Control => {
                &[EVERYBODY, READING, OLD_READING, OPENING, WRITING, OLD_WRITING, SOCKETS, OLD_WAITING, CONTROL]
            }
            Self::Worker => &[EVERYBODY, RING],
            Self::Files => &[EVERYBODY, READING, OLD_READING, OPENING, WRITING, OLD_WRITING, SOCKETS, OLD_WAITING],
            Self::Metrics => &[EVERYBODY, SOCKETS, OLD_WAITING],
            Self::Capture => &[EVERYBODY, OLD_WAITING, CAPTURE],
            Self::Names => &[EVERYBODY, READING, OLD_READING, SOCKETS, OLD_WAITING, LOOKUP, OLD_LOOKUP, NAMES],
            Self::Lookup => &[EVERYBODY, READING, OLD_READING, SOCKETS, OLD_WAITING, LOOKUP, OLD_LOOKUP],
        };
        lists.iter().flat_map(|list| list.iter().copied())
    }
}

/// A thread lives: memory, time, locks, its end; and it uses what is open.
const EVERYBODY: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_mremap,
    libc::SYS_munlock,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    // By which musl aborts.
    #[cfg(target_env = "musl")]
    libc::SYS_tkill,
    libc::SYS_write,
    libc::SYS_writev,
];

/// A worker: its ring.
const RING: &[c_long] = &[libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

/// Files by their paths, looked at and read. Opening one is a matter of arguments.
const READING: &[c_long] = &[
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fstatfs,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_newfstatat,
    libc::SYS_pread64,
    libc::SYS_readlinkat,
    libc::SYS_statx,
];

/// Opened for whatever Landlock allows.
const OPENING: &[c_long] = &[
    libc::SYS_openat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
];

/// Made, changed, removed.
const WRITING: &[c_long] = &[
    libc::SYS_fchmod,
    libc::SYS_fchown,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_linkat,
    libc::SYS_mkdirat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
];

/// Connections that are open. Making a socket, and its options, are a matter of arguments.
const SOCKETS: &[c_long] = &[
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_shutdown,
];

/// Control beside that: what it waits for, and new sockets.
const CONTROL: &[c_long] = &[
    libc::SYS_accept,
    libc::SYS_bind,
    libc::SYS_dup,
    libc::SYS_dup3,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
    libc::SYS_eventfd2,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getppid,
    libc::SYS_getrusage,
    libc::SYS_getuid,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_rm_watch,
    libc::SYS_listen,
    libc::SYS_pipe2,
    libc::SYS_signalfd4,
    libc::SYS_sysinfo,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
    libc::SYS_uname,
    libc::SYS_wait4,
    libc::SYS_waitid,
];

/// A capture: the connection that it was given.
const CAPTURE: &[c_long] = &[libc::SYS_recvfrom, libc::SYS_sendmsg, libc::SYS_sendto, libc::SYS_shutdown];

/// The resolver of the C library beside that, and the modules that it loads (`nsswitch.conf`).
const LOOKUP: &[c_long] = &[
    libc::SYS_bind,
    libc::SYS_dup,
    libc::SYS_eventfd2,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_pselect6,
    libc::SYS_recvmmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sysinfo,
    libc::SYS_uname,
];

/// A process for each name: made, fenced in, waited for.
const NAMES: &[c_long] = &[
    libc::SYS_close_range,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_restrict_self,
    libc::SYS_pipe2,
    libc::SYS_seccomp,
    libc::SYS_wait4,
    // By which musl forks.
    #[cfg(all(target_env = "musl", target_arch = "x86_64"))]
    libc::SYS_fork,
];

/// The older forms, which aarch64 never had.
#[cfg(target_arch = "x86_64")]
const OLD_READING: &[c_long] = &[libc::SYS_access, libc::SYS_lstat, libc::SYS_readlink, libc::SYS_stat];
#[cfg(target_arch = "x86_64")]
const OLD_WRITING: &[c_long] = &[libc::SYS_link, libc::SYS_mkdir, libc::SYS_rename, libc::SYS_rmdir, libc::SYS_unlink];
#[cfg(target_arch = "x86_64")]
const OLD_WAITING: &[c_long] = &[libc::SYS_epoll_wait, libc::SYS_poll];
#[cfg(target_arch = "x86_64")]
const OLD_LOOKUP: &[c_long] = &[libc::SYS_select, libc::SYS_time];
#[cfg(not(target_arch = "x86_64"))]
const OLD_READING: &[c_long] = &[];
#[cfg(not(target_arch = "x86_64"))]
const OLD_WRITING: &[c_long] = &[];
#[cfg(not(target_arch = "x86_64"))]
const OLD_WAITING: &[c_long] = &[];
#[cfg(not(target_arch = "x86_64"))]
const OLD_LOOKUP: &[c_long] = &[];

/// What the hook of a panic calls to remove the control socket. Only behind Landlock, which says where.
#[cfg(target_arch = "x86_64")]
pub(super) const REMOVING: &[c_long] = &[libc::SYS_lstat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_unlink];
#[cfg(not(target_arch = "x86_64"))]
pub(super) const REMOVING: &[c_long] = &[libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_unlinkat];
