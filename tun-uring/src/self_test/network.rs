//! Two TUN devices in a network namespace of the calling thread, with routing from the first to the second.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;

use route_netlink::{LinkSocket, RouteSocket};

use super::judge::Kernel;
use crate::device::{self, Offloads, Tun, TunError};
use crate::link::Link;

/// How long a packet may take. The kernel forwards within the write, so this passes only when one is lost.
const PATIENCE_MS: libc::c_int = 100;

/// Source and destination network of the samples (`vnet_packets::sample`).
const SOURCES_V4: (IpAddr, u8) = (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 24);
const DESTINATION_V4: (IpAddr, u8) = (IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1)), 32);
const DESTINATION_V6: (IpAddr, u8) =
    (IpAddr::V6(Ipv6Addr::new(0xfd01, 0x0203, 0x0405, 0x0607, 0x0809, 0x0a0b, 0x0c0d, 0x0eee)), 128);

/// It lasts as long as the thread and the devices.
pub(super) struct PrivateNetwork {
    entry: File,
    exit: File,
}

impl PrivateNetwork {
    /// Moves the calling thread, which must be one of its own, to a new network namespace. `Err` says what it lacks.
    pub(super) fn new(wanted: Offloads) -> Result<Self, String> {
        // SAFETY: unshare(2) takes no pointers; with this flag it concerns the calling thread alone.
        let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        if result != 0 {
            let error = io::Error::last_os_error();
            return Err(match error.raw_os_error() {
                Some(libc::EPERM) => "no network namespace without CAP_SYS_ADMIN".to_owned(),
                _ => format!("no network namespace: {error}"),
            });
        }
        let entry = Tun::create("in", 1, Offloads::NONE).map_err(|error| error.to_string())?;
        let exit = Tun::create("out", 1, wanted).map_err(|error| error.to_string())?;
        enable_forwarding().map_err(|error| format!("no forwarding: {error}"))?;
        connect(entry.link(), exit.link()).map_err(|error| format!("no route: {error}"))?;
        let only = |tun: Tun| File::from(tun.into_queues().swap_remove(0));
        Ok(Self { entry: only(entry), exit: only(exit) })
    }
}

impl Kernel for PrivateNetwork {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.entry.write(bytes).map(drop)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.exit.read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return result.map(Some),
            }
            if !wait_readable(&self.exit)? {
                return Ok(None);
            }
        }
    }

    fn set_offloads(&mut self, wanted: Offloads) -> Result<Offloads, TunError> {
        device::negotiate(&self.exit, wanted)
    }
}

/// Where IPv6 is disabled there is nothing to enable, and IPv6 packets will not come back.
fn enable_forwarding() -> io::Result<()> {
    let _ = fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1");
    fs::write("/proc/sys/net/ipv4/ip_forward", "1")
}

fn connect(entry: Link, exit: Link) -> io::Result<()> {
    let (links, routes) = (LinkSocket::open()?, RouteSocket::open()?);
    links.set_up(entry.index())?;
    links.set_up(exit.index())?;
    // The way back is never taken, but asked for by reverse path filters.
    routes.add(SOURCES_V4, entry.index())?;
    routes.add(DESTINATION_V4, exit.index())?;
    let _ = routes.add(DESTINATION_V6, exit.index());
    Ok(())
}

fn wait_readable(file: &File) -> io::Result<bool> {
    let mut fd = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd is readable and writable at the address, which is that of a live one.
    match unsafe { libc::poll(&raw mut fd, 1, PATIENCE_MS) } {
        0 => Ok(false),
        1.. => Ok(true),
        _ => match io::Error::last_os_error() {
            error if error.kind() == ErrorKind::Interrupted => Ok(true),
            error => Err(error),
        },
    }
}
