//! The end that is directed: it waits for generators and serves one at a time.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;
use ringfort_testbed::{Context, Error, Result};

use crate::hosts::messages::{Answer, REQUEST_LEN_MAX};
use crate::hosts::session::{self, ReflectorPlan};
use crate::hosts::wire::Line;

/// How often a reflector that waits looks whether it has served enough, in microseconds.
const LOOK_EVERY_US: i64 = 200_000;
/// What hinders an accept may have passed after this time.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// A generator that is sent away has to take the reason within this time.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(1);

/// Listens for generators.
#[derive(Debug)]
pub struct Reflector {
    listener: TcpListener,
    plan: ReflectorPlan,
}

impl Reflector {
    /// Listens at exactly this address and port.
    ///
    /// # Errors
    /// An address stands for all addresses, or is none of this host; or the port is taken.
    pub fn bind(control: SocketAddr, plan: ReflectorPlan) -> Result<Self> {
        let all = std::iter::once(control.ip()).chain(plan.addresses.iter().copied()).find(IpAddr::is_unspecified);
        if let Some(all) = all {
            return Err(Error::new(format!("{all} stands for all addresses: name one of this host")));
        }
        if plan.addresses.is_empty() {
            return Err(Error::new("a reflector needs an address that traffic may go to"));
        }
        for address in &plan.addresses {
            // Better now than when a generator asks.
            std::net::UdpSocket::bind((*address, 0)).context(format_args!("binding {address}"))?;
        }
        let listener = TcpListener::bind(control).context(format_args!("listening at {control}"))?;
        // Accepting waits no longer than reading (socket(7)).
        setsockopt(&listener, sockopt::ReceiveTimeout, &TimeVal::new(0, LOOK_EVERY_US))
            .context("setting a timeout of the listener")?;
        Ok(Self { listener, plan })
    }

    /// Where generators connect.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn control(&self) -> Result<SocketAddr> {
        self.listener.local_addr().context("reading the listener's address")
    }

    /// Serves generators, one at a time, and with `once` only the first that says hello. `say` is told who comes, and
    /// how it ended.
    ///
    /// # Errors
    /// The listener is none. What goes wrong with one generator, or passes, is said and is no error.
    pub fn serve(&self, once: bool, say: &(impl Fn(&str) + Sync)) -> Result<()> {
        let (present, served) = (Mutex::new(None::<SocketAddr>), AtomicBool::new(false));
        let mut said = None;
        thread::scope(|scope| {
            while !(once && served.load(Ordering::Acquire)) {
                let (stream, peer) = match self.listener.accept() {
                    Ok(accepted) => accepted,
                    Err(error) if nobody_came(&error) => continue,
                    Err(error) if is_for_good(&error) => return Err(error).context("waiting for a generator"),
                    Err(error) => {
                        // The same every time is said once.
                        if said != error.raw_os_error() {
                            say(&format!("a connection could not be accepted: {error}"));
                            said = error.raw_os_error();
                        }
                        thread::sleep(ACCEPT_AGAIN_AFTER);
                        continue;
                    }
                };
                said = None;
                let mut taken = present.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(other) = *taken {
                    drop(taken);
                    say(&format!("{peer} was sent away: {other} is being served"));
                    refuse(stream, other);
                    continue;
                }
                *taken = Some(peer);
                let (present, served, plan) = (&present, &served, &self.plan);
                scope.spawn(move || {
                    say(&format!("{peer} measures"));
                    let mut welcomed = false;
                    let outcome = session::serve(stream, plan, &mut welcomed);
                    // Whoever reads that it has ended finds the place free.
                    let mut taken = present.lock().unwrap_or_else(PoisonError::into_inner);
                    match outcome {
                        Ok(()) => say(&format!("{peer} has finished")),
                        Err(error) => say(&format!("{peer} was sent away: {error}")),
                    }
                    *taken = None;
                    if welcomed {
                        served.store(true, Ordering::Release);
                    }
                });
            }
            Ok(())
        })
    }
}

fn nobody_came(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted)
}

/// Whether no accept will ever work. Files, memory and networks come back (accept(2)).
fn is_for_good(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EBADF | Errno::EINVAL | Errno::ENOTSOCK))
}

/// Says why, to whoever reads it.
fn refuse(stream: TcpStream, other: SocketAddr) {
    let why = format!("it serves the generator at {other}, and one at a time: try again when that one has finished");
    let refused = Line::new(stream, REQUEST_LEN_MAX);
    // Who has gone already does not want to know.
    let _ = refused.and_then(|mut line| line.send(&Answer::Failed { why }, REFUSAL_PATIENCE));
}
