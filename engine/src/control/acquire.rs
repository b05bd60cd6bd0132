//! The interface: made, or taken if it is there.

use std::fmt;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::sys::signalfd::SignalFd;
use tun_uring::{Offloads, Tun, TunError, goes_with_its_queues};

use super::error::DaemonError;
use super::server::{Listener, socket_path};
use super::signals;
use crate::cli::Serve;
use crate::last_words;

/// For the kernel to wind up the rings of a daemon that was killed: a tenth of a second, but more than 15 s where all
/// cores have other work.
const ENDING_TIMEOUT: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(20);
/// Whoever waits for us is told why it takes longer than that.
const TOLD_AFTER: Duration = Duration::from_secs(1);
/// For an interface that comes and goes while we look.
const ATTEMPTS: usize = 3;

/// What the operator should know of an interface that was there before us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenOver {
    /// There would have been more workers if it had more queues.
    pub has_one_queue: bool,
}

impl fmt::Display for TakenOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the interface was there before us, and stays when we end")?;
        if self.has_one_queue {
            f.write_str("; it has a single queue, so one worker serves it: for more, make it with multi_queue")?;
        }
        Ok(())
    }
}

/// The interface behind `inherited`, or the one that `cli` names, with that many queues, or one if it has no more.
///
/// # Errors
/// It cannot be had, or it has one queue and `cli` asks for more workers; or one of `signals` came first.
pub fn interface(
    cli: &Serve,
    inherited: Option<OwnedFd>,
    queues: usize,
    offloads: Offloads,
    signals: &SignalFd,
) -> Result<(Tun, Option<TakenOver>), DaemonError> {
    let tun = match inherited {
        Some(queue) => Tun::adopt(queue, queues, offloads)?,
        None => make_or_take(&cli.name, queues, offloads, signals)?,
    };
    let Some(given) = tun.given() else { return Ok((tun, None)) };
    let has_one_queue = tun.queue_count() < queues;
    if has_one_queue && cli.chooses_workers() {
        given.restore(&tun.into_queues()[0]);
        return Err(DaemonError::SingleQueue(cli.name.clone()));
    }
    Ok((tun, Some(TakenOver { has_one_queue })))
}

/// One that exists, and is in use, belongs to another daemon if somebody answers on its socket.
///
/// If the socket is there and nobody answers, that daemon was killed. Its queues go when the kernel has wound up its
/// rings, which takes some time after the process has ended, so it is waited for. So is one that ends or has panicked:
/// first its socket goes, and then its interface. An interface that stays, without a socket, is somebody else's.
fn make_or_take(name: &str, queues: usize, offloads: Offloads, signals: &SignalFd) -> Result<Tun, DaemonError> {
    let begun = Instant::now();
    let mut attempts = 0;
    let mut is_told = false;
    loop {
        let result = match Tun::create(name, queues, offloads) {
            Err(TunError::Taken(_)) => Tun::take(name, queues, offloads),
            result => result,
        };
        match &result {
            Err(TunError::InUse(name)) if Listener::is_served(name) => return Err(DaemonError::Served(name.clone())),
            Err(TunError::InUse(name)) if socket_path(name).exists() || goes_with_its_queues(name)? => {}
            // Another driver's, which is not waited for. Or it has gone between the two attempts.
            Err(TunError::Taken(_)) if attempts < ATTEMPTS => {
                attempts += 1;
                continue;
            }
            _ => return Ok(result?),
        }
        if begun.elapsed() >= ENDING_TIMEOUT {
            return Ok(result?);
        }
        if !is_told && begun.elapsed() >= TOLD_AFTER {
            is_told = true;
            // There is no log yet: this goes to whoever would be told that we cannot start.
            last_words::say(format!(
                "ringfort: waiting for up to {} s: the interface {name} is still in use by a process that ends",
                ENDING_TIMEOUT.as_secs()
            ));
        }
        signals::pause(signals, INTERVAL)?;
    }
}
