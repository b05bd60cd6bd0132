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
    links: LinkSocket,
    /// One of the interface's queues, by which it can be found.
    queue: Arc<OwnedFd>,
    name: String,
    place: Place,
    index: u32,
    sight: Sight,
    /// Its state is not known.
    is_new: bool,
    /// What it was like, if it was there before us.
    given: Option<Given>,
}

impl Interface {
    /// Watches the interface of which `queue` is a queue. Its state is the first [change](Self::change).
    ///
    /// # Errors
    /// The system's.
    pub fn watch(queue: Arc<OwnedFd>, given: Option<Given>) -> Result<Self, DaemonError> {
        let failed = |error| DaemonError::system("watch the network (netlink)", error);
        let (monitor, links) = (LinkMonitor::open().map_err(failed)?, LinkSocket::open().map_err(failed)?);
        let (name, place, index, sight) = (String::new(), Place::Home, 0, Sight::Told);
        let mut interface = Self { monitor, links, queue, name, place, index, sight, is_new: true, given };
        interface.find(Time::ZERO).map_err(failed)?;
        Ok(interface)
    }

    /// The name that it had when we looked for it last.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Readable when [`change`](Self::change) has something to tell.
    #[must_use]
    pub fn link_fd(&self) -> BorrowedFd<'_> {
        self.monitor.as_fd()
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
        let news = self.monitor.news(self.index).map_err(|error| DaemonError::system(step, error))?;
        let is_due = self.next_deadline().is_some_and(|due| due <= now);
        let found = match news {
            LinkNews::None if !is_due => return Ok(Change::None),
            _ if news == LinkNews::Left || matches!(self.sight, Sight::Lost(_)) => self.find(now),
            _ => match self.links.state(self.place, self.index) {
                Ok(Some(state)) => Ok(Some(state)),
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
            let is_told = self.monitor.listen_everywhere(place != Place::Home);
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
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::{Duration, Instant};

    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    use nix::unistd::gettid;
    use ringfort_testbed::scratch::{in_namespace, ip};
    use tun_uring::{Offloads, Tun};

    use super::*;

    fn watched_tun() -> (Interface, Vec<OwnedFd>) {
        let tun = Tun::create("rf0", 2, Offloads::NONE).unwrap();
        let queues = tun.into_queues();
        (Interface::watch(Arc::new(queues[0].try_clone().unwrap()), None).unwrap(), queues)
    }

    /// The next change other than none.
    #[track_caller]
    fn next_change(interface: &mut Interface) -> Change {
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            match interface.change(crate::clock::boot_time()).unwrap() {
                Change::None => thread::sleep(Duration::from_millis(1)),
                change => return change,
            }
        }
        panic!("nothing has changed");
    }

    fn is_up(change: &Change) -> bool {
        matches!(change, Change::State(LinkState { up: true, .. }))
    }

    #[test]
    fn up_down_mtu_name_and_deletion_are_seen() {
        in_namespace(|| {
            let (mut interface, _queues) = watched_tun();
            let first = Change::State(LinkState { up: false, mtu: Some(1420) });
            assert_eq!(next_change(&mut interface), first);
            ip("link set rf0 mtu 1300 name other up");
            while !matches!(next_change(&mut interface), Change::State(LinkState { up: true, mtu: Some(1300) })) {}
            ip("link set other down");
            while is_up(&next_change(&mut interface)) {}
            assert!(!interface.is_deleted());
            ip("link delete other");
            assert_eq!(next_change(&mut interface), Change::Deleted);
            assert!(interface.is_deleted());
        });
    }

    #[test]
    fn it_gets_no_link_local_address() {
        in_namespace(|| {
            let (interface, _queues) = watched_tun();
            let mode = || std::fs::read_to_string("/proc/sys/net/ipv6/conf/rf0/addr_gen_mode").unwrap();
            assert_eq!(mode(), "0\n");
            interface.refuse_link_local_address();
            assert_eq!(mode(), "1\n");
        });
    }

    #[test]
    fn it_is_followed_into_another_namespace() {
        in_namespace(|| {
            let (mut interface, _queues) = watched_tun();
            next_change(&mut interface);
            elsewhere_concurrently(|there, run| {
                ip(&format!("link set rf0 netns {there} name moved"));
                assert!(!is_up(&next_change(&mut interface)), "a moved interface is down");
                run("link set moved up");
                while !is_up(&next_change(&mut interface)) {}
                run("link delete moved");
                assert_eq!(next_change(&mut interface), Change::Deleted);
            });
        });
    }

    #[test]
    fn it_is_followed_onwards_and_back() {
        in_namespace(|| {
            let home = gettid().as_raw();
            let (mut interface, _queues) = watched_tun();
            next_change(&mut interface);
            elsewhere_concurrently(|first, run_first| {
                ip(&format!("link set rf0 netns {first}"));
                next_change(&mut interface);
                elsewhere_concurrently(|second, run_second| {
                    run_first(&format!("link set rf0 netns {second}"));
                    next_change(&mut interface);
                    run_second("link set rf0 mtu 1300 up");
                    while !matches!(next_change(&mut interface), Change::State(LinkState { up: true, mtu: Some(1300) }))
                    {
                    }
                    run_second(&format!("link set rf0 netns {home}"));
                    while is_up(&next_change(&mut interface)) {}
                });
            });
            assert_eq!(interface.place, Place::Home);
            ip("link set rf0 up");
            while !is_up(&next_change(&mut interface)) {}
        });
    }

    #[test]
    fn it_is_found_again_when_there_are_descriptors_again() {
        in_namespace(|| {
            let (mut interface, _queues) = watched_tun();
            next_change(&mut interface);
            elsewhere_concurrently(|there, run| {
                ip(&format!("link set rf0 netns {there}"));
                let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
                setrlimit(Resource::RLIMIT_NOFILE, 3, hard).unwrap();
                // Whoever is short of something for a moment must not be taken to be up.
                while interface.next_deadline().is_none() {
                    assert_eq!(interface.change(crate::clock::boot_time()).unwrap(), Change::None);
                }
                setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
                let due = interface.next_deadline().unwrap();
                assert!(matches!(interface.change(due).unwrap(), Change::State(LinkState { up: false, .. })));
                assert_eq!(interface.next_deadline(), None, "the kernel tells");
                run("link set rf0 up");
                while !is_up(&next_change(&mut interface)) {}
            });
        });
    }

    #[test]
    fn only_what_is_forbidden_is_out_of_sight() {
        in_namespace(|| {
            let (mut interface, _queues) = watched_tun();
            let now = Time::from_secs(1);
            let mut lost = |errno| interface.lost(&io::Error::from_raw_os_error(errno), now);
            for passing in [libc::EMFILE, libc::ENOBUFS] {
                assert_eq!(lost(passing), Change::None);
            }
            for forbidden in [libc::EACCES, libc::EPERM] {
                assert_eq!(lost(forbidden), if forbidden == libc::EACCES { Change::OutOfSight } else { Change::None });
            }
            assert_eq!(interface.next_deadline(), Some(Time::ZERO), "its state is still not known");
        });
    }

    /// Nothing of ours holds it: not the watching, and not the queues.
    #[test]
    fn the_namespace_that_it_was_moved_to_can_go() {
        in_namespace(|| {
            let (mut interface, _queues) = watched_tun();
            next_change(&mut interface);
            elsewhere_concurrently(|there, run| {
                ip(&format!("link set rf0 netns {there}"));
                next_change(&mut interface);
                run("link set rf0 up");
                while !is_up(&next_change(&mut interface)) {}
            });
            // Its last thread has ended. The kernel takes it apart when it gets round to it.
            let deadline = Instant::now() + Duration::from_secs(30);
            while !interface.is_deleted() {
                assert!(Instant::now() < deadline, "the namespace is still there");
                thread::sleep(Duration::from_millis(1));
            }
        });
    }

    /// A second namespace, by the number of a thread in it, and a way to run `ip` there.
    fn elsewhere_concurrently(body: impl FnOnce(i32, &dyn Fn(&str))) {
        let (tell, told) = mpsc::channel();
        let (ask, asked) = mpsc::channel::<String>();
        let (done, is_done) = mpsc::channel();
        let there = thread::spawn(move || {
            in_namespace(move || {
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
        in_namespace(|| {
            let (interface, queues) = watched_tun();
            let exists = || nix::net::if_::if_nametoindex("rf0").is_ok();
            assert!(exists());
            drop(interface);
            assert!(!exists() && !queues.is_empty());
        });
    }
}
