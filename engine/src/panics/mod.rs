//! A panic of any thread ends the process: a gateway is never half alive.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::panic;
use std::process::abort;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, Weak};
use std::thread::{self, sleep};
use std::time::Duration;

use tun_uring::Given;

use crate::control::server::SocketPlace;

/// For the message. Whoever does not read it must not keep the process alive.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The control socket, once there is one.
static SOCKET: Mutex<Option<SocketPlace>> = Mutex::new(None);

/// How to put back an interface that was there before us, while it is ours.
static INTERFACE: OnceLock<(Given, Weak<OwnedFd>)> = OnceLock::new();

/// Another process has all that it takes to serve: socket and interface are its own, whatever becomes of this one.
static IS_GIVEN: AtomicBool = AtomicBool::new(false);

/// From now on a panic of any thread leaves socket and interface to another process, or does so no more.
pub fn leave(is_given: bool) {
    IS_GIVEN.store(is_given, Ordering::Relaxed);
}

/// From now on a panic of any thread ends the process with a message, after removing the control socket. The interface
/// goes with the process; one that was there before us is put back.
pub fn end_process() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        // Whoever panics may have it: then the next daemon replaces the socket.
        if !IS_GIVEN.load(Ordering::Relaxed)
            && let Ok(Some(socket)) = SOCKET.try_lock().as_deref()
        {
            socket.remove();
        }
        // Writing may wait for a reader.
        let watchdog = thread::Builder::new().spawn(|| {
            sleep(LAST_WORDS);
            end()
        });
        if watchdog.is_ok() {
            log::error!("this is a bug: {info}");
            log::logger().flush();
            print(info);
            let _ = std::io::stderr().flush();
        }
        end();
    }));
}

/// There is an interface to put back, as long as its queue is open.
pub fn restore_interface(given: Given, queue: Weak<OwnedFd>) {
    // Set once in the life of a process.
    let _ = INTERFACE.set((given, queue));
}

/// Last of all, since the other threads still take the interface for ours.
fn end() -> ! {
    if !IS_GIVEN.load(Ordering::Relaxed)
        && let Some((given, queue)) = INTERFACE.get()
        && let Some(queue) = queue.upgrade()
    {
        given.restore(&queue);
    }
    abort()
}

/// There is a control socket to remove, in place of the one before.
pub fn remove_socket(place: SocketPlace) {
    *SOCKET.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
}

#[cfg(test)]
mod tests;
