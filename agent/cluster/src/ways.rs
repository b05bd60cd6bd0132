//! When the router led to other gateways.

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ringfort_testbed::Namespace;
use route_netlink::RouteMonitor;

use crate::harness::ADDRESS;

/// How often it is looked whether to end, in milliseconds.
const TURN_MS: u8 = 50;

/// Watches the router's ways to the shared address, until it is stopped.
pub struct Ways {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<(Instant, usize)>>,
}

impl Ways {
    /// From now on.
    pub fn watch(router: &Namespace) -> Self {
        let monitor = router.enter(RouteMonitor::open).unwrap();
        let (stop, name) = (Arc::new(AtomicBool::new(false)), router.name().to_owned());
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut seen = Vec::new();
            while !stopped.load(Relaxed) {
                let mut fds = [PollFd::new(monitor.as_fd(), PollFlags::POLLIN)];
                poll(&mut fds, PollTimeout::from(TURN_MS)).unwrap();
                if monitor.has_changed().unwrap() {
                    let at = Instant::now();
                    seen.push((at, count_in(&name)));
                }
            }
            seen
        });
        Self { stop, thread }
    }

    /// When there was one way less than so many, first.
    pub fn stop(self, before: usize) -> Option<Instant> {
        self.stop.store(true, Relaxed);
        let seen = self.thread.join().unwrap();
        seen.into_iter().find(|(_, ways)| *ways < before).map(|(at, _)| at)
    }
}

/// How many ways the router has to the shared address.
pub fn count(router: &Namespace) -> usize {
    count_in(router.name())
}

fn count_in(namespace: &str) -> usize {
    let route = ringfort_testbed::command::ip(&format!("-n {namespace} route show {ADDRESS}")).unwrap();
    route.matches("via ").count()
}
