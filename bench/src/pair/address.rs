//! When an address appears on a machine, as its kernel tells: from then on the network can find it there.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use ringfort_testbed::{Context, Namespace, Result};

use super::flow::Clock;

/// `RTMGRP_IPV4_IFADDR` of the uapi header `linux/rtnetlink.h`.
const GROUP: u32 = 0x10;
const HEADER_LEN: usize = 16;
/// `struct ifaddrmsg` of `linux/if_addr.h`.
const BODY_LEN: usize = 8;
const ATTRIBUTE_HEADER_LEN: usize = 4;
/// How often it looks whether it must end.
const LOOK_US: i64 = 20_000;

/// Watches for an address until it is dropped.
#[derive(Debug)]
pub struct AddressWatch {
    seen: Arc<Mutex<Option<Duration>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl AddressWatch {
    /// Begins now.
    ///
    /// # Errors
    /// The system's.
    pub fn start(clock: Clock, namespace: &Namespace, address: Ipv4Addr) -> Result<Self> {
        let socket = namespace.enter(open).context("watching for an address")?;
        let (seen, stop) = (Arc::new(Mutex::new(None)), Arc::new(AtomicBool::new(false)));
        let (sees, stopped) = (seen.clone(), stop.clone());
        let thread = thread::spawn(move || {
            let mut buffer = [0; 8_192];
            while !stopped.load(Ordering::Relaxed) {
                let Ok(len) = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) else { continue };
                let now = clock.now();
                if tells_of(&buffer[..len], address) {
                    sees.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(now);
                }
            }
        });
        Ok(Self { seen, stop, thread: Some(thread) })
    }

    /// When it appeared for the first time.
    pub fn seen(&self) -> Option<Duration> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AddressWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

fn open() -> nix::Result<OwnedFd> {
    let (family, flags) = (AddressFamily::Netlink, SockFlag::SOCK_CLOEXEC);
    let socket = socket(family, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, LOOK_US))?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUP))?;
    Ok(socket)
}

/// Whether one of these messages says that this address was added.
fn tells_of(mut messages: &[u8], address: Ipv4Addr) -> bool {
    while messages.len() >= HEADER_LEN {
        let len = u32::from_ne_bytes([messages[0], messages[1], messages[2], messages[3]]) as usize;
        let kind = u16::from_ne_bytes([messages[4], messages[5]]);
        let Some(message) = messages.get(HEADER_LEN..len) else { return false };
        if kind == libc::RTM_NEWADDR && has_address(message.get(BODY_LEN..).unwrap_or_default(), address) {
            return true;
        }
        messages = messages.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

fn has_address(mut attributes: &[u8], address: Ipv4Addr) -> bool {
    while attributes.len() >= ATTRIBUTE_HEADER_LEN {
        let len = usize::from(u16::from_ne_bytes([attributes[0], attributes[1]]));
        let kind = u16::from_ne_bytes([attributes[2], attributes[3]]);
        let Some(value) = attributes.get(ATTRIBUTE_HEADER_LEN..len) else { return false };
        if kind == libc::IFA_LOCAL && value == address.octets() {
            return true;
        }
        attributes = attributes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;
    use std::time::Instant;

    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    #[test]
    fn an_address_that_is_added_is_seen_and_no_other() {
        let namespace = Namespace::new().expect("this test needs root");
        let watch = AddressWatch::start(Clock::new(), &namespace, ADDRESS).unwrap();
        namespace.ip("address add 192.0.2.7/32 dev lo").unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        namespace.ip("address add 192.0.2.1/32 dev lo").unwrap();
        while watch.seen().is_none() {
            assert!(Instant::now() < deadline);
            sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn half_a_message_tells_nothing() {
        let mut message = vec![32, 0, 0, 0];
        message.extend(libc::RTM_NEWADDR.to_ne_bytes());
        message.resize(24, 0);
        message.extend([8, 0, 2, 0, 192, 0, 2, 1]);
        assert_eq!(message.len(), 32);
        assert!(tells_of(&message, ADDRESS) && !tells_of(&message, Ipv4Addr::new(192, 0, 2, 2)));
        for len in 0..message.len() {
            assert!(!tells_of(&message[..len], ADDRESS), "{len} bytes");
        }
    }
}
