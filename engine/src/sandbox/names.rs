//! The layers of the process that has names looked up, and of each lookup.
//!
//! A lookup reads what name servers answer, with the parser of the C library and with whatever modules
//! `/etc/nsswitch.conf` names. So it has less than the process that it is a fork of: no more processes, and of `/etc`
//! only the files that a resolver reads. Neither writes to a file, executes anything, or has a capability.

use caps::{CapSet, CapsHashSet, clear, set};
use nix::sys::prctl::{set_dumpable, set_no_new_privs};
use nix::unistd::{Gid, Uid, geteuid, setgroups, setresgid, setresuid};

use super::files::Fence;
use super::filter::Filters;
use super::rule::Terms;
use super::{Mode, Role, SandboxError};

/// `nobody` and its group: what the kernel shows for users that it has no number for.
pub const NOBODY: u32 = 65534;

/// What was decided for this process.
pub struct Layers {
    mode: Mode,
    /// `None` if they are not to be had.
    filters: Option<Filters>,
    is_fenced: bool,
}

impl Layers {
    /// The calling process gives up what it does not need. To be called while there is a single thread. What could not
    /// be had comes back as well. That it cannot become another user is no such gap: it is what a service wants that
    /// has no `CAP_SETUID`, or a user of its own. Then it may not speak to local services: they do what root tells
    /// them, and the control socket shows private keys to the daemon's own user.
    #[must_use]
    pub fn enter(mode: Mode) -> (Self, Vec<SandboxError>) {
        let mut layers = Self { mode, filters: None, is_fenced: false };
        let is_somebody_else = mode == Mode::On && geteuid().is_root() && become_nobody().is_ok();
        // Others of that user do not look into it. The change of the user undoes it.
        let _ = set_dumpable(false);
        if mode == Mode::Off {
            return (layers, Vec::new());
        }
        let mut gaps = Vec::new();
        let mut note = |result: Result<(), SandboxError>| gaps.extend(result.err());
        note(set_no_new_privs().map_err(|errno| SandboxError::NoNewPrivileges(errno.into())));
        if mode == Mode::On {
            note(drop_capabilities());
            note(fence_in().map(|is_fenced| layers.is_fenced = is_fenced));
        }
        note(filter(mode, is_somebody_else).map(|filters| layers.filters = Some(filters)));
        (layers, gaps)
    }

    /// The calling process, a fork of the one that has entered, is about to look a name up.
    ///
    /// # Errors
    /// What it could not give up. Then it must not look anything up.
    pub fn enter_lookup(&self) -> Result<(), SandboxError> {
        if self.mode == Mode::On && self.is_fenced {
            Fence::of_lookup()?.enter().map_err(SandboxError::Landlock)?;
        }
        match &self.filters {
            Some(filters) => filters.install(Role::Lookup).map_err(SandboxError::NoFilter),
            None => Ok(()),
        }
    }
}

/// Whether paths are fenced in from now on.
fn fence_in() -> Result<bool, SandboxError> {
    let fence = Fence::of_names()?;
    fence.enter().map_err(SandboxError::Landlock)?;
    Ok(fence.is_there())
}

fn filter(mode: Mode, is_somebody_else: bool) -> Result<Filters, SandboxError> {
    let terms = Terms { reports: mode == Mode::Report, is_somebody_else, ..Terms::default() };
    let filters = Filters::new(&Role::OF_NAMES, terms)?;
    filters.install(Role::Names).map_err(SandboxError::NoFilter)?;
    Ok(filters)
}

fn become_nobody() -> nix::Result<()> {
    let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    setgroups(&[])?;
    setresgid(group, group, group)?;
    setresuid(user, user, user)
}

fn drop_capabilities() -> Result<(), SandboxError> {
    let none = CapsHashSet::new();
    clear(None, CapSet::Ambient)?;
    for of in [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        set(None, of, &none)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, OpenOptions};
    use std::io::{self, Read as _, Write as _};
    use std::net::{TcpStream, ToSocketAddrs as _};
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::process::Command;

    use nix::fcntl::OFlag;
    use nix::poll::{PollFd, PollFlags, poll};
    use nix::sys::signal::{Signal, kill};
    use nix::sys::wait::waitpid;
    use nix::unistd::{ForkResult, fork, getppid, getuid, pipe2};

    use super::*;

    /// For what takes milliseconds. A process that hangs fails its test.
    const PATIENCE_MS: u16 = 30_000;

    /// What a process says that does this.
    fn said_by(work: impl FnOnce() -> String) -> String {
        let (from, to) = pipe2(OFlag::O_CLOEXEC).unwrap();
        // SAFETY: no other thread of this test holds anything that the child needs.
        let ForkResult::Parent { child } = unsafe { fork() }.unwrap() else {
            let said = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| "it has panicked".to_owned());
            let _ = File::from(to).write_all(said.as_bytes());
            // SAFETY: it ends the child before it runs anything of the test's.
            unsafe { libc::_exit(0) }
        };
        drop(to);
        let (mut from, mut said) = (File::from(from), Vec::new());
        let mut part = [0; 512];
        loop {
            if poll(&mut [PollFd::new(from.as_fd(), PollFlags::POLLIN)], PATIENCE_MS).unwrap() == 0 {
                kill(child, Signal::SIGKILL).unwrap();
                panic!("it hangs, and has said: {}", String::from_utf8_lossy(&said));
            }
            match from.read(&mut part).unwrap() {
                0 => break,
                len => said.extend_from_slice(&part[..len]),
            }
        }
        waitpid(child, None).unwrap();
        String::from_utf8(said).unwrap()
    }

    fn errno<T>(result: io::Result<T>) -> i32 {
        result.err().and_then(|error| error.raw_os_error()).unwrap_or(0)
    }

    /// What neither the process nor a lookup can do, and what came of it.
    fn attempts() -> Vec<(&'static str, i32)> {
        assert_eq!(geteuid().as_raw(), NOBODY, "as root some of it would succeed, and do harm");
        let call = |number, [a, b, c, d]: [libc::c_long; 4]| {
            // SAFETY: no argument is the address of anything.
            let result = unsafe { libc::syscall(number, a, b, c, d) };
            if result >= 0 { 0 } else { errno(Err::<(), _>(io::Error::last_os_error())) }
        };
        // There is none of this number. Whoever may send signals hears that.
        let group = -libc::c_long::from(i32::MAX);
        vec![
            ("write to a file", errno(OpenOptions::new().append(true).open("/etc/hosts"))),
            ("make a file", errno(File::create("/tmp/ringfort-dns-made"))),
            ("remove a file", errno(fs::remove_file("/etc/hosts"))),
            ("look at processes", errno(File::open("/proc/1/maps"))),
            ("read root's files", errno(File::open("/root/.profile"))),
            ("execute", errno(Command::new("/bin/true").status())),
            ("ptrace", call(libc::SYS_ptrace, [libc::PTRACE_ATTACH as libc::c_long, 1, 0, 0])),
            ("read memory", call(libc::SYS_process_vm_readv, [1, 0, 0, 0])),
            ("signal a group", call(libc::SYS_kill, [group, libc::SIGKILL as libc::c_long, 0, 0]) % libc::ESRCH),
            ("signal others", call(libc::SYS_kill, [getppid().as_raw().into(), libc::SIGKILL as libc::c_long, 0, 0])),
            ("become root", call(libc::SYS_setuid, [0; 4])),
            ("make a ring", call(libc::SYS_io_uring_setup, [1, 0, 0, 0])),
            ("change the network", call(libc::SYS_socket, [libc::AF_NETLINK as libc::c_long, 3, 12, 0])),
        ]
    }

    #[test]
    fn who_has_names_looked_up_reads_and_asks_and_nothing_else() {
        assert!(geteuid().is_root(), "this test needs root");
        let said = said_by(|| {
            let (_, gaps) = Layers::enter(Mode::On);
            let done: Vec<_> = attempts().into_iter().filter(|(_, errno)| *errno == 0).collect();
            format!("{gaps:?} {} {done:?}", getuid())
        });
        assert_eq!(said, "[] 65534 []");
    }

    #[test]
    fn a_lookup_has_less() {
        let said = said_by(|| {
            let (layers, gaps) = Layers::enter(Mode::On);
            let before = errno(File::open("/etc/passwd"));
            let said = said_by(|| said_by_lookup(&layers));
            format!("{gaps:?} {before} {said}")
        });
        let refused = libc::EPERM;
        let (passwd, tcp, local) = (libc::EACCES, libc::ECONNREFUSED, libc::ENOENT);
        assert_eq!(said, format!("[] 0 Ok(true) [] {refused} -1 {passwd} 0 {tcp} {local}"));
    }

    /// As a fork of the process that has entered.
    fn said_by_lookup(layers: &Layers) -> String {
        layers.enter_lookup().unwrap();
        let found = |host: &str| (host, 1).to_socket_addrs().map(|mut all| all.next().is_some());
        let found = found("localhost").and_then(|is_found| Ok(is_found && found("fe80::1%lo")?));
        let attempts: Vec<_> = attempts().into_iter().filter(|(_, errno)| *errno == 0).collect();
        let parent = getppid().as_raw();
        // SAFETY: it takes no pointers, and signal 0 does nothing.
        let signalled = unsafe { libc::syscall(libc::SYS_tgkill, parent, parent, 0) };
        let signalled = if signalled == 0 { 0 } else { errno(Err::<(), _>(io::Error::last_os_error())) };
        // SAFETY: it is refused, or ends at once.
        let forked = unsafe { libc::fork() };
        if forked == 0 {
            // SAFETY: as above.
            unsafe { libc::_exit(0) };
        }
        let (passwd, own) = (errno(File::open("/etc/passwd")), errno(File::open("/etc/hosts")));
        let tcp = errno(TcpStream::connect("127.0.0.1:1"));
        let local = errno(UnixStream::connect("/nowhere"));
        format!("{found:?} {attempts:?} {signalled} {forked} {passwd} {own} {tcp} {local}")
    }

    /// As in a service with `User=`: the control socket admits that user, and shows him keys.
    #[test]
    fn who_has_the_user_of_the_daemon_speaks_to_no_local_service() {
        let said = said_by(|| {
            let (user, group) = (Uid::from_raw(12345), Gid::from_raw(12345));
            setgroups(&[]).and_then(|()| setresgid(group, group, group)).unwrap();
            setresuid(user, user, user).unwrap();
            let (layers, gaps) = Layers::enter(Mode::On);
            let before = errno(UnixStream::connect("/nowhere"));
            layers.enter_lookup().unwrap();
            format!("{gaps:?} {} {before} {}", geteuid(), errno(UnixStream::connect("/nowhere")))
        });
        assert_eq!(said, format!("[] 12345 {0} {0}", libc::EPERM));
    }

    /// As in a service without `CAP_SETUID`: local services would do what it says.
    #[test]
    fn root_speaks_to_no_local_service() {
        let said = said_by(|| {
            let filters = Filters::new(&Role::OF_NAMES, Terms::default()).unwrap();
            set_no_new_privs().unwrap();
            filters.install(Role::Lookup).unwrap();
            errno(UnixStream::connect("/nowhere")).to_string()
        });
        assert_eq!(said, libc::EPERM.to_string());
    }
}
