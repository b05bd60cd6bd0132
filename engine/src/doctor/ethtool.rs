//! Offloads of a network device, as `ethtool -k` shows them: three questions by `ioctl(2)`, for which no crate is worth
//! its weight.

use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::system::Nic;

/// `SIOCETHTOOL` of `include/uapi/linux/sockios.h`.
const SIOCETHTOOL: libc::Ioctl = 0x8946;
/// `ETHTOOL_GTXCSUM`, `ETHTOOL_GGSO` and `ETHTOOL_GGRO` of `include/uapi/linux/ethtool.h`.
const GET_TX_CHECKSUM: u32 = 0x16;
const GET_GSO: u32 = 0x23;
const GET_GRO: u32 = 0x2b;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// Asks the kernel about `device`.
///
/// # Errors
/// The system's: the device is gone, or knows none of this.
pub(super) fn ask(device: &str) -> io::Result<Nic> {
    Ok(Nic { tx_checksum: is_on(device, GET_TX_CHECKSUM)?, gso: is_on(device, GET_GSO)?, gro: is_on(device, GET_GRO)? })
}

fn is_on(device: &str, command: u32) -> io::Result<bool> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut value = Value { command, data: 0 };
    // SAFETY: ifreq is a C structure of integers and a union of such, for which all zeroes are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One byte stays zero: the name ends there.
    let room = request.ifr_name.len() - 1;
    for (place, &byte) in request.ifr_name[..room].iter_mut().zip(device.as_bytes()) {
        *place = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the request names a value of the kind that these commands store one number in, and both outlive the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(value.data != 0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_says_what_it_does() {
        let nic = ask("lo").unwrap();
        assert!(nic.tx_checksum && nic.gso, "{nic:?}");
        assert_eq!(ask("nonexistent").unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }
}
