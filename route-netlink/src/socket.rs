//! What all netlink sockets have in common.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, recvfrom, send, socket,
};

use crate::message::{Message, messages};

/// Netlink datagrams are at most 32 KiB long (`NLMSG_GOODSIZE` and its users in `net/netlink/af_netlink.c`).
const DATAGRAM_LEN_MAX: usize = 32 << 10;
/// How many datagrams are read before the caller looks at something else.
const DATAGRAMS_PER_READ: usize = 64;

/// A socket of the network namespace in which it was opened. It keeps that namespace alive.
#[derive(Debug)]
pub(crate) struct NetlinkSocket {
    fd: OwnedFd,
}

impl AsFd for NetlinkSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl NetlinkSocket {
    /// In the network namespace of the calling thread.
    pub(crate) fn open(groups: u32) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Self { fd })
    }

    /// One request, one answer, which `parse` understands.
    pub(crate) fn ask<T>(&self, request: &[u8], parse: impl Fn(Message<'_>) -> Option<T>) -> io::Result<T> {
        send(self.fd.as_raw_fd(), request, MsgFlags::MSG_DONTWAIT)?;
        // The kernel has answered before `send` returns.
        let mut answer = vec![0; DATAGRAM_LEN_MAX];
        let len = recv(self.fd.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT)?;
        let message = messages(&answer[..len.min(DATAGRAM_LEN_MAX)]).next();
        message.and_then(parse).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// A request that is acknowledged or refused.
    pub(crate) fn request(&self, request: &[u8]) -> io::Result<()> {
        match self.ask(request, |message| message.errno())? {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// Sends a request of which nobody reads the answer. The kernel carries it out before this returns.
    pub(crate) fn tell(&self, request: &[u8]) -> io::Result<()> {
        send(self.fd.as_raw_fd(), request, MsgFlags::MSG_DONTWAIT)?;
        Ok(())
    }

    /// Gives what is there to `take`. True: the kernel had more to say than the socket could hold.
    pub(crate) fn read(&self, mut take: impl FnMut(Message<'_>)) -> io::Result<bool> {
        let mut datagram = vec![0; DATAGRAM_LEN_MAX];
        let mut lost = false;
        for _ in 0..DATAGRAMS_PER_READ {
            let (len, sender) = match recvfrom::<NetlinkAddr>(self.fd.as_raw_fd(), &mut datagram) {
                Ok(received) => received,
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => continue,
                Err(Errno::ENOBUFS) => {
                    lost = true;
                    continue;
                }
                Err(errno) => return Err(errno.into()),
            };
            // Port 0 is the kernel; other processes have nothing to tell us.
            if sender.is_some_and(|sender| sender.pid() == 0) {
                messages(&datagram[..len.min(DATAGRAM_LEN_MAX)]).for_each(&mut take);
            }
        }
        Ok(lost)
    }
}
