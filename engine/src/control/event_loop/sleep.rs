//! What the loop sleeps on, and what wakes it.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signalfd::SignalFd;

use super::Control;
use crate::control::alarm::Alarm;
use crate::control::error::DaemonError;
use crate::control::server::Server;

/// How the loop waits for what concerns it.
#[derive(Debug)]
pub struct Sleep {
    pub(super) epoll: Epoll,
    pub(super) alarm: Alarm,
}

/// What the loop polls.
#[derive(Clone, Copy)]
pub(super) enum Wakeup {
    Signals,
    Workers,
    Interface,
    Routes,
    Alarm,
    Server,
}

impl Wakeup {
    const ALL: [Self; 6] = [Self::Signals, Self::Workers, Self::Interface, Self::Routes, Self::Alarm, Self::Server];
}

impl Control {
    /// What the loop sleeps on, made before anybody is told that the daemon is ready.
    ///
    /// # Errors
    /// The system's.
    pub fn sleep(&self, server: &Server, signals: &SignalFd) -> Result<Sleep, DaemonError> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(poll_failed)?;
        let alarm = Alarm::new()?;
        add(&epoll, self.queues.control.waker().as_fd(), Wakeup::Workers)?;
        add(&epoll, signals.as_fd(), Wakeup::Signals)?;
        for fd in self.interface.link_fds() {
            add(&epoll, fd, Wakeup::Interface)?;
        }
        add(&epoll, self.sources.fd(), Wakeup::Routes)?;
        add(&epoll, alarm.as_fd(), Wakeup::Alarm)?;
        add(&epoll, server.as_fd(), Wakeup::Server)?;
        Ok(Sleep { epoll, alarm })
    }
}

fn add(epoll: &Epoll, fd: BorrowedFd<'_>, wakeup: Wakeup) -> Result<(), DaemonError> {
    epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, wakeup as u64)).map_err(poll_failed)
}

/// Who is ready. Nobody, if a signal handler ran or the time is over.
pub(super) fn wait(epoll: &Epoll, timeout: EpollTimeout) -> Result<impl Iterator<Item = Wakeup>, DaemonError> {
    let mut events = [EpollEvent::empty(); Wakeup::ALL.len()];
    let ready = match epoll.wait(&mut events, timeout) {
        Err(Errno::EINTR) => 0,
        result => result.map_err(poll_failed)?,
    };
    let ready = events.into_iter().take(ready);
    Ok(ready.filter_map(|event| Wakeup::ALL.into_iter().find(|&wakeup| wakeup as u64 == event.data())))
}

fn poll_failed(errno: Errno) -> DaemonError {
    DaemonError::system("poll", errno)
}
