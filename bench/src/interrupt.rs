//! Ctrl-C and SIGTERM: everything is removed before the process ends.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use ringfort_testbed::{Context, Error, Result, janitor};

/// The signal that came; 0 is none.
static RECEIVED: AtomicI32 = AtomicI32::new(0);
/// Held while a file is being written, so the end of the process waits until it is whole.
static WRITING: Mutex<()> = Mutex::new(());
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// From now on SIGINT and SIGTERM clean up first. Gateways are not affected: handlers end at `exec`.
pub fn install() -> Result<()> {
    let action = SigAction::new(SigHandler::Handler(note), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler does nothing but a store to an atomic, which is async-signal-safe.
        unsafe { sigaction(signal, &action) }.context("installing a signal handler")?;
    }
    thread::spawn(|| {
        while !requested() {
            thread::sleep(LOOK_EVERY);
        }
        eprintln!("\ninterrupted: removing what was made");
        janitor::sweep();
        let _whole = no_writing();
        std::process::exit(128 + RECEIVED.load(Ordering::Relaxed));
    });
    Ok(())
}

/// Whether one of them came.
pub fn requested() -> bool {
    RECEIVED.load(Ordering::Relaxed) != 0
}

/// Looks before anything is taken for measured: gateways may be gone already, and what fails, or does nothing any more,
/// does so because of that.
///
/// # Errors
/// One of them came.
pub fn check() -> Result<()> {
    if requested() { Err(Error::new("interrupted")) } else { Ok(()) }
}

/// The process does not end while the guard is held.
///
/// # Errors
/// As [`check`].
pub fn put_off() -> Result<MutexGuard<'static, ()>> {
    let guard = no_writing();
    check()?;
    Ok(guard)
}

fn no_writing() -> MutexGuard<'static, ()> {
    WRITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Never returns: the cleaning thread ends the process.
pub fn wait_for_exit() -> ! {
    loop {
        thread::park();
    }
}

extern "C" fn note(signal: i32) {
    RECEIVED.store(signal, Ordering::Relaxed);
}
