use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::thread;

use libc::{c_int, c_long};
use nix::sys::signal::SigSet;
use nix::sys::signalfd::SignalFd;

use super::*;
use crate::control::server::make_socket;

/// All that make nothing but threads.
fn roles() -> impl Iterator<Item = Role> {
    Role::OF_DAEMON.into_iter().chain([Role::Lookup])
}

const STREAM_WITH_FLAGS: c_long = (libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) as c_long;

/// What nobody in a gateway does, and whoever has taken over a thread would like to. All arguments are of the kind that
/// the kernel would look at only after the filter.
const FORBIDDEN: &[(&str, c_long, [c_long; 4])] = &[
    ("execve", libc::SYS_execve, [0; 4]),
    ("execveat", libc::SYS_execveat, [-1, 0, 0, 0]),
    ("ptrace", libc::SYS_ptrace, [-1, 0, 0, 0]),
    ("process_vm_readv", libc::SYS_process_vm_readv, [0; 4]),
    ("process_vm_writev", libc::SYS_process_vm_writev, [0; 4]),
    ("pidfd_getfd", libc::SYS_pidfd_getfd, [-1, 0, 0, 0]),
    ("io_uring_setup", libc::SYS_io_uring_setup, [1, 0, 0, 0]),
    ("bpf", libc::SYS_bpf, [-1, 0, 0, 0]),
    ("perf_event_open", libc::SYS_perf_event_open, [0; 4]),
    ("userfaultfd", libc::SYS_userfaultfd, [-1, 0, 0, 0]),
    ("unshare", libc::SYS_unshare, [0; 4]),
    ("setns", libc::SYS_setns, [-1, 0, 0, 0]),
    ("mount", libc::SYS_mount, [0; 4]),
    ("open_tree", libc::SYS_open_tree, [-1, 0, 0, 0]),
    ("pivot_root", libc::SYS_pivot_root, [0; 4]),
    ("chroot", libc::SYS_chroot, [0; 4]),
    ("init_module", libc::SYS_init_module, [0; 4]),
    ("finit_module", libc::SYS_finit_module, [-1, 0, 0, 0]),
    ("kexec_load", libc::SYS_kexec_load, [0; 4]),
    ("keyctl", libc::SYS_keyctl, [-1, 0, 0, 0]),
    ("open_by_handle_at", libc::SYS_open_by_handle_at, [-1, 0, 0, 0]),
    ("memfd_create", libc::SYS_memfd_create, [0; 4]),
    ("personality", libc::SYS_personality, [0xffff_ffff, 0, 0, 0]),
    ("kill", libc::SYS_kill, [0; 4]),
    ("tgkill of another process", libc::SYS_tgkill, [1, 1, 0, 0]),
    ("setuid", libc::SYS_setuid, [0; 4]),
    ("capset", libc::SYS_capset, [0; 4]),
    ("seccomp", libc::SYS_seccomp, [-1, 0, 0, 0]),
    ("prctl(PR_SET_DUMPABLE)", libc::SYS_prctl, [libc::PR_SET_DUMPABLE as c_long, 1, 0, 0]),
    ("clone of a process", libc::SYS_clone, [libc::SIGCHLD as c_long, 0, 0, 0]),
    ("a thread in a namespace", libc::SYS_clone, [(libc::CLONE_THREAD | libc::CLONE_NEWNET) as c_long, 0, 0, 0]),
    ("socket(AF_PACKET)", libc::SYS_socket, [libc::AF_PACKET as c_long, libc::SOCK_RAW as c_long, 0, 0]),
    ("socket(AF_ALG)", libc::SYS_socket, [libc::AF_ALG as c_long, libc::SOCK_SEQPACKET as c_long, 0, 0]),
    ("socket(NETLINK_NETFILTER)", libc::SYS_socket, [libc::AF_NETLINK as c_long, libc::SOCK_RAW as c_long, 12, 0]),
    ("socket(AF_UNIX, SOCK_STREAM)", libc::SYS_socket, [libc::AF_UNIX as c_long, libc::SOCK_STREAM as c_long, 0, 0]),
    ("the same with flags", libc::SYS_socket, [libc::AF_UNIX as c_long, STREAM_WITH_FLAGS, 0, 0]),
    (
        "socket(AF_UNIX, SOCK_SEQPACKET)",
        libc::SYS_socket,
        [libc::AF_UNIX as c_long, libc::SOCK_SEQPACKET as c_long, 0, 0],
    ),
    ("socketpair", libc::SYS_socketpair, [libc::AF_UNIX as c_long, libc::SOCK_STREAM as c_long, 0, 0]),
    ("fcntl(F_SETOWN)", libc::SYS_fcntl, [-1, libc::F_SETOWN as c_long, 1, 0]),
    ("fcntl(F_SETOWN_EX)", libc::SYS_fcntl, [-1, 15, 0, 0]),
    ("fcntl(F_SETSIG)", libc::SYS_fcntl, [-1, 10, libc::SIGKILL as c_long, 0]),
    ("fcntl(F_SETFL, O_ASYNC)", libc::SYS_fcntl, [-1, libc::F_SETFL as c_long, libc::O_ASYNC as c_long, 0]),
    ("ioctl(FIOSETOWN)", libc::SYS_ioctl, [-1, 0x8901, 0, 0]),
    ("ioctl(SIOCSPGRP)", libc::SYS_ioctl, [-1, 0x8902, 0, 0]),
    ("setsockopt(IPT_SO_SET_REPLACE)", libc::SYS_setsockopt, [-1, libc::IPPROTO_IP as c_long, 64, 0]),
    ("setsockopt(IP6T_SO_SET_REPLACE)", libc::SYS_setsockopt, [-1, libc::IPPROTO_IPV6 as c_long, 64, 0]),
    ("setsockopt(TCP_ULP)", libc::SYS_setsockopt, [-1, libc::IPPROTO_TCP as c_long, libc::TCP_ULP as c_long, 0]),
    ("getsockopt(IPT_SO_GET_INFO)", libc::SYS_getsockopt, [-1, libc::IPPROTO_IP as c_long, 64, 0]),
    ("setpriority", libc::SYS_setpriority, [-1, 0, 0, 0]),
    ("ioctl(TIOCSTI)", libc::SYS_ioctl, [-1, libc::TIOCSTI as c_long, 0, 0]),
    ("prlimit64 that sets", libc::SYS_prlimit64, [0, libc::RLIMIT_CORE as c_long, 1, 0]),
];

/// A directory of a test, with one below that may be changed and one that may not.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ringfort-sandbox-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        for below in ["change", "read", "other"] {
            fs::create_dir_all(path.join(below)).unwrap();
            fs::write(path.join(below).join("file"), "text").unwrap();
        }
        Self(path)
    }

    fn places(&self) -> Places {
        Places { read: vec![self.0.join("read")], change: vec![self.0.join("change")], ..Places::default() }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Does this in a thread of this role. Each thread of a test has layers of its own.
pub(super) fn inside<T: Send + 'static>(
    mode: Mode,
    role: Role,
    places: &Places,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let mut plan = Plan::new(mode, places);
    if Role::OF_NAMES.contains(&role) {
        // As far as threads can: see `names::tests` for the rest.
        let terms = Terms { reports: mode == Mode::Report, ..Terms::default() };
        let filters = Filters::new(&Role::OF_NAMES, terms);
        (plan.filters, plan.files) = (filters.ok(), Fence::of_lookup().unwrap());
    }
    assert!(plan.gaps.is_empty(), "{:?}", plan.gaps);
    let thread = thread::spawn(move || {
        let gaps = plan.enter(role);
        assert!(gaps.is_empty(), "{gaps:?}");
        work()
    });
    thread.join().unwrap()
}

fn errno_of((_, call, [a, b, c, d]): &(&str, c_long, [c_long; 4])) -> c_int {
    // SAFETY: no argument is the address of anything. What is carried out all the same finds a null pointer, a
    // descriptor or an operation that does not exist, or asks for what this process may have.
    let result = unsafe { libc::syscall(*call, *a, *b, *c, *d, 0 as c_long) };
    if result >= 0 { 0 } else { io::Error::last_os_error().raw_os_error().unwrap() }
}

#[test]
fn what_nobody_needs_is_refused_in_every_role() {
    for role in roles() {
        let refused = inside(Mode::On, role, &Places::default(), || FORBIDDEN.iter().map(errno_of).collect::<Vec<_>>());
        for ((name, ..), errno) in FORBIDDEN.iter().zip(refused) {
            assert_eq!(errno, libc::EPERM, "{name} as {role:?}");
        }
    }
}

/// Paths that Landlock would allow, and by each call that opens one. Control and the log's thread open the same file.
#[test]
fn whoever_has_no_business_with_files_opens_none() {
    let closed = [Role::Worker, Role::Metrics, Role::Capture].map(|role| (role, libc::EPERM));
    for (role, expected) in closed.into_iter().chain([(Role::Control, 0), (Role::Files, 0)]) {
        let scratch = Scratch::new(&format!("open-{role:?}"));
        let path = CString::new(scratch.0.join("read/file").into_os_string().into_encoded_bytes()).unwrap();
        let [openat, openat2] = inside(Mode::On, role, &scratch.places(), move || {
            // `struct open_how`: neither flags, nor a mode, nor restrictions.
            let how = [0_u64; 3];
            let last = [(libc::SYS_openat, 0), (libc::SYS_openat2, how.as_ptr() as c_long)];
            last.map(|(call, how_or_flags)| {
                let (at, len) = (libc::AT_FDCWD as c_long, size_of_val(&how) as c_long);
                // SAFETY: both addresses are of what outlives the call, and the kernel writes to neither.
                let result = unsafe { libc::syscall(call, at, path.as_ptr(), how_or_flags, len) };
                if result >= 0 { 0 } else { io::Error::last_os_error().raw_os_error().unwrap() }
            })
        });
        assert_eq!((openat, openat2), (expected, libc::EPERM), "{role:?}");
    }
}

/// The C library falls back on an older call only then.
#[test]
fn what_is_newer_than_we_are_is_not_there() {
    for call in [libc::SYS_clone3, 471, 0x4000_0000 | libc::SYS_execve] {
        let errno = inside(Mode::On, Role::Control, &Places::default(), move || errno_of(&("", call, [0; 4])));
        assert_eq!(errno, libc::ENOSYS, "{call}");
    }
}

/// In a fork of its own, since some of it is carried out.
#[test]
fn a_report_refuses_nothing() {
    let (opened, fds) = inside(Mode::Report, Role::Worker, &Places::default(), || {
        (
            File::open("/etc/hostname").is_ok() || File::open("/etc/passwd").is_ok(),
            fs::read_dir("/proc/self/fd").is_ok(),
        )
    });
    assert!(opened && fds, "a worker opens no files, and may while it is only watched");
}

#[test]
fn memory_that_was_written_is_never_executed() {
    let (write, exec) = (libc::PROT_READ | libc::PROT_WRITE, libc::PROT_READ | libc::PROT_EXEC);
    for role in roles() {
        let (mapped, changed) = inside(Mode::On, role, &Places::default(), move || {
            let map = |protection: c_int| {
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
                // SAFETY: a new mapping at an address that the kernel chooses.
                unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) }
            };
            let both = map(write | libc::PROT_EXEC);
            let data = map(write);
            assert_ne!(data, libc::MAP_FAILED);
            // SAFETY: the mapping is ours alone, and nothing is in it.
            let changed = unsafe { libc::mprotect(data, 4096, exec) };
            (both != libc::MAP_FAILED, changed == 0)
        });
        assert!(!mapped && !changed, "{role:?}");
    }
}

#[test]
fn threads_and_locks_and_time_go_on() {
    for role in roles() {
        inside(Mode::On, role, &Places::default(), || {
            let (sender, receiver) = channel();
            let thread = thread::Builder::new().name("below".to_owned()).spawn(move || sender.send(7).unwrap());
            assert_eq!(receiver.recv(), Ok(7));
            thread.unwrap().join().unwrap();
            thread::sleep(std::time::Duration::from_millis(1));
            assert_eq!(vec![1_u8; 64 << 20].len(), 64 << 20);
        });
    }
}

#[test]
fn control_makes_sockets_but_resolves_no_names() {
    inside(Mode::On, Role::Control, &Places::default(), || {
        UdpSocket::bind("127.0.0.1:0").unwrap();
        route_netlink::LinkSocket::open().unwrap();
        for path in ["/etc/passwd", "/etc/hosts", "/etc/resolv.conf"] {
            assert_eq!(File::open(path).unwrap_err().raw_os_error(), Some(libc::EACCES), "{path}");
        }
        assert_eq!(TcpListener::bind("127.0.0.1:0").unwrap_err().raw_os_error(), Some(libc::EPERM));
    });
    // With all options, also those that a gateway could do without.
    let sockets = || {
        let config = udp_uring::SocketConfig { fwmark: 7, ..udp_uring::SocketConfig::new(0, 2) };
        udp_uring::SocketGroup::bind(&config).unwrap().offloads()
    };
    assert_eq!(inside(Mode::On, Role::Control, &Places::default(), sockets), sockets());
    let bound = inside(Mode::On, Role::Worker, &Places::default(), || UdpSocket::bind("127.0.0.1:0").is_ok());
    assert!(!bound, "a worker makes none");
}

#[test]
fn who_writes_the_log_reaches_its_service() {
    let scratch = Scratch::new("service");
    let path = scratch.0.join("change/log");
    let service = UnixDatagram::bind(&path).unwrap();
    inside(Mode::On, Role::Files, &scratch.places(), move || {
        let socket = UnixDatagram::unbound().unwrap();
        socket.set_write_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
        socket.send_to(b"line", path).unwrap();
    });
    let mut line = [0; 5];
    assert_eq!((service.recv(&mut line).unwrap(), &line), (4, b"line\0"));
}

/// Though it cannot connect to see whether somebody is there.
#[test]
fn control_takes_the_name_of_nobody_s_socket_and_of_no_other() {
    let scratch = Scratch::new("rename");
    let directory = scratch.0.join("change");
    let signals = SignalFd::new(&SigSet::empty()).unwrap();
    let make = |name: &str| make_socket(&directory, name, name, &signals).unwrap();
    let ((_own, mut place), (other, _)) = (make("own"), make("other"));
    let (place, refused) = inside(Mode::On, Role::Control, &scratch.places(), move || {
        let refused = place.rename("other").unwrap_err();
        (place, refused.to_string())
    });
    assert!(refused.contains("a daemon serves"), "{refused}");
    drop(other);
    assert!(directory.join("other").exists(), "as a killed daemon leaves it");
    let mut place = place;
    inside(Mode::On, Role::Control, &scratch.places(), move || place.rename("other").unwrap());
    assert!(!directory.join("own").exists());
    UnixStream::connect(directory.join("other")).unwrap();
}

#[test]
fn paths_are_those_that_were_named() {
    for role in [Role::Control, Role::Files] {
        let scratch = Scratch::new(&format!("{role:?}"));
        let root = scratch.0.clone();
        inside(Mode::On, role, &scratch.places(), move || {
            let [change, read, other] = ["change", "read", "other"].map(|below| root.join(below));
            fs::write(change.join("new"), "text").unwrap();
            fs::rename(change.join("new"), change.join("file")).unwrap();
            let mut names = fs::read_dir(&change).unwrap().map(|file| file.unwrap().file_name());
            assert!(names.any(|name| name == "file"), "what others have left is looked for");
            fs::remove_file(change.join("file")).unwrap();
            assert_eq!(fs::read_to_string(read.join("file")).unwrap(), "text");
            OpenOptions::new().write(true).open("/dev/null").unwrap();
            let refused = [
                fs::read(other.join("file")).err(),
                fs::read("/root/.profile").err(),
                File::open("/proc/self/mem").err(),
                OpenOptions::new().append(true).open(read.join("file")).err(),
                File::open("/etc/passwd").err(),
                OpenOptions::new().append(true).open("/etc/passwd").err(),
                fs::remove_file(read.join("file")).err(),
                fs::rename(read.join("file"), change.join("file")).err(),
            ];
            for (number, error) in refused.into_iter().enumerate() {
                let errno = error.and_then(|error| error.raw_os_error());
                assert!(matches!(errno, Some(libc::EACCES | libc::EXDEV)), "number {number}: {errno:?}");
            }
        });
    }
}

/// A reload reads it, however long after the start. What nobody holds is gone from the kernel's memory by then.
#[test]
fn the_mark_of_a_default_route_stays_readable() {
    let plan = Plan::new(Mode::On, &Places::default());
    for _ in 0..3 {
        fs::write("/proc/sys/vm/drop_caches", "2").expect("this test needs root");
    }
    let thread = thread::spawn(move || {
        assert!(plan.enter(Role::Control).is_empty());
        fs::read_to_string("/proc/sys/net/ipv4/conf/all/src_valid_mark").map_err(|error| error.to_string())
    });
    thread.join().unwrap().unwrap();
}

/// As `/proc` shows it: the thread itself may not look.
#[test]
fn capabilities_are_those_that_the_role_needs() {
    let control = 1 << 12 | 1 << 13 | 1 << 10 | 1 << 14;
    let none = [Role::Worker, Role::Files, Role::Metrics, Role::Capture].map(|role| (role, 0));
    for (role, expected) in none.into_iter().chain([(Role::Control, control)]) {
        let ((tell, told), (end, ended)) = (channel(), channel::<()>());
        let watched = thread::spawn(move || {
            inside(Mode::On, role, &Places::default(), move || {
                tell.send(nix::unistd::gettid()).unwrap();
                let _ = ended.recv();
            });
        });
        let status = fs::read_to_string(format!("/proc/self/task/{}/status", told.recv().unwrap())).unwrap();
        drop(end);
        watched.join().unwrap();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        for set in ["CapPrm:", "CapEff:"] {
            assert_eq!(u64::from_str_radix(&field(set), 16), Ok(expected), "{set} of {role:?}, which needs root here");
        }
        for set in ["CapInh:", "CapAmb:"] {
            assert_eq!(field(set), "0000000000000000", "{role:?}");
        }
        assert_eq!((field("NoNewPrivs:").as_str(), field("Seccomp:").as_str()), ("1", "2"), "{role:?}");
    }
}

/// A file of another user, in a directory of his, is read and replaced all the same.
#[test]
fn a_file_of_another_user_keeps_one_capability() {
    let scratch = Scratch::new("other-user");
    assert!(!scratch.places().are_another_users(), "this test needs root");
    let directory = scratch.0.join("change");
    std::os::unix::fs::chown(&directory, Some(65534), None).unwrap();
    fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    assert!(scratch.places().are_another_users());
    inside(Mode::On, Role::Files, &scratch.places(), move || fs::write(directory.join("file"), "new").unwrap());
}

/// Its directory may be root's all the same, as that of `/etc/wireguard/wg0.conf`.
#[test]
fn a_file_of_another_user_in_a_directory_of_ours_is_read_again() {
    let scratch = Scratch::new("other-file");
    let file = scratch.0.join("read/file");
    let mut places = Places::default();
    places.read_beside(&file);
    assert!(!places.are_another_users(), "this test needs root");
    std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert!(places.are_another_users());
    inside(Mode::On, Role::Control, &places, move || fs::read_to_string(file).unwrap());
}

/// `logrotate` gives it to another user while we write to the old one.
#[test]
fn a_log_that_changes_hands_is_opened_again() {
    for (role, is_opened) in [(Role::Files, true), (Role::Control, false)] {
        let scratch = Scratch::new(&format!("log-{role:?}"));
        let file = scratch.0.join("change/file");
        let plan = Plan::new(Mode::On, &Places { has_log: true, ..scratch.places() });
        std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let thread = thread::spawn(move || {
            assert!(plan.enter(role).is_empty());
            OpenOptions::new().append(true).open(file).is_ok()
        });
        assert_eq!(thread.join().unwrap(), is_opened, "{role:?}");
    }
}
