//! Who may ask: root, our own user, and the group of the socket if its mode lets it write.
//!
//! The path of the socket says the same to whoever connects. But a descriptor can be handed on, a mode can be changed
//! for a moment, and whoever asks here sees private keys. The kernel tells who has connected (`SO_PEERCRED`).
//!
//! A gateway may be `nobody` (`--user nobody`). So may anybody else, lookups of names among them: such a gateway has no
//! user of its own to admit.

use std::fs::symlink_metadata;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::geteuid;

use crate::sandbox::names::NOBODY;

/// More than a process commonly has. Of one that has more, those beyond do not count.
const GROUPS_MAX: usize = 1024;
/// `S_IWGRP`.
const WRITABLE_BY_GROUP: u32 = 0o020;

/// Whether whoever has connected to the socket at `path` may ask. The log has those who may not.
pub(super) fn admits(stream: &UnixStream, path: &Path) -> bool {
    let (user, is_admitted) = match Caller::of(stream) {
        Ok(caller) => (caller.user.to_string(), caller.may_use(path)),
        Err(error) => (format!("that is not known ({error})"), false),
    };
    if !is_admitted {
        log::warn!(
            "user {user} is refused on the control socket: root and our own user may ask, and the socket's group if \
             its mode lets it write"
        );
    }
    is_admitted
}

/// Whether whoever has connected is root, or our own user. A group may configure a gateway, and not become it.
pub fn is_owner(stream: &UnixStream) -> bool {
    Caller::of(stream).is_ok_and(|caller| caller.is_admitted(geteuid().as_raw(), || None))
}

/// Who has connected.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Caller {
    user: u32,
    groups: Vec<u32>,
}

impl Caller {
    /// # Errors
    /// The system's.
    fn of(stream: &UnixStream) -> io::Result<Self> {
        let peer = getsockopt(stream, sockopt::PeerCredentials)?;
        let mut groups = groups_of(stream).unwrap_or_default();
        groups.push(peer.gid());
        Ok(Self { user: peer.uid(), groups })
    }

    /// Whether it may use the socket at `path`.
    fn may_use(&self, path: &Path) -> bool {
        let socket = || symlink_metadata(path).ok().map(|meta| (meta.gid(), meta.mode()));
        self.is_admitted(geteuid().as_raw(), socket)
    }

    fn is_admitted(&self, own: u32, socket: impl FnOnce() -> Option<(u32, u32)>) -> bool {
        let of_group =
            || socket().is_some_and(|(group, mode)| mode & WRITABLE_BY_GROUP != 0 && self.groups.contains(&group));
        self.user == 0 || (self.user == own && own != NOBODY) || of_group()
    }
}

/// All groups of the caller (`SO_PEERGROUPS`).
fn groups_of(stream: &UnixStream) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; GROUPS_MAX];
    let mut len = libc::socklen_t::try_from(size_of_val(groups.as_slice())).expect("it is 4 KiB");
    // SAFETY: the kernel writes at most `len` bytes of group numbers to a buffer of that size, and how many to `len`.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    groups.truncate(len as usize / size_of::<u32>());
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(user: u32, groups: &[u32]) -> Caller {
        Caller { user, groups: groups.to_vec() }
    }

    #[test]
    fn root_and_we_ourselves_may_ask() {
        let closed = || Some((7, 0o600));
        assert!(caller(0, &[]).is_admitted(1000, closed));
        assert!(caller(1000, &[]).is_admitted(1000, closed));
        assert!(!caller(1001, &[1000]).is_admitted(1000, closed));
        assert!(!caller(NOBODY, &[]).is_admitted(NOBODY, closed), "others are nobody, too");
    }

    #[test]
    fn a_group_may_ask_if_the_socket_says_so() {
        assert!(caller(1001, &[5, 7]).is_admitted(0, || Some((7, 0o660))));
        assert!(!caller(1001, &[5, 7]).is_admitted(0, || Some((7, 0o640))));
        assert!(!caller(1001, &[5]).is_admitted(0, || Some((7, 0o660))));
        // Everybody is nobody in particular.
        assert!(!caller(1001, &[5]).is_admitted(0, || Some((7, 0o666))));
        assert!(!caller(1001, &[7]).is_admitted(0, || None));
    }

    #[test]
    fn the_kernel_says_who_it_is() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let caller = Caller::of(&ours).unwrap();
        assert_eq!(caller.user, geteuid().as_raw());
        assert!(caller.groups.contains(&nix::unistd::getegid().as_raw()));
        assert!(caller.may_use(Path::new("/nonexistent")));
    }
}
