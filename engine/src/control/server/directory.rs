//! The directory of the control sockets: that it is ours, and that one daemon at a time makes a socket in it.
//!
//! The lock is a file that only its owner can open. A lock on the directory itself, which everyone may open for
//! reading, could be held by any user for ever.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signalfd::SignalFd;
use nix::unistd::{getegid, geteuid};

use crate::control::error::DaemonError;
use crate::control::signals;

const LOCK_NAME: &str = ".ringfort.lock";
const LOCK_INTERVAL: Duration = Duration::from_millis(10);
/// `S_IWGRP`.
const WRITABLE_BY_GROUP: u32 = 0o020;
/// `S_IWOTH`.
const WRITABLE_BY_ALL: u32 = 0o002;

/// Makes the directory unless it is there, and refuses one in which somebody else could put a socket in place of ours.
///
/// # Errors
/// [`DaemonError::ForeignDirectory`], or [`DaemonError::ControlSocket`] if the system refuses.
pub(super) fn prepare(directory: &Path) -> Result<(), DaemonError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(failed("make the directory", directory))?;
    let metadata = fs::metadata(directory).map_err(failed("look at the directory", directory))?;
    let owner = metadata.uid();
    let foreign = |why, remedy| DaemonError::ForeignDirectory { path: directory.to_owned(), why, remedy };
    if owner != 0 && owner != geteuid().as_raw() {
        return Err(foreign(format!("belongs to user {owner}"), "give it to root (chown root)"));
    }
    if metadata.mode() & WRITABLE_BY_ALL != 0 {
        return Err(foreign("may be changed by every user".to_owned(), "take the right away (chmod o-w)"));
    }
    let group = metadata.gid();
    if metadata.mode() & WRITABLE_BY_GROUP != 0 && group != 0 && group != getegid().as_raw() {
        return Err(foreign(format!("may be changed by group {group}"), "take the right away (chmod g-w)"));
    }
    Ok(())
}

/// While it is held, no other daemon makes a socket in the directory. Its file is gone afterwards.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    path: PathBuf,
    /// Closed last: whoever gets the lock of a file that is gone tries again.
    _file: Flock<File>,
}

impl DirectoryLock {
    /// Waits for the lock, but not for ever.
    ///
    /// # Errors
    /// [`DaemonError::DirectoryLocked`] after `patience`, or [`DaemonError::ControlSocket`] if the system refuses; or
    /// [`DaemonError::Interrupted`].
    pub(super) fn take(directory: &Path, patience: Duration, signals: &SignalFd) -> Result<Self, DaemonError> {
        let path = directory.join(LOCK_NAME);
        let deadline = Instant::now() + patience;
        loop {
            match try_lock(&path).map_err(failed("lock", &path))? {
                Some(file) => return Ok(Self { path, _file: file }),
                None if Instant::now() < deadline => signals::pause(signals, LOCK_INTERVAL)?,
                None => return Err(DaemonError::DirectoryLocked(path)),
            }
        }
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // A file that stays does no harm.
        let _ = fs::remove_file(&self.path);
    }
}

/// `None`: somebody else has it, or had it until now and has removed the file.
fn try_lock(path: &Path) -> io::Result<Option<Flock<File>>> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = match Flock::lock(options.open(path)?, FlockArg::LockExclusiveNonblock) {
        Ok(file) => file,
        Err((_, Errno::EWOULDBLOCK | Errno::EINTR)) => return Ok(None),
        Err((_, errno)) => return Err(errno.into()),
    };
    let locked = file.metadata()?;
    let is_in_place = fs::symlink_metadata(path).is_ok_and(|there| identity(&there) == identity(&locked));
    Ok(is_in_place.then_some(file))
}

/// Which file it is, whatever its name.
pub(super) fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// For `map_err`: what was tried on which path.
pub(super) fn failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DaemonError {
    let path = path.to_owned();
    move |source| DaemonError::control_socket(step, path, source)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown};

    use nix::sys::signal::{SigSet, Signal, raise};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Signals of which none comes.
    fn none() -> SignalFd {
        SignalFd::new(&SigSet::empty()).unwrap()
    }

    /// A directory of the given mode that is removed in the end.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str, mode: u32) -> Self {
            let path = std::env::temp_dir().join(format!("ringfort-directory-{name}-{}", std::process::id()));
            prepare(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            Self(path)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Every user can open a directory of mode 0755, and lock what he has open.
    #[test]
    fn a_lock_on_the_directory_is_nobody_s_business() {
        let place = Place::new("shared", 0o755);
        let _held = Flock::lock(File::open(&place.0).unwrap(), FlockArg::LockExclusive).unwrap();
        let lock = DirectoryLock::take(&place.0, PATIENCE, &none()).unwrap();
        let mode = fs::metadata(place.0.join(LOCK_NAME)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600, "only its owner can open it");
        drop(lock);
        assert_eq!(fs::read_dir(&place.0).unwrap().count(), 0, "it is gone with its lock");
    }

    #[test]
    fn a_second_one_waits_and_then_says_why() {
        let place = Place::new("second", 0o700);
        let lock = DirectoryLock::take(&place.0, PATIENCE, &none()).unwrap();
        let refused = DirectoryLock::take(&place.0, Duration::ZERO, &none()).unwrap_err();
        assert!(refused.to_string().contains(LOCK_NAME), "{refused}");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| DirectoryLock::take(&place.0, PATIENCE, &none()));
            drop(lock);
            waiting.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_signal_ends_the_waiting() {
        let place = Place::new("signal", 0o700);
        let _lock = DirectoryLock::take(&place.0, PATIENCE, &none()).unwrap();
        let signals = signals::take().unwrap();
        raise(Signal::SIGTERM).unwrap();
        let refused = DirectoryLock::take(&place.0, PATIENCE, &signals).unwrap_err();
        assert!(matches!(refused, DaemonError::Interrupted(Signal::SIGTERM)), "{refused}");
    }

    #[test]
    fn a_directory_that_others_can_change_is_refused() {
        let place = Place::new("foreign", 0o777);
        let refused = prepare(&place.0).unwrap_err();
        assert!(refused.to_string().contains("chmod o-w"), "{refused}");
        fs::set_permissions(&place.0, fs::Permissions::from_mode(0o755)).unwrap();
        prepare(&place.0).unwrap();
        fs::set_permissions(&place.0, fs::Permissions::from_mode(0o775)).unwrap();
        prepare(&place.0).expect("our own group may");
        chown(&place.0, None, Some(65534)).expect("this test needs root");
        let refused = prepare(&place.0).unwrap_err();
        assert!(refused.to_string().contains("group 65534") && refused.to_string().contains("chmod g-w"), "{refused}");
        fs::set_permissions(&place.0, fs::Permissions::from_mode(0o755)).unwrap();
        prepare(&place.0).unwrap();
        chown(&place.0, Some(65534), None).expect("this test needs root");
        let refused = prepare(&place.0).unwrap_err();
        let refused = refused.to_string();
        assert!(refused.contains("65534") && refused.contains("chown root"), "{refused}");
        assert!(!refused.contains("remove"), "somebody may serve in it: {refused}");
    }
}
