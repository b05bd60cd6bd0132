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

    /// Readable when [`interface_change`](Self::interface_change) has something to tell.
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

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Instant;

    use nix::sched::{CloneFlags, unshare};
    use nix::unistd::gettid;
    use tun_uring::{Offloads, Tun};

    use super::*;

    fn ip(args: &str) {
        let status = Command::new("ip").args(args.split(' ')).status().expect("iproute2 is needed");
        assert!(status.success(), "ip {args}");
    }

    /// Runs in a network namespace of its own, as does everything that is started there.
    fn elsewhere<T: Send>(body: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("the tests of the network need root");
            body()
        };
        thread::scope(|scope| scope.spawn(inside).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn watched_tun() -> (Network, Vec<OwnedFd>) {
        let tun = Tun::create("rf0", 2, Offloads::NONE).unwrap();
        let index = tun.link().index();
        let queues = tun.into_queues();
        (Network::watch(index, queues[0].try_clone().unwrap()).unwrap(), queues)
    }

    /// The next change other than none.
    fn next_change(network: &mut Network) -> InterfaceChange {
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            match network.interface_change().unwrap().0 {
                InterfaceChange::None => thread::sleep(Duration::from_millis(1)),
                change => return change,
            }
        }
        panic!("nothing has changed");
    }

    fn is_up(change: &InterfaceChange) -> bool {
        matches!(change, InterfaceChange::State(LinkState { up: true, .. }))
    }

    #[test]
    fn up_down_mtu_name_and_deletion_are_seen() {
        elsewhere(|| {
            let (mut network, _queues) = watched_tun();
            let first = InterfaceChange::State(LinkState { up: false, mtu: Some(1420) });
            assert_eq!(next_change(&mut network), first);
            ip("link set rf0 mtu 1300 name other up");
            while !matches!(next_change(&mut network), InterfaceChange::State(LinkState { up: true, mtu: Some(1300) }))
            {
            }
            ip("link set other down");
            while is_up(&next_change(&mut network)) {}
            assert!(!network.is_deleted());
            ip("link delete other");
            assert_eq!(next_change(&mut network), InterfaceChange::Deleted);
            assert!(network.is_deleted());
        });
    }

    #[test]
    fn it_is_followed_into_another_namespace() {
        elsewhere(|| {
            let (mut network, _queues) = watched_tun();
            next_change(&mut network);
            elsewhere_concurrently(|there, run| {
                ip(&format!("link set rf0 netns {there} name moved"));
                assert!(!is_up(&next_change(&mut network)), "a moved interface is down");
                run("link set moved up");
                while !is_up(&next_change(&mut network)) {}
                run("link delete moved");
                assert_eq!(next_change(&mut network), InterfaceChange::Deleted);
            });
        });
    }

    /// A second namespace, by the number of a thread in it, and a way to run `ip` there.
    fn elsewhere_concurrently(body: impl FnOnce(i32, &dyn Fn(&str))) {
        let (tell, told) = mpsc::channel();
        let (ask, asked) = mpsc::channel::<String>();
        let (done, is_done) = mpsc::channel();
        let there = thread::spawn(move || {
            elsewhere(move || {
                tell.send(gettid().as_raw()).unwrap();
                for args in asked {
                    ip(&args);
                    done.send(()).unwrap();
                }
            });
        });
        body(told.recv().unwrap(), &|args| {
            ask.send(args.to_owned()).unwrap();
            is_done.recv().unwrap();
        });
        drop(ask);
        there.join().unwrap();
    }

    #[test]
    fn the_interface_goes_with_its_watcher_even_if_a_queue_is_open() {
        elsewhere(|| {
            let (network, queues) = watched_tun();
            let exists = || nix::net::if_::if_nametoindex("rf0").is_ok();
            assert!(exists());
            drop(network);
            assert!(!exists() && !queues.is_empty());
        });
    }

    #[test]
    fn changed_routes_are_acted_on_now_and_then() {
        elsewhere(|| {
            let (mut network, _queues) = watched_tun();
            let mut stale_at = |seconds: u64, change: &str| {
                ip(change);
                network.note_routes(Time::from_secs(seconds)).unwrap();
                let deadline = network.next_deadline().expect("a change is acted on");
                (deadline, network.take_stale_sources(Time::from_secs(seconds)))
            };
            let now = Time::from_secs(5);
            assert_eq!(stale_at(5, "address add 10.0.0.1/8 dev rf0"), (now, true));
            assert_eq!(stale_at(5, "address add 10.0.0.2/8 dev rf0"), (now + ROUTES_PAUSE, false));
            assert!(network.take_stale_sources(now + ROUTES_PAUSE));
            assert_eq!(network.next_deadline(), None);
        });
    }
}
