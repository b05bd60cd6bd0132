//! A network namespace without a name, for a test that starts no gateway: it lasts as long as the thread and what was
//! opened in it.

use std::net::Ipv6Addr;
use std::thread;

use nix::sched::{CloneFlags, unshare};

use crate::{command, netns};

/// Calls `test` on a thread of its own in a new network namespace, in which nothing is up. What `test` starts is in it
/// as well.
///
/// # Panics
/// Without the privilege to make a namespace, and whenever `test` does.
pub fn in_namespace<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    let inside = || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace needs root: run this test as root (sudo)");
        test()
    };
    thread::scope(|scope| scope.spawn(inside).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}

/// Runs `ip` with the given words, split at spaces, in the namespace of the calling thread.
///
/// # Panics
/// If it fails, with all that it said.
#[track_caller]
pub fn ip(words: &str) {
    if let Err(error) = command::ip(words) {
        panic!("{error}");
    }
}

/// Waits until packets to `address`, which was added in the namespace of the calling thread, are taken: the kernel
/// completes IPv6 addresses from a work queue.
///
/// # Panics
/// If that does not happen.
#[track_caller]
pub fn await_address(address: Ipv6Addr) {
    if let Err(error) = netns::await_address(address, netns::has_local_address) {
        panic!("{error}");
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_namespace_lasts_as_long_as_its_thread() {
        let identity = || fs::read_link("/proc/thread-self/ns/net").unwrap();
        let home = identity();
        let away = in_namespace(|| {
            ip("link set lo up");
            ip("address add fd00::5/128 dev lo");
            await_address("fd00::5".parse().unwrap());
            identity()
        });
        assert_ne!(away, home);
        assert_eq!(identity(), home);
        assert!(std::panic::catch_unwind(|| in_namespace(|| ip("link set surely-not up"))).is_err());
    }
}
