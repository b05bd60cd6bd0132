//! What a TUN interface leaves to the program, and the program to it.

use std::os::fd::{AsFd, AsRawFd};

use crate::error::TunError;
use crate::ioctl::checked;

/// What the program takes over from the kernel on the packets that it reads (`TUNSETOFFLOAD`), and so what it may
/// leave undone on the packets that it writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Packets come with unfinished checksums (`TUN_F_CSUM`). Each of the others needs this one.
    pub checksum: bool,
    /// TCP super-packets, both families (`TUN_F_TSO4`, `TUN_F_TSO6`).
    pub tcp: bool,
    /// UDP super-packets, both families (`TUN_F_USO4`, `TUN_F_USO6`, Linux 6.2): the kernel takes both or none.
    pub udp: bool,
    /// Super-packets in UDP tunnels, with and without an outer checksum (`TUN_F_UDP_TUNNEL_GSO`,
    /// `TUN_F_UDP_TUNNEL_GSO_CSUM`, Linux 6.17). Needs one of the two above.
    pub tunnels: bool,
}

/// Of `include/uapi/linux/if_tun.h`.
const TUN_F_UDP_TUNNEL_GSO: libc::c_uint = 0x080;
const TUN_F_UDP_TUNNEL_GSO_CSUM: libc::c_uint = 0x100;

impl Offloads {
    /// Every packet comes whole and finished.
    pub const NONE: Self = Self { checksum: false, tcp: false, udp: false, tunnels: false };
    /// All that this crate can do for the kernel.
    pub const ALL: Self = Self { checksum: true, tcp: true, udp: true, tunnels: true };

    fn flags(self) -> libc::c_uint {
        let mut flags = 0;
        if self.checksum {
            flags |= libc::TUN_F_CSUM;
            if self.tcp {
                flags |= libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
            }
            if self.udp {
                flags |= libc::TUN_F_USO4 | libc::TUN_F_USO6;
            }
            if self.tunnels && (self.tcp || self.udp) {
                flags |= TUN_F_UDP_TUNNEL_GSO | TUN_F_UDP_TUNNEL_GSO_CSUM;
            }
        }
        flags
    }

    /// The next smaller set to try when the kernel does not know this one.
    fn reduced(self) -> Option<Self> {
        match self {
            Self { tunnels: true, .. } => Some(Self { tunnels: false, ..self }),
            Self { udp: true, .. } => Some(Self { udp: false, ..self }),
            Self { tcp: true, .. } => Some(Self { tcp: false, ..self }),
            Self { checksum: true, .. } => Some(Self::NONE),
            _ => None,
        }
    }
}

/// Changes the offloads of the device behind `queue`, for instance to switch off what turned out not to work.
/// Returns what the kernel gave of them.
///
/// # Errors
/// [`TunError`] if the device is gone.
pub fn negotiate(queue: &impl AsFd, wanted: Offloads) -> Result<Offloads, TunError> {
    let mut wanted = wanted;
    loop {
        // SAFETY: TUNSETOFFLOAD takes its flags by value; no memory is involved.
        let result = unsafe { libc::ioctl(queue.as_fd().as_raw_fd(), libc::TUNSETOFFLOAD, wanted.flags()) };
        match (checked(result), wanted.reduced()) {
            (Ok(()), _) => return Ok(wanted),
            (Err(e), Some(less)) if e.raw_os_error() == Some(libc::EINVAL) => wanted = less,
            (Err(e), _) => return Err(TunError::at("set the offloads of the TUN interface (TUNSETOFFLOAD)", e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offloads_shrink_to_none() {
        let mut steps = vec![Offloads::ALL];
        while let Some(less) = steps.last().and_then(|o| o.reduced()) {
            steps.push(less);
        }
        let flags: Vec<_> = steps.iter().map(|o| o.flags()).collect();
        assert_eq!(flags, [0x1e7, 0x67, 0x07, 0x01, 0x00]);
    }

    #[test]
    fn nothing_is_asked_without_checksums() {
        assert_eq!(Offloads { checksum: false, ..Offloads::ALL }.flags(), 0);
        assert_eq!(Offloads { tcp: false, udp: false, ..Offloads::ALL }.flags(), 0x01);
    }
}
