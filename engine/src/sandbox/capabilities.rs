//! Which capabilities a thread keeps, if it has them.
//!
//! | Capability | Who keeps it | For what |
//! |---|---|---|
//! | `CAP_NET_ADMIN` | control | addresses, routes, rules; marks and large buffers of sockets; the TUN device |
//! | `CAP_NET_RAW` | control | the raw sockets on which ICMP errors arrive; sockets that are bound to a device |
//! | `CAP_NET_BIND_SERVICE` | control | a port below 1024, which `wg set` may ask for at any time |
//! | `CAP_IPC_LOCK` | control | memory of keys that is locked as peers come |
//! | `CAP_DAC_OVERRIDE` | control, files | a file of the operator that is another user's |
//! | the same | files | a log in a file, which `logrotate` may give to another user |
//!
//! A worker needs none: its queue, its sockets and its ring are open. `CAP_BPF`, `CAP_PERFMON` and `CAP_SYS_ADMIN` end
//! with the start. So does `CAP_NET_BROADCAST`: the socket that hears of an interface in another namespace is open
//! then. A file that `SaveConfig` replaces is given its owner by `ringfort-run`.

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet, clear, read, set};

use super::{Places, Role};

/// What the files of a daemon need beside that.
#[derive(Clone, Copy, Debug)]
pub struct ForFiles {
    overrides: bool,
    has_log: bool,
}

impl ForFiles {
    /// For these.
    #[must_use]
    pub fn of(places: &Places) -> Self {
        Self { overrides: places.are_another_users(), has_log: places.has_log }
    }
}

/// Gives up all others, in every set of the calling thread.
///
/// # Errors
/// The system's.
pub fn keep(role: Role, for_files: ForFiles) -> Result<(), CapsError> {
    let permitted = read(None, CapSet::Permitted)?;
    let kept: CapsHashSet = wanted(role, for_files).filter(|capability| permitted.contains(capability)).collect();
    clear(None, CapSet::Ambient)?;
    clear(None, CapSet::Inheritable)?;
    set(None, CapSet::Effective, &kept)?;
    set(None, CapSet::Permitted, &kept)
}

fn wanted(role: Role, for_files: ForFiles) -> impl Iterator<Item = Capability> {
    const OF_CONTROL: [Capability; 4] = [
        Capability::CAP_NET_ADMIN,
        Capability::CAP_NET_RAW,
        Capability::CAP_NET_BIND_SERVICE,
        Capability::CAP_IPC_LOCK,
    ];
    let own: &[Capability] = if role == Role::Control { &OF_CONTROL } else { &[] };
    let overrides = match role {
        Role::Control => for_files.overrides,
        // Not the one who listens to peers and clients.
        Role::Files => for_files.overrides || for_files.has_log,
        Role::Worker | Role::Metrics | Role::Capture | Role::Names | Role::Lookup => false,
    };
    let override_ = overrides.then_some(Capability::CAP_DAC_OVERRIDE);
    own.iter().copied().chain(override_)
}
