//! What happens to our interface, as the daemon understands it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::error::DaemonError;
use super::netlink::{LinkMonitor, LinkState, Whereabouts, find};

/// What the interface does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing that matters.
    None,
    /// It is in this state.
    State(LinkState),
    /// It is gone for good.
    Deleted,
    /// It is where we cannot watch it. It still works, and is taken to be up.
    OutOfSight,
}

/// Watches our interface. Deletes the interface when dropped: the kernel would do so with its
/// last queue, but lets go of a queue that an `io_uring` used only some time after the process has ended.
#[derive(Debug)]
pub struct Interface {
    link: LinkMonitor,
    /// One of the interface's queues, by which it can be found.
    queue: OwnedFd,
    /// `link` watches the namespace that the interface has left.
    out_of_sight: bool,
}

impl Interface {
    /// Watches the interface with this index, of which `queue` is a queue.
    ///
    /// # Errors
    /// The system's.
    pub fn watch(index: u32, queue: OwnedFd) -> Result<Self, DaemonError> {
        let step = "watch the network (netlink)";
        let link = LinkMonitor::open(index).map_err(|error| DaemonError::system(step, error))?;
        Ok(Self { link, queue, out_of_sight: false })
    }

    /// Readable when [`change`](Self::change) has something to tell.
    #[must_use]
    pub fn link_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }

    /// What the interface has come to. The second value is true if [`link_fd`](Self::link_fd) is another one now.
    ///
    /// # Errors
    /// The system's.
    pub fn change(&mut self) -> Result<(Change, bool), DaemonError> {
        let step = "read from the kernel (netlink)";
        let changes = self.link.changes().map_err(|error| DaemonError::system(step, error))?;
        if !changes.gone {
            return Ok((changes.link.map_or(Change::None, Change::State), false));
        }
        match find(self.queue.as_fd()) {
            Ok(Whereabouts::Deleted) => Ok((Change::Deleted, false)),
            Ok(Whereabouts::Watched(monitor)) => {
                log::info!("the interface was moved to another network namespace");
                self.link = monitor;
                // Its state is the first thing that the new monitor tells.
                Ok((Change::None, true))
            }
            Err(error) => {
                self.out_of_sight = true;
                log::warn!("the interface was moved to where it cannot be watched, and is taken to be up: {error}");
                Ok((Change::OutOfSight, false))
            }
        }
    }

    /// Whether the interface is gone: for a worker that finds its queue dead before the kernel has told us why.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        matches!(find(self.queue.as_fd()), Ok(Whereabouts::Deleted))
    }
}

impl Drop for Interface {
    fn drop(&mut self) {
        // Its number may be another interface's by now.
        if !self.out_of_sight && !self.is_deleted() {
            // What the kernel does not let us delete goes with its queues.
            let _ = self.link.delete();
        }
    }
}

/// Keeps the kernel from giving the interface a link-local address, as it is with the kernel's own WireGuard: from such an
/// address it would ask for routers again and again, and an idle gateway would wake up for each of these packets.
///
/// Only a convenience: it fails where IPv6 is disabled or `/proc/sys` is read-only.
pub fn refuse_link_local_address(name: &str) {
    /// `IN6_ADDR_GEN_MODE_NONE` of the uapi header `linux/if_link.h`.
    const NONE: &str = "1";
    if let Err(error) = std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/addr_gen_mode"), NONE) {
        log::debug!("the interface may get a link-local address: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::mpsc;
    use std::thread;
    use std::time::{Duration, Instant};

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

    fn watched_tun() -> (Interface, Vec<OwnedFd>) {
        let tun = Tun::create("rf0", 2, Offloads::NONE).unwrap();
        let index = tun.link().index();
        let queues = tun.into_queues();
        (Interface::watch(index, queues[0].try_clone().unwrap()).unwrap(), queues)
    }

    /// The next change other than none.
    #[track_caller]
    fn next_change(interface: &mut Interface) -> Change {
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            match interface.change().unwrap().0 {
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
        elsewhere(|| {
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
    fn it_is_followed_into_another_namespace() {
        elsewhere(|| {
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
            let (interface, queues) = watched_tun();
            let exists = || nix::net::if_::if_nametoindex("rf0").is_ok();
            assert!(exists());
            drop(interface);
            assert!(!exists() && !queues.is_empty());
        });
    }
}
