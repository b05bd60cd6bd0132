//! The settings of an interface that somebody else has made: read before it is changed, and put back.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use vnet_packets::virtio::VNET_HDR_LEN;

use crate::error::TunError;
use crate::ioctl::checked;
use crate::offloads::{Offloads, negotiate};
use crate::steering;

/// The length of the header for which nobody has chosen one (`struct virtio_net_hdr`).
const HEADER_LEN_OF_DRIVER: c_int = 10;
/// The length of ours.
pub(crate) const OURS: c_int = VNET_HDR_LEN as c_int;
/// That of Ringfort before it knew tunnels.
const OURS_BEFORE: c_int = 16;

/// What an interface of somebody else was like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    header_len: c_int,
    little_endian: c_int,
}

impl Given {
    pub(crate) fn read(queue: &OwnedFd) -> Result<Self, TunError> {
        let step = "read the settings of the TUN interface";
        let get = |code| get_int(queue, code).map_err(|error| TunError::at(step, error));
        let header_len = match get(libc::TUNGETVNETHDRSZ)? {
            // Nobody else uses such headers on a TUN: a daemon that was killed has left it.
            OURS | OURS_BEFORE => HEADER_LEN_OF_DRIVER,
            len => len,
        };
        Ok(Self { header_len, little_endian: get(libc::TUNGETVNETLE)? })
    }

    /// As numbers, for another process.
    #[must_use]
    pub const fn to_numbers(self) -> [c_int; 2] {
        [self.header_len, self.little_endian]
    }

    /// What another process has [written](Self::to_numbers) so.
    #[must_use]
    pub const fn from_numbers([header_len, little_endian]: [c_int; 2]) -> Self {
        Self { header_len, little_endian }
    }

    /// Puts back what we have changed on the interface of `queue`: the size and byte order of the header, and the
    /// driver's choice of queues. No offloads, like an interface that was just made: the kernel does not tell which it
    /// had. What fails, because the interface is gone, need not be put back.
    pub fn restore(self, queue: &impl AsFd) {
        let _ = negotiate(queue, Offloads::NONE);
        let _ = steering::detach(queue);
        let _ = set_int(queue, libc::TUNSETVNETLE, self.little_endian);
        let _ = set_int(queue, libc::TUNSETVNETHDRSZ, self.header_len);
    }
}

pub(crate) fn get_int(queue: &impl AsFd, code: libc::Ioctl) -> io::Result<c_int> {
    let mut value: c_int = 0;
    // SAFETY: the requests of this module that read store one int at the address, which is that of a live one.
    checked(unsafe { libc::ioctl(queue.as_fd().as_raw_fd(), code, &raw mut value) })?;
    Ok(value)
}

fn set_int(queue: &impl AsFd, code: libc::Ioctl, value: c_int) -> io::Result<()> {
    // SAFETY: the requests of this module that write read one int at the address, which is that of a live one.
    checked(unsafe { libc::ioctl(queue.as_fd().as_raw_fd(), code, &raw const value) })
}
