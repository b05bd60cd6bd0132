//! What happens to our interface, as the daemon understands it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use ringfort_core::time::Time;
use route_netlink::{LinkMonitor, LinkNews, LinkSocket, LinkState, Place};
use tun_uring::{Given, interface_name, namespace};

use super::error::DaemonError;

/// How often to look at an interface of which we do not hear.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often to look for an interface that is renamed or moved while we look for it.
const ATTEMPTS: usize = 8;

/// What the interface does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing that matters.
    None,
    /// It is in this state.
    State(LinkState),
    /// It is gone for good.
    Deleted,
    /// It is where we must not watch it. It still works, and is taken to be up.
    OutOfSight,
}

/// How we get to know of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    /// The kernel tells.
    Told,
    /// We ask from time to time, next at this time.
    Asking(Time),
    /// We do not know where it is, and look for it at this time if that may help.
    Lost(Option<Time>),
}

/// Watches our interface wherever it is, and keeps no network namespace alive but the one that we live in.
///
/// When dropped, it deletes the interface: the kernel would do so with its last queue, but lets go of a queue that an
/// `io_uring` used only some time after the process has ended. An interface that was there before us stays, as it was.
#[derive(Debug)]
pub struct Interface {
    monitor: LinkMonitor,
    /// Listens while the interface is in another namespace. It is opened with rights that control gives up. Without it,
    /// the system's number for why.
    everywhere: Result<LinkMonitor, i32>,
    links: LinkSocket,
    /// One of the interface's queues, by which it can be found.
    queue: Arc<OwnedFd>,
    name: String,
    /// The name that [`take_name`](Self::take_name) told last, or that it had at first.
    told: String,
    place: Place,
    index: u32,
    sight: Sight,
    /// Its state is not known.
    is_new: bool,
    /// What it was like, if it was there before us.
    given: Option<Given>,
    /// Another process serves it, and looks after it.
    is_others: bool,
}

impl Interface {
    /// Watches the interface of which `queue` is a queue. Its state is the first [change](Self::change).
    ///
    /// # Errors
    /// The system's.
    pub fn watch(queue: Arc<OwnedFd>, given: Option<Given>) -> Result<Self, DaemonError> {
        let failed = |error| DaemonError::system("watch the network (netlink)", error);
        let (monitor, links) = (LinkMonitor::open().map_err(failed)?, LinkSocket::open().map_err(failed)?);
        let everywhere = LinkMonitor::open_everywhere();
        let everywhere = everywhere.map_err(|error| error.raw_os_error().unwrap_or(libc::EPERM));
        let mut interface = Self {
            monitor,
            everywhere,
            links,
            queue,
            name: String::new(),
            told: String::new(),
            place: Place::Home,
            index: 0,
            sight: Sight::Told,
            is_new: true,
            given,
            is_others: false,
        };
        interface.find(Time::ZERO).map_err(failed)?;
        interface.told.clone_from(&interface.name);
        Ok(interface)
    }

    /// What it was like, if it was there before us.
    #[must_use]
    pub const fn given(&self) -> Option<Given> {
        self.given
    }

    /// One of its queues, for as long as we look after it.
    #[must_use]
    pub const fn queue(&self) -> &Arc<OwnedFd> {
        &self.queue
    }

    /// From now on another process looks after it.
    pub const fn leave(&mut self) {
        self.is_others = true;
    }

    /// From now on we look after it.
    pub const fn own(&mut self) {
        self.is_others = false;
    }

    /// The name that it had when we looked for it last.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its new name, if it was renamed since this was asked last.
    pub fn take_name(&mut self) -> Option<String> {
        (self.told != self.name).then(|| {
            self.told.clone_from(&self.name);
            self.name.clone()
        })
    }

    /// One is readable when [`change`](Self::change) has something to tell.
    pub fn link_fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.monitors().map(LinkMonitor::as_fd)
    }

    fn monitors(&self) -> impl Iterator<Item = &LinkMonitor> {
        [&self.monitor].into_iter().chain(&self.everywhere)
    }

    /// When [`change`](Self::change) has something to tell even if nothing is readable.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        match self.sight {
            _ if self.is_new => Some(Time::ZERO),
            Sight::Asking(next) => Some(next),
            Sight::Lost(next) => next,
            Sight::Told => None,
        }
    }

    /// What the interface has come to.
    ///
    /// # Errors
    /// The system's.
    pub fn change(&mut self, now: Time) -> Result<Change, DaemonError> {
        let step = "read from the kernel (netlink)";
        let mut news = LinkNews::None;
        for monitor in self.monitors() {
            news = news.max(monitor.news(self.index).map_err(|error| DaemonError::system(step, error))?);
        }
        let is_due = self.next_deadline().is_some_and(|due| due <= now);
        let found = match news {
            LinkNews::None if !is_due => return Ok(Change::None),
            _ if news == LinkNews::Left || matches!(self.sight, Sight::Lost(_)) => self.find(now),
            _ => match self.links.state(self.place, self.index) {
                Ok(Some(state)) => {
                    if let Ok(Some(name)) = interface_name(self.queue.as_fd()) {
                        self.name = name;
                    }
                    Ok(Some(state))
                }
                _ => self.find(now),
            },
        };
        self.is_new = false;
        if let Sight::Asking(next) = &mut self.sight {
            *next = now + LOOK_INTERVAL;
        }
        match found {
            Ok(Some(state)) => Ok(Change::State(state)),
            Ok(None) => Ok(Change::Deleted),
            Err(error) => Ok(self.lost(&error, now)),
        }
    }

    fn lost(&mut self, error: &io::Error, now: Time) -> Change {
        // A permission does not come back by itself; descriptors and memory do. The kernel's answer is EPERM for the
        // namespace itself, and EACCES for what is in it (`rtnl_get_net_ns_capable`).
        let may_pass = !matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES));
        let sight = Sight::Lost(may_pass.then(|| now + LOOK_INTERVAL));
        match (may_pass, std::mem::replace(&mut self.sight, sight)) {
            (true, Sight::Lost(Some(_))) | (false, Sight::Lost(None)) => Change::None,
            (true, _) => {
                log::warn!("the interface cannot be looked at, and is taken to be as it was: {error}");
                Change::None
            }
            (false, _) => {
                log::warn!("the interface was moved to where it cannot be watched, and is taken to be up: {error}");
                Change::OutOfSight
            }
        }
    }

    /// Looks for the interface, and says how it is; `None` if it was deleted.
    fn find(&mut self, now: Time) -> io::Result<Option<LinkState>> {
        for _ in 0..ATTEMPTS {
            let Some(name) = interface_name(self.queue.as_fd())? else { return Ok(None) };
            // The descriptor is closed again before we wait for anything: it keeps the namespace alive.
            let place = match namespace(self.queue.as_fd(), self.links.as_fd())? {
                None => Place::Home,
                Some(there) => Place::Away(self.links.id_of(there.as_fd())?),
            };
            let is_told = match &self.everywhere {
                Ok(monitor) => monitor.listen(place != Place::Home),
                Err(errno) => Err(io::Error::from_raw_os_error(*errno)),
            };
            if let Some((index, state)) = self.links.find(place, &name)? {
                self.name = name;
                self.moved(place, index, is_told, now);
                return Ok(Some(state));
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }

    fn moved(&mut self, place: Place, index: u32, is_told: io::Result<()>, now: Time) {
        if self.place != place {
            log::info!("the interface was moved to another network namespace");
        }
        (self.place, self.index) = (place, index);
        self.sight = match is_told {
            Err(error) if place != Place::Home => {
                if !matches!(self.sight, Sight::Asking(_)) {
                    log::info!("the kernel does not tell us of it ({error}): its state is asked for once a second");
                }
                Sight::Asking(now + LOOK_INTERVAL)
            }
            _ => Sight::Told,
        };
    }

    /// Keeps the kernel from giving the interface a link-local address, as it is with the kernel's own WireGuard. From
    /// such an address it would ask for routers again and again, and wake an idle gateway each time.
    ///
    /// Only a convenience: it fails where there is no IPv6.
    pub fn refuse_link_local_address(&self) {
        if let Err(error) = self.links.refuse_link_local_address(self.index) {
            log::debug!("the interface may get a link-local address: {error}");
        }
    }

    /// Whether the interface is gone: for a worker that finds its queue dead before the kernel has told us why.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        matches!(interface_name(self.queue.as_fd()), Ok(None))
    }
}

impl Drop for Interface {
    fn drop(&mut self) {
        if self.is_others {
            return;
        }
        if let Some(given) = self.given {
            given.restore(&self.queue);
            return;
        }
        // It may have been moved or deleted since we heard of it, and its number be another interface's by now.
        if matches!(self.find(Time::ZERO), Ok(Some(_))) {
            // What the kernel does not let us delete goes with its queues.
            let _ = self.links.delete(self.place, self.index);
        }
    }
}

#[cfg(test)]
#[path = "interface_tests.rs"]
mod tests;
