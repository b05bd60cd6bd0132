//! Another user than root, once commands of the file have a process of their own.
//!
//! The user changes before anything is made, so the control socket and the file of endpoints are that user's. The
//! directories of sockets are root's: other gateways use them as well.
//! Capabilities stay, as with `AmbientCapabilities=` of a service, until each thread gives up what it does not need.

use std::io;

use caps::errors::CapsError;
use caps::{CapSet, read, set};
use nix::sys::prctl::set_keepcaps;
use nix::unistd::{User, geteuid, setgroups, setresgid, setresuid};

/// Why the user does not change.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// There is none of this name.
    #[error("there is no user {0}: create one for gateways alone (useradd --system {0}), or leave --user out")]
    Unknown(String),
    /// Only root may become another user.
    #[error("only root can become user {0}: in a service, let the manager do it (User=, AmbientCapabilities=)")]
    NotRoot(String),
    /// Whoever owns the file says what root runs.
    #[error(
        "SaveConfig and --user {0} do not go together: the file would have to be that user's, and its hooks run as \
         root: leave one of them out"
    )]
    Saves(String),
    /// The system refuses.
    #[error("cannot become user {name}: {source}")]
    Refused {
        /// Who.
        name: String,
        /// The system's error.
        source: io::Error,
    },
    /// Capabilities cannot be read or set.
    #[error("capabilities cannot be kept: {0}")]
    Capabilities(#[from] CapsError),
}

/// Becomes this user, with all capabilities that there were. To be called while there is a single thread.
///
/// # Errors
/// [`UserError`]. Then the process must end: it may be neither the one nor the other.
pub fn become_user(name: &str) -> Result<(), UserError> {
    let refused = |source| UserError::Refused { name: name.to_owned(), source };
    let user = User::from_name(name).map_err(|errno| refused(errno.into()))?;
    let user = user.ok_or_else(|| UserError::Unknown(name.to_owned()))?;
    if !geteuid().is_root() {
        return if user.uid == geteuid() { Ok(()) } else { Err(UserError::NotRoot(name.to_owned())) };
    }
    let kept = read(None, CapSet::Permitted)?;
    set_keepcaps(true)
        .and_then(|()| setgroups(&[user.gid]))
        .and_then(|()| setresgid(user.gid, user.gid, user.gid))
        .and_then(|()| setresuid(user.uid, user.uid, user.uid))
        .map_err(|errno| refused(errno.into()))?;
    // They are still permitted, and no longer in force.
    set(None, CapSet::Effective, &kept)?;
    set_keepcaps(false).map_err(|errno| refused(errno.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_that_there_is_not_is_named() {
        let error = become_user("no such user").unwrap_err().to_string();
        assert!(error.contains("no such user") && error.contains("useradd"), "{error}");
    }
}
