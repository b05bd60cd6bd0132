//! Descriptors that whoever started us has opened for us, and named as wireguard-go wants it: `WG_TUN_FD`, a queue of
//! the TUN interface, and `WG_UAPI_FD`, the listening control socket. Options may name others, as `/dev/fd/63`: a shell
//! does so for `--config <(wg-quick strip wg0)`.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::error::DaemonError;

/// Says that one thread runs in this process. There is at most one of these, and what forks takes it. Who begins
/// threads drops it before.
#[derive(Debug)]
pub struct Alone(());

impl Alone {
    /// To be called first of all.
    ///
    /// # Safety
    /// It is so, nobody else has said so in this process, and nobody owns a descriptor.
    #[must_use]
    pub const unsafe fn assume() -> Self {
        Self(())
    }
}

/// What we were given.
#[derive(Debug, Default)]
pub struct Inherited {
    /// A queue of a TUN interface.
    pub tun: Option<OwnedFd>,
    /// A listening UNIX socket.
    pub uapi: Option<OwnedFd>,
    /// What paths of options lead to. It may be closed once these were opened.
    pub named: Vec<OwnedFd>,
    /// The numbers of all of them.
    kept: Vec<RawFd>,
}

impl Inherited {
    /// Takes what the environment names, and what these paths lead to.
    ///
    /// # Errors
    /// [`DaemonError::Inherited`] if there is no such descriptor.
    ///
    /// # Safety
    /// This process owns no descriptor so far, and has taken none: what is open was left to it.
    pub unsafe fn take<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<Self, DaemonError> {
        let number = |variable| parse(variable, std::env::var_os(variable)?.to_str().unwrap_or("not a number"));
        let (tun, uapi) = (number("WG_TUN_FD").transpose()?, number("WG_UAPI_FD").transpose()?);
        if tun.is_some() && tun == uapi {
            return Err(refused("WG_UAPI_FD", "it is the same descriptor as WG_TUN_FD"));
        }
        let mut named: Vec<_> = paths.into_iter().filter_map(descriptor_of).collect();
        named.sort_unstable();
        named.dedup();
        named.retain(|number| ![tun, uapi].contains(&Some(*number)));
        let kept = named.iter().copied().chain(tun).chain(uapi).collect();
        let own = |(variable, number): (_, Option<RawFd>)| number.map(|number| own(variable, number)).transpose();
        let (tun, uapi) = (own(("WG_TUN_FD", tun))?, own(("WG_UAPI_FD", uapi))?);
        // Whoever opens the path says that nothing is there.
        let named = named.into_iter().filter_map(claim).collect();
        Ok(Self { tun, uapi, named, kept })
    }

    /// Closes all others: what a shell or a supervisor forgot to close is not ours to keep open for as long as we live.
    /// To be called once the configuration was read, which may name a descriptor for its key.
    ///
    /// # Safety
    /// Nobody owns any but these.
    pub unsafe fn close_others(&self) {
        // SAFETY: the caller answers for it.
        unsafe { close_all_except(&self.kept) };
    }
}

/// The descriptor above the standard ones that a path leads to, if it leads to one of this process.
#[must_use]
pub fn descriptor_of(path: &Path) -> Option<RawFd> {
    number_of(path).filter(|&number| number > libc::STDERR_FILENO)
}

/// Whether a path leads to any descriptor of this process, the standard ones among them.
#[must_use]
pub fn is_descriptor(path: &Path) -> bool {
    let standard = ["/dev/stdin", "/dev/stdout", "/dev/stderr"];
    number_of(path).is_some() || standard.iter().any(|name| path == Path::new(name))
}

fn number_of(path: &Path) -> Option<RawFd> {
    let own = format!("/proc/{}/fd", std::process::id());
    let directories = ["/dev/fd", "/proc/self/fd", "/proc/thread-self/fd", &own];
    let number = directories.iter().find_map(|directory| path.strip_prefix(directory).ok())?;
    number.to_str()?.parse().ok()
}

/// Closes all descriptors beside these and the three standard ones.
///
/// # Safety
/// Nobody owns any other, or whoever does never uses or drops it: the process is about to end, or forgets it.
pub unsafe fn close_all_except(kept: &[RawFd]) {
    let mut kept: Vec<_> = kept.iter().filter_map(|&number| libc::c_uint::try_from(number).ok()).collect();
    kept.sort_unstable();
    let mut first = libc::STDERR_FILENO as libc::c_uint + 1;
    for end in kept.into_iter().map(Some).chain([None]) {
        let last = end.map_or(libc::c_uint::MAX, |end| end.saturating_sub(1));
        if first <= last {
            // SAFETY: close_range(2) takes no pointers, and the caller answers for what it closes.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
        first = end.map_or(libc::c_uint::MAX, |end| end.saturating_add(1));
    }
}

/// `None` for an empty value, as in wireguard-go.
fn parse(variable: &'static str, value: &str) -> Option<Result<RawFd, DaemonError>> {
    if value.is_empty() {
        return None;
    }
    let number = value.parse().ok().filter(|&number: &RawFd| number > libc::STDERR_FILENO);
    Some(number.ok_or_else(|| refused(variable, "a number above 2 is expected: that of an open file descriptor")))
}

fn own(variable: &'static str, number: RawFd) -> Result<OwnedFd, DaemonError> {
    claim(number).ok_or_else(|| refused(variable, "no file descriptor of this number is open"))
}

/// `None`: it is not open.
fn claim(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: if no descriptor has this number, the only use that is made of it fails with EBADF.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
    // SAFETY: the descriptor is open, and not by this process, which has opened none so far: it was left to us.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

fn refused(variable: &'static str, why: &'static str) -> DaemonError {
    DaemonError::Inherited { variable, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_descriptors() {
        assert!(parse("WG_TUN_FD", "").is_none());
        assert_eq!(parse("WG_TUN_FD", "3").unwrap().unwrap(), 3);
        for bad in ["0", "2", "-1", "x", "3 ", "99999999999"] {
            let error = parse("WG_TUN_FD", bad).unwrap().unwrap_err();
            assert!(error.to_string().contains("WG_TUN_FD"), "{error}");
            assert_eq!(error.exit_status(), 2);
        }
    }

    #[test]
    fn paths_that_lead_to_descriptors() {
        let own = format!("/proc/{}/fd/5", std::process::id());
        for (path, number) in
            [("/dev/fd/63", 63), ("/proc/self/fd/3", 3), ("/proc/thread-self/fd/4", 4), (own.as_str(), 5)]
        {
            assert_eq!(descriptor_of(Path::new(path)), Some(number));
            assert!(is_descriptor(Path::new(path)), "{path}");
        }
        for standard in ["/dev/fd/0", "/proc/self/fd/1", "/dev/stdin", "/dev/stderr"] {
            assert!(is_descriptor(Path::new(standard)), "{standard}");
        }
        for other in ["/dev/fd/2", "/dev/fd", "/dev/fd/x", "/dev/fd/3/x", "/dev/fd3", "fd/3", "/etc/wg0.conf"] {
            assert_eq!(descriptor_of(Path::new(other)), None, "{other}");
            assert_eq!(is_descriptor(Path::new(other)), other == "/dev/fd/2", "{other}");
        }
    }

    #[test]
    fn a_number_that_is_not_open_is_refused() {
        let error = own("WG_UAPI_FD", RawFd::MAX).unwrap_err();
        assert!(error.to_string().contains("WG_UAPI_FD"), "{error}");
    }
}
