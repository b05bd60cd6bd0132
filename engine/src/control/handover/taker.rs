//! The new process: it asks the one that serves, and goes on where that has left off.

use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};
use ringfort_core::handover::Handover;
use secret_memory::SecretBytes;

use super::facts::{Facts, Possessions, SocketFacts, Versions};
use super::line::{Line, Message};
use crate::control::ask::unanswered;
use crate::control::error::DaemonError;
use crate::control::server::{connect, socket_path};
use crate::fault_points::fault_point;

/// For an answer that takes no time, on a machine that is busy.
const SOON: Duration = Duration::from_secs(10);
/// For the other process to come to rest, and a little more than it takes itself for that.
const STATE: Duration = Duration::from_secs(15);
/// For it to tell the service manager about us.
const TELLING: Duration = Duration::from_secs(2);

/// IPv4 and IPv6 of a worker.
type Sockets = Vec<(Option<OwnedFd>, Option<OwnedFd>)>;

/// What a gateway that serves has given: everything except its state.
#[derive(Debug)]
pub struct Offer {
    /// What there is.
    pub facts: Facts,
    /// What has a descriptor.
    pub possessions: Possessions,
    /// The sockets of each worker.
    pub sockets: Option<Sockets>,
    stream: UnixStream,
    life: OwnedFd,
}

impl Offer {
    /// Asks whoever serves interface `name`.
    ///
    /// # Errors
    /// [`DaemonError::NotServed`] and what else comes of asking; [`DaemonError::NotHandedOver`] if it refuses.
    pub fn ask(name: &str) -> Result<Self, DaemonError> {
        let asked = || {
            let mut stream = connect(&socket_path(name))?;
            stream.write_all(format!("hand_over={}\n\n", Versions::OURS).as_bytes())?;
            let answer = Line::new(&stream, SOON).receive()?;
            Ok((stream, answer))
        };
        let refused = |why: &str| DaemonError::NotHandedOver(name.to_owned(), why.to_owned());
        let (stream, (message, descriptors)) = asked().map_err(|error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
                refused("it cannot hand over, as it is no ringfort, or an older one: restart it without handing over")
            }
            _ => unanswered(name, error),
        })?;
        let facts = match message {
            Message::Offer(facts) => *facts,
            Message::Refused(why) => return Err(refused(&why)),
            other => return Err(refused(&format!("it says {other:?}"))),
        };
        let offer = Self::of(facts, descriptors, stream);
        offer.ok_or_else(|| refused("it has given other descriptors than it says"))
    }

    fn of(facts: Facts, descriptors: Vec<OwnedFd>, stream: UnixStream) -> Option<Self> {
        let mut remaining = descriptors.into_iter();
        let (life, control) = (remaining.next()?, remaining.next()?);
        let queues: Vec<_> = remaining.by_ref().take(facts.queues).collect();
        let metrics_socket = if facts.metrics_socket { Some(remaining.next()?) } else { None };
        let metrics_listeners: Vec<_> = remaining.by_ref().take(facts.metrics_listeners).collect();
        let mut pair = |(v4, v6): (bool, bool)| {
            let v4 = if v4 { Some(remaining.next()?) } else { None };
            Some((v4, if v6 { Some(remaining.next()?) } else { None }))
        };
        let mut all = |sockets: &SocketFacts| sockets.pairs.iter().map(|&has| pair(has)).collect::<Option<Sockets>>();
        let sockets = match &facts.sockets {
            Some(sockets) => Some(all(sockets)?),
            None => None,
        };
        let is_complete = queues.len() == facts.queues
            && metrics_listeners.len() == facts.metrics_listeners
            && sockets.as_ref().is_none_or(|sockets| sockets.len() <= queues.len())
            && remaining.next().is_none();
        let possessions = Possessions { control: Some(control), queues, metrics_socket, metrics_listeners };
        is_complete.then_some(Self { facts, possessions, sockets, stream, life })
    }

    /// What metrics listen on: a unix socket, and TCP.
    pub fn take_metrics(&mut self) -> (Option<OwnedFd>, Vec<OwnedFd>) {
        let Possessions { metrics_socket, metrics_listeners, .. } = &mut self.possessions;
        (metrics_socket.take(), std::mem::take(metrics_listeners))
    }

    /// What is left to do, once everything is made of what was given.
    #[must_use]
    pub fn succession(self) -> Succession {
        Succession { name: self.facts.name, stream: self.stream, life: self.life }
    }
}

/// The rest of a hand-over.
#[derive(Debug)]
pub struct Succession {
    name: String,
    stream: UnixStream,
    life: OwnedFd,
}

impl Succession {
    /// Has the other process stop, and takes its state, and the queues of all buckets of flows. `None`: it has ended
    /// before it gave any.
    ///
    /// # Errors
    /// [`DaemonError::NotHandedOver`]: it goes on.
    pub fn take_state(&mut self) -> Result<Option<(Handover, Vec<u32>)>, DaemonError> {
        // Its last word counts, also if it has hung up since.
        let _ = self.stream.write_all(b"hand_over_state=1\n\n");
        let line = Line::new(&self.stream, STATE);
        let (message, descriptors) = match line.receive() {
            Ok(answer) => answer,
            Err(_) if self.has_ended() => return Ok(None),
            Err(error) => return Err(self.refused(&error.to_string())),
        };
        match (message, descriptors.as_slice()) {
            (Message::State(places), [file]) => self.read(file).map(|state| Some((state, places))),
            (Message::Refused(why), _) => Err(self.refused(&why)),
            (other, _) => Err(self.refused(&format!("it says {other:?}"))),
        }
    }

    fn read(&self, file: &OwnedFd) -> Result<Handover, DaemonError> {
        let bytes = SecretBytes::copy_of(file).map_err(|error| self.declined(&error.to_string()))?;
        Handover::read(&bytes).map_err(|error| self.declined(&error.to_string()))
    }

    /// Says that all is ready, and waits until the other process sends nothing any more. From then on we must serve.
    ///
    /// # Errors
    /// [`DaemonError::NotHandedOver`]: it goes on.
    pub fn wait_for_go(&self) -> Result<(), DaemonError> {
        fault_point("new-ready");
        let line = Line::new(&self.stream, SOON);
        // Whoever has hung up may have refused before, and have sent under these sessions since. That is still there to
        // be read, also if it has ended by now.
        let _ = line.send(&Message::Ready, &[]);
        let answer = line.receive();
        fault_point("new-go");
        match answer {
            Ok((Message::Go, _)) => Ok(()),
            Ok((Message::Refused(why), _)) => Err(self.refused(&why)),
            Ok((other, _)) => Err(self.refused(&format!("it says {other:?}"))),
            // It may have said so as the last thing that it did.
            Err(_) if self.has_ended() => Ok(()),
            Err(error) => Err(self.refused(&error.to_string())),
        }
    }

    /// Says that we serve, and waits until the service manager knows.
    pub fn say_running(self) {
        let line = Line::new(&self.stream, TELLING);
        match line.send(&Message::Runs(std::process::id()), &[]) {
            // It hangs up, or has ended: what it says does not matter any more.
            Ok(()) => drop(line.receive()),
            // It would take us for dead, and serve as well.
            Err(_) if !self.has_ended() => std::process::abort(),
            Err(_) => {}
        }
    }

    /// Says that we cannot go on where it is.
    #[must_use]
    pub fn declined(&self, why: &str) -> DaemonError {
        let _ = Line::new(&self.stream, SOON).send(&Message::Refused(why.to_owned()), &[]);
        self.refused(why)
    }

    /// Whether the other process is gone, which takes a moment after its connection was closed.
    fn has_ended(&self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(1);
        loop {
            let mut life = [PollFd::new(self.life.as_fd(), PollFlags::empty())];
            let is_over = poll(&mut life, PollTimeout::from(10_u8)).is_ok_and(|ready| ready > 0);
            if is_over || Instant::now() > deadline {
                return is_over;
            }
        }
    }

    /// Which process we have asked.
    #[must_use]
    pub fn process(&self) -> Option<i32> {
        getsockopt(&self.stream, sockopt::PeerCredentials).ok().map(|peer| peer.pid())
    }

    /// Why nothing was taken over.
    #[must_use]
    pub fn refused(&self, why: &str) -> DaemonError {
        DaemonError::NotHandedOver(self.name.clone(), why.to_owned())
    }
}
