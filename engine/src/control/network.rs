//! What happens on the machine's network, as the daemon understands it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use ringfort_core::time::Time;

use super::error::DaemonError;
use super::netlink::{LinkMonitor, LinkState, RouteMonitor, Whereabouts, find};

/// Learned sources are forgotten at most so often: a router that takes up a full table sends a million changes.
const ROUTES_PAUSE: Duration = Duration::from_millis(250);

/// What the interface does next.
#[derive(Debug, PartialEq, Eq)]
pub enum InterfaceChange {
    /// Nothing that matters.
    None,
    /// It is in this state.
    State(LinkState),
    /// It is gone for good.
    Deleted,
    /// It is where we cannot watch it. It still works, and is taken to be up.
    OutOfSight,
}

/// Watches our interface, and the routes to our peers. Deletes the interface when dropped: the kernel would do so with its
/// last queue, but lets go of a queue that an `io_uring` used only some time after the process has ended.
#[derive(Debug)]
pub struct Network {
    link: LinkMonitor,
    routes: RouteMonitor,
    /// One of the interface's queues, by which it can be found.
    queue: OwnedFd,
    /// `link` watches the namespace that the interface has left.
    out_of_sight: bool,
    /// Since something changed: when the sources are to be forgotten.
    forget_at: Option<Time>,
    /// When they may be forgotten again.
    pause_until: Time,
}

impl Network {
    /// Watches the interface with this index, of which `queue` is a queue.
    ///
    /// # Errors
    /// The system's.
    pub fn watch(index: u32, queue: OwnedFd) -> Result<Self, DaemonError> {
        let step = "watch the network (netlink)";
        let link = LinkMonitor::open(index).map_err(|error| DaemonError::system(step, error))?;
        let routes = RouteMonitor::open().map_err(|error| DaemonError::system(step, error))?;
        Ok(Self { link, routes, queue, out_of_sight: false, forget_at: None, pause_until: Time::ZERO })
    }

    /// Readable when [`interface_change`](Self::interface_change) has something to tell. Another one after each
    /// [`InterfaceChange::State`] that follows a move.
    #[must_use]
    pub fn link_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }

    /// Readable when [`note_routes`](Self::note_routes) is to be called.
    #[must_use]
    pub fn routes_fd(&self) -> BorrowedFd<'_> {
        self.routes.as_fd()
    }

    /// What the interface has come to. The second value is true if [`link_fd`](Self::link_fd) is another one now.
    ///
    /// # Errors
    /// The system's.
    pub fn interface_change(&mut self) -> Result<(InterfaceChange, bool), DaemonError> {
        let step = "read from the kernel (netlink)";
        let changes = self.link.changes().map_err(|error| DaemonError::system(step, error))?;
        if !changes.gone {
            return Ok((changes.link.map_or(InterfaceChange::None, InterfaceChange::State), false));
        }
        match find(self.queue.as_fd()) {
            Ok(Whereabouts::Deleted) => Ok((InterfaceChange::Deleted, false)),
            Ok(Whereabouts::Watched(monitor)) => {
                log::info!("the interface was moved to another network namespace");
                self.link = monitor;
                // Its state is the first thing that the new monitor tells.
                Ok((InterfaceChange::None, true))
            }
            Err(error) => {
                self.out_of_sight = true;
                log::warn!("the interface was moved to where it cannot be watched, and is taken to be up: {error}");
                Ok((InterfaceChange::OutOfSight, false))
            }
        }
    }

    /// Whether the interface is gone: for a worker that finds its queue dead before the kernel has told us why.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        matches!(find(self.queue.as_fd()), Ok(Whereabouts::Deleted))
    }

    /// Addresses, routes or rules have changed.
    ///
    /// # Errors
    /// The system's.
    pub fn note_routes(&mut self, now: Time) -> Result<(), DaemonError> {
        let changed = self.routes.has_changed();
        if changed.map_err(|error| DaemonError::system("read from the kernel (netlink)", error))? {
            self.forget_at.get_or_insert(self.pause_until.max(now));
        }
        Ok(())
    }

    /// When [`take_stale_sources`](Self::take_stale_sources) will be true.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        self.forget_at
    }

    /// Whether the sources that were learned are to be forgotten now.
    pub fn take_stale_sources(&mut self, now: Time) -> bool {
        let due = self.forget_at.is_some_and(|at| at <= now);
        if due {
            self.forget_at = None;
            self.pause_until = now + ROUTES_PAUSE;
        }
        due
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Its number may be another interface's by now.
        if !self.out_of_sight && !self.is_deleted() {
            // What the kernel does not let us delete goes with its queues.
            let _ = self.link.delete();
        }
    }
}
