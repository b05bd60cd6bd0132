//! Connections between two namespaces, divided among lanes, and the two threads of each lane.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use ringfort_testbed::{Context, Error, Result};

use crate::crew::{Crew, Done, Member, join};
use crate::receiver::Signals;
use crate::{Endpoint, Placement, sys};

/// How long the traffic may stand still, and a connection may take to be made.
const STALL: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long to wait for a connection before looking at the clock.
const ACCEPT_MS: u8 = 100;

/// The connections of one lane, and what its threads are told.
pub(super) struct Lane {
    /// The ends in the namespace that connects.
    pub(super) near: Vec<TcpStream>,
    /// The ends in the namespace that is connected to.
    pub(super) far: Vec<TcpStream>,
    /// What the thread of the near ends is told.
    pub(super) near_signals: Signals,
    /// What the thread of the far ends is told.
    pub(super) far_signals: Signals,
}

/// The threads of a lane.
pub(super) struct Threads<'scope, T> {
    /// Goes on until it is told to stop.
    pub(super) partner: Member<'scope, ()>,
    /// Measures, and ends when its time is over.
    pub(super) meter: Member<'scope, T>,
}

/// What the threads of a lane gave: the partner, then the meter.
pub(super) type LaneResult<T> = (Done<()>, Done<T>);

/// Makes `count` connections from one namespace to the other, and divides them among `lanes`.
pub(super) fn connect(count: u16, lanes: u16, from: Endpoint<'_>, to: Endpoint<'_>) -> Result<Vec<Lane>> {
    let listen = || TcpListener::bind((to.address, 0));
    let listener = to.namespace.enter(listen).context(format_args!("listening on {}", to.address))?;
    let target = listener.local_addr().context("reading the listener's address")?;
    listener.set_nonblocking(true).context("making the listener non-blocking")?;
    let lane = |number| -> Result<Lane> {
        let count = count / lanes + u16::from(number < count % lanes);
        let pairs = (0..count).map(|_| connect_one(from, target, &listener)).collect::<Result<Vec<_>>>()?;
        let (near, far) = pairs.into_iter().unzip();
        Ok(Lane { near, far, near_signals: Signals::new()?, far_signals: Signals::new()? })
    };
    // Sockets belong to the namespace of the thread that makes them.
    from.namespace.enter(|| (0..lanes).map(lane).collect())
}

/// Called in the namespace that connects.
fn connect_one(from: Endpoint<'_>, target: SocketAddr, listener: &TcpListener) -> Result<(TcpStream, TcpStream)> {
    let connected = TcpStream::connect_timeout(&target, STALL);
    let near = connected.context(format_args!("connecting from {} to {target}", from.address))?;
    let deadline = Instant::now() + STALL;
    loop {
        match listener.accept() {
            Ok((far, _)) => return Ok((near, far)),
            // The last message of the handshake is still on its way. Whatever ends this wait, the next look tells.
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                let _ = poll(&mut [PollFd::new(listener.as_fd(), PollFlags::POLLIN)], ACCEPT_MS);
            }
            Err(error) => return Err(Error::new(format!("no connection came to {target}: {error}"))),
        }
    }
}

/// Runs the threads that `spawn` makes of each lane until the meters end. `progress` counts `units` meanwhile.
///
/// # Errors
/// A thread fails, or nothing moves for 20 seconds.
pub(super) fn carry<'env, T: Send + 'static>(
    placement: &'env Placement,
    lanes: &'env [Lane],
    (progress, units): (&AtomicU64, &str),
    spawn: impl for<'scope> Fn(&'env Lane, &mut Crew<'scope, 'env>) -> Threads<'scope, T>,
) -> Result<Vec<LaneResult<T>>> {
    thread::scope(|scope| {
        let mut crew = Crew::new(scope, placement);
        let threads: Vec<Threads<'_, T>> = lanes.iter().map(|lane| spawn(lane, &mut crew)).collect();
        let begun = crew.begin();
        let watched = if begun.is_ok() { watch(&threads, progress, units) } else { Ok(()) };
        for lane in lanes {
            lane.far_signals.stop();
            lane.near_signals.stop();
        }
        let joined = |threads: Threads<'_, T>| (join(threads.partner), join(threads.meter));
        let joined: Vec<_> = threads.into_iter().map(joined).collect();
        begun?;
        let results = joined.into_iter().map(|(partner, meter)| Ok((partner?, meter?))).collect();
        watched.and(results)
    })
}

/// Waits until every meter has seen the end of its time, or a partner has ended before, which it does only by an error.
fn watch<T>(threads: &[Threads<'_, T>], progress: &AtomicU64, units: &str) -> Result<()> {
    let mut moved = (progress.load(Ordering::Relaxed), Instant::now());
    let running = |threads: &Threads<'_, T>| !threads.meter.is_finished();
    while threads.iter().any(running) && !threads.iter().any(|threads| threads.partner.is_finished()) {
        thread::sleep(LOOK_EVERY);
        let now = progress.load(Ordering::Relaxed);
        if now != moved.0 {
            moved = (now, Instant::now());
        } else if moved.1.elapsed() > STALL {
            return Err(Error::new(format!("the traffic stands still after {now} {units}, for {STALL:?}")));
        }
    }
    Ok(())
}

/// How many segments these connections have sent again (`tcpi_total_retrans`).
pub(super) fn retransmits<'a>(streams: impl Iterator<Item = &'a TcpStream>) -> Result<u64> {
    streams.map(sys::retransmits).sum::<std::io::Result<u64>>().context("reading TCP_INFO")
}
