//! The interface: made, or taken if it is there.

use std::fmt;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use tun_uring::{Offloads, Tun, TunError};

use super::error::DaemonError;
use super::server::{Listener, socket_path};
use crate::cli::Cli;

/// For the kernel to wind up the rings of a daemon that was killed: a tenth of a second, but on a machine that is busy.
const KILLED_TIMEOUT: Duration = Duration::from_secs(15);
const KILLED_INTERVAL: Duration = Duration::from_millis(20);

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
/// It cannot be had, or it has one queue and `cli` asks for more workers.
pub fn interface(
    cli: &Cli,
    inherited: Option<OwnedFd>,
    queues: usize,
    offloads: Offloads,
) -> Result<(Tun, Option<TakenOver>), DaemonError> {
    let tun = match inherited {
        Some(queue) => Tun::adopt(queue, queues, offloads)?,
        None => make_or_take(&cli.name, queues, offloads)?,
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
/// rings, which takes some time after the process has ended, so that it is waited for.
fn make_or_take(name: &str, queues: usize, offloads: Offloads) -> Result<Tun, DaemonError> {
    let deadline = Instant::now() + KILLED_TIMEOUT;
    loop {
        let result = match Tun::create(name, queues, offloads) {
            Err(TunError::Taken(_)) => Tun::take(name, queues, offloads),
            result => result,
        };
        match result {
            Err(TunError::InUse(name)) if Listener::is_served(&name) => return Err(DaemonError::Served(name)),
            // It may also have gone between the two attempts.
            Err(TunError::InUse(_) | TunError::Taken(_)) if socket_path(name).exists() && Instant::now() < deadline => {
                std::thread::sleep(KILLED_INTERVAL);
            }
            result => return Ok(result?),
        }
    }
}
