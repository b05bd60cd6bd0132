//! Control's side of a hand-over to another process: see [`crate::control::handover`].

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::{Backlog, getsockopt, listen, sockopt};
use nix::unistd::pipe2;
use ringfort_core::handover::Progress as Reported;
use ringfort_worker::clock;
use ringfort_worker::queues::{Mail, Rested};
use secret_memory::{SecretFile, scrubbed};
use tun_uring::{FlowTable, Program};

use super::{Control, End};
use crate::control::error::DaemonError;
use crate::control::file::steward::Steward;
use crate::control::handover::{Facts, FileFacts, Line, Message, Possessions, SocketFacts, Versions, rest};
use crate::control::inheritance::steer;
use crate::control::logging::level_name;
use crate::control::server::{HandOver, is_owner};
use crate::control::signals::has_come;
use crate::control::supervisor;
use crate::fault_points::fault_point;
use crate::panics;

/// For one message to leave, or a request to be answered.
const SOON: Duration = Duration::from_secs(1);
/// For the workers to come to rest. Packets wait in the kernel's queues meanwhile.
const REST: Duration = Duration::from_secs(1);
/// For the new process to make a device of the state.
const READY: Duration = Duration::from_secs(5);
/// For the new process to say that it serves, which it does at once.
const RUNS: Duration = Duration::from_secs(8);
/// How a connection ends whose other end is gone.
const HUNG_UP: [io::ErrorKind; 3] =
    [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
/// Of a reason that another process gives, in characters.
const REASON_LEN_MAX: usize = 1_000;
/// Each round, workers and control tell each other less than before.
const ROUNDS_MAX: u32 = 64;

/// What control keeps for a process that comes after this one.
#[derive(Debug, Default)]
pub struct Estate {
    possessions: Possessions,
    /// Which flows come to which worker, where there is a choice.
    flows: Option<Arc<FlowTable>>,
    /// What chooses by that.
    program: Option<Program>,
    /// The last number of a round of [`rest`].
    round: u32,
    /// A pipe that nobody writes to. When its second end is gone, so is this process.
    life: Option<(OwnedFd, OwnedFd)>,
    /// What was offered last, and on which connection.
    offered: Option<(RawFd, Facts)>,
    /// A copy of the descriptor of the signals that we obey.
    signals: Option<OwnedFd>,
    /// Everything is given away.
    heir: Option<u32>,
    /// How many processes could not go on in our place, and why the last one could not.
    failed: (u64, String),
}

impl Estate {
    /// The queues of the interface.
    pub fn queues(&self) -> impl Iterator<Item = &OwnedFd> {
        self.possessions.queues.iter()
    }

    /// What chooses the queue of a packet, if there is a choice.
    pub fn program(&self) -> Option<&Program> {
        self.program.as_ref()
    }

    /// Flows come to the workers that they came to in another process, which had so many queues, if we have as many.
    pub fn resume_flows(&self, places: &[u32], queues: usize) {
        if let Some(flows) = self.flows.as_ref().filter(|flows| flows.queues() == queues) {
            flows.resume(places);
        }
    }
}

/// Why nothing was handed over.
enum NotGiven {
    /// Nobody else has sent anything, and we go on.
    Kept(String),
    /// The new process may have served for a moment.
    Lost(io::Error),
}

impl Control {
    /// Keeps these descriptors for a process that comes after this one, and knows what it must know of flows. Nothing
    /// is given away while one of the signals waits.
    ///
    /// # Errors
    /// The system's.
    pub fn keep(
        &mut self,
        possessions: Possessions,
        (flows, program): (Option<Arc<FlowTable>>, Option<Program>),
        signals: &SignalFd,
    ) -> Result<(), DaemonError> {
        let signals = signals.as_fd().try_clone_to_owned();
        self.estate.signals = Some(signals.map_err(|error| DaemonError::system("receive signals", error))?);
        self.estate.possessions = possessions;
        (self.estate.flows, self.estate.program) = (flows, program);
        Ok(())
    }

    /// Why to end, once everything is given away.
    pub(super) fn is_given(&self) -> Option<End> {
        self.estate.heir.map(End::HandedOver)
    }

    /// A process that was to go on in our place cannot.
    pub(super) fn note_failed_heir(&mut self, why: String) {
        log::warn!("a new process does not go on in our place: {why}");
        self.estate.failed = (self.estate.failed.0 + 1, why);
    }

    /// How many could not, and why the last one could not.
    pub(super) fn failed_heirs(&self) -> (u64, &str) {
        (self.estate.failed.0, &self.estate.failed.1)
    }

    /// Answers a process that wants to take over.
    pub(super) fn answer_heir(&mut self, step: HandOver, client: &UnixStream) -> io::Result<()> {
        if !is_owner(client) {
            let why = "only root and the user of the gateway may take it over".to_owned();
            Line::new(client, SOON).send(&Message::Refused(why), &[])?;
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        match step {
            HandOver::Offer(versions) => self.offer(versions, client),
            HandOver::State => self.give(client),
        }
    }

    fn offer(&mut self, versions: Versions, client: &UnixStream) -> io::Result<()> {
        let line = Line::new(client, SOON);
        let life = match self.may_give(versions).and_then(|()| self.life().map_err(|error| error.to_string())) {
            Ok(life) => life,
            Err(why) => {
                log::warn!("this gateway is not handed over: {why}");
                return line.send(&Message::Refused(why), &[]);
            }
        };
        let facts = self.facts();
        self.estate.offered = Some((client.as_raw_fd(), facts.clone()));
        let sockets = self.plane.sockets().pairs().flat_map(|pair| pair.v4().into_iter().chain(pair.v6()));
        let descriptors = self.estate.possessions.in_order(life.as_fd(), sockets);
        line.send(&Message::Offer(Box::new(facts)), &descriptors)
    }

    fn may_give(&self, versions: Versions) -> Result<(), String> {
        if versions != Versions::OURS {
            let ours = Versions::OURS;
            return Err(format!(
                "the new process hands over in version {versions}, and the one that serves in version {ours}: restart \
                 the gateway without handing over"
            ));
        }
        if self.ending.is_some() || self.failure.is_some() {
            return Err("the gateway ends".to_owned());
        }
        if std::process::id() == 1 {
            let why = "the gateway is the first process of its container, which ends with it: run it below an init, or \
                       restart the container";
            return Err(why.to_owned());
        }
        if let Some(heir) = self.estate.heir {
            return Err(format!("process {heir} serves by now"));
        }
        let reloads = self.steward.as_ref().is_some_and(Steward::reloads);
        if !self.is_ready || !self.jobs.is_empty() || reloads {
            return Err("a change of the configuration is being carried out: try again when it is done".to_owned());
        }
        if self.promotion.is_some() {
            return Err("the gateway is being promoted: try again when it serves".to_owned());
        }
        Ok(())
    }

    fn facts(&self) -> Facts {
        let (sockets, possessions) = (self.plane.sockets(), &self.estate.possessions);
        let file = |steward: &Steward| FileFacts {
            path: steward.path().to_owned(),
            is_gateway: steward.is_gateway(),
            read_at: steward.read_at(),
        };
        Facts {
            name: self.interface.name().to_owned(),
            given: self.interface.given().map(tun_uring::Given::to_numbers),
            queues: possessions.queues.len(),
            flow_seed: self.estate.flows.as_ref().map(|flows| flows.seed()),
            port: sockets.asked_port(),
            fwmark: sockets.fwmark(),
            bind: sockets.bind().to_string(),
            sockets: sockets.are_open().then(|| SocketFacts { pairs: sockets.pairs().map(SocketFacts::has).collect() }),
            file: self.steward.as_ref().map(file),
            metrics_socket: possessions.metrics_socket.is_some(),
            metrics_listeners: possessions.metrics_listeners.len(),
            log_level: level_name(log::max_level()).to_owned(),
        }
    }

    /// The end of the pipe that tells whoever has it when we are gone.
    fn life(&mut self) -> io::Result<OwnedFd> {
        if self.estate.life.is_none() {
            self.estate.life = Some(pipe2(OFlag::O_CLOEXEC)?);
        }
        let (reader, _) = self.estate.life.as_ref().expect("made just now");
        reader.try_clone()
    }

    /// Gives everything away, or goes on. Control does nothing else meanwhile, and neither do the workers.
    fn give(&mut self, client: &UnixStream) -> io::Result<()> {
        let begun = Instant::now();
        match scrubbed(|| self.try_give(client)) {
            Ok(heir) => {
                log::info!("process {heir} serves from now on: it was handed over in {:?}", begun.elapsed());
                supervisor::handed_over(heir);
                self.estate.heir = Some(heir);
                return Ok(());
            }
            Err(NotGiven::Kept(why)) => {
                log::warn!("this gateway is not handed over, and goes on: {why}");
                // Whoever has hung up knows.
                let _ = Line::new(client, SOON).send(&Message::Refused(why), &[]);
            }
            Err(NotGiven::Lost(error)) => {
                log::error!(
                    "the new process ended after it was told to serve ({error}): this gateway goes on, with new \
                     sessions"
                );
                self.begin_anew();
            }
        }
        self.go_on_serving();
        Err(io::ErrorKind::ConnectionAborted.into())
    }

    fn try_give(&mut self, client: &UnixStream) -> Result<u32, NotGiven> {
        self.may_give(Versions::OURS).map_err(NotGiven::Kept)?;
        // A port, a mark, a file that was read again: the new process knows what was offered, and has those sockets.
        let offered = self.estate.offered.take();
        if !offered.is_some_and(|(heir, facts)| heir == client.as_raw_fd() && facts == self.facts()) {
            let why = "the gateway has changed since it was offered, or another process has asked: try again";
            return Err(NotGiven::Kept(why.to_owned()));
        }
        fault_point("old-rest");
        // As our process namespace knows it, and the kernel: the service manager is told to signal it.
        let heir = getsockopt(client, sockopt::PeerCredentials).map_err(|errno| kept(errno.into()))?.pid();
        let heir = u32::try_from(heir).map_err(|_| NotGiven::Kept("nobody knows which process asks".to_owned()))?;
        let rested = self.come_to_rest(Instant::now() + REST)?;
        let state = self.state(rested)?;
        let line = Line::new(client, SOON);
        panics::leave(true);
        let places = self.estate.flows.as_ref().map(|flows| flows.places()).unwrap_or_default();
        line.send(&Message::State(places), &[state.as_fd()]).map_err(kept)?;
        fault_point("old-state");
        match Line::new(client, READY).receive_alone().map_err(kept)? {
            Message::Ready => {}
            Message::Refused(why) => return Err(NotGiven::Kept(shown(&why))),
            other => return Err(NotGiven::Kept(format!("the new process says {other:?}"))),
        }
        fault_point("old-ready");
        // The new process would never hear of it.
        if self.estate.signals.as_ref().is_some_and(|signals| has_come(signals.as_fd())) {
            return Err(NotGiven::Kept("a signal has come, which is obeyed first: try again".to_owned()));
        }
        Line::new(client, SOON).send(&Message::Go, &[]).map_err(kept)?;
        fault_point("old-go");
        match Line::new(client, RUNS).receive_alone() {
            // Then it has ended: it hangs up in no other way before it has said that it runs.
            Err(error) if HUNG_UP.contains(&error.kind()) => Err(NotGiven::Lost(error)),
            // If it hangs, it was told all the same, and serves once it can. So we end, and whoever manages the service
            // sees to it that it can.
            _ => Ok(heir),
        }
    }

    /// Workers read nothing any more, and nobody has anything to tell the other.
    fn come_to_rest(&mut self, deadline: Instant) -> Result<Vec<Rested>, NotGiven> {
        let mut was_quiet = false;
        for _ in 0..ROUNDS_MAX {
            self.estate.round = self.estate.round.wrapping_add(1);
            let rested = rest(&self.queues, self.estate.round, deadline);
            let rested = rested.map_err(|unrest| NotGiven::Kept(unrest.to_string()))?;
            let is_quiet = self.decide_all();
            // In the first round, one may have been handed something by another that rested later.
            if is_quiet && was_quiet {
                return Ok(rested);
            }
            was_quiet = is_quiet;
        }
        Err(NotGiven::Kept("workers and control did not come to an end".to_owned()))
    }

    /// Takes all that the workers have told, and has what follows carried out. True: nothing did.
    fn decide_all(&mut self) -> bool {
        let now = clock::now();
        let mut is_quiet = self.queues.control.is_empty() && self.intake.waiting() == 0;
        while self.take_messages(now) {}
        self.device.handle_timeout(now, &mut self.rng);
        self.device.settle(now, &mut self.rng);
        is_quiet &= self.plane.carry_out(&mut self.device, now.mono) == 0;
        is_quiet
    }

    /// All that the new process needs, in memory that nobody else can write.
    fn state(&self, rested: Vec<Rested>) -> Result<SecretFile, NotGiven> {
        let (mut progress, mut packets) = (Reported::default(), Vec::new());
        self.plane.note_sending(&mut progress);
        for Rested { sessions, packets: waiting, .. } in rested {
            sessions.into_iter().for_each(|report| progress.note_receiver(report));
            packets.extend(waiting);
        }
        let handover = self.device.hand_over(clock::boot_time(), &progress, packets);
        let handover = handover.map_err(|error| NotGiven::Kept(error.to_string()))?;
        SecretFile::new(handover.encoded_len(), |place| handover.write(place)).map_err(kept)
    }

    /// Somebody else may have used our sessions: they end, and others begin.
    fn begin_anew(&mut self) {
        // What it has put in front of sockets and queues knows none of the sessions that follow, and other workers.
        self.plane.sockets().guard_inherited();
        self.plane.sockets().steer();
        steer(self.estate.program(), self.interface.queue());
        // It may have called listen(2), and whoever asks who serves would be told of it (`ringfort down` signals that).
        if let Some(socket) = &self.estate.possessions.control {
            let _ = Backlog::new(libc::SOMAXCONN).and_then(|backlog| listen(socket, backlog));
        }
        if self.device.is_passive() {
            return;
        }
        for passive in [true, false] {
            let now = clock::now();
            self.device.set_passive(now.mono, passive);
            self.device.settle(now, &mut self.rng);
            self.plane.carry_out(&mut self.device, now.mono);
        }
    }

    fn go_on_serving(&mut self) {
        panics::leave(false);
        self.queues.workers.iter().for_each(|inbox| inbox.push_mail(Mail::GoOn));
        // The bell may have rung for something that is not taken yet.
        self.queues.control.wake();
    }

    /// The interface, and what belongs to it, is another process's.
    pub fn leave(&mut self) {
        self.interface.leave();
        // It is not told to take anything down.
        drop(self.steward.take());
    }
}

/// What another process has said, for the log.
fn shown(why: &str) -> String {
    why.chars().filter(|character| !character.is_control()).take(REASON_LEN_MAX).collect()
}

fn kept(error: io::Error) -> NotGiven {
    NotGiven::Kept(match error.kind() {
        io::ErrorKind::TimedOut => "the new process took too long".to_owned(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => "the new process has ended".to_owned(),
        _ => error.to_string(),
    })
}
