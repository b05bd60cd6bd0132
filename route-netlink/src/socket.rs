//! What all netlink sockets have in common.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use crate::error::{KernelRefusal, RequestError};
use crate::message::{Message, encode, messages};

/// Netlink datagrams are at most 32 KiB long (`NLMSG_GOODSIZE` and its users in `net/netlink/af_netlink.c`).
const DATAGRAM_LEN_MAX: usize = 32 << 10;
/// How many datagrams are read before the caller looks at something else.
const DATAGRAMS_PER_READ: usize = 64;
/// How many requests go to the kernel at once. Each may be refused, and the socket must hold all of these answers,
/// about 1.3 KiB of its buffer each.
pub(crate) const BATCH_LEN: usize = 128;
/// What we ask for, at most; the kernel gives up to twice `net.core.rmem_max`.
const RECEIVE_BUFFER_LEN: libc::c_int = 1 << 20;
/// How often a dump is repeated because its subject has changed meanwhile.
const DUMP_ATTEMPTS: usize = 8;

/// A socket of the network namespace in which it was opened. It keeps that namespace alive.
#[derive(Debug)]
pub(crate) struct NetlinkSocket {
    socket: Socket,
    /// Of the next request: it tells its answer from that of an earlier one which nobody has read.
    sequence: AtomicU32,
}

impl AsFd for NetlinkSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl NetlinkSocket {
    /// In the network namespace of the calling thread.
    pub(crate) fn open(groups: u32) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.set_non_blocking(true)?;
        // Refusals in words, and without the whole request.
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        socket.bind(&SocketAddr::new(0, groups))?;
        Ok(Self { socket, sequence: AtomicU32::new(1) })
    }

    /// Makes room for the answers to a batch, and has the kernel refuse a filter that it does not know.
    pub(crate) fn prepare_for_dumps_and_batches(&self) -> io::Result<()> {
        self.socket.set_rx_buf_sz(RECEIVE_BUFFER_LEN)?;
        self.socket.set_netlink_get_strict_chk(true)
    }

    /// To hear from other namespaces as well (`NETLINK_LISTEN_ALL_NSID`).
    pub(crate) fn listen_everywhere(&self) -> io::Result<()> {
        self.socket.set_listen_all_namespaces(true)
    }

    /// Whether to hear from a group.
    pub(crate) fn set_membership(&self, group: u32, yes: bool) -> io::Result<()> {
        if yes { self.socket.add_membership(group) } else { self.socket.drop_membership(group) }
    }

    /// One request, one answer, which `parse` understands.
    pub(crate) fn ask<T>(
        &self,
        request: RouteNetlinkMessage,
        flags: u16,
        parse: impl Fn(Message<'_>) -> Option<T>,
    ) -> Result<T, RequestError> {
        let sequence = self.send(request, flags)?;
        let mut answer = None;
        self.answers(sequence, |message| {
            answer = message.outcome().and_then(Result::err).map_or_else(|| parse(message).map(Ok), |no| Some(Err(no)));
            true
        })?;
        answer.ok_or_else(unreadable)?.map_err(RequestError::Refused)
    }

    /// A request that is acknowledged or refused.
    pub(crate) fn request(&self, request: RouteNetlinkMessage, flags: u16) -> Result<(), RequestError> {
        self.ask(request, flags | NLM_F_ACK, |message| message.outcome().and_then(Result::ok))
    }

    /// Sends a request of which nobody reads the answer. The kernel carries it out before this returns.
    pub(crate) fn tell(&self, request: RouteNetlinkMessage) -> io::Result<()> {
        self.send(request, 0)?;
        Ok(())
    }

    /// A request after which the kernel sends what came of it (`NLM_F_ECHO`), and then acknowledges it.
    pub(crate) fn request_with_echo<T>(
        &self,
        request: RouteNetlinkMessage,
        flags: u16,
        parse: impl Fn(Message<'_>) -> Option<T>,
    ) -> Result<T, RequestError> {
        let sequence = self.send(request, flags | NLM_F_ACK)?;
        let (mut echo, mut outcome) = (None, None);
        self.answers(sequence, |message| {
            outcome = message.outcome();
            if outcome.is_none() {
                echo = parse(message);
            }
            outcome.is_some()
        })?;
        outcome.ok_or_else(unreadable)??;
        echo.ok_or_else(unreadable)
    }

    /// Sends up to [`BATCH_LEN`] requests at once. The kernel tries all of them: those that it has refused are returned
    /// by their position.
    pub(crate) fn batch(
        &self,
        requests: impl ExactSizeIterator<Item = RouteNetlinkMessage>,
        flags: u16,
    ) -> Result<Vec<(usize, KernelRefusal)>, RequestError> {
        let count = requests.len() as u32;
        debug_assert!(count as usize <= BATCH_LEN);
        if count == 0 {
            return Ok(Vec::new());
        }
        let first = self.sequence.fetch_add(count, Relaxed);
        let mut bytes = Vec::new();
        for (position, request) in (0..).zip(requests) {
            // Refusals come in any case. The last acknowledgement says that there are no more.
            let flags = if position + 1 == count { flags | NLM_F_ACK } else { flags };
            bytes.extend(encode(request, flags, first.wrapping_add(position)));
        }
        self.send_bytes(&bytes)?;
        let mut refused = Vec::new();
        let mut is_complete = false;
        while !is_complete {
            self.receive(|message| {
                let position = message.sequence.wrapping_sub(first);
                let Some(outcome) = message.outcome().filter(|_| position < count) else { return };
                is_complete |= position + 1 == count;
                refused.extend(outcome.err().map(|refusal| (position as usize, refusal)));
            })?;
        }
        Ok(refused)
    }

    /// All that the kernel tells in answer to a dump, as `parse` understands it. What it does not understand is left
    /// out. A dump during which something has changed is repeated.
    pub(crate) fn dump<T>(
        &self,
        request: &RouteNetlinkMessage,
        parse: impl Fn(Message<'_>) -> Option<T>,
    ) -> Result<Vec<T>, RequestError> {
        for _ in 0..DUMP_ATTEMPTS {
            let sequence = self.send(request.clone(), NLM_F_DUMP)?;
            let mut dump = Dump::default();
            self.answers(sequence, |message| dump.take(message, &parse))?;
            if let Some(all) = dump.result()? {
                return Ok(all);
            }
        }
        let text = "it changes faster than it can be read";
        Err(io::Error::new(io::ErrorKind::Interrupted, text).into())
    }

    /// The first datagram of a dump, as `parse` understands it. The socket is of no use after that.
    pub(crate) fn first_of_dump<T>(
        self,
        request: RouteNetlinkMessage,
        parse: impl Fn(Message<'_>) -> Option<T>,
    ) -> Result<Vec<T>, RequestError> {
        self.send(request, NLM_F_DUMP)?;
        let (mut all, mut end) = (Vec::new(), Ok(()));
        self.receive(|message| match message.outcome() {
            Some(outcome) => end = outcome,
            None => all.extend(parse(message)),
        })?;
        end?;
        Ok(all)
    }

    /// Gives what is there to `take`. True: the kernel had more to say than the socket could hold.
    pub(crate) fn read(&self, mut take: impl FnMut(Message<'_>)) -> io::Result<bool> {
        let mut lost = false;
        for _ in 0..DATAGRAMS_PER_READ {
            match self.receive(&mut take) {
                Ok(()) => {}
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => break,
                    Some(libc::EINTR) => {}
                    Some(libc::ENOBUFS) => lost = true,
                    _ => return Err(error),
                },
            }
        }
        Ok(lost)
    }

    fn send(&self, request: RouteNetlinkMessage, flags: u16) -> io::Result<u32> {
        let sequence = self.sequence.fetch_add(1, Relaxed);
        self.send_bytes(&encode(request, flags, sequence))?;
        Ok(sequence)
    }

    fn send_bytes(&self, bytes: &[u8]) -> io::Result<()> {
        self.socket.send(bytes, libc::MSG_DONTWAIT).map(drop)
    }

    /// Gives the answers to one request to `take`, until that says that it was the last. The kernel has answered before
    /// a send returns, and goes on with a dump while it is read. So nothing waits here.
    fn answers(&self, sequence: u32, mut take: impl FnMut(Message<'_>) -> bool) -> io::Result<()> {
        let mut is_complete = false;
        while !is_complete {
            self.receive(|message| {
                if message.sequence == sequence && !is_complete {
                    is_complete = take(message);
                }
            })?;
        }
        Ok(())
    }

    /// Gives the messages of one datagram to `take`.
    fn receive(&self, take: impl FnMut(Message<'_>)) -> io::Result<()> {
        let mut datagram = Vec::with_capacity(DATAGRAM_LEN_MAX);
        let (_, sender) = self.socket.recv_from(&mut datagram, libc::MSG_DONTWAIT)?;
        // Port 0 is the kernel; other processes have nothing to tell us.
        if sender.port_number() == 0 {
            messages(&datagram).for_each(take);
        }
        Ok(())
    }
}

/// What a dump has told so far.
struct Dump<T> {
    all: Vec<T>,
    is_interrupted: bool,
    end: Result<(), KernelRefusal>,
}

impl<T> Default for Dump<T> {
    fn default() -> Self {
        Self { all: Vec::new(), is_interrupted: false, end: Ok(()) }
    }
}

impl<T> Dump<T> {
    /// True: this was the last message.
    fn take(&mut self, message: Message<'_>, parse: impl Fn(Message<'_>) -> Option<T>) -> bool {
        self.is_interrupted |= message.is_interrupted();
        if let Some(end) = message.end_of_dump().or_else(|| message.outcome()) {
            self.end = end;
            return true;
        }
        self.all.extend(parse(message));
        false
    }

    /// `None` if something has changed meanwhile, so something may be missing.
    fn result(self) -> Result<Option<Vec<T>>, KernelRefusal> {
        self.end.map(|()| (!self.is_interrupted).then_some(self.all))
    }
}

fn unreadable() -> RequestError {
    RequestError::Io(io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::NLM_F_DUMP_INTR;

    use super::*;
    use crate::message::tests::message;

    fn dump(messages: &[Message<'_>]) -> Result<Option<Vec<u16>>, KernelRefusal> {
        let mut dump = Dump::default();
        let (last, others) = messages.split_last().unwrap();
        assert!(others.iter().all(|message| !dump.take(*message, |message| Some(message.kind))));
        assert!(dump.take(*last, |message| Some(message.kind)));
        dump.result()
    }

    #[test]
    fn a_dump_counts_if_nothing_has_changed_and_nothing_was_refused() {
        let done = message(libc::NLMSG_DONE as u16, &[0; 4]);
        let (one, two) = (message(libc::RTM_NEWROUTE, &[]), message(libc::RTM_NEWADDR, &[]));
        assert_eq!(dump(&[one, two, done]), Ok(Some(vec![one.kind, two.kind])));
        let flagged = |message| Message { flags: NLM_F_DUMP_INTR, ..message };
        assert_eq!(dump(&[flagged(one), two, done]), Ok(None));
        assert_eq!(dump(&[one, flagged(done)]), Ok(None));
        let refusal = KernelRefusal { errno: libc::ENOENT, text: None };
        let errno = (-libc::ENOENT).to_ne_bytes();
        assert_eq!(dump(&[message(libc::NLMSG_DONE as u16, &errno)]), Err(refusal.clone()));
        assert_eq!(dump(&[one, message(libc::NLMSG_ERROR as u16, &errno)]), Err(refusal));
    }
}
