//! What can go wrong with a TUN interface, and what helps.

use std::ffi::c_int;
use std::io;

use crate::ioctl::{CLONE_DEVICE, QUEUES_MAX};

/// Why a TUN interface could not be made, which step failed, and what helps.
#[derive(Debug, thiserror::Error)]
pub enum TunError {
    /// The name cannot be an interface's (`dev_valid_name` in the kernel, and no pattern).
    #[error("{name:?} cannot be an interface name: {reason}")]
    Name {
        /// What was asked for.
        name: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// Zero queues, or more than [`QUEUES_MAX`].
    #[error("a TUN interface has 1 to {QUEUES_MAX} queues, not {0}: choose the number of workers accordingly")]
    Queues(usize),
    /// There is no `/dev/net/tun`, or no driver behind it.
    #[error(
        "cannot open {CLONE_DEVICE} ({0}): load the driver (modprobe tun), and in a container pass the device in \
         (--device {CLONE_DEVICE})"
    )]
    NoDriver(io::Error),
    /// There is a `/dev/net/tun`, but not for this process: the mode of the file, or the list of devices of its
    /// container, forbids it. Capabilities have nothing to do with it.
    #[error(
        "no permission to open {CLONE_DEVICE} ({0}): allow this user to read and write it (chmod, chgrp, or a udev \
         rule), and in a container pass the device in (--device {CLONE_DEVICE})"
    )]
    DevicePermission(io::Error),
    /// The process may not configure network interfaces.
    #[error("no permission to {step} ({source}): run as root or with CAP_NET_ADMIN")]
    Permission {
        /// What was refused.
        step: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// An interface of that name exists already; it is not touched.
    #[error("interface {0} exists already: choose another name, or remove it (ip link delete {0})")]
    Taken(String),
    /// Another program has a queue of that interface.
    #[error("interface {0} is in use by another program: stop that one, or choose another name")]
    InUse(String),
    /// The interface, or the descriptor that was handed to us, does not suit us.
    #[error("cannot use the given TUN interface{space}{name}: {why}", space = if name.is_empty() { "" } else { " " })]
    Unusable {
        /// The interface; empty if it is not known.
        name: String,
        /// What helps.
        why: Unusable,
    },
    /// The kernel's TUN driver lacks something that Ringfort needs.
    #[error("this kernel's TUN driver has no {0}: Linux 6.1 or later is needed")]
    Missing(&'static str),
    /// Any other step of the set-up or of a later change.
    #[error("cannot {step}: {source}")]
    Step {
        /// What was tried.
        step: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

/// Why an interface of somebody else cannot be used, and what helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It carries Ethernet frames.
    #[error("it is a TAP interface, which carries Ethernet frames: make it with mode tun")]
    Tap,
    /// Its packets have `struct tun_pi` in front.
    #[error("its packets have packet information in front: open it with IFF_NO_PI")]
    PacketInformation,
    /// Its packets have no header that could say what is left to do.
    #[error("its packets have no virtio-net header in front: open it with IFF_VNET_HDR")]
    NoHeader,
    /// The header cannot be as long as ours.
    #[error("its virtio-net header is {0} bytes long and stays so")]
    HeaderLen(c_int),
    /// It is not where we are.
    #[error("it is in another network namespace: start ringfort in that one")]
    Elsewhere,
    /// `TUNSETIFF` was not done, or the interface was deleted since.
    #[error("it belongs to no interface: attach it with TUNSETIFF before it is handed over")]
    Unattached,
    /// `TUNSETQUEUE` took it out of service.
    #[error("it was detached from its interface: attach it with TUNSETQUEUE before it is handed over")]
    Detached,
    /// Anything but `/dev/net/tun`.
    #[error("it is no queue of a TUN interface: open /dev/net/tun for it")]
    NotTun,
}

impl TunError {
    pub(crate) fn at(step: &'static str, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::Permission { step, source },
            _ => Self::Step { step, source },
        }
    }
}
