//! What concerns an interface as a whole (netdevice(7)).

use std::ffi::c_int;
use std::io;
use std::os::fd::AsRawFd;

use crate::error::TunError;
use crate::ioctl::{any_socket, checked, empty_request, name_in, request_for};

/// An interface by its index, which, unlike its name, nobody can change. Holds no resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    index: u32,
}

impl Link {
    /// The interface index.
    #[must_use]
    pub fn index(self) -> u32 {
        self.index
    }

    /// The interface's name at this moment.
    ///
    /// # Errors
    /// [`TunError::Step`] with `ENXIO` or `ENODEV` if the interface is gone.
    pub fn name(self) -> Result<String, TunError> {
        let mut request = empty_request();
        request.ifr_ifru.ifru_ifindex =
            c_int::try_from(self.index).expect("the kernel's interface indices are positive ints");
        interface_ioctl(libc::SIOCGIFNAME, &mut request, "look up the TUN interface's name (SIOCGIFNAME)")?;
        Ok(name_in(&request))
    }

    /// The MTU in bytes.
    ///
    /// # Errors
    /// [`TunError::Step`] if the interface is gone.
    pub fn mtu(self) -> Result<u32, TunError> {
        let mut request = request_for(&self.name()?);
        interface_ioctl(libc::SIOCGIFMTU, &mut request, "read the TUN interface's MTU (SIOCGIFMTU)")?;
        // SAFETY: SIOCGIFMTU has just stored an int in this member; any bits are an int in any case.
        let mtu = unsafe { request.ifr_ifru.ifru_mtu };
        Ok(u32::try_from(mtu).expect("the kernel's MTUs are not negative"))
    }

    /// Sets the MTU, 68 to 65,535 bytes (the kernel's limits for TUN).
    ///
    /// # Errors
    /// [`TunError::Step`] with `EINVAL` for a value out of range, or if the interface is gone.
    pub fn set_mtu(self, mtu: u32) -> Result<(), TunError> {
        let step = "set the TUN interface's MTU (SIOCSIFMTU)";
        let mut request = request_for(&self.name()?);
        request.ifr_ifru.ifru_mtu =
            c_int::try_from(mtu).map_err(|_| TunError::at(step, io::Error::from_raw_os_error(libc::EINVAL)))?;
        interface_ioctl(libc::SIOCSIFMTU, &mut request, step)
    }
}

impl Link {
    /// The interface that has this name at this moment, in the network namespace of the calling thread.
    pub(crate) fn named(name: &str) -> Result<Self, TunError> {
        let mut request = request_for(name);
        interface_ioctl(libc::SIOCGIFINDEX, &mut request, "look up the TUN interface's index (SIOCGIFINDEX)")?;
        // SAFETY: SIOCGIFINDEX has just stored an int in this member; any bits are an int in any case.
        let index = unsafe { request.ifr_ifru.ifru_ifindex };
        Ok(Self { index: u32::try_from(index).expect("the kernel's interface indices are positive") })
    }
}

/// The codes are of one type, and `ioctl` wants that of the C library: an int in musl.
fn interface_ioctl(code: libc::c_ulong, request: &mut libc::ifreq, step: &'static str) -> Result<(), TunError> {
    let socket = any_socket().map_err(|e| TunError::at("open a socket for interface requests", e))?;
    // SAFETY: the SIOC?IF* requests that this module makes read and write one ifreq at the address, a live one.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), code as libc::Ioctl, std::ptr::from_mut(request)) };
    checked(result).map_err(|e| TunError::at(step, e))
}
